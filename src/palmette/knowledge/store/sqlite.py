"""SQLite: a file beside your notes, WAL so that readers never wait for the writer, FTS5 for words. Standard library.

`synchronous=NORMAL` survives a killed process without losing an acknowledged transaction; a power cut may cost the last
ones, never the file. `durable=True` waits for the disk at every commit.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from palmette.core.errors import BadParameter, NotAStore, PalmetteError, StoreError, StoreLocked, StoreReadOnly
from palmette.knowledge.store.base import Row

__all__ = ["SqliteDatabase"]

_NONE: Mapping[str, float] = {}
_APPLICATION = 0x50616C6D  # "Palm", in the header of the file


class SqliteDatabase:
    """A store in one file, or in memory for ":memory:".

    Args:
        path: the file; it is made if it does not exist, unless `read_only`.
        read_only: open without the right to write.
        durable: wait for the disk at every commit.
        wait: seconds to wait for another writer.

    Raises:
        StoreLocked, StoreReadOnly, NotAStore, StoreError: as their names say, with the path.
    """

    words: Mapping[str, str] = {"id": "INTEGER PRIMARY KEY", "blob": "BLOB", "clustered": "WITHOUT ROWID"}

    def __init__(self, path: str | Path, *, read_only: bool = False, durable: bool = False, wait: float = 5.0) -> None:
        self.place = str(path)
        self._wait = wait
        self._depth = 0
        self._lock = threading.RLock()
        memory = self.place == ":memory:"
        if not memory:
            _check_file(Path(path), read_only)
            read_only = read_only or not _writable(Path(path))
        self.read_only = read_only
        mode = ("ro&immutable=1" if _frozen(Path(path)) else "ro") if read_only else "rwc"
        target = ":memory:" if memory else f"file:{urllib.parse.quote(os.path.abspath(path))}?mode={mode}"
        with self._translated():
            self._connection = sqlite3.connect(
                target, uri=not memory, timeout=wait, isolation_level=None, check_same_thread=False
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

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """All rows of a query."""
        try:  # what every question waits for, so without a context manager
            with self._lock:
                return self._connection.execute(sql, values).fetchall()
        except (sqlite3.Error, UnicodeEncodeError) as error:
            raise _ours(error, self.place, self._wait) from error

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Carry out a statement; returns how many rows it changed."""
        with self._lock, self._translated():
            return self._connection.execute(sql, values).rowcount

    def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Carry out a statement for each row."""
        with self._lock, self._translated():
            self._connection.executemany(sql, rows)

    def load(
        self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], fixed: Mapping[str, float] = _NONE
    ) -> None:
        """Append rows; `fixed` are numbers that are the same in all of them."""
        values = ",".join(["?"] * len(columns) + [repr(number) for number in fixed.values()])
        self.many(f"INSERT INTO {table} ({', '.join((*columns, *fixed))}) VALUES ({values})", rows)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """BEGIN IMMEDIATE … COMMIT; inside another transaction, part of it."""
        with self._lock:
            if self._depth:
                yield
                return
            with self._translated():
                self._connection.execute("BEGIN IMMEDIATE")
            self._depth = 1
            try:
                yield
                with self._translated():
                    self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            finally:
                self._depth = 0

    def changes(self) -> object:
        """Changes by this connection and by others."""
        with self._lock:
            return self._connection.total_changes, self.rows("PRAGMA data_version")[0][0]

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

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeEncodeError) as error:
            raise _ours(error, self.place, self._wait) from error


def _check_file(path: Path, read_only: bool) -> None:
    if path.is_dir():
        raise NotAStore(f"{path} is a folder; a store is a file, such as {path / 'graph.db'}")
    if path.is_file() and path.stat().st_size:
        with path.open("rb") as file:
            if file.read(16) != b"SQLite format 3\x00":
                raise NotAStore(f"{path} is a file of another kind, and no knowledge graph; nothing was changed")
    elif read_only or not path.parent.is_dir():
        where = f"there is no folder {str(path.parent)!r}" if not path.parent.is_dir() else "there is no such file"
        raise NotAStore(f"no store at {str(path)!r}: {where}")


def _writable(path: Path) -> bool:
    """Whether both the file, where there is one, and its folder may be written (WAL keeps two files beside it)."""
    return os.access(path if path.exists() else path.parent, os.W_OK) and os.access(path.parent, os.W_OK)


def _frozen(path: Path) -> bool:
    """Whether nobody can be writing: no log beside the file, and a folder in which SQLite could not make one."""
    return not os.access(path.parent, os.W_OK) and not Path(f"{path}-wal").exists()


def _ours(error: sqlite3.Error | UnicodeEncodeError, place: str, wait: float) -> PalmetteError:
    if isinstance(error, UnicodeEncodeError):
        return BadParameter(f"half a character (a lone surrogate) in {error.object!r}; decode the text again")
    text = str(error)
    if "locked" in text or "busy" in text:
        return StoreLocked(f"{place} is being written by another process, and was for {wait:g} s; try again")
    if "readonly" in text or "read-only" in text:
        return StoreReadOnly(f"{place} may not be written; change the rights of the file and of its folder")
    if "not a database" in text or "malformed" in text:
        return NotAStore(f"{place} is damaged, or no SQLite database ({text})")
    if "disk" in text and "full" in text:
        return StoreError(f"{place}: the disk is full; the last transaction was taken back, nothing before it is lost")
    return StoreError(f"{place}: {text}")
