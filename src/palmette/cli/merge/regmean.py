"""`palmette merge regmean`: merge models in closed form from what their layers see."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import click

from palmette.cli.debug import debug_option
from palmette.cli.merge.bar import counting, moving
from palmette.core.checkpoint import read_config
from palmette.core.errors import UsageError
from palmette.models.measure import Measure, read_examples
from palmette.models.merging import fetch
from palmette.weights.create.regmean import regmean

__all__ = ["command"]


@click.command("regmean", short_help="Merge models in closed form from their activations (RegMean).")
@click.argument("models", nargs=-1, required=True)
@click.option("--data", multiple=True, required=True, type=click.Path(path_type=Path),
              help="Texts or .jsonl examples: one file for all models, or one for each in their order.")  # fmt: skip
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The merged model's folder.")
@click.option("--alpha", default=0.9, show_default=True, help="What off-diagonals of XᵀX are multiplied by.")
@click.option("--examples", "most", type=click.IntRange(1), default=256, show_default=True, help="Texts of each file.")
@click.option("--threads", "-j", type=click.IntRange(1), help="Tensors at once (default: one for each core).")
@click.option("--quiet", "-q", is_flag=True, help="No progress bar.")
@debug_option
def command(
    models: tuple[str, ...],
    data: tuple[Path, ...],
    out: Path,
    alpha: float,
    most: int,
    threads: int | None,
    quiet: bool,
) -> int:
    """Merge MODELS so that every linear layer answers as nearly as it can like each model's own; no training.

    Runs each model over its texts (needs PyTorch) and keeps one matrix for each layer in a temporary folder.

    \b
      palmette merge regmean ./math ./code --data math.txt --data code.txt --out merged
    """
    from palmette.models.grams import measure_grams

    if len(models) < 2 or len(data) not in (1, len(models)):
        raise UsageError(f"give two models or more, and --data once or for each; not {len(models)} and {len(data)}")
    here = [Path(name).expanduser() for name in models]
    folders = [path if path.is_dir() else fetch(name) for path, name in zip(here, models, strict=True)]
    texts = [read_examples(path, most=most) for path in data] * (len(models) if len(data) == 1 else 1)
    turned = read_config(folders[0]).get("model_type") == "gpt2"
    with tempfile.TemporaryDirectory(prefix="palmette-grams-") as scratch:
        grams = []
        with counting("measuring", quiet) as tell:
            for i, (folder, rows) in enumerate(zip(folders, texts, strict=True)):
                tell(i, len(models))
                into = Path(scratch) / str(i)
                into.mkdir()
                grams.append(measure_grams(folder, rows, into))
        mark = json.dumps([Measure(rows).mark for rows in texts])
        made = regmean(models, grams, mark, alpha=alpha, turned=turned, fetch=fetch)
        with moving("merging", made.plan.size, quiet) as progress:
            made.save(out, threads=threads, progress=progress)
    solved = sum(task.method == "passthrough" for task in made.plan.tasks)
    click.echo(f"{out}: {solved} layers solved, {len(made.plan.tasks) - solved} tensors averaged", err=True)
    return 0
