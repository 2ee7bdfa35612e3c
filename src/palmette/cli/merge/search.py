"""`palmette merge search`: find a recipe's coefficients by measuring, and say whether the merge is any good."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import click

from palmette.cli.debug import debug_option
from palmette.cli.merge.run import read_documents
from palmette.core.errors import UsageError
from palmette.core.yaml_text import as_yaml
from palmette.models.merging import fetch
from palmette.models.search import search_merge

__all__ = ["command"]


@click.command("search", short_help="Find a recipe's coefficients by measuring a loss.")
@click.argument("recipe")
@click.option("--eval", "examples", required=True, type=click.Path(path_type=Path),
              help='Lines of {"prompt": …, "answer": …} or {"text": …} (.jsonl), or a plain text.')  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), help="Where the best recipe is written, as ordinary YAML.")
@click.option("--over", multiple=True, help="A parameter that moves, such as weight or density; repeatable.")
@click.option("--groups", type=click.IntRange(1, 16), default=1, show_default=True,
              help="Numbers for each parameter, spread over the layers.")  # fmt: skip
@click.option("--evaluations", type=click.IntRange(1), default=40, show_default=True, help="Points that are measured.")
@click.option(
    "--by",
    type=click.Choice(["cma", "surrogate", "cocktail"]),
    default="cma",
    show_default=True,
    help="CMA-ES; the bottom of a fitted surface; or weights from the models' own losses (LM-Cocktail).",
)
@click.option("--examples", "most", type=click.IntRange(2), help="Use only the first so many examples.")
@click.option("--seed", default=0, show_default=True, help="Of the search and of the merges.")
@click.option("--engine", type=click.Choice(["auto", "numpy", "torch"]), default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.option("--quiet", "-q", is_flag=True, help="No progress bar.")
@debug_option
def command(
    recipe: str,
    examples: Path,
    out: Path | None,
    over: tuple[str, ...],
    groups: int,
    evaluations: int,
    by: Literal["cma", "surrogate", "cocktail"],
    most: int | None,
    seed: int,
    engine: Literal["auto", "numpy", "torch"],
    as_json: bool,
    quiet: bool,
) -> int:
    """Search the coefficients of RECIPE for the merge with the least loss on examples; only the recipe is written.

    One half of the examples chooses; base, parents, the recipe as given and the best found are compared on the other
    half. Measured points are kept in OUT.points: the same command goes on after an interruption.

    \b
      palmette merge search recipe.yml --eval examples.jsonl --out best.yml
      palmette merge search recipe.yml --eval text.txt --over weight --over density --groups 3 --out best.yml
    """
    if out is not None and out.exists() and out.is_dir():
        raise UsageError(f"--out {str(out)!r} is a folder; name a file for the best recipe")
    with _bar(quiet) as progress:
        found = search_merge(
            read_documents(recipe), examples, over=over, groups=groups, evaluations=evaluations, most=most, seed=seed,
            engine=engine, store=None if out is None else out.with_name(out.name + ".points"), fetch=fetch, by=by,
            progress=progress,
        )  # fmt: skip
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        text = as_yaml(json.loads(found.recipes[-1].text), "merge") if len(found.recipes) == 1 else "---\n".join(
            as_yaml(json.loads(stage.text), "merge") for stage in found.recipes
        )  # fmt: skip
        part = out.with_name(f".{out.name}.partial")
        part.write_text(text, encoding="utf-8")
        part.replace(out)
    if as_json:
        rows = [{**vars(row), "verdict": row.verdict} for row in found.rows]
        click.echo(json.dumps({"point": found.point, "rows": rows, "against": found.reference, "notes": found.notes,
                               "evaluations": len(found.history)}))  # fmt: skip
    else:
        click.echo(found.text)
    return 0


@contextmanager
def _bar(quiet: bool) -> Iterator[Callable[[int, int, float], None]]:
    """A progress bar with the time left and the least loss, where there is a terminal to show it."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, of, best: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        job = bar.add_task("searching", total=None)
        yield lambda done, of, best: bar.update(job, completed=done, total=of, description=f"loss {best:.4f}")
