"""`palmette convert`: a model folder as a GGUF file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from palmette.cli.shared import debug_option
from palmette.core.errors import UsageError
from palmette.models.resolve import folder_of, parse_reference
from palmette.weights.gguf.convert import DTYPES, convert

__all__ = ["command"]


@click.command("convert", short_help="Write a model as a GGUF file.")
@click.argument("model")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--dtype", type=click.Choice(list(DTYPES)), default="f16", show_default=True, help="Of the matrices.")
@click.option("--force", is_flag=True, help="Replace a file that exists.")
@click.option("--quiet", "-q", is_flag=True, help="No progress bar.")
@debug_option
def command(model: str, out: Path, dtype: str, force: bool, quiet: bool) -> int:
    """Write MODEL (a folder, hf:OWNER/NAME or zoo:NAME; Llama, Mistral, Qwen2, Qwen3, GPT-2) as the GGUF file OUT.

    \b
      palmette convert ./my-model my-model.gguf --dtype q8_0
      palmette run my-model.gguf "Once upon a time"
    """
    if out.suffix != ".gguf":
        raise UsageError(f"{str(out)!r} should end in .gguf, by which llama.cpp's programs know such files")
    if out.exists() and not force:
        raise UsageError(f"{str(out)!r} exists; give another name, or --force to replace it")
    reference = parse_reference(model)
    name = reference.name if reference.scheme != "folder" else ""
    with _bar(quiet) as progress:
        done = convert(folder_of(reference), out, dtype, name=name, progress=progress)
    for note in done.notes:
        click.echo(f"palmette: {note}", err=True)
    click.echo(f"{done.path}: {done.bytes / 1e6:,.1f} MB", err=True)
    return 0


@contextmanager
def _bar(quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A progress bar with the time left, where there is a terminal to show it."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, whole: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("converting"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        job = bar.add_task("converting", total=None)
        yield lambda done, whole: bar.update(job, completed=done, total=whole)
