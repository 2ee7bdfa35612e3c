"""Answers as Gemini's API writes them, whole and as chunks that each have the form of one, and how they are read."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any

from palmette.core.errors import BadAnswer, ProviderFailed
from palmette.core.events import Event, fold
from palmette.core.message import Finish, Part, Reasoning, Response, Text, TokenScore, ToolCall, Usage
from palmette.models.remote.wires.base import Frame, spread
from palmette.models.remote.wires.gemini.request import said_part
from palmette.models.remote.wires.reading import (
    given,
    inner,
    items,
    kind_of,
    logprob,
    number,
    said_logprob,
    shown,
    spelled,
    table,
    text,
)

__all__ = ["ChunkReader", "ChunkWriter", "answer_of", "complaint", "counted", "said_answer"]

FINISH: dict[str, Finish] = {
    "STOP": "stop", "MAX_TOKENS": "length", "SAFETY": "content_filter", "RECITATION": "content_filter",
    "PROHIBITED_CONTENT": "content_filter", "BLOCKLIST": "content_filter", "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter", "IMAGE_PROHIBITED_CONTENT": "content_filter", "MODEL_ARMOR": "content_filter",
    "IMAGE_RECITATION": "content_filter",
}  # fmt: skip
_ENDED: dict[Finish, str] = {
    "stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY", "other": "OTHER",
}  # fmt: skip
_MARK = "thoughtSignature"


class ChunkReader:
    """Reads one stream: the parts of its chunks, one after another, are those of the answer.

    Neighbouring texts are one, but one that carries a mark stays a part of its own, as Google asks.
    """

    def __init__(self) -> None:
        self._last: dict[int, str] = {}  # answer -> the kind of its last part, if more may be added to it
        self._calls: dict[int, int] = {}
        self._common: dict[str, Any] = {}  # what a chunk says of the whole answer, for the next event

    def __call__(self, name: str, body: Any) -> list[Event]:
        """What a chunk says."""
        body = table(body[0] if isinstance(body, list) and body else body, "an event")
        if body.get("error"):
            raise ProviderFailed(complaint(body) or shown(body["error"]))
        key = text(body.get("responseId"))
        self._common = {
            "usage": usage_of(body.get("usageMetadata")),
            "id": key,
            "model": text(body.get("modelVersion")),
        }
        made = [event for row in items(body.get("candidates")) for event in self._candidate(row, key)]
        blocked = not made and inner(body.get("promptFeedback")).get("blockReason")
        return made or [self._event(0, finish="content_filter" if blocked else None)]

    def _event(self, index: int, **fields: Any) -> Event:
        common, self._common = self._common, {}
        return Event(index=index, **fields, **common)

    def _candidate(self, row: Mapping[str, Any], key: str) -> Iterator[Event]:
        index = number(row.get("index"))
        for part in items(inner(row.get("content")).get("parts")):
            fields = self._part(part, index, key)
            if fields:
                yield self._event(index, **fields)
        reason, scores = row.get("finishReason"), _scores(row)
        finish = FINISH.get(reason, "other") if isinstance(reason, str) else None
        if finish == "stop" and self._calls.get(index):
            finish = "tool_calls"
        if finish or scores:
            yield self._event(index, finish=finish, logprobs=scores)

    def _part(self, part: Mapping[str, Any], index: int, key: str) -> dict[str, Any]:
        """The fields of the event that a part is."""
        mark, last = text(part.get(_MARK)), self._last.pop(index, "")
        call = part.get("functionCall")
        if isinstance(call, dict):
            place = self._calls[index] = self._calls.get(index, 0) + 1
            name = text(call.get("name"))
            made = text(call.get("id")) or f"{key or name}-{place}"
            arguments = spelled(inner(call.get("args")))
            return {"call": (place, made, name, arguments), "meta": {_MARK: mark} if mark else {}}
        media = _media(part)
        if media is not None:
            return {"media": media}
        if "text" not in part:
            return {"meta": {"part": dict(part)}, "new": True} if part else {}
        kind = "thought" if part.get("thought") else "text"
        said, new = text(part.get("text")), bool(mark) or last != kind
        if not mark:
            self._last[index] = kind
        if kind == "thought":
            return {"reasoning": said, "signature": mark, "new": new, "thinks": True}
        return {"text": said, "meta": {_MARK: mark} if mark else None, "new": new}


def _media(part: Mapping[str, Any]) -> Part | None:
    """A picture or sound that the model made."""
    blob = part.get("inlineData")
    if not isinstance(blob, dict):
        return None
    mime = text(blob.get("mimeType"))
    try:
        data = base64.b64decode(text(blob.get("data")).replace("-", "+").replace("_", "/"))
    except (binascii.Error, ValueError):
        raise BadAnswer(f"a file of the answer is no base64: {shown(blob.get('data'))}") from None
    return kind_of(mime)(data, mime, name=text(blob.get("displayName")))


def answer_of(body: Any) -> Response:
    """A whole answer: it is read as a stream of one chunk.

    Raises:
        BadAnswer: if it has not the form of one.
    """
    body = table(body, "the answer")
    if not items(body.get("candidates")) and not inner(body.get("promptFeedback")).get("blockReason"):
        raise BadAnswer(f"the answer has no candidates; it has {', '.join(map(str, body)) or 'nothing'}"[:200])
    return fold(ChunkReader()("", body))


def usage_of(found: Any) -> Usage | None:
    """Counted tokens; here what was thought is not among the output, so it is added."""
    if not isinstance(found, dict):
        return None
    thought = number(found.get("thoughtsTokenCount"))
    return Usage(
        number(found.get("promptTokenCount")) + number(found.get("toolUsePromptTokenCount")),
        number(found.get("candidatesTokenCount")) + thought, number(found.get("cachedContentTokenCount")), 0, thought,
    )  # fmt: skip


def counted(usage: Usage | None) -> dict[str, Any] | None:
    """Counted tokens, as they are sent."""
    if usage is None:
        return None
    return {
        "promptTokenCount": usage.input, "candidatesTokenCount": max(0, usage.output - usage.reasoning),
        "thoughtsTokenCount": usage.reasoning, "cachedContentTokenCount": usage.cached,
        "totalTokenCount": usage.input + usage.output,
    }  # fmt: skip


def _scores(row: Mapping[str, Any]) -> tuple[TokenScore, ...]:
    found = inner(row.get("logprobsResult"))
    if not found:
        return ()
    tops = [items(top.get("candidates")) for top in items(found.get("topCandidates"))]
    made = []
    for i, chosen in enumerate(items(found.get("chosenCandidates"))):
        top = [(text(r.get("token")), logprob(r.get("logProbability"))) for r in (tops[i] if i < len(tops) else [])]
        made.append(TokenScore(text(chosen.get("token")), logprob(chosen.get("logProbability")), tuple(top)))
    return tuple(made)


def _said_scores(scores: tuple[TokenScore, ...]) -> dict[str, Any]:
    def row(token: str, value: float) -> dict[str, Any]:
        return {"token": token, "logProbability": said_logprob(value)}

    tops = [{"candidates": [row(*pair) for pair in score.top]} for score in scores]
    chosen = [row(score.text, score.logprob) for score in scores]
    return {"chosenCandidates": chosen, **({"topCandidates": tops} if any(s.top for s in scores) else {})}


def said_answer(response: Response) -> dict[str, Any]:
    """A whole answer."""
    rows = []
    for i, one in enumerate((response, *response.alternatives)):
        content = {"role": "model", "parts": [said_part(part) for part in one.parts]}
        row: dict[str, Any] = {"index": i, "content": content, "finishReason": _ENDED[one.finish]}
        rows.append(row | ({"logprobsResult": _said_scores(one.logprobs)} if one.logprobs else {}))
    return {"candidates": rows, **_about(response.id, response.model, response.usage)}


def _about(key: str, model: str, usage: Usage | None) -> dict[str, Any]:
    return given({"usageMetadata": counted(usage), "modelVersion": model or None, "responseId": key or None})


def complaint(body: Any) -> str:
    """What an error's body says, or an empty text; where a stream was asked for it stands in a list."""
    body = body[0] if isinstance(body, list) and body else body
    error = body.get("error") if isinstance(body, dict) else None
    return text(error.get("message")) if isinstance(error, dict) else text(error)


class ChunkWriter:
    """Writes one stream; a call is held back until it is whole, since this API has no pieces of one."""

    def __init__(self, model: str) -> None:
        self._id, self._model = "", model
        self._usage: Usage | None = None
        self._calls: dict[int, dict[int, ToolCall]] = {}

    def write(self, event: Event) -> list[Frame]:
        """See Writer."""
        return [frame for one in spread(event) for frame in self._step(one)]

    def _step(self, event: Event) -> list[Frame]:
        self._id, self._model = event.id or self._id, event.model or self._model
        self._usage = event.usage or self._usage
        calls, meta = self._calls.setdefault(event.index, {}), event.meta or {}
        parts: list[dict[str, Any]] = []
        thinks = bool(event.reasoning or event.signature or event.thinks)
        if event.text or event.media or thinks or event.finish or (event.new and not event.call):
            parts = self._done(event.index)
        if thinks:
            parts.append(said_part(Reasoning(event.reasoning, event.signature)))
        if event.text or (not thinks and not event.call and not event.media and (event.new or meta)):
            parts.append(said_part(Text(event.text, meta)))
        if event.media is not None:
            parts.append(said_part(event.media))
        if event.call is not None:
            place, key, name, more = event.call
            old = calls.get(place, ToolCall("", "", ""))
            calls[place] = ToolCall(old.id or key, old.name or name, old.arguments + more, {**old.meta, **meta})
        if not parts and event.finish is None and not event.logprobs:
            return []
        row: dict[str, Any] = {"index": event.index, "content": {"role": "model", "parts": parts}}
        row |= {"finishReason": _ENDED[event.finish]} if event.finish else {}
        row |= {"logprobsResult": _said_scores(event.logprobs)} if event.logprobs else {}
        return [self._chunk([row])]

    def _done(self, index: int) -> list[dict[str, Any]]:
        return [said_part(call) for _, call in sorted(self._calls.pop(index, {}).items())]

    def _chunk(self, rows: list[dict[str, Any]]) -> Frame:
        return "", {"candidates": rows, **_about(self._id, self._model, self._usage)}

    def close(self) -> list[Frame]:
        """See Writer."""
        left = [(i, parts) for i in sorted(self._calls) if (parts := self._done(i))]
        rows = [{"index": i, "content": {"role": "model", "parts": parts}} for i, parts in left]
        return [self._chunk(rows)] if rows or self._usage is not None else []
