"""JSON values while they are still being written: every partial value is a beginning of the whole one.

Open objects and arrays hold what is complete in them, and an open string its beginning; a number, a literal or a key is
not shown before its end is certain (who reads 1 may get 15). One pass over the text, whatever the pieces are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from palmette.core.errors import ConstraintError
from palmette.core.types import parts_of, value_of

__all__ = ["PartialJson", "is_beginning", "partial_values", "typed_partial"]

NOTHING: Any = object()
ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
SPACE = " \t\n\r"
ATOM = set("+-.0123456789eEtrufalsn")


class PartialJson:
    """Takes text piece by piece; `value` is what is certain so far (None before anything is).

    >>> reader = PartialJson()
    >>> for piece in ['{"name": "Ru', 'na", "age": 1', '5, "tags": [tr', 'ue']:
    ...     reader.push(piece)
    >>> reader.value, reader.complete
    ({'name': 'Runa', 'age': 15, 'tags': []}, False)
    """

    def __init__(self) -> None:
        self._root: Any = NOTHING
        self._stack: list[Any] = []  # open containers
        self._keys: list[str | None] = []  # the key that waits for its value, for each of them
        self._text: list[str] = []  # of the open string or atom
        self._mode = "value"  # value, string, escape, atom, after
        self._is_key = False
        self._read = 0

    @property
    def complete(self) -> bool:
        """Whether the value is closed (a bare number never is before something follows it)."""
        return self._root is not NOTHING and not self._stack and self._mode == "after"

    @property
    def value(self) -> Any:
        """The value so far. It grows as text comes in; copy it to keep a moment."""
        if self._mode in ("string", "escape") and not self._is_key:
            self._show(self._certain())
        return None if self._root is NOTHING else self._root

    def _certain(self) -> str:
        """The open string without an unfinished escape or half a pair of surrogates."""
        known = self._text[:-1] if self._mode == "escape" else self._text
        return "".join(known[:-1] if known and "\ud800" <= known[-1] <= "\udbff" else known)

    def push(self, text: str) -> None:
        """More text; raises ConstraintError where it is no JSON."""
        for character in text:
            self._take(character)
            self._read += 1

    def _take(self, c: str) -> None:
        if self._mode == "string":
            if c == '"':
                self._close_string()
            elif c == "\\":
                self._text.append(c)
                self._mode = "escape"
            else:
                self._text.append(c)
        elif self._mode == "escape":
            self._escape(c)
        elif self._mode == "atom" and c in ATOM:
            self._text.append(c)
        else:
            if self._mode == "atom":
                self._close_atom()
            if c not in SPACE:
                self._structure(c)

    def _structure(self, c: str) -> None:
        """A character outside of strings and atoms."""
        inside = self._stack[-1] if self._stack else None
        waiting = self._mode == "value"
        if c in "{[" and waiting and not self._wants_key():
            self._place({} if c == "{" else [])
        elif c in "}]" and isinstance(inside, dict if c == "}" else list) and self._may_close(inside):
            self._stack.pop()
            self._keys.pop()
            self._mode = "after"
        elif c == '"' and waiting:
            self._is_key = self._wants_key()
            self._mode, self._text = "string", []
        elif c == ":" and self._mode == "colon":
            self._mode = "value"
        elif c == "," and self._mode == "after" and inside is not None:
            self._mode = "value"
            self._keys[-1] = None
        elif waiting and c in ATOM and not self._wants_key():
            self._mode, self._text = "atom", [c]
        else:
            raise ConstraintError(f"character {self._read + 1}, {c!r}, does not continue a JSON value")

    def _may_close(self, inside: Any) -> bool:
        """After a value, or before the first."""
        return self._mode == "after" or (self._mode == "value" and not inside and self._keys[-1] is None)

    def _wants_key(self) -> bool:
        return bool(self._stack) and isinstance(self._stack[-1], dict) and self._keys[-1] is None

    def _escape(self, c: str) -> None:
        r"""Inside of \n or \uXXXX; the finished character stands in one piece, a pair of surrogates as one."""
        mark = self._text[-1]
        if mark == "\\" and c != "u":
            if c not in ESCAPES:
                raise ConstraintError(f"character {self._read + 1}: \\{c} is no escape of JSON")
            self._text[-1] = ESCAPES[c]
            self._mode = "string"
            return
        self._text[-1] = mark = mark + c
        if len(mark) == 6:
            self._text[-1] = json.loads(f'"{mark}"')
            if len(self._text) > 1 and "\ud800" <= self._text[-2][-1:] <= "\udbff" and self._text[-1] >= "\udc00":
                low = self._text.pop()
                self._text[-1] = (self._text[-1] + low).encode("utf-16", "surrogatepass").decode("utf-16")
            self._mode = "string"

    def _close_string(self) -> None:
        text = "".join(self._text)
        if self._is_key:
            if text in self._stack[-1]:
                raise ConstraintError(f"character {self._read + 1}: the key {text!r} is there already")
            self._keys[-1] = text
            self._mode = "colon"
        else:
            self._show(text)
            self._settle()

    def _close_atom(self) -> None:
        try:
            value = json.loads("".join(self._text))
        except json.JSONDecodeError:
            raise ConstraintError(f"{''.join(self._text)!r} before character {self._read + 1} is no value") from None
        self._show(value)
        self._settle()

    def _place(self, container: Any) -> None:
        self._show(container)
        if self._stack and isinstance(self._stack[-1], list):
            self._open_item = False
        self._stack.append(container)
        self._keys.append(None)
        self._mode = "value"

    _open_item = False  # the last element of the innermost array is an open string

    def _show(self, value: Any) -> None:
        """Put a value where the next one belongs; an open string replaces its own beginning."""
        if not self._stack:
            self._root = value
        elif isinstance(self._stack[-1], dict):
            self._stack[-1][self._keys[-1]] = value
        elif self._open_item:
            self._stack[-1][-1] = value
        else:
            self._stack[-1].append(value)
            self._open_item = self._mode in ("string", "escape")

    def _settle(self) -> None:
        self._open_item = False
        self._mode = "after"

    def close(self) -> Any:
        """The whole value; raises ConstraintError if something is still open."""
        if self._mode == "atom" and not self._stack:
            self._close_atom()
        if not self.complete:
            raise ConstraintError(f"the JSON value is still open after {self._read} characters")
        return self._root


def partial_values(pieces: Iterable[str]) -> Iterator[Any]:
    """The partial value after each piece of text (the same object, growing; copy it to keep a moment)."""
    reader = PartialJson()
    for piece in pieces:
        reader.push(piece)
        yield reader.value


def typed_partial(kind: Any, value: Any, whole: bool = False) -> Any:
    """A partial value with its closed parts as values of their types; what is open stays a plain dict, list or text.

    Args:
        kind: a type or a schema.
        value: a partial JSON value; what is open is the last part of it, and the last part of that.
        whole: whether it is complete.

    >>> import datetime
    >>> typed_partial(list[datetime.date], ["2026-01-31", "2026-0"])
    [datetime.date(2026, 1, 31), '2026-0']
    """
    if whole or value is None:
        return value_of(kind, value)
    inner = parts_of(kind, value)
    if inner is None:
        return value
    if isinstance(value, list):
        return [
            typed_partial(one, item, place + 1 < len(value))
            for place, (one, item) in enumerate(zip(inner, value, strict=True))
        ]
    last = next(reversed(value), None)
    return {name: typed_partial(inner[name], item, name != last) for name, item in value.items()}


def is_beginning(part: Any, whole: Any) -> bool:
    """Whether a partial value is a beginning of a whole one.

    >>> is_beginning({"a": "x", "b": [1]}, {"a": "xy", "b": [1, 2], "c": 3})
    True
    """
    if isinstance(part, str) and isinstance(whole, str):
        return whole.startswith(part)
    if isinstance(part, list) and isinstance(whole, list):
        return len(part) <= len(whole) and all(map(is_beginning, part, whole))
    if isinstance(part, dict) and isinstance(whole, dict):
        return list(part) == list(whole)[: len(part)] and all(is_beginning(v, whole[k]) for k, v in part.items())
    return part is None or (type(part) is type(whole) and bool(part == whole))
