"""The graph in memory: which passages name which things, and which things stand in one fact, as one weighted web.

A thing is a cluster of entities that are the same. It is named in a passage where one of its keys stands there, the
longest of several, in whatever case it is written; so a passage names things that only other documents know as names.
An edge weighs by how rare its thing is, and three times that to the passages that are about the thing. The web is a
function of the store's contents; it is made once for each state of the store, and that of a large one is kept on disk.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palmette.knowledge.cache import cache_folder, joined, keep, kept, parted
from palmette.knowledge.extract.plain import STOP
from palmette.knowledge.names import Lexicon, key_of
from palmette.knowledge.retrieve.pagerank import Web
from palmette.knowledge.store.links import clusters
from palmette.knowledge.store.store import Store

__all__ = ["Snapshot", "snapshot", "variants"]

FORMAT = 1  # of the file that a web is kept in
KEPT_FROM = 1000  # passages and entities
TITLE = 3.0  # how much more a passage is tied to what it is about
FACT = 1.0
_BRACKET = re.compile(r"\s*[(（][^()（）]*[)）]\s*$")


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Nodes 0 … chunks - 1 are passages, the others things; `entities[i]` is the smallest entity of thing i."""

    stamp: object
    chunks: NDArray[np.int64]
    entities: NDArray[np.int64]
    of: dict[int, int] = field(repr=False)  # the thing of an entity
    lexicon: Lexicon[tuple[int, ...]] = field(repr=False)
    rarity: NDArray[np.float64] = field(repr=False)
    web: Web = field(repr=False)


def variants(title: str) -> list[str]:
    """The keys under which something is looked up: its own, and without what tells it from its namesakes.

    >>> variants("Mercury (planet)"), variants("Paris, Texas")
    (['mercury planet', 'mercury'], ['paris texas', 'paris'])
    """
    forms = [title, _BRACKET.sub("", title), title.split(",")[0]]
    return [k for k in dict.fromkeys(key_of(f) for f in forms if f.strip()) if k]


def snapshot(store: Store, folder: Path | None = None) -> Snapshot:
    """The web of a store as it is now.

    Args:
        store: the graph.
        folder: where a large one is kept; see `palmette.knowledge.cache`.
    """
    changes = store.db.changes()
    stamp = store.db.stamp()
    if changes != stamp or not stamp or store.db.place == ":memory:" or not _large(store):  # first: in a transaction
        return _made(store, changes)
    name = hashlib.blake2b(os.path.abspath(store.db.place).encode(), digest_size=12).hexdigest()
    path = (folder or cache_folder()) / f"web-{name}.npz"
    held = kept(path, *_KEPT)
    if held is not None and held["state"].tolist()[:2] == [FORMAT, stamp]:
        return _thawed(held, changes)
    made = _made(store, changes)
    keep(path, _frozen(made, stamp))
    return made


def _large(store: Store) -> bool:
    """Whether reading a file is faster than making the web."""
    sizes = store.db.rows("SELECT count(*) FROM chunk UNION ALL SELECT count(*) FROM entity")
    return sum(int(n) for (n,) in sizes) >= KEPT_FROM


_KEPT = ("state", "chunks", "entities", "of", "keys", "counts", "things", "rarity", "source", "target", "weight")


def _frozen(made: Snapshot, stamp: int) -> dict[str, NDArray[Any]]:
    things = list(made.lexicon.things.values())
    return {
        "state": np.array([FORMAT, stamp, made.web.nodes], np.int64), "chunks": made.chunks, "entities": made.entities,
        "of": np.array(list(made.of.items()), np.int64).reshape(-1, 2), "keys": joined(list(made.lexicon.things)),
        "counts": np.fromiter(map(len, things), np.int64, len(things)),
        "things": np.fromiter((t for some in things for t in some), np.int64),
        "rarity": made.rarity, "source": made.web.source, "target": made.web.target, "weight": made.web.weight,
    }  # fmt: skip


def _thawed(held: Mapping[str, NDArray[Any]], changes: object) -> Snapshot:
    ends = np.cumsum(held["counts"]).tolist()
    flat = held["things"].tolist()
    things = (tuple(flat[a:b]) for a, b in zip([0, *ends[:-1]], ends, strict=bool(ends)))
    lexicon = Lexicon.of(dict(zip(parted(held["keys"]), things, strict=True)))
    web = Web(int(held["state"][2]), held["source"], held["target"], held["weight"])
    of = dict(zip(*held["of"].T.tolist(), strict=True))
    return Snapshot(changes, held["chunks"], held["entities"], of, lexicon, held["rarity"], web)


def _made(store: Store, changes: object) -> Snapshot:
    rows = store.db.rows("SELECT c.id, c.text FROM chunk c ORDER BY c.id")
    place = {int(chunk): i for i, (chunk, _) in enumerate(rows)}
    things = _Things(store)
    lexicon = Lexicon.of(things.keys())
    ties: dict[tuple[int, int], float] = {}
    for i, (_, text) in enumerate(rows):
        for _, _, found in lexicon.find(text):
            for thing in found:
                ties[i, thing] = 1.0
    for chunk, thing in things.titled:
        ties[place[chunk], thing] = TITLE
    named = np.bincount(np.fromiter((t for _, t in ties), np.int64, len(ties)), minlength=len(things.entities))
    rarity = np.log1p((1 + len(rows)) / np.maximum(1, named))
    web = _web(len(rows), things, ties, rarity)
    entities = np.array(things.entities, np.int64)
    return Snapshot(changes, np.array(list(place), np.int64), entities, things.of, lexicon, rarity, web)


class _Things:
    """Clusters of entities, numbered by their smallest member, with what the store says of them."""

    def __init__(self, store: Store) -> None:
        same = clusters(store.db.rows("SELECT a, b, kind, source FROM link"))
        self._rows = store.db.rows("SELECT id, name, key FROM entity WHERE literal = 0 ORDER BY id")
        self.entities = sorted({same.get(int(i), int(i)) for i, _, _ in self._rows})
        number = {entity: i for i, entity in enumerate(self.entities)}
        self.of = {int(i): number[same.get(int(i), int(i))] for i, _, _ in self._rows}
        self._aliases = store.db.rows("SELECT entity, key FROM alias")
        mentions = store.db.rows("SELECT chunk, entity, last FROM mention")
        self.titled = sorted({(int(c), self.of[e]) for c, e, last in mentions if not last and e in self.of})
        self._seen: dict[int, set[int]] = defaultdict(set)
        for chunk, entity, _ in mentions:
            if entity in self.of:
                self._seen[self.of[entity]].add(chunk)
        facts = store.db.rows("SELECT s, o, count(*) - count(retracted_at) FROM assertion GROUP BY s, o")
        self._spoken = {self.of[e] for s, o, _ in facts for e in (s, o) if e in self.of}  # what once was, can be asked
        self.facts = [(self.of[s], self.of[o], int(n)) for s, o, n in facts if n and s in self.of and o in self.of]

    def keys(self) -> dict[str, tuple[int, ...]]:
        """What may be found in a text: titles, what two passages name, what a fact speaks of, and other names."""
        titles = {thing for _, thing in self.titled}
        known = titles | {t for t, seen in self._seen.items() if len(seen) > 1}
        known |= self._spoken | {self.of[e] for e, _ in self._aliases}
        found: dict[str, dict[int, None]] = defaultdict(dict)
        for entity, name, key in self._rows:
            thing = self.of[entity]
            if thing in known:
                for form in variants(name) if thing in titles else [key]:
                    found[form][thing] = None
        for entity, key in self._aliases:
            found[key][self.of[entity]] = None
        return {k: tuple(t) for k, t in found.items() if len(k) > 1 and k not in STOP}


def _web(chunks: int, things: _Things, ties: dict[tuple[int, int], float], rarity: NDArray[np.float64]) -> Web:
    places = np.array(list(ties), np.int64).reshape(-1, 2)
    weights = np.fromiter(ties.values(), np.float64, len(ties)) * rarity[places[:, 1]]
    facts = np.array([(s, o) for s, o, _ in things.facts], np.int64).reshape(-1, 2)
    strength = np.array([FACT * math.log1p(n) for _, _, n in things.facts]) * rarity[facts].min(1, initial=9.0)
    source = np.concatenate([places[:, 0], places[:, 1] + chunks, facts[:, 0] + chunks, facts[:, 1] + chunks])
    target = np.concatenate([places[:, 1] + chunks, places[:, 0], facts[:, 1] + chunks, facts[:, 0] + chunks])
    return Web(chunks + len(things.entities), source, target, np.concatenate([weights, weights, strength, strength]))
