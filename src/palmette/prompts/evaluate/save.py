"""Reports as files: SQLite, Parquet, JSON, or a page that needs nothing else. Each is written whole or not at all."""

from __future__ import annotations

import contextlib
import html
import io
import os
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from palmette.core.errors import MissingExtra, OutputError, UsageError
from palmette.prompts.evaluate.report import Report
from palmette.prompts.reading import said

__all__ = ["page", "save", "writer"]

_COLUMNS = {
    "cell": "TEXT", "item": "TEXT", "value": "TEXT", "text": "TEXT", "failure": "TEXT", "calls": "INTEGER",
    "input": "INTEGER", "output": "INTEGER", "seconds": "REAL", "confidence": "REAL", "unread": "INTEGER",
    "reasoning": "TEXT", "notes": "TEXT",
}  # fmt: skip


def save(report: Report, path: str | Path) -> Path:
    """Write a report, by the ending of the path: .sqlite or .db, .parquet, .html, .json.

    Raises:
        UsageError: for another ending.
        OutputError: if it cannot be written.
        MissingExtra: for Parquet without the extra.
    """
    file = Path(path).expanduser()
    data = writer(file)(report)
    partial = file.with_name(f".{file.name}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        os.replace(partial, file)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise OutputError(f"{file} cannot be written: {error.strerror or error}") from error
    return file


def writer(path: str | Path) -> Callable[[Report], bytes]:
    """What writes a report as the ending of a path says.

    Raises:
        UsageError: for an ending that says nothing.
    """
    writers: dict[str, Callable[[Report], bytes]] = {
        ".sqlite": _sqlite, ".db": _sqlite, ".parquet": _parquet, ".html": lambda r: page(r).encode(),
        ".json": lambda r: r.json().encode(),
    }  # fmt: skip
    ending = Path(path).suffix.lower()
    if ending not in writers:
        raise UsageError(f"{str(path)!r}: a report is written as {', '.join(writers)}")
    return writers[ending]


def _sqlite(report: Report) -> bytes:
    """Tables `cells`, `items` and `records`."""
    with tempfile.TemporaryDirectory(prefix="palmette-report-") as home:
        path = Path(home) / "report.sqlite"
        database = sqlite3.connect(path)
        try:
            scores = [f'"score_{name}" REAL' for name, _ in report.metrics]
            columns = ", ".join([*(f'"{name}" {kind}' for name, kind in _COLUMNS.items()), *scores])
            database.execute(f"CREATE TABLE records ({columns}, PRIMARY KEY (cell, item))")
            database.execute("CREATE TABLE items (id TEXT PRIMARY KEY, inputs TEXT, expected TEXT)")
            database.execute("CREATE TABLE cells (name TEXT PRIMARY KEY, model TEXT, technique TEXT, prompt TEXT, "
                             "decoding TEXT)")  # fmt: skip
            names = [*_COLUMNS, *(f"score_{name}" for name, _ in report.metrics)]
            marks = ", ".join("?" * len(names))
            database.executemany(
                f"INSERT INTO records VALUES ({marks})", ([r.row[name] for name in names] for r in report.records)
            )
            database.executemany(
                "INSERT INTO items VALUES (?, ?, ?)",
                ((i.id, said(dict(i.inputs)), said(i.expected)) for i in report.items),
            )
            database.executemany(
                "INSERT INTO cells VALUES (?, ?, ?, ?, ?)",
                ((c.name, c.model, c.technique, c.prompt, said(dict(c.decoding))) for c in report.cells),
            )
            database.commit()
        finally:
            database.close()
        return path.read_bytes()


def _parquet(report: Report) -> bytes:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtra("a Parquet file", "parquet") from error
    rows = [record.row for record in report.records]
    kinds = {"TEXT": pyarrow.string(), "INTEGER": pyarrow.int64(), "REAL": pyarrow.float64()}
    fields = [(name, kinds[kind]) for name, kind in _COLUMNS.items()]
    fields += [(f"score_{name}", pyarrow.float64()) for name, _ in report.metrics]
    out = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema=pyarrow.schema(fields)), out)
    return out.getvalue()


_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
th, td { border-bottom: 1px solid #8884; padding: .3rem .6rem; text-align: left; vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.bar { background: #4a7c59; height: .5rem; display: block; border-radius: 2px; }
.track { background: #8883; width: 8rem; border-radius: 2px; position: relative; }
pre { white-space: pre-wrap; margin: 0; font-size: 13px; }
.right { color: #2e7d32; } .wrong { color: #c62828; }
"""


def page(report: Report) -> str:
    """A page with the table, the comparisons, and for each pair with the first cell the items on which they differ."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>Evaluation</title>",
        "<meta name=viewport content='width=device-width'>",
        "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<style>{_STYLE}</style><h1>Evaluation</h1>",
        f"<p>{len(report.items)} items, {len(report.cells)} cells. Intervals are 95 %.</p>", _cells(report),
    ]  # fmt: skip
    if report.comparisons:
        parts += [f"<h2>Against {_e(report.cells[0].name)}</h2>", _comparisons(report)]
    for cell, _, _ in report.comparisons:
        parts.append(_differences(report, cell.name))
    parts.append("<h2>Not read</h2>" + _unread(report))
    return "\n".join(parts) + "</html>\n"


def _cells(report: Report) -> str:
    heads = "".join(f"<th>{_e(name)}" for name, _ in report.metrics)
    rows = []
    for s in report.summaries:
        scores = "".join(f"<td>{_score(s.scores[name], lower)}" for name, lower in report.metrics)
        cost = "unknown" if s.cost is None else f"{s.cost:.4f}"
        rows.append(
            f"<tr><td>{_e(s.cell.name)}{scores}<td class=n>{s.unread}<td class=n>{s.failed}<td class=n>{s.calls:.1f}"
            f"<td class=n>{s.input:.0f}<td class=n>{s.output:.0f}<td class=n>{s.seconds:.3f}<td class=n>{cost}"
        )
    return (
        f"<table><tr><th>cell{heads}<th class=n>unread<th class=n>failed<th class=n>calls<th class=n>tokens in"
        f"<th class=n>tokens out<th class=n>seconds<th class=n>cost{''.join(rows)}</table>"
    )


def _score(found: Any, lower: bool) -> str:
    width = 0.0 if lower or found.n == 0 else 100 * min(max(found.mean, 0.0), 1.0)
    bar = f"<div class=track><span class=bar style='width:{width:.1f}%'></span></div>" if width else ""
    return f"{_e(str(found))}{bar}"


def _comparisons(report: Report) -> str:
    rows = [
        f"<tr><td>{_e(cell.name)}<td class=n>{c.difference:+.3f}<td class=n>[{c.low:+.3f}, {c.high:+.3f}]"
        f"<td class=n>{c.won}<td class=n>{c.lost}<td class=n>{c.p:.3g}<td class=n>{p:.3g}"
        for cell, c, p in report.comparisons
    ]
    return (
        "<table><tr><th>cell<th class=n>difference<th class=n>95 %<th class=n>better on<th class=n>worse on"
        f"<th class=n>p<th class=n>p (Holm){''.join(rows)}</table>"
    )


def _differences(report: Report, second: str) -> str:
    first = report.cells[0].name
    name = report.metrics[0][0]
    rows = []
    for item, a, b in report.disagreements(first, second):
        cells = "".join(
            f"<td class={'right' if r.scores[name] else 'wrong'}><pre>{_e(r.text or r.failure)}</pre>" for r in (a, b)
        )
        rows.append(f"<tr><td>{_e(item.id)}<td><pre>{_e(_said(item.inputs))}</pre><td>{_e(said(item.expected))}{cells}")
    head = f"<tr><th>item<th>inputs<th>right answer<th>{_e(first)}<th>{_e(second)}"
    return (
        f"<details><summary>{len(rows)} items on which {_e(first)} and {_e(second)} differ</summary>"
        f"<table>{head}{''.join(rows)}</table></details>"
    )


def _unread(report: Report) -> str:
    bad = [record for record in report.records if record.failure]
    rows = "".join(
        f"<tr><td>{_e(r.cell)}<td>{_e(r.item)}<td><pre>{_e(r.failure)}</pre><td><pre>{_e(r.text)}</pre>" for r in bad
    )
    return f"<details><summary>{len(bad)} answers that could not be read</summary><table>{rows}</table></details>"


def _said(inputs: Any) -> str:
    return "\n".join(f"{name}: {said(value)}" for name, value in inputs.items())


def _e(text: str) -> str:
    return html.escape(text, quote=True)
