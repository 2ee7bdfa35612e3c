"""A model that says what it is told to say, for tests: it streams word by word and remembers what it was asked."""

from __future__ import annotations

import re
from asyncio import CancelledError
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from palmette.core.errors import UsageError
from palmette.core.events import Event, unfold
from palmette.core.message import Part, Request, Response, Text, TokenScore, Usage
from palmette.core.model import Capabilities, Model
from palmette.core.waiting import Way

__all__ = ["Scripted", "scripted"]

Line = str | Response | BaseException | Sequence[Any]
_WORD = re.compile(r"\s*\S+\s*|\s+")
ABLE = Capabilities(
    tools=True, images=True, audio=True, documents=True, reasoning=True, json_schema=True, regex=True, grammar=True,
    choices=True, top_logprobs=20, seed=True, n=True, count_tokens=True,
)  # fmt: skip


class Scripted(Model):
    """A model with a script. Made by `scripted`.

    Args:
        requests: what it was asked, in order.
        left: how many answers were left before they ended: a stream that was closed, a task that was cancelled.
    """

    def __init__(
        self, lines: Line | Callable[[Request], Line], id: str, pause: float, usage: bool, capabilities: Capabilities
    ) -> None:
        self.id = id
        self.requests: list[Request] = []
        self.left = 0
        self._say = lines if callable(lines) else _reader(lines)
        self._pause = pause
        self._usage = usage
        self._can = capabilities

    def __repr__(self) -> str:
        return f"Scripted({self.id!r}, asked {len(self.requests)} times)"

    @property
    def capabilities(self) -> Capabilities:
        """What can be asked of it: everything, unless it was told otherwise."""
        return self._can

    async def measure(self, request: Request, way: Way) -> int:
        """Its words."""
        return _words(request)

    async def produce(self, request: Request, way: Way, *, whole: bool = False) -> AsyncIterator[Event]:
        """See Model."""
        self.requests.append(request)
        try:
            lines = [self._say(request) for _ in range(request.n or 1)]
            for event in self._events(lines, request, whole):
                if self._pause:
                    await way.sleep(self._pause)
                if isinstance(event, BaseException):
                    raise event
                yield event
        except (GeneratorExit, CancelledError):
            self.left += 1
            raise

    def _events(self, lines: Sequence[Line], request: Request, whole: bool) -> Iterator[Event | BaseException]:
        broken = next((line for line in lines if isinstance(line, BaseException)), None)
        if broken is not None:
            yield broken
            return
        given: list[Any] = [line for line in lines if not isinstance(line, (str, Response))]
        if given:
            pieces = given[0]  # one answer, however many were asked for
            for piece in pieces:
                if not isinstance(piece, (str, Event, BaseException)):
                    raise UsageError(f"a piece of a scripted answer is text, an Event or an error, not {piece!r}")
                yield Event(piece) if isinstance(piece, str) else piece
            yield Event(finish="stop", usage=self._count(request, "".join(p for p in pieces if isinstance(p, str))))
            return
        first, *others = [self._response(line, request) for line in lines]
        answer = replace(first, alternatives=tuple(others)) if others else first
        if whole:
            yield Event(whole=answer)
            return
        for event in unfold(answer):
            yield from _by_words(event)

    def _response(self, line: Any, request: Request) -> Response:
        if isinstance(line, Response):
            return line
        scores = () if request.top_logprobs is None else tuple(TokenScore(w, 0.0) for w in _WORD.findall(line))
        parts: tuple[Part, ...] = (Text(line),) if line else ()
        return Response(parts, usage=self._count(request, line), model=self.id, logprobs=scores)

    def _count(self, request: Request, said: str) -> Usage | None:
        return Usage(_words(request), len(said.split())) if self._usage else None


def scripted(
    lines: Line | Callable[[Request], Line],
    *,
    id: str = "scripted",
    pause: float = 0.0,
    usage: bool = True,
    capabilities: Capabilities = ABLE,
) -> Scripted:
    """A model for tests that says what it is told to say, streamed word by word; no test needs a mock of a provider.

    Args:
        lines: one text for every question; or a list with one answer for each, in order; or a function of the request.
            An answer is a text, a Response (for tool calls, reasoning, log-probabilities), an exception to be raised,
            or a list of the pieces that are streamed, where an exception breaks the stream at its place.
        id: the model's name.
        pause: seconds before each piece.
        usage: whether to count tokens, which are words here.
        capabilities: what it says it can do; it has no need to.

    Raises:
        UsageError: when it is asked once more than the list has answers.

    >>> import palmette
    >>> model = palmette.scripted(["Hello there", "Good bye"])
    >>> list(model.stream("Hi")), model("Well?", temperature=0).text
    (['Hello ', 'there'], 'Good bye')
    >>> model.requests[1].temperature
    0
    """
    return Scripted(lines, id, pause, usage, capabilities)


def _reader(lines: Line) -> Callable[[Request], Line]:
    if isinstance(lines, (str, Response, BaseException)):
        return lambda request: lines
    script, said = list(lines), iter(lines)

    def following(request: Request) -> Line:
        try:
            return next(said)  # type: ignore[no-any-return]
        except StopIteration:
            asked = request.messages[-1].text[:60] if request.messages else ""
            raise UsageError(f"the script has {len(script)} answers, and was asked for one more: {asked!r}") from None

    return following


def _by_words(event: Event) -> Iterator[Event]:
    """An event of text, word by word."""
    words = _WORD.findall(event.text)
    if len(words) < 2:
        yield event
        return
    yield replace(event, text=words[0])
    for word in words[1:]:
        yield Event(word, index=event.index)


def _words(request: Request) -> int:
    return sum(len(message.text.split()) for message in request.messages)
