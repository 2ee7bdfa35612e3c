"""`palmette landscape`: measure the loss around a model, draw it, and say what it means."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from palmette.cli.shared import debug_option
from palmette.core.errors import UsageError

__all__ = ["command"]

_FILES = ("html", "png", "svg", "gif", "npz", "csv", "json", "parquet", "vtk", "stl", "glb", "gltf")
_SURFACES = (".gif", ".vtk", ".stl", ".glb", ".gltf")
_PICTURES = (".html", ".png", ".svg")
_ONLY = {  # options, and the pictures that they say something about: "" is a line or plane
    "tolerance": ("", "sharpness"), "grid": ("",), "span": ("", "profile"), "rise": ("profile",),
    "seed": ("", "profile", "layers"), "norm": ("", "profile", "layers"), "eigenvalues": ("sharpness",),
    "products": ("sharpness",), "workers": ("", "profile", "layers"), "ray": ("", "profile", "layers"),
}  # fmt: skip


def _files(function: Callable[..., Any]) -> Callable[..., Any]:
    """--png FILE, --svg FILE and so on."""
    for kind in reversed(_FILES):
        function = click.option(f"--{kind}", type=click.Path(path_type=Path), help=f"Also write {kind.upper()}.")(
            function
        )
    return function


def _how(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every measurement."""
    options = [
        click.option("--metric", type=click.Choice(["loss", "error"]), default="loss", show_default=True,
                     help="Nats a token, or the share of tokens that are guessed wrong."),
        click.option("--select", default="", help="A regular expression: move only parameters whose names hold it."),
        click.option("--tokens", type=click.IntRange(1), default=2048, show_default=True,
                     help="Tokens predicted at each point."),
        click.option("--length", type=click.IntRange(2), default=128, show_default=True, help="Tokens of a sequence."),
        click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True,
                     help="What the model computes in; positions are float32, rounded once."),
        click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1 …"),
        click.option("--threads", type=click.IntRange(1), help="Of each process; the same number gives the same bits."),
        click.option("--workers", type=click.IntRange(0), default=0, help="Processes that measure side by side."),
        click.option("--ray", is_flag=False, flag_value="local", default=None, metavar="[ADDRESS]",
                     help="Measure on a Ray cluster, with --workers actors: local, auto or its address."),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


@click.command("landscape", short_help="Measure and draw the loss around a model.")
@click.argument("model", required=False)
@click.option("--data", "texts", multiple=True, required=True, metavar="[NAME=]FILE",
              help="The text to predict; several are weighed alike. A .jsonl file holds documents.")  # fmt: skip
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A picture: .html, .png or .svg.")
@_files
@click.option("--plane", default="random", show_default=True,
              help="random, gradient, hessian, quant:int4, pca:CHECKPOINTS, task-vectors:A,B,C, or folders: "
                   "A / A,B / BASE,A,B.")  # fmt: skip
@click.option("--line", is_flag=True, help="One direction only.")
@click.option("--merge", "merges", multiple=True, type=click.Path(path_type=Path), metavar="RECIPE",
              help="Draw the base, the parents and the merges of recipes on one plane.")  # fmt: skip
@click.option("--best", type=click.Path(path_type=Path), metavar="RECIPE",
              help="Write the best merge on the plane of two checkpoints as a recipe for palmette merge.")  # fmt: skip
@click.option(
    "--profile",
    type=click.IntRange(1),
    metavar="K",
    help="K random lines instead: the basin's radius with an interval.",
)
@click.option("--layers", metavar="CHANGE", help="Change one layer at a time instead: quant:int4 or noise:0.1.")
@click.option(
    "--sharpness", is_flag=True, help="The largest curvatures instead, and the learning rate that they allow."
)
@click.option("--eigenvalues", type=click.IntRange(1), metavar="K", help="With --sharpness: how many (default: 5).")
@click.option("--products", type=click.IntRange(1), metavar="N",
              help="With --sharpness: products with the Hessian at most (default: 100).")  # fmt: skip
@click.option(
    "--rise", type=click.FloatRange(0, min_open=True), default=0.1, show_default=True, help="What a basin's edge is."
)
@click.option("--norm", type=click.Choice(["filter", "layer", "element", "none"]), default="filter", show_default=True,
              help="What a random direction's size is taken from.")  # fmt: skip
@click.option("--span", help="The coordinates' range, as -0.5:0.5 (default: as far as the loss is below guessing).")
@click.option("--tolerance", type=click.FloatRange(0, min_open=True),
              help="The surrogate's error that is small enough, as a share of the range (default: 0.001); of "
                   "eigenvalues, their residual as a share of the largest (default: 0.000001).")  # fmt: skip
@click.option("--grid", type=click.IntRange(4), help="A plain grid of so many points an axis.")
@click.option("--seed", default=0, show_default=True, help="Of random directions.")
@click.option("--shard", metavar="I/N", help="Measure one of N shares of the points only, on this machine.")
@_how
@click.option("--quiet", "-q", is_flag=True, help="No progress bar.")
@debug_option
def command(model: str | None, texts: tuple[str, ...], out: Path, quiet: bool, **options: Any) -> int:
    """Measure the loss of MODEL on a line or plane of its weights, with error bars, and draw it.

    Measured points are kept in OUT.points; the same command goes on after an interruption.

    \b
      palmette landscape ./gpt2 --data text.txt --out plane.html
      palmette landscape ./base --plane ./math,./code --data m.txt --data c.txt --out plane.html --best best.yml
      palmette landscape --merge recipe.yml --data text.txt --out merge.html
      palmette landscape ./one --plane ./two --line --data text.txt --out barrier.html
      palmette landscape ./gpt2 --profile 8 --data text.txt --out basin.html
      palmette landscape ./gpt2 --layers quant:int4 --data text.txt --out layers.html
      palmette landscape ./gpt2 --sharpness --data text.txt --out sharpness.json
    """
    paths = [out, *_paths(options)]
    asked = [name for name in ("profile", "layers", "sharpness") if options[name]]
    _one_at_a_time(model, asked, options)
    _of_this_picture(asked)
    wanted = (".json",) if asked == ["sharpness"] else _PICTURES
    if out.suffix not in wanted:
        kind = out.suffix[1:]
        beside = f"; --{kind} {out.name} writes one beside it" if kind in _FILES and asked != ["sharpness"] else ""
        endings = " or ".join(filter(None, [", ".join(wanted[:-1]), wanted[-1]]))
        raise UsageError(f"--out {out.name!r} should end in {endings}{beside}")
    missing = next((path.parent for path in paths if not path.parent.is_dir()), None)
    if missing is not None:
        raise UsageError(f"there is no folder {str(missing)!r} to write to; create it first")
    _possible(paths[1:], asked, options)
    from palmette.cli import landscape_say

    store = None if asked == ["sharpness"] else out.with_name(out.name + ".points")
    data = _data(texts)
    try:
        with _bar(quiet) as progress:
            made = landscape_say.measured(model, data, store, progress, _settings(options), asked)
    except KeyboardInterrupt:
        where = f": what was measured is kept in {store}, and the same command goes on" if store else ""
        click.echo(f"palmette: stopped{where}", err=True)
        return 130
    landscape_say.finished(made, paths, options)
    return 0


def _one_at_a_time(model: str | None, asked: list[str], options: dict[str, Any]) -> None:
    """Refuse options of two pictures, of which one would be left out without a word."""
    axes = [name for name in ("merges", "plane") if options[name] not in ((), "random")]
    others = ["line"] * options["line"] + axes + ["shard"] * (options["shard"] is not None)
    both = [*asked, *others] if asked else axes
    if len(both) > 1:
        first, second = (f"--{name.replace('merges', 'merge')}" for name in both[:2])
        raise UsageError(f"{first} and {second} are two pictures; ask for one at a time")
    if model is None and not options["merges"]:
        raise UsageError("there is no model: palmette landscape MODEL --data …, or --merge RECIPE")
    if model is not None and options["merges"]:
        raise UsageError(f"--merge draws around the recipe's own base: leave the model {model!r} out")


def _of_this_picture(asked: list[str]) -> None:
    """Refuse options that would be left out without a word: those of another picture."""
    context = click.get_current_context()
    picture = asked[0] if asked else ""
    for name, pictures in _ONLY.items():
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE and picture not in pictures:
            where = f"--{picture}" if picture else "a line or plane"
            others = " or ".join(f"--{other}" if other else "a line or plane" for other in pictures)
            raise UsageError(f"--{name} says nothing about {where}, only about {others}; leave it out")


def _possible(others: list[Path], asked: list[str], options: dict[str, Any]) -> None:
    """Refuse files that this picture cannot be written to, before anything is measured."""
    line = asked or options["line"]
    wrong = (".npz", *_SURFACES) if asked else _SURFACES if line else ()
    flat = next((path for path in others if path.suffix in wrong or asked == ["sharpness"]), None)
    if flat is not None:
        why = "numbers only, in --out" if asked == ["sharpness"] else "no surface"
        raise UsageError(f"{flat.name!r}: this picture is {why}; leave --{flat.suffix[1:]} out")
    if options["best"] is not None and (line or not ("," in options["plane"] or options["merges"])):
        raise UsageError("--best needs a plane through two checkpoints: --plane A,B, or --merge with two parents")


def _settings(options: dict[str, Any]) -> dict[str, Any]:
    """The options with what their texts mean."""
    ray = options["ray"] or False
    return options | {"span": _span(options["span"]), "shard": _shard(options["shard"]), "ray": ray}


def _paths(options: dict[str, Any]) -> list[Path]:
    found = []
    for kind in _FILES:
        path = options.pop(kind)
        if path is not None:
            if path.suffix != f".{kind}":
                raise UsageError(f"--{kind} {path.name!r} should end in .{kind}")
            found.append(path)
    return found


def _data(texts: tuple[str, ...]) -> str | Mapping[str, str]:
    """One text, or several by name: NAME=FILE, else the file's name."""
    if len(texts) == 1 and "=" not in texts[0]:
        return texts[0]
    named: dict[str, str] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        name, path = (name, path) if equals and not Path(text).exists() else (Path(text).stem, text)
        if name in named:
            raise UsageError(f"--data: two texts are named {name!r}; write NAME=FILE")
        named[name] = path
    return named


def _span(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError:
        raise UsageError(f"--span {text!r}: write two numbers with a colon between, as -0.5:0.5") from None
    return low, high


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        index, count = (int(part) for part in text.split("/"))
    except ValueError:
        raise UsageError(f"--shard {text!r}: write which share of how many, as 2/4") from None
    return index, count


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
