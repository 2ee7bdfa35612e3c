"""Calls of tools and thoughts in the text of a model on this machine, found while the text still grows.

Models write calls in the way of their training: between <tool_call> and </tool_call> (Hermes, Qwen), as a list after
[TOOL_CALLS] (Mistral), or as one JSON object (Llama 3). What turns out to be no call is text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from palmette.core.events import Event
from palmette.core.message import Tool

__all__ = ["Splitter", "call_schema", "calls_in"]

_OPEN, _LIST = "<tool_call>", "[TOOL_CALLS]"
_BLOCK = re.compile(r"<tool_call>\s*(\{.*?\})\s*(?:</tool_call>|\Z)", re.DOTALL)
_THINK, _THOUGHT = "<think>", "</think>"

Call = tuple[str, str]  # name and arguments as JSON


def call_schema(tools: Sequence[Tool]) -> dict[str, Any]:
    """The schema of one call of one of these tools.

    >>> call_schema([Tool("now", "", {"type": "object"})])["anyOf"][0]["properties"]["name"]
    {'const': 'now'}
    """
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": tool.name}, "arguments": dict(tool.parameters)},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in tools
    ]
    return {"anyOf": calls}


def calls_in(text: str, names: Iterable[str]) -> tuple[str, list[Call]]:
    """What a text says beside its calls, and the calls of known tools in it.

    >>> calls_in('Look.<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>', ["f"])
    ('Look.', [('f', '{"a": 1}')])
    """
    known = set(names)
    blocks = _BLOCK.findall(text)
    if blocks:
        found = [call for block in blocks if (call := _read(_json(block), known)) is not None]
        return (text[: text.index(_OPEN)].rstrip(), found) if len(found) == len(blocks) else (text, [])
    before, _, after = text.partition(_LIST)
    value = _json(after or text)
    rows = value if isinstance(value, list) else [value]
    read = [_read(row, known) for row in rows]
    found = [call for call in read if call is not None]
    return (before.strip() if after else "", found) if found and len(found) == len(read) else (text, [])


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _read(value: Any, known: set[str]) -> Call | None:
    if not isinstance(value, dict) or value.get("name") not in known:
        return None
    given = value.get("arguments", value.get("parameters", {}))
    if isinstance(given, str):
        return str(value["name"]), given
    return str(value["name"]), json.dumps(given, ensure_ascii=False)


class Splitter:
    """Text as it comes into events: thoughts apart, and what may become a call held back until it is whole.

    Args:
        tools: names of the tools that may be called; none is looked for without them.
        thinks: whether a thought may stand at the beginning.
        trim: whether one space before the text belongs to the template.
        mark: what makes the ids of calls unique.
    """

    def __init__(self, tools: Sequence[str] = (), thinks: bool = False, trim: bool = False, mark: str = "") -> None:
        self._tools = list(tools)
        self._mark = mark
        self._held = ""
        self._started = not trim
        self._state = "unknown" if thinks else "text"
        self._called = False
        self._fresh = False

    def feed(self, text: str) -> list[Event]:
        """The events that are certain now."""
        self._held += text
        if not self._started and self._held:
            self._held, self._started = self._held.removeprefix(" "), True
        events: list[Event] = []
        if self._state in ("unknown", "thought"):
            events += self._thought()
        if self._state == "gap":
            self._held = self._held.lstrip()
            self._state = "text" if self._held else "gap"
        if self._state == "text":
            ready = self._ready()
            if ready:
                events.append(Event(ready))
        return events

    def close(self) -> list[Event]:
        """What was held back."""
        rest, self._held = self._held, ""
        if self._state == "thought":
            return [Event(reasoning=rest)] if rest else []
        if self._state == "gap":
            return []
        words, calls = calls_in(rest, self._tools) if self._tools else (rest, [])
        self._called = bool(calls)
        made = [Event(words)] if words else []
        return made + [Event(call=(i, f"call_{self._mark}{i}", *call)) for i, call in enumerate(calls)]

    @property
    def called(self) -> bool:
        """Whether there were calls, known when it is closed."""
        return self._called

    def _thought(self) -> list[Event]:
        if self._state == "unknown":
            start = self._held.lstrip()
            if start.startswith(_THINK):
                self._held, self._state, self._fresh = start[len(_THINK) :], "thought", True
            elif _THINK.startswith(start):
                return []
            else:
                self._state = "text"
                return []
        if self._fresh:  # line breaks at the borders of a thought belong to the tags
            self._held = self._held.lstrip("\n")
            self._fresh = not self._held
        at = self._held.find(_THOUGHT)
        if at >= 0:
            said, self._held, self._state = self._held[:at].rstrip("\n"), self._held[at + len(_THOUGHT) :], "gap"
            return [Event(reasoning=said)] if said else []
        certain = self._held[: len(self._held) - _overlap(self._held, _THOUGHT)].rstrip("\n")
        self._held = self._held[len(certain) :]
        return [Event(reasoning=certain)] if certain else []

    def _ready(self) -> str:
        """The text that no call can begin in any more."""
        if not self._tools:
            ready, self._held = self._held, ""
            return ready
        if self._held.lstrip()[:1] in ("{", "["):
            return ""
        for opening in (_OPEN, _LIST):
            at = self._held.find(opening)
            if at >= 0:
                ready, self._held = self._held[:at], self._held[at:]
                return ready
        keep = max(_overlap(self._held, _OPEN), _overlap(self._held, _LIST))
        if not self._held.strip():
            keep = len(self._held)
        ready = self._held[: len(self._held) - keep]
        self._held = self._held[len(ready) :]
        return ready


def _overlap(text: str, opening: str) -> int:
    return next((n for n in range(min(len(text), len(opening) - 1), 0, -1) if text.endswith(opening[:n])), 0)
