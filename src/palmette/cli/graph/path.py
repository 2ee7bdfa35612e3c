"""`palmette graph path`: the shortest way between two things."""

from __future__ import annotations

import click

from palmette.cli.graph.shared import opened, safe, time_option, verb

__all__ = ["command"]


@verb("path")
@click.argument("start")
@click.argument("goal")
@time_option
def command(store: str, start: str, goal: str, at: str | None) -> int:
    """The shortest way from START to GOAL, with the quotes of its facts (exit code 3 if there is none)."""
    from palmette.knowledge.store.read import When, quoted

    with opened(store, read_only=True) as graph:
        found = graph.path(start, goal, at=at)
        if found is None:
            click.echo(safe(f"no way leads from {start} to {goal}"))
            return 3
        click.echo(safe(str(found)))
        for fact in quoted(graph.store, [hop.fact for hop in found.hops], when=When(at), most=1):
            for quote in fact.quotes:
                click.echo(safe(f"  {quote}"))
    return 0
