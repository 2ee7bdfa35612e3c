"""Measured points on disk: one JSON line each, flushed and synced, under a first line that says what was measured."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import OutputError

__all__ = ["Store", "fingerprint"]

Key = tuple[float, ...]


def fingerprint(spec: Mapping[str, Any]) -> str:
    """What tells one measurement from another: the SHA-256 of its specification."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()


class Store:
    """Points by coordinates; those of an interrupted run are taken up, a torn last line is dropped.

    Args:
        path: the file, or None to keep points in memory only.
        spec: what is measured: model, data, directions, precision.

    Raises:
        OutputError: if the file holds something else, or cannot be written.
    """

    def __init__(self, path: Path | None, spec: Mapping[str, Any]) -> None:
        self.path = path
        self.spec = dict(spec)
        self._points: dict[Key, NDArray[np.float64]] = {}
        self._file = -1
        if path is None:
            return
        head = json.dumps({"palmette landscape": fingerprint(spec), "spec": self.spec})
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            text = path.read_text(encoding="utf-8", errors="replace")
            whole, _, torn = text.rpartition("\n")
            if torn:
                os.ftruncate(self._file, len(whole.encode()) + (1 if whole else 0))
            lines = whole.split("\n") if whole else []
            if not lines:
                self._append(head)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error}") from error
        if lines:
            self._take_up(lines)

    def _take_up(self, lines: Sequence[str]) -> None:
        try:
            first = json.loads(lines[0])
            known = first["palmette landscape"]
        except (ValueError, KeyError, TypeError) as error:
            raise OutputError(f"{self.path} holds no points of a landscape; name another file") from error
        if known != fingerprint(self.spec):
            before = first.get("spec", {})
            other = next((key for key in self.spec if before.get(key) != self.spec[key]), next(iter(self.spec)))
            raise OutputError(
                f"{self.path} holds another measurement ({other}: {before.get(other)!r}, now {self.spec[other]!r}); "
                "name another output, or remove the file"
            )
        for line in lines[1:]:
            row = json.loads(line)
            self._points[tuple(row["at"])] = np.array([np.nan if v is None else v for v in row["sums"]])

    def __contains__(self, at: Key) -> bool:
        return at in self._points

    def __getitem__(self, at: Key) -> NDArray[np.float64]:
        return self._points[at]

    def __len__(self) -> int:
        return len(self._points)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._points)

    def add(self, at: Key, sums: NDArray[np.float64]) -> None:
        """Keep a point; on disk when this returns."""
        self._points[at] = sums
        if self._file >= 0:
            self._append(json.dumps({"at": list(at), "sums": [None if np.isnan(v) else float(v) for v in sums]}))

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _append(self, line: str) -> None:
        os.write(self._file, f"{line}\n".encode())
        os.fsync(self._file)
