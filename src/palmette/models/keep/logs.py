"""The log of calls: one row for each in an SQLite file of its owner's alone, with the text or without, never a key.

Old calls are forgotten: after 90 days, or as many as PALMETTE_LOG_DAYS says (0 keeps them for ever).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from palmette.core.errors import BadParameter
from palmette.core.message import Request, Response
from palmette.core.values import to_json
from palmette.models.keep.places import folder
from palmette.models.keep.prices import cost
from palmette.models.keep.sqlite import SqliteFile
from palmette.models.remote.providers import PROVIDERS

__all__ = ["Call", "Logs", "call_of", "content_wanted", "logs", "wanted"]

DAYS = 90.0
DAY = 86400
SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
    id INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, seconds REAL NOT NULL, first REAL, model TEXT NOT NULL,
    served TEXT NOT NULL, finish TEXT NOT NULL, input INTEGER, output INTEGER, cached INTEGER, reasoning INTEGER,
    dollars REAL, price TEXT NOT NULL, error TEXT NOT NULL, notes TEXT NOT NULL,
    prompt TEXT NOT NULL, answer TEXT NOT NULL, request TEXT NOT NULL, response TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS calls_by_time ON calls (time);
"""


@dataclass(frozen=True)
class Call:
    """A call in the log.

    Args:
        time: when it began, in seconds since 1970.
        seconds: how long it took; `first` until the first piece of the answer.
        model: whom it asked; `served` is what the answer says of its model.
        finish: why the answer ended; "left" if somebody left it early, "error" if it failed, with `error`.
        input, output, cached, reasoning: tokens, None where the provider did not say.
        dollars: an estimate, None where it is unknown; `price` says from where or why.
        prompt, answer: the last turn and the answer as text; empty, as `request` and `response`, without content.
    """

    time: float
    seconds: float
    model: str
    first: float | None = None
    served: str = ""
    finish: str = ""
    input: int | None = None
    output: int | None = None
    cached: int | None = None
    reasoning: int | None = None
    dollars: float | None = None
    price: str = ""
    error: str = ""
    notes: str = ""
    prompt: str = ""
    answer: str = ""
    request: str = ""
    response: str = ""
    id: int = 0

    @property
    def when(self) -> str:
        """The time in UTC, as ISO 8601 writes it.

        >>> Call(0.0, 1.0, "m").when
        '1970-01-01T00:00:00Z'
        """
        return datetime.fromtimestamp(self.time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    @property
    def tree(self) -> Any:
        """The token tree as JSON, if the call asked for it; see `palmette.tokens.trace.json.from_json`."""
        return (json.loads(self.response or "null") or {}).get("palmette", {}).get("tree")

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON."""
        made = {field.name: getattr(self, field.name) for field in fields(self)}
        whole = {name: json.loads(made.pop(name) or "null") for name in ("request", "response")}
        return {"id": made.pop("id"), "when": self.when, **made, **whole}


class Logs:
    """A log of calls, which threads and processes may share.

    Args:
        path: the file; PALMETTE_LOG if that is a path, else `logs.sqlite` in Palmette's data folder.
        days: how long calls are kept; PALMETTE_LOG_DAYS or 90 unless given, 0 for ever.
    """

    def __init__(self, path: str | Path | None = None, days: float | None = None) -> None:
        self.file = SqliteFile(Path(path) if path is not None else _usual(), SCHEMA)
        self.days = _days() if days is None else days
        self._swept = 0.0

    def __repr__(self) -> str:
        return f"Logs({str(self.file.path)!r})"

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.file.path

    def add(self, call: Call) -> None:
        """Write a call down, and forget the old ones now and then.

        Raises:
            OutputError: if the file cannot be written.
        """
        names = [field.name for field in fields(Call) if field.name != "id"]
        values = [_hidden(v) if isinstance(v, str) else v for v in (getattr(call, name) for name in names)]
        marks = ", ".join("?" * len(names))
        self.file.write(f"INSERT INTO calls ({', '.join(names)}) VALUES ({marks})", values)
        if self.days and time.time() - self._swept > DAY / 24:
            self._swept = time.time()
            self.forget(self.days)

    def find(
        self, last: int | None = 10, *, search: str = "", model: str = "", failed: bool = False, id: int | None = None
    ) -> list[Call]:
        """Calls, the latest first.

        Args:
            last: how many at most; None for all.
            search: text of the question or the answer, whatever its case.
            model: the beginning of the model's name.
            failed: those alone that ended in an error.
            id: the one call with this number.
        """
        if last is not None and last < 1:
            raise BadParameter(f"last must be at least 1, not {last!r}")
        if not self.path.exists():
            return []
        rules, values = ["1"], list[Any]()
        if search:
            rules.append("(instr(fold(prompt), ?) OR instr(fold(answer), ?))")
            values += [search.casefold()] * 2
        if model:
            rules.append("substr(model, 1, ?) = ?")
            values += [len(model), model]
        if failed:
            rules.append("error != ''")
        if id is not None:
            rules.append("id = ?")
            values.append(id)
        rows = self.file.read(
            f"SELECT * FROM calls WHERE {' AND '.join(rules)} ORDER BY id DESC LIMIT ?",
            [*values, -1 if last is None else last],
        )
        return [Call(**dict(row)) for row in rows]

    def __iter__(self) -> Iterator[Call]:
        return iter(self.find(None))

    def forget(self, days: float = 0.0) -> int:
        """Delete the calls older than some days (all, unless given); how many there were."""
        if not self.path.exists():
            return 0
        return self.file.write("DELETE FROM calls WHERE time <= ?", (time.time() - days * DAY,))

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def logs(path: str | Path | None = None) -> Logs:
    """The log of calls that `palmette.logged`, `palmette run --log` and PALMETTE_LOG=1 write.

    >>> import palmette, tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     log = palmette.logs(f"{place}/logs.sqlite")
    ...     _ = palmette.logged(palmette.scripted("Hello"), log)("Hi")
    ...     found = log.find()[0]
    ...     log.close()
    >>> found.prompt, found.answer, found.input, found.dollars, found.price
    ('Hi', 'Hello', 1, None, "no price of 'scripted'")
    """
    return Logs(path)


def call_of(
    model: str, request: Request, response: Response, begun: float, seconds: float, *, first: float | None = None,
    error: BaseException | None = None, left: bool = False, content: bool = True,
) -> Call:  # fmt: skip
    """A call as a row of the log."""
    usage, spent = response.usage, cost(response, model)
    made = Call(
        begun, seconds, model, first, response.model,
        "error" if error is not None else "left" if left else response.finish,
        dollars=spent.dollars, price=spent.source, notes="\n".join(response.notes),
        error="" if error is None else f"{type(error).__name__}: {error}",
    )  # fmt: skip
    if usage is not None:
        made = replace(made, input=usage.input, output=usage.output, cached=usage.cached, reasoning=usage.reasoning)
    if not content:
        return made
    asked = next((m.text for m in reversed(request.messages) if m.role == "user"), "")
    kept = "" if error is not None else json.dumps(_whole(response), ensure_ascii=False)
    return replace(
        made, prompt=asked, answer=response.text, request=json.dumps(to_json(request), ensure_ascii=False),
        response=kept,
    )  # fmt: skip


def _whole(response: Response) -> Any:
    """An answer as JSON, with the tree and the scored answers if they were asked for."""
    raw = response.raw
    own = {"palmette": raw["palmette"]} if isinstance(raw, dict) and "palmette" in raw else {}
    return {**to_json(response), **own}


def wanted(flag: bool = False) -> bool:
    """Whether calls shall be logged: by a flag, or by PALMETTE_LOG."""
    return flag or os.environ.get("PALMETTE_LOG", "").strip().lower() not in ("", "0", "no", "off", "false")


def content_wanted() -> bool:
    """Whether questions and answers are kept: yes, unless PALMETTE_LOG_CONTENT says no."""
    return os.environ.get("PALMETTE_LOG_CONTENT", "1").strip().lower() not in ("0", "no", "off", "false")


def _usual() -> Path:
    named = os.environ.get("PALMETTE_LOG", "").strip()
    return Path(named).expanduser() if os.sep in named or named.endswith(".sqlite") else folder("data") / "logs.sqlite"


def _days() -> float:
    said = os.environ.get("PALMETTE_LOG_DAYS", "")
    try:
        found = float(said or DAYS)
    except ValueError:
        found = -1.0
    if not found >= 0:
        raise BadParameter(f"PALMETTE_LOG_DAYS must be a number of days, or 0 to keep all, not {said!r}")
    return found


def _hidden(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Text without the keys that the environment holds, should one have got into a question, an answer or an error."""
    for variable in (name for provider in PROVIDERS.values() for name in provider.keys):
        value = environment.get(variable, "")
        if len(value) >= 8:
            text = text.replace(value, "…")
    return text
