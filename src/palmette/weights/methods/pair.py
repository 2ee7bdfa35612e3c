"""Merges of two models, the base being one of them, that decide parameter by parameter."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from palmette.core.errors import BadParameter
from palmette.weights.blocks import Block, Combine, Inputs
from palmette.weights.dtypes import Array

__all__ = ["arcee_fusion", "nearswap"]


def nearswap(inputs: Inputs, t: float) -> Combine:
    """From the base toward the other model, the further the nearer they are: x + (y − x) · min(1, t / |x − y|).

    Source: the model card of alchemonaut/QuartetAnemoi-70B-t0.0001.

    Args:
        t: the distance up to which the other model's parameter is taken whole.

    Raises:
        BadParameter: if t is not positive.

    >>> import numpy as np; from palmette.weights.blocks import Memory
    >>> inputs = Inputs((2,), [Memory(np.array([0, 0], np.float32)), Memory(np.array([1, 4], np.float32))])
    >>> nearswap(inputs, t=1.0)(inputs.load((0, 2)))
    array([1., 1.], dtype=float32)
    """
    if not t > 0:
        raise BadParameter(f"nearswap: t should be positive, not {t}")

    def combine(block: Block) -> Array:
        a, b = block.models
        kind = a.dtype.type
        apart = np.abs(inputs.q(a - b))
        with np.errstate(divide="ignore"):
            share = np.minimum(inputs.q(inputs.q(kind(1) / apart) * kind(t)), kind(1))
        share[apart == 0] = 1
        made: Array = inputs.q(inputs.q(share * b) + inputs.q(inputs.q(kind(1) - share) * a))
        return made

    return combine


def arcee_fusion(inputs: Inputs) -> Combine:
    """The base, with the other model's parameters where their importance stands out.

    Importance is |δ| times the divergence of the row's softmax; what exceeds the median by one and a half times the
    interquartile range is taken. Quantiles are those of the whole tensor (mergekit samples a million elements of larger
    ones, and writes float32 whatever the recipe's dtype; the recipe's is written here).

    Source: https://www.arcee.ai/blog/meet-mergekit-v0-1-arcee-fusion-expanded-model-support-multi-gpu-acceleration.

    >>> import numpy as np; from palmette.weights.blocks import Memory
    >>> models = [Memory(np.zeros(8, np.float32)), Memory(np.array([0, 0, 0, 0, 0, 0, 0, 5], np.float32))]
    >>> inputs = Inputs((8,), models, rows=True)
    >>> arcee_fusion(inputs)(inputs.load((0, 8)))
    array([0., 0., 0., 0., 0., 0., 0., 5.], dtype=float32)
    """

    if inputs.rounded is not None:
        return _fusion_steps(inputs)

    def importance(block: Block) -> Array:
        a, b = (array.reshape(-1, inputs.width).astype(np.float64) for array in block.models)
        p, q = _log_softmax(b), _log_softmax(a)
        divergence = (np.exp(p) * (p - q)).sum(axis=1, keepdims=True)
        made: Array = np.abs((b - a) * divergence).astype(block.models[0].dtype).reshape(-1)
        return made

    limit = _limit(inputs, importance)

    def combine(block: Block) -> Array:
        a, b = block.models
        made: Array = np.where(importance(block) >= limit, b, a)
        return made

    return combine


def _fusion_steps(inputs: Inputs) -> Combine:
    """The same as mergekit computes it: in the models' type, softmax + 1e-8, quantiles that are elements."""
    q, tiny = inputs.q, np.float32(1e-8)

    def importance(block: Block) -> Array:
        a, b = (array.reshape(-1, inputs.width) for array in block.models)
        p, base = (q(q(_softmax(rows)) + tiny) for rows in (b, a))
        terms = q(p * q(np.log(q(p / base).astype(np.float64)).astype(a.dtype)))
        divergence = q(terms.sum(axis=1, keepdims=True, dtype=np.float64).astype(a.dtype))
        return q(np.abs(q(b - a)) * divergence).reshape(-1)

    low, middle, high = _quartiles(inputs, importance)
    limit = q(middle + q(np.float32(1.5) * q(high - low)))

    def combine(block: Block) -> Array:
        a, b = block.models
        return np.where(importance(block) >= limit, a + q(b - a), a)

    return combine


def _quartiles(inputs: Inputs, values: Callable[[Block], Array]) -> Array:
    """The elements at a quarter, a half and three quarters of the order (rounding errors make some negative)."""
    last = inputs.count - 1
    below = sum(inputs.scan(lambda block: int(np.count_nonzero(values(block) < 0))))
    made = []
    for place in (int(share * last) for share in (0.25, 0.5, 0.75)):
        if last < 0:
            made.append(0.0)
        elif place < below:  # the largest magnitudes come first
            made.append(-inputs.smallest(lambda block: [np.minimum(values(block), 0)], [last - place])[0])
        else:
            made.append(inputs.smallest(lambda block: [np.maximum(values(block), 0)], [place])[0])
    return np.array(made, np.float64 if inputs.arithmetic == "F64" else np.float32)


def _softmax(rows: Array) -> Array:
    """Of each row in float32, its sum in the order of PyTorch's vectors: sixteen lanes, then halves onto halves.

    The divergence of near models is the small rest of a sum, to which an error of the divisor adds as it is.
    """
    shifted = rows - rows.max(axis=1, keepdims=True)
    raised = _exp(shifted) if rows.dtype == np.float32 else np.exp(shifted)
    padded = np.pad(raised, ((0, 0), (0, -rows.shape[1] % 16)))
    lanes = np.add.reduce(padded.reshape(len(rows), -1, 16), axis=1)  # (rows, 16)
    while lanes.shape[1] > 1:
        lanes = lanes[:, : lanes.shape[1] // 2] + lanes[:, lanes.shape[1] // 2 :]
    made: Array = raised * (rows.dtype.type(1) / lanes)
    return made


_LOG2E, _LN2_HIGH, _LN2_LOW = (np.float32(x) for x in (1.442695040888963407, -0.693145751953125, -1.42860676533018e-06))
_POLYNOMIAL = (0.00139304355252534151, 0.00833336077630519867, 0.0416664853692054749, 0.16666667163372039795, 0.5)


def _exp(x: Array) -> Array:
    """exp of float32 numbers as PyTorch's vectors have it, to the last bit: by SLEEF's polynomial for 2^n e^r.

    Source: Shibata & Petrogalli 2020, SLEEF: a portable vectorized library of C standard mathematical functions
    (arXiv 2001.09258), expf to one unit in the last place.
    """
    n = np.rint(x * _LOG2E).astype(np.float32)
    rest = _fused(n, _LN2_LOW, _fused(n, _LN2_HIGH, x))
    made = np.full_like(x, 0.000198527617612853646)
    for coefficient in _POLYNOMIAL:
        made = _fused(made, rest, np.float32(coefficient))
    made = np.float32(1) + _fused(rest * rest, made, rest)
    raised: Array = np.ldexp(made, n.astype(np.int32))
    return raised


def _fused(left: Array, right: Array | np.float32, add: Array | np.float32) -> Array:
    """left · right + add, rounded once: a product of float32 is exact in float64."""
    return (left.astype(np.float64) * right + add).astype(np.float32)


def _log_softmax(rows: Array) -> Array:
    shifted = rows - rows.max(axis=1, keepdims=True)
    made: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return made


def _limit(inputs: Inputs, importance: Callable[[Block], Array]) -> float:
    """Median + 1.5 · (third − first quartile), each interpolated between its two neighbours in order."""
    last = inputs.count - 1
    if last < 0:
        return 0.0
    places = [share * last for share in (0.25, 0.5, 0.75)]
    wanted = sorted({index for place in places for index in (int(place), min(int(place) + 1, last))})
    found = dict(zip(wanted, inputs.smallest(lambda block: [importance(block)], wanted), strict=True))
    low, middle, high = (found[int(p)] + (found[min(int(p) + 1, last)] - found[int(p)]) * (p - int(p)) for p in places)
    return middle + 1.5 * (high - low)
