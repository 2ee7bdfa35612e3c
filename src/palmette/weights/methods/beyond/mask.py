"""Merges that decide, parameter by parameter, whose change counts: by magnitude, by consensus, by an elected sign."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import BadParameter
from palmette.weights.blocks import Block, Combine, Inputs
from palmette.weights.dtypes import Array
from palmette.weights.methods.base import Each, spread
from palmette.weights.methods.task import deltas

__all__ = ["consensus", "emr", "magmax"]


def magmax(inputs: Inputs, weight: Each = 1.0, lambda_: float = 1.0) -> Combine:
    """The base plus, at each parameter, the change of the model that changed it most.

    Paper: Marczak et al. 2024, MagMax (arXiv 2407.06322).

    Args:
        weight: of each model's task vector, before they are compared.
        lambda_: a factor of the merged task vector.

    >>> import numpy as np; from palmette.weights.blocks import Memory
    >>> models = [Memory(np.array(v, np.float32)) for v in ([3, -1], [1, -4])]
    >>> inputs = Inputs((2,), models, Memory(np.zeros(2, np.float32)))
    >>> magmax(inputs)(inputs.load((0, 2)))
    array([ 3., -4.], dtype=float32)
    """
    weights = spread(weight, len(inputs.models))

    def combine(block: Block) -> Array:
        found = _weighted(inputs, block, weights)
        chosen = found[0].copy()
        for row in found[1:]:
            np.copyto(chosen, row, where=np.abs(row) > np.abs(chosen))
        made: Array = chosen * chosen.dtype.type(lambda_) + block.anchor
        return made

    return combine


def consensus(inputs: Inputs, weight: Each = 1.0, tall: Each = 0.4, lambda_: float = 1.0, agree: int = 2) -> Combine:
    """The sum of task vectors where at least `agree` models need it: what serves one alone, or none, is left out.

    A model needs a parameter if its own change is not small beside all others': |τₜ| ≥ tall · |Σ τ − τₜ|.

    Paper: Wang et al. 2024, Localizing Task Information (arXiv 2405.07813), TALL masks (eq. 4) and Consensus Merging.

    Args:
        weight: of each model's task vector.
        tall: how much of the others' change a model's own must reach to count; 0.2 to 0.6 in the paper.
        lambda_: a factor of the sum.
        agree: as many models must need a parameter; 1 leaves out only what none needs, 0 nothing.

    Raises:
        BadParameter: if agree exceeds the number of models.

    >>> import numpy as np; from palmette.weights.blocks import Memory
    >>> models = [Memory(np.array(v, np.float32)) for v in ([3, 1, 0.1], [2, 0, 5])]
    >>> inputs = Inputs((3,), models, Memory(np.zeros(3, np.float32)))
    >>> consensus(inputs)(inputs.load((0, 3)))
    array([5., 0., 0.], dtype=float32)
    """
    count = len(inputs.models)
    weights, limits = spread(weight, count), spread(tall, count, "tall")
    if not 0 <= agree <= count:
        raise BadParameter(f"consensus: agree should be between 0 and the number of models {count}, not {agree}")

    def combine(block: Block) -> Array:
        found = _weighted(inputs, block, weights)
        whole = inputs.kernels.combine(list(found), [1.0] * count)
        votes = np.zeros(block.size, np.int64)
        for row, limit in zip(found, limits, strict=True):
            votes += np.abs(row) >= row.dtype.type(limit) * np.abs(whole - row)
        made: Array = np.where(votes >= agree, whole, 0) * whole.dtype.type(lambda_) + block.anchor
        return made

    return combine


def emr(inputs: Inputs, weight: Each = 1.0, lambda_: float = 1.0, task: int = 0) -> Combine:
    """One unified task vector: at each parameter the elected sign with the largest magnitude that has it.

    With `task`, the unified vector masked and rescaled for that model, which nearly restores it: keep one unified
    vector and a bit mask for each task instead of many models.

    Paper: Huang et al. 2024, EMR-Merging (arXiv 2405.17461), algorithm 1.

    Args:
        weight: of each model's task vector.
        lambda_: a factor of the unified task vector.
        task: 0 for the unified model; 1, 2, … for that model's, in the recipe's order.

    Raises:
        BadParameter: for a task that there is not.

    >>> import numpy as np; from palmette.weights.blocks import Memory
    >>> models = [Memory(np.array(v, np.float32)) for v in ([3, -1], [1, 4])]
    >>> inputs = Inputs((2,), models, Memory(np.zeros(2, np.float32)))
    >>> emr(inputs)(inputs.load((0, 2))), emr(inputs, task=2)(inputs.load((0, 2)))
    (array([3., 4.], dtype=float32), array([2.142857, 2.857143], dtype=float32))
    """
    count = len(inputs.models)
    weights = spread(weight, count)
    if not 0 <= task <= count:
        raise BadParameter(f"emr: task should be 0 (unified) to {count}, not {task}")

    def unified(found: Array) -> Array:
        positive = inputs.kernels.combine(list(found), [1.0] * count) >= 0
        agreeing = np.where(positive, np.maximum(found, 0), np.maximum(-found, 0))  # (models, n)
        size = agreeing.max(axis=0)
        made: Array = np.where(positive, size, -size)
        return made

    def masked(found: Array) -> Array:
        whole = unified(found)
        made: Array = np.where(found[task - 1] * whole > 0, whole, whole.dtype.type(0))
        return made

    def sizes(block: Block) -> dict[str, NDArray[np.float64]]:
        found = _weighted(inputs, block, weights)
        kernels, leaf = inputs.kernels, inputs.leaf
        return {"own": kernels.sizes(found[task - 1], leaf), "kept": kernels.sizes(masked(found), leaf)}

    factor = lambda_
    if task:
        sums = inputs.sums(sizes)
        factor *= sums["own"] / sums["kept"] if sums.get("kept") else 1.0

    def combine(block: Block) -> Array:
        found = _weighted(inputs, block, weights)
        made: Array = (masked(found) if task else unified(found)) * found.dtype.type(factor) + block.anchor
        return made

    return combine


def _weighted(inputs: Inputs, block: Block, weights: list[float]) -> Array:
    """Task vectors times their weights; (models, n)."""
    found = deltas(inputs, block)
    for row, weight in zip(found, weights, strict=True):
        if weight != 1:
            row *= row.dtype.type(weight)
    return found
