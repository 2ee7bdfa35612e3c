"""Answers as Anthropic's Messages API writes them, whole and as the blocks of a stream, and how they are read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from palmette.core.errors import ProviderFailed
from palmette.core.events import Event
from palmette.core.message import Finish, Part, Reasoning, Text, ToolCall, Usage
from palmette.models.remote.wires.anthropic.request import KEPT, said_block
from palmette.models.remote.wires.base import Frame, spread
from palmette.models.remote.wires.reading import inner, items, number, shown, spelled, table, text

__all__ = ["BlockReader", "BlockWriter", "FINISH", "complaint", "counted", "ended", "part_of", "usage_of"]

FINISH: dict[str, Finish] = {
    "end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls",
    "refusal": "content_filter", "model_context_window_exceeded": "length",
}  # fmt: skip
_ENDED: dict[Finish, str] = {
    "stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal",
    "other": "end_turn",
}  # fmt: skip


def part_of(block: Mapping[str, Any]) -> Part | None:
    """A part of an answer; a block of the API's own tools is kept to be sent back."""
    meta = {key: block[key] for key in KEPT if block.get(key)}
    match block.get("type"):
        case "text":
            return Text(text(block.get("text")), meta)
        case "thinking":
            thought, mark = text(block.get("thinking")), text(block.get("signature"))
            return Reasoning(thought, mark) if thought or mark else None
        case "redacted_thinking":
            return Reasoning("", text(block.get("data")), {"redacted": True})
        case "tool_use":
            return ToolCall(text(block.get("id")), text(block.get("name")), spelled(inner(block.get("input"))), meta)
        case str():
            return Text("", {"block": dict(block)})
    return None


def ended(finish: Finish) -> str:
    """Why an answer ended."""
    return _ENDED[finish]


def usage_of(found: Any) -> Usage | None:
    """Counted tokens; here what a cache gave or took is not among the input, so it is added."""
    if not isinstance(found, dict):
        return None
    cached, written = number(found.get("cache_read_input_tokens")), number(found.get("cache_creation_input_tokens"))
    thought = number(inner(found.get("output_tokens_details")).get("thinking_tokens"))
    fresh, said = number(found.get("input_tokens")), number(found.get("output_tokens"))
    return Usage(fresh + cached + written, said, cached, written, thought)


def counted(usage: Usage | None) -> dict[str, Any]:
    """Counted tokens, as they are sent."""
    used = usage or Usage()
    return {
        "input_tokens": max(0, used.input - used.cached - used.cache_write),
        "cache_creation_input_tokens": used.cache_write,
        "cache_read_input_tokens": used.cached,
        "output_tokens": used.output,
        "output_tokens_details": {"thinking_tokens": used.reasoning},
    }


def complaint(body: Any) -> str:
    """What an error's body says, or an empty text."""
    error = body.get("error") if isinstance(body, dict) else None
    return text(error.get("message")) if isinstance(error, dict) else text(error)


class BlockReader:
    """Reads one stream."""

    def __init__(self) -> None:
        self._usage: dict[str, Any] = {}
        self._open: dict[int, dict[str, Any]] = {}  # blocks that were begun and not yet ended, with what came of them

    def __call__(self, name: str, body: Any) -> list[Event]:
        """What an event of the stream says."""
        return list(self._events(table(body, "an event")))

    def _events(self, body: Mapping[str, Any]) -> Iterator[Event]:
        place = number(body.get("index"))
        match body.get("type"):
            case "error":
                raise ProviderFailed(complaint(body) or shown(body.get("error")))
            case "message_start":
                start = inner(body.get("message"))
                used = self._counted(start.get("usage"))
                yield Event(usage=used, id=text(start.get("id")), model=text(start.get("model")))
            case "content_block_start":
                yield from self._begin(place, inner(body.get("content_block")))
            case "content_block_delta":
                yield from self._more(place, inner(body.get("delta")))
            case "content_block_stop":
                yield from self._end(place)
            case "message_delta":
                for left in list(self._open):
                    yield from self._end(left)
                reason = inner(body.get("delta")).get("stop_reason")
                finish = FINISH.get(reason, "other") if isinstance(reason, str) else None
                yield Event(finish=finish, usage=self._counted(body.get("usage")))

    def _counted(self, found: Any) -> Usage | None:
        """A later count replaces an earlier one, field by field."""
        self._usage |= {key: value for key, value in inner(found).items() if value is not None}
        return usage_of(self._usage) if self._usage else None

    def _begin(self, place: int, block: Mapping[str, Any]) -> Iterator[Event]:
        self._open[place] = {"block": dict(block), "begun": False, "json": "", "citations": []}
        meta = {key: block[key] for key in KEPT if block.get(key)}
        match block.get("type"):
            case "text":
                if text(block.get("text")) or meta:
                    yield self._said(place, Event(text(block.get("text")), meta=meta))
            case "thinking":
                if text(block.get("thinking")) or text(block.get("signature")):
                    thought = Event(reasoning=text(block.get("thinking")), signature=text(block.get("signature")))
                    yield self._said(place, thought)
            case "tool_use":
                yield Event(call=(place, text(block.get("id")), text(block.get("name")), ""), meta=meta)

    def _more(self, place: int, delta: Mapping[str, Any]) -> Iterator[Event]:
        known = self._open.setdefault(place, {"block": {}, "begun": False, "json": "", "citations": []})
        match delta.get("type"):
            case "text_delta":
                yield self._said(place, Event(text(delta.get("text"))))
            case "thinking_delta":
                if text(delta.get("thinking")):
                    yield self._said(place, Event(reasoning=text(delta.get("thinking"))))
            case "signature_delta":
                if text(delta.get("signature")):
                    yield self._said(place, Event(signature=text(delta.get("signature"))))
            case "citations_delta":
                known["citations"].append(delta.get("citation"))
                yield self._said(place, Event(meta={"citations": list(known["citations"])}))
            case "input_json_delta":
                more = text(delta.get("partial_json"))
                known["json"] += more
                if more and known["block"].get("type", "tool_use") == "tool_use":
                    yield Event(call=(place, "", "", more))

    def _said(self, place: int, event: Event) -> Event:
        """More of a block; the first piece begins a part of its own."""
        known = self._open[place]
        if known["begun"]:
            return event
        known["begun"] = True
        return Event(event.text, event.reasoning, event.signature, meta=event.meta, new=True)

    def _end(self, place: int) -> Iterator[Event]:
        known = self._open.pop(place, None)
        block = known["block"] if known else {}
        match block.get("type"):
            case "text" if known and not known["begun"]:
                yield Event(new=True)
            case "tool_use" if known and not known["json"]:
                yield Event(call=(place, "", "", spelled(inner(block.get("input")))))
            case "redacted_thinking":
                yield Event(signature=text(block.get("data")), meta={"redacted": True}, new=True)
            case "text" | "thinking" | "tool_use":
                pass
            case str() if known:
                if known["json"]:
                    try:
                        block["input"] = json.loads(known["json"])
                    except (ValueError, RecursionError):
                        block["input"] = {"arguments": known["json"]}
                yield Event(meta={"block": block}, new=True)


class BlockWriter:
    """Writes one stream: message_start, the blocks one after another, message_delta, message_stop."""

    def __init__(self, model: str) -> None:
        self._id, self._model = "", model
        self._usage: Usage | None = None
        self._finish: Finish = "other"
        self._begun = False
        self._next = 0
        self._open: int | None = None
        self._kind = ""
        self._calls: dict[int, int] = {}  # the place of a call -> the block that it is
        self._cited = 0

    def write(self, event: Event) -> list[Frame]:
        """See Writer. Answers after the first are passed over: this API gives one."""
        return [frame for one in spread(event) if not one.index for frame in self._step(one)]

    def _step(self, event: Event) -> Iterator[Frame]:
        self._id, self._model = event.id or self._id, event.model or self._model
        self._usage, self._finish = event.usage or self._usage, event.finish or self._finish
        meta = event.meta or {}
        thinks = bool(event.reasoning or event.signature or event.thinks)
        if event.call is not None:
            yield from self._call(event.call, meta)
        elif thinks and meta.get("redacted"):
            yield from self._whole({"type": "redacted_thinking", "data": event.signature})
        elif thinks:
            yield from self._thought(event)
        elif "block" in meta:
            yield from self._whole(meta["block"])
        elif event.media is not None:
            yield from self._whole(said_block(event.media))
        elif event.new or meta:
            yield from self._text(event, meta)
            return
        if event.text:
            yield from self._text(event, meta)

    def _text(self, event: Event, meta: Mapping[str, Any]) -> Iterator[Frame]:
        if self._kind != "text" or event.new:
            yield from self._start("text", {"type": "text", "text": ""})
            self._cited = 0
        if event.text:
            yield self._delta({"type": "text_delta", "text": event.text})
        for row in items(meta.get("citations"))[self._cited :]:
            self._cited += 1
            yield self._delta({"type": "citations_delta", "citation": row})

    def _thought(self, event: Event) -> Iterator[Frame]:
        if self._kind != "thinking" or event.new:
            yield from self._start("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        if event.reasoning:
            yield self._delta({"type": "thinking_delta", "thinking": event.reasoning})
        if event.signature:
            yield self._delta({"type": "signature_delta", "signature": event.signature})

    def _call(self, call: tuple[int, str, str, str], meta: Mapping[str, Any]) -> Iterator[Frame]:
        place, key, name, more = call
        if place not in self._calls:
            kept = {k: meta[k] for k in KEPT if meta.get(k)}
            yield from self._start("tool_use", {"type": "tool_use", "id": key, "name": name, "input": {}, **kept})
            self._calls[place] = self._next - 1
        if more:
            delta = {"type": "input_json_delta", "partial_json": more}
            yield self._named("content_block_delta", index=self._calls[place], delta=delta)

    def _whole(self, block: Mapping[str, Any]) -> Iterator[Frame]:
        yield from self._start("", dict(block))
        yield from self._stop()

    def _start(self, kind: str, block: dict[str, Any]) -> Iterator[Frame]:
        yield from self._stop()
        yield from self._message()
        self._open, self._kind, self._next = self._next, kind, self._next + 1
        yield self._named("content_block_start", index=self._open, content_block=block)

    def _delta(self, delta: dict[str, Any]) -> Frame:
        return self._named("content_block_delta", index=self._open, delta=delta)

    def _stop(self) -> Iterator[Frame]:
        if self._open is not None:
            yield self._named("content_block_stop", index=self._open)
        self._open, self._kind = None, ""

    def _message(self) -> Iterator[Frame]:
        if not self._begun:
            self._begun = True
            row: dict[str, Any] = {"id": self._id, "type": "message", "role": "assistant", "model": self._model}
            row |= {"content": [], "stop_reason": None, "stop_sequence": None, "usage": counted(self._usage)}
            yield self._named("message_start", message=row)

    def _named(self, kind: str, **fields: Any) -> Frame:
        return kind, {"type": kind, **fields}

    def close(self) -> list[Frame]:
        """See Writer."""
        delta = {"stop_reason": ended(self._finish), "stop_sequence": None}
        last = self._named("message_delta", delta=delta, usage=counted(self._usage))
        return [*self._stop(), *self._message(), last, self._named("message_stop")]
