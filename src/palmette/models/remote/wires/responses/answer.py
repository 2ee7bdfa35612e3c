"""Answers as OpenAI's Responses API writes them, whole and streamed, and how they are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from palmette.core.errors import ProviderFailed
from palmette.core.events import Event, unfold
from palmette.core.message import Finish, Part, Response, Text, TokenScore, ToolCall, Usage
from palmette.models.remote.wires.openai_answer import complaint
from palmette.models.remote.wires.openai_scores import scored
from palmette.models.remote.wires.reading import given, inner, items, number, scores_of, table, text
from palmette.models.remote.wires.responses.items import said_items, thought_of

__all__ = ["Reading", "answer_of", "output_items", "said_body", "said_usage", "usage_of"]

_WHY: dict[str, Finish] = {"max_output_tokens": "length", "content_filter": "content_filter"}
_ENDS = ("response.completed", "response.incomplete", "response.done")
_ITEMS = ("message", "function_call", "reasoning")


def answer_of(body: Mapping[str, Any]) -> Response:
    """The answer in a response object.

    Raises:
        ProviderFailed: if it says that it failed.
    """
    _failed(body)
    parts: list[Part] = []
    scores: tuple[TokenScore, ...] = ()
    notes = []
    for item in items(body.get("output")):
        kind = text(item.get("type"))
        if kind == "message":
            meta = given({name: item.get(name) or None for name in ("id", "phase")})
            for row in items(item.get("content")):
                parts.append(_text(row, meta))
                scores += scores_of(row.get("logprobs"))
        elif kind == "function_call":
            parts.append(_call(item))
            scores += scores_of(item.get("logprobs"))
        elif kind == "reasoning":
            parts.append(thought_of(item))
        else:
            notes.append(f"{kind or 'an item'}: this kind of item is not read")
    found = tuple(parts)
    return Response(found, _finish(body, found), usage_of(body.get("usage")), text(body.get("id")),
                    text(body.get("model")), tuple(notes), scores)  # fmt: skip


def _failed(body: Mapping[str, Any]) -> None:
    if body.get("status") == "failed" or (body.get("error") and not body.get("output")):
        raise ProviderFailed(complaint(body) or "the provider says that it failed, and not why")


def _text(row: Mapping[str, Any], meta: Mapping[str, Any]) -> Text:
    if row.get("type") == "refusal":
        return Text(text(row.get("refusal")), {**meta, "refusal": True})
    return Text(text(row.get("text")), {**meta, **given({"annotations": row.get("annotations") or None})})


def _call(item: Mapping[str, Any]) -> ToolCall:
    return ToolCall(
        text(item.get("call_id")), text(item.get("name")), text(item.get("arguments")),
        given({"id": item.get("id") or None}),
    )  # fmt: skip


def _finish(body: Mapping[str, Any], parts: tuple[Part, ...]) -> Finish:
    """Why it ended; a refusal counts as the provider's filter, so that nobody asks again for another form of it."""
    if body.get("status") != "completed":
        return _WHY.get(text(inner(body.get("incomplete_details")).get("reason")), "other")
    if any(isinstance(part, ToolCall) for part in parts):
        return "tool_calls"
    refused = any(isinstance(part, Text) and part.meta.get("refusal") for part in parts)
    return "content_filter" if refused else "stop"


def usage_of(found: Any) -> Usage | None:
    """Counted tokens."""
    if not isinstance(found, Mapping):
        return None
    asked, said = inner(found.get("input_tokens_details")), inner(found.get("output_tokens_details"))
    return Usage(
        number(found.get("input_tokens")), number(found.get("output_tokens")), number(asked.get("cached_tokens")),
        number(asked.get("cache_write_tokens")), number(said.get("reasoning_tokens")),
    )  # fmt: skip


class Reading:
    """Reads one stream of typed events."""

    def __init__(self) -> None:
        self._begun: set[tuple[int, str, int]] = set()
        self._calls: dict[int, int] = {}  # place of the item to place among the calls
        self._written: set[int] = set()  # calls whose arguments have come
        self._marks: dict[int, dict[str, Any]] = {}  # what a message's item holds beside its text
        self._refused = self._scored = False

    def __call__(self, name: str, body: Any) -> list[Event]:
        """Events of one step.

        Raises:
            ProviderFailed: if the step is an error.
        """
        body = table(body, "an event")
        kind = text(body.get("type")) or name
        if kind == "error" or kind == "response.failed":
            raise ProviderFailed(complaint(inner(body.get("response"))) or complaint(body) or str(body)[:200])
        place = number(body.get("output_index"))
        if kind == "response.created":
            found = inner(body.get("response"))
            return [Event(id=text(found.get("id")), model=text(found.get("model")))]
        if kind == "response.output_item.added":
            return list(self._opened(place, inner(body.get("item"))))
        if kind == "response.output_item.done":
            return list(self._closed(place, inner(body.get("item"))))
        if kind in _ENDS:
            return list(self._ended(table(body.get("response"), "response")))
        more = text(body.get("delta"))
        return list(self._grown(kind, place, more, body))

    def _grown(self, kind: str, place: int, more: str, body: Mapping[str, Any]) -> Iterator[Event]:
        meta = given({"id": body.get("item_id") or None})
        scores = scores_of(body.get("logprobs"))
        if kind in ("response.output_text.delta", "response.refusal.delta"):
            marks = {**meta, **self._marks.get(place, {})}
            if kind == "response.refusal.delta":
                self._refused, marks["refusal"] = True, True
            new = self._first(place, "text", number(body.get("content_index")))
            self._scored = self._scored or bool(scores)
            yield Event(more, meta=marks, new=new, logprobs=scores)
        elif kind == "response.content_part.done":
            notes = inner(body.get("part")).get("annotations")
            if notes:
                new = self._first(place, "text", number(body.get("content_index")))
                yield Event(meta={**meta, "annotations": notes}, new=new)
        elif kind == "response.function_call_arguments.delta":
            self._written.add(place)
            self._scored = self._scored or bool(scores)
            yield Event(call=(self._call(place), "", "", more), logprobs=scores)
        elif kind in ("response.reasoning_summary_text.delta", "response.reasoning_text.delta"):
            at = body.get("summary_index") if "summary" in kind else body.get("content_index")
            new = self._first(place, "thought", 0)
            between = "\n\n" if self._first(place, kind, number(at)) and not new else ""
            yield Event(reasoning=between + more, meta=meta, new=new, thinks=True)

    def _first(self, place: int, kind: str, index: int) -> bool:
        """Whether this is the first time that a part of an item is seen."""
        mark = (place, kind, index)
        new = mark not in self._begun
        self._begun.add(mark)
        return new

    def _call(self, place: int) -> int:
        return self._calls.setdefault(place, len(self._calls))

    def _opened(self, place: int, item: Mapping[str, Any]) -> Iterator[Event]:
        if item.get("type") == "function_call":
            call = _call(item)
            yield Event(call=(self._call(place), call.id, call.name, ""), meta=call.meta)
        elif item.get("type") == "message":
            self._marks[place] = given({name: item.get(name) or None for name in ("id", "phase")})

    def _closed(self, place: int, item: Mapping[str, Any]) -> Iterator[Event]:
        """What an item told only at its end: a thought's mark, arguments that did not come in pieces."""
        kind = text(item.get("type"))
        if kind == "function_call":
            call = _call(item)
            more = "" if place in self._written else call.arguments
            yield Event(call=(self._call(place), call.id, call.name, more), meta=call.meta)
        elif kind == "reasoning":
            thought = thought_of(item)
            new = self._first(place, "thought", 0)
            yield Event(reasoning=thought.text if new else "", signature=thought.signature, meta=thought.meta,
                        new=new, thinks=True)  # fmt: skip
        elif kind == "message":
            for i, row in enumerate(items(item.get("content"))):
                if self._first(place, "text", i):  # it did not come in pieces
                    said = _text(row, given({name: item.get(name) or None for name in ("id", "phase")}))
                    self._refused = self._refused or bool(said.meta.get("refusal"))
                    yield Event(said.text, meta=said.meta, new=True, logprobs=scores_of(row.get("logprobs")))
        elif kind and kind not in _ITEMS:
            yield Event(notes=(f"{kind}: this kind of item is not read",))

    def _ended(self, body: Mapping[str, Any]) -> Iterator[Event]:
        _failed(body)
        if (
            not self._begun and not self._calls and items(body.get("output"))
        ):  # a server that says everything at the end
            yield from unfold(answer_of(body))
            return
        calls: tuple[Part, ...] = tuple(ToolCall("", "", "") for _ in self._calls)
        refused: tuple[Part, ...] = (Text("", {"refusal": True}),) if self._refused else ()
        finish = _finish(body, (*calls, *refused))
        scores = () if self._scored else answer_of(body).logprobs  # some tell them at the end alone
        yield Event(finish=finish, usage=usage_of(body.get("usage")), id=text(body.get("id")),
                    model=text(body.get("model")), logprobs=scores)  # fmt: skip


# -- writing -----------------------------------------------------------------------------------------------------------


def output_items(response: Response, marks: str) -> list[dict[str, Any]]:
    """The items of an answer; those without an id of their own get one, made of `marks` and their place."""
    made: list[dict[str, Any]] = said_items(response.message)
    prefix = {"message": "msg", "function_call": "fc", "reasoning": "rs"}
    for i, item in enumerate(made):
        item["id"] = item.get("id") or f"{prefix[item['type']]}_{marks}_{i}"
        item["status"] = "completed"
    holders = [row for item in made for row in item.get("content", ()) if row["type"] == "output_text"]
    holders += [item for item in made if item["type"] == "function_call"]  # an extension: the API scores texts alone
    for holder in holders:
        if holder["type"] == "output_text":
            holder["logprobs"] = []
    if response.logprobs and holders:
        holders[0]["logprobs"] = [scored(score) for score in response.logprobs]
    return made


def said_usage(usage: Usage | None) -> dict[str, Any] | None:
    """Counted tokens, as they are sent."""
    if usage is None:
        return None
    return {
        "input_tokens": usage.input, "output_tokens": usage.output, "total_tokens": usage.input + usage.output,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write},
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
    }  # fmt: skip


def said_body(response: Response, created: int, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
    """A response object; `status` is empty for the one that the answer's end stands for."""
    why = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(response.finish)
    refused = any(isinstance(part, Text) and part.meta.get("refusal") for part in response.parts)
    whole = response.finish in ("stop", "tool_calls") or refused
    if not status:
        status = "completed" if whole else "incomplete"
    return {
        "id": response.id, "object": "response", "created_at": created, "status": status, "error": None,
        "incomplete_details": {"reason": why} if status == "incomplete" and why else None, "instructions": None,
        "model": response.model, "output": output, "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
        "text": {"format": {"type": "text"}}, "temperature": None, "top_p": None, "metadata": {},
        "usage": said_usage(response.usage),
    }  # fmt: skip
