"""`palmette graph remove`: take documents out."""

from __future__ import annotations

import click

from palmette.cli.graph.shared import counted, opened, verb

__all__ = ["command"]


@verb("remove")
@click.argument("documents", nargs=-1, required=True)
def command(store: str, documents: tuple[str, ...]) -> int:
    """Take DOCUMENTS out of STORE, with everything that stands on them alone. No model is asked."""
    with opened(store) as graph:
        gone = graph.remove(*documents)
    click.echo(f"{counted(len(set(documents)), 'document')} and {counted(gone, 'statement')} removed")
    return 0
