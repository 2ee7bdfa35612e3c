"""What a store asks of a database: rows in, rows out, one writer at a time, and words to search by.

SQL is written once, with `?` for a value; a database turns it into its own dialect. Foreign errors become ours here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from palmette.core.errors import NewerStore
from palmette.knowledge.store.tables import MIGRATIONS

__all__ = ["Database", "Row", "batches", "inside", "marks", "migrate"]

Row = tuple[Any, ...]
_AT_ONCE = 500


class Database(Protocol):
    """One connection to one store."""

    @property
    def place(self) -> str:
        """What a person calls the store, without any password."""
        ...

    @property
    def words(self) -> Mapping[str, str]:
        """Its own words for what the schema leaves open: id, blob, clustered."""
        ...

    @property
    def read_only(self) -> bool:
        """Whether writing is refused."""
        ...

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """All rows of a query."""
        ...

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Carry out a statement; returns how many rows it changed."""
        ...

    def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Carry out a statement for each row."""
        ...

    def load(
        self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], fixed: Mapping[str, float] = {}
    ) -> None:
        """Append rows, as fast as the database takes them; `fixed` are numbers that are the same in all of them."""
        ...

    def writing(self, *, stamped: bool = True) -> AbstractContextManager[None]:
        """A transaction that no other writer interrupts: all of it or nothing. Inside another one, part of it."""
        ...

    def still(self) -> AbstractContextManager[None]:
        """A transaction that reads: what others write meanwhile is not seen in it."""
        ...

    def held(self) -> Database:
        """The store as it is now on a connection of its own, which sees no later change and refuses to write."""
        ...

    def changes(self) -> object:
        """A value that differs after anybody has written."""
        ...

    def stamp(self) -> int:
        """A number that another state of the store does not have, here or in a copy; 0 where there is none yet."""
        ...

    def version(self) -> int:
        """The store's version; 0 for an empty database."""
        ...

    def set_version(self, version: int) -> None:
        """Write the store's version; on the first, what search needs as well."""
        ...

    def index(self, chunks: Sequence[tuple[int, str, str]]) -> None:
        """Make chunks findable: (id, title, text)."""
        ...

    def unindex(self, chunks: Sequence[tuple[int, str, str]]) -> None:
        """Forget chunks: the same (id, title, text) as were given to `index`."""
        ...

    def search(self, words: Sequence[str], most: int) -> list[tuple[int, float]]:
        """Chunks that hold any of the words by BM25, the best first: (id, score)."""
        ...

    def seen(self, word: str) -> int:
        """How many chunks hold a word."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


def migrate(database: Database, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Bring a store to the newest version, in one transaction.

    Raises:
        NewerStore: if it is newer than this program.
    """
    found = database.version()
    if found > len(migrations):
        raise NewerStore(
            f"{database.place} has version {found} of the format, and this Palmette knows {len(migrations)}; "
            "nothing was changed. Install a newer Palmette, or export the store as json with the one that wrote it"
        )
    if found == len(migrations):
        return
    with database.writing():
        found = database.version()  # another process may have been faster
        for number in range(found, len(migrations)):
            for statement in migrations[number]:
                database.run(statement.format_map(database.words))
            database.set_version(number + 1)


def batches(values: Iterable[Any], size: int = _AT_ONCE) -> Iterable[list[Any]]:
    """Lists of at most `size` values, for IN (…)."""
    held: list[Any] = []
    for value in values:
        held.append(value)
        if len(held) == size:
            yield held
            held = []
    if held:
        yield held


def inside(values: Sequence[Any]) -> tuple[str, list[Any]]:
    """IN (…) with its values, the last one repeated up to a power of two: so few statements have to be prepared.

    >>> inside([5, 6, 7])
    ('IN (?,?,?,?)', [5, 6, 7, 7])
    """
    count = 1 << max(0, len(values) - 1).bit_length()
    return f"IN ({marks(count)})", [*values, *[values[-1]] * (count - len(values))]


def marks(count: int) -> str:
    """So many placeholders.

    >>> marks(3)
    '?,?,?'
    """
    return ",".join("?" * count)
