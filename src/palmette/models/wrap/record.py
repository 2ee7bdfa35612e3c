"""Calls recorded in a file, and a model that says them again: tests of real answers without a network.

A line of JSON is one call: the request, the model's id and the events of the answer as they came, or the error. The
same question asked again is answered by its next line, so a replay says the same bytes in the same pieces.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import AsyncIterator
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from palmette.core import errors
from palmette.core.errors import BadParameter, NotRecorded, OutputError, PalmetteError, ProviderError, UsageError
from palmette.core.events import Event, fold, unfold
from palmette.core.message import Request
from palmette.core.model import Capabilities, Model
from palmette.core.values import canonical, from_json, to_json
from palmette.core.waiting import Way
from palmette.models.wrap.base import Wrapper, asking
from palmette.models.wrap.scripted import ABLE

__all__ = ["record", "replay"]


class Recorder(Wrapper):
    """See `record`."""

    def __init__(self, model: Model, path: Path) -> None:
        super().__init__(model)
        self.path = path
        self._lock = threading.Lock()

    async def produce(self, request: Request, way: Way, *, whole: bool = False) -> AsyncIterator[Event]:
        """See Model."""
        said: list[Any] = []
        try:
            async with asking(self.model, request, way, whole) as events:
                async for event in events:
                    said.append(to_json(event))
                    yield event
        except PalmetteError as error:
            await way.call(self._write, request, said, error)
            raise
        await way.call(self._write, request, said, None)

    def _write(self, request: Request, said: list[Any], error: PalmetteError | None) -> None:
        row = {"model": self.id, "request": to_json(request), "events": said}
        if error is not None:
            status = {"status": error.status} if isinstance(error, ProviderError) and error.status else {}
            row["error"] = {"type": type(error).__name__, "text": str(error), **status}
        line = json.dumps(row, ensure_ascii=False) + "\n"
        try:
            with self._lock, self.path.open("a", encoding="utf-8", newline="\n") as file:
                file.write(line)
        except OSError as failure:
            raise OutputError(f"{self.path} cannot be written: {failure.strerror or failure}") from failure


class Replay(Model):
    """See `replay`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows = _read(path)
        self.id = self._rows[0]["model"]
        self._asked: defaultdict[str, int] = defaultdict(int)
        self._lines: defaultdict[str, list[int]] = defaultdict(list)
        for i, row in enumerate(self._rows):
            self._lines[row["key"]].append(i)

    def __repr__(self) -> str:
        return f"replay({str(self.path)!r}, {len(self._rows)} calls of {self.id})"

    @property
    def capabilities(self) -> Capabilities:
        """Everything: what was recorded could be asked."""
        return ABLE

    def rewind(self) -> None:
        """Begin again with the first answer to every question."""
        self._asked.clear()

    async def produce(self, request: Request, way: Way, *, whole: bool = False) -> AsyncIterator[Event]:
        """See Model."""
        row = self._next(request)
        events = [from_json(event) for event in row["events"]]
        if "error" not in row and not whole and len(events) == 1 and events[0].whole is not None:
            events = list(unfold(events[0].whole))
        elif "error" not in row and whole:
            events = [Event(whole=fold(events))]
        for event in events:
            yield event
        if "error" in row:
            raise _error(row["error"])

    def _next(self, request: Request) -> dict[str, Any]:
        key = canonical(request)
        lines = self._lines.get(key)
        if lines is None:
            raise NotRecorded(self._nearest(request, key))
        at = self._asked[key]
        if at >= len(lines):
            raise NotRecorded(
                f"{self.path}: this request was recorded {len(lines)} times (line {lines[-1] + 1} is the last) and is "
                f"asked once more; record again, or rewind()"
            )
        self._asked[key] = at + 1
        return self._rows[lines[at]]

    def _nearest(self, request: Request, key: str) -> str:
        """What to say of a request that was not recorded: the nearest one, and where it differs."""
        matcher = SequenceMatcher(b=key[:4000], autojunk=False)

        def likeness(row: dict[str, Any]) -> float:
            matcher.set_seq1(row["key"][:4000])
            return matcher.real_quick_ratio() if len(self._rows) > 200 else matcher.ratio()

        line = max(range(len(self._rows)), key=lambda i: likeness(self._rows[i]))
        where, then, now = _difference(self._rows[line]["request"], to_json(request), "")
        return (
            f"{self.path}: no answer to this request was recorded; the nearest of {len(self._rows)} (line {line + 1}) "
            f"differs at {where}: recorded {_short(then)}, asked {_short(now)}"
        )


def record(model: Model, path: str | Path, *, append: bool = False) -> Model:
    """The model, whose calls are written into a file that `replay` answers from.

    Args:
        model: what to ask.
        path: a file of JSON lines. Keys are not in it, and neither are headers.
        append: whether to go on with a file that exists.

    Raises:
        OutputError: if the file exists, or cannot be written.

    >>> import palmette, tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     first = palmette.record(palmette.scripted("Hello"), f"{place}/calls.jsonl")("Hi").text
    ...     first == palmette.replay(f"{place}/calls.jsonl")("Hi").text
    True
    """
    file = Path(path)
    if file.exists() and not append:
        raise OutputError(f"{file} exists; delete it to record anew, or say append=True to add to it")
    return Recorder(model, file)


def replay(path: str | Path) -> Replay:
    """A model that says again what `record` wrote, and asks nobody.

    Args:
        path: the file.

    Raises:
        UsageError: for a file that cannot be read or is no recording.
        NotRecorded: when it is asked something else, with the nearest recorded request and where it differs.
    """
    return Replay(Path(path))


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_text("utf-8").split("\n")
    except OSError as error:
        raise UsageError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    rows = []
    for i, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            row["key"] = canonical(from_json(row["request"]))
            [from_json(event) for event in row["events"]]
        except (ValueError, KeyError, TypeError, BadParameter) as error:
            raise UsageError(f"{path}, line {i} is no recorded call: {error}") from error
        rows.append(row)
    if not rows:
        raise UsageError(f"{path} has no recorded calls")
    return rows


def _error(row: dict[str, Any]) -> PalmetteError:
    """The recorded error; one whose type is not known, or is not made of a text alone, is its base."""
    kind = getattr(errors, row["type"], PalmetteError)
    if issubclass(kind, ProviderError):
        return kind(row["text"], row.get("status"))
    try:
        return kind(row["text"]) if issubclass(kind, PalmetteError) else PalmetteError(row["text"])
    except TypeError:
        return PalmetteError(row["text"])


_NONE: Any = object()


def _difference(old: Any, new: Any, where: str) -> tuple[str, Any, Any]:
    """The first place where two JSON values differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(k for k in new if k not in old)]:
            if old.get(key, _NONE) != new.get(key, _NONE):
                return _difference(old.get(key, _NONE), new.get(key, _NONE), f"{where}.{key}".lstrip("."))
    if isinstance(old, list) and isinstance(new, list):
        for i in range(max(len(old), len(new))):
            one, other = (old[i] if i < len(old) else _NONE), (new[i] if i < len(new) else _NONE)
            if one != other:
                return _difference(one, other, f"{where}[{i}]")
    return where, old, new


def _short(value: Any) -> str:
    if value is _NONE:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:60]} … {text[-30:]}"
