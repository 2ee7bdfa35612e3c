"""`palmette strategies`: what can be named after --strategy and --view, read from the functions themselves."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import click

from palmette.cli.shared import debug_option
from palmette.core.signature import parameters, pick, summary
from palmette.tokens.strategies import STRATEGIES
from palmette.tokens.views import VIEWS

__all__ = ["command"]


@click.command("strategies", short_help="List the decoding strategies and views.")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
@debug_option
def command(name: str | None, as_json: bool) -> int:
    """List all strategies and views, or explain the one called NAME."""
    tables: dict[str, Mapping[str, Callable[..., Any]]] = {"strategies": STRATEGIES, "views": VIEWS}
    if as_json:
        click.echo(json.dumps({kind: {n: _described(f) for n, f in t.items()} for kind, t in tables.items()}))
        return 0
    if name is not None:
        function = pick({**STRATEGIES, **VIEWS}, name, "strategy or view")
        click.echo(f"{name}: {summary(function)}")
        for parameter in parameters(function):
            click.echo(f"  {parameter.shown}  {parameter.help}")
        return 0
    for kind, table in tables.items():
        click.echo(f"{kind} (--{'strategy' if kind == 'strategies' else 'view'} NAME[:ARG])")
        for label, function in table.items():
            shown = ", ".join(p.shown for p in parameters(function))
            click.echo(f"  {label}({shown})\n      {summary(function)}")
    return 0


def _described(function: Callable[..., Any]) -> dict[str, Any]:
    return {
        "summary": summary(function),
        "parameters": [
            {"name": p.name, "required": p.required, "default": None if p.required else p.default, "help": p.help}
            for p in parameters(function)
        ],
    }
