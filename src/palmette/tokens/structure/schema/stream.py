"""JSON text as it is written: an immutable state after every prefix, with the values that have closed so far.

A state knows its open arrays and objects and the scalar it is in. Whenever a value closes, the rules are asked; a
prefix that no valid document begins with (as far as the rules see), or that repeats a key, has no state.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any, Protocol

__all__ = [
    "AFTER",
    "COLON",
    "DONE",
    "EMPTY",
    "FIRST_KEY",
    "FIRST_VALUE",
    "KEY",
    "KEY_ESCAPE",
    "KEY_TEXT",
    "NUMBER",
    "STRING",
    "VALUE",
    "WORD",
    "Frame",
    "Rules",
    "Text",
    "ended",
    "feed",
    "rest_of_character",
]

# What comes next. FIRST_* also take the closing bracket; *_ESCAPE follow a backslash.
VALUE, FIRST_VALUE, KEY, FIRST_KEY, COLON, AFTER, STRING, STRING_ESCAPE, KEY_TEXT, KEY_ESCAPE, NUMBER, WORD, DONE = (
    range(13)
)
_SPACE = b" \t\n\r"
_STOP = re.compile(rb'["\\]')
_DIGITS = re.compile(rb"[0-9+\-.eE]+")
_LETTERS = re.compile(rb"[a-z]+")
_WORDS = {b"true": True, b"false": False, b"null": None}
_LONGEST = 4000  # digits of a number; Python reads no integer of more than 4300


class Rules(Protocol):
    """What a closing value must pass. Cases are what may still hold of an open container; None means anything."""

    def opened(self, frame: Frame | None, kind: int) -> tuple[Any, int]:
        """The cases of a container that opens inside `frame`, and how far the mask is trusted in it."""
        ...

    def member(self, frame: Frame, value: Any) -> tuple[bool, Any]:
        """Whether `value` may close as the next member of `frame`, and the cases that are left."""
        ...

    def whole(self, value: Any) -> bool:
        """Whether `value` may be the document."""
        ...


@dataclass(frozen=True, slots=True)
class Frame:
    """An open array or object. `held` links its closed members, the last one first: (before, key, value)."""

    above: Frame | None
    kind: int  # the opening bracket
    cases: Any
    held: tuple[Any, str | None, Any] | None = None
    count: int = 0
    key: str | None = None
    keys: frozenset[str] = frozenset()
    trust: int = 0  # how far the rules trust the mask here

    def value(self) -> Any:
        """The array or object of the closed members."""
        members = []
        link = self.held
        while link is not None:
            members.append(link[1:])
            link = link[0]
        if self.kind == 0x5B:
            return [value for _, value in reversed(members)]
        return dict(reversed(members))


@dataclass(frozen=True, slots=True)
class Text:
    """The state after a prefix: innermost open container, what comes next, and the scalar's text so far."""

    frame: Frame | None = None
    mode: int = VALUE
    raw: bytes = b""

    @property
    def depth(self) -> int:
        """How many containers are open."""
        count, frame = 0, self.frame
        while frame is not None:
            count, frame = count + 1, frame.above
        return count


EMPTY = Text()


def feed(text: Text, data: bytes, rules: Rules) -> Text | None:
    """The state after more bytes, or None where no valid document goes on like this."""
    at: Text | None = text
    i = 0
    while i < len(data):
        assert at is not None
        mode = at.mode
        if mode in (STRING, KEY_TEXT):
            stop = _STOP.search(data, i)
            end = len(data) if stop is None else stop.end()
            raw = at.raw + data[i:end]
            i = end
            if stop is None:
                at = Text(at.frame, mode, raw)
            elif data[end - 1] == 0x5C:
                at = Text(at.frame, mode + 1, raw)
            else:
                at = _string(at, raw, rules)
        elif mode in (STRING_ESCAPE, KEY_ESCAPE):
            at = Text(at.frame, mode - 1, at.raw + data[i : i + 1])
            i += 1
        elif mode in (NUMBER, WORD):
            run = (_DIGITS if mode == NUMBER else _LETTERS).match(data, i)
            if run is not None:
                at, i = Text(at.frame, mode, at.raw + run[0]), run.end()
                if not _plausible(at):
                    return None
            else:
                at = _scalar(at, rules)  # the byte itself comes next
        else:
            at = _structure(at, data[i], rules)
            i += 1
        if at is None:
            return None
    return at


def ended(text: Text, rules: Rules) -> bool:
    """Whether the text is a whole document that the rules let end."""
    if text.frame is None and text.mode in (NUMBER, WORD):
        closed = _scalar(text, rules)
        return closed is not None and closed.mode == DONE
    return text.mode == DONE


def rest_of_character(raw: bytes) -> bytes:
    """Bytes that complete the character that a text was cut in.

    >>> rest_of_character("aé".encode()[:-1])
    b'\\x80'
    """
    for back in range(1, min(4, len(raw) + 1)):
        lead = raw[-back]
        if lead >= 0xC0:
            missing = (1 if lead < 0xE0 else 2 if lead < 0xF0 else 3) - (back - 1)
            first = {0xE0: b"\xa0", 0xF0: b"\x90"}.get(lead, b"\x80") if back == 1 else b"\x80"
            return (first + b"\x80\x80")[: max(0, missing)]
        if lead < 0x80:
            break
    return b""


def _plausible(text: Text) -> bool:
    """Whether a number can still be a finite one."""
    raw = text.raw
    if text.mode != NUMBER or (len(raw) < 300 and b"e" not in raw and b"E" not in raw):
        return True
    try:
        return len(raw) <= _LONGEST and abs(float(raw)) != float("inf")
    except ValueError:
        return True  # ends in an e or a sign


def _structure(at: Text, byte: int, rules: Rules) -> Text | None:
    """A byte between scalars."""
    frame, mode = at.frame, at.mode
    if byte in _SPACE:
        return at
    if mode in (VALUE, FIRST_VALUE):
        return _begin(at, byte, rules)
    if mode == DONE or frame is None:
        return None
    if mode in (KEY, FIRST_KEY) and byte == 0x22:
        return Text(frame, KEY_TEXT, b'"')
    if mode == COLON and byte == 0x3A:
        return Text(frame, VALUE)
    if mode == AFTER and byte == 0x2C:
        return Text(frame, VALUE if frame.kind == 0x5B else KEY)
    if mode in (AFTER, FIRST_KEY) and byte == frame.kind + 2:
        return _close(frame.above, frame.value(), rules)
    return None


def _begin(at: Text, byte: int, rules: Rules) -> Text | None:
    if byte == 0x22:
        return Text(at.frame, STRING, b'"')
    if byte in b"[{":
        cases, trust = rules.opened(at.frame, byte)
        inner = Frame(at.frame, byte, cases, trust=trust)
        return Text(inner, FIRST_VALUE if byte == 0x5B else FIRST_KEY)
    if byte == 0x5D and at.mode == FIRST_VALUE and at.frame is not None:
        return _close(at.frame.above, [], rules)
    if byte in b"-0123456789":
        return Text(at.frame, NUMBER, bytes([byte]))
    if byte in b"tfn":
        return Text(at.frame, WORD, bytes([byte]))
    return None


def _string(at: Text, raw: bytes, rules: Rules) -> Text | None:
    try:
        value = json.loads(raw)
        value.encode()  # a lone surrogate is no text
    except ValueError:
        return None
    if at.mode == STRING:
        return _close(at.frame, value, rules)
    frame = at.frame
    assert frame is not None
    if value in frame.keys:
        return None
    return Text(replace(frame, key=value, keys=frame.keys | {value}), COLON)


def _scalar(at: Text, rules: Rules) -> Text | None:
    if at.mode == WORD:
        return _close(at.frame, _WORDS[at.raw], rules) if at.raw in _WORDS else None
    try:
        return _close(at.frame, json.loads(at.raw), rules)
    except ValueError:
        return None


def _close(frame: Frame | None, value: Any, rules: Rules) -> Text | None:
    """A value has closed inside `frame`."""
    if frame is None:
        return Text(None, DONE) if rules.whole(value) else None
    fine, cases = rules.member(frame, value)
    if not fine:
        return None
    held = (frame.held, frame.key, value)
    return Text(Frame(frame.above, frame.kind, cases, held, frame.count + 1, None, frame.keys, frame.trust), AFTER)
