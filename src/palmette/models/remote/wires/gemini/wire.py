"""POST /models/MODEL:generateContent, or :streamGenerateContent with server-sent events."""

from __future__ import annotations

import re
import urllib.parse
from typing import Any, ClassVar, Literal

from palmette.core.errors import RequestRefused
from palmette.core.message import Request, Response
from palmette.models.remote.wires.base import Reader
from palmette.models.remote.wires.gemini.answer import ChunkReader, ChunkWriter, answer_of, complaint, said_answer
from palmette.models.remote.wires.gemini.request import (
    camel,
    chosen_tool,
    conversation,
    effort_of,
    output_of,
    said_choice,
    said_contents,
    said_effort,
    said_form,
    said_tools,
    tools_of,
)
from palmette.models.remote.wires.reading import (
    asked_table,
    given,
    left_over,
    merged,
    real,
    shown,
    texts,
    whole,
    yes_no,
)

__all__ = ["Gemini"]

_KNOWN = frozenset({"contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "model"})
_REALS = {
    "temperature": "temperature", "top_p": "topP", "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}  # fmt: skip
_WHOLES = {"max_tokens": "maxOutputTokens", "top_k": "topK", "seed": "seed", "n": "candidateCount"}
_CONFIG = frozenset({
    *_REALS.values(), *_WHOLES.values(), "stopSequences", "responseLogprobs", "logprobs", "responseMimeType",
    "responseJsonSchema", "_responseJsonSchema", "responseSchema", "thinkingConfig",
})  # fmt: skip
_PLACE = re.compile(r"(?:^|/)(?:models|endpoints)/([^/:?]+):(\w+)")


class Gemini:
    """generateContent, at Google's Gemini API and on Vertex."""

    framing: ClassVar[Literal["sse", "lines"]] = "sse"
    schemas: ClassVar[str] = "gemini"
    lacks: ClassVar[frozenset[str]] = frozenset({"logit_bias", "min_p", "prompt_logprobs", "parallel_tools"})

    def path(self, request: Request, stream: bool) -> str:
        """See Wire."""
        verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return f"/models/{urllib.parse.quote(request.model.removeprefix('models/'), safe='')}:{verb}"

    def encode(self, request: Request, stream: bool) -> tuple[dict[str, Any], list[str]]:
        """See Wire."""
        contents, system, notes = said_contents(request.messages)
        config = {theirs: getattr(request, ours) for ours, theirs in (_WHOLES | _REALS).items()}
        config |= {
            "stopSequences": list(request.stop), "thinkingConfig": said_effort(request.effort, request.model),
            "responseLogprobs": True if request.top_logprobs is not None else None,
            "logprobs": request.top_logprobs or None,
        }  # fmt: skip
        if request.output is not None:
            config |= said_form(request.output)
        if any(tool.strict is not None for tool in request.tools):
            notes.append("strict: this API has no such mark of a tool; it was left out")
        body = {"contents": contents} | given({
            "systemInstruction": system, "generationConfig": given(config) or None, "tools": said_tools(request.tools),
            "toolConfig": said_choice(request.tool_choice),
        })  # fmt: skip
        return merged(body, request.extra), notes

    def decode(self, body: Any) -> Response:
        """See Wire."""
        return answer_of(body)

    def reader(self) -> Reader:
        """See Wire."""
        return ChunkReader()

    def complaint(self, body: Any) -> str:
        """See Wire."""
        return complaint(body)

    def decode_request(self, body: Any, path: str = "") -> tuple[Request, bool]:
        """See Wire. The model's name stands in the path."""
        body = camel(asked_table(body, "the body"))
        place = _PLACE.search(path)
        if place is None:
            raise RequestRefused(f"the path must end in /models/MODEL:generateContent, not {shown(path)}")
        model, verb = urllib.parse.unquote(place[1]), place[2]
        config = camel(asked_table(body.get("generationConfig") or {}, "generationConfig"))
        effort, thinking = effort_of(config.get("thinkingConfig"), model)
        extra, rest = left_over(body, _KNOWN), left_over(config, _CONFIG)
        if thinking is not None:
            rest["thinkingConfig"] = thinking
        if rest:
            extra["generationConfig"] = rest
        wanted = yes_no(config.get("responseLogprobs"), "generationConfig.responseLogprobs")
        fields: dict[str, Any] = {ours: real(config.get(theirs), theirs) for ours, theirs in _REALS.items()}
        fields |= {ours: whole(_even(config.get(theirs)), theirs) for ours, theirs in _WHOLES.items()}
        request = Request(
            conversation(body.get("systemInstruction"), body.get("contents")), model, **fields,
            stop=texts(config.get("stopSequences"), "generationConfig.stopSequences"),
            top_logprobs=(whole(config.get("logprobs"), "generationConfig.logprobs") or 0) if wanted else None,
            tools=tools_of(body.get("tools")), tool_choice=chosen_tool(body.get("toolConfig")),
            output=output_of(config), effort=effort, extra=extra,
        )  # fmt: skip
        return request, verb == "streamGenerateContent"

    def encode_response(self, response: Response) -> dict[str, Any]:
        """See Wire."""
        return said_answer(response)

    def writer(self, request: Request) -> ChunkWriter:
        """See Wire."""
        return ChunkWriter(request.model)

    def encode_error(self, status: int, said: str) -> dict[str, Any]:
        """See Wire."""
        kinds = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
                 429: "RESOURCE_EXHAUSTED", 499: "CANCELLED", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}  # fmt: skip
        kind = kinds.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
        return {"error": {"code": status, "message": said, "status": kind}}


def _even(value: Any) -> Any:
    """Google's clients write whole numbers as 40.0 too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
