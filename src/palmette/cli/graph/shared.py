"""What the verbs of `palmette graph` share: the store as first argument, times, text that steers no terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from palmette.cli.shared import debug_option
from palmette.core.errors import OutputError, UsageError

__all__ = ["counted", "fact_of", "group_of", "model_option", "opened", "safe", "time_option", "verb", "write"]

model_option = click.option(
    "--model", "-m", default="none", show_default=True, help="Who reads or answers; none: no model."
)
time_option = click.option("--at", help="What held at this time: 2023, 2023-06, 2023-06-05.")


def verb(name: str) -> Callable[[Callable[..., Any]], click.Command]:
    """A verb whose first argument is the store."""

    def made(function: Callable[..., Any]) -> click.Command:
        return click.command(name)(click.argument("store")(debug_option(function)))

    return made


@contextmanager
def opened(store: str, *, existing: bool = True, read_only: bool = False) -> Iterator[Any]:
    """The graph, closed afterwards."""
    from palmette.models.graph import graph

    if existing and "://" not in store and not Path(store).exists():
        raise UsageError(f"no store at {store!r}; begin one with: palmette graph build {store} FILE …")
    options = {"read_only": True} if read_only and "://" not in store else {}
    with graph(store, **options) as found:
        yield found


def counted(count: int, noun: str) -> str:
    """A number and a noun.

    >>> counted(1, "document"), counted(2, "document")
    ('1 document', '2 documents')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def safe(text: str) -> str:
    """Text that steers no terminal."""
    from palmette.tokens.trace.visible import printable

    return printable(text)


def write(path: Path, data: str | bytes) -> None:
    """A file, whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data.encode() if isinstance(data, str) else data)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(f"cannot write {str(path)!r}: {error.strerror or error}") from error


def group_of(group: Any) -> dict[str, Any]:
    """A group as JSON values."""
    return {
        "members": list(group.community.members), "relations": dict(group.community.relations),
        "summary": group.summary, "facts": [fact_of(f) for f in group.facts],
    }  # fmt: skip


def fact_of(fact: Any) -> dict[str, Any]:
    """A fact as JSON values."""
    quotes = [{"document": q.document, "start": q.start, "end": q.end, "text": q.text} for q in fact.quotes]
    return {
        "id": fact.id, "subject": fact.subject.name, "relation": fact.relation, "object": fact.object.name,
        "support": fact.support, "quotes": quotes,
    }  # fmt: skip
