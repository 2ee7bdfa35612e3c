"""Answers as Cohere's v2 API writes them, whole and as typed events, and how they are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from palmette.core.errors import ProviderFailed
from palmette.core.events import Event
from palmette.core.message import Finish, Part, Reasoning, Response, Text, TokenScore, ToolCall, Usage
from palmette.models.remote.wires.base import Frame, spread
from palmette.models.remote.wires.cohere.request import said_call, thoughts_of
from palmette.models.remote.wires.reading import given, inner, items, logprob, number, said_logprob, table, text

__all__ = ["EventReader", "EventWriter", "answer_of", "said_answer"]

FINISH: dict[str, Finish] = {
    "COMPLETE": "stop", "STOP_SEQUENCE": "stop", "MAX_TOKENS": "length", "TOOL_CALL": "tool_calls",
}  # fmt: skip
_ENDED: dict[Finish, str] = {
    "stop": "COMPLETE", "length": "MAX_TOKENS", "tool_calls": "TOOL_CALL", "content_filter": "COMPLETE",
    "other": "COMPLETE",
}  # fmt: skip


def answer_of(body: Any) -> Response:
    """A whole answer.

    Raises:
        BadAnswer: if it has not the form of one.
    """
    body = table(body, "the answer")
    said = table(body.get("message"), "message")
    plan = text(said.get("tool_plan"))
    parts: list[Part] = [Reasoning(plan, meta={"tool_plan": True})] if plan else []
    for row in items(said.get("content")):
        if row.get("type") == "thinking":
            if text(row.get("thinking")):
                parts.append(Reasoning(text(row.get("thinking"))))
        elif "text" in row:
            parts.append(Text(text(row.get("text"))))
    parts += [_call(row) for row in items(said.get("tool_calls"))]
    finish = FINISH.get(text(body.get("finish_reason")), "other")
    return Response(tuple(parts), finish, _usage(body.get("usage")), text(body.get("id")),
                    logprobs=_scores(body.get("logprobs")))  # fmt: skip


def _call(row: Any) -> ToolCall:
    function = inner(row.get("function"))
    return ToolCall(text(row.get("id")), text(function.get("name")), text(function.get("arguments")))


def _scores(found: Any) -> tuple[TokenScore, ...]:
    """One score for each row: of a text that may be several tokens."""
    rows = items([found] if isinstance(found, dict) else found)
    made = []
    for row in rows:
        values = row.get("logprobs")
        made.append(TokenScore(text(row.get("text")), sum(map(logprob, values if isinstance(values, list) else []))))
    return tuple(made)


def _usage(found: Any) -> Usage | None:
    if not isinstance(found, dict):
        return None
    tokens = inner(found.get("tokens"))
    return Usage(
        number(tokens.get("input_tokens")), number(tokens.get("output_tokens")), number(found.get("cached_tokens"))
    )


class EventReader:
    """Reads one stream."""

    def __init__(self) -> None:
        self._begun: set[int] = set()

    def __call__(self, name: str, body: Any) -> list[Event]:
        """What an event says."""
        body = table(body, "an event")
        delta, said = inner(body.get("delta")), inner(inner(body.get("delta")).get("message"))
        match body.get("type"):
            case "message-start":
                return [Event(id=text(body.get("id")))]
            case "content-start" | "content-delta":
                return self._content(number(body.get("index")), inner(said.get("content")), body)
            case "content-end":
                return self._emptied(number(body.get("index")))
            case "tool-plan-delta":
                plan = text(said.get("tool_plan"))
                return [Event(reasoning=plan, meta={"tool_plan": True})] if plan else []
            case "tool-call-start" | "tool-call-delta":
                rows = said.get("tool_calls")
                call = _call(inner(rows[0] if isinstance(rows, list) and rows else rows))
                return [Event(call=(number(body.get("index")), call.id, call.name, call.arguments))]
            case "message-end":
                if delta.get("error"):
                    raise ProviderFailed(text(delta.get("error")) or "the model failed")
                reason = FINISH.get(text(delta.get("finish_reason")), "other")
                return [Event(finish=reason, usage=_usage(delta.get("usage")), logprobs=_scores(body.get("logprobs")))]
            case None if isinstance(body.get("message"), str):
                raise ProviderFailed(text(body["message"]))
        return []

    def _content(self, place: int, content: Mapping[str, Any], body: Mapping[str, Any]) -> list[Event]:
        said, thought = text(content.get("text")), text(content.get("thinking"))
        scores = _scores(body.get("logprobs"))
        if body.get("type") == "content-start" and content.get("type") == "text" and not said:
            self._empty = place
        if not said and not thought:
            return [Event(logprobs=scores)] if scores else []
        new = place not in self._begun
        self._begun.add(place)
        return [Event(said, thought, new=new, logprobs=scores)]

    _empty: int | None = None  # a text that was begun and has said nothing so far

    def _emptied(self, place: int) -> list[Event]:
        empty = self._empty == place and place not in self._begun
        return [Event(new=True)] if empty else []


def said_answer(response: Response) -> dict[str, Any]:
    """A whole answer."""
    plan, thoughts = thoughts_of(response.parts)
    content = [{"type": "thinking", "thinking": thought} for thought in thoughts]
    content += [{"type": "text", "text": part.text} for part in response.parts if isinstance(part, Text)]
    said = {"role": "assistant"} | given({
        "content": content, "tool_plan": plan or None, "tool_calls": [said_call(call) for call in response.calls],
    })  # fmt: skip
    return {"id": response.id, "message": said, "finish_reason": _ENDED[response.finish]} | given(
        {"usage": _counted(response.usage), "logprobs": [_scored(score) for score in response.logprobs]}
    )


def _scored(score: TokenScore) -> dict[str, Any]:
    return {"text": score.text, "token_ids": [], "logprobs": [said_logprob(score.logprob)]}


def _counted(usage: Usage | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    tokens = {"input_tokens": usage.input, "output_tokens": usage.output}
    return {"billed_units": tokens, "tokens": tokens, "cached_tokens": usage.cached}


class EventWriter:
    """Writes one stream."""

    def __init__(self) -> None:
        self._id = ""
        self._usage: Usage | None = None
        self._finish: Finish = "other"
        self._begun = False
        self._kind = ""  # of the block that is open
        self._place = -1  # of the last block
        self._calls: list[int] = []
        self._called: int | None = None

    def write(self, event: Event) -> list[Frame]:
        """See Writer. Answers after the first are passed over: this API gives one."""
        return [frame for one in spread(event) if not one.index for frame in self._step(one)]

    def _step(self, event: Event) -> Iterator[Frame]:
        self._id, self._usage = event.id or self._id, event.usage or self._usage
        self._finish = event.finish or self._finish
        meta = event.meta or {}
        if event.reasoning and meta.get("tool_plan"):
            yield from self._message()
            yield _frame("tool-plan-delta", delta={"message": {"tool_plan": event.reasoning}})
        elif event.reasoning:
            yield from self._content("thinking", event.reasoning, event.new)
        if event.text or (event.new and not (event.reasoning or event.thinks or event.call or event.media)):
            yield from self._content("text", event.text, event.new)
        if event.call is not None:
            yield from self._call(event.call)
        for score in event.logprobs:
            yield from self._message()
            delta = {"message": {"content": {"text": ""}}}
            yield _frame("content-delta", index=max(0, self._place), delta=delta, logprobs=_scored(score))

    def _content(self, kind: str, said: str, new: bool) -> Iterator[Frame]:
        if self._kind != kind or new:
            yield from self._stop()
            yield from self._message()
            self._kind, self._place = kind, self._place + 1
            yield self._said("content-start", {"type": kind, kind: ""})
        if said:
            yield self._said("content-delta", {kind: said})

    def _said(self, name: str, content: dict[str, Any]) -> Frame:
        return _frame(name, index=self._place, delta={"message": {"content": content}})

    def _call(self, call: tuple[int, str, str, str]) -> Iterator[Frame]:
        place, key, name, more = call
        if place not in self._calls:
            yield from self._stop()
            yield from self._message()
            self._calls.append(place)
            self._called = len(self._calls) - 1
            row = {"id": key, "type": "function", "function": {"name": name, "arguments": ""}}
            yield _frame("tool-call-start", index=self._called, delta={"message": {"tool_calls": row}})
        if more:
            delta = {"message": {"tool_calls": {"function": {"arguments": more}}}}
            yield _frame("tool-call-delta", index=self._calls.index(place), delta=delta)

    def _stop(self) -> Iterator[Frame]:
        if self._kind:
            yield _frame("content-end", index=self._place)
        if self._called is not None:
            yield _frame("tool-call-end", index=self._called)
        self._kind, self._called = "", None

    def _message(self) -> Iterator[Frame]:
        if not self._begun:
            self._begun = True
            empty: dict[str, Any] = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": []}
            yield _frame("message-start", id=self._id, delta={"message": empty})

    def close(self) -> list[Frame]:
        """See Writer."""
        delta = {"finish_reason": _ENDED[self._finish]} | given({"usage": _counted(self._usage)})
        return [*self._stop(), *self._message(), _frame("message-end", delta=delta)]


def _frame(kind: str, **fields: Any) -> Frame:
    return kind, {"type": kind, **fields}
