"""Personalised PageRank: where a walk is found that at every step goes home with probability `restart`.

Page et al. 1999, "The PageRank citation ranking"; Haveliwala 2002, "Topic-sensitive PageRank". The matrix is held as
edges in numpy arrays; with scipy.sparse, where it is installed, a step is one product. Both give the same numbers.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Web", "pagerank"]

WORTH_SCIPY = 100_000  # edges
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Web:
    """A weighted graph: edge i leads from `source[i]` to `target[i]`; a node's weights are shares of its way out."""

    nodes: int
    source: Ints
    target: Ints
    weight: Floats

    @cached_property
    def share(self) -> Floats:
        """The weight of each edge as a share of all that leaves its source: float64[edges]."""
        out = np.bincount(self.source, self.weight, self.nodes)
        return self.weight / np.where(out > 0, out, 1)[self.source]

    @cached_property
    def matrix(self) -> Any:
        """The transposed transition matrix, scipy's; None without it, and where a walk is over before it is loaded."""
        if len(self.source) < WORTH_SCIPY or importlib.util.find_spec("scipy") is None:
            return None
        from scipy.sparse import csr_matrix

        return csr_matrix((self.share, (self.target, self.source)), shape=(self.nodes, self.nodes))

    def step(self, mass: Floats) -> Floats:
        """One step of the walk: float64[nodes] -> float64[nodes]."""
        if self.matrix is not None:
            return np.asarray(self.matrix @ mass)
        return self.plain_step(mass)

    def plain_step(self, mass: Floats) -> Floats:
        """The same without scipy."""
        return np.bincount(self.target, self.share * mass[self.source], self.nodes).astype(np.float64)


def pagerank(web: Web, seeds: Floats, *, restart: float = 0.5, rounds: int = 25) -> Floats:
    """The share of time that a walk from `seeds` spends at each node: float64[nodes], of the seeds' sum.

    What a node without a way out holds goes back to the seeds.

    >>> web = Web(3, np.array([0, 1, 1]), np.array([1, 0, 2]), np.ones(3))
    >>> pagerank(web, np.array([1.0, 0, 0])).round(3).tolist()
    [0.615, 0.308, 0.077]
    """
    total = seeds.sum()
    mass = seeds
    for _ in range(rounds):
        walked = web.step(mass)
        lost = mass.sum() - walked.sum()
        home = restart + (1 - restart) * lost / total if total else 0.0
        mass = home * seeds + (1 - restart) * walked
    return mass
