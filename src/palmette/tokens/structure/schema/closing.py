"""Closings: the bytes that complete a document from a prefix, built from what is open and what is still missing.

Where a prefix stands inside a string of limited form or a number that cannot end, there is none: a search goes on from
there token by token until there is one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from jsonschema_rs import canonical

from palmette.tokens.structure.schema.cases import Case, Place, SchemaRules
from palmette.tokens.structure.schema.stream import (
    AFTER,
    COLON,
    DONE,
    FIRST_KEY,
    FIRST_VALUE,
    KEY,
    KEY_TEXT,
    NUMBER,
    STRING,
    VALUE,
    WORD,
    Frame,
    Text,
    rest_of_character,
)
from palmette.tokens.structure.schema.values import spelled
from palmette.tokens.structure.schema.witness import NONE, Witnesses

__all__ = ["Closings"]

_WAYS = 6  # ways to end one open part that are tried
_WORDS = ("true", "false", "null")

_BYTES = ("utf-8", "surrogateescape")  # parts of a character travel in a text as surrogates

# A way to end what is innermost: the bytes, and the frame after it.
Way = tuple[str, Frame | None]


class Closings:
    """Completes documents of one schema."""

    def __init__(self, rules: SchemaRules) -> None:
        self.witnesses = Witnesses(rules)
        self._rules = rules

    def of(self, text: Text) -> Iterator[bytes]:
        """Bytes that may complete the document after a prefix, likely ones first; each is to be checked."""
        chain: list[Frame] = []
        frame = text.frame
        while frame is not None:
            chain.append(frame)
            frame = frame.above
        opened = self._opened(chain[::-1])
        for said, inner in islice(self._inner(text, opened), _WAYS):
            if inner is None:
                yield said.encode(*_BYTES)
            else:
                for whole in self._outwards(said, inner, opened, len(opened) - 1):
                    yield whole.encode(*_BYTES)

    def _opened(self, frames: Sequence[Frame]) -> list[tuple[Case, ...]]:
        """For each open container, the outermost first, the alternatives that its closed members leave."""
        out: list[tuple[Case, ...]] = []
        places: Iterable[Place] = [self._rules.root]
        for frame in frames:
            cases = frame.cases
            if cases is None:
                cases = tuple(c for p in places for c in p.cases or () if c.opens(frame.kind) and _fits(c, frame))
            out.append(cases)
            places = self._places(cases, frame)
        return out

    def _places(self, cases: Iterable[Case], frame: Frame) -> list[Place]:
        """Where the next member of a container may stand."""
        key = frame.count if frame.kind == 0x5B else frame.key
        found = [] if key is None else [case.inside(key) for case in cases]
        return [place for place in found if place is not None] or [self._rules.anything]

    def _outwards(self, said: str, frame: Frame, opened: list[tuple[Case, ...]], level: int) -> Iterator[str]:
        """Close containers from `frame` on; alternatives are tried at the innermost level, elsewhere the shortest."""
        ways = sorted(self._ends(frame, opened[level]), key=lambda way: len(way[0]))
        for text, value in ways[: _WAYS if level == len(opened) - 1 else 2]:
            above = frame.above
            if above is None:
                yield said + text
            else:
                yield from islice(self._outwards(said + text, _longer(above, value), opened, level - 1), 2)

    def _ends(self, frame: Frame, cases: Sequence[Case]) -> Iterator[tuple[str, Any]]:
        """How a container may be closed: the text, and its value."""
        held = frame.value()
        if not cases:
            yield ("]" if frame.kind == 0x5B else "}"), held
        for case in cases[:16]:
            if frame.kind == 0x5B:
                items = self.witnesses.items(case, held)
                if items is not None:
                    yield _joined(bool(held), map(spelled, items)) + "]", held + items
            else:
                members = self.witnesses.members(case, held)
                if members is not None:
                    pairs = (f"{spelled(name)}:{spelled(value)}" for name, value in members.items())
                    yield _joined(bool(held), pairs) + "}", {**held, **members}

    # -- what is innermost ---------------------------------------------------------------------------------------------

    def _inner(self, text: Text, opened: list[tuple[Case, ...]]) -> Iterator[Way]:
        """Ways to end the scalar or key that a prefix is in, so that its container can be closed."""
        frame, mode = text.frame, text.mode
        cases = opened[-1] if opened else ()
        places = [self._rules.root] if frame is None else self._places(cases, frame)
        if mode in (AFTER, FIRST_KEY, DONE):
            yield "", frame
        elif mode == FIRST_VALUE:
            yield "", frame
            yield from self._values(frame, places)
        elif mode == VALUE:
            yield from self._values(frame, places)
        elif mode == COLON:
            yield from ((":" + said, inner) for said, inner in self._values(frame, places))
        elif mode in (KEY, KEY_TEXT) and frame is not None:
            yield from self._keys(frame, cases, text.raw if mode == KEY_TEXT else b"")
        elif mode == STRING:
            yield from self._strings(frame, places, text.raw)
        elif mode == WORD:
            word = text.raw.decode()
            yield from ((w[len(word) :], _with(frame, json.loads(w))) for w in _WORDS if w.startswith(word))
        elif mode == NUMBER:
            yield from self._numbers(frame, places, text.raw.decode())

    def _values(self, frame: Frame | None, places: Iterable[Place]) -> Iterator[Way]:
        for place in places:
            value = self.witnesses.of(place)
            if value is not NONE:
                yield spelled(value), _with(frame, value)

    def _keys(self, frame: Frame, cases: Sequence[Case], raw: bytes) -> Iterator[Way]:
        """Keys that go on as they began: those still missing, those the schema names, the one that ends here."""
        held = frame.value()
        names: dict[str, None] = {}
        for case in cases:
            names |= dict.fromkeys(self.witnesses.members(case, held) or ())
        for case in cases:
            names |= dict.fromkeys(self.witnesses.names(case))
        rest = _text(rest_of_character(raw))
        begun = _text(raw) if not rest else _text(raw + rest.encode(*_BYTES))
        own = _string(begun + '"')
        if own is not None:
            names[own] = None
        for name in names:
            said = spelled(name)
            if name not in held and said.startswith(begun):
                inner = replace(frame, key=name)
                for text, after in islice(self._values(inner, self._places(cases, inner)), 2):
                    yield f"{rest}{said[len(begun) :]}:{text}", after

    def _strings(self, frame: Frame | None, places: Iterable[Place], raw: bytes) -> Iterator[Way]:
        rest = rest_of_character(raw)
        own = _string(_text(raw + rest) + '"')
        for place in places:
            for case in place.cases or ():
                if isinstance(case.view, (canonical.ConstView, canonical.EnumView)):
                    values = [v for v in self.witnesses.candidates(case) if isinstance(v, str)]
                    yield from _continued(values, _text(raw), frame)
                elif own is not None and isinstance(case.view, canonical.StringView):
                    short = max(0, int(case.view.min_length or 0) - len(own))
                    if short < 1 << 20:
                        yield _text(rest) + "a" * short + '"', _with(frame, own + "a" * short)
        if own is not None:
            yield _text(rest) + '"', _with(frame, own)

    def _numbers(self, frame: Frame | None, places: Iterable[Place], begun: str) -> Iterator[Way]:
        for more in ("", "0", "1", "5"):
            try:
                value = json.loads(begun + more)
            except ValueError:
                continue
            if any(place.accepts(value) for place in places):
                yield more, _with(frame, value)


def _fits(case: Case, frame: Frame) -> bool:
    """Whether the closed members of a container do not contradict an alternative."""
    link, place = frame.held, frame.count
    while link is not None:
        link, key, value = link
        place -= 1
        inner = case.inside(place if key is None else key)
        if inner is not None and not inner.accepts(value):
            return False
    return True


def _with(frame: Frame | None, value: Any) -> Frame | None:
    """What a prefix stands in once a value has closed there; None for the document itself."""
    return None if frame is None else _longer(frame, value)


def _longer(frame: Frame, value: Any) -> Frame:
    """The container with one more member."""
    keys = frame.keys if frame.key is None else frame.keys | {frame.key}
    return replace(frame, held=(frame.held, frame.key, value), count=frame.count + 1, key=None, keys=keys)


def _continued(values: Iterable[str], begun: str, frame: Frame | None) -> Iterator[Way]:
    for value in values:
        said = spelled(value)
        if said.startswith(begun):
            yield said[len(begun) :], _with(frame, value)


def _text(data: bytes) -> str:
    return data.decode(*_BYTES)


def _joined(after: bool, parts: Iterable[str]) -> str:
    text = ",".join(parts)
    return "," + text if after and text else text


def _string(said: str) -> str | None:
    """The value of a JSON string, if the text is one."""
    try:
        value = json.loads(said)
        value.encode()
    except ValueError:
        return None
    return str(value)
