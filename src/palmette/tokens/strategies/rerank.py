"""Generate several, keep the best: best-of-n by a score, and minimum Bayes risk by agreement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from palmette.core.engine import Budget, Engine, Hypothesis, Step, Strategy
from palmette.core.errors import BadParameter
from palmette.core.rng import Rng
from palmette.tokens.strategies.frontier import conclude
from palmette.tokens.strategies.named import named
from palmette.tokens.strategies.sampling import sample

__all__ = ["Utility", "best_of", "chrf", "mbr", "token_f1"]

Utility = Callable[[str, str], float]
Rank = Callable[[Engine, Sequence[Hypothesis]], Sequence[float]]


@named
def best_of(n: int = 8, by: Literal["mean", "sum"] = "mean") -> Strategy:
    """Sample n continuations and put the likeliest first.

    Args:
        n: how many samples.
        by: "mean" log-probability of a token after the views, or the "sum" (which favours short answers).
    """
    if by not in ("mean", "sum"):
        raise BadParameter(f"best_of's by must be 'mean' or 'sum', not {by!r}")

    def rank(engine: Engine, found: Sequence[Hypothesis]) -> list[float]:
        return [h.logprob / (len(h.tokens) if by == "mean" else 1) for h in found]

    return _reranked(sample(n), rank)


@named
def mbr(n: int = 16, utility: Literal["chrf", "f1"] | Utility = "chrf") -> Strategy:
    """Minimum Bayes risk decoding (Eikema & Aziz 2020): of n samples, the one most like all the others.

    Args:
        n: how many samples; they are candidates and evidence at once.
        utility: "chrf" (character n-gram F2), "f1" (words), or a function of candidate and evidence, higher is better.
    """
    known: dict[str, Utility] = {"chrf": chrf, "f1": token_f1}
    measure = known.get(utility) if isinstance(utility, str) else utility
    if measure is None:
        raise BadParameter(f"mbr's utility must be 'chrf', 'f1' or a function, not {utility!r}")

    def rank(engine: Engine, found: Sequence[Hypothesis]) -> list[float]:
        texts = Counter(engine.tokenizer.decode(h.tokens) for h in found)
        total = sum(texts.values())
        expected = {a: sum(k * measure(a, b) for b, k in texts.items()) / total for a in texts}
        return [expected[engine.tokenizer.decode(h.tokens)] for h in found]

    return _reranked(sample(n), rank)


def _reranked(inner: Strategy, rank: Rank) -> Strategy:
    """Run `inner`, then order its answers by `rank`, best first, ties as they came."""

    def run(engine: Engine, prompt: Sequence[int], budget: Budget, rng: Rng) -> Iterator[Step]:
        for step in inner(engine, prompt, budget, rng):
            if not step.answers:
                yield replace(step, committed=())
                continue
            values = rank(engine, step.answers)
            order = np.argsort([-v for v in values], kind="stable")
            yield conclude([replace(step.answers[i], score=float(values[i])) for i in order], 0, step.edges)

    return run


def chrf(candidate: str, evidence: str, order: int = 6, beta: float = 2.0) -> float:
    """Character n-gram F-score (Popović 2015), white space left out; 0 … 1.

    >>> chrf("abc", "abc"), chrf("abc", "xyz")
    (1.0, 0.0)
    """
    a, b = "".join(candidate.split()), "".join(evidence.split())
    if not a or not b:
        return float(a == b)
    precisions, recalls = [], []
    for n in range(1, order + 1):
        grams_a, grams_b = _grams(a, n), _grams(b, n)
        if not grams_a or not grams_b:
            continue
        shared = sum((grams_a & grams_b).values())
        precisions.append(shared / sum(grams_a.values()))
        recalls.append(shared / sum(grams_b.values()))
    p, r = float(np.mean(precisions)), float(np.mean(recalls))
    return 0.0 if p + r == 0 else float((1 + beta**2) * p * r / (beta**2 * p + r))


def _grams(text: str, n: int) -> Counter[str]:
    return Counter(text[i : i + n] for i in range(len(text) - n + 1))


def token_f1(candidate: str, evidence: str) -> float:
    """F1 of the words that two texts share; 0 … 1."""
    a, b = Counter(candidate.split()), Counter(evidence.split())
    if not a or not b:
        return float(a == b)
    shared = sum((a & b).values())
    return 2 * shared / (sum(a.values()) + sum(b.values()))
