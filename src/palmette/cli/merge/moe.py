"""`palmette merge moe`: a mixture of experts from dense models."""

from __future__ import annotations

import click

from palmette.cli.debug import debug_option
from palmette.cli.merge.bar import moving
from palmette.cli.merge.run import size_in_bytes, text_of
from palmette.core.errors import RecipeError
from palmette.models.merging import fetch
from palmette.models.moe import states_of
from palmette.weights.create.moe import build, read_mixture
from palmette.weights.inputs.open import open_model
from palmette.weights.recipe.document import documents

__all__ = ["command"]


@click.command("moe", short_help="Build a mixture of experts from dense models.")
@click.argument("recipe")
@click.argument("out")
@click.option("--seed", default=0, show_default=True, help="Of random gates.")
@click.option("--out-shard-size", default="5G", show_default=True, help="The most bytes of one weights file.")
@click.option("--threads", "-j", type=click.IntRange(1), help="Tensors at once (default: one for each core).")
@click.option("--quiet", "-q", is_flag=True, help="No progress bar.")
@debug_option
def command(recipe: str, out: str, seed: int, out_shard_size: str, threads: int | None, quiet: bool) -> int:
    """Build a mixture of experts by RECIPE (mergekit-moe's YAML) into the folder OUT.

    Llama and Mistral become Mixtral, Qwen2 becomes Qwen2-MoE, Qwen3 becomes Qwen3-MoE.

    \b
      base_model: ./base
      gate_mode: hidden            # or cheap_embed, random, uniform_random
      experts:
        - {source_model: ./math, positive_prompts: ["Solve the equation"]}
        - {source_model: ./code, positive_prompts: ["Write a function"]}
    """
    found = documents(text := text_of(recipe))
    if len(found) != 1:
        raise RecipeError("", f"{len(found)} documents where one recipe is expected")
    mixture = read_mixture(found[0], text)
    base = open_model(mixture.base, fetch)
    with moving("writing", 0, quiet) as progress:
        made = build(mixture, out, states=states_of(base.folder), seed=seed, fetch=fetch, threads=threads,
                     shard_size=size_in_bytes(out_shard_size), progress=progress)  # fmt: skip
    click.echo(f"{made}: {len(mixture.experts)} experts, {mixture.per_token} for each token", err=True)
    return 0
