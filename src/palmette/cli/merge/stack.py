"""`palmette merge stack`: a model of other models' layers."""

from __future__ import annotations

import click

from palmette.cli.debug import debug_option
from palmette.cli.merge.bar import moving
from palmette.cli.merge.run import size_in_bytes
from palmette.core.errors import UsageError
from palmette.core.yaml_text import as_yaml
from palmette.models.merging import fetch
from palmette.weights.create.stack import shuffled, stacked
from palmette.weights.execute import keep_pages
from palmette.weights.merge import merge

__all__ = ["command"]


@click.command("stack", short_help="Build a model of other models' layers.")
@click.argument("out")
@click.argument("pieces", nargs=-1, required=True, metavar="MODEL[:FIRST-END]…")
@click.option("--shuffle", is_flag=True, help="Draw each layer from one of the models, at its own depth.")
@click.option("--anywhere", is_flag=True, help="With --shuffle: from any depth.")
@click.option("--seed", default=0, show_default=True, help="Of the draws.")
@click.option("--dry-run", is_flag=True, help="Print the recipe and write nothing.")
@click.option("--out-shard-size", default="5G", show_default=True, help="The most bytes of one weights file.")
@click.option("--threads", "-j", type=click.IntRange(1), help="Tensors at once (default: one for each core).")
@click.option("--quiet", "-q", is_flag=True, help="No progress bar.")
@debug_option
def command(
    out: str, pieces: tuple[str, ...], shuffle: bool, anywhere: bool, seed: int, dry_run: bool, out_shard_size: str,
    threads: int | None, quiet: bool,
) -> int:  # fmt: skip
    """Stack layers of models into the folder OUT: what precedes them from the first piece, what follows from the last.

    Layers are numbered from 0; FIRST is in, END is not.

    \b
      palmette merge stack deep ./model:0-24 ./model:8-32
      palmette merge stack mixed ./a ./b --shuffle --seed 1
    """
    if anywhere and not shuffle:
        raise UsageError("--anywhere belongs to --shuffle")
    recipe = shuffled(pieces, seed, anywhere, fetch) if shuffle else stacked(pieces, fetch)
    if dry_run:
        click.echo(as_yaml(recipe, "merge"), nl=False)
        return 0
    keep_pages()
    made = merge(recipe, fetch=fetch, seed=seed)
    with moving("stacking", made.plan.size, quiet) as progress:
        made.save(out, threads=threads, shard_size=size_in_bytes(out_shard_size), progress=progress)
    click.echo(f"{out}: {len(made.plan.layers or [])} layers", err=True)
    return 0
