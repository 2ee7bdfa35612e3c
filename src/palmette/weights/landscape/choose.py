"""Which way goes best through the measured points, and how far off the loss it may be anywhere.

On lines and plain grids, points that are held out choose the way; but few of them cannot say how large the largest
error is. Two ways of another kind (polynomials and splines) through the same points err in different places, so that
their largest difference over the whole picture can: what is stated is `FACTOR` times it.

On planes whose points were chosen, radial functions go through all of them, and each point is left out in turn: what is
stated is `LEFT` times the largest error of that. Measured on planes of 40 small networks, with 49 to 130 points: the
largest error at 100 fresh points is 0.7 times it in the median, and below what is stated in 92 to 100 % of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from palmette.weights.landscape.surrogate import Kind, Surrogate

__all__ = ["ALONE", "FACTOR", "Choice", "choose"]

FACTOR = {1: 3.0, 2: 2.0}  # by the number of axes
LEFT = 1.5  # times the largest error of a radial function at a point that is left out
ALONE = 5.0  # times the largest held-out error, where there is no second way
SHEET = 41  # points an axis at which two ways are compared
Points = NDArray[np.float64]
Box = Sequence[tuple[float, float]]
Trial = tuple[Kind, int]


@dataclass(frozen=True)
class Choice:
    """A way through points.

    Args:
        surrogate: through the points and the held-out ones.
        held: the largest and the root-mean-square error at held-out points, of the surrogate without them.
        within: what the surrogate's largest error is estimated to be below.
    """

    surrogate: Surrogate
    held: tuple[float, float]
    within: float


def choose(box: Box, known: tuple[Points, Points], held: tuple[Points, Points], trials: Sequence[Trial]) -> Choice:
    """The best of several ways.

    Args:
        box: the range of each axis.
        known: points float64[n, axes] and the values there.
        held: the same of points that are held out.
        trials: kinds and degrees.
    """
    usable: Sequence[Trial] = trials if np.isfinite(known[1]).all() else (("linear", 0),)
    errors = {trial: _errors(_through(box, known, trial), held) for trial in usable}
    ranked = sorted(usable, key=lambda trial: errors[trial][1])
    best, worst = ranked[0], errors[ranked[0]][0]
    both = known if best[0] == "spline" and len(box) == 2 else _joined(known, held)  # a grid has to stay one
    made = _through(box, both, best)
    other = next((trial for trial in ranked if (trial[0] == "chebyshev") != (best[0] == "chebyshev")), None)
    if other is None or not np.isfinite(both[1]).all():
        return Choice(made, errors[best], ALONE * worst)
    apart = np.abs(_sheet(made) - _sheet(_through(box, both, other))).max()
    return Choice(made, errors[best], max(FACTOR[len(box)] * float(apart), worst))


def radial(box: Box, known: tuple[Points, Points], held: Sequence[float]) -> Choice:
    """The better of two radial functions through all points, by how they miss each point when it is left out.

    Args:
        box: the range of each axis.
        known: points float64[n, 2] and the values there, all finite.
        held: how far points were off what was guessed before they were measured.
    """
    ways = [_through(box, known, (kind, 0)) for kind in ("quintic", "cubic")]
    left = [np.abs(way.left_out()) for way in ways]
    best = min((0, 1), key=lambda i: float(np.sqrt(np.mean(left[i] ** 2))))
    errors = (max(held), float(np.sqrt(np.mean(np.square(held))))) if held else (float("inf"), float("inf"))
    return Choice(ways[best], errors, max(LEFT * float(left[best].max()), max(held, default=0.0)))


def _through(box: Box, points: tuple[Points, Points], trial: Trial) -> Surrogate:
    low, high = zip(*box, strict=True)
    return Surrogate(tuple(low), tuple(high), *points, *trial)


def _errors(surrogate: Surrogate, held: tuple[Points, Points]) -> tuple[float, float]:
    """(largest, root mean square); infinite where nothing can be compared."""
    there = np.isfinite(held[1])
    off = np.abs(surrogate(*held[0][there].T) - held[1][there])
    off = off[np.isfinite(off)]
    return (float(off.max()), float(np.sqrt(np.mean(off**2)))) if len(off) else (float("inf"), float("inf"))


def _joined(known: tuple[Points, Points], held: tuple[Points, Points]) -> tuple[Points, Points]:
    """All points once, in their order."""
    points, first = np.unique(np.concatenate([known[0], held[0]]), axis=0, return_index=True)
    return points, np.concatenate([known[1], held[1]])[first]


def _sheet(surrogate: Surrogate) -> Points:
    ticks = [np.linspace(a, b, SHEET if len(surrogate.low) == 2 else 401)
             for a, b in zip(surrogate.low, surrogate.high, strict=True)]  # fmt: skip
    return np.asarray(surrogate(*np.meshgrid(*ticks, indexing="ij")))
