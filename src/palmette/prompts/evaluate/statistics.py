"""How sure a figure is: intervals for one technique, paired tests between two on the same items."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Comparison", "Estimate", "compare", "estimate", "holm", "mcnemar", "wilson"]

Z = 1.959963984540054  # 97.5 % of the standard normal
DRAWS = 4000


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Comparison:
    """One technique against another on the same items.

    Args:
        difference: of the means, second minus first.
        low, high: its 95 % interval, bootstrapped over items.
        p: of the two-sided test: McNemar's exact one for right and wrong, else a random flip of signs.
        won, lost: items on which the second is better, and worse.
    """

    difference: float
    low: float
    high: float
    p: float
    won: int
    lost: int


def wilson(right: int, n: int) -> tuple[float, float]:
    """Wilson's score interval (1927) of a share, which also holds near 0 and 1.

    >>> low, high = wilson(9, 10)
    >>> round(low, 3), round(high, 3)
    (0.596, 0.982)
    """
    if n == 0:
        return 0.0, 1.0
    share, square = right / n, Z * Z
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = Z / (1 + square / n) * math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    return (0.0 if right == 0 else middle - half), (1.0 if right == n else middle + half)


def estimate(scores: Sequence[float], seed: int = 0) -> Estimate:
    """The mean of scores: Wilson's interval for right and wrong, else the bootstrap's percentiles."""
    values = np.asarray(scores, np.float64)
    if not len(values):
        return Estimate(math.nan, math.nan, math.nan, 0)
    if set(np.unique(values)) <= {0.0, 1.0}:
        return Estimate(float(values.mean()), *wilson(int(values.sum()), len(values)), len(values))
    low, high = _bootstrap(values, seed)
    return Estimate(float(values.mean()), low, high, len(values))


def mcnemar(won: int, lost: int) -> float:
    """The exact two-sided p of McNemar's test: under no difference each disagreement is a fair coin.

    >>> mcnemar(0, 5)
    0.0625
    """
    n = won + lost
    if n == 0:
        return 1.0
    tail = sum(math.comb(n, i) for i in range(min(won, lost) + 1))
    return min(1.0, float(2 * tail / 2**n))


def compare(first: Sequence[float], second: Sequence[float], seed: int = 0) -> Comparison:
    """The second against the first, item by item.

    >>> compare([0, 0, 1, 0], [1, 1, 1, 1]).difference
    0.75
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    apart = b - a
    won, lost = int((apart > 0).sum()), int((apart < 0).sum())
    low, high = _bootstrap(apart, seed) if len(apart) else (math.nan, math.nan)
    binary = set(np.unique(np.concatenate([a, b]))) <= {0.0, 1.0}
    p = mcnemar(won, lost) if binary else _flipped(apart, seed)
    return Comparison(float(apart.mean()) if len(apart) else math.nan, low, high, p, won, lost)


def holm(ps: Sequence[float]) -> list[float]:
    """p-values of several tests together (Holm 1979).

    >>> holm([0.01, 0.04])
    [0.02, 0.04]
    """
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    made, most = [0.0] * len(ps), 0.0
    for rank, i in enumerate(order):
        most = max(most, min(1.0, (len(ps) - rank) * ps[i]))
        made[i] = most
    return made


def _bootstrap(values: NDArray[np.float64], seed: int) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    means = np.concatenate([
        values[rng.integers(0, len(values), (min(250, DRAWS), len(values)))].mean(axis=1) for _ in range(DRAWS // 250)
    ])  # fmt: skip
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _flipped(apart: NDArray[np.float64], seed: int) -> float:
    """The share of random flips of signs that are at least as far from 0, this one counted."""
    rng = np.random.default_rng(seed)
    seen, hits = abs(float(apart.sum())), 1
    for _ in range(DRAWS // 250):
        signs = rng.integers(0, 2, (250, len(apart))) * 2 - 1
        hits += int((abs((signs * apart).sum(axis=1)) >= seen - 1e-12).sum())
    return float(hits / (DRAWS + 1))
