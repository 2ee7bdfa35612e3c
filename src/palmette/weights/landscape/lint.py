"""Pictures that are no landscapes: what is doubtful is said beside the picture, what is wrong is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from palmette.core.errors import BadParameter
from palmette.weights.landscape.directions.base import cosine
from palmette.weights.landscape.landscape import Landscape
from palmette.weights.landscape.metric import Metric, broken, few
from palmette.weights.landscape.space import Space

__all__ = ["comparable", "doubts", "refuse"]

OBLIQUE = 0.1  # cosine of two axes from which on a picture is distorted
DOUBT = 4.0  # times the error asked that may be estimated, where points were guessed as well as was asked
DRAWN = ("random", "like")  # kinds of directions that mean nothing by themselves


def refuse(space: Space, metric: Metric, directions: Sequence[Any]) -> None:
    """Refuse what can only give a wrong picture.

    Raises:
        BadParameter: for axes that are one line, a model or direction with NaN, a direction of zeros, or batch norm,
            whose statistics would belong to other weights.
    """
    broken_part = next((p.name for p in space.parts if not bool(space.view(space.origin, p).isfinite().all())), None)
    if broken_part is not None:
        raise BadParameter(f"the model holds NaN or infinity in {broken_part!r}: no loss around it is a number")
    for i, d in enumerate(directions):
        if not bool(d.isfinite().all()):
            raise BadParameter(f"direction {i + 1} holds NaN or infinity: is the checkpoint whole?")
        if not bool(d.any()):
            flat = all(len(part.shape) < 2 for part in space.parts)
            why = (
                f"select={space.select!r} finds norms and biases only, which stay where they are; select matrices, too"
                if flat and space.select
                else "is the checkpoint the model itself?"
            )
            raise BadParameter(f"direction {i + 1} is zero everywhere: {why}")
    if len(directions) == 2 and abs(cosine(*directions)) > 0.999:
        raise BadParameter(
            "both directions are the same line (their cosine is 1 or -1); take another seed or checkpoint"
        )
    if any(isinstance(module, torch.nn.modules.batchnorm._BatchNorm) for module in space.model.modules()):
        raise BadParameter("the model has batch norm, whose statistics belong to the weights that it was trained with")


def doubts(
    made: Landscape, space: Space, directions: Sequence[Any], recipes: Sequence[Mapping[str, Any]], wanted: float,
    training: bool,
) -> list[str]:  # fmt: skip
    """What is doubtful about a picture, in words."""
    flags = few(made.facts, made.origin)
    if training:
        flags.append("the model was in training mode; it was measured in evaluation mode, without dropout")
    flags += broken(np.array([loss.value for loss, _ in made.points.values()]))
    if made.held_out[0] > wanted or made.within > DOUBT * wanted:
        flags.append(
            f"the surrogate may be off by {made.within:.2g}, the {wanted:.2g} asked is not sure: a smaller tolerance "
            "measures more points, a smaller span has less in it"
        )
    checked = made.facts.get("checked")
    if checked and checked[1] > max(made.band / 2 if np.isfinite(made.band) else 0.0, 1e-2):
        flags.append(f"{made.facts['dtype']} is off float32 by {checked[1]:.2g}, more than the error bars; use float32")
    return flags + _axes(made, space, directions, recipes)


def _axes(
    made: Landscape, space: Space, directions: Sequence[Any], recipes: Sequence[Mapping[str, Any]]
) -> list[str]:  # fmt: skip
    flags = []
    kinds = [str(recipe.get("kind", "")) for recipe in recipes]
    if len(directions) == 2:
        angle = made.cosine
        if abs(angle) > OBLIQUE:
            said = "distances are not those of weight space" if not set(kinds) & set(DRAWN) else "draw another seed"
            flags.append(f"the axes are not orthogonal: their cosine is {angle:.2f}; {said}")
        shared = _one_d(space, directions)
        if abs(shared) > 0.9 and set(kinds) <= set(DRAWN):
            flags.append(f"both axes move the 1-D parameters alike (cosine {shared:.2f}); use one_d='zero' or 'rms'")
    if any(recipe.get("norm") == "none" for recipe in recipes):
        flags.append("norm none: the picture depends on how large the weights happen to be, and compares with no other")
    reach = max(
        max(abs(a), abs(b)) * r for a, b, r in zip(made.surrogate.low, made.surrogate.high, made.radii, strict=True)
    )
    if reach > 1 and kinds and set(kinds) <= set(DRAWN):
        flags.append(
            f"the picture reaches to {reach:.2g} times the length of the weights: far beyond any neighbourhood"
        )
    if space.dtype == torch.bfloat16 and reach < 2**-7:
        flags.append(
            f"the picture reaches to a relative radius of {reach:.2g}, about the rounding of bfloat16; use float32"
        )
    return flags


def _one_d(space: Space, directions: Sequence[Any]) -> float:
    """The cosine of the two directions in norms and biases alone."""
    parts = [part for part in space.parts if len(part.shape) < 2]
    if not parts:
        return 0.0
    one, two = (torch.cat([space.view(d, part).reshape(-1) for part in parts]) for d in directions)
    return cosine(one, two)


def comparable(one: Landscape, two: Landscape) -> list[str]:
    """Why two pictures should not be compared; nothing if they may be.

    >>> comparable.__name__
    'comparable'
    """
    reasons = []
    for key, what in (("data", "other text"), ("directions", "other directions"), ("unit", "another metric"),
                      ("dtype", "another precision")):  # fmt: skip
        if one.facts.get(key) != two.facts.get(key):
            reasons.append(f"{what}: {one.facts.get(key)} and {two.facts.get(key)}")
    if (one.surrogate.low, one.surrogate.high) != (two.surrogate.low, two.surrogate.high):
        reasons.append("another span")
    if not np.allclose(one.radii, two.radii, rtol=0.1):
        reasons.append(f"another scale: relative radii {one.radii} and {two.radii}")
    return reasons
