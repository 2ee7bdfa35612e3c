"""What every database shares: one connection, used by one thread at a time, and transactions inside one another.

A database brings its driver (`_do`, `_do_many`), its own words for beginning a transaction, and what its errors mean.
A transaction that is kept leaves a new stamp, by which what was computed from the store is known to be of its age.
"""

from __future__ import annotations

import secrets
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from palmette.core.errors import BadParameter, PalmetteError, StoreError, StoreLocked, StoreReadOnly
from palmette.knowledge.store.base import Row

__all__ = ["NOTHING", "Connection"]

NOTHING: Mapping[str, float] = {}
_STAMP = "INSERT INTO counter (name, value) VALUES ('stamp', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"


class Connection(ABC):
    """One connection.

    Args:
        place: what a person calls the store.
        wait: seconds to wait for another writer.
        read_only: whether writing is refused.
    """

    begin, begin_reading = "BEGIN", "BEGIN"
    driver_errors: tuple[type[Exception], ...] = (UnicodeEncodeError,)

    def __init__(self, place: str, *, wait: float, read_only: bool) -> None:
        self.place, self.read_only = place, read_only
        self._wait, self._depth, self._lock = wait, 0, threading.RLock()
        self._written = 0  # transactions of this connection
        self._connection: Any = None
        self._fixed: int | None = None  # the stamp of the state that a held connection sees

    @abstractmethod
    def _do(self, sql: str, values: Sequence[Any]) -> Any:
        """A cursor that has carried out a statement."""

    @abstractmethod
    def _do_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Carry out a statement for each row."""

    @abstractmethod
    def _ours(self, error: Exception) -> PalmetteError:
        """What an error of the driver means."""

    @abstractmethod
    def _unfinished(self) -> bool:
        """Whether there is a transaction to take back."""

    @abstractmethod
    def _hold(self) -> None:
        """Keep other writers out, a transaction having begun."""

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """All rows of a query."""
        try:  # what every question waits for, so without a context manager
            with self._lock:
                return self._do(sql, values).fetchall()  # type: ignore[no-any-return]
        except self.driver_errors as error:
            raise self._said(error) from error

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Carry out a statement; returns how many rows it changed."""
        with self._lock, self._translated():
            return int(self._do(sql, values).rowcount)

    def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Carry out a statement for each row."""
        with self._lock, self._translated():
            self._do_many(sql, rows)

    @contextmanager
    def writing(self, *, stamped: bool = True) -> Iterator[None]:
        """A transaction that no other writer interrupts: all of it or nothing. Inside another one, part of it.

        Args:
            stamped: whether what was computed from the store is out of date afterwards; replies of a model are not.
        """
        with self._lock:
            if self._depth:
                yield
                return
            if self._fixed is not None:
                raise StoreReadOnly(f"{self.place} is held as it was when reading began; write to the graph itself")
            self.run(self.begin)
            self._depth = 1
            try:
                with self._translated():
                    self._hold()
                yield
                if stamped:
                    self.run(_STAMP, (secrets.randbits(62),))
                self.run("COMMIT")
            except BaseException:
                if self._unfinished():
                    self._do("ROLLBACK", ())
                raise
            finally:
                self._depth = 0
                self._written += 1

    @contextmanager
    def still(self) -> Iterator[None]:
        """A transaction that reads: what others write meanwhile is not seen in it."""
        with self._lock:
            if self._depth or self._fixed is not None:
                yield
                return
            self.run(self.begin_reading)
            try:
                yield
            finally:
                self.run("COMMIT")

    def _hold_still(self) -> None:
        """See this state of the store from now on."""
        self.run(self.begin_reading)
        self._fixed, self.read_only = self.stamp(), True

    def _free(self) -> None:
        """Refuse to hold a state that is half written: SQLite would wait for ever for this thread's own transaction."""
        with self._lock:
            if self._depth:
                raise StoreError(
                    f"{self.place} is being written here; begin reading before that transaction or after it"
                )

    def changes(self) -> object:
        """A value that differs after anybody has written; inside a transaction, after each of its statements."""
        if self._fixed is not None:
            return self._fixed
        with self._lock:
            return self._unsaved() if self._depth else self.stamp()

    @abstractmethod
    def _unsaved(self) -> object:
        """A value that differs after each statement of the transaction."""

    def stamp(self) -> int:
        """A number that another state of the store does not have, here or in a copy; 0 where there is none yet."""
        found = self.rows("SELECT value FROM counter WHERE name = 'stamp'")
        return int(found[0][0]) if found else 0

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except self.driver_errors as error:
            raise self._said(error) from error

    def _said(self, error: Exception) -> PalmetteError:
        if isinstance(error, UnicodeEncodeError):
            return BadParameter(f"half a character (a lone surrogate) in {error.object!r}; decode the text again")
        return self._ours(error)

    def _locked(self) -> StoreLocked:
        return StoreLocked(f"{self.place} is being written by another process, and was for {self._wait:g} s; try again")
