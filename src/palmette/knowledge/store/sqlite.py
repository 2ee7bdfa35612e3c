"""SQLite: a file beside your notes, WAL so that readers never wait for the writer, FTS5 for words. Standard library.

`synchronous=NORMAL` survives a killed process without losing an acknowledged transaction; a power cut may cost the last
ones, never the file. `durable=True` waits for the disk at every commit.
"""

from __future__ import annotations

import os
import sqlite3
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from palmette.core.errors import NotAStore, PalmetteError, StoreError, StoreReadOnly
from palmette.knowledge.store.connection import NOTHING, Connection

__all__ = ["SqliteDatabase"]

_APPLICATION = 0x50616C6D  # "Palm", in the header of the file


class SqliteDatabase(Connection):
    """A store in one file, or in memory for ":memory:".

    Args:
        path: the file; it is made if it does not exist, unless `read_only`.
        read_only: open without the right to write.
        durable: wait for the disk at every commit.
        wait: seconds to wait for another writer.

    Raises:
        StoreLocked, StoreReadOnly, NotAStore, StoreError: as their names say, with the path.
    """

    begin = "BEGIN IMMEDIATE"
    driver_errors = (sqlite3.Error, UnicodeEncodeError)
    words: Mapping[str, str] = {"id": "INTEGER PRIMARY KEY", "blob": "BLOB", "clustered": "WITHOUT ROWID"}

    def __init__(self, path: str | Path, *, read_only: bool = False, durable: bool = False, wait: float = 5.0) -> None:
        memory = str(path) == ":memory:"
        if not memory:
            _check_file(Path(path), read_only)
            read_only = read_only or not _writable(Path(path))
        super().__init__(str(path), wait=wait, read_only=read_only)
        mode = ("ro&immutable=1" if _frozen(Path(path)) else "ro") if read_only else "rwc"
        target = ":memory:" if memory else f"file:{urllib.parse.quote(os.path.abspath(path))}?mode={mode}"
        self._path = ":memory:" if memory else os.path.abspath(path)
        self._seen = (-1, -1, 0)  # how much others and this connection had written when a stamp was read, and the stamp
        with self._translated():
            self._connection = sqlite3.connect(
                target,
                uri=not memory,
                timeout=wait,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=512,
            )
            try:
                self._prepare(durable)
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self, durable: bool) -> None:
        run = self._connection.execute
        found = run("PRAGMA application_id").fetchone()[0]
        tables = run("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if tables and found != _APPLICATION:
            raise NotAStore(f"{self.place} is an SQLite database, but not a knowledge graph of Palmette's")
        run("PRAGMA cache_size=-65536")
        run("PRAGMA temp_store=MEMORY")
        if self.read_only:
            return
        if not run("SELECT sqlite_compileoption_used('ENABLE_FTS5')").fetchone()[0]:
            raise StoreError("this Python's SQLite was built without FTS5, which the store searches with")
        run("PRAGMA journal_mode=WAL")
        run(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")

    def _do(self, sql: str, values: Sequence[Any]) -> sqlite3.Cursor:
        return self._connection.execute(sql, values)  # type: ignore[no-any-return]

    def _do_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        self._connection.executemany(sql, rows)

    def _unfinished(self) -> bool:
        return bool(self._connection.in_transaction)

    def _hold(self) -> None:
        """BEGIN IMMEDIATE does."""

    def load(
        self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], fixed: Mapping[str, float] = NOTHING
    ) -> None:
        """Append rows; `fixed` are numbers that are the same in all of them."""
        values = ",".join(["?"] * len(columns) + [repr(number) for number in fixed.values()])
        self.many(f"INSERT INTO {table} ({', '.join((*columns, *fixed))}) VALUES ({values})", rows)

    def _unsaved(self) -> object:
        return "unsaved", self._connection.total_changes

    def changes(self) -> object:
        """A value that differs after anybody has written; inside a transaction, after each of its statements.

        The stamp is read again only where SQLite's own count says that another connection has written.
        """
        if self._fixed is not None:
            return self._fixed
        with self._lock:
            if self._depth:
                return self._unsaved()
            with self._translated():
                others = self._connection.execute("PRAGMA data_version").fetchone()[0]  # this one's own not counted
            if self._seen[:2] != (others, self._written):
                self._seen = (others, self._written, self.stamp())
            return self._seen[2]

    def held(self) -> SqliteDatabase:
        """The store as it is now: a transaction that reads, or a copy of what is in memory only."""
        self._free()
        other = SqliteDatabase(self._path, read_only=self._path != ":memory:", wait=self._wait)
        try:
            with self._lock, self._translated():
                if self._path == ":memory:":
                    self._connection.backup(other._connection)
                other._hold_still()
        except BaseException:
            other.close()
            raise
        other.place = self.place
        return other

    def version(self) -> int:
        """The store's version; 0 for an empty database."""
        return int(self.rows("PRAGMA user_version")[0][0])

    def set_version(self, version: int) -> None:
        """Write the version, and on the first make the search table."""
        if version == 1:
            self.run(f"PRAGMA application_id={_APPLICATION}")
            self.run(
                "CREATE VIRTUAL TABLE chunk_words USING fts5(title, text, content='', "
                "tokenize='porter unicode61 remove_diacritics 2')"
            )
        self.run(f"PRAGMA user_version={int(version)}")

    def index(self, chunks: Sequence[tuple[int, str, str]]) -> None:
        """Make chunks findable."""
        self.many("INSERT INTO chunk_words (rowid, title, text) VALUES (?, ?, ?)", chunks)

    def unindex(self, chunks: Sequence[tuple[int, str, str]]) -> None:
        """Forget chunks: FTS5 has to be told what it was given."""
        delete = "INSERT INTO chunk_words (chunk_words, rowid, title, text) VALUES ('delete', ?, ?, ?)"
        self.many(delete, chunks)

    def search(self, words: Sequence[str], most: int) -> list[tuple[int, float]]:
        """BM25 over titles and texts; every word is quoted, so no text is read as search syntax."""
        if not words:
            return []
        asked = " OR ".join(f'"{word}"' for word in (w.replace('"', "").replace("\x00", "") for w in words) if word)
        sql = (
            "SELECT rowid, -bm25(chunk_words) AS score FROM chunk_words WHERE chunk_words MATCH ? ORDER BY rank LIMIT ?"
        )
        return [(int(i), float(s)) for i, s in self.rows(sql, (asked, most))] if asked else []

    def seen(self, word: str) -> int:
        """How many chunks hold a word."""
        quoted = word.replace('"', "").replace("\x00", "")
        sql = "SELECT count(*) FROM chunk_words WHERE chunk_words MATCH ?"
        return int(self.rows(sql, (f'"{quoted}"',))[0][0]) if quoted else 0

    def _ours(self, error: Exception) -> PalmetteError:
        text = str(error)
        if "locked" in text or "busy" in text:
            return self._locked()
        if "readonly" in text or "read-only" in text:
            return StoreReadOnly(f"{self.place} may not be written; change the rights of the file and of its folder")
        if "not a database" in text:
            return NotAStore(f"{self.place} is a file of another kind, and no knowledge graph; nothing was changed")
        if "malformed" in text:
            return NotAStore(
                f"{self.place} is damaged ({text}); nothing was changed. Restore a copy, import an export, or see what "
                "`sqlite3 FILE .recover` finds"
            )
        if "disk" in text and "full" in text:
            return StoreError(
                f"{self.place}: the disk is full; the last transaction was taken back, nothing before it is lost"
            )
        return StoreError(f"{self.place}: {text}")


def _check_file(path: Path, read_only: bool) -> None:
    """The file is looked at and never opened here: closing it would drop the locks that SQLite holds on it for this
    process, and another process could then put its log away while it is in use (sqlite.org/howtocorrupt.html, 2.2).
    """
    if path.is_dir():
        raise NotAStore(f"{path} is a folder; a store is a file, such as {path / 'graph.db'}")
    if path.is_file() and path.stat().st_size:
        return
    if not path.parent.is_dir():
        raise NotAStore(f"no store at {str(path)!r}: there is no folder {str(path.parent)!r}")
    if read_only:
        raise NotAStore(
            f"no store at {str(path)!r}: {'the file is empty' if path.exists() else 'there is no such file'}"
        )
    if not _writable(path):
        raise StoreReadOnly(f"no store can be begun at {str(path)!r}: its folder may not be written")


def _writable(path: Path) -> bool:
    """Whether both the file, where there is one, and its folder may be written (WAL keeps two files beside it)."""
    return os.access(path if path.exists() else path.parent, os.W_OK) and os.access(path.parent, os.W_OK)


def _frozen(path: Path) -> bool:
    """Whether nobody can be writing: no log beside the file, and a folder in which SQLite could not make one."""
    return not os.access(path.parent, os.W_OK) and not Path(f"{path}-wal").exists()
