"""A smooth function through measured points: polynomials, splines or radial functions, whichever fits held-out points.

Every kind is linear in the measured values, so that whole vectors of them (one for each sequence of the text) can be
carried to any place, and an error bar with them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline, LinearNDInterpolator
from scipy.optimize import minimize
from scipy.spatial import Delaunay

from palmette.core.errors import BadParameter
from palmette.weights.landscape.radial import Radial

__all__ = ["Kind", "Surrogate", "isolines"]

Points = NDArray[np.float64]
Kind = Literal["chebyshev", "spline", "cubic", "quintic", "linear"]
ROUNDING = 1e-9  # how far outside of the box, in half its width, a point of its edge may be put
Apply = Callable[[Points, Points], Points]  # places (m, axes) and values (n, k) to values (m, k)


@dataclass(frozen=True, eq=False)
class Surrogate:
    """A function on a box.

    Args:
        low: the box's lower corner, one number for each axis (1 or 2).
        high: its upper corner.
        points: where values are known, float64[n, axes].
        values: float64[n], or float64[n, k] for k functions at once.
        kind: "chebyshev" (of a line: the polynomial of that degree with the least squares), "spline" (cubic, on a
            full grid), "cubic" and "quintic" (radial functions), or "linear", which alone takes NaN and
            infinity: it is NaN beside them.
        degree: of "chebyshev".
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    points: Points
    values: Points
    kind: Kind = "chebyshev"
    degree: int = 0

    def __post_init__(self) -> None:
        if self.kind == "chebyshev" and len(self.low) > 1:
            raise BadParameter("a polynomial goes through points of a line; on a plane take spline, cubic or quintic")

    def __call__(self, *at: Any) -> Any:
        """Values at places; each coordinate an array or a number. NaN outside of the box, of which nothing is known."""
        if len(at) != len(self.low):
            raise BadParameter(f"{len(at)} coordinates for {len(self.low)} axes")
        spots = np.broadcast_arrays(*(np.asarray(x, float) for x in at))
        shape = spots[0].shape
        flat = self._scaled(np.stack([s.reshape(-1) for s in spots], axis=-1))
        columns = self.values.reshape(len(self.points), -1)
        made = self._apply(flat, columns)
        made[(np.abs(flat) > 1 + ROUNDING).any(axis=1)] = np.nan
        made[np.isinf(made)] = np.nan
        return made.reshape((*shape, *self.values.shape[1:]))

    def of(self, values: Points) -> Surrogate:
        """The same way of going through the same points, with other values."""
        made = Surrogate(self.low, self.high, self.points, values, self.kind, self.degree)
        made.__dict__["_apply"] = self._apply
        return made

    def gradient(self, *at: float) -> Points:
        """The slope along each axis, from one side at the box's edge."""
        slope = []
        for axis, (a, b) in enumerate(zip(self.low, self.high, strict=True)):
            width = 1e-4 * (b - a)
            up, down = list(at), list(at)
            up[axis], down[axis] = min(at[axis] + width, b), max(at[axis] - width, a)
            slope.append((float(self(*up)) - float(self(*down))) / (up[axis] - down[axis]))
        return np.array(slope)

    def argmin(self) -> tuple[tuple[float, ...], float]:
        """Where it is lowest inside the box, and the value there.

        Raises:
            BadParameter: if too few values are finite for anything to go through them.
        """
        axes = [np.linspace(a, b, 81) for a, b in zip(self.low, self.high, strict=True)]
        grid = self(*np.meshgrid(*axes, indexing="ij"))
        if not np.isfinite(grid).any():
            raise BadParameter(
                f"{int(np.isfinite(self.values).sum())} of {len(self.values)} measured points are finite numbers, and "
                "nothing goes through them: take a smaller span, float32, or see whether the model is whole"
            )
        best = np.unravel_index(int(np.nanargmin(grid)), grid.shape)
        start = [axis[i] for axis, i in zip(axes, best, strict=True)]
        box = list(zip(self.low, self.high, strict=True))
        found = minimize(lambda x: float(self(*x)), start, bounds=box)
        point = found.x if found.fun <= grid[best] else np.array(start)
        return tuple(float(x) for x in point), float(min(found.fun, grid[best]))

    def barrier(self, one: Sequence[float], two: Sequence[float], steps: int = 201) -> tuple[float, float]:
        """How far it rises above the straight line between its values at two points, and at which share of the way.

        Frankle et al. 2020, Linear mode connectivity and the lottery ticket hypothesis (arXiv 1912.05671).
        """
        t = np.linspace(0, 1, steps)
        path = self(*[a + t * (b - a) for a, b in zip(one, two, strict=True)])
        above = path - (path[0] + t * (path[-1] - path[0]))
        return float(np.max(above)), float(t[int(np.argmax(above))])

    def basin_radius(
        self, rise: float, angles: int = 64, centre: Sequence[float] | None = None, gram: Points | None = None
    ) -> Points:
        """For rays from the centre, how far it stays within `rise` of its value there; inf where the box ends.

        Args:
            rise: how much.
            angles: rays of a plane; a line has two.
            centre: the origin by default.
            gram: inner products of the axes, float64[axes, axes], in whose lengths the radii are; the identity by
                default.
        """
        origin = np.zeros(len(self.low)) if centre is None else np.asarray(centre, float)
        turn = np.linspace(0, 2 * np.pi, angles, endpoint=False)
        rays = np.array([[-1.0], [1.0]]) if len(self.low) == 1 else np.stack([np.cos(turn), np.sin(turn)], axis=-1)
        if gram is not None:
            rays = rays @ np.linalg.inv(np.linalg.cholesky(gram))  # of length 1 by it, as many in every direction
        before = float(self(*origin))
        made = []
        for ray in rays:
            corner = np.where(ray > 0, self.high, self.low)
            ends = [(c - o) / r for c, o, r in zip(corner, origin, ray, strict=True) if abs(r) > 1e-12]
            along = np.linspace(0, max(0.0, min(ends)), 401)
            above = self(*[o + along * r for o, r in zip(origin, ray, strict=True)]) - before - rise
            made.append(_crossing(along, above))
        return np.array(made)

    def contour(self, level: float, size: int = 201) -> list[Points]:
        """The lines on which it has this value, each float64[k, 2]; of a line, the single points."""
        if len(self.low) == 1:
            x = np.linspace(self.low[0], self.high[0], size)
            y = self(x) - level
            at = np.flatnonzero(np.isfinite(y[:-1] + y[1:]) & ((y[:-1] < 0) != (y[1:] < 0)))
            return [np.array([[x[i] - y[i] * (x[i + 1] - x[i]) / (y[i + 1] - y[i])]]) for i in at]
        return isolines(*self.sheet(size), level)

    def sheet(self, size: int) -> tuple[Points, Points, Points]:
        """Ticks of both axes, and the values at [first, second]; computed once."""
        if size not in self._sheets:
            x, y = (np.linspace(a, b, size) for a, b in zip(self.low, self.high, strict=True))
            self._sheets[size] = (x, y, self(*np.meshgrid(x, y, indexing="ij")))
        return self._sheets[size]

    @cached_property
    def _sheets(self) -> dict[int, tuple[Points, Points, Points]]:
        return {}

    def _scaled(self, x: Points) -> Points:
        low, high = np.array(self.low), np.array(self.high)
        return np.asarray(2 * (x - low) / (high - low) - 1, np.float64)

    def left_out(self) -> Points:
        """Of radial functions, how far the way through all other points misses each point, float64[n]."""
        return self._radial.left_out(self.values)

    @cached_property
    def _radial(self) -> Radial:
        return Radial(self._scaled(self.points), {"cubic": 3, "quintic": 5}[self.kind])

    @cached_property
    def _apply(self) -> Apply:
        nodes = self._scaled(self.points)
        if self.kind == "chebyshev":
            return _polynomial(nodes, self.degree)
        if self.kind == "spline":
            return _spline(nodes)
        if self.kind == "linear":
            return _linear(nodes)
        return self._radial


def isolines(x: Points, y: Points, z: Points, level: float) -> list[Points]:
    """The lines on which z, at [x, y], has this value, each float64[k, 2]; none through what is not finite."""
    from contourpy import contour_generator

    lines = contour_generator(x, y, np.ma.masked_invalid(z.T)).lines(level)
    return [np.asarray(line, np.float64) for line in lines]


def _crossing(x: Points, y: Points) -> float:
    """Where it first rises above zero, between two points linearly; inf if it does not."""
    first = int(np.argmax(y > 0))
    if not y[first] > 0:
        return float("inf")
    if first == 0 or not np.isfinite(y[first - 1]):
        return float(x[first])
    return float(x[first] - y[first] * (x[first] - x[first - 1]) / (y[first] - y[first - 1]))


def _polynomial(nodes: Points, degree: int) -> Apply:
    inverse = np.linalg.pinv(chebyshev.chebvander(nodes[:, 0], degree))
    return lambda at, values: np.asarray(chebyshev.chebvander(at[:, 0], degree) @ (inverse @ values))


def _spline(nodes: Points) -> Apply:
    """Cubic splines, along each axis of a full grid."""
    ticks = [np.unique(column) for column in nodes.T]
    order = np.lexsort(nodes.T[::-1])
    if len(ticks) == 1:
        return lambda at, values: np.asarray(CubicSpline(ticks[0], values[order])(at[:, 0]))
    ways = [CubicSpline(tick, np.eye(len(tick))) for tick in ticks]

    def apply(at: Points, values: Points) -> Points:
        grid = values[order].reshape(len(ticks[0]), len(ticks[1]), -1)
        return np.asarray(np.einsum("mi,ijk,mj->mk", ways[0](at[:, 0]), grid, ways[1](at[:, 1]), optimize=True))

    return apply


def _linear(nodes: Points) -> Apply:
    if nodes.shape[1] == 2:
        triangles = Delaunay(nodes)
        return lambda at, values: np.asarray(LinearNDInterpolator(triangles, values)(at))
    order = np.argsort(nodes[:, 0])
    x = nodes[order, 0]

    def apply(at: Points, values: Points) -> Points:
        return np.stack([np.interp(at[:, 0], x, column[order]) for column in values.T], axis=-1)

    return apply
