"""Answers as OpenAI's chat API writes them, whole and streamed, and how they are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from palmette.core.errors import ProviderFailed
from palmette.core.events import Event
from palmette.core.message import (
    Finish,
    Part,
    Reasoning,
    Response,
    Text,
    ToolCall,
    Usage,
)
from palmette.models.remote.wires.openai_request import said_turn
from palmette.models.remote.wires.openai_scores import prompt_scores, scored, scores
from palmette.models.remote.wires.reading import (
    inner,
    items,
    number,
    shown,
    spelled,
    table,
    text,
)

__all__ = [
    "ChunkReader",
    "FINISH",
    "answer_of",
    "complaint",
    "counted",
    "ended",
    "failure",
    "said_answer",
    "usage_of",
]

FINISH: dict[str, Finish] = {
    "stop": "stop", "length": "length", "tool_calls": "tool_calls", "function_call": "tool_calls",
    "content_filter": "content_filter", "eos": "stop",
}  # fmt: skip


def answer_of(choice: Any) -> dict[str, Any]:
    """The fields of a Response from a choice."""
    said = table(choice.get("message"), "choices[].message")
    thought, words = _words(said)
    details = items(said.get("reasoning_details"))
    parts: list[Part] = []
    if thought or details:
        parts.append(Reasoning(thought, meta={"reasoning_details": details} if details else {}))
    if words:
        parts.append(Text(words))
    if text(said.get("refusal")):
        parts.append(Text(text(said.get("refusal")), {"refusal": True}))
    for call in items(said.get("tool_calls")):
        function = table(call.get("function"), "tool_calls[].function")
        row = (text(call.get("id")), text(function.get("name")), _arguments(function))
        parts.append(ToolCall(*row, _kept(call)))
    finish = FINISH.get(text(choice.get("finish_reason")), "other")
    return {"parts": tuple(parts), "finish": finish, "logprobs": scores(choice)}


def _words(said: Mapping[str, Any]) -> tuple[str, str]:
    """What was thought and what was said; Mistral has blocks of both within the content."""
    thought = text(said.get("reasoning_content")) or text(said.get("reasoning"))
    content = said.get("content")
    if not isinstance(content, list):
        return thought, text(content)
    for row in items(content):
        if row.get("type") == "thinking":
            thought += "".join(text(inner_row.get("text")) for inner_row in items(row.get("thinking")))
    return thought, "".join(text(row.get("text")) for row in items(content) if row.get("type") == "text")


def _arguments(function: Mapping[str, Any]) -> str:
    """A call's arguments; some servers send the object itself."""
    found = function.get("arguments")
    return spelled(found) if isinstance(found, dict) else text(found)


def _kept(call: Mapping[str, Any]) -> dict[str, Any]:
    """What a host wants back with a call: Google's endpoint of this kind has the mark of its reasoning there."""
    return {"extra_content": call["extra_content"]} if call.get("extra_content") else {}


class ChunkReader:
    """Reads chat.completion.chunk objects; it knows which calls have begun, since not every host counts them."""

    def __init__(self) -> None:
        self._calls: dict[tuple[int, int], tuple[int, str]] = {}  # (answer, its count) -> (place, id)
        self._begun: dict[int, int] = {}
        self._details: dict[int, list[Any]] = {}
        self._refused: set[int] = set()

    def __call__(self, name: str, body: Any) -> list[Event]:
        """What a chunk of a stream says."""
        body = table(body, "an event")
        if body.get("error"):
            raise ProviderFailed(complaint(body) or shown(body["error"]))
        common: dict[str, Any] = {
            "usage": usage_of(body.get("usage")), "id": text(body.get("id")), "model": text(body.get("model"))
        }  # fmt: skip
        choices = items(body.get("choices"))
        if not choices:
            return [Event(**common, prompt_logprobs=prompt_scores(body))]
        made: list[Event] = []
        for choice in choices[:-1]:
            self._choice(choice, {}, made)
        self._choice(choices[-1], common, made)
        return made

    def _choice(self, choice: Mapping[str, Any], common: Mapping[str, Any], made: list[Event]) -> None:
        """In the order in which a model says them: what it thinks, what it says, what it calls."""
        delta, index, reason = inner(choice.get("delta")), number(choice.get("index")), choice.get("finish_reason")
        thought, words = _words(delta)
        details = items(delta.get("reasoning_details"))
        if details:
            self._details.setdefault(index, []).extend(details)
            kept = {"reasoning_details": list(self._details[index])}
            made.append(Event(reasoning=thought, meta=kept, index=index, thinks=True))
            thought = ""
        if text(delta.get("refusal")):
            new = index not in self._refused
            self._refused.add(index)
            made.append(Event(text(delta.get("refusal")), meta={"refusal": True}, new=new, index=index))
        calls = items(delta.get("tool_calls"))
        if thought and (words or calls):
            made.append(Event(reasoning=thought, index=index))
            thought = ""
        for call in calls:
            function = inner(call.get("function"))
            place = self._place(index, call)
            row = (place, text(call.get("id")), text(function.get("name")), _arguments(function))
            made.append(Event(words, call=row, meta=_kept(call), index=index))
            words = ""
        finish = FINISH.get(reason, "other") if isinstance(reason, str) else None
        made.append(Event(words, thought, finish=finish, logprobs=scores(choice), index=index, **common))

    def _place(self, index: int, call: Mapping[str, Any]) -> int:
        """Where a call stands among its answer's; a new id begins a new call, whatever its count says."""
        count, key = number(call.get("index")), text(call.get("id"))
        known = self._calls.get((index, count))
        if known is None or (key and known[1] and key != known[1]):
            known = (self._begun.get(index, 0), key)
            self._begun[index] = known[0] + 1
            self._calls[index, count] = known
        return known[0]


def said_answer(response: Response, index: int) -> dict[str, Any]:
    """A choice from a Response."""
    (said,) = said_turn(replace(response.message, parts=response.parts or (Text(""),)))
    row: dict[str, Any] = {"index": index, "message": said, "finish_reason": ended(response.finish)}
    if response.logprobs:
        row["logprobs"] = {"content": [scored(score) for score in response.logprobs]}
    return row


def ended(finish: Finish | None) -> str | None:
    """Why an answer ended."""
    return {"other": "stop"}.get(finish, finish) if finish else None


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
    body = body[0] if isinstance(body, list) and body else body
    if not isinstance(body, dict):
        return ""
    error = body.get("error")
    if isinstance(error, dict):
        raw = text(inner(error.get("metadata")).get("raw"))  # OpenRouter: what the provider behind it said
        return text(error.get("message")) + (f" ({raw[:200]})" if raw else "")
    detail = body.get("detail")
    if isinstance(detail, list):  # FastAPI: which field, and why
        detail = "; ".join(f"{row.get('loc')}: {text(row.get('msg'))}" for row in items(detail))
    return text(error) or text(body.get("message")) or text(detail)


def failure(status: int, said: str) -> dict[str, Any]:
    """An error's body."""
    kinds = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": said, "type": kind, "param": None, "code": None}}
