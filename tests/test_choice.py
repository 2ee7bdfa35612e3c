"""Finite sets and exact choices, against enumeration."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from worlds import law, world

import palmette
from palmette.core.engine import Budget, Engine, Strategy
from palmette.core.errors import BadParameter, UsageError
from palmette.core.scores import unpacked
from palmette.tokens.decode import decode
from palmette.tokens.gather import Gather
from palmette.tokens.matrix import MatrixEngine
from palmette.tokens.strategies import STRATEGIES, beam
from palmette.tokens.structure.choice import choose
from palmette.tokens.structure.finite import FiniteConstraint
from palmette.tokens.views import compose, constrain, temperature, top_k

TEXTS = ["a", "ab", "abc", "b", "cab", "cc", "a"]


@pytest.fixture(scope="module")
def seedling() -> Engine:
    return palmette.open_engine("zoo:seedling")


def texts_of(rule: FiniteConstraint, engine: Engine) -> set[str]:
    """All texts that the constraint lets through, by walking its states."""
    found = set()
    stack = [(rule.start(), ())]
    while stack:
        state, tokens = stack.pop()
        for token in np.flatnonzero(unpacked(rule.mask(state), engine.vocabulary)):
            if int(token) in engine.eos:
                assert rule.accepts(state)
                found.add(engine.tokenizer.decode(tokens))
            else:
                stack.append((rule.step(state, int(token)), (*tokens, int(token))))  # type: ignore[arg-type]
    return found


def test_the_language_is_the_set(seedling: Engine) -> None:
    assert texts_of(FiniteConstraint(world(0, 4), TEXTS), world(0, 4)) == set(TEXTS)
    rng = np.random.default_rng(0)
    words = {"".join(rng.choice(list("abé日 "), rng.integers(1, 9))) for _ in range(500)}
    assert texts_of(FiniteConstraint(seedling, words), seedling) == words


def made(name: str, engine: Engine) -> Strategy:
    return STRATEGIES[name](engine) if name == "speculative" else STRATEGIES[name]()


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_stays_inside(seedling: Engine, name: str) -> None:
    words = ["happy", "happier", "sad", "so so", "日本"]
    view = constrain(FiniteConstraint(seedling, words))
    done = decode(seedling, "Runa is", made(name, seedling), views=[view], max_tokens=30).run()
    assert set(done.answer_texts()) <= set(words)
    assert all(h.finish == "eos" for h in done.answers)


def test_beams_over_a_set_are_exact() -> None:
    engine = world(3, 4)
    view = constrain(FiniteConstraint(engine, TEXTS))
    found = decode(engine, "a", beam(20, length_penalty=0.0), views=[view], max_tokens=6).run()
    possible = law(compose(engine, [view]), [0], Budget(6))
    assert {h.tokens: h.logprob for h in found.answers} == pytest.approx(possible, abs=1e-6)


def test_a_single_text_costs_one_pass(seedling: Engine) -> None:
    view = constrain(FiniteConstraint(seedling, ["a long text that can only be said in one way"]))
    done = decode(seedling, "Once", views=[view], max_tokens=60, trace=False).run()
    assert done.gather.passes == 0, "nothing had to be asked"
    assert done.text == "a long text that can only be said in one way"


def test_large_sets(seedling: Engine) -> None:
    words = [f"name {i * 7919}" for i in range(20_000)]
    rule = FiniteConstraint(seedling, words)
    done = decode(seedling, "Once", views=[constrain(rule)], max_tokens=40, seed=4).run()
    assert done.text in set(words)


def test_sets_that_cannot_be() -> None:
    with pytest.raises(BadParameter, match="at least one"):
        FiniteConstraint(world(), [])
    with pytest.raises(UsageError, match="end-of-sequence"):
        FiniteConstraint(world(eos=None), ["a"])


# -- choice ------------------------------------------------------------------------------------------------------------


def options(size: int) -> list[str]:
    return ["".join(p) for p in itertools.product("abc"[:size], repeat=3)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("end", [False, True])
def test_a_choice_is_the_conditional_law(seed: int, end: bool) -> None:
    engine = world(seed, 4)
    found = choose(engine, [0, 1], options(3), end=end)
    rows = np.exp(engine.logits)
    rows /= rows.sum(1, keepdims=True)
    exact = []
    for option in options(3):
        tokens = [1, *("abc".index(c) for c in option), *([3] if end else [])]
        exact.append(math.prod(rows[a, b] for a, b in itertools.pairwise(tokens)))
    assert np.allclose(found.probabilities, np.array(exact) / sum(exact), atol=1e-6)
    assert np.allclose(found.logprobs, np.log(exact), atol=1e-5)
    assert found.best == options(3)[int(np.argmax(exact))]


def test_a_choice_with_the_end_is_the_law_of_all_texts_that_fit() -> None:
    engine, budget = world(7, 4), Budget(5)
    texts = ["a", "ab", "abc", "b"]
    found = choose(engine, [1], texts, end=True)
    everything = {engine.tokenizer.decode(tokens): lp for tokens, lp in law(engine, [1], budget).items() if 3 in tokens}
    weights = np.array([math.exp(everything[t]) for t in texts])
    assert np.allclose(found.probabilities, weights / weights.sum(), atol=1e-6)


def test_a_choice_is_one_pass_and_sees_the_views(seedling: Engine) -> None:
    gather = Gather(seedling)
    prompt = seedling.tokenizer.encode("Runa is very")
    found = choose(gather, prompt, [" happy", " sad", " tired of it"])
    assert gather.passes == 2, "the prompt, and all options together"
    assert sum(found.probabilities) == pytest.approx(1)
    hot = choose(temperature(1e6)(seedling), prompt, ["a", "b", "c"])
    assert hot.probabilities == pytest.approx([1 / 3] * 3, abs=1e-3)
    assert found[found.best] == max(found.probabilities)


def test_means_compare_options_of_different_length(seedling: Engine) -> None:
    prompt = seedling.tokenizer.encode("Runa is")
    texts = [" happy", " a very happy and very tall baker"]
    by_sum, by_mean = (choose(seedling, prompt, texts, mean=mean) for mean in (False, True))
    assert by_mean.logprobs == by_sum.logprobs
    assert by_mean[texts[1]] > by_sum[texts[1]]


@pytest.mark.parametrize(
    ("texts", "says"),
    [([], "at least one"), (["a", ""], "empty"), (["a", "b", "a"], "'a' is given twice"), (["a", "ab"], "end=True")],
)
def test_choices_that_cannot_be(texts: list[str], says: str) -> None:
    with pytest.raises(BadParameter, match=says):
        choose(world(), [0], texts)


def test_options_without_any_probability() -> None:
    with pytest.raises(BadParameter, match="none of the options"):
        choose(top_k(1)(MatrixEngine([[0.1, 0.9], [0.5, 0.5]])), [0], ["a"])
