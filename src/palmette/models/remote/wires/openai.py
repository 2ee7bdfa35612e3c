"""OpenAI Chat Completions, which most other hosts speak as well."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from palmette.core.errors import BadAnswer, ProviderFailed
from palmette.models.remote.messages import (
    Event,
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
from palmette.models.remote.wires.base import data_url, functions, given, inner, items, number, table, text

__all__ = ["OpenAI"]

_FINISH: dict[str, Finish] = {
    "stop": "stop", "length": "length", "tool_calls": "tool_calls", "function_call": "tool_calls",
    "content_filter": "content_filter",
}  # fmt: skip


class OpenAI:
    """POST /chat/completions."""

    framing: ClassVar[Literal["sse", "lines"]] = "sse"
    schemas: ClassVar[str] = "openai"

    def path(self, request: Request, stream: bool) -> str:
        """See Wire."""
        return "/chat/completions"

    def encode(self, request: Request, stream: bool) -> tuple[dict[str, Any], list[str]]:
        """See Wire."""
        body: dict[str, Any] = {"model": request.model, "messages": [m for one in request.messages for m in _said(one)]}
        body |= given({
            "max_completion_tokens": request.max_tokens, "temperature": request.temperature, "top_p": request.top_p,
            "seed": request.seed, "stop": list(request.stop),
            "tools": functions(request.tools),
        })  # fmt: skip
        if request.top_logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": request.top_logprobs}
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        notes = [] if request.top_k is None else ["top_k: OpenAI's chat API has none; it was left out"]
        return {**body, **request.structured, **request.extra}, notes

    def decode(self, body: Any) -> Response:
        """See Wire."""
        choices = items(table(body, "the answer").get("choices"))
        if not choices:
            raise BadAnswer(f"the answer has no choices: {str(body)[:200]}")
        said = table(choices[0].get("message"), "choices[0].message")
        parts: list[Part] = []
        thought = text(said.get("reasoning_content")) or text(said.get("reasoning"))
        if thought:
            parts.append(Reasoning(thought))
        words = text(said.get("content")) or text(said.get("refusal"))
        if words:
            parts.append(Text(words))
        for call in items(said.get("tool_calls")):
            function = table(call.get("function"), "tool_calls[].function")
            parts.append(ToolCall(text(call.get("id")), text(function.get("name")), text(function.get("arguments"))))
        return Response(
            tuple(parts), _FINISH.get(text(choices[0].get("finish_reason")), "other"), _usage(body.get("usage")),
            text(body.get("id")), text(body.get("model")), logprobs=_logprobs(choices[0]),
        )  # fmt: skip

    def event(self, name: str, body: Any) -> Event:
        """See Wire."""
        body = table(body, "an event")
        if body.get("error"):
            raise ProviderFailed(self.complaint(body) or str(body)[:200])
        choices = items(body.get("choices"))
        common: dict[str, Any] = {
            "usage": _usage(body.get("usage")),
            "id": text(body.get("id")),
            "model": text(body.get("model")),
        }
        if not choices:
            return Event(**common)
        delta = inner(choices[0].get("delta"))
        calls = items(delta.get("tool_calls"))
        call = None
        if calls:
            function = inner(calls[0].get("function"))
            call = (number(calls[0].get("index")), text(calls[0].get("id")), text(function.get("name")),
                    text(function.get("arguments")))  # fmt: skip
        reason = choices[0].get("finish_reason")
        return Event(
            text(delta.get("content")), text(delta.get("reasoning_content")) or text(delta.get("reasoning")), "", call,
            _FINISH.get(reason, "other") if isinstance(reason, str) else None, logprobs=_logprobs(choices[0]), **common,
        )  # fmt: skip

    def complaint(self, body: Any) -> str:
        """See Wire."""
        error = body.get("error") if isinstance(body, dict) else None
        if isinstance(error, dict):
            return text(error.get("message"))
        return text(error) or (text(body.get("message")) or text(body.get("detail")) if isinstance(body, dict) else "")


def _said(message: Message) -> list[dict[str, Any]]:
    """A turn; results of tools are turns of their own here."""
    results = [
        {"role": "tool", "tool_call_id": part.id, "content": part.text}
        for part in message.parts
        if isinstance(part, ToolResult)
    ]
    calls = [
        {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments}}
        for part in message.parts
        if isinstance(part, ToolCall)
    ]
    words = [part for part in message.parts if isinstance(part, (Text, Image))]
    if not words and not calls:
        return results
    content: Any = text_of(words)
    if any(isinstance(part, Image) for part in words):
        content = [
            {"type": "text", "text": part.text}
            if isinstance(part, Text)
            else {"type": "image_url", "image_url": {"url": data_url(part)}}
            for part in words
        ]
    said: dict[str, Any] = {"role": message.role, "content": content if words else None}
    return [*results, said | ({"tool_calls": calls} if calls else {})]


def _usage(found: Any) -> Usage | None:
    if not isinstance(found, dict):
        return None
    asked, said = inner(found.get("prompt_tokens_details")), inner(found.get("completion_tokens_details"))
    return Usage(number(found.get("prompt_tokens")), number(found.get("completion_tokens")),
                 number(asked.get("cached_tokens")), number(said.get("reasoning_tokens")))  # fmt: skip


def _logprobs(choice: Any) -> tuple[tuple[str, float], ...]:
    found = choice.get("logprobs")
    rows = items(found.get("content")) if isinstance(found, dict) else []
    return tuple((text(row.get("token")), float(row.get("logprob") or 0.0)) for row in rows)
