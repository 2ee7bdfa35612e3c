"""`palmette graph conflicts`: what contradicts itself."""

from __future__ import annotations

import click

from palmette.cli.graph.shared import opened, safe, verb

__all__ = ["command"]


@verb("conflicts")
@click.argument("relations", nargs=-1)
def command(store: str, relations: tuple[str, ...]) -> int:
    """List what contradicts itself: several objects of a functional relation, the schema's or RELATIONS, quoted."""
    with opened(store, read_only=True) as graph:
        found = graph.conflicts(*relations)
        looked = relations or sorted(graph.schema.functional)
    for conflict in found:
        click.echo(safe(str(conflict)))
    if not looked:
        click.echo(
            "no relation of the schema is functional; name some: palmette graph conflicts STORE RELATION …", err=True
        )
    elif not found:
        click.echo(safe(f"nothing contradicts itself in {', '.join(looked)}"))
    return 0
