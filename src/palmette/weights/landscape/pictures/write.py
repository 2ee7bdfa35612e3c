"""Writing what was measured, in the format that a file's name ends with; whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from palmette.core.errors import BadParameter, OutputError
from palmette.weights.landscape.landscape import Landscape
from palmette.weights.landscape.pictures import movie, page, plot, solids, tables
from palmette.weights.landscape.profile import Layers, Profile

__all__ = ["FORMATS", "PLANES_ONLY", "formats", "write"]

Made = Landscape | Profile | Layers
FORMATS: dict[str, Callable[[Any], bytes]] = {
    ".html": page.page,
    ".png": lambda made: plot.plot(made, "png"),
    ".svg": lambda made: plot.plot(made, "svg"),
    ".gif": movie.gif,
    ".npz": tables.npz,
    ".csv": tables.csv,
    ".json": tables.as_json,
    ".parquet": tables.parquet,
    ".vtk": solids.vtk,
    ".stl": solids.stl,
    ".glb": solids.glb,
    ".gltf": solids.gltf,
}
PLANES_ONLY = (".gif", ".vtk", ".stl", ".glb", ".gltf")
_OTHERS = (".html", ".png", ".svg", ".csv", ".json", ".parquet")  # of profiles and layers


def formats(made: Made) -> list[str]:
    """The endings that this may be written with."""
    if not isinstance(made, Landscape):
        return list(_OTHERS)
    return [ending for ending in FORMATS if len(made.labels) == 2 or ending not in PLANES_ONLY]


def write(made: Made, path: Path) -> None:
    """Write a picture or a file.

    Args:
        made: the landscape, profile or layers.
        path: its ending says the format, see `FORMATS`.

    Raises:
        BadParameter: for another ending, or a surface of what is none.
        MissingExtra: without plotly (.html), matplotlib (.png, .svg, .gif) or pyarrow (.parquet).
        OutputError: if it cannot be written.
    """
    if path.suffix not in FORMATS:
        raise BadParameter(f"{path.name!r} should end in one of {', '.join(FORMATS)}")
    if path.suffix not in formats(made):
        raise BadParameter(f"{path.name!r}: this is no surface; it may end in {', '.join(formats(made))}")
    pages = {Profile: page.profile_page, Layers: page.layers_page}
    make = pages.get(type(made), FORMATS[path.suffix]) if path.suffix == ".html" else FORMATS[path.suffix]
    data = make(made)  # type: ignore[operator]
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error}") from error
