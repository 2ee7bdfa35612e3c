"""One SQLite file, shared by threads and processes, that only its owner can read.

Write-ahead logging lets readers go on while one writes; a lock lets all threads of a process share one connection.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from palmette.core.errors import OutputError

__all__ = ["SqliteFile"]

PATIENCE = 30.0  # seconds to wait for another process that writes


class SqliteFile:
    """A database file with a schema.

    Args:
        path: made with its folders where missing, with mode 0600.
        schema: statements that make the tables.
        version: of the schema, kept in the file.

    Raises:
        OutputError: for a file that cannot be made, is no database, or was made by a later version.
    """

    def __init__(self, path: Path, schema: str, version: int = 1) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._process = 0
        self._open: sqlite3.Connection | None = None
        self._schema = schema
        self._version = version

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    def read(self, statement: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """The rows of a query."""
        with self._connection() as connection:
            return connection.execute(statement, values).fetchall()

    def write(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Change something; how many rows were changed."""
        return self.write_all(statement, [values])

    def write_all(self, statement: str, rows: Sequence[Sequence[Any]]) -> int:
        """Change something for each row of values, all or nothing."""
        with self._connection() as connection, connection:
            return connection.executemany(statement, rows).rowcount

    def close(self) -> None:
        """Close the file; it opens again when it is used."""
        with self._lock:
            if self._open is not None:
                self._open.close()
                self._open = None

    def __del__(self) -> None:
        if self._open is not None and self._process == os.getpid():
            self._open.close()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """The process's connection, held by one thread at a time."""
        with self._lock:
            try:
                if self._open is None or self._process != os.getpid():  # a connection must not outlive a fork
                    self._open, self._process = self._opened(), os.getpid()
                yield self._open
            except sqlite3.Error as error:
                raise OutputError(f"{self.path}: {error}") from error

    def _opened(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror or error}") from error
        connection = sqlite3.connect(self.path, timeout=PATIENCE, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.create_function("fold", 1, lambda text: (text or "").casefold(), deterministic=True)
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found > self._version:
            connection.close()
            raise OutputError(f"{self.path} was written by a later version of Palmette; name another file")
        connection.executescript(self._schema)
        connection.execute(f"PRAGMA user_version = {self._version}")
        return connection
