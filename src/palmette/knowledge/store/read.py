"""Reading a store: entities by name, facts around them, what was said about a fact, what contradicts what, and when.

Without times a question is about what the store believes now. `at` asks what holds in the world at a time, `known` what
the store believed at a time; both are conditions on assertions, so both may be asked together.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, TypeVar

from palmette.core.errors import BadParameter, UnknownName
from palmette.knowledge.names import key_of
from palmette.knowledge.store.admit import instant, timed, unknown
from palmette.knowledge.store.base import Row, batches, marks
from palmette.knowledge.store.network import Names, Network
from palmette.knowledge.store.store import Store
from palmette.knowledge.values import Assertion, Conflict, Entity, Fact, Quote, facts_of

__all__ = [
    "NOW",
    "Parts",
    "When",
    "along",
    "assertions",
    "conflicts",
    "entity",
    "facts",
    "find",
    "named",
    "numbers_of",
    "quoted",
    "relation_names",
    "shown",
    "stated",
    "united",
]

Parts = tuple[str | Entity | None, str | None, str | Entity | None]
Found = TypeVar("Found")
_NAMED = (
    "es.name, es.type, es.literal, r.name, eo.name, eo.type, eo.literal",
    "JOIN entity es ON es.id = a.s JOIN relation r ON r.id = a.p JOIN entity eo ON eo.id = a.o",
)
_by_names = itemgetter(0, 3, 4, 1, 5, 2, 6)


@dataclass(frozen=True)
class When:
    """Two times, both optional: `at` in the world, `known` in the store. A year, a month or a day is its beginning."""

    at: str | None = None
    known: str | None = None

    def __post_init__(self) -> None:
        for time in (self.at, self.known):
            if time is not None:
                timed(time)

    def sql(self, table: str = "a") -> tuple[str, list[str]]:
        """The condition on assertions.

        >>> When(at="2024").sql()[1]
        ['2024-01-01T00:00:00Z', '2024-01-01T00:00:00Z']
        """
        parts, values = [], []
        if self.known is None:
            parts.append(f"{table}.retracted_at IS NULL")
        else:
            parts.append(f"{table}.maker IN (SELECT id FROM maker WHERE recorded_at <= ?)")
            parts.append(f"({table}.retracted_at IS NULL OR {table}.retracted_at > ?)")
            values += [instant(self.known)] * 2
        if self.at is not None:
            parts.append(f"({table}.valid_from IS NULL OR {table}.valid_from <= ?)")
            parts.append(f"({table}.valid_to IS NULL OR {table}.valid_to > ?)")
            values += [instant(self.at)] * 2  # of those stored a prefix is the earlier, too
        return " AND ".join(parts), values


NOW = When()


def find(store: Store, name: str, type: str | None = None) -> list[tuple[int, Entity]]:
    """Entities of a name: exactly that name, else the same key, else what a text says is also called so."""
    columns = "e.id, e.name, e.type, e.literal"
    ways = (
        (f"SELECT {columns} FROM entity e WHERE e.name = ?", name),
        (f"SELECT {columns} FROM entity e WHERE e.key = ?", key_of(name)),
        (f"SELECT DISTINCT {columns} FROM alias l JOIN entity e ON e.id = l.entity WHERE l.key = ?", key_of(name)),
    )
    for sql, value in ways:
        rows = store.db.rows(sql, (value,))
        found = [(int(i), Entity(n, t, bool(v))) for i, n, t, v in rows if type is None or t == type]
        if found:
            return sorted(found, key=lambda f: (f[1].literal, f[1].name, f[1].type))
    return []


def entity(store: Store, name: str | Entity) -> list[int]:
    """The numbers of everything that a name stands for, what is the same as it included.

    Raises:
        UnknownName: with the likeliest names that there are.
        BadParameter: for what is no name.
    """
    if not isinstance(name, str | Entity):
        raise BadParameter(f"a thing is called by a text or an Entity, not {name!r}")
    wanted = name if isinstance(name, Entity) else None
    text = name.name if isinstance(name, Entity) else name
    called = find(store, text)
    found = [i for i, e in called if wanted is None or e == wanted]
    if called and not found:
        kinds = ["a literal" if e.literal else f"of type {e.type!r}" if e.type else "without a type" for _, e in called]
        raise UnknownName("entity", text, [], f" What has that name is {' or '.join(dict.fromkeys(kinds))}.")
    if not found:
        near = _near(store, text)
        longer = [repr(name) for name in near if key_of(name).startswith(f"{key_of(text)} ")][:3]
        there = f"; {', '.join(longer)} {'is' if len(longer) == 1 else 'are'}" if longer else ""
        raise UnknownName("entity", text, near, f" It is not in the graph{there}.")
    return store.same.spread(found)


def _near(store: Store, name: str) -> list[str]:
    """Names that begin like this one, those that share the most with it first: something to be told in an error."""
    key, found = key_of(name), dict[str, None]()
    sql = "SELECT name FROM entity WHERE literal = 0 AND key >= ? AND key < ? ORDER BY key LIMIT 200"
    for length in range(len(key), 0, -1):
        start = key[:length]
        found |= dict.fromkeys(n for (n,) in store.db.rows(sql, (start, start + "\U0010ffff")))
        if len(found) >= 200:
            break
    return list(found)


def numbers_of(store: Store, names: Iterable[str | Entity]) -> list[int]:
    """The numbers of several names together."""
    return sorted({i for name in names for i in entity(store, name)})


def relation_names(store: Store) -> list[str]:
    """The relations that the graph has, by name."""
    return [n for (n,) in store.db.rows("SELECT name FROM relation ORDER BY name")]


def along(store: Store, relation: str) -> int:
    """The number of a relation; -1 for one that the schema names and nothing is said with.

    Raises:
        UnknownName: for one that the graph does not have, with the nearest one.
    """
    if not isinstance(relation, str):
        raise BadParameter(f"a relation is called by a text, not {relation!r}")
    found = store.db.rows("SELECT id FROM relation WHERE name = ?", (relation,))
    if found:
        return int(found[0][0])
    said = [r.name for r in store.schema.relations]
    if relation in said:
        return -1
    raise unknown("relation", relation, {*relation_names(store), *said})


def facts(
    store: Store,
    subjects: Sequence[int] | None = None,
    relation: str | None = None,
    objects: Sequence[int] | None = None,
    *,
    when: When = NOW,
    most: int | None = None,
) -> list[Fact]:
    """Facts with these subjects, this relation and these objects; None leaves a place open.

    The best supported come first, those of equal support by their names.
    """
    return _as_facts(_counted(store, subjects, relation, objects, when, most))


def _counted(
    store: Store, subjects: Sequence[int] | None, relation: str | None, objects: Sequence[int] | None, when: When,
    most: int | None,
) -> Iterable[Row]:  # fmt: skip
    """Facts as rows of names, types and support; put in order by the database only where it can leave some out."""
    condition, given = when.sql()
    where, values = [condition], list[Any](given)
    if relation is not None:
        where.append("a.p = (SELECT id FROM relation WHERE name = ?)")
        values.append(relation)
    for column, ids in (("s", subjects), ("o", objects)):
        if ids is not None:
            where.append(f"a.{column} = ?" if len(ids) == 1 else f"a.{column} IN ({marks(len(ids))})")
            values += ids
    wanted = " AND ".join(where)
    if most is None:
        rows = store.db.rows(f"SELECT {_NAMED[0]} FROM assertion a {_NAMED[1]} WHERE {wanted}", values)
        count = Counter(rows)
        ordered = sorted(count, key=_by_names)
        if len(count) < len(rows):
            ordered.sort(key=count.__getitem__, reverse=True)  # keeps the order of those that are equal
        return [(*row, count[row]) for row in ordered]
    sql = (
        f"SELECT {_NAMED[0]}, f.n FROM (SELECT a.s, a.p, a.o, count(*) AS n FROM assertion a WHERE {wanted} "
        f"GROUP BY a.s, a.p, a.o) f {_NAMED[1].replace('a.', 'f.')} "
        "ORDER BY f.n DESC, es.name, r.name, eo.name, es.type, eo.type, es.literal, eo.literal LIMIT ?"
    )
    return store.db.rows(sql, [*values, most])


def stated(store: Store, parts: Parts, *, when: When = NOW, most: int | None = None) -> list[Fact]:
    """`facts` of names and all that is the same: from memory, where the facts are there as they are now.

    Args:
        store: the graph.
        parts: subject, relation and object; None leaves one open.
        when: the times.
        most: how many, at most.

    Raises:
        UnknownName: for a thing or a relation that the graph does not have, with the nearest one.
        BadParameter: for fewer than no facts.
    """
    return _stated(store, parts, when, most, Network.facts, _as_facts)


def named(store: Store, parts: Parts, *, when: When = NOW, most: int | None = None) -> list[Names]:
    """The same as names only."""
    return _stated(store, parts, when, most, Network.triples, _as_names)


def _stated(
    store: Store, parts: Parts, when: When, most: int | None, held: Callable[..., list[Found] | None],
    made: Callable[[Iterable[Row]], list[Found]],
) -> list[Found]:  # fmt: skip
    """Facts as `held` has them of a network, or as they are made of the store's rows."""
    if most is not None and most < 0:
        raise BadParameter(f"most must be at least 0, or None for all, not {most!r}")
    if when is NOW and (network := store.memory.now()) is not None:
        known = held(network, *parts, most)
        if known is not None:
            return known
    subject, relation, object = parts
    ends = [None if name is None else entity(store, name) for name in (subject, object)]
    if relation is not None:
        along(store, relation)
    return made(_counted(store, ends[0], relation, ends[1], when, most))


def _as_facts(rows: Iterable[Row]) -> list[Fact]:
    return facts_of((Entity(s, st, bool(sv)), p, Entity(o, ot, bool(ov)), n) for s, st, sv, p, o, ot, ov, n in rows)


def _as_names(rows: Iterable[Row]) -> list[Names]:
    return [(row[0], row[3], row[4]) for row in rows]


def _fact(row: Sequence[Any]) -> Fact:
    return Fact(Entity(row[0], row[1], bool(row[2])), row[3], Entity(row[4], row[5], bool(row[6])), int(row[7]))


def triples(store: Store, rows: Sequence[tuple[int, int, int]], *, when: When = NOW) -> list[Fact]:
    """The facts of triples of numbers that hold then, in the order given."""
    found: dict[tuple[int, int, int], Fact] = {}
    condition, values = when.sql()
    for some in batches(rows, 150):
        wanted = " OR ".join(["(a.s = ? AND a.p = ? AND a.o = ?)"] * len(some))
        counted = (
            f"SELECT a.s, a.p, a.o, count(*) AS support FROM assertion a WHERE ({wanted}) AND {condition} "
            "GROUP BY a.s, a.p, a.o"
        )
        sql = f"SELECT a.s, a.p, a.o, {_NAMED[0]}, a.support FROM ({counted}) a {_NAMED[1]}"
        for s, p, o, *rest in store.db.rows(sql, [*(i for row in some for i in row), *values]):
            found[s, p, o] = _fact(rest)
    return [found[row] for row in rows if row in found]


def assertions(
    store: Store, fact: Fact | None = None, *, when: When = NOW, conflicts_only: str = ""
) -> list[Assertion]:
    """Everything that was said about a fact, or everything there is, with its quotes."""
    condition, values = when.sql()
    where, given = [condition], list(values)
    if fact is not None:
        for side, e in (("es", fact.subject), ("eo", fact.object)):
            where.append(f"{side}.name = ? AND {side}.type = ? AND {side}.literal = ?")
            given += [e.name, e.type, int(e.literal)]  # type: ignore[list-item]
        where.append("r.name = ?")
        given.append(fact.relation)
    if conflicts_only:
        where.append("r.name = ?")
        given.append(conflicts_only)
    sql = (
        f"SELECT {_NAMED[0]}, d.name, c.first, c.text, a.first, a.last, m.model, a.confidence, a.valid_from, "
        f"a.valid_to, m.recorded_at, a.retracted_at FROM assertion a {_NAMED[1]} JOIN maker m ON m.id = a.maker "
        "LEFT JOIN chunk c ON c.id = a.chunk LEFT JOIN document d ON d.id = c.document "
        f"WHERE {' AND '.join(where)} "
        "ORDER BY es.name, es.type, r.name, eo.name, eo.type, d.name, c.first, a.first, a.last, a.id"
    )
    return [_assertion(row) for row in store.db.rows(sql, given)]


def _assertion(row: Sequence[Any]) -> Assertion:
    document, base, text, first, last = row[7:12]
    quote = None if document is None else Quote(document, base + first, base + last, text[first:last])
    model, confidence, valid_from, valid_to, recorded, retracted = row[12:]
    return Assertion(_fact((*row[:7], 1)), quote, model, confidence, valid_from, valid_to, recorded, retracted)


def quoted(store: Store, found: Iterable[Fact], *, when: When = NOW, most: int = 3) -> list[Fact]:
    """The facts with their quotes, at most so many each."""
    out = []
    for fact in found:
        quotes = dict.fromkeys(a.quote for a in assertions(store, fact, when=when) if a.quote is not None)
        out.append(replace(fact, quotes=tuple(quotes)[:most]))
    return out


def shown(same: Iterable[Entity]) -> Entity:
    """The one of those that are the same by which a person is told of them: typed, with a capital, the oldest."""
    return min(same, key=lambda e: (not e.type, e.name.islower()))


def united(store: Store, found: Iterable[Fact]) -> list[Fact]:
    """The facts as a person sees them: what is the same has one name, that of the one with a type, else one with a
    capital (a file's name often has none), and facts that are then one have their quotes and their support together.
    """
    names: dict[Entity, Entity] = {}

    def one(e: Entity) -> Entity:
        if e not in names:
            ids = store.same.all(store.numbers([e])[0])
            rows = store.db.rows(
                f"SELECT name, type, literal FROM entity WHERE id IN ({marks(len(ids))}) ORDER BY id", ids
            )
            all_ = [Entity(n, t, bool(v)) for n, t, v in rows]
            names[e] = e if e.literal or len(all_) == 1 else shown(all_)
        return names[e]

    out: dict[Fact, Fact] = {}
    for fact in found:
        said = replace(fact, subject=one(fact.subject), object=one(fact.object))
        before = out.get(said)
        if before is not None:
            quotes = tuple(dict.fromkeys((*before.quotes, *said.quotes)))
            said = replace(said, support=before.support + said.support, quotes=quotes)
        out[said] = said
    return list(out.values())


def conflicts(store: Store, *, relations: Iterable[str] | None = None, when: When = NOW) -> list[Conflict]:
    """Functional relations with several objects at one time, with everything that was said about them.

    Objects that are the same do not conflict, nor do literals that differ in case or space alone; neither do statements
    whose times do not overlap.

    Raises:
        UnknownName: for a relation that the graph does not have.
    """
    out = []
    wanted = sorted(store.schema.functional if relations is None else relations)
    for relation in wanted if relations is not None else ():
        along(store, relation)
    for relation in wanted:
        by_subject: dict[int | str, list[Assertion]] = defaultdict(list)
        same: dict[Entity, int | str] = {}
        for said in assertions(store, when=when, conflicts_only=relation):
            by_subject[_one(store, said.fact.subject, same)].append(said)
        for said_of in by_subject.values():
            ends = [(_one(store, a.fact.object, same), a) for a in said_of]
            clashing = [a for i, a in ends if any(i != j and _overlap(a, b) for j, b in ends)]
            if clashing:
                out.append(Conflict(clashing[0].fact.subject, relation, tuple(clashing)))
    return out


def _one(store: Store, e: Entity, known: dict[Entity, int | str]) -> int | str:
    """The number of the cluster that an entity belongs to; of a literal its text."""
    if e.literal:
        return " ".join(e.name.casefold().split())
    if e not in known:
        number = next(i for i, found in find(store, e.name) if found == e)
        known[e] = store.same.one(number)
    return known[e]


def _overlap(a: Assertion, b: Assertion) -> bool:
    return not any(
        one.valid_to and other.valid_from and instant(one.valid_to) <= instant(other.valid_from)
        for one, other in ((a, b), (b, a))
    )
