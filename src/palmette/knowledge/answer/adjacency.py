"""What leads where in a graph, spelled in tokens: what a confined answer may say next.

`Asked` asks the store about each thing that is reached, which suits a question about few of them; `Whole` in `whole.py`
has all of the graph in arrays.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from palmette.core.engine import Engine, Tokenizer
from palmette.knowledge.answer.spelling import Tree, spellings, trie_of
from palmette.knowledge.store.base import Row, batches, marks
from palmette.knowledge.store.read import When
from palmette.knowledge.store.store import Store

__all__ = ["Adjacency", "Asked", "End", "Triple", "Way", "along", "said"]

Triple = tuple[int, int, int]  # numbers of the store
Way = tuple[int, bool]  # a relation's number, and whether it is walked backwards
End = tuple[int, Triple]  # a thing, as the adjacency numbers them, and the fact that leads to it


class Adjacency(Protocol):
    """Things, and what leads on from each. Its trees end at numbers that the lists beside them explain."""

    first: Tree
    size: int

    def begin(self, number: int) -> int:
        """The thing that a path begins with, by a number of the tree `first`, of `size` many."""
        ...

    def leading(self, here: int) -> tuple[Tree, Sequence[Way]]:
        """The relations that lead on from a thing, between their arrows."""
        ...

    def led(self, here: int, way: Way) -> tuple[Tree, Ends]:
        """The things that a relation leads to from a thing."""
        ...


class Ends(Protocol):
    """What a tree's numbers stand for."""

    def __getitem__(self, number: int, /) -> End: ...


def said(name: str) -> str:
    """A name on one line, its arrows made of other characters, so that a path can be read in one way only."""
    return " ".join(name.split()).replace("->", "→").replace("<-", "←")


def along(tokenizer: Tokenizer, relation: str, backwards: bool) -> list[int]:
    """A relation between its arrows."""
    arrow = " <-" if backwards else " ->"
    return [token for part in (arrow, f" {said(relation)}", arrow) for token in tokenizer.encode_continuation(part)]


class Asked:
    """The store's own numbers of entities; what is the same leads on alike.

    Args:
        engine, store, when, folder: as for `GraphConstraint`.
        start: where a path may begin, as numbers of entities; anywhere, if None.
    """

    def __init__(
        self, engine: Engine, store: Store, start: Sequence[int] | None, when: When, folder: Path | None
    ) -> None:
        self._engine, self._store, self._when, self._folder = engine, store, when, folder
        self._spelled: dict[int, Sequence[int]] = {}
        self._relations = {int(i): str(n) for i, n in store.db.rows("SELECT id, name FROM relation")}
        self._along: dict[Way, Sequence[int]] = {}
        self._ways: dict[int, tuple[Tree, list[Way]]] = {}
        self._ends: dict[tuple[int, int, bool], tuple[Tree, list[End]]] = {}
        self._edges: dict[int, dict[Way, list[End]]] = {}
        self._starts = self._beginnings(start)
        self.size = len(self._starts)
        self.first = trie_of([self._spelled[i] for i in self._starts])

    def begin(self, number: int) -> int:
        """The thing that a path begins with."""
        return self._starts[number]

    def _beginnings(self, start: Sequence[int] | None) -> list[int]:
        """The things with a fact, spelled all at once."""
        condition, values = self._when.sql()
        if start is None:
            rows = self._store.db.rows(
                "SELECT id, name FROM entity e WHERE literal = 0 AND ("
                f"EXISTS (SELECT 1 FROM assertion a WHERE a.s = e.id AND {condition}) OR "
                f"EXISTS (SELECT 1 FROM assertion a WHERE a.o = e.id AND {condition})) ORDER BY name, type, id",
                [*values, *values],
            )
        else:
            wanted = self._store.same.spread(start)
            by_name = "ORDER BY name, type, id"
            rows = []
            for some in batches(wanted):
                rows += self._store.db.rows(
                    f"SELECT id, name FROM entity WHERE id IN ({marks(len(some))}) {by_name}", some
                )
            rows = [row for row in rows if self._out(int(row[0]))]
        spelled = spellings(self._engine, [f" {said(n)}" for _, n in rows], folder=self._folder)
        self._spelled |= {int(i): tokens for (i, _), tokens in zip(rows, spelled, strict=True) if tokens}
        return [int(i) for i, _ in rows if int(i) in self._spelled]

    def _out(self, here: int) -> dict[Way, list[End]]:
        """What leads on from a thing: for each relation and direction, the things with their facts."""
        one = self._store.same.one(here)
        if one not in self._edges:
            condition, values = self._when.sql()
            found: dict[tuple[int, bool], dict[int, Triple]] = defaultdict(dict)
            for some in batches(self._store.same.all(one)):
                for near, backwards in (("s", False), ("o", True)):
                    sql = (
                        f"SELECT a.s, a.p, a.o FROM assertion a WHERE a.{near} IN ({marks(len(some))}) AND {condition}"
                    )
                    for s, p, o in self._store.db.rows(sql, [*some, *values]):
                        found[p, backwards].setdefault(s if backwards else o, (s, p, o))
            self._edges[one] = {way: sorted(ends.items()) for way, ends in sorted(found.items())}
        return self._edges[one]

    def leading(self, here: int) -> tuple[Tree, Sequence[Way]]:
        """The relations that lead on from a thing, between their arrows."""
        one = self._store.same.one(here)
        if one not in self._ways:
            ways = list(self._out(one))
            self._ways[one] = (trie_of([self._spelled_way(way) for way in ways]), ways)
        return self._ways[one]

    def _spelled_way(self, way: Way) -> Sequence[int]:
        if way not in self._along:
            self._along[way] = along(self._engine.tokenizer, self._relations[way[0]], way[1])
        return self._along[way]

    def led(self, here: int, way: Way) -> tuple[Tree, Ends]:
        """The things that a relation leads to from a thing."""
        one = self._store.same.one(here)
        if (one, *way) not in self._ends:
            ends = self._out(one)[way]
            self._spell(i for i, _ in ends)
            ends = [end for end in ends if self._spelled.get(end[0])]
            self._ends[one, *way] = (trie_of([self._spelled[i] for i, _ in ends]), ends)
        return self._ends[one, *way]

    def _spell(self, entities: Iterable[int]) -> None:
        """Spell what has not been spelled; all at once, so that a hub's many names are kept on disk."""
        rows: list[Row] = []
        for some in batches(sorted({i for i in entities if i not in self._spelled})):
            rows += self._store.db.rows(f"SELECT id, name FROM entity WHERE id IN ({marks(len(some))})", some)
        texts = [f" {said(str(n))}" for _, n in rows]
        for (i, _), tokens in zip(rows, spellings(self._engine, texts, folder=self._folder), strict=True):
            self._spelled[int(i)] = tokens
