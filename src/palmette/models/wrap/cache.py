"""Answers kept on the disk: what was asked once is not asked again, in this run or the next.

The key is the canonical request (0 and 0.0 are one temperature, and one that is not set is another), the model with its
own defaults, and the number of the sample: n answers to one request stay n different answers, and asking for more asks
only for the rest.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from palmette.core.errors import BadParameter
from palmette.core.events import Collector, Event, unfold
from palmette.core.message import Request, Response, Usage
from palmette.core.model import Model
from palmette.core.values import canonical, from_json, key_of, to_json
from palmette.core.waiting import Way
from palmette.models.keep.places import folder
from palmette.models.keep.sqlite import SqliteFile
from palmette.models.wrap.base import Wrapper, asking
from palmette.models.wrap.identity import identity

__all__ = ["Cached", "cache"]

DAY = 86400
SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT NOT NULL, sample INTEGER NOT NULL, model TEXT NOT NULL, asked REAL NOT NULL, answer TEXT NOT NULL,
    PRIMARY KEY (key, sample)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answers_by_age ON answers (asked);
"""


class Kept(NamedTuple):
    """An answer on the disk, and when it was given."""

    asked: float
    response: Response


class Cached(Wrapper):
    """A model with a memory; see `cache`.

    Args:
        hits, misses: how many answers came from the disk, and how many were asked for.
    """

    def __init__(self, model: Model, file: SqliteFile, days: float | None, name: str = "", first: int = 0) -> None:
        super().__init__(model)
        self._name = name
        self._who = name or canonical(identity(self.model))
        self.file = file
        self.hits = self.misses = 0
        self._days = days
        self._first = first

    def at(self, sample: int) -> Cached:
        """The same memory, from another sample on: `cached.at(3)` gives the fourth answer to each request."""
        if sample < 0:
            raise BadParameter(f"samples are numbered from 0, not {sample!r}")
        return Cached(self.model, self.file, self._days, self._name, sample)

    def forget(self, days: float = 0.0) -> int:
        """Delete the answers older than some days (all, unless given); how many there were."""
        return self.file.write("DELETE FROM answers WHERE asked <= ?", (time.time() - days * DAY,))

    async def produce(self, request: Request, way: Way, *, whole: bool = False) -> AsyncIterator[Event]:
        """See Model."""
        drawn = request.seed is not None or self.capabilities.full_logits  # the same seed gives the same answers
        if drawn and self._first:
            request = replace(request, seed=(request.seed or 0) + self._first)
        many = request.n or 1
        apart = not drawn  # then any answer may be the n-th; else those of one request belong together
        count = many if apart else 1
        key = key_of(self._who, replace(request, n=None) if apart else request)
        kept = await way.call(self._read, key, count)
        missing = [i for i in range(count) if i not in kept]
        self.hits += len(kept)
        self.misses += len(missing)
        if kept:
            for event in unfold(await self._completed(request, key, kept, missing, way)):
                yield event
            return
        collector = Collector()
        async with asking(self.model, request, way, whole) as events:
            async for event in events:
                collector.add(event)
                yield event
        answer = collector.response
        await way.call(self._write, key, dict(enumerate(_apart(answer))) if apart else {0: answer})

    async def _completed(
        self, request: Request, key: str, kept: dict[int, Kept], missing: list[int], way: Way
    ) -> Response:
        """Samples from the disk; those that are not there are asked for."""
        made, used = {i: one.response for i, one in kept.items()}, Usage()
        if missing:
            fresh = await self._asked(replace(request, n=len(missing) if len(missing) > 1 else None), way)
            asked = dict(zip(missing, _apart(fresh), strict=False))
            await way.call(self._write, key, asked)
            made, used = {**made, **asked}, fresh.usage or used
        first, *others = [replace(made[i], usage=None) for i in sorted(made)]
        day = time.strftime("%Y-%m-%d", time.gmtime(min(one.asked for one in kept.values())))
        note = f"from the cache of {day}" + (f": {len(kept)} of {len(made)} answers" if missing else "")
        return replace(first, alternatives=(*first.alternatives, *others), usage=used, notes=(*first.notes, note))

    async def _asked(self, request: Request, way: Way) -> Response:
        collector = Collector()
        async with asking(self.model, request, way, True) as events:
            async for event in events:
                collector.add(event)
        return collector.response

    def _read(self, key: str, count: int) -> dict[int, Kept]:
        since = 0.0 if self._days is None else time.time() - self._days * DAY
        rows = self.file.read(
            "SELECT sample, asked, answer FROM answers WHERE key = ? AND sample >= ? AND sample < ? AND asked >= ?",
            (key, self._first, self._first + count, since),
        )
        return {row["sample"] - self._first: Kept(row["asked"], from_json(json.loads(row["answer"]))) for row in rows}

    def _write(self, key: str, answers: dict[int, Response]) -> None:
        now = time.time()
        rows = [
            (key, self._first + i, self.id, now, json.dumps(to_json(answer), ensure_ascii=False))
            for i, answer in answers.items()
        ]
        self.file.write_all("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)", rows)


def cache(model: Model, path: str | Path | None = None, *, days: float | None = None, name: str = "") -> Cached:
    """The model with a memory: an answer that was given once is given again, without asking.

    An answer from the cache reports no tokens, since none were used, and says in its notes from when it is. Errors and
    streams that were left early are not kept. `seed` is part of the request, and so is every setting.

    Args:
        model: what to ask.
        path: an SQLite file, which many processes may share; `answers.sqlite` in Palmette's cache folder unless given.
        days: how old an answer may be.
        name: what the model is called in the file; its id with its own defaults unless given.

    Raises:
        UsageError: for a model made of an engine, whose name would not tell it from another, without a name.
        OutputError: if the file cannot be written.

    >>> import palmette, tempfile
    >>> said = iter(["one", "two", "three"])
    >>> with tempfile.TemporaryDirectory() as place:
    ...     model = palmette.cache(palmette.scripted(lambda request: next(said)), f"{place}/answers.sqlite")
    ...     first, again = model("Hi").text, model("Hi").text
    ...     both = model("Hi", n=2).response
    ...     model.file.close()
    >>> first, again, both.text, both.alternatives[0].text
    ('one', 'one', 'one', 'two')
    """
    if days is not None and not days > 0:
        raise BadParameter(f"days must be above 0, not {days!r}")
    file = folder("cache") / "answers.sqlite" if path is None else Path(path)
    return Cached(model, SqliteFile(file, SCHEMA), days, name)


def _apart(response: Response) -> list[Response]:
    """Each of several answers alone; what they used belongs to the first."""
    return [replace(response, alternatives=()), *response.alternatives]
