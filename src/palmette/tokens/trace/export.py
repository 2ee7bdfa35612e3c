"""Writing a trace to a file, in the format that its suffix names. A file is complete or not there at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from palmette.core.errors import PalmetteError, UsageError, near_miss
from palmette.tokens.trace.histogram import to_histogram
from palmette.tokens.trace.html import to_html
from palmette.tokens.trace.json import to_json
from palmette.tokens.trace.marks import letter
from palmette.tokens.trace.png import check_png, to_png
from palmette.tokens.trace.svg import to_svg
from palmette.tokens.trace.values import Trace

__all__ = ["FORMATS", "check_target", "write", "write_steps"]

FORMATS: Mapping[str, Callable[[Trace], str | bytes]] = {
    ".html": to_html,
    ".svg": to_svg,
    ".png": to_png,
    ".json": to_json,
}


def check_target(path: Path) -> None:
    """Refuse a file that `write` could not write, before any work is done."""
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(
            f"cannot write a tree as {path.name!r}: the suffix is {path.suffix!r}."
            f"{near_miss(suffix, FORMATS)} Known: {', '.join(FORMATS)}."
        )
    if not path.parent.is_dir():
        raise UsageError(f"cannot write {str(path)!r}: there is no folder {str(path.parent)!r}; make it first")
    if path.is_dir():
        raise UsageError(f"cannot write {str(path)!r}: it is a folder")
    if suffix == ".png":
        check_png()


def write(trace: Trace, path: str | os.PathLike[str]) -> None:
    """Write a trace to `path` as .html, .svg, .png (extra `plot`) or .json; an old file stays until the new is whole.

    Raises:
        UsageError: for an unknown suffix or a missing folder.
        MissingExtra: for .png without matplotlib.
        PalmetteError: if the file system refuses.
    """
    target = Path(path)
    check_target(target)
    content = FORMATS[target.suffix.lower()](trace)
    data = content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace")
    _replace(target, data)


def write_steps(trace: Trace, folder: str | os.PathLike[str]) -> list[Path]:
    """Write the histogram of every step of every run's best answer to `folder`, as A-001.svg, A-002.svg, … B-001.svg.

    The folder is made if it is not there; other files in it stay as they are.
    """
    home = Path(folder)
    try:
        home.mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {str(home)!r}: {error.strerror or error}") from error
    written = []
    for number, run in enumerate(trace.runs):
        for node in trace.path(run.answers[0].node) if run.answers else ():
            target = home / f"{letter(number)}-{node.depth:03d}.svg"
            _replace(target, to_histogram(trace, node.parent, number).encode())
            written.append(target)
    return written


def _replace(target: Path, data: bytes) -> None:
    try:
        _swap(target, data)
    except OSError as error:
        raise PalmetteError(f"cannot write {str(target)!r}: {error.strerror or error}") from error


def _swap(target: Path, data: bytes) -> None:
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
