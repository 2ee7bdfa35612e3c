"""Every call of a model written into the log, successful or not; see `palmette logs`."""

from __future__ import annotations

import time
from asyncio import CancelledError
from collections.abc import AsyncIterator
from pathlib import Path

from palmette.core.events import Collector, Event
from palmette.core.message import Request
from palmette.core.model import Model
from palmette.core.waiting import Way
from palmette.models.keep.logs import Logs, call_of, content_wanted
from palmette.models.wrap.base import Wrapper, asking, says

__all__ = ["logged"]


class Logged(Wrapper):
    """See `logged`."""

    def __init__(self, model: Model, log: Logs, content: bool) -> None:
        super().__init__(model)
        self.log = log
        self._content = content

    async def produce(self, request: Request, way: Way, *, whole: bool = False) -> AsyncIterator[Event]:
        """See Model."""
        collector, begun, start = Collector(), time.time(), time.monotonic()
        first: float | None = None
        error: BaseException | None = None
        left = False
        try:
            async with asking(self.model, request, way, whole) as events:
                async for event in events:
                    collector.add(event)
                    if first is None and says(event):
                        first = time.monotonic() - start
                    yield event
        except (GeneratorExit, CancelledError):
            left = True
            raise
        except Exception as failure:
            error = failure
            raise
        finally:
            seconds = time.monotonic() - start
            call = call_of(
                self.id, request, collector.response, begun, seconds,
                first=first, error=error, left=left, content=self._content,
            )  # fmt: skip
            if left:  # nothing may be waited for while a stream is being closed
                self.log.add(call)
            else:
                await way.call(self.log.add, call)


def logged(model: Model, log: Logs | str | Path | None = None, *, content: bool | None = None) -> Model:
    """The model, whose calls are all written into the log: when, how long, tokens, cost, and what was said.

    Args:
        model: what to ask.
        log: a log or its file; the usual one (see `palmette.logs`) unless given.
        content: whether questions and answers are kept, or their numbers alone; they are, unless PALMETTE_LOG_CONTENT
            is 0. Keys never are.

    Raises:
        OutputError: if the log cannot be written.
    """
    return Logged(model, log if isinstance(log, Logs) else Logs(log), content_wanted() if content is None else content)
