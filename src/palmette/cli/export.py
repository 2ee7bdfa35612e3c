"""`palmette export`: folders for other places to run a model in."""

from __future__ import annotations

from pathlib import Path

import click

from palmette.cli.shared import debug_option
from palmette.models.resolve import DEFAULT_MODEL

__all__ = ["command"]


@click.group("export", short_help="Write a folder that is ready to be a Hugging Face Space.")
def command() -> None:
    """Write a folder for another place to run a model in."""


@command.command("space")
@click.argument("folder", metavar="DIR")
@click.argument("model", default=DEFAULT_MODEL)
@click.option("--title", default="", help="Of the Space.")
@click.option("--host", "hosts", multiple=True, metavar="NAME", help="A name it is reached under: OWNER-NAME.hf.space.")
@click.option("--torch", is_flag=True, help="With PyTorch, for models that the numpy engine does not know.")
@debug_option
def space(folder: str, model: str, title: str, hosts: tuple[str, ...], torch: bool) -> int:
    """Write DIR, ready to be pushed as a Hugging Face Space (or built with Docker), which serves MODEL.

    The Space asks for a key, the secret PALMETTE_API_KEY; it does not start without one.
    """
    from palmette.serve.export import export_space

    made = export_space(model, Path(folder), title=title, hosts=hosts, torch=torch)
    click.echo(f"{made}: set the secret PALMETTE_API_KEY, then push this folder to the Space", err=True)
    return 0
