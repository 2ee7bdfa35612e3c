"""The model, checkpoints and the lowest point on a map by matplotlib, with their names beside them."""

from __future__ import annotations

from typing import Any

from palmette.weights.landscape.landscape import Landscape, Mark
from palmette.weights.landscape.pictures.common import plain, reasonable, sides
from palmette.weights.landscape.pictures.labels import Box, Label, Pair, placed, ranked

__all__ = ["Written", "draw_marks", "steps_of"]

FONT = 8  # points
GAP = 5.0  # points between a mark and its name
PAD = 1.5  # points around a name that are its own
Written = dict[str, tuple[Pair, bool]]
_BACKGROUND = {"boxstyle": "round,pad=0.15", "facecolor": "#222222", "alpha": 0.55, "linewidth": 0}
_LINE = {"arrowstyle": "-", "color": "white", "linewidth": 0.7, "shrinkA": 0, "shrinkB": 3}


def steps_of(made: Landscape) -> list[str]:
    """The checkpoints of a trajectory that are drawn, in their order."""
    return [name for name in reasonable(made) if name in made.others]


def draw_marks(
    flat: Any, made: Landscape, path: int | None = None, before: Written | None = None
) -> tuple[list[Any], Written]:
    """Draw them on a map that has its place in the figure.

    Args:
        flat: the map's axes.
        made: what was measured.
        path: how many steps of a trajectory are drawn; all by default.
        before: where names were in the picture before.

    Returns:
        What was drawn, and where the names are.
    """
    marks, steps = reasonable(made), steps_of(made)
    drawn: list[Any] = []
    shown = steps if path is None else steps[:path]
    if made.facts.get("trajectory"):
        x, y = ([marks[name].at[axis] for name in shown] for axis in (0, 1))
        drawn += flat.plot(x, y, "w.-", linewidth=1.2)
        marks = {name: mark for name, mark in marks.items() if name not in steps or name in shown}
    low, high = made.surrogate.low, made.surrogate.high
    inside = {
        name: mark for name, mark in marks.items()
        if all(a <= v <= b for v, a, b in zip(mark.at, low, high, strict=True))
    }  # fmt: skip
    for mark in inside.values():
        on = mark.off < 5e-4
        drawn += flat.plot(
            *mark.at, "o" if on else "D", markersize=6, markerfacecolor="red" if on else "none", markeredgecolor="white"
        )
    between = shown[1:-1] if made.facts.get("trajectory") else []
    written = placed(*_labels(flat, made, inside, between), gap=GAP, before=before)
    return drawn + [_write(flat, inside[name], name, *place) for name, place in written.items()], written


def _write(flat: Any, mark: Mark, name: str, corner: Pair, line: bool) -> Any:
    at = (corner[0] + PAD, corner[1] + PAD)
    return flat.annotate(plain(mark.said(name)), mark.at, textcoords="offset points", xytext=at, color="white",
                         fontsize=FONT, ha="left", va="bottom", bbox=_BACKGROUND, zorder=4,
                         arrowprops=_LINE if line else None)  # fmt: skip


def _labels(
    flat: Any, made: Landscape, inside: dict[str, Mark], between: list[str]
) -> tuple[dict[str, Label], Box]:  # fmt: skip
    """The names in points of the page, and the page's part that is the map."""
    low, high = made.surrogate.low, made.surrogate.high

    def on_page(at: tuple[float, ...]) -> Pair:
        x, y = flat.transData.transform(at) * (72 / flat.figure.dpi)
        return float(x), float(y)

    beside = sides(inside, low[0], high[0])
    labels = {
        name: Label(on_page(mark.at), _size(mark.said(name)), beside[name], name not in between)
        for name, mark in inside.items()
    }
    return ranked(labels, between), (*on_page(low), *on_page(high))


def _size(text: str) -> Pair:
    """Width and height of a name in points, with what is around it."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties

    renderer = RendererAgg(10, 10, 72)
    width, height, _ = renderer.get_text_width_height_descent(text, FontProperties(size=FONT), ismath=False)
    return width + 2 * PAD, height + 2 * PAD
