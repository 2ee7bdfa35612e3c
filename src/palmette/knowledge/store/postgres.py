"""PostgreSQL: the same store past one machine, through psycopg 3 (extra `postgres`).

One writer at a time holds an advisory lock until it commits, as SQLite's writer does; readers never wait. Words are
found by `tsvector` and ranked by BM25 here, so that both databases rank alike.
"""

from __future__ import annotations

import math
import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from palmette.core.errors import (
    BadParameter,
    MissingExtra,
    NotAStore,
    PalmetteError,
    StoreError,
    StoreLocked,
    StoreReadOnly,
)
from palmette.knowledge.names import tokens_of
from palmette.knowledge.store.base import Row

__all__ = ["PostgresDatabase"]

_LOCK = 0x50616C6D65747465  # one per schema of the database: hashed with its name
_NONE: Mapping[str, float] = {}
_K1, _B = 1.2, 0.75
_CANDIDATES = 400


class PostgresDatabase:
    """A store in a database's schema.

    Args:
        address: postgresql://USER@HOST/DATABASE; the password comes from it, from PGPASSWORD or from ~/.pgpass.
        schema: the schema that holds the tables; it is made if it is not there.
        wait: seconds to wait for another writer.
        read_only: whether writing is refused.

    Raises:
        MissingExtra: without psycopg.
        StoreError: if there is no connection; never with the password.
    """

    words: Mapping[str, str] = {"id": "BIGINT PRIMARY KEY", "blob": "BYTEA", "clustered": ""}

    def __init__(self, address: str, *, schema: str = "palmette", wait: float = 5.0, read_only: bool = False) -> None:
        try:
            import psycopg
        except ImportError:
            raise MissingExtra("a store on PostgreSQL", "postgres") from None
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,40}", schema):
            raise BadParameter(f"a schema's name has small letters, digits and _, not {schema!r}")
        parts = urlsplit(address)
        self.place = f"postgresql://{parts.hostname or 'localhost'}{parts.path}#{schema}"
        self.read_only, self._wait, self._schema = read_only, wait, schema
        self._psycopg: Any = psycopg
        self._depth, self._lock = 0, threading.RLock()
        with self._translated():
            self._connection: Any = psycopg.connect(address, autocommit=True, connect_timeout=10)
            if not read_only:
                self._connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            self._connection.execute(f"SET search_path TO {schema}")
            self._connection.execute(f"SET default_transaction_read_only TO {'on' if read_only else 'off'}")
            self._connection.execute("SET client_min_messages TO warning")
        try:
            self._check()
        except BaseException:
            self._connection.close()
            raise

    def _check(self) -> None:
        tables = {
            name for (name,) in self.rows("SELECT tablename FROM pg_tables WHERE schemaname = ?", (self._schema,))
        }
        if tables and "meta" not in tables:
            raise NotAStore(f"{self.place} holds tables, but no knowledge graph of Palmette's")
        if not tables and self.read_only:
            raise NotAStore(f"no store at {self.place}")

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """All rows of a query."""
        with self._lock, self._translated():
            return self._connection.execute(_dialect(sql), _plain(values)).fetchall()  # type: ignore[no-any-return]

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Carry out a statement; returns how many rows it changed."""
        with self._lock, self._translated():
            return int(self._connection.execute(_dialect(sql), _plain(values)).rowcount)

    def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Carry out a statement for each row."""
        with self._lock, self._translated(), self._connection.cursor() as cursor:
            cursor.executemany(_dialect(sql), [_plain(row) for row in rows])

    def load(
        self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], fixed: Mapping[str, float] = _NONE
    ) -> None:
        """Append rows by COPY."""
        more = tuple(fixed.values())
        sql = f"COPY {table} ({', '.join((*columns, *fixed))}) FROM STDIN"
        with self._lock, self._translated(), self._connection.cursor() as cursor, cursor.copy(sql) as copy:
            for row in rows:
                copy.write_row((*row, *more))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction that holds the writer's lock; inside another one, part of it."""
        with self._lock:
            if self._depth:
                yield
                return
            with self._translated():
                self._connection.execute("BEGIN")
            self._depth = 1
            try:
                with self._translated():
                    self._connection.execute(f"SET LOCAL lock_timeout TO {int(self._wait * 1000)}")
                    self._connection.execute(
                        "SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (_LOCK >> 33, self._schema)
                    )
                yield
                with self._translated():
                    self._connection.execute(
                        "INSERT INTO counter (name, value) VALUES ('change', 1) "
                        "ON CONFLICT (name) DO UPDATE SET value = counter.value + 1"
                    )
                    self._connection.execute("COMMIT")
            except BaseException:
                if not self._connection.closed:
                    self._connection.execute("ROLLBACK")
                raise
            finally:
                self._depth = 0

    def changes(self) -> object:
        """How often anybody has written; inside a transaction, always another value."""
        if self._depth:
            return object()
        return tuple(self.rows("SELECT value FROM counter WHERE name = 'change'"))

    def version(self) -> int:
        """The store's version; 0 for an empty database."""
        if not self.rows("SELECT 1 FROM pg_tables WHERE schemaname = ? AND tablename = 'meta'", (self._schema,)):
            return 0
        found = self.rows("SELECT value FROM meta WHERE key = 'version'")
        return int(found[0][0]) if found else 0

    def set_version(self, version: int) -> None:
        """Write the version, and on the first make the search table."""
        if version == 1:
            self.run("CREATE TABLE chunk_words (id BIGINT PRIMARY KEY, found TSVECTOR NOT NULL)")
            self.run("CREATE INDEX chunk_found ON chunk_words USING gin (found)")
        self.run("DELETE FROM meta WHERE key = 'version'")
        self.run("INSERT INTO meta (key, value) VALUES ('version', ?)", (str(version),))

    def index(self, chunks: Sequence[tuple[int, str, str]]) -> None:
        """Make chunks findable."""
        rows = [(i, _searched(f"{title} {text}")) for i, title, text in chunks]
        self.many("INSERT INTO chunk_words (id, found) VALUES (?, to_tsvector('english', ?))", rows)

    def unindex(self, chunks: Sequence[tuple[int, str, str]]) -> None:
        """Forget chunks."""
        self.many("DELETE FROM chunk_words WHERE id = ?", [(i,) for i, _, _ in chunks])

    def search(self, words: Sequence[str], most: int) -> list[tuple[int, float]]:
        """BM25 over titles and texts; candidates come from the index, the score is computed here."""
        roots = {w: r for w in words if (r := self._root(w))}
        if not roots:
            return []
        count, mean = self.rows("SELECT count(*), coalesce(avg(length(found)), 1) FROM chunk_words")[0]
        seen = {w: self.seen(w) for w in roots}
        rare = sorted(roots, key=lambda w: (seen[w], w))
        asked = " | ".join(dict.fromkeys(f"'{roots[w]}'" for w in rare))
        found = self.rows(
            "SELECT c.id, c.found::text FROM chunk_words c, to_tsquery('simple', ?) q WHERE c.found @@ q "
            "ORDER BY ts_rank_cd(c.found, q) DESC, c.id LIMIT ?", (asked, max(_CANDIDATES, 4 * most)),
        )  # fmt: skip
        idf = {roots[w]: math.log(1 + (count - seen[w] + 0.5) / (seen[w] + 0.5)) for w in roots}
        scored = [(int(i), _bm25(_counts(text), idf, float(mean))) for i, text in found]
        return sorted(scored, key=lambda pair: (-pair[1], pair[0]))[:most]

    def seen(self, word: str) -> int:
        """How many chunks hold a word."""
        root = self._root(word)
        if not root:
            return 0
        return int(
            self.rows("SELECT count(*) FROM chunk_words WHERE found @@ to_tsquery('simple', ?)", (f"'{root}'",))[0][0]
        )

    def _root(self, word: str) -> str:
        """A word as the index has it; nothing for a stop word. It is quoted, so no text is read as search syntax."""
        bare = re.sub(r"[^\w]", "", _searched(word))
        found = self.rows("SELECT lexeme FROM unnest(to_tsvector('english', ?))", (bare,)) if bare else []
        return str(found[0][0]).replace("'", "''").replace("\\", "\\\\") if found else ""

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except self._psycopg.Error as error:
            raise _ours(self._psycopg.errors, error, self.place, self._wait) from error
        except UnicodeEncodeError as error:
            raise BadParameter(
                f"half a character (a lone surrogate) in {error.object!r}; decode the text again"
            ) from None


def _dialect(sql: str) -> str:
    """`?` becomes psycopg's placeholder; a percent sign of SQL is doubled."""
    return sql.replace("%", "%%").replace("?", "%s")


def _plain(values: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(values)


def _searched(text: str) -> str:
    """The words of a text as keys have them, which is what questions are made of."""
    return " ".join(tokens_of(text))


def _counts(vector: str) -> Counter[str]:
    """How often each lexeme stands in a tsvector's text, 'apple':1,5 'imac':3."""
    return Counter(
        {m[1].replace("''", "'"): m[2].count(",") + 1 for m in re.finditer(r"'((?:[^']|'')*)':([0-9A-D,]+)", vector)}
    )


def _bm25(counts: Counter[str], idf: Mapping[str, float], mean: float) -> float:
    length = sum(counts.values())
    return sum(
        weight * counts[w] * (_K1 + 1) / (counts[w] + _K1 * (1 - _B + _B * length / mean))
        for w, weight in idf.items()
        if counts[w]
    )


def _ours(kinds: Any, error: Exception, place: str, wait: float) -> PalmetteError:
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if isinstance(error, kinds.LockNotAvailable):
        return StoreLocked(f"{place} is being written by another process, and was for {wait:g} s; try again")
    if isinstance(error, kinds.ReadOnlySqlTransaction | kinds.InsufficientPrivilege):
        return StoreReadOnly(f"{place} may not be written ({text})")
    text = re.sub(r"password=\S+|://[^@\s]*@", "…", text)
    return StoreError(f"{place}: {text}")
