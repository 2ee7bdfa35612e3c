"""OpenAI Chat Completions, which most other hosts speak as well."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, ClassVar, Literal

from palmette.core.errors import BadAnswer
from palmette.core.events import Event
from palmette.core.message import (
    Request,
    Response,
    ToolResult,
    Usage,
)
from palmette.models.remote.wires.base import DONE, Frame, Reader, spread
from palmette.models.remote.wires.openai_answer import (
    ChunkReader,
    answer_of,
    complaint,
    counted,
    ended,
    failure,
    said_answer,
    usage_of,
)
from palmette.models.remote.wires.openai_fields import bias_of, said_bias, wants_usage
from palmette.models.remote.wires.openai_request import (
    chosen_tool,
    conversation,
    output_of,
    said_choice,
    said_form,
    said_turn,
    tools_of,
)
from palmette.models.remote.wires.openai_scores import prompt_scores, said_prompt, scored
from palmette.models.remote.wires.reading import (
    asked_list,
    asked_table,
    asked_text,
    functions,
    given,
    inner,
    items,
    left_over,
    merged,
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
    "logit_bias", "echo", *_PLAIN,
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
            "logit_bias": said_bias(request.logit_bias), "echo": request.prompt_logprobs,
        })  # fmt: skip
        if request.output is not None:
            body["response_format"] = said_form(request.output)
        if request.top_logprobs is not None:
            body |= {"logprobs": True} | ({"top_logprobs": request.top_logprobs} if request.top_logprobs else {})
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        said = any(isinstance(p, ToolResult) and p.failed for m in request.messages for p in m.parts)
        notes = ["failed: this API has no mark for a call that failed; its text alone says so"] if said else []
        return merged(body, request.extra), notes

    def decode(self, body: Any) -> Response:
        """See Wire."""
        choices = items(table(body, "the answer").get("choices"))
        if not choices:
            raise BadAnswer(f"the answer has no choices: {str(body)[:200]}")
        first, *others = [answer_of(choice) for choice in sorted(choices, key=lambda c: number(c.get("index")))]
        common: dict[str, Any] = {"id": text(body.get("id")), "model": text(body.get("model"))}
        return Response(**first, **common, usage=usage_of(body.get("usage")),
                        alternatives=tuple(Response(**other, **common) for other in others),
                        prompt_logprobs=prompt_scores(body))  # fmt: skip

    def reader(self) -> Reader:
        """See Wire."""
        return ChunkReader()

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
        stream, effort = bool(yes_no(body.get("stream"), "stream")), body.get("reasoning_effort")
        request = Request(
            conversation(asked_list(body.get("messages"), "messages")), asked_text(body.get("model"), "model"),
            max_tokens=whole(limit, "max_completion_tokens"), seed=whole(body.get("seed"), "seed"),
            stop=texts(body.get("stop"), "stop"), n=whole(body.get("n"), "n"), top_logprobs=report,
            tools=tools_of(body.get("tools")), tool_choice=chosen_tool(body.get("tool_choice")),
            parallel_tools=yes_no(body.get("parallel_tool_calls"), "parallel_tool_calls"),
            output=output_of(body.get("response_format")),
            effort=None if effort is None else asked_text(effort, "reasoning_effort"),
            logit_bias=bias_of(body), extra=left_over(body, _KNOWN) | wants_usage(body, stream),
            prompt_logprobs=yes_no(body.get("echo"), "echo"),
            **{name: real(body.get(name), name) for name in _PLAIN},  # type: ignore[arg-type]
        )  # fmt: skip
        return request, stream

    def encode_response(self, response: Response) -> dict[str, Any]:
        """See Wire."""
        return {
            "id": response.id, "object": "chat.completion", "created": int(time.time()), "model": response.model,
            "choices": [said_answer(one, i) for i, one in enumerate((response, *response.alternatives))],
            **given({"usage": counted(response.usage)}),
            **({"prompt": said_prompt(response.prompt_logprobs)} if response.prompt_logprobs else {}),
        }  # fmt: skip

    def writer(self, request: Request) -> _Writer:
        """See Wire."""
        asked = inner(request.extra.get("stream_options")).get("include_usage", True)
        return _Writer(request.model, bool(asked))

    def encode_error(self, status: int, said: str) -> dict[str, Any]:
        """See Wire."""
        return failure(status, said)


class _Writer:
    """chat.completion.chunk objects."""

    def __init__(self, model: str, counts: bool) -> None:
        self._common: dict[str, Any] = {
            "id": "",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
        }
        self._counts = counts
        self._usage: Usage | None = None
        self._begun: set[int] = set()
        self._details: dict[int, int] = {}

    def write(self, event: Event) -> list[Frame]:
        """See Writer."""
        return [frame for one in spread(event) for frame in self._step(one)]

    def _step(self, event: Event) -> list[Frame]:
        self._common["id"] = event.id or self._common["id"]
        self._common["model"] = event.model or self._common["model"]
        self._usage = event.usage or self._usage
        if event.prompt_logprobs:
            told = {**self._common, "choices": [], "prompt": said_prompt(event.prompt_logprobs)}
            return [("", told), *self._step(replace(event, prompt_logprobs=()))]
        delta = self._delta(event)
        if not delta and event.finish is None and not event.logprobs:
            return []
        if event.index not in self._begun:
            self._begun.add(event.index)
            delta = {"role": "assistant", **delta}
        row = {"index": event.index, "delta": delta, "finish_reason": ended(event.finish)}
        if event.logprobs:
            row["logprobs"] = {"content": [scored(score) for score in event.logprobs]}
        return [("", {**self._common, "choices": [row]})]

    def _delta(self, event: Event) -> dict[str, Any]:
        meta = event.meta or {}
        words = "refusal" if meta.get("refusal") else "content"
        delta: dict[str, Any] = given({words: event.text or None, "reasoning_content": event.reasoning or None})
        details = meta.get("reasoning_details", ())
        fresh = details[self._details.get(event.index, 0) :]  # they are told again from the first, with more
        if fresh:
            self._details[event.index] = len(details)
            delta["reasoning_details"] = list(fresh)
        if event.call is not None:
            place, key, name, more = event.call
            function = given({"name": name or None}) | {"arguments": more}
            start = {"id": key, "type": "function"} if key or name else {}
            kept = {"extra_content": meta["extra_content"]} if meta.get("extra_content") else {}
            delta["tool_calls"] = [{"index": place, **start, "function": function, **kept}]
        return delta

    def close(self) -> list[Frame]:
        """See Writer."""
        if self._usage is None or not self._counts:
            return [DONE]
        return [("", {**self._common, "choices": [], "usage": counted(self._usage)}), DONE]
