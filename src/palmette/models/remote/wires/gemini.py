"""Gemini generateContent."""

from __future__ import annotations

import json
import urllib.parse
from typing import Any, ClassVar, Literal

from palmette.core.errors import BadAnswer, ProviderFailed
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

__all__ = ["Gemini"]

_FINISH: dict[str, Finish] = {
    "STOP": "stop", "MAX_TOKENS": "length", "SAFETY": "content_filter", "RECITATION": "content_filter",
    "PROHIBITED_CONTENT": "content_filter", "BLOCKLIST": "content_filter", "SPII": "content_filter",
}  # fmt: skip


class Gemini:
    """POST /models/MODEL:generateContent, or :streamGenerateContent with server-sent events."""

    framing: ClassVar[Literal["sse", "lines"]] = "sse"
    lacks: ClassVar[frozenset[str]] = frozenset()
    schemas: ClassVar[str] = "gemini"

    def path(self, request: Request, stream: bool) -> str:
        """See Wire."""
        verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return f"/models/{urllib.parse.quote(request.model, safe='')}:{verb}"

    def encode(self, request: Request, stream: bool) -> tuple[dict[str, Any], list[str]]:
        """See Wire."""
        names = {p.id: p.name for m in request.messages for p in m.parts if isinstance(p, ToolCall)}
        system = "\n\n".join(text_of(m.parts) for m in request.messages if m.role == "system")
        body: dict[str, Any] = {"contents": [_said(m, names) for m in request.messages if m.role != "system"]}
        config = given({
            "maxOutputTokens": request.max_tokens, "temperature": request.temperature, "topP": request.top_p,
            "topK": request.top_k, "seed": request.seed, "stopSequences": list(request.stop),
            "responseLogprobs": True if request.top_logprobs is not None else None, "logprobs": request.top_logprobs,
        })  # fmt: skip
        structured: dict[str, Any] = {}
        config |= structured.pop("generationConfig", {})
        if system:
            body["systemInstruction"] = {"parts": [{"text": system}]}
        if config:
            body["generationConfig"] = config
        if request.tools:
            declared = [
                {"name": t.name, "description": t.description, "parametersJsonSchema": dict(t.parameters)}
                for t in request.tools
            ]
            body["tools"] = [{"functionDeclarations": declared}]
        return {**body, **structured, **request.extra}, []

    def decode(self, body: Any) -> Response:
        """See Wire."""
        body = table(body, "the answer")
        candidates = items(body.get("candidates"))
        if not candidates:
            reason = inner(body.get("promptFeedback")).get("blockReason")
            if reason:
                return Response((), "content_filter", _usage(body.get("usageMetadata")))
            raise BadAnswer(f"the answer has no candidates: {str(body)[:200]}")
        content = inner(candidates[0].get("content"))
        parts = _joined([p for i, row in enumerate(items(content.get("parts"))) if (p := _part(row, i)) is not None])
        finish = _FINISH.get(text(candidates[0].get("finishReason")), "other")
        if finish == "stop" and any(isinstance(p, ToolCall) for p in parts):
            finish = "tool_calls"
        return Response(tuple(parts), finish, _usage(body.get("usageMetadata")), text(body.get("responseId")),
                        text(body.get("modelVersion")), logprobs=_logprobs(candidates[0]))  # fmt: skip

    def reader(self) -> Reader:
        """See Wire."""
        return lambda name, body: [self._event(name, body)]

    def _event(self, name: str, body: Any) -> Event:
        body = table(body, "an event")
        if body.get("error"):
            raise ProviderFailed(self.complaint(body) or str(body)[:200])
        common: dict[str, Any] = {"usage": _usage(body.get("usageMetadata")), "id": text(body.get("responseId")),
                                  "model": text(body.get("modelVersion"))}  # fmt: skip
        candidates = items(body.get("candidates"))
        if not candidates:
            blocked = inner(body.get("promptFeedback")).get("blockReason")
            return Event(finish="content_filter" if blocked else None, **common)
        content = inner(candidates[0].get("content"))
        said, thought, mark, call = "", "", "", None
        for i, row in enumerate(items(content.get("parts"))):
            part = _part(row, i)
            match part:
                case Text():
                    said += part.text
                case Reasoning():
                    thought += part.text
                    mark += part.signature
                case ToolCall():
                    call = (_place(part.id, i), part.id, part.name, part.arguments)
        reason = candidates[0].get("finishReason")
        finish = _FINISH.get(reason, "other") if isinstance(reason, str) else None
        return Event(said, thought, mark, call, finish=finish, logprobs=_logprobs(candidates[0]), **common)

    def complaint(self, body: Any) -> str:
        """See Wire."""
        body = body[0] if isinstance(body, list) and body else body
        error = body.get("error") if isinstance(body, dict) else None
        return text(error.get("message")) if isinstance(error, dict) else ""


def _said(message: Message, names: dict[str, str]) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for part in message.parts:
        match part:
            case Text():
                rows.append({"text": part.text})
            case Image():
                inline = {"inlineData": {"mimeType": part.mime, "data": encoded(part)}}
                rows.append({"fileData": {"fileUri": part.url}} if part.url else inline)
            case ToolCall():
                rows.append({"functionCall": {"name": part.name, "args": json.loads(part.arguments or "{}")}})
            case ToolResult():
                key = "error" if part.failed else "result"
                name = part.name or names.get(part.id, part.id)
                rows.append({"functionResponse": {"name": name, "response": {key: part.text}}})
            case Reasoning():
                row: dict[str, Any] = {"text": part.text, "thought": True}
                rows.append(row | ({"thoughtSignature": part.signature} if part.signature else {}))
    return {"role": "model" if message.role == "assistant" else "user", "parts": rows}


def _part(row: Any, place: int) -> Part | None:
    call = row.get("functionCall")
    if isinstance(call, dict):
        name = text(call.get("name"))
        return ToolCall(text(call.get("id")) or f"{name}-{place}", name, json.dumps(call.get("args") or {}))
    if "text" in row:
        said = text(row.get("text"))
        return Reasoning(said, text(row.get("thoughtSignature"))) if row.get("thought") else Text(said)
    return None


def _joined(parts: list[Part]) -> list[Part]:
    """Neighbouring texts as one."""
    made: list[Part] = []
    for part in parts:
        if made and isinstance(part, Text) and isinstance(made[-1], Text):
            made[-1] = Text(made[-1].text + part.text)
        else:
            made.append(part)
    return made


def _place(key: str, place: int) -> int:
    """A number for a call that this API does not count."""
    return place if not key else sum(key.encode()) * 64 + place


def _usage(found: Any) -> Usage | None:
    if not isinstance(found, dict):
        return None
    thought = number(found.get("thoughtsTokenCount"))
    return Usage(number(found.get("promptTokenCount")), number(found.get("candidatesTokenCount")) + thought,
                 number(found.get("cachedContentTokenCount")), thought)  # fmt: skip


def _logprobs(candidate: Any) -> tuple[tuple[str, float], ...]:
    found = candidate.get("logprobsResult")
    rows = items(found.get("chosenCandidates")) if isinstance(found, dict) else []
    return tuple((text(row.get("token")), float(row.get("logProbability") or 0.0)) for row in rows)
