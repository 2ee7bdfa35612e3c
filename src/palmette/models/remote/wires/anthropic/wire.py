"""POST /v1/messages."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from palmette.core.errors import Unsupported
from palmette.core.message import Request, Response
from palmette.models.remote.wires.anthropic.answer import (
    FINISH,
    BlockReader,
    BlockWriter,
    complaint,
    counted,
    ended,
    part_of,
    usage_of,
)
from palmette.models.remote.wires.anthropic.request import (
    chosen_tool,
    conversation,
    output_of,
    said_block,
    said_choice,
    said_system,
    said_tools,
    said_turns,
    tools_of,
)
from palmette.models.remote.wires.base import Reader
from palmette.models.remote.wires.reading import (
    asked_list,
    asked_table,
    asked_text,
    given,
    items,
    left_over,
    merged,
    real,
    table,
    text,
    texts,
    whole,
    yes_no,
)

__all__ = ["Anthropic"]

MOST = 4096  # max_tokens, which this API requires, where the caller says none
_KNOWN = frozenset({
    "model", "messages", "system", "max_tokens", "stream", "temperature", "top_p", "top_k", "stop_sequences", "tools",
    "tool_choice", "output_config", "thinking",
})  # fmt: skip
_OFF = {"type": "disabled"}


class Anthropic:
    """POST /v1/messages."""

    framing: ClassVar[Literal["sse", "lines"]] = "sse"
    schemas: ClassVar[str] = "anthropic"
    lacks: ClassVar[frozenset[str]] = frozenset({
        "seed", "top_logprobs", "prompt_logprobs", "n", "logit_bias", "min_p", "presence_penalty", "frequency_penalty",
    })  # fmt: skip

    def path(self, request: Request, stream: bool) -> str:
        """See Wire."""
        return "/v1/messages"

    def encode(self, request: Request, stream: bool) -> tuple[dict[str, Any], list[str]]:
        """See Wire."""
        turns, notes = said_turns(request.messages)
        choice, more = said_choice(request.tool_choice, request.parallel_tools)
        notes += more
        limit = request.max_tokens
        if limit is None:
            limit = MOST
            notes.append(f"max_tokens: this API requires it; {MOST} was sent")
        body: dict[str, Any] = {"model": request.model, "max_tokens": limit, "messages": turns}
        body |= given({
            "system": said_system(request.messages), "temperature": request.temperature, "top_p": request.top_p,
            "top_k": request.top_k, "stop_sequences": list(request.stop), "tools": said_tools(request.tools),
            "tool_choice": choice, "stream": True if stream else None,
        })  # fmt: skip
        config: dict[str, Any] = {}
        if request.effort == "none":
            body["thinking"] = _OFF
        elif request.effort is not None:
            config["effort"] = "low" if request.effort == "minimal" else request.effort
            if request.effort == "minimal":
                notes.append("effort: the least that this API knows is low, which was sent")
        if request.output is not None:
            if request.output.kind != "json":
                raise Unsupported(f"this API takes a JSON schema as the form of an answer, no {request.output.kind}")
            config["format"] = {"type": "json_schema", "schema": request.output.value}
        if config:
            body["output_config"] = config
        return merged(body, request.extra), notes

    def decode(self, body: Any) -> Response:
        """See Wire."""
        body = table(body, "the answer")
        parts = [part for block in items(body.get("content")) if (part := part_of(block)) is not None]
        finish = FINISH.get(text(body.get("stop_reason")), "other")
        return Response(
            tuple(parts), finish, usage_of(body.get("usage")), text(body.get("id")), text(body.get("model"))
        )

    def reader(self) -> Reader:
        """See Wire."""
        return BlockReader()

    def complaint(self, body: Any) -> str:
        """See Wire."""
        return complaint(body)

    def decode_request(self, body: Any, path: str = "") -> tuple[Request, bool]:
        """See Wire."""
        body = asked_table(body, "the body")
        choice, parallel = chosen_tool(body.get("tool_choice"))
        config = asked_table(body.get("output_config") or {}, "output_config")
        effort, extra = config.get("effort"), left_over(body, _KNOWN)
        rest = left_over(config, frozenset({"effort", "format"}))
        if rest:
            extra["output_config"] = rest
        thinking = body.get("thinking")
        if thinking is not None and asked_table(thinking, "thinking") == _OFF and effort is None:
            effort = "none"
        elif thinking is not None:
            extra["thinking"] = thinking
        request = Request(
            conversation(body.get("system"), asked_list(body.get("messages"), "messages")),
            asked_text(body.get("model"), "model"), max_tokens=whole(body.get("max_tokens"), "max_tokens"),
            temperature=real(body.get("temperature"), "temperature"), top_p=real(body.get("top_p"), "top_p"),
            top_k=whole(body.get("top_k"), "top_k"), stop=texts(body.get("stop_sequences"), "stop_sequences"),
            tools=tools_of(body.get("tools")), tool_choice=choice, parallel_tools=parallel,
            output=output_of(config.get("format")),
            effort=None if effort is None else asked_text(effort, "output_config.effort"), extra=extra,
        )  # fmt: skip
        return request, bool(yes_no(body.get("stream"), "stream"))

    def encode_response(self, response: Response) -> dict[str, Any]:
        """See Wire."""
        return {
            "id": response.id, "type": "message", "role": "assistant", "model": response.model,
            "content": [said_block(part) for part in response.parts], "stop_reason": ended(response.finish),
            "stop_sequence": None, "usage": counted(response.usage),
        }  # fmt: skip

    def writer(self, request: Request) -> BlockWriter:
        """See Wire."""
        return BlockWriter(request.model)

    def encode_error(self, status: int, said: str) -> dict[str, Any]:
        """See Wire."""
        kinds = {400: "invalid_request_error", 401: "authentication_error", 402: "billing_error",
                 403: "permission_error", 404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error",
                 504: "timeout_error", 529: "overloaded_error"}  # fmt: skip
        kind = kinds.get(status, "api_error" if status >= 500 else "invalid_request_error")
        return {"type": "error", "error": {"type": kind, "message": said}}
