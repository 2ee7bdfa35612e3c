"""A GIF: a trajectory that grows checkpoint by checkpoint, or a surface that turns."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from palmette.weights.landscape.landscape import Landscape
from palmette.weights.landscape.pictures.common import reasonable
from palmette.weights.landscape.pictures.plot import LOOK, figure_of, saved

__all__ = ["gif"]

TURNS = 24  # pictures of a surface that turns once
DPI = 80
STEP, TURN = 600, 120  # milliseconds of a checkpoint, of a picture that turns


def gif(made: Landscape) -> bytes:
    """The pictures, in a loop."""
    grows = bool(made.facts.get("trajectory"))
    frames = [_frame(png) for png in (_growing(made) if grows else _turning(made))]
    out = io.BytesIO()
    times = [STEP] * (len(frames) - 1) + [3 * STEP] if grows else [TURN] * len(frames)
    frames[0].save(out, format="GIF", save_all=True, append_images=frames[1:], duration=times, loop=0)
    return out.getvalue()


def _growing(made: Landscape) -> Iterator[bytes]:
    for i in range(sum(name in made.others for name in reasonable(made))):
        yield saved(figure_of(made, path=i + 1), "png", DPI)


def _turning(made: Landscape) -> Iterator[bytes]:
    figure = figure_of(made)
    for i in range(TURNS):
        figure.axes[0].view_init(LOOK[0], LOOK[1] + 360.0 * i / TURNS)
        yield saved(figure, "png", DPI)


def _frame(png: bytes) -> Any:
    from PIL import Image

    picture = Image.open(io.BytesIO(png)).convert("RGB")
    return picture.quantize(256, Image.Quantize.MAXCOVERAGE)  # which keeps the colours of small spots: the marks
