"""Laws of the strategies, over every row of the table, against brute force."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import answers_of, chi_square, law, steps_of, world

from palmette.core.engine import Budget, Engine, Strategy, View
from palmette.core.errors import BadParameter
from palmette.tokens.decode import Plan, decode, decode_together
from palmette.tokens.gather import Gather
from palmette.tokens.strategies import (
    STRATEGIES,
    arithmetic,
    beam,
    beam_sample,
    best_of,
    contrastive,
    diverse_beam,
    greedy,
    mbr,
    prompt_lookup,
    sample,
    speculative,
    stochastic_beam,
)
from palmette.tokens.views import (
    VIEWS,
    allow,
    ban,
    compose,
    dry,
    guide,
    logit_bias,
    min_length,
    mix,
    no_repeat_ngram,
    penalty,
    repetition_penalty,
    temperature,
    top_k,
    top_p,
)

DRAFT = world(99)


def strategy_named(name: str) -> Strategy:
    return STRATEGIES[name](DRAFT) if name == "speculative" else STRATEGIES[name]()


def views_named(name: str) -> list[View]:
    made: dict[str, list[View]] = {
        "logit_bias": [logit_bias({0: 1.0})],
        "ban": [ban([1])],
        "allow": [allow([0, 2, 3])],
        "guide": [guide("ab")],
        "mix": [mix(world(5))],
        "no_repeat_ngram": [no_repeat_ngram(4)],
    }
    return made[name] if name in made else [VIEWS[name]()]  # type: ignore[call-arg]


ON_MATRIX = [name for name in VIEWS if name != "dola"]  # a matrix has no layers; tested with the transformers


@pytest.mark.parametrize("name", STRATEGIES)
def test_streamed_tokens_are_the_best_answer(name: str) -> None:
    for seed in range(5):
        steps = steps_of(strategy_named(name), Gather(world(seed)), [0, 1, 0], Budget(7), seed)
        assert tuple(t for step in steps for t in step.committed) == steps[-1].answers[0].tokens
        assert all(not step.answers for step in steps[:-1])


@pytest.mark.parametrize("name", STRATEGIES)
def test_same_seed_same_bytes(name: str) -> None:
    twice = [decode(world(1), "ab", strategy_named(name), max_tokens=8, seed=3).run() for _ in range(2)]
    assert twice[0].texts == twice[1].texts
    assert twice[0].trace == twice[1].trace


@pytest.mark.parametrize("view", ON_MATRIX)
@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_runs_through_every_view_and_stays_in_its_support(name: str, view: str) -> None:
    views = views_named(view)
    budget = Budget(5)
    found = answers_of(strategy_named(name), compose(Gather(world(2)), views), [0, 1], budget, seed=1)
    possible = law(compose(world(2), views), [0, 1], budget) if view != "mirostat" else None
    for answer in found:
        assert answer.finish == ("eos" if answer.tokens[-1] == 3 else "length")
        assert possible is None or answer.tokens in possible


@pytest.mark.parametrize("name", STRATEGIES)
def test_batched_is_alone(name: str) -> None:
    alone = decode(world(4), "ab", strategy_named(name), max_tokens=6).run()
    others = [Plan(sample(), (temperature(0.7),), "a", 5), Plan(beam(3), (), "b"), Plan(greedy(), (), "c")]
    together = decode_together(
        world(4), "ab", [others[0], Plan(strategy_named(name), (), "x"), *others[1:]], max_tokens=6
    ).run()
    assert [h.tokens for h in together.all_answers[1]] == [h.tokens for h in alone.answers]
    assert [h.score for h in together.all_answers[1]] == [h.score for h in alone.answers]


def test_strategies_that_grow_together_share_every_forward_pass() -> None:
    together = decode_together(world(0, eos=None), "a", [Plan(sample(), (), str(i), i) for i in range(8)], max_tokens=6)
    together.run()
    assert together.gather.passes == 6  # the prefill and five extensions; the sixth token's scores are never read


@given(seed=st.integers(0, 10_000), alpha=st.sampled_from([-0.5, 0.0, 0.7, 1.0, 2.0]), size=st.integers(2, 4))
@settings(max_examples=40, deadline=None)
def test_a_beam_as_wide_as_the_world_is_exact(seed: int, alpha: float, size: int) -> None:
    engine = world(seed, size, eos=size - 1)
    budget = Budget(3)
    exact = {t: lp / len(t) ** alpha for t, lp in law(engine, [0], budget).items()}
    for early in (False, "never"):
        found = answers_of(beam(size**3, alpha, early), engine, [0], budget)
        best = sorted(exact.values(), reverse=True)
        assert [h.score for h in found] == pytest.approx(best[: len(found)], abs=1e-6)
        assert found[0].score == pytest.approx(exact[found[0].tokens], abs=1e-6)
        assert len(found) == len(exact)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("views", [[], [repetition_penalty(1.7)], [temperature(0.6), penalty(0.5, 0.5)]])
def test_top_k_1_is_greedy_is_one_beam_under_every_processor(seed: int, views: list[View]) -> None:
    budget = Budget(8)
    engine = compose(world(seed, 6, eos=5), views)
    first = answers_of(greedy(), engine, [0], budget)[0]
    assert answers_of(beam(1), engine, [0], budget)[0].tokens == first.tokens
    assert answers_of(sample(), top_k(1)(engine), [0], budget)[0].tokens == first.tokens
    assert answers_of(contrastive(3, alpha=0.0), engine, [0], budget)[0].tokens == first.tokens
    assert answers_of(diverse_beam(1, 1), engine, [0], budget)[0].tokens == first.tokens


def draws_of(strategy: Strategy, engine: Engine, budget: Budget, draws: int) -> Counter[tuple[int, ...]]:
    counts: Counter[tuple[int, ...]] = Counter()
    for seed in range(draws):
        counts.update(h.tokens for h in answers_of(strategy, engine, [0, 1], budget, seed)[:1])
    return counts


@pytest.mark.parametrize("views", [[], [temperature(0.7), top_p(0.8)], [repetition_penalty(1.5), min_length(2)]])
@pytest.mark.parametrize(
    "strategy",
    [
        sample(),
        speculative(DRAFT, 3),
        speculative(DRAFT, 2, draft_temperature=0.0),
        speculative(world(0), 4),
        prompt_lookup(2, 3),
        arithmetic(1),
        stochastic_beam(1),
    ],
    ids=["sample", "speculative", "speculative-greedy-draft", "speculative-own-draft", "lookup", "code", "gumbel"],
)
def test_output_has_the_law_of_the_viewed_target(strategy: Strategy, views: list[View]) -> None:
    budget = Budget(3)
    engine = compose(world(0), views)
    counts = draws_of(strategy, engine, budget, 1500)
    assert chi_square(dict(counts), law(engine, [0, 1], budget), 1500) > 1e-4


def test_every_code_of_arithmetic_sampling_has_the_law_and_all_together_are_spread() -> None:
    budget = Budget(3)
    exact = law(world(7), [0], budget)
    rows: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(4)]
    together = 0
    for seed in range(1200):
        found = answers_of(arithmetic(4), world(7), [0], budget, seed)
        together += len({h.tokens for h in found})
        rows[seed % 4][found[seed % 4].tokens] += 1
    pooled = sum(rows, Counter())
    assert chi_square(dict(pooled), exact, 1200) > 1e-4
    independent = np.mean(
        [len({h.tokens for h in answers_of(sample(4), world(7), [0], budget, s)}) for s in range(300)]
    )
    assert together / 1200 > independent


def test_long_arithmetic_codes_keep_the_law() -> None:
    engine = world(3, size=3, eos=None)
    budget = Budget(120)  # far more than the 53 bits of a double
    last = Counter(answers_of(arithmetic(1), engine, [0], budget, seed)[0].tokens[-1:] for seed in range(400))
    stationary = np.linalg.matrix_power(engine.matrix, 120)[0]
    expected = {(i,): math.log(p) for i, p in enumerate(stationary)}
    assert chi_square(dict(last), expected, 400) > 1e-4


def without_replacement(p: dict[tuple[int, ...], float], k: int) -> dict[tuple[int, ...], float]:
    """Inclusion probabilities of drawing k outcomes one after another without replacement."""
    inclusion = dict.fromkeys(p, 0.0)

    def go(left: dict[tuple[int, ...], float], chance: float, taken: tuple[tuple[int, ...], ...]) -> None:
        if len(taken) == k:
            for outcome in taken:
                inclusion[outcome] += chance
            return
        total = sum(left.values())
        for outcome, q in left.items():
            rest = {o: v for o, v in left.items() if o != outcome}
            go(rest, chance * q / total, (*taken, outcome))

    go(p, 1.0, ())
    return inclusion


def test_stochastic_beam_has_the_inclusion_probabilities_of_sampling_without_replacement() -> None:
    engine, budget, draws = world(11, 3, eos=2), Budget(2), 4000
    exact = without_replacement({t: math.exp(lp) for t, lp in law(engine, [0], budget).items()}, 3)
    counts: Counter[tuple[int, ...]] = Counter()
    for seed in range(draws):
        found = answers_of(stochastic_beam(3), engine, [0], budget, seed)
        assert len({h.tokens for h in found}) == 3
        assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
        counts.update(h.tokens for h in found)
    for outcome, probability in exact.items():
        error = math.sqrt(probability * (1 - probability) / draws)
        assert abs(counts[outcome] / draws - probability) < 4.5 * error + 1e-9


def test_the_conditioned_gumbels_of_stochastic_beams_stay_exact_far_from_zero() -> None:
    from palmette.tokens.strategies.stochastic import _conditioned

    for offset in (0.0, -50.0, -500.0):
        free = np.array([0.3, -1.0, -40.0]) + offset
        out = _conditioned(free, -2.5 + offset)
        assert out[0] == -2.5 + offset
        assert (out[1:] < out[0]).all() and np.isfinite(out).all()


def test_best_of_ranks_by_log_probability_and_mbr_by_agreement() -> None:
    budget = Budget(5)
    pool = answers_of(sample(12), world(3), [0], budget)
    best = answers_of(best_of(12, by="sum"), world(3), [0], budget)
    assert best[0].logprob == max(h.logprob for h in pool)
    assert sorted(h.tokens for h in best) == sorted(h.tokens for h in pool)
    agreed = answers_of(mbr(12, utility=lambda a, b: float(a == b)), world(3), [0], budget)
    texts = Counter(world(3).tokenizer.decode(h.tokens) for h in pool)
    assert texts[world(3).tokenizer.decode(agreed[0].tokens)] == max(texts.values())


def test_diverse_groups_differ_where_one_beam_would_not() -> None:
    budget = Budget(6)
    alike = answers_of(diverse_beam(4, 4, diversity=0.0), world(5, 6, eos=None), [0], budget)
    apart = answers_of(diverse_beam(4, 4, diversity=5.0), world(5, 6, eos=None), [0], budget)
    assert len({h.tokens for h in alike}) == 1
    assert len({h.tokens[0] for h in apart}) == 4


def test_contrastive_search_avoids_the_loop_that_greedy_falls_into() -> None:
    loop = np.full((4, 4), 0.05)
    loop[0, 1] = loop[1, 0] = 0.85
    from palmette.tokens.matrix import MatrixEngine

    engine = MatrixEngine(loop)
    stuck = decode(engine, "a", greedy(), max_tokens=6).run().text
    free = decode(engine, "a", contrastive(4, 0.6), max_tokens=3).run().text
    assert stuck == "bababa"
    assert len(set(free)) == 3


@pytest.mark.parametrize("early", [True, False, "never"])
def test_early_stopping_can_only_lose_score(early: bool | str) -> None:
    for seed in range(30):
        engine = world(seed, 5, eos=4, sharp=0.5)
        best = max(h.score for h in answers_of(beam(3, 1.0, "never"), engine, [0], Budget(6)))
        found = max(h.score for h in answers_of(beam(3, 1.0, early), engine, [0], Budget(6)))  # type: ignore[arg-type]
        assert found <= best + 1e-9


def test_a_beam_measured_by_the_model_ranks_by_the_model_alone() -> None:
    views = [temperature(0.3), ban([1])]
    found = answers_of(beam(81, 0.0, measure="model"), compose(world(6), views), [0], Budget(3))
    raw = law(world(6), [0], Budget(3))
    allowed = {t: lp for t, lp in raw.items() if 1 not in t}
    assert found[0].score == pytest.approx(max(allowed.values()), abs=1e-6)


def test_a_shared_prefix_is_streamed_before_a_beam_ends() -> None:
    rows = np.eye(4)[[1, 2, 0, 3]] * 0.96 + 0.01
    from palmette.tokens.matrix import MatrixEngine

    steps = steps_of(beam(2), Gather(MatrixEngine(rows)), [0], Budget(8))
    assert any(step.committed for step in steps[:-1])


def test_a_dead_branch_does_not_kill_the_beam() -> None:
    from palmette.tokens.matrix import MatrixEngine

    engine = MatrixEngine([[0, 0.6, 0.4, 0], [0, 1, 0, 0], [0, 0, 0.5, 0.5], [0, 0, 0, 1]], eos=3)
    found = decode(engine, "a", beam(2), views=[no_repeat_ngram(2)], max_tokens=5).run()
    assert {h.finish for h in found.answers} == {"eos"}
    assert all(h.tokens[0] == 2 for h in found.answers)


@pytest.mark.parametrize(
    "make",
    [
        lambda: sample(0),
        lambda: beam(0),
        lambda: beam(2, early_stopping="nevr"),  # type: ignore[arg-type]
        lambda: beam(2, measure="raw"),  # type: ignore[arg-type]
        lambda: diverse_beam(4, 3),
        lambda: stochastic_beam(0),
        lambda: contrastive(0),
        lambda: contrastive(4, 1.5),
        lambda: arithmetic(0),
        lambda: best_of(4, by="max"),  # type: ignore[arg-type]
        lambda: mbr(4, "bleu"),  # type: ignore[arg-type]
        lambda: speculative(DRAFT, 0),
        lambda: prompt_lookup(0),
        lambda: beam_sample(0),
    ],
)
def test_bad_parameters_are_refused(make: object) -> None:
    with pytest.raises(BadParameter):
        make()  # type: ignore[operator]


def test_a_draft_of_another_vocabulary_is_refused() -> None:
    with pytest.raises(BadParameter, match="vocabulary"):
        decode(world(0), "a", speculative(world(0, 5)), max_tokens=3).run()


def test_speculation_with_a_perfect_draft_takes_fewer_passes() -> None:
    engine = world(8, eos=None)
    plain = decode(engine, "a", greedy(), max_tokens=12)
    plain.run()
    fast = decode(engine, "a", speculative(engine, 5, draft_temperature=0.0), views=[temperature(0.0)], max_tokens=12)
    fast.run()
    assert fast.text == plain.text
    assert fast.gather.passes <= 4 < plain.gather.passes


def test_dry_and_beams_compose() -> None:
    found = decode(world(0, 5, eos=None), "ab", beam(3), views=[dry(5.0, allowed=1)], max_tokens=12).run()
    assert found.answers[0].finish == "length"
