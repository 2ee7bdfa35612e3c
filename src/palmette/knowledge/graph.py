"""A knowledge graph as a person uses it: add texts, ask questions, look at what is said and by whom, take things out.

Everything here is one line into the folders below; nothing here knows how a model is opened (see `models/graph.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from palmette.core.errors import BadParameter, DocumentError, StoreError
from palmette.core.model import Model
from palmette.knowledge.answer.ask import Answer, Mode, ask
from palmette.knowledge.answer.calibrate import Asked, Calibration, calibrate
from palmette.knowledge.answer.evidence import CARE
from palmette.knowledge.answer.overview import Group, Overview, groups, overview
from palmette.knowledge.documents.chunk import SIZE
from palmette.knowledge.documents.read import MOST_BYTES, Document, document_of, read
from palmette.knowledge.exchange import export, take
from palmette.knowledge.extract.by_model import ByEngine, ByModel, Local
from palmette.knowledge.extract.ingest import Added, Budget, Estimate, Progress, estimate, ingest
from palmette.knowledge.extract.plain import Gazetteer
from palmette.knowledge.extract.reading import Plain, Reader
from palmette.knowledge.retrieve.community import Community, communities
from palmette.knowledge.retrieve.passages import Embedder, Hit, Retriever, Way
from palmette.knowledge.retrieve.paths import around, near, path
from palmette.knowledge.retrieve.query import Table, query, query_schema
from palmette.knowledge.schema import Schema, induced
from palmette.knowledge.store import links
from palmette.knowledge.store.bulk import load
from palmette.knowledge.store.network import Direction, Names
from palmette.knowledge.store.read import NOW, When, assertions, conflicts, entity, facts, find, named, quoted, stated
from palmette.knowledge.store.sqlite import SqliteDatabase
from palmette.knowledge.store.store import Store
from palmette.knowledge.values import Assertion, Conflict, Entity, Fact, Statement
from palmette.knowledge.values import Path as Way_

__all__ = ["Graph", "open_store"]

Opened = Model | Local | Reader | None
Said = Statement | tuple[str, str, str]


def open_store(place: str | Path, **options: Any) -> Store:
    """A store at a path, in memory for ":memory:", or at a postgresql:// address."""
    if str(place).startswith(("postgresql://", "postgres://")):
        from palmette.knowledge.store.postgres import PostgresDatabase

        return Store(PostgresDatabase(str(place), **options))
    if "://" in str(place):
        scheme = str(place).split("://")[0]
        raise StoreError(f"no store of kind {scheme!r}: write a path, or postgresql://USER@HOST/DATABASE")
    return Store(SqliteDatabase(place, **options))


def _statement(said: Said, types: Mapping[str, str]) -> Statement:
    if isinstance(said, Statement):
        return said
    if isinstance(said, str) or len(said) != 3 or not all(isinstance(part, str) for part in said):
        raise BadParameter(f"a fact is (subject, relation, object), three texts, or a Statement, not {said!r}")
    subject, relation, object = said
    return Statement(Entity(subject, types.get(subject, "")), relation, Entity(object, types.get(object, "")))


class Graph:
    """A graph in a store.

    Args:
        store: where it is kept, see `open_store`.
        opening: what turns a model's name into a model.
        embedder: vectors for passages, if you like.

    >>> graph = Graph(open_store(":memory:"))
    >>> graph.add("Steve Jobs co-founded Apple. Apple released the iPhone.", name="notes").statements
    2
    >>> print(graph.path("iPhone", "Steve Jobs"))
    iPhone <-[released]- Apple <-[co-founded]- Steve Jobs
    """

    def __init__(
        self, store: Store, *, opening: Callable[[Any], Opened] | None = None, embedder: Embedder | None = None
    ) -> None:
        self.store = store
        self.search = Retriever(store, embedder)
        self._opening = opening

    def __enter__(self) -> Graph:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Graph({self.store.db.place!r})"

    def close(self) -> None:
        """Let go of the store."""
        self.store.close()

    # -- in and out ----------------------------------------------------------------------------------------------------

    def add(
        self, text: str | Document | Iterable[Document], *, name: str = "text", title: str | None = None,
        by: Any = None, size: int = SIZE, budget: Budget | None = None, gazetteer: Mapping[str, str] | None = None,
        progress: Progress | None = None, **options: Any,
    ) -> Added:  # fmt: skip
        """Read texts into the graph; one of the same name is replaced, an unchanged one costs nothing.

        Args:
            text: the text, or documents (see `palmette.knowledge.documents.read`).
            name: what the text is called, to take it out again.
            title: what it is about; its first heading by default.
            by: a model or its name; without one, names and verb phrases are read by rules.
            size: characters of a piece, at most.
            budget: calls and tokens that may be spent; what is left over is added by the same call again.
            gazetteer: names that are known, with their types.
            progress: told after each piece: done, in all, which document.
            options: of the extraction: max_tokens, least, most, tries.
        """
        known = Gazetteer(dict(gazetteer)) if gazetteer else None
        documents = self._documents(text, name, title)
        reader = self.reader(by, gazetteer=known, **options)
        return ingest(self.store, documents, reader, size=size, gazetteer=known, budget=budget, progress=progress)

    def add_files(self, *paths: str | Path, encoding: str = "", most_bytes: int = MOST_BYTES, **options: Any) -> Added:
        """Read files into the graph: Markdown, text, HTML, PDF; see `add` for the options."""
        return self.add([read(path, encoding=encoding, most_bytes=most_bytes) for path in paths], **options)

    def estimate(
        self,
        text: str | Document | Iterable[Document],
        *,
        name: str = "text",
        by: Any = None,
        size: int = SIZE,
        **options: Any,
    ) -> Estimate:
        """What `add` would cost."""
        return estimate(self.store, self._documents(text, name, None), self.reader(by, **options), size=size)

    def say(self, *said: Said, by: str = "hand", types: Mapping[str, str] | None = None) -> int:
        """Put facts in by hand: (subject, relation, object), or whole statements; returns how many were new."""
        return self.store.say([_statement(s, types or {}) for s in said], model=by)

    def load(self, triples: Iterable[tuple[str, str, str]], *, by: str = "import") -> int:
        """Put very many facts in at once; returns how many."""
        return load(self.store, triples, model=by)

    def retract(self, *said: Said) -> int:
        """Declare facts no longer believed; `known=` still shows what was believed before."""
        return sum(self.store.retract(s) for s in [_statement(s, {}) for s in said])

    def remove(self, *names: str) -> int:
        """Take documents out, with everything that stands on them alone; returns how many assertions went."""
        return self.store.remove_all(names)

    def documents(self) -> list[str]:
        """The names of the documents."""
        return [known.name for known in self.store.documents()]

    @contextmanager
    def reading(self, *, in_memory: bool = False) -> Iterator[Graph]:
        """The graph as it is now: every question of the block sees one state of it, whoever writes meanwhile.

        Args:
            in_memory: read the facts into memory first, about 4 seconds and 75 MB for a million of them; `facts`,
                `triples` and `near` then take microseconds. A graph that is asked very often without being changed
                does so by itself, and asks before each answer whether it still is as it was.

        >>> notes = Graph(open_store(":memory:"))
        >>> _ = notes.say(("Steve Jobs", "co-founded", "Apple"))
        >>> with notes.reading() as held:
        ...     _ = notes.say(("Steve Wozniak", "co-founded", "Apple"))
        ...     len(held.facts()), len(notes.facts())
        (1, 2)
        """
        with Graph(Store(self.store.db.held()), opening=self._opening, embedder=self.search.embedder) as held:
            self.search.lend(held.search)
            self.store.memory.lend(held.store.memory)
            if in_memory:
                held.store.memory.made()
                held.store.memory.lend(self.store.memory)
            yield held

    # -- questions -----------------------------------------------------------------------------------------------------

    def ask(
        self, question: str, *, by: Any = None, mode: Mode | None = None, care: float = CARE, at: str | None = None,
        known: str | None = None, max_tokens: int = 256, abstain: bool = True,
    ) -> Answer:  # fmt: skip
        """Answer a question, or say that the graph does not.

        Args:
            question: text.
            by: a model or its name; without one the best facts are the answer.
            mode: "cite", "confined", "free" or "none"; see `palmette.knowledge.answer.ask`.
            care: how sure it must be that the graph supports an answer, 0 to 1; 0 answers whatever is found.
            at, known: what held at a time, what the graph knew at a time.
            max_tokens: of the model's answer.
            abstain: whether a model may say that the facts do not answer.
        """
        model = self._answering(by)
        when = When(at, known)
        return ask(
            self.search, question, model, mode=mode, care=care, max_tokens=max_tokens, when=when, abstain=abstain
        )

    def calibrate(self, questions: Sequence[Asked], *, refuse: float = 0.95) -> Calibration:
        """Learn from questions, each with the names of all documents that answer it, the `care` under which `ask`
        refuses such a share of questions that have no answer here; see `palmette.knowledge.answer.calibrate`.
        """
        return calibrate(self.search, questions, refuse=refuse)

    def passages(self, question: str, most: int = 10, *, way: Way = "graph") -> list[Hit]:
        """The passages that a question needs, the best first."""
        return self.search.passages(question, most, way=way)

    def facts(
        self, subject: str | Entity | None = None, relation: str | None = None, object: str | Entity | None = None, *,
        at: str | None = None, known: str | None = None, most: int | None = None,
    ) -> list[Fact]:  # fmt: skip
        """Facts with these parts; None leaves a part open.

        Raises:
            UnknownName: for a thing or a relation that the graph does not have, with the nearest one. So do all that
                ask by name: `triples`, `near`, `around`, `path`, `quotes`, `conflicts`, `query`.

        >>> notes = Graph(open_store(":memory:"))
        >>> _ = notes.say(("Steve Jobs", "co-founded", "Apple"))
        >>> notes.facts("Apple", "founded")
        Traceback (most recent call last):
        ...
        palmette.core.errors.UnknownName: no relation 'founded'. Did you mean 'co-founded'? Known: co-founded.
        """
        when = NOW if at is None and known is None else When(at, known)
        return stated(self.store, (subject, relation, object), when=when, most=most)

    def triples(
        self, subject: str | Entity | None = None, relation: str | None = None, object: str | Entity | None = None, *,
        at: str | None = None, known: str | None = None, most: int | None = None,
    ) -> list[Names]:  # fmt: skip
        """The same facts as names: subject, relation, object, which is what `say` and `load` take."""
        when = NOW if at is None and known is None else When(at, known)
        return named(self.store, (subject, relation, object), when=when, most=most)

    def near(
        self, name: str | Entity, hops: int = 1, *, direction: Direction = "any", at: str | None = None
    ) -> list[Entity]:
        """The things within so many hops of one, the nearest first; facts are walked "out", "in", or "any" way."""
        return near(self.store, name, hops=hops, direction=direction, when=NOW if at is None else When(at))

    def around(self, name: str | Entity, hops: int = 1, *, most: int = 50, at: str | None = None) -> list[Fact]:
        """The facts within so many hops of a thing, in either direction, with quotes."""
        found = around(self.store, entity(self.store, name), hops=hops, most=most, when=When(at))
        return quoted(self.store, found, when=When(at))

    def path(
        self, start: str | Entity, goal: str | Entity, *, most_hops: int = 8, at: str | None = None
    ) -> Way_ | None:
        """The shortest way between two things; None if there is none."""
        return path(self.store, start, goal, most_hops=most_hops, when=When(at))

    def quotes(self, fact: Fact, *, at: str | None = None, known: str | None = None) -> list[Assertion]:
        """Everything that was said about a fact: by whom, when, in which words."""
        found = assertions(self.store, fact, when=When(at, known))
        if not found:  # perhaps because a name of it is not there, which is then said
            stated(self.store, (fact.subject, fact.relation, fact.object), most=0)
        return found

    def conflicts(self, *relations: str) -> list[Conflict]:
        """What contradicts itself: several objects of a relation that can have one (the schema's, or those named)."""
        return conflicts(self.store, relations=relations or None)

    def query(self, asked: Mapping[str, Any], *, seconds: float = 10.0) -> Table:
        """Answer a typed query; see `palmette.knowledge.retrieve.query`."""
        return query(self.store, asked, seconds=seconds)

    def query_schema(self) -> dict[str, Any]:
        """The JSON Schema of queries; it names what this graph has and nothing else."""
        return query_schema(self.store)

    def communities(self, *, most: int = 20) -> list[Community]:
        """Groups of things that stand close together, the largest first; computed when asked for."""
        return communities(self.store, most=most)

    def groups(self, *, by: Any = None, most: int = 20, max_tokens: int = 256) -> list[Group]:
        """The communities with what is said of each: by a model, or its best facts. Summaries are kept in the store."""
        return groups(self.search, self._answering(by), most=most, max_tokens=max_tokens)[0]

    def overview(self, question: str, *, by: Any = None, most: int = 8, max_tokens: int = 256) -> Overview:
        """Answer a question about the whole; see `palmette.knowledge.answer.overview` (extra `communities`)."""
        return overview(self.search, question, self._answering(by), most=most, max_tokens=max_tokens)

    # -- names ---------------------------------------------------------------------------------------------------------

    def same(self, a: str | Entity, b: str | Entity) -> None:
        """Say that two names mean one thing. Nothing is merged: `unlink` takes it back."""
        links.same(self.store.db, *self._two(a, b))

    def apart(self, a: str | Entity, b: str | Entity) -> None:
        """Say that two names mean two things, whatever the rules make of them."""
        links.same(self.store.db, *self._two(a, b), kind="apart")

    def unlink(self, a: str | Entity, b: str | Entity) -> bool:
        """Take back what was said by `same` or `apart`."""
        return bool(links.unlink(self.store.db, *self._two(a, b)))

    def suggestions(self, *, least: float = 0.75) -> list[tuple[str, str, float]]:
        """Names that might mean one thing, for you to decide."""
        return links.suggestions(self.store.db, least=least)

    # -- schema, export ------------------------------------------------------------------------------------------------

    @property
    def schema(self) -> Schema:
        """What models may say in this graph."""
        return self.store.schema

    @schema.setter
    def schema(self, schema: Schema | Mapping[str, Any] | str | None) -> None:
        self.store.schema = Schema.read(schema)

    def induce(self, *, least: int = 2) -> Schema:
        """A schema from what has been found, to be looked at and edited before it is set."""
        return induced(facts(self.store), least=least)

    def export(self, format: str = "json") -> Iterator[str]:
        """The graph as text, piece by piece: json (all there is), graphml, nquads, csv or cypher (the facts)."""
        return export(self.store, format)

    def take(self, text: str, format: str = "json") -> int:
        """Read an export into the graph; returns how many assertions came in."""
        return take(self.store, text, format)

    def counts(self) -> dict[str, int]:
        """How much there is of everything."""
        return self.store.counts()

    # -- inside --------------------------------------------------------------------------------------------------------

    def reader(self, by: Any = None, *, gazetteer: Gazetteer | None = None, **options: Any) -> Reader:
        """What reads pieces: rules, or a model, under this graph's schema."""
        model, schema = self._open(by), self.store.schema
        if model is None:
            if options:
                raise BadParameter(f"reading without a model has no {next(iter(options))!r}")
            return Plain(schema, gazetteer or Gazetteer({}))
        if isinstance(model, Local):
            return ByEngine(model, schema, **options)
        if isinstance(model, Model):
            return ByModel(model, schema, **options)
        return model

    def _open(self, by: Any) -> Opened:
        if by is None or by == "none":
            return None
        if self._opening is not None:
            by = self._opening(by)
        if isinstance(by, Model | Local) or by is None or hasattr(by, "recipe"):
            return by  # type: ignore[no-any-return]
        raise BadParameter(f"{by!r} is no model; open one with palmette.model")

    def _answering(self, by: Any) -> Model | Local | None:
        model = self._open(by)
        if model is not None and not isinstance(model, Model | Local):
            raise BadParameter(f"{by!r} reads texts and answers no questions")
        return model

    def _documents(self, text: str | Document | Iterable[Document], name: str, title: str | None) -> Sequence[Document]:
        if isinstance(text, str):
            return [document_of(name, text, title)]
        found = [text] if isinstance(text, Document) else list(text) if isinstance(text, Iterable) else [text]
        odd = next((one for one in found if not isinstance(one, Document)), None)
        if odd is not None:
            raise DocumentError(f"what is read is a text or documents, not {odd!r}")
        return found

    def _two(self, a: str | Entity, b: str | Entity) -> tuple[int, int]:
        """The numbers of two names, which must mean two things."""
        found = []
        for name in (a, b):
            some = [i for i, e in find(self.store, str(name)) if not isinstance(name, Entity) or e == name]
            if len(some) != 1:
                entity(self.store, name)  # names the near miss
                raise BadParameter(f"{str(name)!r} means {len(some)} things; say which with Entity(name, type)")
            found.append(some[0])
        return found[0], found[1]
