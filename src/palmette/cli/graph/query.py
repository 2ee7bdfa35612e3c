"""`palmette graph query`: a typed query."""

from __future__ import annotations

import json

import click

from palmette.cli.graph.shared import opened, safe, verb
from palmette.core.errors import UsageError

__all__ = ["command"]


@verb("query")
@click.argument("query", metavar="JSON")
def command(store: str, query: str) -> int:
    """Answer a typed query.

    \b
      '{"match": [{"subject": "Apple", "relation": "created", "object": "?x"}], "select": ["?x"]}'
    """
    try:
        asked = json.loads(query)
    except ValueError as error:
        raise UsageError(f"the query is no JSON: {error}") from None
    with opened(store, read_only=True) as graph:
        found = graph.query(asked)
    for row in found.rows:
        click.echo(safe("\t".join(row)))
    return 0
