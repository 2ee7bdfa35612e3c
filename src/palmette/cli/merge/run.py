"""`palmette merge RECIPE OUT` and `palmette merge plan RECIPE`: carry out a merge recipe, or say what it would do."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from palmette.cli.debug import debug_option
from palmette.cli.merge.bar import moving
from palmette.core.errors import UsageError, near_miss
from palmette.models.merging import fetch
from palmette.weights.execute import keep_pages
from palmette.weights.merge import Merge, open_plan
from palmette.weights.plan import Missing, Options, Plan
from palmette.weights.recipe.schema import Recipe, read_recipes
from palmette.weights.report import report, summary

__all__ = ["command", "read", "read_documents", "size_in_bytes", "text_of"]

_UNITS = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@click.command("run", short_help="Merge models by a recipe (the word run may be left out).")
@click.argument("words", nargs=-1, metavar="[plan] RECIPE [OUT]")
@click.option("--seed", "--random-seed", default=0, show_default=True, help="Same seed, same bytes.")
@click.option(
    "--compute",
    type=click.Choice(["float32", "mergekit"]),
    default="float32",
    show_default=True,
    help="Arithmetic: float32, or rounded after every operation as mergekit does.",
)
@click.option("--allow-crimes", is_flag=True, help="Merge models of different architectures.")
@click.option("--unsafe-truncate-embeddings", is_flag=True, help="Cut vocabularies of different sizes to the smallest.")
@click.option(
    "--missing",
    type=click.Choice(["error", "present", "base", "skip"]),
    default="error",
    show_default=True,
    help="A tensor that some models lack: refuse, merge those that have it, keep the base's, leave it out.",
)
@click.option("--allow-nonfinite", is_flag=True, help="Let NaN and infinity through instead of refusing them.")
@click.option(
    "--out-shard-size", default="5G", show_default=True, help="The most bytes of one weights file (500M, 5G)."
)
@click.option("--threads", "-j", type=click.IntRange(1), help="Tensors computed at once (default: one for each core).")
@click.option("--sync", is_flag=True, help="Wait until the disk has everything, so that a power cut loses nothing.")
@click.option(
    "--ray",
    is_flag=False,
    flag_value="local",
    metavar="[ADDRESS]",
    help="Compute on a Ray cluster with a shared file system: local, auto or its address; the same bytes.",
)
@click.option("--hash-inputs", is_flag=True, help="Record the SHA-256 of every input file as a whole.")
@click.option("--report", "with_report", is_flag=True, help="With plan: read the weights and compare the task vectors.")
@click.option("--json", "as_json", is_flag=True, help="With plan: print one JSON object instead of text.")
@click.option("--quiet", "-q", is_flag=True, help="No progress bar.")
@debug_option
def command(
    words: tuple[str, ...],
    seed: int,
    compute: str,
    allow_crimes: bool,
    unsafe_truncate_embeddings: bool,
    missing: Missing,
    allow_nonfinite: bool,
    out_shard_size: str,
    threads: int | None,
    sync: bool,
    ray: str | None,
    hash_inputs: bool,
    with_report: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Merge models by RECIPE (mergekit's YAML) into the folder OUT; `plan RECIPE` only says what would happen.

    A merge that was interrupted is continued by the same command.

    \b
      palmette merge recipe.yml merged
      palmette merge plan recipe.yml --report
    """
    planning = bool(words) and words[0] == "plan"
    rest = words[1:] if planning or (words and words[0] == "run") else words
    if len(rest) != (1 if planning else 2):
        raise UsageError("write palmette merge RECIPE OUT, or palmette merge plan RECIPE")
    options = Options(
        seed,
        "mergekit" if compute == "mergekit" else "float32",
        allow_crimes,
        unsafe_truncate_embeddings,
        allow_nonfinite,
        missing,
    )
    recipes = read(rest[0])
    plan = open_plan(recipes, options, fetch)
    if planning:
        _show(plan, with_report, as_json)
        return 0
    for warning in plan.warnings:
        click.echo(f"palmette: {warning}", err=True)
    keep_pages()
    with moving("merging", plan.size, quiet) as progress:
        made = Merge(plan, tuple(recipes), fetch).save(
            rest[1],
            threads=threads,
            shard_size=size_in_bytes(out_shard_size),
            hash_inputs=hash_inputs,
            sync=sync,
            ray=ray,
            progress=progress,
        )
    click.echo(f"{made}: {summary(plan)}", err=True)
    return 0


def text_of(name: str) -> str:
    """The recipe's file as text; - is standard input."""
    if name == "-":
        return sys.stdin.read()
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        hint = near_miss(name, ("plan", "search", "regmean", "extract", "moe", "stack"))
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"the recipe {name!r} cannot be read: {reason}.{hint}") from error


def read(name: str) -> list[Recipe]:
    """The recipes in a file, one for each stage."""
    return read_recipes(text_of(name))


def read_documents(name: str) -> list[Any]:
    """The same as plain values, the stage that is the result at the end."""
    from palmette.weights.recipe.document import documents

    text = text_of(name)
    read_recipes(text)  # says what is wrong with it
    return sorted(documents(text), key=lambda stage: stage.get("name") is None)


def _show(plan: Plan, with_report: bool, as_json: bool) -> None:
    found = report(plan, measure=with_report)
    click.echo(json.dumps(found) if as_json else found["text"])


def size_in_bytes(text: str) -> int:
    """500M, 5G, 5GB or a plain number of bytes."""
    stripped = text.strip().upper().removesuffix("B")
    unit = _UNITS.get(stripped[-1:], 1)
    try:
        size = float(stripped[:-1] if unit > 1 else stripped) * unit
    except ValueError:
        size = 0
    if not 1 <= size < 1e18:
        raise UsageError(f"--out-shard-size: {text!r} is no size; write 500M or 5G")
    return int(size)
