"""OpenAI Completions, the older API that base models have: a text in, its continuation out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

from palmette.core.errors import BadAnswer, ProviderFailed, RequestRefused
from palmette.core.events import Event
from palmette.core.message import Message, Request, Response, Text, TokenScore, Usage
from palmette.models.remote.wires.base import DONE, Frame, Reader, spread
from palmette.models.remote.wires.openai_answer import FINISH, complaint, counted, ended, failure, usage_of
from palmette.models.remote.wires.openai_fields import bias_of, said_bias, wants_usage
from palmette.models.remote.wires.openai_scores import prompt_scores, said_legacy, scores
from palmette.models.remote.wires.reading import (
    asked_table,
    asked_text,
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

__all__ = ["Completions", "split"]

_PLAIN = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "top_k", "min_p")
_KNOWN = frozenset({
    "model", "prompt", "stream", "stream_options", "max_tokens", "seed", "stop", "n", "logprobs", "echo", "logit_bias",
    *_PLAIN,
})  # fmt: skip


class Completions:
    """POST /completions. `suffix`, `best_of` and a prompt of token ids travel in `extra`."""

    framing: ClassVar[Literal["sse", "lines"]] = "sse"
    schemas: ClassVar[str] = "openai"
    lacks: ClassVar[frozenset[str]] = frozenset({"tools", "tool_choice", "parallel_tools", "output", "effort"})

    def path(self, request: Request, stream: bool) -> str:
        """See Wire."""
        return "/completions"

    def encode(self, request: Request, stream: bool) -> tuple[dict[str, Any], list[str]]:
        """See Wire."""
        body: dict[str, Any] = {"model": request.model, "prompt": _prompt(request.messages)}
        body |= given({name: getattr(request, name) for name in _PLAIN})
        reports = request.top_logprobs
        if request.prompt_logprobs:
            body["echo"], reports = True, reports or 0
        body |= given({
            "max_tokens": request.max_tokens, "seed": request.seed, "stop": list(request.stop), "n": request.n,
            "logprobs": reports, "logit_bias": said_bias(request.logit_bias),
        })  # fmt: skip
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return merged(body, request.extra), []

    def decode(self, body: Any) -> Response:
        """See Wire."""
        choices = items(table(body, "the answer").get("choices"))
        if not choices:
            raise BadAnswer(f"the answer has no choices: {str(body)[:200]}")
        usage = usage_of(body.get("usage"))
        common: dict[str, Any] = {"id": text(body.get("id")), "model": text(body.get("model"))}
        ordered = sorted(choices, key=lambda one: number(one.get("index")))
        first, *others = [Response(**_answer(one, usage), **common) for one in ordered]
        told = first.prompt_logprobs or prompt_scores(body)
        return replace(first, usage=usage, alternatives=tuple(others), prompt_logprobs=told)

    def reader(self) -> Reader:
        """See Wire."""
        return _read

    def complaint(self, body: Any) -> str:
        """See Wire."""
        return complaint(body)

    def decode_request(self, body: Any, path: str = "") -> tuple[Request, bool]:
        """See Wire; a body with several prompts is taken apart by `split` before."""
        body = asked_table(body, "the body")
        words, ids = _asked(body.get("prompt"))
        number_of = whole(body.get("logprobs"), "logprobs")
        echo, stream = yes_no(body.get("echo"), "echo"), bool(yes_no(body.get("stream"), "stream"))
        extra = left_over(body, _KNOWN) | wants_usage(body, stream) | ids
        if echo is not None and (number_of is None or not echo):
            extra["echo"] = echo
        request = Request(
            (Message.of("user", words),), asked_text(body.get("model"), "model"),
            max_tokens=whole(body.get("max_tokens"), "max_tokens"), seed=whole(body.get("seed"), "seed"),
            stop=texts(body.get("stop"), "stop"), n=whole(body.get("n"), "n"), top_logprobs=number_of,
            logit_bias=bias_of(body), extra=extra,
            prompt_logprobs=True if echo and number_of is not None else None,
            **{name: real(body.get(name), name) for name in _PLAIN},  # type: ignore[arg-type]
        )  # fmt: skip
        return request, stream

    def encode_response(self, response: Response) -> dict[str, Any]:
        """See Wire."""
        answers = (response, *response.alternatives)
        return {
            "id": response.id, "object": "text_completion", "created": int(time.time()), "model": response.model,
            "choices": [_said(one, i, response.prompt_logprobs) for i, one in enumerate(answers)],
            **given({"usage": counted(response.usage)}),
        }  # fmt: skip

    def writer(self, request: Request) -> _Writer:
        """See Wire."""
        return _Writer(request)

    def encode_error(self, status: int, said: str) -> dict[str, Any]:
        """See Wire."""
        return failure(status, said)


def split(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A body that asks for several prompts at once, as one body for each.

    >>> [one["prompt"] for one in split({"prompt": ["a", "b"]})]
    ['a', 'b']
    """
    prompt = body.get("prompt")
    several = isinstance(prompt, list) and prompt and not isinstance(prompt[0], int)
    return [{**body, "prompt": one} for one in prompt] if several else [dict(body)]  # type: ignore[union-attr]


def _prompt(messages: Sequence[Message]) -> str:
    plain = len(messages) == 1 and messages[0].role == "user" and all(isinstance(p, Text) for p in messages[0].parts)
    if not plain:
        raise RequestRefused("this API continues one text; for a conversation, files or a system message use chat")
    return messages[0].text


def _asked(prompt: Any) -> tuple[str, dict[str, Any]]:
    """A prompt's text, or its token ids as a field of their own."""
    if isinstance(prompt, list) and len(prompt) == 1 and not isinstance(prompt[0], int):
        prompt = prompt[0]
    if isinstance(prompt, list) and prompt and all(isinstance(i, int) and not isinstance(i, bool) for i in prompt):
        return "", {"prompt": prompt}
    if isinstance(prompt, list) and len(prompt) > 1:
        raise RequestRefused(f"prompt: {len(prompt)} prompts at once; send one at a time")
    return asked_text(prompt, "prompt"), {}


def _answer(choice: Mapping[str, Any], usage: Usage | None) -> dict[str, Any]:
    """The fields of a Response from a choice; an echoed prompt is taken off where its scores tell how long."""
    words, found = text(choice.get("text")), scores(choice)
    finish = FINISH.get(text(choice.get("finish_reason")), "other")
    before = prompt_scores(choice)
    values = inner(choice.get("logprobs")).get("token_logprobs")
    many = usage.input if usage else 0
    if isinstance(values, list) and values and values[0] is None and 0 < many <= len(found):
        before, found = found[:many], found[many:]
        prompt = "".join(score.text for score in before)
        words = words.removeprefix(prompt)
    return {"parts": (Text(words),), "finish": finish, "logprobs": found, "prompt_logprobs": before}


def _said(response: Response, index: int, before: tuple[TokenScore, ...]) -> dict[str, Any]:
    found = (*before, *response.logprobs)
    words = "".join(score.text for score in before) + response.text
    row = {"text": words, "index": index, "finish_reason": ended(response.finish), "logprobs": None}
    return {**row, "logprobs": said_legacy(found)} if found else row


def _read(name: str, body: Any) -> list[Event]:
    """What a chunk of a stream says."""
    body = table(body, "an event")
    if body.get("error"):
        raise ProviderFailed(complaint(body) or str(body)[:200])
    usage, key, model = usage_of(body.get("usage")), text(body.get("id")), text(body.get("model"))
    made = []
    for choice in items(body.get("choices")):
        reason = choice.get("finish_reason")
        finish = FINISH.get(reason, "other") if isinstance(reason, str) else None
        made.append(Event(text(choice.get("text")), finish=finish, usage=usage, id=key, model=model,
                          logprobs=scores(choice), index=number(choice.get("index"))))  # fmt: skip
    return made or [Event(usage=usage, id=key, model=model)]


class _Writer:
    """text_completion objects."""

    def __init__(self, request: Request) -> None:
        self._common = {"id": "", "object": "text_completion", "created": int(time.time()), "model": request.model}
        self._counts = inner(request.extra.get("stream_options")).get("include_usage") is not False
        self._usage: Usage | None = None
        self._length: dict[int, int] = {}  # of what was said, for the places of tokens

    def write(self, event: Event) -> list[Frame]:
        """See Writer."""
        return [frame for one in spread(event) for frame in self._step(one)]

    def _step(self, event: Event) -> list[Frame]:
        self._common["id"] = event.id or self._common["id"]
        self._common["model"] = event.model or self._common["model"]
        self._usage = event.usage or self._usage
        if not event.text and event.finish is None and not event.logprobs:
            return []
        start = self._length.get(event.index, 0)
        self._length[event.index] = start + len(event.text)
        found = said_legacy(event.logprobs, start) if event.logprobs else None
        row = {"text": event.text, "index": event.index, "logprobs": found, "finish_reason": ended(event.finish)}
        return [("", {**self._common, "choices": [row]})]

    def close(self) -> list[Frame]:
        """See Writer."""
        if self._usage is None or not self._counts:
            return [DONE]
        return [("", {**self._common, "choices": [], "usage": counted(self._usage)}), DONE]
