"""A whole graph in arrays, for answers that may begin anywhere: what leads on from a thing is a slice, a hub's too.

All edges are sorted by thing, by the spelling of the relation and by that of the thing at the other end, so the rows of
each trie lie in order and no trie is built.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from palmette.core.engine import Engine
from palmette.knowledge.answer.adjacency import End, Ends, Triple, Way, along, said
from palmette.knowledge.answer.spelling import Rows, Table, Tree, spellings
from palmette.knowledge.store.network import Network
from palmette.knowledge.store.store import Store

__all__ = ["Whole"]

Ints = NDArray[np.int32]
_HUB = 1000  # things that one relation leads to


class Whole:
    """The graph as it is now; things have the numbers of its network.

    Args:
        engine: whose tokens.
        store: the graph.
        folder: where spelled names are kept.
    """

    def __init__(self, engine: Engine, store: Store, folder: Path | None) -> None:
        self._network = network = store.memory.made()
        tokenizer = engine.tokenizer
        self._names = Table.of_sequences(spellings(engine, [f" {said(n)}" for n in network.names], folder=folder))
        self._ways: list[Way] = [(number, back) for number in network.along.tolist() for back in (False, True)]
        self._along = Table.of_sequences([along(tokenizer, r, b) for r in network.relations for b in (False, True)])
        self._rank_of = dict(zip(self._ways, self._along.rank.tolist(), strict=True))
        self._first, self._way, self._far = self._edges()
        self._leading: dict[int, tuple[Tree, list[Way]]] = {}
        self._led: dict[tuple[int, Way], tuple[Tree, Ends]] = {}
        spoken = np.diff(self._first) > 0
        spoken &= ~np.fromiter((thing.literal for thing in network.things), bool, len(network.things))
        begins = np.sort(self._names.rank[spoken])
        begins = begins[self._names.end[begins] > self._names.start[begins]]
        self.size = len(begins)
        self.first: Tree = Rows(self._names, begins)
        self.first.children(0)  # kept, as it has very many rows
        self._look_at_hubs()

    def begin(self, number: int) -> int:
        """The thing that a path begins with."""
        return number

    def _edges(self) -> tuple[NDArray[np.int64], Ints, Ints]:
        """Where each thing's edges begin, each edge's relation and other end as rows of the tables."""
        count, (out, into) = len(self._network.things), (self._network.out, self._network.into)
        near = np.concatenate([np.repeat(np.arange(count), np.diff(e.first)) for e in (out, into)])
        way = np.concatenate([2 * np.array(e.relation, np.int32) + i for i, e in enumerate((out, into))])
        far = np.concatenate([np.array(e.far, np.int32) for e in (out, into)])
        way, far = self._along.rank[way], self._names.rank[far]
        order = np.lexsort((far, way, near))
        order = order[(self._names.end > self._names.start)[far[order]]]  # what cannot be spelled cannot be said
        first = np.zeros(count + 1, np.int64)
        np.cumsum(np.bincount(near[order], minlength=count), out=first[1:])
        return first, way[order], far[order]

    def _look_at_hubs(self) -> None:
        """Look once at what has very many things at the other end: what is seen there is kept."""
        group = np.repeat(np.arange(len(self._first) - 1), np.diff(self._first)) * len(self._ways) + self._way
        starts = np.flatnonzero(np.diff(group, prepend=-1))
        for i in starts[np.diff(starts, append=len(group)) > _HUB].tolist():
            thing, rank = divmod(int(group[i]), len(self._ways))
            self.led(thing, self._ways[self._along.of[rank]])[0].children(0)

    def _members(self, here: int) -> tuple[int, ...]:
        """All that are the same as a thing, that with the smallest number in the store first."""
        return self._network.same.get(here, (here,))

    def leading(self, here: int) -> tuple[Tree, list[Way]]:
        """The relations that lead on from a thing, between their arrows."""
        members = self._members(here)
        if members[0] not in self._leading:
            rows = _once([self._way[self._first[i] : self._first[i + 1]] for i in members])
            self._leading[members[0]] = Rows(self._along, rows), self._ways
        return self._leading[members[0]]

    def led(self, here: int, way: Way) -> tuple[Tree, Ends]:
        """The things that a relation leads to from a thing."""
        members = self._members(here)
        key = members[0], way
        if key not in self._led:
            rows = [self._rows(i, way) for i in members]
            self._led[key] = Rows(self._names, _once(rows)), _Ends(self._network, self._names, members, way, rows)
        return self._led[key]

    def _rows(self, thing: int, way: Way) -> Ints:
        start, end = self._first[thing], self._first[thing + 1]
        rank = self._rank_of[way]
        left, right = (int(np.searchsorted(self._way[start:end], rank, side)) for side in ("left", "right"))
        return self._far[start + left : start + right]


def _once(rows: list[Ints]) -> Ints:
    """The rows in order, each once."""
    whole = rows[0] if len(rows) == 1 else np.sort(np.concatenate(rows))
    fresh = np.ones(len(whole), bool)
    np.not_equal(whole[1:], whole[:-1], out=fresh[1:])
    return whole[fresh]


def _holds(rows: Ints, row: int) -> bool:
    place = int(np.searchsorted(rows, row))
    return place < len(rows) and bool(rows[place] == row)


@dataclass(frozen=True, eq=False)
class _Ends:
    """A thing's number to the thing and the fact that leads to it, looked up where it is asked for."""

    network: Network
    names: Table
    members: tuple[int, ...]
    way: Way
    rows: list[Ints]

    def __getitem__(self, thing: int, /) -> End:
        row, number = int(self.names.rank[thing]), self.network.numbers
        member = next(m for m, rows in zip(self.members, self.rows, strict=True) if _holds(rows, row))
        near, far = int(number[member]), int(number[thing])
        triple: Triple = (far, self.way[0], near) if self.way[1] else (near, self.way[0], far)
        return thing, triple
