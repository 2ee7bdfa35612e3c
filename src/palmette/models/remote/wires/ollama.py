"""Ollama's own chat API: JSON lines instead of server-sent events."""

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
from palmette.models.remote.wires.reading import encoded, functions, given, inner, items, number, table, text

__all__ = ["Ollama"]

_FINISH: dict[str, Finish] = {"stop": "stop", "length": "length"}
_CHARACTERS = 3  # of a token, at least, on average: what is said must fit into the context that is asked for
_CONTEXT = 4096


class Ollama:
    """POST /api/chat."""

    framing: ClassVar[Literal["sse", "lines"]] = "lines"
    lacks: ClassVar[frozenset[str]] = frozenset()
    schemas: ClassVar[str] = "ollama"

    def path(self, request: Request, stream: bool) -> str:
        """See Wire."""
        return "/api/chat"

    def encode(self, request: Request, stream: bool) -> tuple[dict[str, Any], list[str]]:
        """See Wire. The server cuts prompts silently to its context, so one that holds the prompt is asked for."""
        names = {p.id: p.name for m in request.messages for p in m.parts if isinstance(p, ToolCall)}
        body: dict[str, Any] = {
            "model": request.model, "stream": stream,
            "messages": [m for one in request.messages for m in _said(one, names)],
        }  # fmt: skip
        length = sum(len(text_of(m.parts)) for m in request.messages) // _CHARACTERS + (request.max_tokens or 1024)
        options = given({
            "num_predict": request.max_tokens, "temperature": request.temperature, "top_p": request.top_p,
            "top_k": request.top_k, "seed": request.seed, "stop": list(request.stop),
            "num_ctx": length if length > _CONTEXT else None,
        })  # fmt: skip
        if options:
            body["options"] = options
        if request.tools:
            body["tools"] = functions(request.tools)
        if request.top_logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": request.top_logprobs}
        return {**body, **request.extra}, []

    def decode(self, body: Any) -> Response:
        """See Wire."""
        body = table(body, "the answer")
        said = table(body.get("message"), "message")
        parts: list[Part] = []
        if text(said.get("thinking")):
            parts.append(Reasoning(text(said.get("thinking"))))
        if text(said.get("content")):
            parts.append(Text(text(said.get("content"))))
        calls = [_call(row, i) for i, row in enumerate(items(said.get("tool_calls")))]
        finish = "tool_calls" if calls else _FINISH.get(text(body.get("done_reason")), "other")
        return Response((*parts, *calls), finish, _usage(body), "", text(body.get("model")), logprobs=_logprobs(body))

    def reader(self) -> Reader:
        """See Wire."""
        return lambda name, body: [self._event(name, body)]

    def _event(self, name: str, body: Any) -> Event:
        body = table(body, "a line")
        if body.get("error"):
            raise ProviderFailed(self.complaint(body) or str(body)[:200])
        said = inner(body.get("message"))
        calls = items(said.get("tool_calls"))
        call = None
        if calls:
            made = _call(calls[0], 0)
            call = (number((calls[0].get("function") or {}).get("index")), made.id, made.name, made.arguments)
        done = bool(body.get("done"))
        return Event(
            text(said.get("content")), text(said.get("thinking")), "", call,
            finish=_FINISH.get(text(body.get("done_reason")), "other") if done else None,
            usage=_usage(body) if done else None, model=text(body.get("model")), logprobs=_logprobs(body),
        )  # fmt: skip

    def complaint(self, body: Any) -> str:
        """See Wire."""
        return text(body.get("error")) if isinstance(body, dict) else ""


def _said(message: Message, names: dict[str, str]) -> list[dict[str, Any]]:
    results = [
        {"role": "tool", "content": p.text, "tool_name": p.name or names.get(p.id, p.id)}
        for p in message.parts
        if isinstance(p, ToolResult)
    ]
    images = [encoded(p) for p in message.parts if isinstance(p, Image)]
    calls = [
        {"function": {"name": p.name, "arguments": json.loads(p.arguments or "{}")}}
        for p in message.parts
        if isinstance(p, ToolCall)
    ]
    words = text_of(message.parts)
    if not words and not images and not calls:
        return results
    return [*results, given({"role": message.role, "content": words, "images": images, "tool_calls": calls})]


def _call(row: Any, place: int) -> ToolCall:
    function = inner(row.get("function"))
    name = text(function.get("name"))
    return ToolCall(text(row.get("id")) or f"{name}-{place}", name, json.dumps(function.get("arguments") or {}))


def _usage(body: Any) -> Usage:
    return Usage(number(body.get("prompt_eval_count")), number(body.get("eval_count")))


def _logprobs(body: Any) -> tuple[tuple[str, float], ...]:
    return tuple((text(r.get("token")), float(r.get("logprob") or 0.0)) for r in items(body.get("logprobs")))
