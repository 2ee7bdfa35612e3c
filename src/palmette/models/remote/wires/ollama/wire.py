"""POST /api/chat."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from palmette.core.message import Request, Response, ToolResult
from palmette.models.remote.wires.base import Reader, Writer
from palmette.models.remote.wires.ollama.answer import LineReader, LineWriter, answer_of, complaint, said_answer
from palmette.models.remote.wires.ollama.request import (
    conversation,
    said_effort,
    said_form,
    said_options,
    said_turn,
    settings_of,
)
from palmette.models.remote.wires.openai_request import tools_of
from palmette.models.remote.wires.reading import (
    asked_list,
    asked_table,
    asked_text,
    functions,
    given,
    merged,
    named,
    table,
    yes_no,
)

__all__ = ["Ollama", "settled"]

_KNOWN = frozenset({"model", "messages", "stream", "options", "format", "think", "logprobs", "top_logprobs", "tools"})


class Ollama:
    """POST /api/chat."""

    framing: ClassVar[Literal["sse", "lines"]] = "lines"
    schemas: ClassVar[str] = "ollama"
    lacks: ClassVar[frozenset[str]] = frozenset({"n", "logit_bias", "prompt_logprobs", "parallel_tools"})

    def path(self, request: Request, stream: bool) -> str:
        """See Wire."""
        return "/api/chat"

    def encode(self, request: Request, stream: bool) -> tuple[dict[str, Any], list[str]]:
        """See Wire."""
        rows = [row for message in named(request.messages) for row in said_turn(message)]
        body: dict[str, Any] = {"model": request.model, "stream": stream, "messages": rows}
        choice, tools, notes = request.tool_choice, request.tools, []
        if choice == "none":
            tools = ()
            notes.append("tool_choice: this API cannot forbid tools; none was shown")
        elif choice not in (None, "auto"):
            notes.append(f"tool_choice: this API has none; {choice!r} was left out")
        if any(isinstance(p, ToolResult) and p.failed for m in request.messages for p in m.parts):
            notes.append("failed: this API has no mark for a call that failed; its text alone says so")
        body |= given({"tools": functions(tools)})
        return settled(body, request, notes)

    def decode(self, body: Any) -> Response:
        """See Wire."""
        body = table(body, "the answer")
        return answer_of(body, table(body.get("message"), "message"))

    def reader(self) -> Reader:
        """See Wire."""
        return LineReader()

    def complaint(self, body: Any) -> str:
        """See Wire."""
        return complaint(body)

    def decode_request(self, body: Any, path: str = "") -> tuple[Request, bool]:
        """See Wire. A stream is what this API gives unless it is told not to."""
        body = asked_table(body, "the body")
        request = Request(
            conversation(asked_list(body.get("messages"), "messages")), asked_text(body.get("model"), "model"),
            tools=tools_of(body.get("tools")), **settings_of(body, _KNOWN),
        )  # fmt: skip
        return request, yes_no(body.get("stream"), "stream") is not False

    def encode_response(self, response: Response) -> dict[str, Any]:
        """See Wire."""
        return said_answer(response)

    def writer(self, request: Request) -> Writer:
        """See Wire."""
        return LineWriter(request.model)

    def encode_error(self, status: int, said: str) -> dict[str, Any]:
        """See Wire."""
        return {"error": said}


def settled(body: dict[str, Any], request: Request, notes: list[str]) -> tuple[dict[str, Any], list[str]]:
    """A body with the settings that are the same for a chat and for a text."""
    think, more = said_effort(request.effort)
    options, room = said_options(request, body)
    body |= given({"think": think, "options": options or None})
    if request.output is not None:
        body["format"] = said_form(request.output)
    if request.top_logprobs is not None:
        body |= {"logprobs": True} | ({"top_logprobs": request.top_logprobs} if request.top_logprobs else {})
    return merged(body, request.extra), [*notes, *more, *room]
