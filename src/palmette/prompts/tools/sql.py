"""SQL over a SQLite file, read only: the file is opened so, and an authorizer refuses whatever is no reading."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from palmette.core.errors import UsageError
from palmette.prompts.tools.tool import FunctionTool, tool

__all__ = ["sql_reader"]

_READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
_FUNCTIONS_REFUSED = {"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer"}


def sql_reader(file: str | Path, *, rows: int = 50, seconds: float = 5.0) -> FunctionTool:
    """A tool `sql(query)` that reads a SQLite file; its description tells the model the tables.

    Args:
        file: the database.
        rows: the most rows of an answer.
        seconds: the most time of a query.

    Raises:
        UsageError: for a file that is no SQLite database.
    """
    path = Path(file).expanduser().resolve()
    if not path.is_file():
        raise UsageError(f"no file {str(file)!r}")

    def sql(query: str) -> str:
        """Run one SELECT.

        Args:
            query: a statement in SQLite's dialect.
        """
        end = time.monotonic() + seconds
        database = _opened(path)
        try:
            database.set_authorizer(_only_reading)
            database.set_progress_handler(lambda: int(time.monotonic() > end), 10_000)
            cursor = database.execute(query)
            names = [column[0] for column in cursor.description or ()]
            found = cursor.fetchmany(rows + 1)
        except sqlite3.Error as error:
            raise UsageError(f"{error}; one SELECT over {_tables(path)}") from error
        finally:
            database.close()
        lines = [" | ".join(names), *(" | ".join(_cell(value) for value in row) for row in found[:rows])]
        return "\n".join(lines) + (f"\n(more than {rows} rows)" if len(found) > rows else f"\n({len(found)} rows)")

    try:
        told = _tables(path)
    except sqlite3.Error as error:
        raise UsageError(f"{str(file)!r} is no SQLite database: {error}") from error
    made: FunctionTool = tool(sql, effect="read", timeout=seconds + 5)
    return replace(made, spec=replace(made.spec, description=f"{made.spec.description}\nTables: {told}"))


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5.0)


def _only_reading(action: int, first: str | None, second: str | None, *_: Any) -> int:
    if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _FUNCTIONS_REFUSED:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK if action in _READING else sqlite3.SQLITE_DENY


def _tables(path: Path) -> str:
    database = _opened(path)
    try:
        rows = database.execute("SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name")
        return "; ".join(" ".join(str(text).split()) for name, text in rows if not name.startswith("sqlite_"))[:2000]
    finally:
        database.close()


def _cell(value: Any) -> str:
    if value is None:
        return "NULL"
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else str(value)[:500]
