"""Where to measure a line: Chebyshev points, each grid holding the one before. Or a plain grid, of a plane as well.

The points of a plane are chosen as they come: see refine.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import BadParameter
from palmette.weights.landscape.surrogate import Kind

__all__ = ["Level", "levels", "lobatto"]

Points = NDArray[np.float64]
LINE = (5, 9, 17, 33, 65)


@dataclass(frozen=True)
class Level:
    """Points to measure next, in [-1, 1], and what may then go through all points so far: kind and degree."""

    points: tuple[tuple[float, ...], ...]
    trials: tuple[tuple[Kind, int], ...]


def lobatto(count: int) -> Points:
    """Chebyshev nodes of the second kind on [-1, 1], ascending; those of 2^k + 1 hold those of 2^(k-1) + 1, exactly.

    >>> lobatto(3)
    array([-1.,  0.,  1.])
    """
    share = np.arange(count) / (count - 1)
    nodes = np.array([-np.cos(np.pi * min(s, 1 - s)) if s != 0.5 else 0.0 for s in share])
    return np.where(share > 0.5, -nodes, nodes)


def levels(axes: int, grid: int | None = None, most: int = 400) -> Iterator[Level]:
    """What to measure, level after level, until the surrogate is good enough.

    Args:
        axes: 1 or 2; a plane has levels as a plain grid only.
        grid: points an axis of a plain grid, which is the only level.
        most: points of the surrogate at most, held-out ones not counted.

    Raises:
        BadParameter: for a grid of fewer than four points an axis.
    """
    if grid is not None:
        if grid < 4:
            raise BadParameter(f"a grid needs at least 4 points an axis, not {grid!r}")
        ticks = np.linspace(-1, 1, grid).tolist()
        spots = [(a,) for a in ticks] if axes == 1 else [(a, b) for a in ticks for b in ticks]
        yield Level(tuple(spots), (("spline", 0),))
        return
    known: set[float] = set()
    for count in LINE:
        if known and count > most:
            return
        nodes = lobatto(count).tolist()
        yield Level(tuple((x,) for x in nodes if x not in known), (("chebyshev", count - 1), ("spline", 0)))
        known.update(nodes)
