"""POST /v2/chat."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from palmette.core.errors import RequestRefused
from palmette.core.message import Request, Response, ToolResult
from palmette.models.remote.wires.base import Reader
from palmette.models.remote.wires.cohere.answer import EventReader, EventWriter, answer_of, said_answer
from palmette.models.remote.wires.cohere.request import (
    conversation,
    output_of,
    said_choice,
    said_form,
    said_tools,
    said_turn,
    tools_of,
)
from palmette.models.remote.wires.reading import (
    asked_list,
    asked_table,
    asked_text,
    given,
    left_over,
    merged,
    real,
    text,
    texts,
    whole,
    yes_no,
)

__all__ = ["Cohere"]

_REALS = {
    "temperature": "temperature", "top_p": "p", "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}  # fmt: skip
_WHOLES = {"max_tokens": "max_tokens", "top_k": "k", "seed": "seed"}
_KNOWN = frozenset({
    "model", "messages", "stream", "stop_sequences", "logprobs", "tools", "tool_choice", "strict_tools",
    "response_format", "thinking", *_REALS.values(), *_WHOLES.values(),
})  # fmt: skip
_ON, _OFF = {"type": "enabled"}, {"type": "disabled"}


class Cohere:
    """POST /v2/chat."""

    framing: ClassVar[Literal["sse", "lines"]] = "sse"
    schemas: ClassVar[str] = "cohere"
    lacks: ClassVar[frozenset[str]] = frozenset({"n", "logit_bias", "prompt_logprobs", "min_p", "parallel_tools"})

    def path(self, request: Request, stream: bool) -> str:
        """See Wire."""
        return "/v2/chat"

    def encode(self, request: Request, stream: bool) -> tuple[dict[str, Any], list[str]]:
        """See Wire."""
        choice, notes = said_choice(request.tool_choice)
        if request.top_logprobs:
            notes.append("top_logprobs: this API gives those of the chosen tokens alone")
        if request.effort not in (None, "none", "medium"):
            notes.append(f"effort: this API thinks or does not; {request.effort!r} was said as the first")
        if any(isinstance(p, ToolResult) and p.failed for m in request.messages for p in m.parts):
            notes.append("failed: this API has no mark for a call that failed; its text alone says so")
        strict = {tool.strict for tool in request.tools}
        if (strict - {None} and len(strict) > 1) or strict == {False}:
            notes.append("strict: this API holds all tools to their schemas or none")
        body: dict[str, Any] = {
            "model": request.model, "stream": stream,
            "messages": [row for message in request.messages for row in said_turn(message)],
        }  # fmt: skip
        body |= given({theirs: getattr(request, ours) for ours, theirs in (_REALS | _WHOLES).items()})
        body |= given({
            "stop_sequences": list(request.stop), "logprobs": True if request.top_logprobs is not None else None,
            "tools": said_tools(request.tools, request.tool_choice), "tool_choice": choice,
            "strict_tools": True if True in strict else None,
            "response_format": None if request.output is None else said_form(request.output),
            "thinking": None if request.effort is None else _OFF if request.effort == "none" else _ON,
        })  # fmt: skip
        return merged(body, request.extra), notes

    def decode(self, body: Any) -> Response:
        """See Wire."""
        return answer_of(body)

    def reader(self) -> Reader:
        """See Wire."""
        return EventReader()

    def complaint(self, body: Any) -> str:
        """See Wire."""
        return text(body.get("message")) if isinstance(body, dict) else ""

    def decode_request(self, body: Any, path: str = "") -> tuple[Request, bool]:
        """See Wire."""
        body = asked_table(body, "the body")
        choice = body.get("tool_choice")
        if choice not in (None, "REQUIRED", "NONE"):
            raise RequestRefused("tool_choice must be REQUIRED or NONE")
        extra, effort, thinking = left_over(body, _KNOWN), None, body.get("thinking")
        if thinking is not None:
            row = asked_table(thinking, "thinking")
            effort = "none" if row.get("type") == "disabled" else "medium"
            if row not in (_ON, _OFF):
                extra["thinking"] = row
        fields: dict[str, Any] = {ours: real(body.get(theirs), theirs) for ours, theirs in _REALS.items()}
        fields |= {ours: whole(body.get(theirs), theirs) for ours, theirs in _WHOLES.items()}
        request = Request(
            conversation(asked_list(body.get("messages"), "messages")), asked_text(body.get("model"), "model"),
            **fields, stop=texts(body.get("stop_sequences"), "stop_sequences"),
            top_logprobs=0 if yes_no(body.get("logprobs"), "logprobs") else None,
            tools=tools_of(body.get("tools"), yes_no(body.get("strict_tools"), "strict_tools")),
            tool_choice=choice.lower() if choice else None, output=output_of(body.get("response_format")),
            effort=effort, extra=extra,
        )  # fmt: skip
        return request, bool(yes_no(body.get("stream"), "stream"))

    def encode_response(self, response: Response) -> dict[str, Any]:
        """See Wire."""
        return said_answer(response)

    def writer(self, request: Request) -> EventWriter:
        """See Wire."""
        return EventWriter()

    def encode_error(self, status: int, said: str) -> dict[str, Any]:
        """See Wire."""
        return {"message": said}
