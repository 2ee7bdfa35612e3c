"""Loops that make weights of several points of a plane at once, compiled: what is read from memory is read once.

A weight at a point is origin + a · one + b · two, each product and sum in one rounding where the processor can. Nothing
is allocated here.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

__all__ = ["LOOPS"]

_how: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
_compile = numba.njit(fastmath={"contract"}, **_how)
_TILE = 1024  # numbers that all points use while they are in the first-level cache


@_compile
def _same(x: Any) -> Any:
    """A float32 as it is."""
    return x


@_compile
def _short(x: Any) -> Any:
    """The bits of a bfloat16, rounded to nearest even; NaN stays NaN."""
    b = np.float32(x).view(np.uint32)
    near = (b + (np.uint32(0x7FFF) + ((b >> np.uint32(16)) & np.uint32(1)))) >> np.uint32(16)
    return np.uint16(0x7FC0) if b & np.uint32(0x7FFFFFFF) > np.uint32(0x7F800000) else np.uint16(near)


def _filling(rounded: Any) -> Any:
    """The loop, with how its numbers are stored."""

    @_compile
    def fill(origin: Any, one: Any, two: Any, a: Any, b: Any, made: Any) -> None:
        """All numbers at every point: made[point]."""
        for first in range(0, len(origin), _TILE):
            n = min(_TILE, len(origin) - first)
            x, y, z = origin[first : first + n], one[first : first + n], two[first : first + n]
            for point in range(len(a)):
                by, along, out = a[point], b[point], made[point, first : first + n]
                for i in range(n):
                    out[i] = rounded((x[i] + by * y[i]) + along * z[i])

    return fill


LOOPS = {"fill": _filling(_same), "fill_short": _filling(_short)}
