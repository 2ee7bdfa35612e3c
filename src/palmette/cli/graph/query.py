"""`palmette graph query`: a typed query."""

from __future__ import annotations

import json

import click

from palmette.cli.graph.shared import counted, opened, safe, verb
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
        example = '{"match": [{"subject": "Apple", "relation": "?r", "object": "?x"}], "select": ["?r", "?x"]}'
        raise UsageError(f"the query {query[:80]!r} is no JSON: {error}; write for example '{example}'") from None
    with opened(store, read_only=True) as graph:
        found = graph.query(asked)
    for row in found.rows:
        click.echo(safe("\t".join(row)))
    if not found.rows:
        click.echo("no rows: nothing in the graph fits all of it", err=True)
    if not found.whole:
        click.echo(f"only the first {counted(len(found.rows), 'row')}; there are more (limit)", err=True)
    return 0
