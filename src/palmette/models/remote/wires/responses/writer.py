"""A streamed answer in the typed, numbered events of OpenAI's Responses API."""

from __future__ import annotations

import time
from typing import Any

from palmette.core.events import Collector, Event
from palmette.core.message import Reasoning, Text, TokenScore
from palmette.models.remote.wires.base import Frame, spread
from palmette.models.remote.wires.openai_scores import scored
from palmette.models.remote.wires.responses.answer import said_body
from palmette.models.remote.wires.responses.items import said_part, said_thought

__all__ = ["ResponsesWriter"]


class _Item:
    """An item that still grows; `parts` are a message's texts, each (text, meta, scores)."""

    def __init__(self, kind: str, place: int, row: dict[str, Any]) -> None:
        self.kind, self.place, self.row = kind, place, row
        self.parts: list[tuple[list[str], dict[str, Any], list[TokenScore]]] = []
        self.texts: list[str] = []  # of arguments, or of a thought
        self.meta: dict[str, Any] = {}
        self.signature = ""
        self.scores: list[TokenScore] = []


class ResponsesWriter:
    """Every item is announced, grows and is closed; calls may grow side by side, so they are closed at the end."""

    def __init__(self, model: str) -> None:
        self._model, self._created = model, int(time.time())
        self._id = ""
        self._number = 0
        self._frames: list[Frame] = []
        self._items: list[_Item] = []
        self._open: _Item | None = None
        self._calls: dict[int, _Item] = {}
        self._answer = Collector()
        self._late: list[TokenScore] = []
        self._begun = False

    def write(self, event: Event) -> list[Frame]:
        """See Writer."""
        return [frame for one in spread(event) for frame in self._step(one)]

    def _step(self, event: Event) -> list[Frame]:
        if event.index:  # this API gives one answer
            return []
        self._answer.add(event)
        self._begin()
        scores = event.logprobs
        thinks = bool(event.reasoning or event.signature or event.thinks)
        if thinks:
            self._think(event)
        if event.text or (event.new and event.call is None and not thinks):
            self._say(event, scores)
            scores = ()
        if event.call is not None:
            self._ask(event, scores)
            scores = ()
        if scores:
            self._score(scores)
        return self._taken()

    def close(self) -> list[Frame]:
        """See Writer."""
        self._begin()
        self._shut()
        for item in self._calls.values():
            self._end(item)
        self._calls = {}
        output = [item.row for item in self._items]
        if self._late:
            self._keep_late(output)
        body = said_body(self._answer.response, self._created, "", output)
        body = {**body, "model": body["model"] or self._model}
        self._send(f"response.{body['status']}", response=body)
        return self._taken()

    # -- what is sent --------------------------------------------------------------------------------------------------

    def _send(self, kind: str, **fields: Any) -> None:
        self._frames.append((kind, {"type": kind, "sequence_number": self._number, **fields}))
        self._number += 1

    def _grow(self, kind: str, item: _Item, **fields: Any) -> None:
        self._send(f"response.{kind}", item_id=item.row["id"], output_index=item.place, **fields)

    def _taken(self) -> list[Frame]:
        taken, self._frames = self._frames, []
        return taken

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            answer = self._answer.response
            self._id = answer.id
            for kind in ("created", "in_progress"):
                body = {**said_body(answer, self._created, "in_progress", []), "usage": None}
                self._send(f"response.{kind}", response={**body, "model": answer.model or self._model})

    # -- items ---------------------------------------------------------------------------------------------------------

    def _start(self, kind: str, prefix: str, mark: Any, row: dict[str, Any]) -> _Item:
        self._shut()
        place = len(self._items)
        name = str(mark or f"{prefix}_{self._id.removeprefix('resp_') or 'answer'}_{place}")
        item = _Item(kind, place, {"id": name, "type": kind, "status": "in_progress", **row})
        self._items.append(item)
        self._send("response.output_item.added", output_index=place, item=dict(item.row))
        if kind != "function_call":
            self._open = item
        return item

    def _think(self, event: Event) -> None:
        meta = dict(event.meta or {})
        item = self._open
        if item is None or item.kind != "reasoning" or event.new:
            item = self._start("reasoning", "rs", meta.get("id"), {"summary": []})
        if event.reasoning and not item.texts:
            self._grow("reasoning_summary_part.added", item, summary_index=0, part={"type": "summary_text", "text": ""})
        if event.reasoning:
            item.texts.append(event.reasoning)
            self._grow("reasoning_summary_text.delta", item, summary_index=0, delta=event.reasoning)
        item.signature += event.signature
        item.meta.update(meta)

    def _say(self, event: Event, scores: tuple[TokenScore, ...]) -> None:
        meta = dict(event.meta or {}) if event.call is None else {}
        item, refusal = self._open, bool(meta.get("refusal"))
        if item is None or item.kind != "message" or meta.get("id", item.row["id"]) != item.row["id"]:
            phase = {"phase": meta["phase"]} if meta.get("phase") else {}
            item = self._start("message", "msg", meta.get("id"), {"role": "assistant", "content": [], **phase})
            item.row["content"] = []
        if event.new or not item.parts:
            self._end_part(item)
            item.parts.append(([], meta, []))
            self._grow("content_part.added", item, content_index=len(item.parts) - 1, part=_empty(refusal))
        texts, known, kept = item.parts[-1]
        known.update(meta)
        texts.append(event.text)
        kept += scores
        if event.text or scores:
            kind, more = ("refusal.delta", {}) if refusal else ("output_text.delta", {"logprobs": _rows(scores)})
            self._grow(kind, item, content_index=len(item.parts) - 1, delta=event.text, **more)

    def _ask(self, event: Event, scores: tuple[TokenScore, ...]) -> None:
        assert event.call is not None
        place, key, name, more = event.call
        item = self._calls.get(place)
        if item is None:
            row = {"call_id": key, "name": name, "arguments": ""}
            item = self._calls[place] = self._start("function_call", "fc", (event.meta or {}).get("id"), row)
        item.texts.append(more)
        item.scores += scores
        if more or scores:
            extension = {"logprobs": _rows(scores)} if scores else {}
            self._grow("function_call_arguments.delta", item, delta=more, **extension)

    def _score(self, scores: tuple[TokenScore, ...]) -> None:
        """Scores that came without a text of their own go to what is open."""
        if self._open is not None and self._open.parts:
            self._say(Event(), scores)
        elif self._calls:
            self._ask(Event(call=(max(self._calls), "", "", "")), scores)
        else:
            self._late += scores

    def _keep_late(self, output: list[dict[str, Any]]) -> None:
        for item in output:
            for row in item.get("content", ()):
                if row["type"] == "output_text":
                    row["logprobs"] += _rows(tuple(self._late))
                    return

    # -- ends ----------------------------------------------------------------------------------------------------------

    def _shut(self) -> None:
        if self._open is not None:
            item, self._open = self._open, None
            self._end(item)

    def _end_part(self, item: _Item) -> None:
        """A message's text is complete."""
        index = len(item.parts) - 1
        if index < 0 or len(item.row["content"]) > index:
            return
        texts, meta, scores = item.parts[index]
        part = said_part(Text("".join(texts), meta))
        if part["type"] == "refusal":
            self._grow("refusal.done", item, content_index=index, refusal=part["refusal"])
        else:
            part["logprobs"] = _rows(tuple(scores))
            self._grow("output_text.done", item, content_index=index, text=part["text"], logprobs=part["logprobs"])
        self._grow("content_part.done", item, content_index=index, part=part)
        item.row["content"].append(part)

    def _end(self, item: _Item) -> None:
        said = "".join(item.texts)
        if item.kind == "message":
            self._end_part(item)
        elif item.kind == "function_call":
            item.row["arguments"] = said
            self._grow("function_call_arguments.done", item, name=item.row["name"], arguments=said)
            if item.scores:
                item.row["logprobs"] = _rows(tuple(item.scores))
        else:
            if said:
                self._grow("reasoning_summary_text.done", item, summary_index=0, text=said)
                part = {"type": "summary_text", "text": said}
                self._grow("reasoning_summary_part.done", item, summary_index=0, part=part)
            item.row |= said_thought(Reasoning(said, item.signature, {**item.meta, "id": item.row["id"]}))
        item.row["status"] = "completed"
        self._send("response.output_item.done", output_index=item.place, item=dict(item.row))


def _empty(refusal: bool) -> dict[str, Any]:
    if refusal:
        return {"type": "refusal", "refusal": ""}
    return {"type": "output_text", "text": "", "annotations": [], "logprobs": []}


def _rows(scores: tuple[TokenScore, ...]) -> list[dict[str, Any]]:
    return [scored(score) for score in scores]
