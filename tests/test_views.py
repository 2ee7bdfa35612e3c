"""Views: definitions against plain formulas, state on the node, and the errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import world

from palmette.core.engine import Engine, Node
from palmette.core.errors import BadParameter, EmptySupport, Unsupported
from palmette.core.masks import packed
from palmette.core.scores import unpacked
from palmette.tokens.decode import decode
from palmette.tokens.gather import Gather
from palmette.tokens.matrix import MatrixEngine
from palmette.tokens.strategies import beam, greedy, sample
from palmette.tokens.views import (
    VIEWS,
    allow,
    ban,
    compose,
    constrain,
    detect_watermark,
    dola,
    dry,
    dynamic_temperature,
    epsilon,
    eta,
    guide,
    logit_bias,
    min_length,
    min_p,
    mirostat,
    mix,
    no_repeat_ngram,
    penalty,
    repetition_penalty,
    smoothing,
    temperature,
    top_k,
    top_n_sigma,
    top_p,
    typical,
    watermark,
    xtc,
)
from palmette.tokens.views.constrain import HealConstraint


def row_engine(values: list[float], size: int | None = None) -> MatrixEngine:
    """An engine whose every step has the distribution softmax(values)."""
    p = np.exp(np.array(values, float) - max(values))
    return MatrixEngine(np.tile(p, (len(values), 1)))


def kept(engine: Engine, prompt: list[int] | None = None) -> list[int]:
    return sorted(int(t) for t in engine.prefill([prompt or [0]])[0].scores.support())


def grown(engine: Engine, prompt: list[int], tokens: list[int]) -> Node:
    node = engine.prefill([prompt])[0]
    for token in tokens:
        node = engine.extend([node], [[token]])[0]
    return node


rows = st.lists(st.floats(-6, 6, width=32), min_size=2, max_size=12, unique=True)


@given(rows, st.floats(0.05, 0.99))
@settings(max_examples=80, deadline=None)
def test_truncations_follow_their_formulas(values: list[float], p: float) -> None:
    engine = row_engine(values)
    q = engine.matrix[0]
    entropy = -(q * np.log(q)).sum()
    order = np.argsort(-engine.logits[0], kind="stable")  # float32: two of the values may tie there, not in q
    margin = 1e-6

    def check(found: list[int], keep: np.ndarray, near: np.ndarray) -> None:
        expected = set(np.flatnonzero(keep).tolist()) or {int(order[0])}
        unsure = set(np.flatnonzero(near).tolist())
        assert set(found) - unsure == expected - unsure

    check(kept(min_p(p)(engine)), q >= p * q.max(), np.abs(q - p * q.max()) < margin)
    check(kept(epsilon(p / 10)(engine)), q >= p / 10, np.abs(q - p / 10) < margin)
    bound = min(p, math.sqrt(p) * math.exp(-entropy))
    check(kept(eta(p)(engine)), q >= bound, np.abs(q - bound) < margin)
    logits = np.log(q)
    sigma = logits.max() - logits.std()
    check(kept(top_n_sigma(1.0)(engine)), logits >= sigma, np.abs(logits - sigma) < 1e-4)
    cumulated = q[order].cumsum()
    if np.abs(cumulated - p).min() > margin:
        count = int(np.searchsorted(cumulated, p)) + 1
        assert kept(top_p(p)(engine)) == sorted(order[:count].tolist())
        assert kept(top_p(p, tail="hf")(engine)) == sorted(order[:count].tolist())
    closeness = np.argsort(np.abs(-np.log(q) - entropy), kind="stable")
    gaps = np.diff(np.sort(np.abs(-np.log(q) - entropy)))
    typical_mass = q[closeness].cumsum()
    if np.abs(typical_mass - p).min() > margin and (gaps > 1e-5).all():
        count = int(np.searchsorted(typical_mass, p)) + 1
        assert kept(typical(p)(engine)) == sorted(closeness[:count].tolist())


def test_top_k_drops_or_keeps_ties() -> None:
    engine = MatrixEngine(np.tile([0.4, 0.2, 0.2, 0.2], (4, 1)))
    assert kept(top_k(2)(engine)) == [0, 1]
    assert kept(top_k(2, ties="keep")(engine)) == [0, 1, 2, 3]
    assert kept(top_k(0)(engine)) == kept(top_k(9)(engine)) == [0, 1, 2, 3]


def test_the_order_of_views_is_their_meaning() -> None:
    engine = row_engine([2, 1.2, 0])
    assert kept(compose(engine, [temperature(0.5), top_p(0.7)])) == [0]
    assert kept(compose(engine, [top_p(0.7), temperature(0.5)])) == [0, 1]


def test_temperature_zero_is_the_best_candidate_and_one_is_nothing() -> None:
    engine = row_engine([1, 3, 3, 0])
    assert kept(temperature(0)(engine)) == [1]
    base = engine.prefill([[0]])[0].logits
    assert (temperature(1.0)(engine).prefill([[0]])[0].logits == base).all()
    assert temperature(0.5)(engine).prefill([[0]])[0].scores.probability(1) == pytest.approx(
        float(np.exp(2 * base[1]) / np.exp(2 * base).sum()), abs=1e-6
    )


def test_a_tiny_temperature_does_not_overflow() -> None:
    engine = row_engine([1, 3, 3, 0])
    for t in (1e-20, 1e-37, 1e-40, 5e-324):
        assert kept(compose(engine, [temperature(t), top_p(0.99)])) == [1, 2]
        assert temperature(t)(engine).prefill([[0]])[0].scores.probability(2) == pytest.approx(0.5)


def test_dynamic_temperature_is_low_where_the_model_is_sure() -> None:
    flat, sure = row_engine([0, 0.01, 0.02]), row_engine([9, 0, 0.1])
    view = dynamic_temperature(0.5, 2.0)
    base = sure.prefill([[0]])[0].scores.entropy
    assert view(sure).prefill([[0]])[0].scores.entropy < base
    logits = flat.prefill([[0]])[0].logits
    assert view(flat).prefill([[0]])[0].logits == pytest.approx(logits / 2.0, rel=1e-3)


def test_smoothing_is_the_quadratic() -> None:
    engine = row_engine([2.0, 1.0, 0.0])
    top = engine.logits[0].max()
    d = engine.logits[0] - top
    expected = top - 1.5 * 0.3 * d**2 + 0.0 * d**3
    k = (3 - 1.0) / 2
    expected = top - k * 0.3 * d**2
    assert smoothing(0.3)(engine).prefill([[0]])[0].logits == pytest.approx(expected, abs=1e-5)


def test_xtc_keeps_the_least_likely_of_the_top_choices_and_all_below() -> None:
    engine = MatrixEngine(np.tile([0.4, 0.3, 0.2, 0.06, 0.04], (5, 1)))
    assert kept(xtc(0.1, 1.0)(engine)) == [2, 3, 4]
    assert kept(compose(engine, [top_k(4), xtc(0.1, 1.0)])) == [2, 3]
    assert kept(xtc(0.1, 0.0)(engine)) == kept(xtc(0.6, 1.0)(engine)) == [0, 1, 2, 3, 4]
    hits = sum(len(kept(xtc(0.1, 0.5, seed)(engine))) == 3 for seed in range(400))
    assert 150 < hits < 250


def test_biases_bans_and_allowances() -> None:
    engine = row_engine([1.0, 0.5, 0.0])
    base = engine.logits[0]
    assert logit_bias({1: 2.0, 2: -1.0})(engine).prefill([[0]])[0].logits == pytest.approx(np.add(base, [0, 2, -1]))
    assert kept(logit_bias({1: -math.inf})(engine)) == kept(ban([1])(engine)) == [0, 2]
    assert kept(allow([2, 0])(engine)) == [0, 2]
    through_list = compose(engine, [top_k(2), logit_bias({1: 3.0, 2: 9.0})])
    assert through_list.prefill([[0]])[0].scores.best == 1
    with pytest.raises(BadParameter, match="outside the vocabulary"):
        kept(ban([7])(engine))


def test_mirostat_follows_the_surprise_of_what_was_chosen() -> None:
    engine = row_engine([3.0, 1.0, 0.0, -1.0])
    view = mirostat(tau=1.0, eta=0.5)(engine)
    q = engine.matrix[0]
    node = view.prefill([[0]])[0]
    inside = q * (-np.log2(q) <= 2.0)
    assert sorted(node.scores.support()) == np.flatnonzero(inside).tolist()
    child = view.extend([node], [[1]])[0]
    mu = 2.0 - 0.5 * (-math.log2(q[1] / inside.sum()) - 1.0)
    assert sorted(child.scores.support()) == (np.flatnonzero(-np.log2(q) <= mu).tolist() or [0])


def test_penalties_count_what_their_scope_says() -> None:
    engine = row_engine([1.0, 0.5, 0.2, -0.3])
    base = engine.logits[3].astype(float)
    seen_all = [0, 1, 3]
    factor = np.array([1.5 if t in seen_all else 1.0 for t in range(4)])
    expected = np.where(base > 0, base / factor, base * factor)
    assert grown(repetition_penalty(1.5)(engine), [0], [1, 3]).logits == pytest.approx(expected, abs=1e-5)
    only_output = grown(repetition_penalty(1.5, scope="output")(engine), [0], [1, 3]).logits
    assert only_output[0] == pytest.approx(base[0], abs=1e-6)
    windowed = grown(repetition_penalty(1.5, window=1)(engine), [0], [1, 3]).logits
    assert windowed[[0, 1]] == pytest.approx(base[[0, 1]], abs=1e-6)
    counted = grown(penalty(0.5, 0.25)(engine), [0], [1, 1, 3]).logits
    assert counted == pytest.approx(base - [0, 1.0, 0, 0.75], abs=1e-5)


def test_the_repetition_penalty_acts_on_scores_not_on_log_probabilities() -> None:
    engine = MatrixEngine(np.tile(np.exp([2.0, 1.8]), (2, 1)))
    engine.logits = np.tile(np.array([2.0, 1.8], np.float32), (2, 1))  # unnormalised, as a model gives them
    view = repetition_penalty(1.2)
    assert decode(engine, [0], greedy(), views=[view], max_tokens=1).run().answers[0].tokens == (1,)
    assert decode(engine, [0], beam(1), views=[view], max_tokens=1).run().answers[0].tokens == (1,)


def test_no_ngram_occurs_twice() -> None:
    for n in (1, 2, 3):
        for seed in range(10):
            try:
                done = decode(
                    world(seed, 6, eos=None), [0], sample(), views=[no_repeat_ngram(n)], max_tokens=30, seed=seed
                )
                tokens = [0]
                for step in done:
                    tokens += step.committed
            except EmptySupport:
                pass  # every token would repeat something: said, not hidden
            grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
            assert len(grams) == len(set(grams))


def dry_reference(tokens: list[int], candidate: int, breakers: set[int], allowed: int) -> int:
    """The longest suffix of `tokens` that occurred before, followed by `candidate`."""
    best = 0
    for end in range(len(tokens) - 1):
        if tokens[end + 1] != candidate:
            continue
        size = 0
        while size <= end and tokens[end - size] == tokens[-1 - size] and tokens[-1 - size] not in breakers:
            size += 1
        best = max(best, size)
    return best if best >= allowed and candidate not in breakers else 0


@given(st.lists(st.integers(0, 3), min_size=2, max_size=24), st.integers(1, 3))
@settings(max_examples=150, deadline=None)
def test_dry_penalises_as_a_plain_loop_would(tokens: list[int], allowed: int) -> None:
    engine = MatrixEngine(np.full((4, 4), 0.25), labels=["a", "b", "c", "\n"])
    base = engine.logits[0]
    found = grown(dry(0.8, 1.75, allowed)(engine), tokens[:1], tokens[1:]).logits
    for candidate in range(4):
        size = dry_reference(tokens, candidate, {3}, allowed)
        expected = base[candidate] - (0.8 * 1.75 ** (size - allowed) if size else 0.0)
        assert found[candidate] == pytest.approx(expected, abs=1e-4)


def test_min_length_holds_back_the_end() -> None:
    engine = world(0, 3, eos=2, sharp=0.3)
    for seed in range(20):
        found = decode(engine, "a", sample(), views=[min_length(4)], max_tokens=9, seed=seed).run().answers[0]
        assert len(found.tokens) >= 5 or found.finish == "length"
        assert 2 not in found.tokens[:4]


def test_guidance_mixes_log_probabilities_in_one_pass() -> None:
    engine = world(3)
    gather = Gather(engine)
    view = guide("cb", 2.0)(gather)
    node = grown(view, [0, 1], [0])
    plain = [grown(engine, prompt, [0]).scores.logprobs() for prompt in ([0, 1], [2, 1])]
    assert node.logits == pytest.approx(plain[1] + 2.0 * (plain[0] - plain[1]), abs=1e-5)
    assert gather.passes == 2
    assert guide("cb", 1.0)(engine).prefill([[0]])[0].logits == pytest.approx(engine.logits[0], abs=1e-5)


def test_contrastive_decoding_is_expert_minus_amateur_on_plausible_tokens() -> None:
    expert, amateur = world(1), world(2)
    node = mix(amateur, alpha=0.3, beta=0.5)(expert).prefill([[0]])[0]
    q = expert.matrix[0]
    plausible = np.flatnonzero(q >= 0.3 * q.max())
    assert sorted(node.scores.support()) == plausible.tolist()
    expected = 1.5 * expert.logits[0] - 0.5 * amateur.logits[0]
    assert node.logits[plausible] == pytest.approx(expected[plausible], abs=1e-5)
    with pytest.raises(BadParameter, match="vocabulary"):
        mix(world(0, 7))(expert)


def test_dola_asks_for_layers_and_says_so() -> None:
    with pytest.raises(Unsupported, match="layers"):
        decode(world(0), "a", greedy(), views=[dola()], max_tokens=2).run()


def test_a_watermark_is_found_and_plain_text_is_not() -> None:
    engine = MatrixEngine(np.full((40, 40), 1 / 40))
    marked = decode(engine, [0], sample(), views=[watermark(delta=3.0)], max_tokens=200).run().answers[0].tokens
    plain = decode(engine, [0], sample(), max_tokens=200).run().answers[0].tokens
    assert detect_watermark(marked).p_value < 1e-10
    assert detect_watermark(plain).p_value > 1e-3
    assert detect_watermark(marked, key=7).p_value > 1e-3
    with pytest.raises(BadParameter, match="too few"):
        detect_watermark([1])


class Alternating:
    """A small constraint: tokens 0 and 1 alternate, 2 (the end) may follow a 1."""

    def start(self) -> int:
        return 0

    def mask(self, s: int) -> np.ndarray:
        return packed(np.array([s] if s == 1 else [0, 2]), 3)

    def step(self, s: int, token: int) -> int:
        return 1 - s

    def forced(self, s: int) -> list[int]:
        return [1] if s == 1 else []

    def accepts(self, s: int) -> bool:
        return s == 0


def test_a_constraint_holds_under_forks() -> None:
    engine = compose(world(4, 3, eos=2), [constrain(Alternating())])
    found = decode(engine, "a", beam(8), max_tokens=7).run().answers
    texts = {tuple(h.tokens) for h in found}
    assert texts == {(2,), (0, 1, 2), (0, 1, 0, 1, 2), (0, 1, 0, 1, 0, 1, 2), (0, 1, 0, 1, 0, 1, 0)}


def test_masks_round_trip() -> None:
    ids = np.array([0, 31, 32, 63, 64, 99])
    assert np.flatnonzero(unpacked(packed(ids, 100), 100)).tolist() == ids.tolist()


def test_healing_spells_the_prompt_again() -> None:
    engine = MatrixEngine(np.full((4, 4), 0.25), labels=["h", "t", "ht", "p"])
    done = decode(engine, [0, 3, 0], greedy(), heal=True, max_tokens=3).run()
    assert done.text == "hh" or done.text.startswith(("h", "t"))
    constraint = HealConstraint(engine.tokenizer, 4, b"ht")
    assert np.flatnonzero(unpacked(constraint.mask(b"ht"), 4)).tolist() == [0, 2]
    assert constraint.step(b"ht", 0) == b"t"
    assert constraint.accepts(constraint.step(b"t", 1))


@pytest.mark.parametrize("name", [n for n in VIEWS if n not in {"logit_bias", "ban", "allow", "guide", "mix", "dola"}])
def test_extending_by_many_is_extending_one_by_one(name: str) -> None:
    engine = VIEWS[name]()(world(5, 5, eos=4))  # type: ignore[call-arg]
    tokens = [1, 0, 2, 1, 0, 2, 2]
    node = engine.prefill([[0, 1]])[0]
    leaf = engine.extend([node], [tokens])[0]
    single: Node | None = grown(engine, [0, 1], tokens)
    many: Node | None = leaf
    while single is not None and many is not None:
        assert many.scores.dense().tolist() == single.scores.dense().tolist()
        single, many = single.parent, many.parent


@pytest.mark.parametrize("name", [n for n in VIEWS if n not in {"logit_bias", "ban", "allow", "guide", "mix", "dola"}])
def test_a_fork_does_not_disturb_its_sibling(name: str) -> None:
    engine = VIEWS[name]()(world(5, 5, eos=4))  # type: ignore[call-arg]
    trunk = grown(engine, [0, 1], [1, 0])
    left = engine.extend([trunk], [[1, 0, 1]])[0]
    right = engine.extend([trunk], [[2, 2, 2]])[0]
    assert left.logits.tolist() == grown(engine, [0, 1], [1, 0, 1, 0, 1]).logits.tolist()
    assert right.logits.tolist() == grown(engine, [0, 1], [1, 0, 2, 2, 2]).logits.tolist()


@pytest.mark.parametrize("view", [top_p, min_p, epsilon, eta, typical], ids=lambda f: f.__name__)
def test_probabilities_out_of_range_are_refused(view: object) -> None:
    for wrong in (-0.1, 1.1, math.nan):
        with pytest.raises(BadParameter, match=r"between|nan"):
            view(wrong)  # type: ignore[operator]


def test_empty_support_says_which_view_removed_the_last_candidate() -> None:
    with pytest.raises(EmptySupport, match=r"ban\(tokens=\[0, 1, 2, 3\]\)"):
        decode(world(0), "a", greedy(), views=[ban([0, 1, 2, 3])], max_tokens=2).run()
