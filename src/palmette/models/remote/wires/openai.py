"""OpenAI Chat Completions, which most other hosts speak as well."""

from __future__ import annotations

import time
from typing import Any, ClassVar, Literal

from palmette.core.errors import BadAnswer, RequestRefused
from palmette.core.events import Event
from palmette.core.message import (
    Request,
    Response,
    Usage,
)
from palmette.models.remote.wires.base import DONE, Frame, Reader
from palmette.models.remote.wires.openai_answer import (
    answer_of,
    complaint,
    counted,
    ended,
    read_event,
    said_answer,
    scored,
    usage_of,
)
from palmette.models.remote.wires.openai_request import (
    chosen_tool,
    conversation,
    output_of,
    said_choice,
    said_form,
    said_turn,
    tools_of,
)
from palmette.models.remote.wires.reading import (
    asked_list,
    asked_table,
    asked_text,
    functions,
    given,
    items,
    left_over,
    number,
    real,
    table,
    text,
    texts,
    whole,
    yes_no,
)

__all__ = ["OpenAI"]

_PLAIN = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "top_k", "min_p")
_KNOWN = frozenset({
    "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "seed", "stop", "n",
    "logprobs", "top_logprobs", "tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort",
    "logit_bias", *_PLAIN,
})  # fmt: skip


class OpenAI:
    """POST /chat/completions."""

    framing: ClassVar[Literal["sse", "lines"]] = "sse"
    schemas: ClassVar[str] = "openai"
    lacks: ClassVar[frozenset[str]] = frozenset()

    def path(self, request: Request, stream: bool) -> str:
        """See Wire."""
        return "/chat/completions"

    def encode(self, request: Request, stream: bool) -> tuple[dict[str, Any], list[str]]:
        """See Wire."""
        body: dict[str, Any] = {
            "model": request.model,
            "messages": [m for one in request.messages for m in said_turn(one)],
        }
        body |= given({name: getattr(request, name) for name in _PLAIN})
        body |= given({
            "max_completion_tokens": request.max_tokens, "seed": request.seed, "stop": list(request.stop),
            "n": request.n, "tools": functions(request.tools), "tool_choice": said_choice(request.tool_choice),
            "parallel_tool_calls": request.parallel_tools, "reasoning_effort": request.effort,
            "logit_bias": {str(k): v for k, v in request.logit_bias.items()} or None,
        })  # fmt: skip
        if request.output is not None:
            body["response_format"] = said_form(request.output)
        if request.top_logprobs is not None:
            body |= {"logprobs": True} | ({"top_logprobs": request.top_logprobs} if request.top_logprobs else {})
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return {**body, **request.extra}, []

    def decode(self, body: Any) -> Response:
        """See Wire."""
        choices = items(table(body, "the answer").get("choices"))
        if not choices:
            raise BadAnswer(f"the answer has no choices: {str(body)[:200]}")
        first, *others = [answer_of(choice) for choice in sorted(choices, key=lambda c: number(c.get("index")))]
        common: dict[str, Any] = {"id": text(body.get("id")), "model": text(body.get("model"))}
        return Response(**first, **common, usage=usage_of(body.get("usage")),
                        alternatives=tuple(Response(**other, **common) for other in others))  # fmt: skip

    def reader(self) -> Reader:
        """See Wire."""
        return read_event

    def complaint(self, body: Any) -> str:
        """See Wire."""
        return complaint(body)

    def decode_request(self, body: Any, path: str = "") -> tuple[Request, bool]:
        """See Wire."""
        body = asked_table(body, "the body")
        limit = body.get("max_completion_tokens")
        limit = body.get("max_tokens") if limit is None else limit
        flag = body.get("logprobs")
        report = None if flag in (None, False) else whole(body.get("top_logprobs"), "top_logprobs") or 0
        if isinstance(flag, int) and not isinstance(flag, bool):  # Together's spelling: the number itself
            report = flag
        bias = asked_table(body.get("logit_bias") or {}, "logit_bias")
        if not all(key.isdecimal() for key in bias):
            raise RequestRefused(f"logit_bias: its keys are token ids, not {next(iter(bias))!r}")
        request = Request(
            conversation(asked_list(body.get("messages"), "messages")), asked_text(body.get("model"), "model"),
            max_tokens=whole(limit, "max_completion_tokens"), seed=whole(body.get("seed"), "seed"),
            stop=texts(body.get("stop"), "stop"), n=whole(body.get("n"), "n"), top_logprobs=report,
            tools=tools_of(body.get("tools")), tool_choice=chosen_tool(body.get("tool_choice")),
            parallel_tools=yes_no(body.get("parallel_tool_calls"), "parallel_tool_calls"),
            output=output_of(body.get("response_format")), effort=body.get("reasoning_effort"),
            logit_bias={int(k): real(v, "logit_bias") or 0.0 for k, v in bias.items()}, extra=left_over(body, _KNOWN),
            **{name: real(body.get(name), name) for name in _PLAIN},  # type: ignore[arg-type]
        )  # fmt: skip
        return request, bool(yes_no(body.get("stream"), "stream"))

    def encode_response(self, response: Response) -> dict[str, Any]:
        """See Wire."""
        return {
            "id": response.id, "object": "chat.completion", "created": int(time.time()), "model": response.model,
            "choices": [said_answer(one, i) for i, one in enumerate((response, *response.alternatives))],
            **given({"usage": counted(response.usage)}),
        }  # fmt: skip

    def writer(self, request: Request) -> _Writer:
        """See Wire."""
        return _Writer(request.model)

    def encode_error(self, status: int, said: str) -> dict[str, Any]:
        """See Wire."""
        kinds = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error",
                 429: "rate_limit_error"}  # fmt: skip
        kind = kinds.get(status, "server_error" if status >= 500 else "invalid_request_error")
        return {"error": {"message": said, "type": kind, "param": None, "code": None}}


class _Writer:
    """chat.completion.chunk objects."""

    def __init__(self, model: str) -> None:
        self._common = {"id": "", "object": "chat.completion.chunk", "created": int(time.time()), "model": model}
        self._usage: Usage | None = None
        self._begun: set[int] = set()

    def write(self, event: Event) -> list[Frame]:
        """See Writer."""
        self._common["id"] = event.id or self._common["id"]
        self._common["model"] = event.model or self._common["model"]
        self._usage = event.usage or self._usage
        delta: dict[str, Any] = given({"content": event.text or None, "reasoning_content": event.reasoning or None})
        if event.call is not None:
            place, key, name, more = event.call
            function = given({"name": name or None}) | {"arguments": more}
            start = {"id": key, "type": "function"} if key or name else {}
            delta["tool_calls"] = [{"index": place, **start, "function": function}]
        if not delta and event.finish is None and not event.logprobs:
            return []
        if event.index not in self._begun:
            self._begun.add(event.index)
            delta = {"role": "assistant", **delta}
        row = {"index": event.index, "delta": delta, "finish_reason": ended(event.finish)}
        if event.logprobs:
            row["logprobs"] = {"content": [scored(score) for score in event.logprobs]}
        return [("", {**self._common, "choices": [row]})]

    def close(self) -> list[Frame]:
        """See Writer."""
        last = [] if self._usage is None else [("", {**self._common, "choices": [], "usage": counted(self._usage)})]
        return [*last, DONE]
