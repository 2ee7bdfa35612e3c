"""Directions that the loss itself chooses: its gradient, and the eigenvectors of its Hessian."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from palmette.core.errors import BadParameter
from palmette.weights.landscape.directions.base import Direction, Norm, Random
from palmette.weights.landscape.directions.curvature import Curvature, Spectrum
from palmette.weights.landscape.space import Space

__all__ = ["ENOUGH", "SMALL", "Gradient", "Hessian", "differentiable", "spectrum"]

SMALL = 2_000_000  # parameters up to which the Hessian is computed in float64
ENOUGH = 1e-4  # residual of an eigenvector that is a direction, as a share of the largest eigenvalue


@dataclass(frozen=True)
class Gradient(Direction):
    """The gradient of the loss, brought to the length of a random direction with the same `norm` (steepest ascent)."""

    norm: Norm = "filter"

    def make(self, space: Space, metric: Any = None) -> Any:
        """See Direction."""
        differentiable(metric, "the gradient")
        return _typical(Curvature(_twin(space, torch.float32), metric).gradient(), space, self.norm)


@dataclass(frozen=True)
class Hessian(Direction):
    """An eigenvector of the Hessian, brought to the length of a random direction with the same `norm`.

    Args:
        index: 0 for the largest eigenvalue (the sharpest direction), 1 for the next.
        norm: see Random.
    """

    index: int = 0
    norm: Norm = "filter"

    def make(self, space: Space, metric: Any = None) -> Any:
        """See Direction."""
        differentiable(metric, "the Hessian")
        if "hessian" not in space.kept:
            space.kept["hessian"] = spectrum(space, metric, max(2, self.index + 1), ENOUGH, 60)
        return _typical(space.kept["hessian"].vectors[self.index].float(), space, self.norm)


def spectrum(space: Space, metric: Any, count: int = 5, tolerance: float = 1e-7, most: int = 100,
             progress: Callable[[int, int], None] | None = None) -> Spectrum:  # fmt: skip
    """The largest eigenvalues of the Hessian; in float64 for models of at most `SMALL` parameters."""
    dtype = torch.float64 if space.size <= SMALL else torch.float32
    return Curvature(_twin(space, dtype), metric).spectrum(count, tolerance, most, progress=progress)


def _twin(space: Space, dtype: Any) -> Space:
    """The same parameters in another precision."""
    return space if space.dtype == dtype else Space(space.model, space.select, dtype)


def _typical(vector: Any, space: Space, norm: Norm) -> Any:
    wanted, length = Random(0, norm).make(space).norm(), vector.norm()
    if not length > 0:
        raise BadParameter("the gradient is zero everywhere: there is nothing to follow")
    return (vector * (wanted / length)).float()


def differentiable(metric: Any, what: str) -> None:
    """Refuse a metric without derivatives.

    Raises:
        BadParameter: for anything but the token loss.
    """
    if not hasattr(metric, "total"):
        raise BadParameter(f"{what} needs the token loss, which can be differentiated; this metric cannot")
    if getattr(metric, "kind", "loss") != "loss":
        raise BadParameter(f"{what} of the share of errors is zero everywhere; take the loss")
