"""Recipes that stack layers: consecutive pieces of models, or every layer drawn from one of several."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from palmette.core.errors import BadParameter, UsageError
from palmette.core.rng import Rng
from palmette.weights.folder import Fetch, local
from palmette.weights.inputs.open import open_model
from palmette.weights.layers import layout_of, main_of
from palmette.weights.recipe.schema import reference_of

__all__ = ["shuffled", "stacked"]


def stacked(pieces: Sequence[str], fetch: Fetch = local) -> dict[str, Any]:
    """A recipe of pieces `MODEL:FIRST-END` one above the other; a MODEL alone is all its layers.

    Raises:
        UsageError: for a piece that cannot be read.
        BadParameter: for layers that a model has not.
    """
    slices = []
    for piece in pieces:
        match = re.fullmatch(r"(.+):(\d+)-(\d+)", piece)
        name = match[1] if match else piece
        count = _layers(name, fetch)
        first, end = (int(match[2]), int(match[3])) if match else (0, count)
        if not 0 <= first < end <= count:
            raise BadParameter(f"{piece!r}: {name} has the layers 0 to {count - 1}; write {name}:0-{count} for all")
        slices.append({"sources": [{"model": name, "layer_range": [first, end]}]})
    if not slices:
        raise UsageError("name at least one piece, such as ./model:0-16")
    return {"merge_method": "passthrough", "slices": slices}


def shuffled(models: Sequence[str], seed: int, anywhere: bool = False, fetch: Fetch = local) -> dict[str, Any]:
    """A recipe with each layer from a model drawn at random.

    Args:
        models: of one architecture and depth.
        seed: of the draws.
        anywhere: a layer may also come from any depth; otherwise it keeps its own.
        fetch: how to find a model that is no folder.

    Raises:
        BadParameter: for models of different depth, or fewer than two where depths are kept.
    """
    depths = {name: _layers(name, fetch) for name in models}
    if len(set(depths.values())) > 1:
        raise BadParameter(f"layers are drawn from models of one depth, not {depths}")
    if len(models) < 2 and not anywhere:
        raise BadParameter("a shuffle that keeps depths needs two models; --anywhere shuffles the layers of one")
    rng, count, slices = Rng(seed).fork("shuffle"), depths[models[0]], []
    for layer in range(count):
        name = models[int(rng.fork(f"model {layer}").seed % len(models))]
        at = int(rng.fork(f"depth {layer}").seed % count) if anywhere else layer
        slices.append({"sources": [{"model": name, "layer_range": [at, at + 1]}]})
    return {"merge_method": "passthrough", "slices": slices}


def _layers(name: str, fetch: Fetch) -> int:
    model = open_model(reference_of(name, "model"), fetch)
    count = main_of(layout_of(model.tensors, model.text), model)[1]
    model.close()
    return count
