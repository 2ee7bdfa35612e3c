"""Staying within a provider's limits by waiting before a call, in any number of threads and event loops.

A token bucket for requests and one for tokens: it fills with time up to a minute's worth, each call takes its share and
waits for what is missing, in the order of asking. What the provider says in its headers corrects both.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from palmette.core.errors import BadParameter, RateLimited
from palmette.core.events import Event
from palmette.core.message import Request, Usage
from palmette.core.model import Model
from palmette.core.waiting import Way
from palmette.models.wrap.base import Wrapper, asking
from palmette.models.wrap.estimate import roughly

__all__ = ["Bucket", "headroom", "rate_limit"]

_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NAMES = {  # (what is limited, what is said of it) in the words of OpenAI's and of Anthropic's headers
    ("requests", "limit"): ("x-ratelimit-limit-requests", "anthropic-ratelimit-requests-limit"),
    ("requests", "remaining"): ("x-ratelimit-remaining-requests", "anthropic-ratelimit-requests-remaining"),
    ("requests", "reset"): ("x-ratelimit-reset-requests", "anthropic-ratelimit-requests-reset"),
    ("tokens", "limit"): ("x-ratelimit-limit-tokens", "anthropic-ratelimit-tokens-limit",
                          "anthropic-ratelimit-input-tokens-limit"),
    ("tokens", "remaining"): ("x-ratelimit-remaining-tokens", "anthropic-ratelimit-tokens-remaining",
                              "anthropic-ratelimit-input-tokens-remaining"),
    ("tokens", "reset"): ("x-ratelimit-reset-tokens", "anthropic-ratelimit-tokens-reset",
                          "anthropic-ratelimit-input-tokens-reset"),
}  # fmt: skip


@dataclass(frozen=True)
class Room:
    """What a provider's headers say is left of a limit; None for what they do not say. `reset` is in seconds."""

    limit: float | None = None
    remaining: float | None = None
    reset: float | None = None


class Bucket:
    """A token bucket: `rate` a minute, no more than a minute's worth at once. A debt is waited for.

    Args:
        rate: a minute; None for no limit as yet.
        clock: seconds that only grow.

    >>> now = [0.0]
    >>> bucket = Bucket(60, lambda: now[0])
    >>> bucket.take(60), bucket.take(2)
    (0.0, 2.0)
    """

    def __init__(self, rate: float | None, clock: Callable[[], float]) -> None:
        self.rate = rate
        self._clock = clock
        self._level = rate or 0.0
        self._at = clock()
        self._closed_until = 0.0

    def take(self, amount: float) -> float:
        """Take a share now, and say how many seconds to wait before using it."""
        now = self._fill()
        wait = max(0.0, self._closed_until - now)
        if self.rate is None:
            return wait
        self._level -= min(amount, self.rate)  # what is more than a minute's worth waits a minute, not for ever
        return max(wait, -self._level * 60 / self.rate)

    def give(self, amount: float) -> None:
        """Give back what was not used (or take what was used beyond)."""
        if self.rate is not None:
            self._fill()
            self._level = min(self.rate, self._level + amount)

    def hear(self, room: Room) -> None:
        """What the provider says: a lower limit, less left, or nothing until a time."""
        now = self._fill()
        if room.limit and (self.rate is None or room.limit < self.rate):
            self._level = room.limit if self.rate is None else min(self._level, room.limit)
            self.rate = room.limit
        if self.rate is not None and room.remaining is not None:
            self._level = min(self._level, room.remaining)
        if room.remaining == 0 and room.reset:
            self.close(now + room.reset)

    def close(self, until: float) -> None:
        """Let nothing through before a time."""
        self._closed_until = max(self._closed_until, until)

    def _fill(self) -> float:
        now = self._clock()
        if self.rate is not None:
            self._level = min(self.rate, self._level + (now - self._at) * self.rate / 60)
        self._at = now
        return now


class Limited(Wrapper):
    """See `rate_limit`."""

    def __init__(self, model: Model, requests: float | None, tokens: float | None, clock: Callable[[], float]) -> None:
        super().__init__(model)
        self._clock = clock
        self._lock = threading.Lock()
        self._requests, self._tokens = Bucket(requests, clock), Bucket(tokens, clock)

    async def produce(self, request: Request, way: Way, *, whole: bool = False) -> AsyncIterator[Event]:
        """See Model."""
        share = roughly(request)
        with self._lock:
            wait = max(self._requests.take(1), self._tokens.take(share))
        used: Usage | None = None
        if wait > 0:
            await self._wait(wait, share, way)
        try:
            async with asking(self.model, request, way, whole) as events:
                async for event in events:
                    told = event.headers if event.whole is None else event.whole.headers
                    used = (event.usage if event.whole is None else event.whole.usage) or used
                    if told:
                        self._hear(told)
                    yield event
        except RateLimited as error:
            self._hear(error.headers)
            self._refused(error.headers)
            raise
        finally:
            if used is not None:
                with self._lock:
                    self._tokens.give(share - used.input - used.output)

    async def _wait(self, seconds: float, share: float, way: Way) -> None:
        """Wait; who gives up gives back its share."""
        try:
            await way.sleep(seconds)
        except BaseException:
            with self._lock:
                self._requests.give(1)
                self._tokens.give(share)
            raise

    def _hear(self, headers: Mapping[str, str]) -> None:
        with self._lock:
            self._requests.hear(headroom(headers, "requests"))
            self._tokens.hear(headroom(headers, "tokens"))

    def _refused(self, headers: Mapping[str, str]) -> None:
        """The provider counts otherwise than we do: nothing goes out for as long as it says, or a second."""
        with self._lock:
            self._requests.close(self._clock() + (_seconds(headers.get("retry-after", "")) or 1.0))


def rate_limit(
    model: Model,
    requests: float | None = None,
    tokens: float | None = None,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Model:
    """The model, asked no faster than a number of requests and tokens a minute.

    The limits that OpenAI's and Anthropic's headers tell are kept as well, and may be the only ones. Tokens of a call
    are estimated before it (a quarter of its characters, and max_tokens) and corrected by the usage after it.

    Args:
        model: what to ask.
        requests: a minute.
        tokens: a minute, of questions and answers together.
        clock: seconds that only grow.

    >>> import palmette
    >>> palmette.rate_limit(palmette.scripted("Hello"), requests=600)("Hi").text
    'Hello'
    """
    for name, value in (("requests", requests), ("tokens", tokens)):
        if value is not None and not value > 0:
            raise BadParameter(f"{name} a minute must be above 0, not {value!r}")
    return Limited(model, requests, tokens, clock)


def headroom(headers: Mapping[str, str], what: str, now: float | None = None) -> Room:
    """What headers say of "requests" or "tokens".

    >>> headroom({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m30s"}, "requests")
    Room(limit=None, remaining=0.0, reset=90.0)
    """
    return Room(
        _number(_told(headers, what, "limit")), _number(_told(headers, what, "remaining")),
        _seconds(_told(headers, what, "reset"), now),
    )  # fmt: skip


def _told(headers: Mapping[str, str], what: str, which: str) -> str:
    return next((headers[name] for name in _NAMES[what, which] if name in headers), "")


def _number(text: str) -> float | None:
    return float(text) if text.replace(".", "", 1).isdecimal() else None


def _seconds(text: str, now: float | None = None) -> float | None:
    """1m30s, 250ms, 12 (seconds) or a time of day in ISO 8601, as seconds from now."""
    plain = _number(text)
    if plain is not None:
        return plain
    if text and _SPAN.sub("", text) == "":
        return sum(float(n) * _SECONDS[unit] for n, unit in _SPAN.findall(text))
    try:
        return max(0.0, datetime.fromisoformat(text).timestamp() - (time.time() if now is None else now))
    except ValueError:
        return None
