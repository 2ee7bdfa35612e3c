"""Which tokens of a mask must be looked at one by one, and which states need no search."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from jsonschema_rs import canonical

from palmette.core.engine import BitMask
from palmette.core.masks import packed
from palmette.tokens.structure.schema.cases import SchemaRules
from palmette.tokens.structure.schema.plan import Vocabulary
from palmette.tokens.structure.schema.stream import (
    AFTER,
    DONE,
    FIRST_KEY,
    KEY,
    KEY_ESCAPE,
    KEY_TEXT,
    NUMBER,
    STRING,
    STRING_ESCAPE,
    WORD,
    Frame,
    Text,
)
from palmette.tokens.structure.schema.trust import DEEP, Trust
from palmette.tokens.structure.schema.values import spelled

__all__ = ["Suspects"]

_QUOTED = (STRING, STRING_ESCAPE, KEY_TEXT, KEY_ESCAPE)  # only a quotation mark ends what is open here
_SCALAR = (STRING, STRING_ESCAPE, NUMBER, WORD)
_BETWEEN = (AFTER, KEY, FIRST_KEY, KEY_TEXT, KEY_ESCAPE, DONE)  # no value has begun


class Suspects:
    """Finds the tokens that may close a value wrongly, repeat a key or an item, or leave the range of numbers."""

    def __init__(self, rules: SchemaRules, vocabulary: Vocabulary, trust: Trust) -> None:
        self._rules = rules
        self._vocabulary = vocabulary
        self._trust = trust

    def sound(self, text: Text) -> bool:
        """Whether a state is known to have an end without a search."""
        frame = text.frame
        if not (self._rules.most_trust if frame is None else frame.trust):
            return False
        if text.mode in _BETWEEN or (frame is not None and frame.cases is None):
            return True
        key = None if frame is None else frame.count if frame.key is None else frame.key
        place = self._rules.root if frame is None or key is None else frame.cases[0].inside(key)
        if place is None or self._trust.place(place):
            return True
        return text.mode in _SCALAR and self._trust.scalar(place)

    def of(self, text: Text, words: BitMask) -> BitMask | None:
        """The suspects among the tokens that the grammar allows; None where there are none."""
        vocabulary, frame = self._vocabulary, text.frame
        some: BitMask | None = None
        if self._rules.inexact and not self.sound(text):
            some = words & self._closers(text)
        elif frame is not None:
            some = words & self._twice(text, frame)
            if self._rules.inexact and frame.trust < DEEP:
                some |= words & vocabulary.openers & self._closers(text, vocabulary.openers)
        if text.mode == NUMBER:
            odd = b"e" in text.raw or b"E" in text.raw or len(text.raw) > 250
            risky = words if odd else words & vocabulary.exponents
            some = risky if some is None else some | risky
        return some

    def _closers(self, text: Text, others: BitMask | None = None) -> BitMask:
        """Tokens that may close a value; `others` where more than a quotation mark can."""
        if text.mode in _QUOTED:
            return self._vocabulary.quotes
        return self._vocabulary.closers if others is None else others

    def _twice(self, text: Text, frame: Frame) -> BitMask:
        """Tokens that may repeat a key of an object, or an item where all must differ."""
        vocabulary = self._vocabulary
        some = np.zeros_like(vocabulary.closers)
        if frame.keys:
            some |= vocabulary.several if text.mode in (STRING, STRING_ESCAPE) else vocabulary.quoted
            if text.mode in (KEY_TEXT, KEY_ESCAPE):
                some |= self._ending(frame.keys, text) | vocabulary.several
        inner: Frame | None = None
        at: Frame | None = frame
        while at is not None:
            if at.cases and isinstance(at.cases[0].view, canonical.ArrayView) and _unique(at.cases[0].view):
                some |= self._repeating(text, at, inner)
            inner, at = at, at.above
        return some

    def _repeating(self, text: Text, frame: Frame, inner: Frame | None) -> BitMask:
        """Tokens that may close an item of `frame` that it has already; `inner` is the item, if it is a container."""
        vocabulary = self._vocabulary
        if inner is None and text.mode == STRING:
            held = (value for value in _members(frame) if isinstance(value, str))
            return self._ending(held, text) | vocabulary.several
        if inner is None or any(_may_become(inner, value) for value in _members(frame)):
            return self._closers(text)
        return vocabulary.several

    def _ending(self, values: Iterable[str], text: Text) -> BitMask:
        """Tokens that end the string or key that is open with one of some values."""
        vocabulary, raw = self._vocabulary, text.raw
        ids: list[int] = []
        for value in values:
            said = spelled(value).encode()
            if text.mode == KEY_ESCAPE or b"\\" in raw or b"\\" in said:
                return vocabulary.quotes
            if said.startswith(raw):
                ids += vocabulary.heads.get(said[len(raw) : -1], ())
        return packed(ids, vocabulary.size)


def _unique(view: canonical.ArrayView) -> bool:
    return view.distinctness == canonical.Distinctness.ALL_DISTINCT


def _members(frame: Frame) -> Iterable[object]:
    link = frame.held
    while link is not None:
        yield link[2]
        link = link[0]


def _may_become(frame: Frame, value: object) -> bool:
    """Whether an open container may still close as `value`."""
    so_far = frame.value()
    if isinstance(so_far, list):
        return isinstance(value, list) and value[: len(so_far)] == so_far
    return isinstance(value, dict) and all(name in value and value[name] == so_far[name] for name in so_far)
