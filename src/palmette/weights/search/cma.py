"""CMA-ES: a search that learns, from the ranks of what it has tried, the shape of the valley it is in.

Hansen 2016, The CMA Evolution Strategy: A Tutorial (arXiv 1604.00772), with its equation numbers. Candidates are
clipped to the box, and what was tried is what is learned from, so the mean never leaves the box for long.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["CMA"]

Vector = NDArray[np.float64]


class CMA:
    """Ask for candidates in the unit cube, tell their losses, repeat; the same seed and losses give the same ones.

    Args:
        start: the first mean, each number from 0 to 1.
        sigma: the first step, as a share of the cube's side.
        seed: of every draw.
        size: candidates of a generation; the tutorial's 4 + ⌊3 ln n⌋ unless given.

    >>> search = CMA([0.9, 0.1], seed=1)
    >>> for _ in range(60):
    ...     found = search.ask()
    ...     search.tell(found, [float((x - 0.3) @ (x - 0.3)) for x in found])
    >>> [round(float(x), 2) for x in search.mean]
    [0.3, 0.3]
    """

    def __init__(self, start: Sequence[float], sigma: float = 0.25, seed: int = 0, size: int | None = None) -> None:
        n = len(start)
        self.mean: Vector = np.array(start, np.float64)
        self.sigma = sigma
        self.size = size or 4 + int(3 * math.log(n))
        self._rng = np.random.default_rng(seed)
        half = self.size // 2
        raw = math.log((self.size + 1) / 2) - np.log(np.arange(1, half + 1))  # (49), positive part
        self._weights = raw / raw.sum()
        self._mu_eff = 1 / float(np.sum(self._weights**2))
        mu = self._mu_eff
        self._c_c = (4 + mu / n) / (n + 4 + 2 * mu / n)  # (56)
        self._c_sigma = (mu + 2) / (n + mu + 5)  # (55)
        self._c_1 = 2 / ((n + 1.3) ** 2 + mu)  # (57)
        self._c_mu = min(1 - self._c_1, 2 * (mu - 2 + 1 / mu) / ((n + 2) ** 2 + mu))  # (58)
        self._damping = 1 + 2 * max(0.0, math.sqrt((mu - 1) / (n + 1)) - 1) + self._c_sigma  # (55)
        self._chi = math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n))
        self._path_sigma, self._path_c = np.zeros(n), np.zeros(n)
        self._covariance = np.eye(n)
        self._steps = 0

    def ask(self) -> list[Vector]:
        """The next generation, inside the cube."""
        values, axes = np.linalg.eigh(self._covariance)
        self._root = axes * np.sqrt(np.maximum(values, 1e-20))
        self._inverse = (axes / np.sqrt(np.maximum(values, 1e-20))) @ axes.T
        drawn = self._rng.standard_normal((self.size, len(self.mean))) @ self._root.T  # (38, 39)
        return [np.clip(self.mean + self.sigma * y, 0.0, 1.0) for y in drawn]

    def tell(self, candidates: Sequence[Vector], losses: Sequence[float]) -> None:
        """What the candidates of `ask` have scored; infinity and NaN count as worst."""
        n, mu = len(self.mean), self._mu_eff
        scored = [loss if math.isfinite(loss) else math.inf for loss in losses]
        order = sorted(range(len(candidates)), key=lambda i: (scored[i], i))[: len(self._weights)]
        steps = np.array([(candidates[i] - self.mean) / self.sigma for i in order])  # (41), of the clipped points
        mean_step = self._weights @ steps
        self.mean = self.mean + self.sigma * mean_step  # (42)
        self._steps += 1
        self._path_sigma = (1 - self._c_sigma) * self._path_sigma + math.sqrt(
            self._c_sigma * (2 - self._c_sigma) * mu
        ) * (self._inverse @ mean_step)  # (43)
        length = float(np.linalg.norm(self._path_sigma))
        self.sigma = min(1.0, self.sigma * math.exp(self._c_sigma / self._damping * (length / self._chi - 1)))  # (44)
        fresh = math.sqrt(1 - (1 - self._c_sigma) ** (2 * self._steps))
        stalled = 1.0 if length / fresh < (1.4 + 2 / (n + 1)) * self._chi else 0.0  # h of (45)
        self._path_c = (1 - self._c_c) * self._path_c + stalled * math.sqrt(
            self._c_c * (2 - self._c_c) * mu
        ) * mean_step
        kept = 1 - self._c_1 - self._c_mu + (1 - stalled) * self._c_1 * self._c_c * (2 - self._c_c)
        self._covariance = (
            kept * self._covariance
            + self._c_1 * np.outer(self._path_c, self._path_c)
            + self._c_mu * (steps.T * self._weights) @ steps
        )  # (47)
        self._covariance = (self._covariance + self._covariance.T) / 2
