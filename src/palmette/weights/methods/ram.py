"""RAM: what one model changed is kept whole, what several changed is averaged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from palmette.weights.blocks import Block, Combine, Inputs
from palmette.weights.dtypes import Array
from palmette.weights.kernels import Rounding
from palmette.weights.methods.task import deltas

__all__ = ["ram", "ramplus_tl"]


def ram(inputs: Inputs, epsilon: float = 1e-5) -> Combine:
    """The base plus what changed: summed where one model changed a parameter, averaged where several did.

    Paper: Yuan et al. 2026, RAM (arXiv 2601.13572).

    Args:
        epsilon: smaller changes count as none.

    >>> import numpy as np; from palmette.weights.blocks import Memory
    >>> models = [Memory(np.array(v, np.float32)) for v in ([1, 2, 0], [0, 4, 0])]
    >>> inputs = Inputs((3,), models, Memory(np.zeros(3, np.float32)))
    >>> ram(inputs)(inputs.load((0, 3)))
    array([1., 3., 0.], dtype=float32)
    """
    return _merge(inputs, epsilon, [1.0] * len(inputs.models), inputs.q)


def ramplus_tl(inputs: Inputs, r: float = 0.1, alpha: float = 0.2, epsilon: float = 1e-5) -> Combine:
    """RAM with each model's own part amplified by how much it shares: 1 + r · clip(shared / own, 0, α).

    mergekit writes float32 whatever the recipe's dtype; the recipe's is written here.

    Paper: Yuan et al. 2026, RAM (arXiv 2601.13572), the tensor-local variant of RAM+.

    Args:
        r: the strength of the amplification.
        alpha: the most that the ratio counts for.
        epsilon: smaller changes count as none.

    >>> import numpy as np; from palmette.weights.blocks import Memory
    >>> models = [Memory(np.array(v, np.float32)) for v in ([1, 2, 0], [0, 4, 0])]
    >>> inputs = Inputs((3,), models, Memory(np.zeros(3, np.float32)))
    >>> ramplus_tl(inputs, r=1.0, alpha=0.5)(inputs.load((0, 3)))
    array([1.5, 3. , 0. ], dtype=float32)
    """

    def visit(block: Block) -> list[tuple[int, int]]:
        changed = _changed(inputs, deltas(inputs, block), epsilon)
        several = changed.sum(axis=0) > 1
        return [(int((row & several).sum()), int((row & ~several).sum())) for row in changed]

    counts = np.sum(inputs.scan(visit), axis=0) if inputs.count else np.zeros((len(inputs.models), 2))
    factors = []
    for shared, own in counts.tolist():
        ratio = min(max(shared / own if own else 0.0, 0.0), alpha)
        factors.append(1 + r * ratio)
    return _merge(inputs, epsilon, factors, lambda values: values)  # mergekit adds in float32 here


def _changed(inputs: Inputs, found: Array, epsilon: float) -> NDArray[np.bool_]:
    return np.asarray(np.abs(found) > inputs.q(np.array([epsilon], found.dtype)))


def _merge(inputs: Inputs, epsilon: float, factors: list[float], q: Rounding) -> Combine:
    def combine(block: Block) -> Array:
        found = deltas(inputs, block)
        kind = found.dtype.type
        changed = _changed(inputs, found, epsilon)
        times = np.maximum(changed.sum(axis=0), 1).astype(found.dtype)
        made = np.zeros_like(found[0])
        for row, mask, factor in zip(found, changed, factors, strict=True):
            kept = np.where(mask, row, kind(0))
            made += np.where(times == 1, kept * kind(factor), inputs.q(kept / times))
        return q(made) + block.anchor

    return combine
