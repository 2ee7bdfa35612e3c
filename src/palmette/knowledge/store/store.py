"""The store: documents go in and out whole, statements are rows, entities exist as long as something speaks of them.

Every writing method is one transaction: after a kill the store holds all of it or nothing. What is left after a removal
is what there would be had the document never been added.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from palmette.core.errors import UnknownName
from palmette.knowledge.names import key_of
from palmette.knowledge.schema import Schema
from palmette.knowledge.store.admit import checked, named, unknown
from palmette.knowledge.store.base import Database, batches, marks, migrate
from palmette.knowledge.store.links import Same, resolve
from palmette.knowledge.store.network import Memory
from palmette.knowledge.values import Chunk, Entity, Mention, Piece, Statement

__all__ = ["ASSERTION", "Known", "Part", "Store", "now"]

ASSERTION = ("s", "p", "o", "id", "chunk", "first", "last", "confidence", "valid_from", "valid_to")


@dataclass(frozen=True)
class Part:
    """A piece of a document with everything that was read in it; an alias is another name that the text gives."""

    piece: Piece
    hash: str
    statements: Sequence[Statement] = ()
    mentions: Sequence[Mention] = ()
    aliases: Sequence[tuple[Entity, str]] = ()


@dataclass(frozen=True)
class Known:
    """A document in the store: what it is, and the recipe by which it was read."""

    name: str
    title: str
    hash: str
    recipe: str
    recorded_at: str


def now() -> str:
    """The time as the store writes it.

    >>> len(now())
    20
    """
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Store:
    """A graph in a database.

    >>> from palmette.knowledge.store.sqlite import SqliteDatabase
    >>> store = Store(SqliteDatabase(":memory:"))
    >>> store.say([Statement(Entity("Apple"), "created", Entity("iMac"))])
    1
    >>> store.counts()["assertions"]
    1
    """

    def __init__(self, database: Database) -> None:
        self.db = database
        try:
            migrate(database)
        except BaseException:
            database.close()
            raise
        self.same = Same(database)
        self.memory = Memory(database)

    def close(self) -> None:
        """Let go of the database."""
        self.db.close()

    # -- documents -----------------------------------------------------------------------------------------------------

    def add_document(self, document: Known, parts: Sequence[Part], *, model: str, forget: Iterable[str] = ()) -> None:
        """Put a document with all its statements into the store; one of the same name is replaced, all in one.

        Args:
            document: its name, title and hash.
            parts: its pieces, in order, and what was read in them.
            model: who read it.
            forget: names of other documents that this one stands for.
        """
        with self.db.writing():
            for name in dict.fromkeys((document.name, *forget)):
                self._remove(name, {part.hash for part in parts})
            number = self._take("document", 1)
            row = (number, document.name, document.title, document.hash, document.recipe, document.recorded_at)
            self.db.load("document", ("id", "name", "title", "hash", "recipe", "recorded_at"), [row])
            first = self._take("chunk", len(parts))
            chunks = [
                (first + i, number, p.piece.start, p.piece.end, p.piece.text, p.hash) for i, p in enumerate(parts)
            ]
            self.db.load("chunk", ("id", "document", "first", "last", "text", "hash"), chunks)
            self.db.index([(i, document.title, text) for i, _, _, _, text, _ in chunks])
            ids = self._intern(
                e
                for part in parts
                for e in (
                    *(m.entity for m in part.mentions),
                    *(e for s in part.statements for e in (s.subject, s.object)),
                    *(e for e, _ in part.aliases),
                )
            )
            for (chunk, *_), part in zip(chunks, parts, strict=True):
                self._say([*map(checked, part.statements)], ids, chunk, model, document.recipe, document.recorded_at)
                found = [(chunk, ids[m.entity], m.start, m.end) for m in part.mentions]
                self.db.load("mention", ("chunk", "entity", "first", "last"), found)
                named = [(ids[e], surface, key_of(surface), chunk) for e, surface in part.aliases]
                self.db.load("alias", ("entity", "surface", "key", "chunk"), named)
            keys = {key_of(e.name) for e in ids if not e.literal}
            self._resolve(keys | {key_of(surface) for part in parts for _, surface in part.aliases})

    def remove(self, name: str) -> int:
        """Take a document out, with every statement, mention and entity that stands on it alone.

        Returns:
            how many assertions went.

        Raises:
            UnknownName: if there is no such document.
        """
        return self.remove_all([name])

    def remove_all(self, names: Sequence[str]) -> int:
        """Take several documents out in one transaction."""
        known = {n for (n,) in self.db.rows("SELECT name FROM document")} if len(names) > 20 else None
        for name in names:
            if (name not in known) if known is not None else self.document(name) is None:
                raise unknown("document", name, (n for (n,) in self.db.rows("SELECT name FROM document")))
        with self.db.writing():
            gone = sum(self._remove(name) for name in dict.fromkeys(names))
            self.tidy()
        return gone

    def tidy(self) -> None:
        """Forget the relations and makers of which nothing is left."""
        with self.db.writing():
            for table, column in (("relation", "p"), ("maker", "maker")):
                self.db.run(f"DELETE FROM {table} WHERE id NOT IN (SELECT {column} FROM assertion)")

    def _remove(self, name: str, kept: Collection[str] = ()) -> int:
        """Delete a document's rows; a model's replies to its pieces as well, but for those that another piece has."""
        found = self.db.rows("SELECT id, title FROM document WHERE name = ?", (name,))
        if not found:
            return 0
        document, title = found[0]
        chunks = self.db.rows("SELECT id, text, hash FROM chunk WHERE document = ?", (document,))
        touched: set[int] = set()
        keys: set[str] = set()
        gone = 0
        for some in batches([c for c, _, _ in chunks]):
            inside = f"IN ({marks(len(some))})"
            for sql in (
                f"SELECT s, o FROM assertion WHERE chunk {inside}",
                f"SELECT entity, entity FROM mention WHERE chunk {inside}",
                f"SELECT entity, entity FROM alias WHERE chunk {inside}",
            ):
                touched.update(i for row in self.db.rows(sql, some) for i in row)
            keys.update(k for (k,) in self.db.rows(f"SELECT key FROM alias WHERE chunk {inside}", some))
            gone += self.db.run(f"DELETE FROM assertion WHERE chunk {inside}", some)
            for table in ("mention", "alias", "vector"):
                self.db.run(f"DELETE FROM {table} WHERE chunk {inside}", some)
        self.db.unindex([(c, title, text) for c, text, _ in chunks])
        self.db.run("DELETE FROM chunk WHERE document = ?", (document,))
        self.db.run("DELETE FROM document WHERE id = ?", (document,))
        for some in batches(sorted({h for _, _, h in chunks} - {*kept})):
            self.db.run(
                f"DELETE FROM reply WHERE chunk_hash IN ({marks(len(some))}) "
                "AND NOT EXISTS (SELECT 1 FROM chunk WHERE chunk.hash = reply.chunk_hash)", some,
            )  # fmt: skip
        self.db.run("DELETE FROM reply WHERE chunk_hash = ''")  # summaries of what may be gone
        self._drop_unspoken(touched, keys)
        return gone

    def _drop_unspoken(self, ids: Iterable[int], keys: set[str]) -> None:
        """Delete those of the entities that nothing speaks of any more; resolve the blocks that change."""
        for some in batches(sorted(ids)):
            # A retracted assertion is history, and history keeps its entities.
            rows = self.db.rows(
                f"SELECT id, key, literal FROM entity e WHERE id IN ({marks(len(some))}) "
                "AND NOT EXISTS (SELECT 1 FROM assertion a WHERE a.s = e.id AND a.retracted_at IS NULL) "
                "AND NOT EXISTS (SELECT 1 FROM assertion a WHERE a.o = e.id AND a.retracted_at IS NULL) "
                "AND NOT EXISTS (SELECT 1 FROM mention m WHERE m.entity = e.id) "
                "AND e.id NOT IN (SELECT s FROM assertion WHERE retracted_at IS NOT NULL "
                "UNION SELECT o FROM assertion WHERE retracted_at IS NOT NULL) "
                "AND NOT EXISTS (SELECT 1 FROM alias l WHERE l.entity = e.id AND l.chunk IS NOT NULL)", some,
            )  # fmt: skip
            keys.update(key for _, key, literal in rows if not literal)
            dead = [i for i, _, _ in rows]
            if not dead:
                continue
            inside = f"IN ({marks(len(dead))})"
            keys.update(k for (k,) in self.db.rows(f"SELECT key FROM alias WHERE entity {inside}", dead))
            self.db.run(f"DELETE FROM alias WHERE entity {inside}", dead)
            self.db.run(f"DELETE FROM link WHERE a {inside} OR b {inside}", [*dead, *dead])
            self.db.run(f"DELETE FROM entity WHERE id {inside}", dead)
        self._resolve(keys)

    def document(self, name: str) -> Known | None:
        """A document by name."""
        columns = "name, title, hash, recipe, recorded_at"
        found = self.db.rows(f"SELECT {columns} FROM document WHERE name = ?", (name,))
        return Known(*found[0]) if found else None

    def documents(self) -> list[Known]:
        """All documents, by name."""
        return [
            Known(*r) for r in self.db.rows("SELECT name, title, hash, recipe, recorded_at FROM document ORDER BY name")
        ]

    def chunks(self, ids: Sequence[int]) -> list[Chunk]:
        """Chunks by their numbers, in the order of the numbers given."""
        found: dict[int, Chunk] = {}
        for some in batches(ids):
            sql = (
                "SELECT c.id, d.name, d.title, c.first, c.last, c.text FROM chunk c JOIN document d "
                f"ON d.id = c.document WHERE c.id IN ({marks(len(some))})"
            )
            found |= {r[0]: Chunk(*r) for r in self.db.rows(sql, some)}
        return [found[i] for i in ids if i in found]

    # -- statements by hand --------------------------------------------------------------------------------------------

    def say(self, statements: Iterable[Statement], *, model: str = "hand", recorded_at: str = "") -> int:
        """Put statements in that no document makes; the same one said twice by the same is one.

        Returns:
            how many were new.
        """
        said = list(map(checked, statements))
        with self.db.writing():
            ids = self._intern(e for s in said for e in (s.subject, s.object))
            new = [s for s in dict.fromkeys(said) if not self._said(s, ids, model)]
            self._say(new, ids, None, model, "", recorded_at or now())
            self._resolve({key_of(e.name) for e in ids if not e.literal})
        return len(new)

    def _said(self, s: Statement, ids: dict[Entity, int], model: str) -> bool:
        sql = (
            "SELECT 1 FROM assertion a JOIN relation r ON r.id = a.p JOIN maker m ON m.id = a.maker WHERE a.s = ? "
            "AND r.name = ? AND a.o = ? AND a.chunk IS NULL AND a.retracted_at IS NULL AND m.model = ? "
            "AND coalesce(a.valid_from, '') = ? AND coalesce(a.valid_to, '') = ?"
        )
        values = (ids[s.subject], s.relation, ids[s.object], model, s.valid_from or "", s.valid_to or "")
        return bool(self.db.rows(sql, values))

    def name(self, entity: Entity, surface: str) -> None:
        """Say that an entity is also called so."""
        with self.db.writing():
            number = self._intern([entity])[entity]
            key = key_of(surface)
            self.db.run("DELETE FROM alias WHERE entity = ? AND surface = ? AND chunk IS NULL", (number, surface))
            self.db.load("alias", ("entity", "surface", "key", "chunk"), [(number, surface, key, None)])
            self._resolve({key})

    def numbers(self, entities: Sequence[Entity]) -> list[int]:
        """The numbers of entities that the store has.

        Raises:
            UnknownName: for one that it does not have.
        """
        ids = self._known(entities)
        missing = next((e for e in entities if e not in ids), None)
        if missing is not None:
            raise UnknownName("entity", missing.name, [], " It is not in the graph.")
        return [ids[e] for e in entities]

    def retract(self, statement: Statement, *, at: str = "") -> int:
        """Declare a fact no longer believed, from now on; what was believed before can still be asked for.

        Returns:
            how many assertions were retracted.
        """
        with self.db.writing():
            ids = self._known([statement.subject, statement.object])
            relation = self.db.rows("SELECT id FROM relation WHERE name = ?", (statement.relation,))
            if len(ids) < len({statement.subject, statement.object}) or not relation:
                return 0
            return self.db.run(
                "UPDATE assertion SET retracted_at = ? WHERE s = ? AND p = ? AND o = ? AND retracted_at IS NULL",
                (at or now(), ids[statement.subject], relation[0][0], ids[statement.object]),
            )

    def _say(
        self,
        statements: Sequence[Statement],
        ids: dict[Entity, int],
        chunk: int | None,
        model: str,
        recipe: str,
        at: str,
    ) -> None:
        if not statements:
            return
        maker = self._number("maker", {"model": model, "recipe": recipe, "recorded_at": at})
        relations = {p: self._number("relation", {"name": p}) for p in dict.fromkeys(s.relation for s in statements)}
        first = self._take("assertion", len(statements))
        rows = [
            (
                ids[s.subject], relations[s.relation], ids[s.object], first + i, chunk,
                None if chunk is None else s.start, None if chunk is None else s.end,
                s.confidence, s.valid_from, s.valid_to,
            )
            for i, s in enumerate(statements)
        ]  # fmt: skip
        self.db.load("assertion", ASSERTION, rows, {"maker": maker})

    # -- a model's replies ---------------------------------------------------------------------------------------------

    def reply(self, key: str) -> str | None:
        """What a model said before."""
        found = self.db.rows("SELECT value FROM reply WHERE key = ?", (key,))
        return str(found[0][0]) if found else None

    def keep_replies(self, replies: Sequence[tuple[str, str, str, int]]) -> None:
        """Keep replies: (key, hash of the piece that it is about or "" for all of the graph, text, tokens)."""
        with self.db.writing(stamped=False):
            self.db.load("reply", ("key", "chunk_hash", "value", "tokens"), replies)

    # -- small things --------------------------------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """How much there is of everything."""
        tables = ("document", "chunk", "entity", "relation", "assertion", "mention", "alias")
        found = {
            "entities" if t == "entity" else "aliases" if t == "alias" else f"{t}s": int(
                self.db.rows(f"SELECT count(*) FROM {t}")[0][0]
            )
            for t in tables
        }
        return found | {"facts": int(self.db.rows("SELECT count(*) FROM fact")[0][0])}

    @property
    def schema(self) -> Schema:
        """The schema that the graph is held to."""
        found = self.db.rows("SELECT value FROM meta WHERE key = 'schema'")
        return Schema.read(found[0][0] if found else None)

    @schema.setter
    def schema(self, schema: Schema) -> None:
        with self.db.writing():
            self.db.run("DELETE FROM meta WHERE key = 'schema'")
            self.db.run("INSERT INTO meta (key, value) VALUES ('schema', ?)", (schema.text(),))

    def _take(self, table: str, count: int) -> int:
        """The first of so many numbers that no row of the table has had."""
        found = self.db.rows("SELECT value FROM counter WHERE name = ?", (table,))
        first = int(found[0][0]) if found else 1
        if found:
            self.db.run("UPDATE counter SET value = ? WHERE name = ?", (first + count, table))
        else:
            self.db.run("INSERT INTO counter (name, value) VALUES (?, ?)", (table, first + count))
        return first

    def _number(self, table: str, values: dict[str, str]) -> int:
        """The row with these values, made if needed."""
        where = " AND ".join(f"{column} = ?" for column in values)
        found = self.db.rows(f"SELECT id FROM {table} WHERE {where}", list(values.values()))
        if found:
            return int(found[0][0])
        number = self._take(table, 1)
        self.db.load(table, ("id", *values), [(number, *values.values())])
        return number

    def _known(self, entities: Iterable[Entity]) -> dict[Entity, int]:
        """The numbers of those of the entities that the store has."""
        wanted = dict.fromkeys(entities)
        found: dict[Entity, int] = {}
        for some in batches(dict.fromkeys(e.name for e in wanted)):
            sql = f"SELECT id, name, type, literal FROM entity WHERE name IN ({marks(len(some))})"
            found |= {Entity(n, t, bool(v)): int(i) for i, n, t, v in self.db.rows(sql, some)}
        return {e: found[e] for e in wanted if e in found}

    def _intern(self, entities: Iterable[Entity]) -> dict[Entity, int]:
        """The numbers of entities, new ones given out."""
        wanted = dict.fromkeys(map(named, entities))
        ids = self._known(wanted)
        new = [e for e in wanted if e not in ids]
        first = self._take("entity", len(new))
        rows = ((first + i, e.name, e.type, int(e.literal), key_of(e.name)) for i, e in enumerate(new))
        self.db.load("entity", ("id", "name", "type", "literal", "key"), rows)
        ids.update(zip(new, range(first, first + len(new)), strict=True))
        return ids

    def _resolve(self, keys: set[str]) -> None:
        resolve(self.db, sorted(keys))
