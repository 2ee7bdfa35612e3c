"""`palmette graph schema`: what may be said."""

from __future__ import annotations

import json
from pathlib import Path

import click

from palmette.cli.graph.shared import opened, verb
from palmette.cli.shared import read_text

__all__ = ["command"]


@verb("schema")
@click.option("--set", "given", type=click.Path(path_type=Path), help="Hold the store to this schema (JSON).")
@click.option("--induce", is_flag=True, help="Propose one from what has been found.")
def command(store: str, given: Path | None, induce: bool) -> int:
    """Print what may be said in STORE, propose it (--induce), or set it (--set)."""
    with opened(store) as graph:
        if given is not None:
            graph.schema = read_text(str(given))
        found = graph.induce() if induce else graph.schema
    click.echo(json.dumps(found.dump(), ensure_ascii=False, indent=2))
    return 0
