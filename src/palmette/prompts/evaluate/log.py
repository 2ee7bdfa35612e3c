"""The log of an evaluation: one JSON line for each call, written whole at once.

It is also the replay: a call that stands in it is not made again, so a run that was killed goes on, and one that was
finished gives the same bytes without a call.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

from palmette.core.errors import OutputError, PalmetteError
from palmette.core.message import Response
from palmette.prompts.codec import response_json, response_of

__all__ = ["CallLog", "LoggedError", "NotLogged", "ScopedLog"]

HEAD = {"palmette evaluation": 1}


class NotLogged(PalmetteError):
    """A replay needs a call that the log does not hold."""


class LoggedError(PalmetteError):
    """A call that failed when it was made; `name` is the type of its error."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


class CallLog:
    """Calls by key, in memory and in a file.

    Args:
        path: the file; None keeps calls in memory alone.
        replay: whether to refuse a call that is not in it, and to let calls fail that failed.

    Raises:
        OutputError: for a file that is no such log, or cannot be written.
    """

    def __init__(self, path: Path | None = None, replay: bool = False) -> None:
        self.path, self.replay = path, replay
        self.made = 0  # calls that were not in the log
        self._lock = threading.Lock()
        self._calls: dict[str, tuple[Any, float]] = {}
        self._errors: dict[str, tuple[str, str]] = {}
        self._file = -1
        if path is None:
            return
        try:
            if not replay:
                path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDONLY if replay else os.O_RDWR | os.O_CREAT | os.O_APPEND
            self._file = os.open(path, flags, 0o600)
            self._take_up(path.read_bytes())
        except OSError as error:
            raise OutputError(f"{path}: {error.strerror or error}") from error

    def _take_up(self, data: bytes) -> None:
        whole, _, torn = data.rpartition(b"\n")
        if torn and not self.replay:  # the line that was being written when the run was killed
            os.ftruncate(self._file, len(data) - len(torn))
        lines = whole.split(b"\n") if whole else []
        if not lines and not self.replay:
            self._append(HEAD)
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                if number == 1 and row != HEAD:
                    raise ValueError("no log of an evaluation")
                if "error" in row:
                    self._errors[row["call"]] = (row["error"], row["text"])
                elif "call" in row:
                    self._calls[row["call"]] = (row["answer"], float(row["seconds"]))
                    self._errors.pop(row["call"], None)
            except (ValueError, KeyError, TypeError) as error:
                reason = "no log of an evaluation" if number == 1 else f"not a call that was kept ({error})"
                raise OutputError(f"{self.path}, line {number}: {reason}; name another file") from None

    def find(self, key: str) -> tuple[Response, float] | None:
        """See palmette.prompts.run.Log."""
        known = self._calls.get(key)
        if known is not None:
            return response_of(known[0]), known[1]
        if self.replay:
            if key in self._errors:
                raise LoggedError(*self._errors[key])
            raise NotLogged(f"{self.path} does not hold a call that this run needs; run it without replay")
        return None

    def keep(self, key: str, response: Response, seconds: float) -> None:
        """See palmette.prompts.run.Log."""
        answer = response_json(response)
        with self._lock:
            self.made += 1
            self._calls[key] = (answer, seconds)
            self._append({"call": key, "answer": answer, "seconds": seconds})

    def fail(self, key: str, error: Exception) -> None:
        """Keep that a call failed; going on tries it again, a replay fails alike."""
        with self._lock:
            self._append({"call": key, "error": type(error).__name__, "text": str(error)})

    def _append(self, row: Any) -> None:
        if self._file >= 0:
            data = (json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n").encode()
            if os.write(self._file, data) != len(data):
                raise OutputError(f"{self.path} cannot be written: the disk is full")

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class ScopedLog:
    """A log seen by one item of one cell: what others asked is not found, so cells are independent draws."""

    def __init__(self, log: CallLog, scope: str) -> None:
        self._log, self._scope = log, scope

    def find(self, key: str) -> tuple[Response, float] | None:
        """See palmette.prompts.run.Log."""
        return self._log.find(f"{self._scope}/{key}")

    def keep(self, key: str, response: Response, seconds: float) -> None:
        """See palmette.prompts.run.Log."""
        self._log.keep(f"{self._scope}/{key}", response, seconds)

    def fail(self, key: str, error: Exception) -> None:
        """See palmette.prompts.run.Log."""
        self._log.fail(f"{self._scope}/{key}", error)
