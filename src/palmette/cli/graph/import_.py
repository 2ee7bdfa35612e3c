"""`palmette graph import`: read an export."""

from __future__ import annotations

from pathlib import Path

import click

from palmette.cli.graph.shared import counted, opened, verb
from palmette.cli.shared import read_text
from palmette.core.errors import PalmetteError

__all__ = ["command"]


@verb("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "-f",
    type=click.Choice(["json", "graphml", "nquads", "csv", "cypher"]),
    help="By the file's ending, unless said.",
)
def command(store: str, file: Path, format: str | None) -> int:
    """Read an export into STORE."""
    endings = {"nq": "nquads", "nt": "nquads", "cyp": "cypher"}
    ending = file.suffix.lower().lstrip(".")
    text, fresh = read_text(str(file)), "://" not in store and not Path(store).exists()
    try:
        with opened(store, existing=False) as graph:
            came = graph.take(text, format or endings.get(ending, ending))
    except PalmetteError:
        if fresh:  # a store that was begun for nothing
            Path(store).unlink(missing_ok=True)
        raise
    click.echo(f"{counted(came, 'statement')} read")
    return 0
