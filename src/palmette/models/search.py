"""Searching merges by the loss on examples: where the weights' search meets an engine that measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from palmette.models.measure import Measure, read_examples
from palmette.models.merged import open_merge
from palmette.models.resolve import torch_installed
from palmette.weights.folder import Fetch, local
from palmette.weights.merge import Merge, open_plan
from palmette.weights.plan import Options
from palmette.weights.search.coordinates import Coordinates
from palmette.weights.search.search import By, Found, Sums, search

__all__ = ["search_merge"]


def search_merge(
    documents: Sequence[Mapping[str, Any]],
    examples: str | Path,
    *,
    over: Sequence[str] = (),
    groups: int = 1,
    evaluations: int = 40,
    most: int | None = None,
    seed: int = 0,
    engine: Literal["auto", "numpy", "torch"] = "auto",
    store: Path | None = None,
    fetch: Fetch = local,
    by: By = "cma",
    progress: Callable[[int, int, float], None] = lambda done, of, best: None,
) -> Found:
    """Find a recipe's coefficients by the loss on examples; every candidate is merged in memory.

    Args:
        documents: the recipe's stages as plain values.
        examples: a file, see `palmette.models.measure.read_examples`.
        over, groups: what moves, see `Coordinates.of`.
        evaluations: points that are measured, besides base and parents.
        most: only the first so many examples.
        seed: of the search and of the merges' random draws.
        engine: what computes the loss: "numpy", "torch", or "auto" for torch where it is installed.
        store: a file of measured points.
        fetch: how to find a model that is no folder.
        by: "cma", or "cocktail" for weights from the models' own losses.
        progress: called with evaluations done, expected, and the least loss.

    Raises:
        PalmetteError: for a recipe that cannot be merged, or examples that cannot be measured.
    """
    coordinates = Coordinates.of(documents, over, groups)
    measure = Measure(read_examples(examples, most=most))
    kind: Literal["numpy", "torch"] = ("torch" if torch_installed() else "numpy") if engine == "auto" else engine
    options = Options(seed)

    def loss(merge: Merge) -> Sums:
        return measure.sums(open_merge(merge, kind))

    first = open_merge(Merge(open_plan(coordinates.recipes(coordinates.start), options, fetch)), kind)
    counts = measure.counts(first.tokenizer)
    return search(
        coordinates, loss, counts, evaluations=evaluations, seed=seed, options=options, fetch=fetch, store=store,
        mark=f"{measure.mark} {kind}", by=by, progress=progress,
    )  # fmt: skip
