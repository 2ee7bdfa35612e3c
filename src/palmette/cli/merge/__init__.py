"""`palmette merge`: merge models, and what belongs to it, one verb a file.

The first word chooses the verb; where it is none, it is a recipe, and the merge is carried out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import click

from palmette.cli.verbs import Verbs

__all__ = ["VERBS", "command"]

VERBS = {
    "run": "Merge models by a recipe; the word run may be left out: palmette merge RECIPE OUT.",
    "plan": "Say what a recipe would do, and how the models relate (--report).",
    "search": "Find a recipe's coefficients by measuring a loss.",
    "regmean": "Merge models in closed form from their activations (RegMean).",
    "extract": "Write the difference of two models as a LoRA adapter.",
    "moe": "Build a mixture of experts from dense models.",
    "stack": "Build a model of other models' layers.",
}


class Merging(Verbs):
    """A group whose first word may be left out."""

    package, table = "palmette.cli.merge", VERBS
    home: ClassVar[Mapping[str, str]] = {"plan": "run"}

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb that is named, or else run; `plan` and `run` are words of the same command."""
        if args and args[0] in VERBS and args[0] not in ("run", "plan"):
            return args[0], self.get_command(ctx, args[0]), args[1:]
        return "run", self.get_command(ctx, "run"), args


@click.command(
    "merge",
    cls=Merging,
    short_help="Merge models by a recipe.",
    context_settings={"ignore_unknown_options": True, "help_option_names": ["-h", "--help"]},
)
def command() -> None:
    """Merge models by a recipe (mergekit's YAML) into a folder.

    \b
      palmette merge recipe.yml merged            palmette merge run --help  lists its options
      palmette merge plan recipe.yml --report
      palmette merge search recipe.yml --eval examples.jsonl --out best.yml
    """
