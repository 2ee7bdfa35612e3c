"""A smooth function through measured points: Chebyshev polynomials, or cubic splines where those ring."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline, RegularGridInterpolator
from scipy.optimize import minimize

from palmette.core.errors import BadParameter

__all__ = ["Surrogate", "lobatto"]

Points = NDArray[np.float64]


def lobatto(count: int) -> Points:
    """Chebyshev nodes of the second kind on [-1, 1], ascending; those of 2^k + 1 hold those of 2^(k-1) + 1, exactly.

    >>> lobatto(3)
    array([-1.,  0.,  1.])
    """
    share = np.arange(count) / (count - 1)
    nodes = np.array([-np.cos(np.pi * min(s, 1 - s)) if s != 0.5 else 0.0 for s in share])
    return np.where(share > 0.5, -nodes, nodes)


@dataclass(frozen=True)
class Surrogate:
    """A function on a box, through values at the Chebyshev points of each axis.

    Args:
        low: the box's lower corner, one number for each axis (1 or 2).
        high: its upper corner.
        values: float64[n] or float64[n, n] at the Lobatto nodes of each axis.
        kind: "chebyshev", "spline", or "linear", which alone takes NaN: it is NaN beside them.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    values: Points
    kind: str = "chebyshev"

    def __call__(self, *at: Any) -> Any:
        """Values at points; each coordinate an array or a number."""
        scaled = [self._scaled(np.asarray(x, float), axis) for axis, x in enumerate(at)]
        if len(scaled) != len(self.low):
            raise BadParameter(f"{len(at)} coordinates for {len(self.low)} axes")
        return self._function(*np.broadcast_arrays(*scaled))

    def gradient(self, *at: float) -> Points:
        """The slope along each axis."""
        rows: list[float] = []
        for axis in range(len(at)):
            if self.kind == "chebyshev":
                spots = [self._scaled(np.asarray(x, float), i) for i, x in enumerate(at)]
                slope = chebyshev.chebder(self._coefficients(), axis=axis) * 2 / (self.high[axis] - self.low[axis])
                rows.append(float(_evaluated(np.asarray(slope, np.float64), spots)))
                continue
            width = 1e-4 * (self.high[axis] - self.low[axis])
            up, down = list(at), list(at)
            up[axis], down[axis] = at[axis] + width, at[axis] - width
            rows.append((float(self(*up)) - float(self(*down))) / (2 * width))
        return np.array(rows)

    def argmin(self) -> tuple[tuple[float, ...], float]:
        """Where it is lowest inside the box, and the value there."""
        axes = [np.linspace(a, b, 81) for a, b in zip(self.low, self.high, strict=True)]
        grid = self(*np.meshgrid(*axes, indexing="ij"))
        best = np.unravel_index(int(np.nanargmin(grid)), grid.shape)
        start = [axis[i] for axis, i in zip(axes, best, strict=True)]
        box = list(zip(self.low, self.high, strict=True))
        found = minimize(lambda x: float(self(*x)), start, bounds=box)
        point = found.x if found.fun <= grid[best] else np.array(start)
        return tuple(float(x) for x in point), float(min(found.fun, grid[best]))

    def barrier(self, one: Sequence[float], two: Sequence[float], steps: int = 201) -> float:
        """How far the loss rises above the straight line between the losses at two points (Frankle et al. 2020)."""
        t = np.linspace(0, 1, steps)
        path = self(*[a + t * (b - a) for a, b in zip(one, two, strict=True)])
        return float(np.max(path - (path[0] + t * (path[-1] - path[0]))))

    def basin_radius(self, rise: float, angles: int = 64, centre: Sequence[float] | None = None) -> Points:
        """For rays from the centre, how far the loss stays within `rise` of its value there; inf where the box ends."""
        origin = np.zeros(len(self.low)) if centre is None else np.asarray(centre, float)
        rays = (
            np.array([[-1.0], [1.0]])
            if len(self.low) == 1
            else np.array([[np.cos(a), np.sin(a)] for a in np.linspace(0, 2 * np.pi, angles, endpoint=False)])
        )
        before = float(self(*origin))
        made = []
        for ray in rays:
            corner = np.where(ray > 0, self.high, self.low)
            ends = [(c - o) / r for c, o, r in zip(corner, origin, ray, strict=True) if abs(r) > 1e-12]
            along = np.linspace(0, max(0.0, min(ends)), 401)
            over = self(*[o + along * r for o, r in zip(origin, ray, strict=True)]) - before > rise
            made.append(float(along[int(np.argmax(over))]) if over.any() else float("inf"))
        return np.array(made)

    def _scaled(self, x: Points, axis: int) -> Points:
        low, high = self.low[axis], self.high[axis]
        return np.asarray(2 * (x - low) / (high - low) - 1)

    def _coefficients(self) -> Points:
        made = self.values
        for axis in range(made.ndim):
            nodes = lobatto(made.shape[axis])
            matrix = np.linalg.inv(chebyshev.chebvander(nodes, len(nodes) - 1))
            made = np.moveaxis(np.tensordot(matrix, made, axes=(1, axis)), 0, axis)
        return made

    @property
    def _function(self) -> Callable[..., Any]:
        if self.kind == "chebyshev":
            coefficients = self._coefficients()
            return lambda *x: _evaluated(coefficients, x)
        if self.kind == "linear":
            grid = RegularGridInterpolator([lobatto(n) for n in self.values.shape], self.values, bounds_error=False)
            return lambda *x: grid(np.stack(x, axis=-1))
        if self.values.ndim == 1:
            spline: Callable[..., Any] = CubicSpline(lobatto(len(self.values)), self.values)
            return spline
        rows = CubicSpline(lobatto(self.values.shape[1]), self.values, axis=1)
        nodes = lobatto(self.values.shape[0])

        def both(x: Points, y: Points) -> Points:
            flat = np.ravel(y)
            columns = CubicSpline(nodes, rows(flat), axis=0)  # one column for each point
            found = [columns(a)[i] for i, a in enumerate(np.ravel(x))] if flat.size <= 64 else _diagonal(columns, x)
            return np.reshape(found, np.shape(x))

        return both


def _evaluated(coefficients: Points, at: Sequence[Points]) -> Points:
    if len(at) == 1:
        return np.asarray(chebyshev.chebval(at[0], coefficients))
    return np.asarray(chebyshev.chebval2d(at[0], at[1], coefficients))


def _diagonal(columns: Any, x: Points) -> Points:
    """Column i at the i-th number, without the whole square."""
    flat = np.ravel(x)
    place = np.clip(np.searchsorted(columns.x, flat, side="right") - 1, 0, len(columns.x) - 2)
    offset = flat - columns.x[place]
    spots = np.arange(len(flat))
    made = np.zeros(len(flat))
    for power in range(columns.c.shape[0]):
        made = made * offset + columns.c[power, place, spots]
    return made
