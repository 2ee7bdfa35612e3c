"""The facts in memory: columns of numbers, by subject and by object, so that a question about a thing is one slice.

A network is the store at one moment and knows only what is believed now; times, and names that are not spelled exactly
so, are asked of the store. Things are numbered in the order of their names, so columns have the order of answers.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise, repeat
from operator import attrgetter, itemgetter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from palmette.knowledge.store.base import Database
from palmette.knowledge.store.links import clusters
from palmette.knowledge.values import Entity, Fact, facts_of

__all__ = ["Direction", "Edges", "Memory", "Names", "Network"]

Direction = Literal["out", "in", "any"]
Ints = NDArray[np.int32]
Names = tuple[str, str, str]
Columns = tuple[Sequence[int], Sequence[int], Sequence[int]]
_AT_ONCE = 20_000  # things whose facts are read at once
_PAYS = 20  # facts that are read into memory in the time that one question saves
_MOST = 5_000_000  # facts that are read into memory without being asked for: some 400 MB
_ORDER = ("subject.name", "relation", "object.name", "subject.type", "object.type", "subject.literal", "object.literal")
_ordered = attrgetter(*_ORDER)


@dataclass(frozen=True, eq=False)
class Edges:
    """Facts by one end: those of thing i are the places `first[i]` to `first[i + 1]` of the columns."""

    first: array[int]
    relation: array[int]
    far: array[int]
    support: array[int]

    def all(self, thing: int) -> Columns:
        """Relation, other end and support of a thing's facts."""
        start, end = self.first[thing], self.first[thing + 1]
        return self.relation[start:end], self.far[start:end], self.support[start:end]

    def of(self, thing: int, relation: int | None, others: Sequence[int] | None, most: int | None) -> Columns:
        """Relation, other end and support of a thing's facts, of all or of those with these parts."""
        start, end = self.first[thing], self.first[thing + 1]
        if (relation is None and others is None) or start == end:
            end = end if most is None else min(end, start + most)
            return self.relation[start:end], self.far[start:end], self.support[start:end]
        fits = np.ones(end - start, bool)
        if relation is not None:
            fits &= np.frombuffer(self.relation, np.int32)[start:end] == relation
        if others is not None:
            fits &= np.isin(np.frombuffer(self.far, np.int32)[start:end], others)
        found = (start + np.flatnonzero(fits)[:most]).tolist()
        return [self.relation[i] for i in found], [self.far[i] for i in found], [self.support[i] for i in found]


@dataclass(frozen=True, eq=False)
class Network:
    """What a store believes.

    Args:
        things: every entity, in the order of name, type and literal; a thing's number is its place in it.
        names: their names.
        numbers: the store's numbers of them.
        places: the number of the thing of a name, or of all of that name.
        relations: names, in order.
        along: the store's numbers of them.
        out: facts by subject, the best supported first.
        into: facts by object, likewise.
        same: for a thing that is linked all that are the same, itself included, that with the smallest number in the
            store first.

    >>> from palmette.knowledge.store.sqlite import SqliteDatabase
    >>> from palmette.knowledge.store.store import Store
    >>> from palmette.knowledge.values import Statement
    >>> store = Store(SqliteDatabase(":memory:"))
    >>> _ = store.say([Statement(Entity("Apple"), "created", Entity("iMac"))])
    >>> network = Network.of(store.db)
    >>> [str(fact) for fact in network.facts("Apple") or ()], [str(e) for e in network.near([1], 1)]
    (['Apple created iMac'], ['Apple'])
    """

    things: Sequence[Entity]
    names: Sequence[str]
    numbers: NDArray[np.int64]
    places: Mapping[str, int | range]
    relations: Sequence[str]
    along: NDArray[np.int64]
    out: Edges
    into: Edges
    same: Mapping[int, tuple[int, ...]]

    @classmethod
    def of(cls, db: Database) -> Network:
        """The network of a store as it is now."""
        with db.still():
            named = db.rows("SELECT id, name, type, literal FROM entity ORDER BY name, type, literal")
            named.sort(key=itemgetter(1, 2, 3))  # a database may have another alphabet
            relations = sorted(db.rows("SELECT name, id FROM relation"))
            linked = clusters(db.rows("SELECT a, b, kind, source FROM link"))
            numbers = np.array([i for i, *_ in named], np.int64)
            rows = _read(db, np.sort(numbers))  # (facts, 4): subject, relation, object, support
        rows = rows[rows[:, 3] > 0]
        along = np.array([i for _, i in relations], np.int64)
        place, placed = _Places(numbers), _Places(along)
        subject, object = place(rows[:, 0]), place(rows[:, 2])
        relation, support = placed(rows[:, 1]), rows[:, 3].astype(np.int32)
        things = [Entity(n, t, bool(v)) for _, n, t, v in named]
        first = np.array([i == 0 or things[i - 1].name != things[i].name for i in range(len(things))], bool)
        starts = [*np.flatnonzero(first).tolist(), len(things)]
        places = {things[a].name: a if a + 1 == b else range(a, b) for a, b in pairwise(starts)}
        alike = np.cumsum(first)  # one number for namesakes
        out = _edges(subject, (object, relation, -support), relation, object, support, len(things))
        into = _edges(object, (subject, relation, alike[subject], -support), relation, subject, support, len(things))
        names, said = [n for _, n, *_ in named], [n for n, _ in relations]
        return cls(things, names, numbers, places, said, along, out, into, _clusters(linked, place))

    def named(self, name: str | Entity) -> list[int]:
        """The things that a name stands for, what is the same as them included; none, if none is spelled like this."""
        text = name if isinstance(name, str) else name.name if isinstance(name, Entity) else None
        place = None if text is None else self.places.get(text)
        if place is None:
            return []
        found = list(place) if isinstance(place, range) else [place]
        if not isinstance(name, str):
            found = [i for i in found if self.things[i] == name]
        return self._spread(found) if self.same else found

    def _spread(self, things: Iterable[int]) -> list[int]:
        return sorted({i for thing in things for i in self.same.get(thing, (thing,))})

    def facts(
        self, subject: str | Entity | None = None, relation: str | None = None, object: str | Entity | None = None,
        most: int | None = None,
    ) -> list[Fact] | None:  # fmt: skip
        """Facts with these parts, as `read.facts` has them; None where only the store can say which are meant."""
        thing, said, found = self.things.__getitem__, self.relations.__getitem__, list[Fact]()
        if relation is None and object is None and most is None and (place := self._alone(subject)) >= 0:
            relations, far, support = self.out.all(place)
            return facts_of(zip(repeat(thing(place)), map(said, relations), map(thing, far), support))
        picked = self._picked(subject, relation, object, most)
        if picked is None:
            return None
        for near, (relations, far, support) in picked:
            here, there = repeat(thing(near)), map(thing, far)
            left, right = (there, here) if subject is None else (here, there)
            found += facts_of(zip(left, map(said, relations), right, support, strict=False))
        if len(picked) > 1:
            found.sort(key=lambda fact: (-fact.support, *_ordered(fact)))
        return found if most is None else found[:most]

    def triples(
        self, subject: str | Entity | None = None, relation: str | None = None, object: str | Entity | None = None,
        most: int | None = None,
    ) -> list[Names] | None:  # fmt: skip
        """The same as names only."""
        if relation is None and object is None and most is None and (place := self._alone(subject)) >= 0:
            name = self.names.__getitem__
            relations, far, _ = self.out.all(place)
            return list(
                zip(repeat(name(place)), map(self.relations.__getitem__, relations), map(name, far), strict=False)
            )
        found = self.facts(subject, relation, object, most)
        return None if found is None else [fact.names for fact in found]

    def _alone(self, name: str | Entity | None) -> int:
        """The thing of a name that means one thing and is linked to no other, or -1: what is asked most."""
        place = self.places.get(name) if isinstance(name, str) else None
        return place if isinstance(place, int) and place not in self.same else -1

    def _picked(
        self, subject: str | Entity | None, relation: str | None, object: str | Entity | None, most: int | None
    ) -> list[tuple[int, Columns]] | None:
        """For each thing that is meant its facts; None if none is, or if there is no such relation."""
        if subject is not None:
            edges, things = self.out, self.named(subject)
        elif object is not None:
            edges, things = self.into, self.named(object)
        else:
            return None
        others = self.named(object) if subject is not None and object is not None else None
        if not things or others == []:
            return None
        if relation is not None and relation not in self.relations:
            return None
        along = None if relation is None else self.relations.index(relation)
        return [(thing, edges.of(thing, along, others, most)) for thing in things]

    def near(self, start: Iterable[int], hops: int, direction: Direction = "any") -> list[Entity]:
        """The things within so many hops of these, as `paths.near` has them."""
        same = self.same
        ways = [e for e, ways in ((self.out, ("out", "any")), (self.into, ("in", "any"))) if direction in ways]
        edge, found = list(start), list[int]()
        seen = set(edge)
        for _ in range(hops):
            reached: set[int] = set()
            for edges in ways:
                first, far = edges.first, edges.far
                for thing in edge:
                    reached.update(far[first[thing] : first[thing + 1]])
            reached -= seen
            if not reached:
                break
            edge = self._spread(reached) if same else sorted(reached)
            found += sorted({same[i][0] if i in same else i for i in edge}) if same else edge
            seen.update(edge)
        return [self.things[i] for i in found]


class _Places:
    """From a store's numbers to places: numbers that are not there give any place."""

    def __init__(self, numbers: NDArray[np.int64]) -> None:
        self._order = np.argsort(numbers)
        self._sorted = numbers[self._order]

    def __call__(self, numbers: NDArray[np.int64]) -> Ints:
        return self._order[np.searchsorted(self._sorted, numbers)].astype(np.int32)


def _read(db: Database, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """All triples with their support, some thousand subjects at a time."""
    sql = "SELECT s, p, o, count(*) - count(retracted_at) FROM assertion WHERE s BETWEEN ? AND ? GROUP BY s, p, o"
    found = [np.zeros((0, 4), np.int64)]
    for i in range(0, len(numbers), _AT_ONCE):
        rows = db.rows(sql, (int(numbers[i]), int(numbers[i : i + _AT_ONCE][-1])))
        found.append(np.fromiter(chain.from_iterable(rows), np.int64, 4 * len(rows)).reshape(-1, 4))
    return np.concatenate(found)


def _edges(near: Ints, order: Sequence[NDArray[Any]], relation: Ints, far: Ints, support: Ints, count: int) -> Edges:
    """Facts by one end; `order` says how those of one thing are ordered, what counts least first."""
    placed = np.lexsort((*order, near))
    first = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(near, minlength=count), out=first[1:])
    columns = (array("i", column[placed].astype(np.intc).tobytes()) for column in (relation, far, support))
    return Edges(array("q", first.tobytes()), *columns)


def _clusters(linked: Mapping[int, int], place: _Places) -> dict[int, tuple[int, ...]]:
    members: dict[int, list[int]] = {}
    for number in sorted(linked):
        members.setdefault(linked[number], []).append(number)
    placed = [tuple(place(np.array(some)).tolist()) for some in members.values() if len(some) > 1]
    return {i: some for some in placed for i in some}


class Memory:
    """The network of a store, for as long as the store is as it was.

    It is made when as much has been asked of one state of the store as making it costs, so nobody waits for more than
    twice what would have been waited for without it; or when it is asked for.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._held: tuple[object, Network | None] = (None, None)
        self._left = 0

    def now(self) -> Network | None:
        """The network as the store is now, if it is there or has become worth its while."""
        state = self._db.changes()
        held = self._held  # one value, for the sake of other threads
        if held[0] == state and held[1] is not None:
            return held[1]
        if not isinstance(state, int):  # a transaction that is not through
            return None
        if held[0] != state:
            self._held, self._left = (state, None), self._cost()
        self._left -= 1
        return self.made() if self._left <= 0 else None

    def made(self) -> Network:
        """The network as the store is now, made if it is not there."""
        state = self._db.changes()
        held = self._held
        if held[0] == state and held[1] is not None:
            return held[1]
        network = Network.of(self._db)
        if self._db.changes() == state:
            self._held = (state, network)
        else:  # somebody wrote meanwhile
            self._held = (None, None)
        return network

    def lend(self, other: Memory) -> None:
        """Let the same store's other connection have what is known here."""
        if self._held[1] is not None:
            other._held = self._held

    def _cost(self) -> int:
        """So many questions cost as much as making the network."""
        found = self._db.rows("SELECT value FROM counter WHERE name = 'assertion'")
        facts = int(found[0][0]) if found else 0
        return facts // _PAYS if facts <= _MOST else sys.maxsize
