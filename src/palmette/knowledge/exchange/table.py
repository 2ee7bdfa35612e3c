"""CSV (RFC 4180): one line for each assertion, with its quote and where it stands.

A cell that a spreadsheet would take for a formula is written with an apostrophe before it, and read without.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from palmette.core.errors import BadParameter
from palmette.knowledge.store.read import assertions
from palmette.knowledge.store.store import Store
from palmette.knowledge.values import Entity, Statement

__all__ = ["COLUMNS", "read", "write"]

COLUMNS = (
    "subject", "subject_type", "relation", "object", "object_type", "literal", "document", "start", "end", "quote",
    "model", "confidence", "valid_from", "valid_to",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")


def write(store: Store) -> Iterator[str]:
    """Every assertion, sorted."""
    yield _line(COLUMNS)
    for said in assertions(store):
        fact, quote = said.fact, said.quote
        place = (quote.document, quote.start, quote.end, quote.text) if quote else ("", "", "", "")
        yield _line(
            (
                fact.subject.name, fact.subject.type, fact.relation, fact.object.name, fact.object.type,
                int(fact.object.literal), *place, said.model, said.confidence, said.valid_from or "",
                said.valid_to or "",
            )
        )  # fmt: skip


def _line(cells: tuple[object, ...]) -> str:
    out = io.StringIO(newline="")
    safe = [f"'{c}" if isinstance(c, str) and c.startswith(_FORMULA) else c for c in cells]
    csv.writer(out, lineterminator="\r\n").writerow(safe)
    return out.getvalue()


def read(store: Store, text: str) -> int:
    """Facts from a table with at least the columns subject, relation and object."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        head = next(rows, [])
        missing = [c for c in ("subject", "relation", "object") if c not in head]
        if missing:
            raise BadParameter(f"this table has no column {missing[0]!r}; its first line is {','.join(head)[:120]!r}")
        said = []
        for row in rows:
            if not row:
                continue
            cell = {k: v[1:] if v.startswith("'") else v for k, v in zip(head, row, strict=False)}
            ends = [
                Entity(cell["subject"], cell.get("subject_type", "")),
                Entity(cell["object"], cell.get("object_type", ""), cell.get("literal") == "1"),
            ]
            times = (cell.get("valid_from") or None, cell.get("valid_to") or None)
            said.append(Statement(ends[0], cell["relation"], ends[1], 0, 0, float(cell.get("confidence") or 1), *times))
    except (csv.Error, ValueError, KeyError) as error:
        raise BadParameter(f"line {rows.line_num} of this table cannot be read: {error}") from None
    return store.say(said, model="csv")
