"""SCE: select what varies between models, calculate their weights, erase minority signs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import BadParameter
from palmette.weights.blocks import Block, Combine, Inputs
from palmette.weights.dtypes import Array
from palmette.weights.methods.stepwise import number, sums_of
from palmette.weights.methods.task import deltas

__all__ = ["sce"]


def sce(inputs: Inputs, select_topk: float = 1.0, int8_mask: bool = False) -> Combine:
    """Merge the positions where task vectors differ most, each model weighted by its energy, minority signs erased.

    Paper: Wan et al. 2024, FuseChat (arXiv 2408.07990), section 3.4.

    Args:
        select_topk: the share of positions, by variance over the models, that is merged.
        int8_mask: accepted from recipes; masks take no memory here.

    Raises:
        BadParameter: if select_topk is not between 0 and 1.

    >>> import numpy as np; from palmette.weights.blocks import Memory
    >>> models = [Memory(np.array(v, np.float32)) for v in ([1, 2], [1, -1])]
    >>> inputs = Inputs((2,), models, Memory(np.zeros(2, np.float32)))
    >>> sce(inputs)(inputs.load((0, 2)))
    array([1., 2.], dtype=float32)
    """
    if not 0 <= select_topk <= 1:
        raise BadParameter(f"select_topk should be between 0 and 1, not {select_topk}")
    count = len(inputs.models)
    chosen = _selection(inputs, select_topk) if select_topk < 1 and count > 1 else None

    def selected(block: Block) -> Array:
        found = deltas(inputs, block)
        if chosen is not None:
            inputs.kernels.erase(found, chosen(found, block.start))
        return found

    def energy(block: Block) -> dict[str, NDArray[np.float64]]:
        found = selected(block)
        return {str(i): inputs.kernels.dots(row, row, inputs.leaf) for i, row in enumerate(found)}

    if not inputs.exact:
        return _steps(inputs, selected)
    sums = inputs.sums(energy)
    energies = [sums.get(str(i), 0.0) / max(1, inputs.count) for i in range(count)]
    whole = sum(energies)
    weights = [e / whole if whole > 0 else 1 / count for e in energies]

    def combine(block: Block) -> Array:
        return inputs.kernels.fuse(selected(block), weights) + block.anchor

    return combine


def _steps(inputs: Inputs, selected: Callable[[Block], Array]) -> Combine:
    """The same with every operation rounded, in mergekit's order."""
    q, one = inputs.q, partial(number, inputs)
    energies = [one(found / max(1, inputs.count)) for found in sums_of(inputs, lambda b: list(q(selected(b) ** 2)))]
    whole = one(sum(energies))
    shares = [np.float32(one(e / whole) if whole > 0 else 1 / len(energies)) for e in energies]

    def combine(block: Block) -> Array:
        found = selected(block)
        plus = q(inputs.kernels.combine(list(found), [1.0] * len(found))) >= 0
        agree = np.where(plus, found > 0, found < 0)  # (models, n)
        weights = [np.where(row, share, np.float32(0)) for row, share in zip(agree, shares, strict=True)]
        kept = [q(row * weight) for row, weight in zip(found, weights, strict=True)]
        merged, divisor = (q(inputs.kernels.combine(rows, [1.0] * len(rows))) for rows in (kept, weights))
        return q(q(merged / np.maximum(divisor, q(np.array([1e-6], np.float32)))) + block.anchor)

    return combine


def _selection(inputs: Inputs, share: float) -> Callable[[Array, int], Array]:
    """The variance where it is among the largest `share` of those that are not zero, and zero elsewhere."""

    def variance(found: Array) -> Array:
        return inputs.q(inputs.kernels.variance(found))

    varying = sum(inputs.scan(lambda block: int(np.count_nonzero(variance(deltas(inputs, block))))))
    rank = int(share * varying)
    (cut,) = inputs.cuts(lambda block: [variance(deltas(inputs, block))], [[rank]])[0]

    def chosen(found: Array, start: int) -> Array:
        spread = variance(found)
        inputs.kernels.keep(spread, cut, start, True)
        return spread

    return chosen
