"""Trying again after a failure that may pass; an answer that has begun is never begun again.

The network's client has retries of its own, within the total time of one call. These stand outside: around a fallback,
around local weights, or for longer than a call may last.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

from palmette.core.errors import BadAnswer, BadParameter, NoConnection, ProviderFailed, RateLimited, TimedOut
from palmette.core.events import Event
from palmette.core.message import Request
from palmette.core.model import Model
from palmette.core.waiting import Way
from palmette.models.wrap.base import Wrapper, asking, says

__all__ = ["PASSING", "retry"]

PASSING = (RateLimited, ProviderFailed, NoConnection, TimedOut, BadAnswer)  # failures that may pass


class Retried(Wrapper):
    """See `retry`."""

    def __init__(
        self, model: Model, tries: int, on: tuple[type[BaseException], ...], pause: float, longest: float, seed: int
    ) -> None:
        super().__init__(model)
        self._tries = tries
        self._on = on
        self._pauses = (pause, longest)
        self._draws = random.Random(seed)

    async def produce(self, request: Request, way: Way, *, whole: bool = False) -> AsyncIterator[Event]:
        """See Model."""
        failures: list[str] = []
        while True:
            held: list[Event] | None = []  # what is about the answer waits until the answer begins
            try:
                async with asking(self.model, request, way, whole) as events:
                    async for event in events:
                        if held is not None:
                            held.append(event)
                            if not says(event):
                                continue
                            for one in (*_notes(failures), *held):
                                yield one
                            held = None
                        else:
                            yield event
                for one in held or ():
                    yield one
                return
            except self._on as error:
                failures.append(f"{type(error).__name__}: {error}")
                if held is None or len(failures) >= self._tries:
                    raise
                wait = self._wait(len(failures), getattr(error, "headers", {}).get("retry-after", ""))
            await way.sleep(wait)

    def _wait(self, attempt: int, asked: str) -> float:
        """Seconds: what the provider asks for, else twice as long each time, with jitter so that many do not meet."""
        first, longest = self._pauses
        doubled = min(longest, first * 2 ** (attempt - 1)) * (0.75 + 0.25 * self._draws.random())
        return float(max(doubled, float(asked))) if asked.replace(".", "", 1).isdecimal() else float(doubled)


def retry(
    model: Model,
    tries: int = 3,
    *,
    on: tuple[type[BaseException], ...] = PASSING,
    pause: float = 1.0,
    longest: float = 60.0,
    seed: int = 0,
) -> Model:
    """The model, asked again after a failure that may pass, as long as it has not begun to answer.

    Args:
        model: what to ask.
        tries: how often at most, the first time included.
        on: the errors after which another try is worth it.
        pause: seconds before the second try; each further pause is twice as long, with jitter, and never shorter than
            what the provider's Retry-After asks for.
        longest: the longest pause in seconds.
        seed: of the jitter.

    >>> import palmette
    >>> from palmette.core.errors import RateLimited
    >>> model = palmette.retry(palmette.scripted([RateLimited("slow down"), "Hello"]), pause=0)
    >>> model("Hi").text
    'Hello'
    """
    if tries < 1:
        raise BadParameter(f"tries must be at least 1, not {tries!r}")
    if pause < 0 or longest < 0:
        raise BadParameter(f"pause and longest are seconds from 0, not {pause!r} and {longest!r}")
    return Retried(model, tries, on, pause, longest, seed)


def _notes(failures: list[str]) -> list[Event]:
    return [Event(notes=(f"answered at try {len(failures) + 1}; before: {'; '.join(failures)}",))] if failures else []
