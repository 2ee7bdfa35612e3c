"""Model Stock: how far to go from the base to the average of fine-tuned models, from the angle between them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palmette.weights.blocks import Block, Combine, Inputs, Mix
from palmette.weights.dtypes import Array
from palmette.weights.kernels import Mixture
from palmette.weights.methods.sphere import gram
from palmette.weights.methods.task import deltas

__all__ = ["model_stock"]


def model_stock(inputs: Inputs, filter_wise: bool = False) -> Combine:
    """Between the base and the models' average, at the ratio that the mean angle of the task vectors asks for.

    Paper: Jang et al. 2024, Model Stock: all we need is just a few fine-tuned models (arXiv 2403.19522), eq. 5.

    Args:
        filter_wise: one ratio for each row instead of one for the tensor.

    >>> import numpy as np; from palmette.weights.blocks import Memory
    >>> models = [Memory(np.array(v, np.float32)) for v in ([1, 0], [0, 1])]
    >>> inputs = Inputs((2,), models, Memory(np.zeros(2, np.float32)))
    >>> model_stock(inputs)(inputs.load((0, 2)))  # at a right angle the base wins
    array([0., 0.], dtype=float32)
    """
    count = len(inputs.models)
    by_row = filter_wise and len(inputs.shape) > 1
    if not inputs.exact:
        return _steps(inputs, by_row)
    if not by_row:
        t = np.float64 if inputs.arithmetic == "F64" else np.float32
        share = t(_ratio(gram(inputs, True)[None])[0])
        ones = (1.0,) * count
        return Mix(inputs.kernels, Mixture(ones, divisor=count, factor=float(share), anchor=float(t(1) - share)))

    def combine(block: Block) -> Array:
        kind = block.anchor.dtype
        mean = inputs.kernels.combine(block.models, [1.0] * count) / kind.type(count)
        share = np.repeat(_ratio(_row_products(deltas(inputs, block), inputs)).astype(kind), inputs.width)
        made: Array = mean * share + block.anchor * (kind.type(1) - share)
        return made

    return combine


def _steps(inputs: Inputs, by_row: bool) -> Combine:
    """The same with every operation rounded, in mergekit's order."""
    q, count = inputs.q, len(inputs.models)

    def products(block: Block) -> dict[str, NDArray[np.float64]]:
        found, ones = deltas(inputs, block), np.ones(block.size, np.float32)
        made = {f"{i} {i}": inputs.kernels.dots(found[i], found[i], inputs.leaf) for i in range(count)}
        return made | {
            f"{i} {j}": inputs.kernels.dots(q(found[i] * found[j]), ones, inputs.leaf)
            for i, j in combinations(range(count), 2)
        }

    whole = _rounded_ratio(inputs.sums(products), inputs) if inputs.count and not by_row else None

    def combine(block: Block) -> Array:
        mean = block.models[0]
        for model in block.models[1:]:
            mean = q(mean + model)
        share = np.repeat(_rounded_ratio(products(block), inputs), inputs.width) if whole is None else whole
        return q(q(share * q(mean / np.float32(count))) + q(q(np.float32(1) - share) * block.anchor))

    return combine


def _rounded_ratio(found: Mapping[str, Any], inputs: Inputs) -> Array:
    """`_ratio` with every operation rounded, of sums by pair of models (`"0 1"`); zero where a task vector vanishes."""
    q, count = inputs.q, len(inputs.models)
    sums = {key: q(np.atleast_1d(value).astype(np.float32)) for key, value in found.items()}
    norms = [q(np.sqrt(np.atleast_1d(found[f"{i} {i}"])).astype(np.float32)) for i in range(count)]
    lengths = {(i, j): q(norms[i] * norms[j]) for i, j in combinations(range(count), 2)}
    cosines = [
        np.where(size > 0, q(sums[f"{i} {j}"] / np.where(size > 0, size, 1)), 0) for (i, j), size in lengths.items()
    ]
    mean = q(np.asarray(np.mean(np.clip(cosines, -1, 1), axis=0, dtype=np.float32)))
    divisor = q(1 + q(np.float32(count - 1) * mean))
    made: Array = np.where(divisor == 0, 0, q(q(np.float32(count) * mean) / np.where(divisor == 0, 1, divisor)))
    return made.astype(np.float32)


def _row_products(found: Array, inputs: Inputs) -> NDArray[np.float64]:
    """Gram matrices of each row; (models, n) -> (rows, models, models)."""
    count = len(found)
    made = np.zeros((found.shape[1] // inputs.width, count, count))
    for i in range(count):
        for j in range(i, count):
            made[:, i, j] = made[:, j, i] = inputs.kernels.dots(found[i], found[j], inputs.width)
    return made


def _ratio(products: NDArray[np.float64]) -> NDArray[np.float64]:
    """t = N cos θ / (1 + (N − 1) cos θ) with the mean cosine over pairs; zero where a task vector vanishes."""
    count = products.shape[-1]
    norms = np.sqrt(np.diagonal(products, axis1=1, axis2=2))  # (tensors, models)
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    lengths = [np.maximum(norms[:, i] * norms[:, j], 1e-300) for i, j in pairs]
    cosines = [np.clip(products[:, i, j] / size, -1, 1) for (i, j), size in zip(pairs, lengths, strict=True)]
    mean = np.sum(cosines, axis=0) / len(pairs)
    divisor = 1 + (count - 1) * mean
    made: NDArray[np.float64] = np.where(
        np.abs(divisor) < 1e-12, 0.0, count * mean / np.where(divisor == 0, 1, divisor)
    )
    return made
