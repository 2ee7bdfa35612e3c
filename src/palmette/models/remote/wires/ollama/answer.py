"""Answers as Ollama's API writes them, whole and as lines, and how they are read."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from palmette.core.errors import ProviderFailed
from palmette.core.events import Event
from palmette.core.message import Finish, Part, Reasoning, Response, Text, TokenScore, ToolCall, Usage, text_of
from palmette.models.remote.wires.base import Frame, spread
from palmette.models.remote.wires.ollama.request import said_call
from palmette.models.remote.wires.reading import (
    given,
    inner,
    items,
    number,
    said_logprob,
    scores_of,
    shown,
    spelled,
    table,
    text,
)

__all__ = ["LineReader", "LineWriter", "answer_of", "complaint", "said_answer"]

FINISH: dict[str, Finish] = {"stop": "stop", "length": "length"}


def answer_of(body: Any, said: Mapping[str, Any]) -> Response:
    """A whole answer; `said` is where its words are."""
    parts: list[Part] = []
    if text(said.get("thinking")):
        parts.append(Reasoning(text(said.get("thinking"))))
    if text(said.get("content")):
        parts.append(Text(text(said.get("content"))))
    calls = [_call(row, i) for i, row in enumerate(items(said.get("tool_calls")))]
    finish = _finish(body, bool(calls))
    return Response((*parts, *calls), finish, _usage(body), "", text(body.get("model")), logprobs=_scores(body))


def _call(row: Mapping[str, Any], place: int) -> ToolCall:
    function = inner(row.get("function"))
    name = text(function.get("name"))
    return ToolCall(text(row.get("id")) or f"{name}-{place}", name, spelled(inner(function.get("arguments"))))


def _finish(body: Mapping[str, Any], called: bool) -> Finish:
    found = FINISH.get(text(body.get("done_reason")), "other")
    return "tool_calls" if called and found != "length" else found


def _usage(body: Mapping[str, Any]) -> Usage:
    return Usage(number(body.get("prompt_eval_count")), number(body.get("eval_count")))


def _scores(body: Mapping[str, Any]) -> tuple[TokenScore, ...]:
    return scores_of(body.get("logprobs"))


def complaint(body: Any) -> str:
    """What an error's body says, or an empty text."""
    error = body.get("error") if isinstance(body, dict) else None
    return text(inner(error).get("message")) if isinstance(error, dict) else text(error)


class LineReader:
    """Reads one stream. Every call comes whole, so the next one is the next place."""

    def __init__(self) -> None:
        self._calls = 0

    def __call__(self, name: str, body: Any) -> list[Event]:
        """What a line says."""
        body = table(body, "a line")
        if body.get("error"):
            raise ProviderFailed(complaint(body) or shown(body["error"]))
        return self.said(body, inner(body.get("message")))

    def said(self, body: Mapping[str, Any], said: Mapping[str, Any]) -> list[Event]:
        """What a line says; `said` is where its words are."""
        made, words = [], text(said.get("content"))
        thought, model = text(said.get("thinking")), text(body.get("model"))
        if thought and words:
            made.append(Event(reasoning=thought))
            thought = ""
        made.append(Event(words, thought, model=model, logprobs=_scores(body)))
        for row in items(said.get("tool_calls")):
            call = _call(row, self._calls)
            made.append(Event(call=(self._calls, call.id, call.name, call.arguments)))
            self._calls += 1
        if body.get("done"):
            made.append(Event(finish=_finish(body, self._calls > 0), usage=_usage(body)))
        return made


def said_answer(response: Response) -> dict[str, Any]:
    """A whole answer."""
    thought = "".join(part.text for part in response.parts if isinstance(part, Reasoning))
    calls = [said_call(call, i) for i, call in enumerate(response.calls)]
    said = {"role": "assistant", "content": text_of(response.parts)}
    said |= given({"thinking": thought or None, "tool_calls": calls})
    return _line(response.model, said, scores=response.logprobs) | _end(response.finish, response.usage)


def _line(model: str, said: dict[str, Any], scores: tuple[TokenScore, ...] = ()) -> dict[str, Any]:
    now = datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z")
    row: dict[str, Any] = {"model": model, "created_at": now, "message": said, "done": False}
    return row | ({"logprobs": [_scored(score) for score in scores]} if scores else {})


def _end(finish: Finish, usage: Usage | None) -> dict[str, Any]:
    counts = usage or Usage()
    return {"done": True, "done_reason": "length" if finish == "length" else "stop",
            "prompt_eval_count": counts.input, "eval_count": counts.output}  # fmt: skip


def _scored(score: TokenScore) -> dict[str, Any]:
    def row(token: str, value: float) -> dict[str, Any]:
        return {"token": token, "logprob": said_logprob(value), "bytes": list(token.encode())}

    return row(score.text, score.logprob) | {"top_logprobs": [row(*pair) for pair in score.top]}


class LineWriter:
    """Writes one stream; a call is held back until it is whole, since this API has no pieces of one."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._usage: Usage | None = None
        self._finish: Finish = "other"
        self._calls: dict[int, ToolCall] = {}

    def write(self, event: Event) -> list[Frame]:
        """See Writer. Answers after the first are passed over: this API gives one."""
        return [frame for one in spread(event) if not one.index for frame in self._step(one)]

    def _step(self, event: Event) -> list[Frame]:
        self._model, self._usage = event.model or self._model, event.usage or self._usage
        self._finish = event.finish or self._finish
        if event.call is not None:
            place, key, name, more = event.call
            old = self._calls.get(place, ToolCall("", "", ""))
            self._calls[place] = ToolCall(old.id or key, old.name or name, old.arguments + more)
        if not event.text and not event.reasoning and not event.logprobs:
            return []
        said = {"role": "assistant", "content": event.text} | given({"thinking": event.reasoning or None})
        return [("", _line(self._model, said, event.logprobs))]

    def close(self) -> list[Frame]:
        """See Writer."""
        calls = [said_call(call, i) for i, (_, call) in enumerate(sorted(self._calls.items()))]
        said: dict[str, Any] = {"role": "assistant", "content": ""}
        rows = [_line(self._model, said | {"tool_calls": calls})] if calls else []
        return [("", row) for row in (*rows, _line(self._model, said) | _end(self._finish, self._usage))]
