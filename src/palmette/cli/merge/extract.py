"""`palmette merge extract`: the difference of two models as a LoRA adapter."""

from __future__ import annotations

import statistics

import click

from palmette.cli.debug import debug_option
from palmette.cli.merge.bar import counting
from palmette.models.merging import fetch
from palmette.weights.create.extract import extract

__all__ = ["command"]


@click.command("extract", short_help="Write the difference of two models as a LoRA adapter.")
@click.argument("base")
@click.argument("tuned")
@click.argument("out")
@click.option("--rank", type=click.IntRange(1), default=32, show_default=True, help="Of every matrix's change.")
@click.option("--include", default="", metavar="REGEX", help="Only tensors whose names it is found in.")
@click.option("--exclude", default="", metavar="REGEX", help="No tensor whose name it is found in.")
@click.option("--embeddings", is_flag=True, help="Extract the token embedding and the output head as well.")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16", "float16"]), default="float32", show_default=True)
@click.option("--quiet", "-q", is_flag=True, help="No progress bar.")
@debug_option
def command(
    base: str, tuned: str, out: str, rank: int, include: str, exclude: str, embeddings: bool, dtype: str, quiet: bool
) -> int:
    """Write what TUNED has that BASE has not as a LoRA adapter into the folder OUT, in PEFT's format.

    Says how much of the change the adapter holds, and what no LoRA can hold.

    \b
      palmette merge extract ./base ./tuned adapter --rank 16
    """
    with counting("extracting", quiet) as progress:
        made = extract(base, tuned, out, rank=rank, include=include, exclude=exclude, embeddings=embeddings,
                       dtype=dtype, fetch=fetch, progress=progress)  # fmt: skip
    worst = min(made.kept, key=lambda name: made.kept[name])
    middle = statistics.median(made.kept.values())
    click.echo(
        f"{made.folder}: {len(made.kept)} matrices of rank {rank}; the adapter holds {middle:.1%} of the change's "
        f"energy in the median matrix, {made.kept[worst]:.1%} in {worst}"
    )
    if made.left_out:
        most = max(made.left_out, key=lambda name: made.left_out[name])
        click.echo(f"not in the adapter: {len(made.left_out)} changed tensors, such as {most}", err=True)
    return 0
