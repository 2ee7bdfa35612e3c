"""Answers as OpenAI's chat API writes them, whole and streamed, and how they are read."""

from __future__ import annotations

from typing import Any

from palmette.core.errors import ProviderFailed
from palmette.core.events import Event
from palmette.core.message import (
    Finish,
    Part,
    Reasoning,
    Response,
    Text,
    TokenScore,
    ToolCall,
    Usage,
)
from palmette.models.remote.wires.openai_request import said_call
from palmette.models.remote.wires.reading import (
    given,
    inner,
    items,
    number,
    scores_of,
    table,
    text,
)

__all__ = [
    "FINISH",
    "answer_of",
    "complaint",
    "counted",
    "ended",
    "read_event",
    "said_answer",
    "scored",
    "scores",
    "usage_of",
]

FINISH: dict[str, Finish] = {
    "stop": "stop", "length": "length", "tool_calls": "tool_calls", "function_call": "tool_calls",
    "content_filter": "content_filter",
}  # fmt: skip


def answer_of(choice: Any) -> dict[str, Any]:
    """The fields of a Response from a choice."""
    said = table(choice.get("message"), "choices[].message")
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
    finish = FINISH.get(text(choice.get("finish_reason")), "other")
    return {"parts": tuple(parts), "finish": finish, "logprobs": scores(choice)}


def read_event(name: str, body: Any) -> list[Event]:
    """What a chunk of a stream says."""
    body = table(body, "an event")
    if body.get("error"):
        raise ProviderFailed(complaint(body) or str(body)[:200])
    usage = usage_of(body.get("usage"))
    key, model = text(body.get("id")), text(body.get("model"))
    choices = items(body.get("choices"))
    if not choices:
        return [Event(usage=usage, id=key, model=model)]
    made: list[Event] = []
    for choice in choices:
        delta, index = inner(choice.get("delta")), number(choice.get("index"))
        reason = choice.get("finish_reason")
        thought = text(delta.get("reasoning_content")) or text(delta.get("reasoning"))
        words = text(delta.get("content")) or text(delta.get("refusal"))
        calls = items(delta.get("tool_calls"))
        if thought and (words or calls):  # in the order in which a model says them
            made.append(Event(reasoning=thought, index=index))
            thought = ""
        for call in calls:
            function = inner(call.get("function"))
            row = (number(call.get("index")), text(call.get("id")), text(function.get("name")))
            made.append(Event(words, call=(*row, text(function.get("arguments"))), index=index))
            words = ""
        finish = FINISH.get(reason, "other") if isinstance(reason, str) else None
        made.append(Event(words, thought, finish=finish, usage=usage, id=key, model=model, logprobs=scores(choice),
                          index=index))  # fmt: skip
    return made


def said_answer(response: Response, index: int) -> dict[str, Any]:
    """A choice from a Response."""
    thought = "".join(part.text for part in response.parts if isinstance(part, Reasoning))
    calls = [said_call(call) for call in response.calls]
    said = {"role": "assistant", "content": response.text if response.text or not calls else None} | given(
        {"reasoning_content": thought or None, "tool_calls": calls}
    )
    row: dict[str, Any] = {"index": index, "message": said, "finish_reason": ended(response.finish)}
    if response.logprobs:
        row["logprobs"] = {"content": [scored(score) for score in response.logprobs]}
    return row


def ended(finish: Finish | None) -> str | None:
    """Why an answer ended."""
    return {"other": "stop"}.get(finish, finish) if finish else None


def scores(choice: Any) -> tuple[TokenScore, ...]:
    """The log-probabilities of a choice."""
    return scores_of(inner(choice.get("logprobs")).get("content"))


def scored(score: TokenScore) -> dict[str, Any]:
    """A token with its log-probabilities."""
    top = [{"token": t, "logprob": p, "bytes": list(t.encode())} for t, p in score.top]
    data = list(score.text.encode())
    return {"token": score.text, "logprob": score.logprob, "bytes": data, "top_logprobs": top}


def usage_of(found: Any) -> Usage | None:
    """Counted tokens."""
    if not isinstance(found, dict):
        return None
    asked, said = inner(found.get("prompt_tokens_details")), inner(found.get("completion_tokens_details"))
    return Usage(
        number(found.get("prompt_tokens")), number(found.get("completion_tokens")), number(asked.get("cached_tokens")),
        number(asked.get("cache_write_tokens")), number(said.get("reasoning_tokens")),
    )  # fmt: skip


def counted(usage: Usage | None) -> dict[str, Any] | None:
    """Counted tokens, as they are sent."""
    if usage is None:
        return None
    return {
        "prompt_tokens": usage.input, "completion_tokens": usage.output, "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }  # fmt: skip


def complaint(body: Any) -> str:
    """What an error's body says, or an empty text."""
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, dict):
        return text(error.get("message"))
    return text(error) or (text(body.get("message")) or text(body.get("detail")) if isinstance(body, dict) else "")
