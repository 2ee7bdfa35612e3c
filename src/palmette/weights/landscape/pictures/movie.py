"""A GIF: a trajectory that grows checkpoint by checkpoint, or a surface that turns."""

from __future__ import annotations

import io

from palmette.weights.landscape.landscape import Landscape
from palmette.weights.landscape.pictures.common import reasonable
from palmette.weights.landscape.pictures.plot import figure_of, saved

__all__ = ["gif"]

TURNS = 24  # pictures of a surface that turns once
STEP = 600  # milliseconds of a checkpoint


def gif(made: Landscape) -> bytes:
    """The pictures, in a loop."""
    from PIL import Image

    if made.facts.get("trajectory"):
        count = sum(name in made.others for name in reasonable(made))
        figures = [figure_of(made, path=i + 1) for i in range(count)]
    else:
        figures = [figure_of(made, turn=-55.0 + 360.0 * i / TURNS) for i in range(TURNS)]
    frames = []
    for figure in figures:
        figure.set_dpi(80)
        frames.append(Image.open(io.BytesIO(saved(figure, "png"))).convert("RGB").quantize(128))
    out = io.BytesIO()
    wait = STEP if made.facts.get("trajectory") else 120
    times = [wait] * (len(frames) - 1) + [max(wait, 3 * wait if made.facts.get("trajectory") else wait)]
    frames[0].save(out, format="GIF", save_all=True, append_images=frames[1:], duration=times, loop=0)
    return out.getvalue()
