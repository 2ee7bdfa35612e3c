"""A small typed query instead of a query language that a model would have to write well.

A query is JSON: patterns whose places are names or variables, and what to select. `query_schema` is its JSON Schema for
one graph: relations and types can only be those that the graph has, so a model that writes under it cannot invent any.
It reads and never writes; rows and time are limited.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from palmette.core.errors import BadParameter, UnknownName
from palmette.knowledge.store.admit import unknown
from palmette.knowledge.store.base import batches, marks
from palmette.knowledge.store.read import When, along, entity, relation_names
from palmette.knowledge.store.store import Store

__all__ = ["Table", "query", "query_schema"]

PATTERNS, ROWS, HELD, SECONDS = 8, 1000, 200_000, 10.0
_KEYS = ("match", "types", "select", "limit", "at", "known")
_PLACES = ("subject", "relation", "object")
Binding = tuple[int, ...]


@dataclass(frozen=True)
class Table:
    """What a query found: names in rows, a column for each selected variable. `whole` is False if rows were cut off."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    whole: bool = True

    def dicts(self) -> list[dict[str, str]]:
        """The rows as dictionaries."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def query_schema(store: Store, *, most_names: int = 1000) -> dict[str, Any]:
    """The JSON Schema of this graph's queries, its relations and types as they are now."""
    relations = relation_names(store)[:most_names]
    types = _types(store)[:most_names]
    variable = {"type": "string", "pattern": "^\\?[a-z]{1,12}$"}
    place = {"anyOf": [variable, {"type": "string", "minLength": 1, "maxLength": 200}]}
    pattern = {
        "type": "object",
        "properties": {"subject": place, "relation": {"enum": relations} if relations else variable, "object": place},
        "required": list(_PLACES),
        "additionalProperties": False,
    }
    properties: dict[str, Any] = {
        "match": {"type": "array", "items": pattern, "minItems": 1, "maxItems": PATTERNS},
        "select": {"type": "array", "items": variable, "minItems": 1, "maxItems": PATTERNS},
        "limit": {"type": "integer", "minimum": 1, "maximum": ROWS},
    }
    if types:
        properties["types"] = {"type": "object", "additionalProperties": {"enum": types}}
    return {"type": "object", "properties": properties, "required": ["match", "select"], "additionalProperties": False}


def _types(store: Store) -> list[str]:
    return [t for (t,) in store.db.rows("SELECT DISTINCT type FROM entity WHERE type <> '' ORDER BY type")]


def query(store: Store, asked: Mapping[str, Any], *, seconds: float = SECONDS) -> Table:
    """Answer a query.

    Args:
        store: the graph.
        asked: {"match": [{"subject": "Apple", "relation": "created", "object": "?x"}, …], "select": ["?x"]}, with
            "types" {"?x": "product"}, "limit", "at" and "known" if you like. A relation may be a variable as well.
        seconds: the longest it may take.

    Raises:
        BadParameter: for what is no query, or one that is too broad.
        UnknownName: for a name, a relation or a type that the graph does not have, with the nearest one.

    >>> from palmette.knowledge.store.sqlite import SqliteDatabase
    >>> from palmette.knowledge.values import Entity, Statement
    >>> store = Store(SqliteDatabase(":memory:"))
    >>> _ = store.say([Statement(Entity("Apple"), "created", Entity("iMac"))])
    >>> query(store, {"match": [{"subject": "?x", "relation": "created", "object": "iMac"}], "select": ["?x"]}).rows
    (('Apple',),)
    """
    patterns, selected, types = _checked(asked)
    known = {*_types(store), *store.schema.types} if types else set()
    strange = next((t for t in types.values() if t not in known), None)
    if strange is not None:
        raise unknown("type", strange, known)
    when = When(asked.get("at"), asked.get("known"))
    search = _Search(store, when, types, time.monotonic() + seconds)
    for pattern in patterns:
        search.know(pattern)
    for pattern in _ordered(patterns):
        search.join(pattern)
    limit = min(int(asked.get("limit", ROWS)), ROWS)
    return search.table(selected, limit)


def _checked(asked: Mapping[str, Any]) -> tuple[list[dict[str, str]], tuple[str, ...], dict[str, str]]:
    if not isinstance(asked, Mapping):
        raise BadParameter(f"a query is an object with match and select, not {asked!r}")
    unknown = next((k for k in asked if k not in _KEYS), None)
    if unknown is not None:
        raise UnknownName("key of a query", str(unknown), _KEYS)
    patterns = asked.get("match")
    if not isinstance(patterns, Sequence) or isinstance(patterns, str) or not 1 <= len(patterns) <= PATTERNS:
        raise BadParameter(f"match must be 1 to {PATTERNS} patterns, not {patterns!r}")
    for pattern in patterns:
        whole = isinstance(pattern, Mapping) and set(pattern) == set(_PLACES)
        if not whole or not all(isinstance(v, str) and v for v in pattern.values()):
            raise BadParameter(f"a pattern has a subject, a relation and an object, all texts, not {pattern!r}")
    variables = {v for p in patterns for v in p.values() if v.startswith("?")}
    both = variables & {p["relation"] for p in patterns} & {p[end] for p in patterns for end in ("subject", "object")}
    if both:
        raise BadParameter(f"{min(both)!r} stands for a relation and for a thing; it can be one of them")
    selected, types = asked.get("select", ()), asked.get("types", {})
    if isinstance(selected, str) or not isinstance(selected, Sequence) or not selected:
        raise BadParameter(f"select must be a list of variables such as '?x', not {selected!r}")
    if not isinstance(types, Mapping):
        raise BadParameter(f"types must be an object from variables to types, not {types!r}")
    for variable in (*selected, *types):
        if variable not in variables:
            raise UnknownName("variable", str(variable), sorted(variables))
        kind = types.get(variable, "")
        if not isinstance(kind, str):
            raise BadParameter(f"types must give each variable a type such as 'person', not {kind!r}")
    odd = next((v for v in types if v in {p["relation"] for p in patterns}), None)
    if odd is not None:
        raise BadParameter(f"{odd!r} stands for a relation, and only things have types")
    limit = asked.get("limit", 1)
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise BadParameter(f"limit must be a number of rows, at least 1, not {limit!r}")
    return [dict(p) for p in patterns], tuple(selected), dict(types)


def _ordered(patterns: list[dict[str, str]]) -> list[dict[str, str]]:
    """The patterns so that each, if possible, has a place that is a name or known from one before."""
    left, known, out = list(patterns), set[str](), list[dict[str, str]]()
    while left:
        best = max(left, key=lambda p: sum(2 * (not v.startswith("?")) + (v in known) for v in p.values()))
        left.remove(best)
        known |= {v for v in best.values() if v.startswith("?")}
        out.append(best)
    return out


class _Search:
    """Rows of numbers that grow pattern by pattern; a thing is its cluster's smallest entity."""

    def __init__(self, store: Store, when: When, types: dict[str, str], end: float) -> None:
        self.store, self.when, self.types, self.end = store, when, types, end
        self.variables: list[str] = []
        self.rows: list[Binding] = [()]
        self.ids: dict[str, list[int]] = {}
        self.relations: dict[str, int] = dict(store.db.rows("SELECT name, id FROM relation"))
        self.relation_variables: set[str] = set()

    def know(self, pattern: Mapping[str, str]) -> None:
        """Look up a pattern's names."""
        for place in ("subject", "object"):
            name = pattern[place]
            if not name.startswith("?") and name not in self.ids:
                self.ids[name] = entity(self.store, name)
        relation = pattern["relation"]
        if relation.startswith("?"):
            self.relation_variables.add(relation)
        elif relation not in self.relations:
            self.relations[relation] = along(self.store, relation)

    def join(self, pattern: Mapping[str, str]) -> None:
        """Extend every row by the facts that fit it."""
        s, p, o = (pattern[place] for place in _PLACES)
        facts = self._facts(s, p, o)
        fresh = [v for v in dict.fromkeys((s, p, o)) if v.startswith("?") and v not in self.variables]
        shared = [v for v in dict.fromkeys((s, p, o)) if v in self.variables]
        index: dict[Binding, dict[Binding, None]] = {}
        for values in facts:
            bound = dict(zip((s, p, o), values, strict=True))
            if any(bound[v] != w for v, w in zip((s, p, o), values, strict=True) if v.startswith("?")):
                continue
            index.setdefault(tuple(bound[v] for v in shared), {})[tuple(bound[v] for v in fresh)] = None
        places = [self.variables.index(v) for v in shared]
        grown: dict[Binding, None] = {}
        for row in self.rows:
            for more in index.get(tuple(row[i] for i in places), ()):
                grown[row + more] = None
            if len(grown) > HELD or time.monotonic() > self.end:
                raise BadParameter("the query is too broad: name one of its things, or a rarer relation")
        self.variables += fresh
        self.rows = list(grown)

    def _facts(self, s: str, p: str, o: str) -> set[Binding]:
        """The facts of one pattern, narrowed by names and by what is known of its variables."""
        condition, values = self.when.sql()
        where: list[str] = [condition]
        given: list[Any] = list(values)
        if not p.startswith("?"):
            where.append("a.p = ?")
            given.append(self.relations[p])
        narrow: tuple[str, list[int]] | None = None
        for column, place in (("s", s), ("o", o)):
            ids = self.ids.get(place)
            if ids is None and place in self.variables:
                at = self.variables.index(place)
                ids = self.store.same.spread({row[at] for row in self.rows})
            if ids is not None and (narrow is None or len(ids) < len(narrow[1])):
                narrow = (column, ids)
        select = f"SELECT a.s, a.p, a.o FROM assertion a WHERE {' AND '.join(where)}"
        found = []
        if narrow is None:
            found = self.store.db.rows(f"{select} LIMIT {HELD + 1}", given)
        else:
            for some in batches(narrow[1]):
                found += self.store.db.rows(f"{select} AND a.{narrow[0]} IN ({marks(len(some))})", [*given, *some])
                if len(found) > HELD or time.monotonic() > self.end:
                    break
        if len(found) > HELD or time.monotonic() > self.end:
            raise BadParameter("the query is too broad: name one of its things, or a rarer relation")
        one = self.store.same.now()
        facts: set[Binding] = {(one(a), b, one(c)) for a, b, c in found}
        for end, place in ((0, s), (2, o)):
            if place in self.ids:
                allowed = {one(i) for i in self.ids[place]}
                facts = {f for f in facts if f[end] in allowed}
            if place in self.types:
                typed = self._of_type({f[end] for f in facts}, self.types[place])
                facts = {f for f in facts if f[end] in typed}
        return facts

    def _of_type(self, ids: set[int], type_: str) -> set[int]:
        found: set[int] = set()
        one = self.store.same.now()
        for some in batches(self.store.same.spread(ids)):
            sql = f"SELECT id FROM entity WHERE type = ? AND id IN ({marks(len(some))})"
            found |= {one(i) for (i,) in self.store.db.rows(sql, [type_, *some])}
        return found

    def table(self, selected: Sequence[str], limit: int) -> Table:
        """The selected columns as names, in order, each row once."""
        places = [self.variables.index(v) for v in selected]
        rows = {tuple(row[i] for i in places) for row in self.rows}
        numbers = {n for row in rows for n, v in zip(row, selected, strict=True) if v not in self.relation_variables}
        names: dict[int, str] = {}
        for some in batches(sorted(numbers)):
            names |= dict(self.store.db.rows(f"SELECT id, name FROM entity WHERE id IN ({marks(len(some))})", some))
        relations = {number: name for name, number in self.relations.items()}
        said = sorted(
            tuple((relations if v in self.relation_variables else names)[n] for n, v in zip(row, selected, strict=True))
            for row in rows
        )
        return Table(tuple(selected), tuple(said[:limit]), len(said) <= limit)
