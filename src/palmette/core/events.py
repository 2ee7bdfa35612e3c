"""A streamed answer: events, and the fold of them that is the answer.

Folding what `unfold` gives returns the same answer, so a stream and a whole answer are two spellings of one value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from palmette.core.message import Finish, Media, Part, Reasoning, Response, Text, TokenScore, ToolCall, Usage

__all__ = ["Collector", "Event", "fold", "unfold"]


@dataclass(slots=True)
class Event:
    """One step of a streamed answer; whatever it does not tell is empty.

    Not to be changed by who is given it. (One is made for each token of every stream, and filling a frozen class takes
    three times as long.)

    Args:
        text: more text.
        reasoning: more of what the model thinks.
        signature: the mark of the reasoning.
        call: (place, id, name, more of the arguments) of a tool call.
        meta: what the provider wants back with the part that this event adds to.
        new: whether a new part of this kind begins, although the last one was of the same kind.
        finish: why it ended.
        usage: tokens so far; a later one replaces it, field by field where it has them.
        index: which of several answers it belongs to.
        whole: the answer all at once, from a model that does not stream.
        thinks: whether the part that begins is reasoning, should it have no text (some providers tell its mark alone).
        media: a picture, sound or file, which comes in one piece.
        prompt_logprobs: for each token of the prompt, if they were asked for.
        raw: what else belongs to the answer, see Response.
    """

    text: str = ""
    reasoning: str = ""
    signature: str = ""
    call: tuple[int, str, str, str] | None = None
    meta: Mapping[str, Any] | None = None
    new: bool = False
    finish: Finish | None = None
    usage: Usage | None = None
    id: str = ""
    model: str = ""
    logprobs: tuple[TokenScore, ...] = ()
    notes: tuple[str, ...] = ()
    index: int = 0
    headers: Mapping[str, str] = field(default_factory=dict, compare=False)
    whole: Response | None = None
    thinks: bool = False
    media: Part | None = None
    prompt_logprobs: tuple[TokenScore, ...] = ()
    raw: Any = None


class _Open:
    """A part that still grows."""

    __slots__ = ("id", "kind", "meta", "name", "signature", "texts")

    def __init__(self, kind: type[Text] | type[Reasoning] | type[ToolCall]) -> None:
        self.kind = kind
        self.texts: list[str] = []
        self.id = self.name = self.signature = ""
        self.meta: dict[str, Any] = {}

    def closed(self) -> Part:
        text = "".join(self.texts)
        if self.kind is Text:
            return Text(text, self.meta)
        if self.kind is Reasoning:
            return Reasoning(text, self.signature, self.meta)
        return ToolCall(self.id, self.name, text, self.meta)


class Collector:
    """Puts a streamed answer together: parts in the order in which they began."""

    def __init__(self, notes: Iterable[str] = ()) -> None:
        self._parts: list[_Open | Part] = []
        self._calls: dict[int, _Open] = {}
        self._logprobs: list[TokenScore] = []
        self._prompt_logprobs: list[TokenScore] = []
        self._usage: Usage | None = None
        self._notes = list(notes)
        self._headers: dict[str, str] = {}
        self._others: dict[int, Collector] = {}
        self._whole: Response | None = None
        self._raw: Any = None
        self._id = self._model = ""
        self.finish: Finish | None = None

    def add(self, event: Event) -> None:
        """Take in the next step."""
        if event.whole is not None:
            self._whole, self.finish = event.whole, event.whole.finish
            return
        self._common(event)
        if event.index:
            self._others.setdefault(event.index, Collector()).add(replace(event, index=0, usage=None, headers={}))
            return
        thinks = bool(event.reasoning or event.signature or event.thinks)
        alone = not event.call and not thinks and event.media is None
        if event.text or (alone and (event.new or event.meta)):
            self._grow(Text, event).texts.append(event.text)
        if thinks:
            part = self._grow(Reasoning, event)
            part.texts.append(event.reasoning)
            part.signature += event.signature
        if event.call is not None:
            self._call(event)
        if event.media is not None:
            self._parts.append(event.media)
        self._logprobs += event.logprobs
        self._prompt_logprobs += event.prompt_logprobs
        self.finish = event.finish or self.finish

    @property
    def response(self) -> Response:
        """The whole answer."""
        if self._whole is not None:
            return replace(self._whole, notes=(*self._whole.notes, *self._notes)) if self._notes else self._whole
        others = tuple(replace(c.response, id=self._id, model=self._model) for _, c in sorted(self._others.items()))
        parts = tuple(part.closed() if isinstance(part, _Open) else part for part in self._parts)
        return Response(
            parts, self.finish or "other", self._usage, self._id, self._model, tuple(self._notes),
            tuple(self._logprobs), others, self._headers, raw=self._raw, prompt_logprobs=tuple(self._prompt_logprobs),
        )  # fmt: skip

    def _common(self, event: Event) -> None:
        self._id, self._model = event.id or self._id, event.model or self._model
        self._notes += event.notes
        self._raw = event.raw if event.raw is not None else self._raw
        if event.headers:
            self._headers.update(event.headers)
        if event.usage is not None:
            self._usage = _later(self._usage, event.usage)

    def _grow(self, kind: type[Text] | type[Reasoning], event: Event) -> _Open:
        """The part that this event adds to: the last one, or a new one."""
        last = self._parts[-1] if self._parts else None
        if event.new or not isinstance(last, _Open) or last.kind is not kind:
            last = _Open(kind)
            self._parts.append(last)
        if event.meta and event.call is None:
            last.meta.update(event.meta)
        return last

    def _call(self, event: Event) -> None:
        assert event.call is not None
        place, key, name, more = event.call
        part = self._calls.get(place)
        if part is None:
            part = self._calls[place] = _Open(ToolCall)
            self._parts.append(part)
        part.id, part.name = part.id or key, part.name or name
        part.texts.append(more)
        part.meta.update(event.meta or {})


def fold(events: Iterable[Event]) -> Response:
    """The answer that events make.

    >>> fold([Event("Hel"), Event("lo", finish="stop")]).text
    'Hello'
    """
    collector = Collector()
    for event in events:
        collector.add(event)
    return collector.response


def unfold(response: Response, index: int = 0) -> Iterator[Event]:
    """Events whose fold is `response`: one for each part, and the end.

    >>> fold(unfold(Response((Text("Hello"),)))) == Response((Text("Hello"),))
    True
    """
    if not index:
        yield Event(id=response.id, model=response.model, notes=response.notes, headers=response.headers,
                    raw=response.raw)  # fmt: skip
    place = 0
    for part in response.parts:
        match part:
            case Text():
                yield Event(part.text, meta=part.meta, new=True, index=index)
            case Reasoning():
                yield Event("", part.text, part.signature, meta=part.meta, new=True, index=index, thinks=True)
            case ToolCall():
                yield Event(call=(place, part.id, part.name, part.arguments), meta=part.meta, index=index)
                place += 1
            case Media():
                yield Event(media=part, index=index)
    for i, other in enumerate(response.alternatives, 1):
        yield from unfold(other, i)
    yield Event(finish=response.finish, usage=response.usage, logprobs=response.logprobs, index=index,
                prompt_logprobs=response.prompt_logprobs)  # fmt: skip


def _later(old: Usage | None, new: Usage) -> Usage:
    if old is None:
        return new
    return Usage(
        new.input or old.input, new.output or old.output, new.cached or old.cached,
        new.cache_write or old.cache_write, new.reasoning or old.reasoning,
    )  # fmt: skip
