"""What every picture of a surface needs: the grid that is drawn, its colours by the rise, the marks, the words."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from palmette.weights.landscape.landscape import Landscape, Mark

__all__ = ["SIZE", "Drawn", "drawn", "heights", "notes", "plain", "reasonable", "sides"]

SIZE = 81  # points an axis of a drawn surface
DECADES = 3.0  # of the rise that colours tell apart
Grid = NDArray[np.float64]


@dataclass(frozen=True)
class Drawn:
    """A surface as it is drawn.

    Args:
        x, y: ticks of the axes.
        z: the loss at [x, y].
        colour: log₁₀ of the rise above the lowest point, floored `DECADES` below the largest.
        ticks: colours and the losses that they stand for.
        top: the loss above which nothing is drawn, if there is more.
    """

    x: Grid
    y: Grid
    z: Grid
    colour: Grid
    ticks: list[tuple[float, float]]
    top: float | None

    @property
    def shown(self) -> Grid:
        """The loss, cut at `top`."""
        return self.z if self.top is None else np.minimum(self.z, self.top)


def drawn(made: Landscape, size: int = SIZE) -> Drawn:
    """The surface of a plane."""
    x, y, z = made.surrogate.sheet(size)
    least, most = float(np.nanmin(z)), float(np.nanmax(z))
    top = made.plateau * 1.2 if made.plateau is not None and most > made.plateau * 1.2 > least else None
    reach = max((most if top is None else top) - least, 1e-9)
    floor = np.log10(reach) - DECADES
    colour = np.log10(np.maximum(np.minimum(z, least + reach) - least, 10**floor))
    steps = np.linspace(floor, np.log10(reach), 7)
    return Drawn(x, y, z, colour, [(float(s), least + (10**s if i else 0.0)) for i, s in enumerate(steps)], top)


def heights(surface: Drawn, count: int = 12) -> list[float]:
    """Levels of contours, evenly spaced in the logarithm of the rise."""
    low, high = surface.ticks[0][0], surface.ticks[-1][0]
    least = float(np.nanmin(surface.z))
    return [least + 10**s for s in np.linspace(low, high, count)]


def sides(marks: dict[str, Mark], low: float, high: float) -> dict[str, tuple[int, int]]:
    """Where each name is written beside its mark, (-1 left or 1 right, -1 below or 1 above): away from the nearest
    other, but towards the middle near the left and the right border, low and high.
    """
    middle = np.median([mark.at for mark in marks.values()], axis=0) if marks else np.zeros(2)
    found = {}
    for name, mark in marks.items():
        near = [other.at for key, other in marks.items() if key != name]
        away = np.asarray(mark.at) - (min(near, key=lambda at: np.hypot(*np.subtract(at, mark.at))) if near else middle)
        share = (mark.at[0] - low) / (high - low)
        right = share < 0.3 or (share <= 0.7 and away[0] >= 0)
        found[name] = (1 if right else -1, 1 if away[-1] > 0 or (away[-1] == 0 and away[0] >= 0) else -1)
    return found


def reasonable(made: Landscape) -> dict[str, Mark]:
    """Marks to draw: the model, the lowest point, and what lies inside the picture; the lowest last."""
    first = {name: mark for name, mark in made.marks.items() if name != "lowest" and len(mark.at) == len(made.labels)}
    return first | {name: mark for name, mark in made.marks.items() if name == "lowest"}


def plain(text: str) -> str:
    """The text for matplotlib, which would read what is between two dollar signs as a formula.

    >>> plain("a$|b$")
    'a\\\\$|b\\\\$'
    """
    return text.replace("$", r"\$")


def notes(caption: str, flags: list[str], width: int, sign: str) -> list[str]:
    """The caption and the flags in lines."""
    texts = [caption, *(f"{sign} {flag}" for flag in flags)]
    return [line for text in texts for line in textwrap.wrap(text, width)]
