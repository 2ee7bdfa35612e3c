"""Where on a plane to measure next: nested Chebyshev points, more of them where the surface is hard to guess.

The points are those of tensor grids of Clenshaw-Curtis nodes (5, 9, 17 … an axis, each grid holding the one before).
Every other point of the 9 × 9 grid comes first. Then, a few at a time, neighbours of points that are hard to guess from
all the others: a kink gets a fine grid around it, and a smooth surface no point that it does not need.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from palmette.weights.landscape.radial import Radial
from palmette.weights.landscape.sampler import lobatto

__all__ = ["Refinement", "grid"]

Points = NDArray[np.float64]
Spot = tuple[int, int]  # of the finest grid
Place = tuple[float, float]
SIZE = 64  # steps of the finest grid
FIRST = 8  # steps between neighbours of the first
NEAR = 0.01  # no closer to another point than this, in a plane from -1 to 1: no picture would show it
LESS = 4.0  # how much easier a point is to guess at half the distance
BATCH, SHARE = 4, 12  # points at once: so many at least, and one for so many that there are
_NODES = lobatto(SIZE + 1)
_AROUND = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0)]


def grid() -> list[Place]:
    """All points of the first grid, in [-1, 1]: those that are measured first, and the others.

    >>> len(grid())
    81
    """
    return [_place(spot) for spot in sorted(_first(), key=lambda s: (s[0] + s[1]) // FIRST % 2)]


@dataclass
class Refinement:
    """Chooses points; told their values, chooses more."""

    steps: dict[Spot, int] = field(default_factory=dict)  # how far from their neighbours they were put

    def first(self) -> list[Place]:
        """The points to begin with."""
        half = [(i, j) for i, j in _first() if (i + j) // FIRST % 2 == 0]
        self.steps = dict.fromkeys(half, FIRST)
        return [_place(spot) for spot in half]

    def more(self, nodes: Points, values: Points) -> list[Place]:
        """The next points.

        Args:
            nodes: the grid's points in the order in which they were given out, then others, float64[n, 2].
            values: there.

        Returns:
            At least one, unless the finest grid is full.
        """
        calm, bold = Radial(nodes, 3), Radial(nodes, 5)
        hard = np.abs(bold.left_out(values))
        asked = self._neighbours(hard)
        if not asked:
            return []
        spots = list(asked)
        places = np.array([_place(spot) for spot in spots])
        apart = np.abs(calm(places, values[:, None]) - bold(places, values[:, None]))[:, 0]
        near = np.sqrt(((places[:, None] - nodes) ** 2).sum(axis=-1)).min(axis=1)
        score = np.where(near > NEAR, np.sqrt(apart * np.array([worth for worth, _ in asked.values()])), -1.0)
        ranked = [spots[i] for i in np.argsort(-score, kind="stable") if score[i] >= 0]
        return [_place(spot) for spot in self._scattered(ranked, asked, max(BATCH, len(values) // SHARE))]

    def _neighbours(self, hard: Points) -> dict[Spot, tuple[float, int]]:
        """Points around those that are there, as far off as they are and half as far: (how hard to guess, steps)."""
        found: dict[Spot, tuple[float, int]] = {}
        for (i, j), error in zip(list(self.steps), hard.tolist(), strict=False):
            step = self.steps[i, j]
            for width, worth in ((step, error), (step // 2, error / LESS)):
                for a, b in _AROUND if width else ():
                    spot = i + a * width, j + b * width
                    if spot not in self.steps and min(spot) >= 0 and max(spot) <= SIZE:
                        found[spot] = max(found.get(spot, (0.0, width)), (worth, width), key=lambda f: f[0])
        return found

    def _scattered(self, ranked: Sequence[Spot], asked: dict[Spot, tuple[float, int]], count: int) -> list[Spot]:
        """The best of them, none beside another that was just taken."""
        taken: list[Spot] = []
        for spot in ranked:
            width, (x, y) = asked[spot][1], _place(spot)
            beside = (max(abs(spot[0] - i), abs(spot[1] - j)) < width for i, j in taken)
            touching = (math.hypot(x - a, y - b) <= NEAR for a, b in map(_place, taken))
            if len(taken) < count and not any(beside) and not any(touching):
                taken.append(spot)
                self.steps[spot] = width
        return taken


def _first() -> list[Spot]:
    ticks = range(0, SIZE + 1, FIRST)
    return [(i, j) for i in ticks for j in ticks]


def _place(spot: Spot) -> Place:
    return float(_NODES[spot[0]]), float(_NODES[spot[1]])
