"""A GIF: a trajectory that grows checkpoint by checkpoint, or a surface that turns."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from palmette.weights.landscape.landscape import Landscape
from palmette.weights.landscape.pictures.marks import draw_marks, steps_of
from palmette.weights.landscape.pictures.plot import LOOK, figure_of, saved

__all__ = ["gif"]

TURNS = 24  # pictures of a surface that turns once
DPI = 80
GREYS = 18  # of the colours: text, and what is behind the surface
STEP, TURN = 600, 120  # milliseconds of a checkpoint, of a picture that turns


def gif(made: Landscape) -> bytes:
    """The pictures, in a loop."""
    grows = bool(made.facts.get("trajectory"))
    frames = _coloured(list(_growing(made) if grows else _turning(made)))
    out = io.BytesIO()
    times = [STEP] * (len(frames) - 1) + [3 * STEP] if grows else [TURN] * len(frames)
    frames[0].save(out, format="GIF", save_all=True, append_images=frames[1:], duration=times, loop=0)
    return out.getvalue()


def _growing(made: Landscape) -> Iterator[Any]:
    """The surface drawn once, and on it one step more in each picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure = figure_of(made, marks=False)
    figure.set_dpi(DPI)
    canvas, flat = FigureCanvasAgg(figure), figure.axes[1]
    canvas.draw()
    empty, written = canvas.copy_from_bbox(figure.bbox), None
    for i in range(len(steps_of(made))):
        canvas.restore_region(empty)
        parts, written = draw_marks(flat, made, i + 1, written)
        for part in parts:
            flat.draw_artist(part)
            part.remove()
        yield Image.fromarray(np.array(canvas.buffer_rgba())[..., :3])


def _turning(made: Landscape) -> Iterator[Any]:
    from PIL import Image

    figure = figure_of(made)
    for i in range(TURNS):
        figure.axes[0].view_init(LOOK[0], LOOK[1] + 360.0 * i / TURNS)
        yield Image.open(io.BytesIO(saved(figure, "png", DPI))).convert("RGB")


def _coloured(pictures: list[Any]) -> list[Any]:
    """The pictures in the same 256 colours, so that nothing flickers: those of the last, and greys."""
    from PIL import Image

    few = pictures[-1].quantize(256 - GREYS, Image.Quantize.MAXCOVERAGE)  # which keeps those of small spots: the marks
    colours = (few.getpalette() or [])[: 3 * (256 - GREYS)]
    few.putpalette(colours + [255 * i // (GREYS - 1) for i in range(GREYS) for _ in range(3)])
    return [picture.quantize(palette=few, dither=Image.Dither.NONE) for picture in pictures]
