"""Data of an evaluation: rows of JSONL, JSON, CSV or Parquet as typed items; errors name row and column."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from palmette.core.errors import BadParameter, ConstraintError, MissingExtra, UsageError, near_miss
from palmette.prompts.reading import read_value, scalar
from palmette.prompts.task import Task

__all__ = ["Item", "items_of", "read_rows"]

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Item:
    """One question of a data set.

    Args:
        id: its `id` column, or the number of its row.
        inputs: of the task's types.
        expected: the right answer.
    """

    id: str
    inputs: Mapping[str, Any] = field(hash=False)
    expected: Any = field(default=None, hash=False)


def items_of(task: Task, data: str | Path | Iterable[Row], limit: int | None = None) -> list[Item]:
    """The items of a data set, checked before the first call is made.

    Args:
        task: says which columns there must be, and of which type; `output` is the right answer.
        data: a file, or rows.
        limit: only the first so many.

    Raises:
        UsageError: naming the row and the column.

    >>> items_of(Task(output=int), [{"question": "2 + 3?", "output": "5"}])[0].expected
    5
    """
    rows = read_rows(data) if isinstance(data, (str, Path)) else list(data)
    where = str(data) if isinstance(data, (str, Path)) else "data"
    made: list[Item] = []
    seen: dict[str, int] = {}
    for number, row in enumerate(rows[:limit], 1):
        if not isinstance(row, Mapping):
            raise UsageError(f"{where}, row {number}: a row is an object with columns, not {row!r}")
        item = _item(task, row, f"{where}, row {number}", number)
        if item.id in seen:
            raise UsageError(f"{where}, row {number}: the id {item.id!r} is that of row {seen[item.id]}")
        seen[item.id] = number
        made.append(item)
    if not made:
        raise UsageError(f"{where} holds no row")
    return made


def _item(task: Task, row: Row, where: str, number: int) -> Item:
    inputs: dict[str, Any] = {}
    for name, kind in task.inputs.items():
        if name not in row:
            raise UsageError(f"{where}: no column {name!r}.{near_miss(name, row)} Columns: {', '.join(map(str, row))}")
        inputs[name] = _cell(kind, row[name], f"{where}, column {name!r}")
    if "output" not in row:
        raise UsageError(f"{where}: no column 'output', the right answer. Columns: {', '.join(map(str, row))}")
    try:
        expected = task.valued(_cell(task.output, row["output"], f"{where}, column 'output'"))
        return Item(str(row.get("id", number)), task.checked(inputs), expected)
    except BadParameter as error:
        raise UsageError(f"{where}: {error}") from None


def _cell(kind: Any, value: Any, where: str) -> Any:
    """A cell of a text file, read as its type; what is typed already stays as it is."""
    if not isinstance(value, str) or kind is str:
        return value
    try:
        return read_value(kind, value) if scalar(kind) else json.loads(value)
    except (ConstraintError, ValueError) as error:
        raise UsageError(f"{where}: {error}") from None


def read_rows(path: str | Path) -> list[Row]:
    """The rows of a file, by its ending: .jsonl, .json, .csv, .tsv, .parquet.

    Raises:
        UsageError: for a file that cannot be read, naming the line.
        MissingExtra: for Parquet without the extra.
    """
    file = Path(path).expanduser()
    ending = file.suffix.lower()
    if ending == ".parquet":
        return _parquet(file)
    try:
        text = file.read_text("utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{str(path)!r} is not text in UTF-8: byte {error.start}") from None
    if ending in (".jsonl", ".ndjson"):
        return [_json(line, f"{path}, line {i}") for i, line in enumerate(text.split("\n"), 1) if line.strip()]
    if ending == ".json":
        rows = _json(text, str(path))
        if not isinstance(rows, list):
            raise UsageError(f"{str(path)!r} is no list of rows")
        return rows
    if ending in (".csv", ".tsv"):
        return _table(text.splitlines(keepends=True), "\t" if ending == ".tsv" else ",", str(path))
    raise UsageError(f"{str(path)!r}: data are .jsonl, .json, .csv, .tsv or .parquet files")


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: no JSON: {error}") from None


def _table(lines: Sequence[str], separator: str, where: str) -> list[Row]:
    reader = csv.DictReader(lines, delimiter=separator, strict=True)
    rows: list[Row] = []
    try:
        for row in reader:
            if None in row:
                raise UsageError(
                    f"{where}, line {reader.line_num}: more cells than columns ({len(reader.fieldnames or ())})"
                )
            if None in row.values():
                raise UsageError(f"{where}, line {reader.line_num}: fewer cells than columns ({', '.join(row)})")
            rows.append(row)
    except csv.Error as error:
        raise UsageError(f"{where}, line {reader.line_num}: {error}") from None
    return rows


def _parquet(file: Path) -> list[Row]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtra("a Parquet file", "parquet") from error
    try:
        return list(parquet.read_table(file).to_pylist())
    except (OSError, pyarrow.ArrowException) as error:
        raise UsageError(f"cannot read {str(file)!r}: {error}") from error
