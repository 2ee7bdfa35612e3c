"""Anthropic Messages."""

from __future__ import annotations

import json
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
from palmette.models.remote.wires.reading import encoded, given, inner, items, number, table, text

__all__ = ["Anthropic"]

MOST = 4096  # max_tokens, which this API requires, where the caller says none
_FINISH: dict[str, Finish] = {
    "end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls",
    "refusal": "content_filter", "model_context_window_exceeded": "length",
}  # fmt: skip


class Anthropic:
    """POST /v1/messages."""

    framing: ClassVar[Literal["sse", "lines"]] = "sse"
    lacks: ClassVar[frozenset[str]] = frozenset()
    schemas: ClassVar[str] = "anthropic"

    def path(self, request: Request, stream: bool) -> str:
        """See Wire."""
        return "/v1/messages"

    def encode(self, request: Request, stream: bool) -> tuple[dict[str, Any], list[str]]:
        """See Wire."""
        system = "\n\n".join(text_of(m.parts) for m in request.messages if m.role == "system")
        notes = [
            f"{name}: this API has none; it was left out"
            for name in ("seed", "top_logprobs")
            if getattr(request, name) is not None
        ]
        if request.max_tokens is None:
            notes.append(f"max_tokens: this API requires it; {MOST} was sent")
        body: dict[str, Any] = {
            "model": request.model,
            "max_tokens": MOST if request.max_tokens is None else request.max_tokens,
            "messages": [_said(m) for m in request.messages if m.role != "system"],
        }
        body |= given({
            "system": system or None, "temperature": request.temperature, "top_p": request.top_p,
            "top_k": request.top_k, "stop_sequences": list(request.stop), "stream": True if stream else None,
            "tools": [
                {"name": t.name, "description": t.description, "input_schema": dict(t.parameters)}
                for t in request.tools
            ],
        })  # fmt: skip
        return {**body, **request.extra}, notes

    def decode(self, body: Any) -> Response:
        """See Wire."""
        body = table(body, "the answer")
        parts = [part for block in items(body.get("content")) if (part := _part(block)) is not None]
        finish = _FINISH.get(text(body.get("stop_reason")), "other")
        return Response(tuple(parts), finish, _usage(body.get("usage")), text(body.get("id")), text(body.get("model")))

    def reader(self) -> Reader:
        """See Wire."""
        return lambda name, body: [self._event(name, body)]

    def _event(self, name: str, body: Any) -> Event:
        body = table(body, "an event")
        match body.get("type"):
            case "error":
                raise ProviderFailed(self.complaint(body) or str(body)[:200])
            case "message_start":
                start = inner(body.get("message"))
                return Event(usage=_usage(start.get("usage")), id=text(start.get("id")), model=text(start.get("model")))
            case "content_block_start":
                block = inner(body.get("content_block"))
                if block.get("type") == "tool_use":
                    return Event(call=(number(body.get("index")), text(block.get("id")), text(block.get("name")), ""))
                return Event(text(block.get("text")), text(block.get("thinking")))
            case "content_block_delta":
                delta = inner(body.get("delta"))
                if delta.get("type") == "input_json_delta":
                    return Event(call=(number(body.get("index")), "", "", text(delta.get("partial_json"))))
                return Event(text(delta.get("text")), text(delta.get("thinking")), text(delta.get("signature")))
            case "message_delta":
                reason = inner(body.get("delta")).get("stop_reason")
                finish = _FINISH.get(reason, "other") if isinstance(reason, str) else None
                return Event(finish=finish, usage=_usage(body.get("usage")))
        return Event()

    def complaint(self, body: Any) -> str:
        """See Wire."""
        error = body.get("error") if isinstance(body, dict) else None
        return text(error.get("message")) if isinstance(error, dict) else ""


def _said(message: Message) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = []
    for part in message.parts:
        match part:
            case Text():
                blocks.append({"type": "text", "text": part.text})
            case Image():
                source = (
                    {"type": "url", "url": part.url}
                    if part.url
                    else {"type": "base64", "media_type": part.mime, "data": encoded(part)}
                )
                blocks.append({"type": "image", "source": source})
            case ToolCall():
                blocks.append(
                    {"type": "tool_use", "id": part.id, "name": part.name, "input": json.loads(part.arguments or "{}")}
                )
            case ToolResult():
                row = {"type": "tool_result", "tool_use_id": part.id, "content": part.text}
                blocks.append(row | ({"is_error": True} if part.failed else {}))
            case Reasoning():
                if part.signature:  # without its mark the API refuses it
                    blocks.append({"type": "thinking", "thinking": part.text, "signature": part.signature})
    return {"role": message.role, "content": blocks}


def _part(block: Any) -> Part | None:
    match block.get("type"):
        case "text":
            return Text(text(block.get("text")))
        case "thinking":
            return Reasoning(text(block.get("thinking")), text(block.get("signature")))
        case "tool_use":
            return ToolCall(text(block.get("id")), text(block.get("name")), json.dumps(block.get("input") or {}))
    return None


def _usage(found: Any) -> Usage | None:
    if not isinstance(found, dict):
        return None
    cached = number(found.get("cache_read_input_tokens"))
    whole = number(found.get("input_tokens")) + cached + number(found.get("cache_creation_input_tokens"))
    return Usage(whole, number(found.get("output_tokens")), cached)
