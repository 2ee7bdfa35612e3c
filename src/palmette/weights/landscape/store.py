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
Sums = NDArray[np.float64]
_MARK = "palmette landscape"
_START = f'{{"{_MARK}": '.encode()  # of every store; what starts otherwise is another's, and is left as it is


def fingerprint(spec: Mapping[str, Any]) -> str:
    """What tells one measurement from another: the SHA-256 of its specification."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()


class Store:
    """Points by coordinates; those of an interrupted run are taken up, a torn last line is dropped.

    Shards, files beside it named FILE.shard…, hold points that other processes or machines measured: a point that is
    asked for is found in them, too, and copied when it is its turn, so that the file is the same however it came about.

    Args:
        path: the file, or None to keep points in memory only.
        spec: what is measured: model, data, directions, precision.

    Raises:
        OutputError: if the file or a shard holds something else, or cannot be written.
    """

    def __init__(self, path: Path | None, spec: Mapping[str, Any]) -> None:
        self.path = path
        self.spec = json.loads(json.dumps(dict(spec)))
        self._points: dict[tuple[str, Key], Sums] = {}
        self._elsewhere: dict[tuple[str, Key], Sums] = {}
        self._file = -1
        if path is None:
            return
        head = json.dumps({_MARK: fingerprint(self.spec), "spec": self.spec})
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            data = path.read_bytes()
            if not data.startswith(_START[: len(data)]):
                raise OutputError(f"{path} holds no points of a landscape; name another file")
            whole = data.rpartition(b"\n")[0]
            if not data.endswith(b"\n") and data:
                os.ftruncate(self._file, len(whole) + (1 if whole else 0))
            lines = whole.decode("utf-8", errors="replace").split("\n") if whole else []
            if not lines:
                self._append(head)
            shards = sorted(path.parent.glob(f"{path.name}.shard*"))
            others = [(shard, shard.read_text(encoding="utf-8", errors="replace")) for shard in shards]
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error}") from error
        if len(lines) == 1 and lines[0] != head:  # of a measurement that ended before its first point
            os.ftruncate(self._file, 0)
            self._append(head)
        elif lines:
            self._points = self._read(path, lines)
        for shard, text in others:
            if "\n" in text:
                self._elsewhere |= self._read(shard, text.rpartition("\n")[0].split("\n"))

    def _read(self, path: Path, lines: Sequence[str]) -> dict[tuple[str, Key], Sums]:
        try:
            first = json.loads(lines[0])
            known = first[_MARK]
        except (ValueError, KeyError, TypeError) as error:
            raise OutputError(f"{path} holds no points of a landscape; name another file") from error
        if known != fingerprint(self.spec):
            before = first.get("spec", {})
            what = _other(before, self.spec)
            raise OutputError(f"{path} holds another measurement ({what}); name another output, or remove the file")
        found = {}
        for number, line in enumerate(lines[1:], 2):
            try:
                row = json.loads(line)
                key = (str(row.get("of", "")), tuple(float(x) for x in row["at"]))
                found[key] = np.array([float(v) for v in row["sums"]])
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise OutputError(f"{path}, line {number}, is no measured point; remove the file") from error
        return found

    def has(self, at: Key, of: str = "") -> bool:
        """Whether a point is known; one that a shard knows is copied."""
        if (of, at) in self._elsewhere and (of, at) not in self._points:
            self.add(at, self._elsewhere[of, at], of)
        return (of, at) in self._points

    def get(self, at: Key, of: str = "") -> Sums:
        """The sums of a known point."""
        return self._points[of, at]

    def keys(self, of: str = "") -> Iterator[Key]:
        """The coordinates of known points."""
        return (at for name, at in self._points if name == of)

    def __len__(self) -> int:
        return len(self._points)

    def add(self, at: Key, sums: Sums, of: str = "") -> None:
        """Keep a point; on disk when this returns. `of` says what it is a point of, besides the landscape itself."""
        self._points[of, at] = sums
        if self._file >= 0:
            about = {"of": of} if of else {}
            self._append(json.dumps({"at": list(at), **about, "sums": [_number(v) for v in sums]}))

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _append(self, line: str) -> None:
        data = f"{line}\n".encode()
        try:
            if os.write(self._file, data) != len(data):
                raise OSError(28, "no space left on the device")
            os.fsync(self._file)
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error}") from error


def _other(before: Any, now: Any) -> str:
    """The first thing in which two specifications differ, as short as it can be said.

    >>> _other({"directions": [{"seed": 0, "norm": "filter"}]}, {"directions": [{"seed": 2, "norm": "filter"}]})
    'directions 1 seed: 0, now 2'
    """
    if isinstance(before, dict) and isinstance(now, dict):
        key = next((key for key in [*now, *before] if before.get(key) != now.get(key)), "")
        said = _other(before.get(key), now.get(key))
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        place = next((i for i, pair in enumerate(zip(before, now, strict=True)) if pair[0] != pair[1]), 0)
        key, said = str(place + 1), _other(before[place], now[place])
    else:
        return f": {_short(before)}, now {_short(now)}"
    return key + said if said.startswith(":") else f"{key} {said}"


def _short(value: Any) -> str:
    """A value; of a digest its beginning."""
    return f"{value[:8]}…" if isinstance(value, str) and len(value) == 64 else repr(value)


def _number(value: float) -> float | str:
    """A number that JSON has; else its name, which `float` reads."""
    return float(value) if np.isfinite(value) else repr(float(value))
