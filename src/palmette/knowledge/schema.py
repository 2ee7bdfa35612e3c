"""What a graph may say: types, relations with the types they join, functional relations, patterns of literals.

A schema is data: written by hand as JSON, or induced from what a first pass found and then edited. An extraction under
a schema can name nothing else, because its grammar is made of it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from palmette.core.errors import SchemaError
from palmette.knowledge.values import Fact

__all__ = ["OPEN", "Relation", "Schema", "induced"]


@dataclass(frozen=True)
class Relation:
    """A relation: what it is called, which types it joins (none named: all), whether it has one object at a time.

    `literal` makes its object a text, number or date instead of an entity; `pattern` is the regular expression that
    such an object matches.
    """

    name: str
    subjects: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    functional: bool = False
    literal: bool = False
    pattern: str = ""


@dataclass(frozen=True)
class Schema:
    """Types and relations; an empty tuple leaves that part open.

    >>> Schema.read({"types": ["person", "city"], "relations": ["knows", {"name": "born in", "functional": True}]})
    Schema(types=('person', 'city'), relations=(Relation(name='knows', ...), Relation(name='born in', ...)))
    """

    types: tuple[str, ...] = ()
    relations: tuple[Relation, ...] = ()

    def __repr__(self) -> str:
        relations = "".join(f"Relation(name={r.name!r}, ...), " for r in self.relations)
        return f"Schema(types={self.types!r}, relations=({relations.removesuffix(', ')}))"

    @property
    def functional(self) -> frozenset[str]:
        """The names of relations with one object at a time."""
        return frozenset(r.name for r in self.relations if r.functional)

    def relation(self, name: str) -> Relation | None:
        """A relation by name."""
        return next((r for r in self.relations if r.name == name), None)

    def allows(self, subject_type: str, relation: str, object_type: str) -> bool:
        """Whether a statement of these types is one of the schema's."""
        if self.types and not {subject_type, object_type} <= {*self.types, ""}:
            return False
        if not self.relations:
            return True
        known = self.relation(relation)
        return known is not None and _fits(subject_type, known.subjects) and _fits(object_type, known.objects)

    def dump(self) -> dict[str, Any]:
        """As JSON values, what is left at its default left out."""
        plain = [{k: v for k, v in asdict(r).items() if v or k == "name"} for r in self.relations]
        relations = [r["name"] if len(r) == 1 else {k: _listed(v) for k, v in r.items()} for r in plain]
        return {"types": list(self.types), "relations": relations}

    def text(self) -> str:
        """As canonical JSON text."""
        return json.dumps(self.dump(), sort_keys=True, ensure_ascii=False)

    @classmethod
    def read(cls, given: Schema | Mapping[str, Any] | str | None) -> Schema:
        """A schema from JSON text or values.

        Raises:
            SchemaError: for what is none, with the place.
        """
        if given is None:
            return OPEN
        if isinstance(given, Schema):
            return given
        if isinstance(given, str):
            try:
                given = json.loads(given)
            except ValueError as error:
                raise SchemaError("", f"this graph schema is no JSON: {error}") from None
        if not isinstance(given, Mapping):
            raise SchemaError("", f"a graph schema is an object with types and relations, not {given!r}")
        unknown = sorted(set(given) - {"types", "relations"})
        if unknown:
            raise SchemaError(f"/{unknown[0]}", "unknown key; a graph schema has types and relations")
        types = _names(given.get("types", ()), "/types")
        entries = given.get("relations", ())
        if isinstance(entries, str) or not isinstance(entries, Sequence):
            raise SchemaError("/relations", f"a list is needed, not {entries!r}")
        relations = tuple(_relation(r, types, f"/relations/{i}") for i, r in enumerate(entries))
        _once([r.name for r in relations], "/relations")
        return cls(types, relations)


OPEN = Schema()


def _fits(given: str, allowed: tuple[str, ...]) -> bool:
    return not allowed or not given or given in allowed


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _names(given: Any, path: str) -> tuple[str, ...]:
    if isinstance(given, str) or not isinstance(given, Sequence) or not all(isinstance(n, str) and n for n in given):
        raise SchemaError(path, f"a list of names is needed, not {given!r}")
    _once(list(given), path)
    return tuple(given)


def _once(names: list[str], path: str) -> None:
    twice = [n for n, count in Counter(names).items() if count > 1]
    if twice:
        raise SchemaError(path, f"{twice[0]!r} is there twice")


def _relation(given: Any, types: tuple[str, ...], path: str) -> Relation:
    if isinstance(given, str):
        given = {"name": given}
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str) or not given["name"].strip():
        raise SchemaError(path, f"a relation is a name or an object with one, not {given!r}")
    unknown = sorted(set(given) - set(Relation.__dataclass_fields__))
    if unknown:
        raise SchemaError(f"{path}/{unknown[0]}", f"unknown key; known: {', '.join(Relation.__dataclass_fields__)}")
    ends = {side: _names(given.get(side, ()), f"{path}/{side}") for side in ("subjects", "objects")}
    for side, named in ends.items():
        strange = [n for n in named if types and n not in types]
        if strange:
            raise SchemaError(f"{path}/{side}", f"{strange[0]!r} is none of the types {', '.join(types)}")
    for flag in ("functional", "literal"):
        if not isinstance(given.get(flag, False), bool):
            raise SchemaError(f"{path}/{flag}", f"true or false is needed, not {given[flag]!r}")
    pattern = given.get("pattern", "")
    if not isinstance(pattern, str):
        raise SchemaError(f"{path}/pattern", f"a regular expression is needed, not {pattern!r}")
    flags = {flag: bool(given.get(flag, False)) for flag in ("functional", "literal")}
    flags["literal"] = flags["literal"] or bool(pattern)
    return Relation(given["name"], ends["subjects"], ends["objects"], pattern=pattern, **flags)


def induced(facts: Iterable[Fact], *, least: int = 2) -> Schema:
    """A schema from what a first pass found: what at least `least` facts support, the commonest first.

    A relation is called functional where no subject has two objects and at least five subjects have one. The result is
    a proposal: edit it before a second pass is held to it.
    """
    types: Counter[str] = Counter()
    uses: Counter[str] = Counter()
    ends: dict[str, tuple[Counter[str], Counter[str]]] = {}
    objects: dict[str, dict[str, set[str]]] = {}
    literal: Counter[str] = Counter()
    for fact in facts:
        uses[fact.relation] += 1
        literal[fact.relation] += fact.object.literal
        left, right = ends.setdefault(fact.relation, (Counter(), Counter()))
        for side, entity in ((left, fact.subject), (right, fact.object)):
            if entity.type and not entity.literal:
                side[entity.type] += 1
                types[entity.type] += 1
        objects.setdefault(fact.relation, {}).setdefault(fact.subject.name, set()).add(fact.object.name)
    kept_types = tuple(t for t, n in _ranked(types) if n >= least)
    relations = []
    for name, count in _ranked(uses):
        if count < least:
            continue
        of = objects[name]
        single = len(of) >= 5 and all(len(o) == 1 for o in of.values())
        joined = [tuple(t for t, _ in _ranked(side) if t in kept_types) for side in ends[name]]
        relations.append(Relation(name, joined[0], joined[1], functional=single, literal=2 * literal[name] > count))
    return Schema(kept_types, tuple(relations))


def _ranked(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
