"""Cohere v2 chat."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from palmette.core.errors import ProviderFailed
from palmette.core.events import Event
from palmette.core.message import (
    Finish,
    Image,
    Message,
    Part,
    Reasoning,
    Request,
    Response,
    Text,
    ToolCall,
    ToolResult,
    Usage,
    text_of,
)
from palmette.models.remote.wires.base import Reader
from palmette.models.remote.wires.reading import data_url, functions, given, inner, items, number, table, text

__all__ = ["Cohere"]

_FINISH: dict[str, Finish] = {
    "COMPLETE": "stop", "STOP_SEQUENCE": "stop", "MAX_TOKENS": "length", "TOOL_CALL": "tool_calls",
}  # fmt: skip


class Cohere:
    """POST /v2/chat."""

    framing: ClassVar[Literal["sse", "lines"]] = "sse"
    lacks: ClassVar[frozenset[str]] = frozenset()
    schemas: ClassVar[str] = "cohere"

    def path(self, request: Request, stream: bool) -> str:
        """See Wire."""
        return "/v2/chat"

    def encode(self, request: Request, stream: bool) -> tuple[dict[str, Any], list[str]]:
        """See Wire."""
        body: dict[str, Any] = {
            "model": request.model, "stream": stream, "messages": [m for one in request.messages for m in _said(one)]
        }  # fmt: skip
        body |= given({
            "max_tokens": request.max_tokens, "temperature": request.temperature, "p": request.top_p,
            "k": request.top_k, "seed": request.seed, "stop_sequences": list(request.stop),
            "logprobs": True if request.top_logprobs is not None else None,
            "tools": functions(request.tools),
        })  # fmt: skip
        only = "top_logprobs: this API gives those of the chosen tokens alone"
        return {**body, **request.extra}, [only] if request.top_logprobs else []

    def decode(self, body: Any) -> Response:
        """See Wire."""
        body = table(body, "the answer")
        said = table(body.get("message"), "message")
        parts: list[Part] = []
        for row in items(said.get("content")):
            if row.get("type") == "thinking":
                parts.append(Reasoning(text(row.get("thinking"))))
            elif "text" in row:
                parts.append(Text(text(row.get("text"))))
        parts += [_call(row) for row in items(said.get("tool_calls"))]
        rows = items(body.get("logprobs"))
        found = tuple((text(r.get("text")), float(sum(r.get("logprobs") or [0.0]))) for r in rows)
        finish = _FINISH.get(text(body.get("finish_reason")), "other")
        return Response(tuple(parts), finish, _usage(body.get("usage")), text(body.get("id")), logprobs=found)

    def reader(self) -> Reader:
        """See Wire."""
        return lambda name, body: [self._event(name, body)]

    def _event(self, name: str, body: Any) -> Event:
        body = table(body, "an event")
        delta = inner(body.get("delta"))
        said = inner(delta.get("message"))
        match body.get("type"):
            case "message-start":
                return Event(id=text(body.get("id")))
            case "content-start" | "content-delta":
                content = inner(said.get("content"))
                return Event(text(content.get("text")), text(content.get("thinking")))
            case "tool-plan-delta":
                return Event(reasoning=text(said.get("tool_plan")))
            case "tool-call-start" | "tool-call-delta":
                call = _call(inner(said.get("tool_calls")))
                return Event(call=(number(body.get("index")), call.id, call.name, call.arguments))
            case "message-end":
                if delta.get("error"):
                    raise ProviderFailed(text(delta.get("error")))
                reason = _FINISH.get(text(delta.get("finish_reason")), "other")
                return Event(finish=reason, usage=_usage(delta.get("usage")))
        return Event()

    def complaint(self, body: Any) -> str:
        """See Wire."""
        return text(body.get("message")) if isinstance(body, dict) else ""


def _said(message: Message) -> list[dict[str, Any]]:
    results = [
        {"role": "tool", "tool_call_id": p.id, "content": p.text} for p in message.parts if isinstance(p, ToolResult)
    ]
    calls = [
        {"id": p.id, "type": "function", "function": {"name": p.name, "arguments": p.arguments}}
        for p in message.parts
        if isinstance(p, ToolCall)
    ]
    words = [p for p in message.parts if isinstance(p, (Text, Image))]
    if not words and not calls:
        return results
    content: Any = text_of(words)
    if any(isinstance(p, Image) for p in words):
        content = [
            {"type": "text", "text": p.text}
            if isinstance(p, Text)
            else {"type": "image_url", "image_url": {"url": data_url(p)}}
            for p in words
        ]
    said: dict[str, Any] = {"role": message.role} | ({"content": content} if words else {})
    return [*results, said | ({"tool_calls": calls} if calls else {})]


def _call(row: Any) -> ToolCall:
    function = inner(row.get("function"))
    return ToolCall(text(row.get("id")), text(function.get("name")), text(function.get("arguments")))


def _usage(found: Any) -> Usage | None:
    if not isinstance(found, dict):
        return None
    tokens = inner(found.get("tokens"))
    return Usage(
        number(tokens.get("input_tokens")), number(tokens.get("output_tokens")), number(found.get("cached_tokens"))
    )
