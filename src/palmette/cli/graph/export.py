"""`palmette graph export`: the graph as text for other programs."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from palmette.cli.graph.shared import opened, verb, write

__all__ = ["command"]


@verb("export")
@click.option(
    "--format",
    "-f",
    type=click.Choice(["json", "graphml", "nquads", "csv", "cypher"]),
    default="json",
    show_default=True,
)
@click.option("--out", "-o", type=click.Path(path_type=Path), help="A file; standard output by default.")
def command(store: str, format: str, out: Path | None) -> int:
    """Write STORE as text. json is the canonical dump: all there is, sorted, without times of the run."""
    with opened(store, read_only=True) as graph:
        if out is not None:
            write(out, "".join(graph.export(format)))
        else:
            for piece in graph.export(format):
                sys.stdout.write(piece)
    return 0
