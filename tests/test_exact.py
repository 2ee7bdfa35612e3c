"""Exact sampling under a constraint: the law is that of the model given a valid text, which masking misses."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from worlds import answers_of, chi_square, law

import palmette
from palmette.core.engine import Budget, Engine, Strategy, View
from palmette.core.errors import BadParameter, EmptySupport
from palmette.tokens.decode import decode
from palmette.tokens.matrix import MatrixEngine
from palmette.tokens.strategies import sample
from palmette.tokens.structure.exact import exact, smc
from palmette.tokens.structure.finite import FiniteConstraint
from palmette.tokens.structure.grammar import regex_constraint
from palmette.tokens.views import compose, constrain, temperature, top_k

# "ab" then almost never "a": a mask that lets "aba" begin does not know how rarely it ends well.
TRAP = MatrixEngine(
    [[0.05, 0.75, 0.15, 0.05], [0.01, 0.09, 0.5, 0.4], [0.3, 0.3, 0.1, 0.3], [0.25, 0.25, 0.25, 0.25]], eos=3
)
TEXTS = ["ba", "baa", "c", "cab", "bab"]
BUDGET = Budget(5)


def conditional(engine: Engine, texts: list[str]) -> dict[tuple[int, ...], float]:
    """log p(x | x is one of the texts)."""
    everything = law(engine, [0], BUDGET)
    kept = {t: lp for t, lp in everything.items() if t[-1] == 3 and engine.tokenizer.decode(t) in texts}
    total = math.log(sum(map(math.exp, kept.values())))
    return {t: lp - total for t, lp in kept.items()}


def drawn(strategy: Strategy, engine: Engine, draws: int) -> Counter[tuple[int, ...]]:
    return Counter(answers_of(strategy, engine, [0], BUDGET, seed=s)[0].tokens for s in range(draws))


def distance(counts: Counter[tuple[int, ...]], expected: dict[tuple[int, ...], float]) -> float:
    total = sum(counts.values())
    return sum(abs(counts[t] / total - math.exp(expected.get(t, -math.inf))) for t in {*counts, *expected}) / 2


@pytest.mark.parametrize("views", [[], [temperature(0.6)], [temperature(2.0), top_k(3)]])
def test_exact_sampling_has_the_law_and_masking_has_not(views: list[View]) -> None:
    engine = compose(TRAP, views)
    expected = conditional(engine, TEXTS)
    rule = FiniteConstraint(TRAP, TEXTS)
    found = answers_of(exact(rule, n=6000), engine, [0], BUDGET, seed=1)
    counts = Counter(h.tokens for h in found)
    assert chi_square(counts, expected, 6000) > 1e-4
    assert distance(counts, expected) < 0.03
    masked = compose(TRAP, [constrain(rule), *views])
    assert distance(drawn(sample(), masked, 1500), expected) > 0.1


def test_independent_runs_have_the_law_too() -> None:
    """The first draw of a run starts from nothing learnt."""
    expected = conditional(TRAP, TEXTS)
    assert chi_square(drawn(exact(FiniteConstraint(TRAP, TEXTS)), TRAP, 1500), expected, 1500) > 1e-4


def test_what_is_learnt_makes_rejections_rare() -> None:
    decoding = decode(TRAP, [0], exact(FiniteConstraint(TRAP, TEXTS), n=300), max_tokens=5, trace=False)
    rejected = sum(1 for _ in decoding) - 1
    assert len(decoding.answers) == 300
    assert rejected < 30


def test_particles_approach_the_law() -> None:
    expected = conditional(TRAP, TEXTS)
    rule = FiniteConstraint(TRAP, TEXTS)
    few, many = (distance(drawn(smc(rule, particles), TRAP, 300), expected) for particles in (4, 100))
    masked = distance(drawn(sample(), compose(TRAP, [constrain(rule)]), 300), expected)
    assert many < 0.1
    assert masked > 0.5
    assert many < few < masked


def test_particles_estimate_the_probability_of_validity_without_bias() -> None:
    everything = law(TRAP, [0], BUDGET)
    valid = sum(math.exp(lp) for t, lp in everything.items() if t[-1] == 3 and TRAP.tokenizer.decode(t) in TEXTS)
    rule = FiniteConstraint(TRAP, TEXTS)
    estimates = []
    for seed in range(200):
        answers = answers_of(smc(rule, 8), TRAP, [0], BUDGET, seed=seed)
        estimates.append(sum(math.exp(h.score) for h in answers) / 8)
    error = np.std(estimates) / math.sqrt(len(estimates))
    assert abs(np.mean(estimates) - valid) < 4 * error


def test_a_regex_on_the_embedded_model() -> None:
    engine = palmette.open_engine("zoo:seedling")
    rule = regex_constraint(engine, "[a-z]{3,5}")
    for strategy in (exact(rule, n=3), smc(rule, 6)):
        done = decode(engine, "Once upon a time", strategy, max_tokens=8).run()
        assert all(3 <= len(text) <= 5 and text.islower() for text in done.answer_texts())
        assert all(h.finish == "eos" for h in done.answers)
        again = decode(engine, "Once upon a time", strategy, max_tokens=8).run()
        assert again.texts == done.texts


def test_what_cannot_be_drawn_is_said() -> None:
    rule = FiniteConstraint(TRAP, ["bababa"])
    with pytest.raises(EmptySupport, match="P\\(valid\\) is at most 0"):
        answers_of(exact(rule, attempts=50), TRAP, [0], BUDGET)
    with pytest.raises(EmptySupport, match="none of 4 particles"):
        answers_of(smc(rule, 4), TRAP, [0], BUDGET)
    for wrong in (lambda: exact(rule, n=0), lambda: exact(rule, attempts=0), lambda: smc(rule, 0)):
        with pytest.raises(BadParameter):
            wrong()
