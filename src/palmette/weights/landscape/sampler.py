"""Where to measure: few points from which a smooth function is known everywhere, and points that only check it.

On a plane, the Padua points of degree 12 (91 of them), in an order whose beginnings serve lower degrees; then those of
degrees 18 and 24 beside them. A polynomial of a total degree needs about half the points of a square grid's. On a line,
Chebyshev points, each grid holding the one before. Or a plain grid.

Caliari, De Marchi, Vianello 2005, Bivariate polynomial interpolation on the square at new nodal sets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import BadParameter
from palmette.weights.landscape.surrogate import Kind, basis

__all__ = ["Level", "levels", "lobatto", "padua"]

Points = NDArray[np.float64]
PLANE = (12, 18, 24)  # degrees of Padua points
FIRST = (7, 9)  # degrees that a beginning of the first of them serves
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


def padua(degree: int) -> Points:
    """The Padua points of a degree, float64[(degree + 1)(degree + 2) / 2, 2] in [-1, 1].

    >>> len(padua(12))
    91
    """
    x, y = lobatto(degree + 1), lobatto(degree + 2)
    return np.array([(x[i], y[j]) for i in range(degree + 1) for j in range(degree + 2) if (i + j) % 2 == 0])


def levels(axes: int, grid: int | None = None, most: int = 400) -> Iterator[Level]:
    """What to measure, level after level, until the surrogate is good enough.

    Args:
        axes: 1 or 2.
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
    elif axes == 1:
        known: set[float] = set()
        for count in LINE:
            if known and count > most:
                return
            nodes = lobatto(count).tolist()
            yield Level(tuple((x,) for x in nodes if x not in known), (("chebyshev", count - 1), ("spline", 0)))
            known.update(nodes)
    else:
        yield from _plane(most)


def _plane(most: int) -> Iterator[Level]:
    first, at, total = _ordered(PLANE[0]), 0, 0
    for degree in (*FIRST, PLANE[0]):
        count = (degree + 1) * (degree + 2) // 2
        if at and count > most:
            return
        yield _level(first[at:count], degree)
        at = total = count
    before = {tuple(p) for p in first.tolist()}
    for degree in PLANE[1:]:
        new = np.array([p for p in padua(degree).tolist() if tuple(p) not in before])
        if total + len(new) > most:
            return
        total += len(new)
        before |= {tuple(p) for p in new.tolist()}
        yield _level(new, degree)


def _level(points: Points, degree: int) -> Level:
    """Points row by row, as moving along a row is cheaper."""
    rows = tuple((float(a), float(b)) for a, b in sorted(points.tolist()))
    return Level(rows, (("chebyshev", degree - 2), ("chebyshev", degree), ("cubic", 0), ("quintic", 0)))


@cache
def _ordered(degree: int) -> Points:
    """The Padua points, the first (k + 1)(k + 2) / 2 of them good for degree k: pivots of an elimination.

    Bos, De Marchi, Sommariva, Vianello 2010, Computing multivariate Fekete and Leja points.
    """
    points = padua(degree)
    left, order = basis(points, degree), np.arange(len(points))
    for k in range(len(points)):
        best = k + int(np.argmax(np.abs(left[k:, k]).round(9)))
        left[[k, best]], order[[k, best]] = left[[best, k]], order[[best, k]]
        left[k + 1 :, k:] -= np.outer(left[k + 1 :, k] / left[k, k], left[k, k:])
    return points[order]
