"""How a line or a plane is to be measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from palmette.core.errors import BadParameter

__all__ = ["Plan", "Span", "refuse_span"]

Span = tuple[float, float]


def refuse_span(pair: Sequence[float]) -> None:
    """Refuse what is no range.

    Raises:
        BadParameter: for anything but two finite numbers, the second larger.

    >>> refuse_span((-0.5, 0.5))
    """
    if not (len(pair) == 2 and all(map(math.isfinite, pair)) and pair[0] < pair[1]):
        raise BadParameter(f"the span should be two finite numbers that rise, not {tuple(pair)}")


@dataclass(frozen=True)
class Plan:
    """How a line or plane is measured.

    Args:
        labels: of the axes.
        span: the coordinates' range, one for all axes or one each; None for ± the largest radius at which the loss is
            still below the plateau.
        tolerance: the surrogate's largest error that is small enough, as a share of the range of losses; errors below
            the standard error of the changes are small enough in any case, unless `exact`.
        grid: points an axis of a plain grid, instead of Chebyshev points.
        least, most: points that the surrogate goes through.
        seed: of the held-out points.
        exact: whether the surface of this very text is wanted, though another text's would differ more.
        facts: what the caption says besides.
        recipes: the directions' recipes, for the caption and the lint.
        of: how the points are told from others in the store.
        origin: what pictures call the model at the origin.
    """

    labels: tuple[str, ...] = ("α", "β")
    span: Span | Sequence[Span] | None = None
    tolerance: float = 1e-3
    grid: int | None = None
    least: int = 0
    most: int = 400
    seed: int = 0
    exact: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)
    recipes: Sequence[Mapping[str, Any]] = ()
    of: str = ""
    origin: str = "the model"

    def boxes(self, axes: int) -> list[Span] | None:
        """The range of each axis."""
        if self.span is None:
            return None
        pairs: Sequence[Any] = [self.span] * axes if isinstance(self.span[0], (int, float)) else self.span
        for pair in pairs:
            refuse_span(pair)
        return [(float(a), float(b)) for a, b in pairs]
