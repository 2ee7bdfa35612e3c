"""`palmette graph communities`: groups of things that stand close together, with what is said of them."""

from __future__ import annotations

import json

import click

from palmette.cli.graph.shared import group_of, model_option, opened, safe, verb

__all__ = ["command"]


@verb("communities")
@model_option
@click.option("--most", default=20, show_default=True, type=click.IntRange(1), help="Groups, the largest first.")
@click.option("--max-tokens", default=256, show_default=True, type=click.IntRange(1), help="Of a model's summary.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def command(store: str, model: str, most: int, max_tokens: int, as_json: bool) -> int:
    """Groups of things in STORE that stand close together (extra communities), each with its best facts, or with a
    summary by a model, of which only what the store supports is shown; it is kept, so that it costs one call once.
    """
    with opened(store, read_only=model == "none") as graph:
        groups = graph.groups(by=model, most=most, max_tokens=max_tokens)
    if as_json:
        click.echo(json.dumps([group_of(g) for g in groups], ensure_ascii=False, indent=2))
    elif not groups:
        click.echo("no three things hang together")
    else:
        click.echo(safe("\n\n".join(map(str, groups))))
    return 0
