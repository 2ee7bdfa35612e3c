"""Weighted averages of parameters, and the tensor that passes through."""

from __future__ import annotations

import numpy as np

from palmette.core.errors import BadParameter
from palmette.weights.blocks import Block, Combine, Inputs, Mix
from palmette.weights.dtypes import Array
from palmette.weights.kernels import Mixture
from palmette.weights.methods.base import Each, spread

__all__ = ["linear", "passthrough"]


def linear(inputs: Inputs, weight: Each, normalize: bool = True) -> Combine:
    """The weighted average of the models' parameters.

    Paper: Wortsman et al. 2022, Model soups (arXiv 2203.05482).

    Args:
        weight: of each model.
        normalize: divide by the sum of the weights.

    Raises:
        BadParameter: if the weights sum to zero and are to be normalised.

    >>> import numpy as np; from palmette.weights.blocks import Memory
    >>> tensors = [Memory(np.array([1.0, 2.0], np.float32)), Memory(np.array([3.0, 6.0], np.float32))]
    >>> inputs = Inputs((2,), tensors)
    >>> linear(inputs, weight=[1, 3])(inputs.load((0, 2)))
    array([2.5, 5. ], dtype=float32)
    """
    weights = spread(weight, len(inputs.models))
    whole = sum(weights)
    if normalize and abs(whole) < 1e-8:
        raise BadParameter(f"the weights {weights} sum to zero, so their average does not exist; set normalize: false")

    kind = np.float64 if inputs.arithmetic == "F64" else np.float32
    divisor = float(np.add.reduce(np.array(weights, kind), dtype=kind)) if normalize else 1.0
    return Mix(inputs.kernels, Mixture(tuple(weights), once=True, divisor=divisor))  # weights summed in their type


def passthrough(inputs: Inputs, scale: Each | None = None) -> Combine:
    """One model's tensor, unchanged or scaled.

    Args:
        scale: a factor.

    >>> import numpy as np; from palmette.weights.blocks import Memory
    >>> inputs = Inputs((2,), [Memory(np.array([1.0, 2.0], np.float32))])
    >>> passthrough(inputs, scale=0.5)(inputs.load((0, 2)))
    array([0.5, 1. ], dtype=float32)
    """
    factor = None if scale is None else spread(scale, 1, "scale")[0]

    def combine(block: Block) -> Array:
        values = block.models[0]
        return values if factor is None else inputs.q(values * values.dtype.type(factor))

    return combine
