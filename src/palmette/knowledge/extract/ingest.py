"""Documents into a store: each is read piece by piece, then goes in whole, in one transaction.

A model's reply is kept the moment it is there, under the hash of model, recipe and piece. So a process that is killed
has paid for nothing twice, an unchanged document costs nothing, and of a changed one only the changed pieces are read
again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from palmette.core.errors import BadParameter
from palmette.knowledge.documents.chunk import SIZE, pieces
from palmette.knowledge.documents.read import Document, hash_of
from palmette.knowledge.extract.plain import Gazetteer, definitions, mentions
from palmette.knowledge.extract.reading import Reader, dumped, loaded
from palmette.knowledge.store.store import Known, Part, Store, now
from palmette.knowledge.values import Entity, Mention, Piece, Statement

__all__ = ["Added", "Budget", "Estimate", "estimate", "ingest"]

Progress = Callable[[int, int, str], None]  # pieces done, pieces in all, the document at work


@dataclass(frozen=True)
class Budget:
    """What an ingestion may cost; None is no limit."""

    calls: int | None = None
    tokens: int | None = None


@dataclass(frozen=True)
class Estimate:
    """What an ingestion would cost: documents that are new or changed, pieces to be read, calls, tokens at most."""

    documents: int
    pieces: int
    calls: int
    tokens: int


@dataclass(frozen=True)
class Added:
    """What an ingestion did. `left` are documents that the budget did not reach; add them again to go on."""

    documents: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    statements: int = 0
    calls: int = 0
    cached: int = 0
    tokens: int = 0

    @property
    def whole(self) -> bool:
        """Whether nothing is left to be done."""
        return not self.left


class _Spent(Exception):
    """The budget does not allow another call."""


def ingest(
    store: Store,
    documents: Iterable[Document],
    reader: Reader,
    *,
    size: int = SIZE,
    gazetteer: Gazetteer | None = None,
    budget: Budget | None = None,
    progress: Progress | None = None,
    recorded_at: str = "",
) -> Added:
    """Add documents to a store; one that is there already, unchanged and read in the same way, is left as it is.

    Args:
        store: where to.
        documents: texts with names.
        reader: who reads.
        size: characters of a piece, at most.
        gazetteer: names to be found in any case.
        budget: stop before more than this is spent; what has been read stays in the cache.
        progress: told after each piece.
        recorded_at: the time; now by default.
    """
    work = _Work(store, reader, size, gazetteer, budget or Budget(), progress)
    todo = [(document, cut) for document, cut in work.plan(documents)]
    work.total = sum(len(cut) for _, cut in todo)
    done: list[str] = []
    replaces = any(store.document(document.name) for document, _ in todo)
    for document, cut in todo:
        try:
            parts = work.parts(document, cut)
        except _Spent:
            break
        known = Known(document.name, document.title, document.hash, work.recipe, recorded_at or now())
        store.add_document(known, parts, model=reader.id)
        work.statements += sum(len(part.statements) for part in parts)
        done.append(document.name)
    if replaces and done:
        store.tidy()
    left = tuple(document.name for document, _ in todo[len(done) :])
    return Added(tuple(done), tuple(work.unchanged), left, work.statements, work.calls, work.cached, work.tokens)


def estimate(
    store: Store, documents: Iterable[Document], reader: Reader, *, size: int = SIZE, gazetteer: Gazetteer | None = None
) -> Estimate:
    """What `ingest` would cost; nothing is read and nothing written."""
    work = _Work(store, reader, size, gazetteer, Budget(), None)
    todo = list(work.plan(documents))
    costs = [
        reader.cost(piece, document.title)
        for document, cut in todo
        for piece in cut
        if not work.reply(piece, document.title)
    ]
    return Estimate(len(todo), sum(len(cut) for _, cut in todo), sum(c for c, _ in costs), sum(t for _, t in costs))


class _Work:
    """One ingestion and its counts."""

    def __init__(
        self,
        store: Store,
        reader: Reader,
        size: int,
        gazetteer: Gazetteer | None,
        budget: Budget,
        progress: Progress | None,
    ) -> None:
        self.store, self.reader, self.size, self.gazetteer = store, reader, size, gazetteer
        self.budget, self.progress = budget, progress
        names = sorted((gazetteer.names if gazetteer else {}).items())
        self.recipe = hash_of(f"{reader.id}\x1f{reader.recipe}\x1f{size}\x1f{names}")
        self.unchanged: list[str] = []
        self.total = self.finished = self.calls = self.cached = self.tokens = self.statements = 0

    def plan(self, documents: Iterable[Document]) -> Iterable[tuple[Document, list[Piece]]]:
        """The documents that are new or changed, with their pieces."""
        seen: set[str] = set()
        for document in documents:
            if document.name in seen:
                raise BadParameter(f"two documents are called {document.name!r}; give them names of their own")
            seen.add(document.name)
            known = self.store.document(document.name)
            if known is not None and (known.hash, known.recipe) == (document.hash, self.recipe):
                self.unchanged.append(document.name)
            else:
                yield document, pieces(document.text, self.size)

    def parts(self, document: Document, cut: Iterable[Piece]) -> list[Part]:
        """Read the pieces of one document."""
        out = []
        for piece in cut:
            statements = self.statements_of(piece, document.title)
            found = mentions(piece.text, self.gazetteer)
            if document.title:
                found.insert(0, Mention(Entity(document.title), 0, 0))
            aliases = [(Entity(name), short) for name, short in definitions(piece.text)]
            out.append(Part(piece, hash_of(piece.text), statements, found, aliases))
            self.finished += 1
            if self.progress is not None:
                self.progress(self.finished, self.total, document.name)
        return out

    def statements_of(self, piece: Piece, title: str) -> tuple[Statement, ...]:
        """From the cache, or from the reader."""
        calls, tokens = self.reader.cost(piece, title)
        if not calls:
            return self.reader.read(piece, title).statements
        kept = self.reply(piece, title)
        if kept is not None:
            self.cached += 1
            return kept
        self._afford(calls, tokens)
        reading = self.reader.read(piece, title)
        self.calls += reading.calls
        self.tokens += reading.tokens
        row = (self._key(piece, title), hash_of(piece.text), dumped(reading.statements), reading.tokens)
        self.store.keep_replies([row])
        return reading.statements

    def reply(self, piece: Piece, title: str) -> tuple[Statement, ...] | None:
        """What the reader said of this piece before."""
        found = self.store.reply(self._key(piece, title))
        return None if found is None else loaded(found)

    def _key(self, piece: Piece, title: str) -> str:
        return hash_of("\x1f".join((self.reader.id, self.reader.recipe, title, piece.text)))

    def _afford(self, calls: int, tokens: int) -> None:
        for limit, spent, more in ((self.budget.calls, self.calls, calls), (self.budget.tokens, self.tokens, tokens)):
            if limit is not None and spent + more > limit:
                raise _Spent
