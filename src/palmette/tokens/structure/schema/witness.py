"""Witnesses: short values that satisfy a part of a schema, built from its canonical form.

They are what plans are made of: a missing property, an item that an array still needs, the rest of a document. Every
value is checked against its place; that it is the shortest is aimed at, not promised.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from math import ceil, isfinite
from typing import Any

import numpy as np
from jsonschema_rs import canonical
from llguidance import LLMatcher

from palmette.core.errors import GrammarError
from palmette.core.scores import unpacked
from palmette.tokens.structure.bytewise import BYTES
from palmette.tokens.structure.grammar import grammar_constraint
from palmette.tokens.structure.schema.carrier import Notes
from palmette.tokens.structure.schema.cases import Case, Place, SchemaRules
from palmette.tokens.structure.schema.values import spelled

__all__ = ["NONE", "Witnesses"]

NONE = object()  # no value was found
FUEL = 3_000  # places one question may visit
PARTS = 4_000  # items or members that are added to one value at most
_PLAIN: Mapping[str, tuple[Any, ...]] = {
    "null": (None,),
    "boolean": (True, False),
    "integer": (0, 1),
    "number": (0, 1),
    "string": ("", "a"),
    "array": ([],),
    "object": ({},),
}
_NAMES = ("a", "b", "c", "A", "0", "_", "x-", "/", ".", "aa", "ab", "ac", "id", "$a")
_FORMATS: Mapping[str, str] = {
    "date-time": "2000-01-01T00:00:00Z",
    "date": "2000-01-01",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "a@b.c",
    "idn-email": "a@b.c",
    "hostname": "a",
    "idn-hostname": "a",
    "ipv4": "0.0.0.0",
    "ipv6": "::",
    "uuid": "00000000-0000-0000-0000-000000000000",
    "uri": "a:b",
    "uri-reference": "a",
    "iri": "a:b",
    "iri-reference": "a",
    "json-pointer": "",
    "relative-json-pointer": "0",
    "regex": "a",
    "uri-template": "a",
}


class Witnesses:
    """Finds short values for the places of one schema; what was found is kept."""

    def __init__(self, rules: SchemaRules) -> None:
        self._rules = rules
        self._found: dict[Any, Any] = {}
        self._open: set[Any] = set()
        self._fuel = FUEL

    def of(self, place: Place, fuel: int | None = None) -> Any:
        """A short value for a place, or NONE."""
        if fuel is not None:
            self._fuel = fuel
        node = place.node
        if node in self._found:
            return self._found[node]
        if node in self._open or self._fuel <= 0:
            return NONE
        self._open.add(node)
        self._fuel -= 1
        best, size = NONE, 1 << 60
        for case in place.cases or ():
            value = next((v for v in self.candidates(case) if place.accepts(v)), NONE)
            if value is not NONE and len(text := spelled(value)) < size:
                best, size = value, len(text)
        self._open.discard(node)
        if best is not NONE or (not self._open and self._fuel > 0):
            self._found[node] = best
        return best

    def candidates(self, case: Case) -> Iterator[Any]:
        """Values worth trying for one alternative, short ones first."""
        match case.view:
            case canonical.ConstView() as v:
                yield v.value
            case canonical.EnumView() as v:
                yield from sorted(v.values, key=lambda value: len(spelled(value)))
            case canonical.StringView() as v:
                yield from self._strings(case, v)
            case canonical.IntegerView() | canonical.NumberView() as v:
                yield from _numbers(v)
                yield from self._searched(case)
            case canonical.ArrayView():
                items = self.items(case, [])
                if items is not None:
                    yield items
            case canonical.ObjectView():
                yield from self._objects(case)
            case canonical.MultiTypeView() as v:
                yield from (value for name in _PLAIN for value in _PLAIN[name] if name in v.types)
            case canonical.TypedGroupView() as v:
                yield from _PLAIN[v.type_name]
                inner = self.of(self._rules.place(v.body))
                yield from () if inner is NONE else (inner,)
            case _:
                yield from (value for values in _PLAIN.values() for value in values)

    # -- arrays and objects: what is still missing ---------------------------------------------------------------------

    def items(self, case: Case, held: list[Any]) -> list[Any] | None:
        """Items that complete an array that holds some already; None where none were found."""
        view, added = case.view, list[Any]()
        if not isinstance(view, canonical.ArrayView):
            return []
        if int(view.min_items or 0) - len(held) > PARTS:
            return None
        for one, least in case.wanted_at_least:
            have = sum(one.accepts(value) for value in held)
            if least - have > PARTS:
                return None
            for _ in range(max(0, least - have)):
                value = self._wanted(case, one, [*held, *added])
                if value is NONE:
                    return None
                added.append(value)
        while len(held) + len(added) < int(view.min_items or 0):
            value = self._item(case, [*held, *added])
            if value is NONE:
                return None
            added.append(value)
        return added

    def _wanted(self, case: Case, one: Place, held: list[Any]) -> Any:
        """An item that counts as contained and fits its position."""
        position = case.inside(len(held))
        for value in self._several(one, held, case):
            if position is None or position.accepts(value):
                return value
        if position is not None:
            return next((v for v in self._several(position, held, case) if one.accepts(v)), NONE)
        return NONE

    def _item(self, case: Case, held: list[Any]) -> Any:
        position = case.inside(len(held))
        if position is None:
            position = self._rules.anything
        return next(self._several(position, held, case), NONE)

    def _several(self, place: Place, held: list[Any], case: Case) -> Iterator[Any]:
        """Values for a place; different from those held where all must differ."""
        first = self.of(place)
        if case.view.distinctness != canonical.Distinctness.ALL_DISTINCT:
            yield from () if first is NONE else (first,)
            return
        texts = {canonical.json.to_string(value) for value in held}
        others = (v for each in place.cases or () for v in self._many(each, len(held) + 2))
        for value in (first, *others):
            if value is not NONE and canonical.json.to_string(value) not in texts and place.accepts(value):
                yield value

    def _many(self, case: Case, count: int) -> Iterator[Any]:
        yield from self.candidates(case)
        view = case.view
        if isinstance(view, (canonical.IntegerView, canonical.NumberView)):
            start = _integer(view.minimum, 0)
            yield from range(start, start + 2 * count)
            stop = _integer(view.maximum, count)
            yield from range(stop, stop - 2 * count, -1)
        elif isinstance(view, canonical.StringView):
            least = int(view.min_length or 0)
            yield from (str(k).rjust(least, "a") for k in range(2 * count))
        elif isinstance(view, canonical.ArrayView):
            inner = case.inside(0)
            yield from ([k] for k in range(count) if inner is None or inner.accepts(k))
        elif not isinstance(view, (canonical.ConstView, canonical.EnumView)):
            yield from range(count)

    def members(self, case: Case, held: Mapping[str, Any]) -> dict[str, Any] | None:
        """Members that complete an object that holds some already, in the schema's order; None if there are none."""
        view = case.view
        if not isinstance(view, canonical.ObjectView):
            return {}
        names = [name for name in self._rules.lowering.order.sorted(view.required) if name not in held]
        added: dict[str, Any] = {}
        for name in names:
            value = self._member(case, name)
            if value is NONE:
                return None
            added[name] = value
        short = int(view.min_properties or 0) - len(held) - len(added)
        if short > PARTS:
            return None
        for name in self._spare(view) if short > 0 else ():
            if short > 0 and name not in held and name not in added:
                value = self._member(case, name)
                if value is not NONE:
                    added[name] = value
                    short -= 1
        if short > 0:
            return None
        return {name: added[name] for name in self._rules.lowering.order.sorted(added)}

    def _member(self, case: Case, name: str) -> Any:
        place = case.inside(name)
        return 0 if place is None else self.of(place)

    def names(self, case: Case) -> list[str]:
        """Names that an object may have."""
        return list(self._spare(case.view)) if isinstance(case.view, canonical.ObjectView) else list(_NAMES)

    def _spare(self, view: canonical.ObjectView) -> Iterator[str]:
        yield from self._rules.lowering.order.sorted(view.properties)
        names = None if view.property_names is None else self._rules.place(view.property_names)
        for case in [] if names is None else names.cases or ():
            yield from (v for v in self._many(case, int(view.min_properties or 0)) if isinstance(v, str))
        for pattern in view.pattern_properties:
            found = _shortest(spelled({"type": "string", "pattern": pattern}))
            yield from [] if found is NONE else [found]
        yield from (n for n in _NAMES if names is None or names.accepts(n))
        yield from (f"a{k}" for k in range(int(view.min_properties or 0)))

    def _objects(self, case: Case) -> Iterator[Any]:
        least = self.members(case, {})
        if least is None:
            return
        yield least
        for name in list(case.view.properties)[:32]:  # what depends on another property
            if name not in least:
                value = self._member(case, name)
                if value is not NONE:
                    whole = {**least, name: value}
                    yield {key: whole[key] for key in self._rules.lowering.order.sorted(whole)}

    # -- strings and numbers -------------------------------------------------------------------------------------------

    def _strings(self, case: Case, view: canonical.StringView) -> Iterator[str]:
        least = int(view.min_length or 0)
        if not view.patterns:
            yield from ("" if not least else "a" * min(least, 1 << 20), "a" * (least + 1), "0" * least)
        yield from (_FORMATS[name] for name in view.formats if name in _FORMATS)
        yield from self._searched(case)

    def _searched(self, case: Case) -> Iterator[Any]:
        """What a search through the grammar of this one part finds."""
        part = self._rules.lowering.part(case.node, Notes()) if case.node is not None else {}
        if part and "$ref" not in part:
            value = _shortest(spelled(part))
            yield from () if value is NONE else (value,)


def _integer(bound: Any, otherwise: int) -> int:
    return otherwise if bound is None or not isfinite(bound) else ceil(bound)


def _numbers(view: canonical.IntegerView | canonical.NumberView) -> Iterable[Any]:
    low, high = view.minimum, view.maximum
    steps = [m for m in view.multiple_of if m]
    found: list[Any] = [0, 1, 2, -1]
    for bound in (low, high):
        if bound is not None and isfinite(bound):
            whole = ceil(bound)
            found += [whole, whole + 1, whole - 1, float(bound)]
            turns = [(float(bound) / float(step), step) for step in steps]
            found += [(ceil(n) + k) * step for n, step in turns if isfinite(n) for k in (0, -1)]
    if low is not None and high is not None and isfinite(low) and isfinite(high):
        found.append((float(low) + float(high)) / 2)
    found += [0.5, *steps]
    plain = (int(v) if isfinite(v) and v == int(v) and abs(v) < 1e15 else float(v) for v in found)
    return sorted(dict.fromkeys(v for v in plain if isfinite(v)), key=lambda value: len(spelled(value)))


@lru_cache(maxsize=4096)
def _shortest(part: str, most: int = 1_500) -> Any:
    """The shortest value that the grammar of a scalar's schema allows, byte by byte, or NONE.

    States that allow the same bytes after as many bytes are searched once.
    """
    try:
        grammar = LLMatcher.grammar_from_json_schema(part, overrides={"whitespace_flexible": False})
        rule = grammar_constraint(BYTES, grammar, "part")
    except (GrammarError, ValueError):
        return NONE
    heap: list[tuple[int, int, bytes, Any]] = [(0, 0, b"", rule.start())]
    seen: set[tuple[int, bytes]] = set()
    serial = 0
    while heap and most > 0:
        most -= 1
        length, _, text, state = heapq.heappop(heap)
        if rule.accepts(state):
            try:
                return json.loads(text)
            except ValueError:
                continue
        words = rule.mask(state)
        mark = (length, words.tobytes())
        if mark in seen:
            continue
        seen.add(mark)
        ids = np.flatnonzero(unpacked(words, BYTES.vocabulary))
        for byte in _tried(ids[ids < 0x80].tolist() or ids[:2].tolist()):
            serial += 1
            heapq.heappush(heap, (length + 1, serial, text + bytes([byte]), rule.step(state, byte)))
    return NONE


def _tried(allowed: list[int]) -> list[int]:
    """Some of the bytes: the end of a string, letters and digits first, then others."""
    chosen = [b for b in b'"a0A1z-_./: ' if b in allowed]
    others = [b for b in allowed if b not in chosen and b != 0x5C]
    chosen += others[:: max(1, len(others) // 6)]
    return (chosen or allowed)[:14]
