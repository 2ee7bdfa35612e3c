"""POST /responses, in both directions."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, ClassVar, Literal

from palmette.core.message import Reasoning, Request, Response, ToolResult
from palmette.models.remote.wires.base import Reader
from palmette.models.remote.wires.openai_answer import complaint, failure
from palmette.models.remote.wires.reading import (
    asked_list,
    asked_table,
    asked_text,
    given,
    left_over,
    merged,
    real,
    table,
    whole,
    yes_no,
)
from palmette.models.remote.wires.responses.answer import Reading, answer_of, output_items, said_body
from palmette.models.remote.wires.responses.items import (
    chosen,
    conversation_of,
    flat_tools,
    form_of,
    instructions_of,
    said_choice,
    said_form,
    said_items,
    tools_of,
)
from palmette.models.remote.wires.responses.writer import ResponsesWriter

__all__ = ["Responses"]

_SCORES = "message.output_text.logprobs"
_SEALED = "reasoning.encrypted_content"
_KNOWN = frozenset({
    "model", "input", "instructions", "stream", "max_output_tokens", "temperature", "top_p", "top_logprobs", "tools",
    "tool_choice", "parallel_tool_calls", "include", "text", "reasoning",
})  # fmt: skip


class Responses:
    """POST /responses."""

    framing: ClassVar[Literal["sse", "lines"]] = "sse"
    schemas: ClassVar[str] = "openai-responses"
    lacks: ClassVar[frozenset[str]] = frozenset({
        "top_k", "min_p", "presence_penalty", "frequency_penalty", "logit_bias", "seed", "stop", "n",
    })  # fmt: skip

    def path(self, request: Request, stream: bool) -> str:
        """See Wire."""
        return "/responses"

    def encode(self, request: Request, stream: bool) -> tuple[dict[str, Any], list[str]]:
        """See Wire."""
        instructions, turns = instructions_of(request.messages)
        body: dict[str, Any] = {"model": request.model, "input": [item for one in turns for item in said_items(one)]}
        extra = dict(request.extra)
        include = [*extra.pop("include", ())]
        if request.top_logprobs is not None and _SCORES not in include:
            include.append(_SCORES)
        if _sealed(request) and _SEALED not in include:
            include.append(_SEALED)
        form = {"format": said_form(request.output)} if request.output is not None else {}
        body |= given({
            "instructions": instructions, "max_output_tokens": request.max_tokens, "temperature": request.temperature,
            "top_p": request.top_p, "top_logprobs": request.top_logprobs or None, "tools": flat_tools(request.tools),
            "tool_choice": said_choice(request.tool_choice), "parallel_tool_calls": request.parallel_tools,
            "include": include, "text": form or None, "reasoning": given({"effort": request.effort}) or None,
            "stream": True if stream else None,
        })  # fmt: skip
        said = any(isinstance(p, ToolResult) and p.failed for m in request.messages for p in m.parts)
        notes = ["failed: this API has no mark for a call that failed; its text alone says so"] if said else []
        return merged(body, extra), notes

    def decode(self, body: Any) -> Response:
        """See Wire."""
        return answer_of(table(body, "the answer"))

    def reader(self) -> Reader:
        """See Wire."""
        return Reading()

    def complaint(self, body: Any) -> str:
        """See Wire."""
        return complaint(body)

    def decode_request(self, body: Any, path: str = "") -> tuple[Request, bool]:
        """See Wire."""
        body = asked_table(body, "the body")
        include = [asked_text(one, "include") for one in asked_list(body.get("include"), "include")]
        words = asked_table(body.get("text") or {}, "text")
        thinking = asked_table(body.get("reasoning") or {}, "reasoning")
        turns = conversation_of(body.get("input"))
        told = body.get("instructions")
        if told is not None:
            turns = (*conversation_of([{"role": "system", "content": told}]), *turns)
        number = whole(body.get("top_logprobs"), "top_logprobs")
        asks = _SCORES in include or bool(number)
        effort = thinking.get("effort")
        request = Request(
            turns, asked_text(body.get("model"), "model"),
            max_tokens=whole(body.get("max_output_tokens"), "max_output_tokens"),
            temperature=real(body.get("temperature"), "temperature"), top_p=real(body.get("top_p"), "top_p"),
            top_logprobs=(number or 0) if asks else None, tools=tools_of(body.get("tools")),
            tool_choice=chosen(body.get("tool_choice")),
            parallel_tools=yes_no(body.get("parallel_tool_calls"), "parallel_tool_calls"),
            output=form_of(words.get("format")),
            effort=None if effort is None else asked_text(effort, "reasoning.effort"),
        )  # fmt: skip
        known = {_SCORES, *([_SEALED] if _sealed(request, body.get("store")) else [])}
        extra = left_over(body, _KNOWN) | given({
            "include": [one for one in include if one not in known],
            "text": {k: v for k, v in words.items() if k != "format"} or None,
            "reasoning": {k: v for k, v in thinking.items() if k != "effort"} or None,
        })  # fmt: skip
        return replace(request, extra=extra), bool(yes_no(body.get("stream"), "stream"))

    def encode_response(self, response: Response) -> dict[str, Any]:
        """See Wire."""
        marks = response.id.removeprefix("resp_") or "answer"
        return said_body(response, int(time.time()), "", output_items(response, marks))

    def writer(self, request: Request) -> ResponsesWriter:
        """See Wire."""
        return ResponsesWriter(request.model)

    def encode_error(self, status: int, said: str) -> dict[str, Any]:
        """See Wire."""
        return failure(status, said)


def _sealed(request: Request, store: Any = None) -> bool:
    """Whether thoughts must come sealed, since the provider does not keep them or has sealed them before."""
    if (request.extra.get("store") if store is None else store) is False or request.effort not in (None, "none"):
        return True
    thoughts = (part for one in request.messages for part in one.parts if isinstance(part, Reasoning))
    return any(part.signature for part in thoughts)
