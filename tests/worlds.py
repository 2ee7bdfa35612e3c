"""Small worlds in which everything can be enumerated."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from palmette.core.engine import Budget, Engine, Hypothesis, Node, Step, Strategy
from palmette.core.rng import Rng
from palmette.tokens.gather import Gather
from palmette.tokens.matrix import MatrixEngine

Law = dict[tuple[int, ...], float]


def world(seed: int = 0, size: int = 4, eos: int | None = 3, sharp: float = 1.0) -> MatrixEngine:
    """A random transition matrix; the last token ends a sequence."""
    rows = np.random.default_rng(seed).dirichlet([sharp] * size, size)
    return MatrixEngine(rows, eos=() if eos is None else eos)


def law(engine: Engine, prompt: Sequence[int], budget: Budget) -> Law:
    """log p of every possible answer, by walking the whole tree."""
    found: Law = {}

    def visit(node: Node, tokens: tuple[int, ...], logprob: float) -> None:
        logprobs = node.scores.logprobs()
        for token in node.scores.support():
            total = logprob + float(logprobs[token])
            if budget.finish(engine, node, int(token)):
                found[(*tokens, int(token))] = total
            else:
                visit(engine.extend([node], [[int(token)]])[0], (*tokens, int(token)), total)

    visit(engine.prefill([prompt])[0], (), 0.0)
    assert math.isclose(sum(map(math.exp, found.values())), 1.0, abs_tol=1e-5)
    return found


def steps_of(strategy: Strategy, engine: Engine, prompt: Sequence[int], budget: Budget, seed: int = 0) -> list[Step]:
    """All steps of a strategy on a gathering engine."""
    return list(strategy(engine, prompt, budget, Rng(seed)))


def answers_of(
    strategy: Strategy, engine: Engine, prompt: Sequence[int], budget: Budget, seed: int = 0
) -> tuple[Hypothesis, ...]:
    """The answers of a strategy."""
    return steps_of(strategy, Gather(engine), prompt, budget, seed)[-1].answers


def chi_square(counts: dict[tuple[int, ...], int], expected: Law, draws: int) -> float:
    """The p-value of observed counts against a law; rare outcomes are pooled."""
    from scipy.stats import chi2

    rare_seen = rare_expected = statistic = 0.0
    cells = 0
    assert set(counts) <= set(expected), "an outcome of probability zero was drawn"
    for outcome, logprob in expected.items():
        mean = draws * math.exp(logprob)
        seen = counts.get(outcome, 0)
        if mean < 5:
            rare_seen, rare_expected = rare_seen + seen, rare_expected + mean
        else:
            statistic += (seen - mean) ** 2 / mean
            cells += 1
    if rare_expected > 0:
        statistic += (rare_seen - rare_expected) ** 2 / max(rare_expected, 1e-9)
        cells += 1
    return float(chi2.sf(statistic, cells - 1))
