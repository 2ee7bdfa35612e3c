"""PostgreSQL: the same store past one machine, through psycopg 3 (extra `postgres`).

One writer at a time holds an advisory lock until it commits, as SQLite's writer does; readers never wait. Words are
found by `tsvector` and ranked by BM25 here, so that both databases rank alike.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from palmette.core.errors import (
    BadParameter,
    MissingExtra,
    NotAStore,
    PalmetteError,
    StoreError,
    StoreReadOnly,
)
from palmette.knowledge.names import tokens_of
from palmette.knowledge.store.connection import NOTHING, Connection

__all__ = ["PostgresDatabase"]

_LOCK = 0x50616C6D65747465  # one per schema of the database: hashed with its name
_K1, _B = 1.2, 0.75
_CANDIDATES = 400


class PostgresDatabase(Connection):
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

    begin_reading = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    words: Mapping[str, str] = {"id": "BIGINT PRIMARY KEY", "blob": "BYTEA", "clustered": ""}

    def __init__(self, address: str, *, schema: str = "palmette", wait: float = 5.0, read_only: bool = False) -> None:
        try:
            import psycopg
        except ImportError:
            raise MissingExtra("a store on PostgreSQL", "postgres") from None
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,40}", schema):
            raise BadParameter(f"a schema's name has small letters, digits and _, not {schema!r}")
        parts = urlsplit(address)
        place = f"postgresql://{parts.hostname or 'localhost'}{parts.path}#{schema}"
        super().__init__(place, wait=wait, read_only=read_only)
        self._address = address
        self._schema, self._psycopg, self.driver_errors = schema, psycopg, (psycopg.Error, UnicodeEncodeError)
        with self._translated():
            self._connection = psycopg.connect(address, autocommit=True, connect_timeout=10)
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

    def _do(self, sql: str, values: Sequence[Any]) -> Any:
        return self._connection.execute(_dialect(sql), tuple(values))

    def _do_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany(_dialect(sql), [tuple(row) for row in rows])

    def _unfinished(self) -> bool:
        return not self._connection.closed

    def _hold(self) -> None:
        self._connection.execute(f"SET LOCAL lock_timeout TO {int(self._wait * 1000)}")
        self._connection.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (_LOCK >> 33, self._schema))

    def load(
        self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], fixed: Mapping[str, float] = NOTHING
    ) -> None:
        """Append rows by COPY."""
        more = tuple(fixed.values())
        sql = f"COPY {table} ({', '.join((*columns, *fixed))}) FROM STDIN"
        with self._lock, self._translated(), self._connection.cursor() as cursor, cursor.copy(sql) as copy:
            for row in rows:
                copy.write_row((*row, *more))

    def _unsaved(self) -> object:
        return object()

    def held(self) -> PostgresDatabase:
        """The store as it is now: a transaction that reads, on a connection of its own."""
        self._free()
        other = PostgresDatabase(self._address, schema=self._schema, wait=self._wait, read_only=True)
        try:
            other._hold_still()
        except BaseException:
            other.close()
            raise
        return other

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

    def _ours(self, error: Exception) -> PalmetteError:
        kinds = self._psycopg.errors
        text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if isinstance(error, kinds.LockNotAvailable):
            return self._locked()
        if isinstance(error, kinds.ReadOnlySqlTransaction | kinds.InsufficientPrivilege):
            return StoreReadOnly(f"{self.place} may not be written ({text})")
        text = re.sub(r"password=\S+|://[^@\s]*@", "…", text)
        return StoreError(f"{self.place}: {text}")


def _dialect(sql: str) -> str:
    """`?` becomes psycopg's placeholder; a percent sign of SQL is doubled."""
    return sql.replace("%", "%%").replace("?", "%s")


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
