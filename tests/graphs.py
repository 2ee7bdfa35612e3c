"""Small graphs and texts for the tests of knowledge."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from palmette.knowledge.documents.read import Document, document_of
from palmette.knowledge.extract.ingest import ingest
from palmette.knowledge.extract.reading import Plain
from palmette.knowledge.store.dump import canonical
from palmette.knowledge.store.sqlite import SqliteDatabase
from palmette.knowledge.store.store import Store
from palmette.knowledge.values import Entity, Statement

NASTY = (
    "O'Neil \"Bobby\"; DROP TABLE entity; --", "a MATCH b* NEAR(c) OR \"d", "`x`) DETACH DELETE n //",
    "{{7*7}} ${x} %s ? :a",
    "\\u0041 \\ ' '' \"\"", "naïve — 東京 🙂", "a\tb\nc", "<b>&amp;</b>", "-", "?x", "NULL",
)  # fmt: skip


def memory() -> Store:
    """An empty store."""
    return Store(SqliteDatabase(":memory:"))


def dump(store: Store) -> str:
    """Its canonical dump."""
    return "".join(canonical(store))


def said(*triples: tuple[str, str, str]) -> list[Statement]:
    """Statements of names."""
    return [Statement(Entity(s), p, Entity(o)) for s, p, o in triples]


def read(store: Store, texts: dict[str, str]) -> Store:
    """Documents read without a model."""
    documents: list[Document] = [document_of(name, text) for name, text in texts.items()]
    ingest(store, documents, Plain(), recorded_at="2026-01-01T00:00:00Z")
    return store


def distance(triples: Iterable[tuple[str, str, str]], start: str, goal: str) -> int | None:
    """The length of the shortest way, by breadth first over lists."""
    near: dict[str, set[str]] = {}
    for s, _, o in triples:
        near.setdefault(s, set()).add(o)
        near.setdefault(o, set()).add(s)
    far, queue = {start: 0}, deque([start])
    while queue:
        here = queue.popleft()
        if here == goal:
            return far[here]
        for there in sorted(near.get(here, ())):
            if there not in far:
                far[there] = far[here] + 1
                queue.append(there)
    return None


WORDS: Sequence[str] = (
    "Apple", "created", "iMac", "founded", "Steve Jobs", "International Business Machines (IBM)", "IBM", "in",
    "1976", "the", "was", "Paris", ".", "met", "Thomas J. Watson", "of", "and", "U.S.", "SR-2023-052", "SR-2023-053",
    "\n\n", "owns", ",",
)  # fmt: skip
