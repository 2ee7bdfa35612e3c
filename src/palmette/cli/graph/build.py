"""`palmette graph build`: read documents into a store."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from palmette.cli.graph.shared import counted, model_option, opened, verb
from palmette.cli.shared import read_text
from palmette.core.errors import PalmetteError

__all__ = ["command"]


@verb("build")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@model_option
@click.option(
    "--schema",
    type=click.Path(path_type=Path),
    help="What may be said: JSON with types and relations; kept in the store.",
)
@click.option("--size", default=1200, show_default=True, help="Characters of a piece, at most.")
@click.option("--encoding", default="", help="Of text files; UTF-8 unless they say otherwise.")
@click.option(
    "--max-mb", default=32.0, show_default=True, type=click.FloatRange(0, min_open=True), help="Refuse larger files."
)
@click.option("--max-tokens", type=click.IntRange(1), help="Of a model's reply to a piece.")
@click.option("--calls", type=click.IntRange(0), help="Stop before more calls of the model than this.")
@click.option("--tokens", type=click.IntRange(0), help="Stop before more tokens than this.")
@click.option("--dry-run", is_flag=True, help="Say what it would cost, and do nothing.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def command(
    store: str, files: tuple[Path, ...], model: str, schema: Path | None, size: int, encoding: str, max_mb: float,
    max_tokens: int | None, calls: int | None, tokens: int | None, dry_run: bool, quiet: bool,
) -> int:  # fmt: skip
    """Read FILES (Markdown, text, HTML, PDF) into STORE. What is there unchanged costs nothing; the same command goes
    on after an interruption. A file that cannot be read is named, and the others are read.
    """
    from palmette.knowledge.documents.read import Document, read
    from palmette.knowledge.extract.ingest import Budget
    from palmette.knowledge.schema import Schema

    documents: list[Document] = []
    failed = 0
    for path in files:
        try:
            documents.append(read(path, encoding=encoding, most_bytes=int(max_mb * 1e6)))
        except PalmetteError as error:
            failed += 1
            click.echo(f"palmette: {type(error).__name__}: {error}", err=True)
    if not documents:
        return 2
    held = None if schema is None else Schema.read(read_text(str(schema)))  # before a store is begun
    options = {"max_tokens": max_tokens} if max_tokens else {}
    fresh = "://" not in store and not Path(store).exists()
    with opened(":memory:" if dry_run and fresh else store, existing=False) as graph:
        if held is not None:
            graph.schema = held
        cost = graph.estimate(documents, by=model, size=size, **options)
        if dry_run or (not quiet and cost.calls):
            click.echo(
                f"{counted(cost.documents, 'document')} to read in {counted(cost.pieces, 'piece')}: "
                f"{counted(cost.calls, 'call')}, {counted(cost.tokens, 'token')} at most",
                err=not dry_run,
            )
        if dry_run:
            return 0
        with _bar(cost.pieces, quiet) as advance:
            added = graph.add(documents, by=model, size=size, budget=Budget(calls, tokens), progress=advance, **options)
    spent = f", {counted(added.calls, 'call')}, {counted(added.tokens, 'token')}" if added.calls else ""
    known = f", {len(added.unchanged)} unchanged" if added.unchanged else ""
    click.echo(
        f"{counted(len(added.documents), 'document')} read{known}: {counted(added.statements, 'statement')}{spent}"
    )
    if not added.statements and added.documents:
        click.echo(
            "palmette: nothing was found to say; a larger model, a schema, or --model none may find more", err=True
        )
    if added.left:
        left = counted(len(added.left), "document")
        click.echo(f"palmette: the budget is spent, with {left} left: the same command goes on", err=True)
    return 1 if failed or added.left else 0


@contextmanager
def _bar(total: int, quiet: bool) -> Iterator[Callable[[int, int, str], None] | None]:
    """A bar with the time left, where somebody looks."""
    if quiet or total < 2 or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=total)
        yield lambda done, of, name: bar.update(task, completed=done, total=of, description=name[-40:])
