"""Decoding that cannot leave the graph: every text of this constraint is a path of it, or the word for not knowing.

    Steve Jobs -> co-founded -> Apple <- develops <- iOS

The automaton is lazy: at a thing it spells out the relations that lead on from there, and after a relation the things
that it leads to, so a hub costs one trie and no enumeration of paths. Its state holds the numbers of the facts that
were used, so the citations of an answer cost nothing. After Luo et al. 2024 ("Graph-constrained reasoning"), who list
all paths beforehand, and Ma et al. 2024 ("Decoding on graphs").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from palmette.core.engine import BitMask, Engine
from palmette.core.errors import BadParameter, UsageError
from palmette.core.masks import packed
from palmette.knowledge.answer.adjacency import Adjacency, Asked, Triple
from palmette.knowledge.answer.spelling import Tree, trie_of
from palmette.knowledge.answer.whole import Whole
from palmette.knowledge.store.read import NOW, When
from palmette.knowledge.store.store import Store

__all__ = ["ABSTAIN", "GraphConstraint", "GraphState", "Place"]

ABSTAIN = " The graph does not say."
_ARROWS = re.compile(r"( ->| <-)")
_FORCED = 256  # tokens looked ahead
Tokens = NDArray[np.int32]
Hop = tuple[Triple, bool]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a prefix may stand.

    Args:
        at: "start" (a first thing is being named), "relation" (what leads on), "thing" (where it leads), "refusal" or
            "end".
        node: of the trie in use.
        here: the thing that was reached last, as the adjacency numbers them; -1 at the start.
        way: the relation in use: its number, and whether it is walked backwards.
        hops: the facts so far, as triples of numbers, each with whether it was walked backwards.
    """

    at: str
    node: int = 0
    here: int = -1
    way: tuple[int, bool] = (-1, False)
    hops: tuple[Hop, ...] = ()


# Nearly always one place; more where a name may end and may go on with the same token.
GraphState = tuple[Place, ...]


class GraphConstraint:
    """Paths of a graph, as the tokenizer spells them.

    Args:
        engine: whose tokens.
        store: the graph. What is written to it afterwards may or may not be seen: make a new constraint.
        start: where a path may begin, as numbers of entities; anywhere, if None.
        most_hops: the longest path.
        abstain: whether " The graph does not say." is an answer, too.
        when: the times.
        folder: where spelled names are kept.

    Raises:
        BadParameter: if there is nowhere to begin and abstaining is not allowed.

    >>> import palmette
    >>> from palmette.knowledge.store.sqlite import SqliteDatabase
    >>> from palmette.knowledge.values import Entity, Statement
    >>> store = Store(SqliteDatabase(":memory:"))
    >>> _ = store.say([Statement(Entity("Apple"), "created", Entity("iMac"))])
    >>> rule = GraphConstraint(palmette.open_engine("zoo:seedling"), store)
    >>> rule.accepts(rule.read(" Apple -> created -> iMac")), rule.accepts(rule.read(" Apple -> created -> iPod"))
    (True, False)
    """

    def __init__(
        self, engine: Engine, store: Store, *, start: Sequence[int] | None = None, most_hops: int = 3,
        abstain: bool = True, when: When = NOW, folder: Path | None = None,
    ) -> None:  # fmt: skip
        if not engine.eos:
            raise UsageError("a path needs an engine with an end-of-sequence token, to say when it is complete")
        if most_hops < 1:
            raise BadParameter(f"most_hops must be at least 1, not {most_hops!r}")
        self._engine, self._store, self._most_hops, self._eos = engine, store, most_hops, engine.eos
        self._ending = np.array(sorted(engine.eos), np.int32)
        self._refusal = trie_of([engine.tokenizer.encode_continuation(ABSTAIN)] if abstain else [])
        anywhere = start is None and when is NOW
        self._graph: Adjacency
        self._graph = Whole(engine, store, folder) if anywhere else Asked(engine, store, start, when, folder)
        if not self._graph.size and not abstain:
            raise BadParameter("no thing of the graph has a fact that a path could begin with")

    def __repr__(self) -> str:
        return f"paths of {self._store.db.place} from {self._graph.size} things"

    # -- the constraint ------------------------------------------------------------------------------------------------

    def start(self) -> GraphState:
        """Nothing is said yet."""
        return (Place("start"), Place("refusal"))

    def mask(self, s: GraphState) -> BitMask:
        """The tokens that lead on to some path."""
        return packed(self._allowed(s), self._engine.vocabulary)

    def step(self, s: GraphState, token: int) -> GraphState:
        """The state after a token."""
        return tuple(dict.fromkeys(place for before in s for place in self._moves(before, token)))

    def forced(self, s: GraphState) -> tuple[int, ...]:
        """The tokens up to the next real choice."""
        way: list[int] = []
        while len(allowed := self._allowed(s)) and (allowed == allowed[0]).all() and len(way) < _FORCED:
            way.append(int(allowed[0]))
            if way[-1] in self._eos:
                break
            s = self.step(s, way[-1])
        return tuple(way)

    def accepts(self, s: GraphState) -> bool:
        """Whether a path is complete here, or the refusal."""
        return any(self._whole(place) for place in s)

    # -- what a prefix means -------------------------------------------------------------------------------------------

    def hops(self, s: GraphState) -> tuple[Hop, ...]:
        """The facts of a complete path; none, if it is the refusal."""
        whole = next((place for place in s if self._whole(place)), None)
        if whole is not None and whole.at == "thing":
            whole = self._reached(whole)
        return whole.hops if whole is not None else ()

    def read(self, text: str) -> GraphState:
        """The state after a text, spelled as the constraint spells it: each name and each arrow by itself."""
        parts = [text] if text == ABSTAIN else [part for part in _ARROWS.split(text) if part]
        s = self.start()
        for part in parts:
            for token in self._engine.tokenizer.encode_continuation(part):
                s = self.step(s, token)
        return s

    # -- inside --------------------------------------------------------------------------------------------------------

    def _allowed(self, s: GraphState) -> Tokens:
        """Tokens, some perhaps twice."""
        found = [tokens for place in s for tokens in self._leads(place)]
        return found[0] if len(found) == 1 else np.concatenate(found) if found else np.zeros(0, np.int32)

    def _leads(self, p: Place) -> Iterator[Tokens]:
        """The tokens that may follow a place."""
        if p.at != "end":
            trie = self._trie(p)
            if p.at != "relation" or p.node or len(p.hops) < self._most_hops:
                yield trie.children(p.node)
        if self._whole(p):
            yield self._ending
        after = self._reached(p)
        if after is not None and len(after.hops) < self._most_hops:
            yield self._graph.leading(after.here)[0].children(0)

    def _moves(self, p: Place, token: int) -> Iterator[Place]:
        """The places after a token."""
        if p.at == "end":
            return
        if token in self._eos:
            if self._whole(p):
                reached = self._reached(p)
                yield Place("end", hops=reached.hops if reached is not None else p.hops)
            return
        trie = self._trie(p)
        further = trie.step(p.node, token) if p.at != "relation" or p.node or len(p.hops) < self._most_hops else -1
        if further >= 0:
            ended = trie.ending(further) if p.at == "relation" else -1
            if ended >= 0:  # the arrow after a relation closes it
                yield Place("thing", 0, p.here, self._graph.leading(p.here)[1][ended], p.hops)
            else:
                yield Place(p.at, further, p.here, p.way, p.hops)
        after = self._reached(p)
        if after is not None:
            yield from self._moves(after, token)

    def _trie(self, p: Place) -> Tree:
        if p.at == "start":
            return self._graph.first
        if p.at == "refusal":
            return self._refusal
        return self._graph.leading(p.here)[0] if p.at == "relation" else self._graph.led(p.here, p.way)[0]

    def _whole(self, p: Place) -> bool:
        if p.at == "refusal":
            return self._refusal.ending(p.node) >= 0
        return p.at == "end" or (p.at == "thing" and self._reached(p) is not None)

    def _reached(self, p: Place) -> Place | None:
        """The place after the name that ends here, if one does."""
        if p.at == "start" and p.node:
            ended = self._graph.first.ending(p.node)
            return None if ended < 0 else Place("relation", 0, self._graph.begin(ended))
        if p.at != "thing" or not p.node:
            return None
        trie, ends = self._graph.led(p.here, p.way)
        ended = trie.ending(p.node)
        if ended < 0:
            return None
        there, triple = ends[ended]
        return Place("relation", 0, there, hops=(*p.hops, (triple, p.way[1])))
