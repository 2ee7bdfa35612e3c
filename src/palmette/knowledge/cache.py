"""Arrays that are kept between processes: in the user's folder of caches, whole or not at all, never needed.

A file that is damaged, of another version or of another state of the store counts as none; one that cannot be written
is no error.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["cache_folder", "joined", "kept", "keep", "parted"]

Arrays = Mapping[str, NDArray[Any]]


def cache_folder() -> Path:
    """Where things are kept: `$PALMETTE_CACHE`, or `palmette/graphs` in the user's folder of caches."""
    given = os.environ.get("PALMETTE_CACHE")
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(given) if given else Path(home) / "palmette" / "graphs"


def kept(path: Path, *names: str) -> Arrays | None:
    """The arrays of a file, or None if it has not all of these."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
            return {name: held[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def keep(path: Path, arrays: Arrays) -> None:
    """Write a file, whole or not at all."""
    part = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            part = file.name
            np.savez(file, allow_pickle=False, **arrays)
        os.replace(part, path)
    except OSError:
        if part:
            Path(part).unlink(missing_ok=True)


def joined(texts: list[str]) -> NDArray[np.uint8]:
    """Texts without the character 0 as one array.

    >>> parted(joined(["a", "é"])), parted(joined([]))
    (['a', 'é'], [])
    """
    return np.frombuffer("\0".join([*texts, ""]).encode(), np.uint8)


def parted(held: NDArray[np.uint8]) -> list[str]:
    """The texts again."""
    return held.tobytes().decode().split("\0")[:-1]
