"""Radial functions through scattered points, with what each point would have been guessed at from all the others.

Powers of the distance with a polynomial beside them (Wendland 2005, Scattered Data Approximation, section 8.3): they
have no width to tune, give quadratics exactly, and stay calm where points are dense in one corner and rare elsewhere.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lu_factor, lu_solve

from palmette.core.errors import MissingExtra

try:
    from threadpoolctl import ThreadpoolController
except ImportError as error:
    raise MissingExtra("the loss landscape", "landscape") from error

__all__ = ["Radial"]

Points = NDArray[np.float64]
_AT_ONCE = 4096  # places whose distances to all nodes are held together


class Radial:
    """A way through points.

    Args:
        nodes: the points, float64[n, axes], no two of them the same.
        power: of the distance, 3 (with a linear polynomial beside it) or 5 (with a quadratic one).
    """

    def __init__(self, nodes: Points, power: int) -> None:
        self.nodes, self.power = nodes, power

    def __call__(self, at: Points, values: Points) -> Points:
        """Values at places.

        Args:
            at: float64[m, axes].
            values: at the nodes, float64[n, k] for k functions at once.

        Returns:
            float64[m, k].
        """
        with _alone():
            weights = self._weights(values)
            return np.concatenate([self._row(at[i : i + _AT_ONCE]) @ weights for i in range(0, len(at), _AT_ONCE)])

    def left_out(self, values: Points) -> Points:
        """How far the way through all other points misses each point, float64[n].

        Rippa 1999, An algorithm for selecting a good value for the parameter c in radial basis function interpolation.
        """
        count = len(self.nodes)
        with _alone():
            inverse = lu_solve(self._factors, np.eye(len(self._factors[0])))
            return np.asarray(self._weights(values)[:count] / np.diag(inverse)[:count])

    def _weights(self, values: Points) -> Points:
        """The coefficients: solved for, since an inverse times the values is less exact by many digits."""
        rest = np.zeros((len(self._factors[0]) - len(values), *values.shape[1:]))
        return np.asarray(lu_solve(self._factors, np.concatenate([values, rest])), np.float64)

    @cached_property
    def _factors(self) -> tuple[Points, NDArray[np.int32]]:
        """Of the matrix that takes coefficients to values, the polynomial's conditions below it."""
        count, rows = len(self.nodes), self._row(self.nodes)
        whole = np.zeros((rows.shape[1], rows.shape[1]))
        whole[:count], whole[count:, :count] = rows, rows[:, count:].T
        with _alone():
            factors, order = lu_factor(whole)
        return factors, order

    def _row(self, at: Points) -> Points:
        """[distances to a power, monomials] at places."""
        far = np.sqrt(((at[:, None] - self.nodes) ** 2).sum(axis=-1)) ** self.power
        columns = [np.ones(len(at)), *at.T]
        if self.power == 5:
            axes = range(at.shape[1])
            columns += [at[:, i] * at[:, k] for i in axes for k in axes if k >= i]
        return np.asarray(np.concatenate([far, np.stack(columns, axis=-1)], axis=1), np.float64)


def _alone() -> AbstractContextManager[Any]:
    """One thread for matrices this small: several wait for each other longer than they work."""
    limit: AbstractContextManager[Any] = _pools().limit(limits=1, user_api="blas")
    return limit


@cache
def _pools() -> ThreadpoolController:
    return ThreadpoolController()
