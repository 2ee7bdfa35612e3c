"""Whether a text is a document of a schema, in any spelling: what a model could write, judged without a model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from llguidance import LLMatcher

from palmette.tokens.structure.bytewise import BYTES
from palmette.tokens.structure.schema.constraint import SchemaConstraint, schema_constraint
from palmette.tokens.structure.schema.report import Report
from palmette.tokens.structure.schema.values import plain, spelled

__all__ = ["Check"]

_ORDERS = 8  # orders of one object's properties that are tried
_TRIES = 2_000  # objects that one question may look at


class Check:
    """Judges texts by the constraint that a model writes under, over single bytes instead of a model's tokens.

    Args:
        schema: a schema, or its JSON text.
        options: dialect, registry, formats and spaced of `schema_constraint`, whose errors it raises.
    """

    def __init__(self, schema: Mapping[str, Any] | bool | str, **options: Any) -> None:
        self._rule: SchemaConstraint = schema_constraint(BYTES, schema, **options)

    @property
    def report(self) -> Report:
        """How each keyword of the schema is enforced."""
        return self._rule.report

    @property
    def schema(self) -> Any:
        """The schema."""
        return self._rule.compiled.source.schema

    def exactly(self, text: str) -> bool:
        """Whether a model could write just this text."""
        return self._rule.accepts_text(text)

    def accepts(self, text: str) -> bool:
        """Whether a model could write the value of this text.

        White space, the order of properties, escapes, and how a number is spelled do not matter. A key that is there
        twice, NaN and what is not JSON are refused.
        """
        try:
            value = json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
            spelled(value).encode()
        except (ValueError, RecursionError):
            return False
        if self.exactly(text):
            return True
        if not self._rule.compiled.source.valid(value):
            return False
        walk = _Walk(_declared(self._rule.compiled.carrier.schema))
        start = self._rule.compiled.grammar.start().matcher
        try:
            return any(end.is_accepting() for end in walk.value(start, plain(value)))
        except RecursionError:
            return False


class _Walk:
    """Spells a value through a grammar, an object's members in the orders that the schema may want."""

    def __init__(self, declared: list[dict[str, int]]) -> None:
        self._declared = declared
        self._tries = _TRIES

    def value(self, at: LLMatcher, value: Any) -> Iterator[LLMatcher]:
        """The states after a value."""
        if isinstance(value, list):
            opened = _fed(at, b"[")
            if opened is not None:
                yield from self._items(opened, value, 0)
        elif isinstance(value, dict):
            for order in self._orders(list(value)):
                self._tries -= 1
                opened = _fed(at, b"{") if self._tries > 0 else None
                if opened is not None:
                    yield from self._members(opened, value, order, 0)
        else:
            end = _fed(at, spelled(value).encode())
            if end is not None:
                yield end

    def _items(self, at: LLMatcher, items: list[Any], place: int) -> Iterator[LLMatcher]:
        if place == len(items):
            yield from _each(_fed(at, b"]"))
            return
        before = _fed(at, b",") if place else at
        for after in [] if before is None else self.value(before, items[place]):
            yield from self._items(after, items, place + 1)

    def _members(self, at: LLMatcher, members: dict[str, Any], order: list[str], place: int) -> Iterator[LLMatcher]:
        if place == len(order):
            yield from _each(_fed(at, b"}"))
            return
        name = order[place]
        before = _fed(at, ("," if place else "").encode() + f"{spelled(name)}:".encode())
        for after in [] if before is None else self.value(before, members[name]):
            yield from self._members(after, members, order, place + 1)

    def _orders(self, names: list[str]) -> Iterator[list[str]]:
        """The order given, and those of the schema's own lists: declared names first, others as they stand."""
        yield names
        seen = {tuple(names)}
        lists = sorted(self._declared, key=lambda known: -sum(name in known for name in names))
        for known in lists[: _ORDERS * 4]:
            order = sorted((n for n in names if n in known), key=known.__getitem__)
            order += [n for n in names if n not in known]
            if tuple(order) not in seen and len(seen) < _ORDERS:
                seen.add(tuple(order))
                yield order


def _fed(at: LLMatcher, data: bytes) -> LLMatcher | None:
    """The state after some bytes, or None."""
    copy = at.deep_copy()
    return copy if copy.try_consume_tokens(list(data)) == len(data) and not copy.is_error() else None


def _each(end: LLMatcher | None) -> Iterator[LLMatcher]:
    if end is not None:
        yield end


def _declared(schema: Any) -> list[dict[str, int]]:
    """The lists of property names in a carrier, also those of its constants, in their order."""
    found, todo = dict[tuple[str, ...], None](), [(schema, False)]
    while todo:
        part, fixed = todo.pop()
        if isinstance(part, Mapping):
            names = part if fixed else part.get("properties")
            if isinstance(names, Mapping):
                found[tuple(names)] = None
            todo += [(inner, fixed or name in ("const", "enum")) for name, inner in part.items()]
        elif isinstance(part, list):
            todo += [(inner, fixed) for inner in part]
    return [{name: place for place, name in enumerate(names)} for names in found]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) < len(pairs):
        raise ValueError("a key is there twice")
    return out


def _refuse(name: str) -> Callable[[], None]:
    raise ValueError(f"{name} is not JSON")
