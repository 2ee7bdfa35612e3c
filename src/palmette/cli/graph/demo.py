"""`palmette graph demo`: the course's lesson, step by step."""

from __future__ import annotations

import click

from palmette.cli.graph.shared import model_option, safe
from palmette.cli.shared import debug_option

__all__ = ["command"]


@click.command("demo")
@model_option
@debug_option
def command(model: str) -> int:
    """The course's seven steps on its graph of twenty-two facts, with any model (zoo:seedling, ollama:qwen3, …)."""
    from palmette.models.graph_demo import demo as steps

    for line in steps(model):
        click.echo(safe(line))
    return 0
