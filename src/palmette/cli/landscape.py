"""`palmette landscape`: measure the loss around a model and draw it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from palmette.cli.shared import debug_option
from palmette.core.errors import UsageError

__all__ = ["command"]

_FILES = ("png", "svg", "npz", "csv", "json", "vtk", "stl")


def _files(function: Callable[..., Any]) -> Callable[..., Any]:
    """--png FILE, --svg FILE and so on."""
    for kind in reversed(_FILES):
        function = click.option(f"--{kind}", type=click.Path(path_type=Path), help=f"Also write {kind.upper()}.")(
            function
        )
    return function


@click.command("landscape", short_help="Measure and draw the loss around a model.")
@click.argument("model")
@click.option("--data", required=True, type=click.Path(path_type=Path), help="The text whose tokens are predicted.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A picture: .html, .png or .svg.")
@_files
@click.option("--plane", default="random", show_default=True,
              help="random, gradient, quant:int4, or one or two checkpoints' folders: A,B.")  # fmt: skip
@click.option("--line", is_flag=True, help="One direction only.")
@click.option("--norm", type=click.Choice(["filter", "layer", "element", "none"]), default="filter", show_default=True,
              help="What a random direction's size is taken from.")  # fmt: skip
@click.option("--select", default="", help="A regular expression: move only parameters whose names it is found in.")
@click.option("--span", help="The coordinates' range, as -0.5:0.5 (default: as far as the loss is below guessing).")
@click.option(
    "--tokens", type=click.IntRange(1), default=2048, show_default=True, help="Tokens predicted at each point."
)
@click.option("--length", type=click.IntRange(2), default=128, show_default=True, help="Tokens of a sequence.")
@click.option("--tolerance", type=click.FloatRange(0, min_open=True), default=1e-3, show_default=True,
              help="The surrogate's error that is small enough, as a share of the range.")  # fmt: skip
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of random directions.")
@click.option("--quiet", "-q", is_flag=True, help="No progress bar.")
@debug_option
def command(model: str, data: Path, out: Path, span: str | None, quiet: bool, **options: Any) -> int:
    """Measure the loss of MODEL on a line or plane of its weights, with error bars, and draw it.

    Measured points are kept in OUT.points; the same command goes on after an interruption.

    \b
      palmette landscape ./gpt2 --data text.txt --out plane.html
      palmette landscape base --plane math,code --data text.txt --out plane.html --npz plane.npz
    """
    from palmette.models.landscape import landscape
    from palmette.weights.landscape.pictures import write

    paths = [out]
    for kind in _FILES:
        path = options.pop(kind)
        if path is not None and path.suffix != f".{kind}":
            raise UsageError(f"--{kind} {path.name!r} should end in .{kind}")
        paths += [] if path is None else [path]
    if out.suffix not in (".html", ".png", ".svg"):
        raise UsageError(f"--out {out.name!r} should end in .html, .png or .svg")
    with _bar(quiet) as progress:
        made = landscape(
            model, data, span=_span(span), store=out.with_name(out.name + ".points"), progress=progress, **options
        )
    for path in paths:
        write(made, path, _marks(options["plane"], options["line"]))
    for flag in made.flags:
        click.echo(f"palmette: {flag}", err=True)
    click.echo(made.caption)
    return 0


def _span(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError:
        raise UsageError(f"--span {text!r}: write two numbers with a colon between, as -0.5:0.5") from None
    return low, high


def _marks(plane: str, line: bool) -> dict[str, tuple[float, ...]]:
    """Checkpoints that lie on the plane."""
    names = [Path(name).name for name in plane.split(",") if Path(name).expanduser().is_dir()]
    axes = 1 if line else 2
    return {name: tuple(float(i == k) for i in range(axes)) for k, name in enumerate(names[:axes])}


@contextmanager
def _bar(quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A progress bar with the time left, where there is a terminal to show it."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, of: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("measuring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        job = bar.add_task("measuring", total=None)
        yield lambda done, of: bar.update(job, completed=done, total=of)
