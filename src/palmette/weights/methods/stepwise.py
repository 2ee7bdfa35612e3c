"""The merges on the sphere as mergekit 0.1.5 computes them in bfloat16 and float16: every operation rounded.

In exact arithmetic these equal the formulas of `sphere`; here the order of operations is mergekit's, found by comparing
its outputs, since each step rounds. Sums and norms are accumulated in more than the short type and rounded once, as
PyTorch does. A vector is computed anew in each pass rather than kept, but for the Karcher mean's.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palmette.weights.blocks import Block, Combine, Inputs
from palmette.weights.dtypes import Array, storage
from palmette.weights.methods.task import deltas

__all__ = ["karcher_steps", "multislerp_steps", "number", "nuslerp_steps", "sums_of"]

KEPT = 1 << 24  # elements of a vector that is kept in memory; a longer one goes to a temporary file
Vectors = Callable[[Block], Sequence[Array]]


def number(inputs: Inputs, value: float) -> float:
    """One number rounded as an operation's result.

    >>> number(Inputs((1,), [], rounded="BF16"), 1.001953125)
    1.0
    """
    return float(inputs.q(np.array([value], np.float32))[0])


def sums_of(inputs: Inputs, values: Vectors) -> list[float]:
    """The sum of each array over all blocks. One pass."""

    def visit(block: Block) -> dict[str, NDArray[np.float64]]:
        ones = np.ones(block.size, np.float32)
        return {str(i): inputs.kernels.dots(row, ones, inputs.leaf) for i, row in enumerate(values(block))}

    found = inputs.sums(visit)
    return [found[str(i)] for i in range(len(found))]


def _norms(inputs: Inputs, values: Vectors) -> list[float]:
    """The length of each array over all blocks, not yet rounded. One pass."""

    def visit(block: Block) -> dict[str, NDArray[np.float64]]:
        return {str(i): inputs.kernels.dots(row, row, inputs.leaf) for i, row in enumerate(values(block))}

    found = inputs.sums(visit)
    return [math.sqrt(found[str(i)]) for i in range(len(found))]


def _vectors(inputs: Inputs, block: Block) -> Sequence[Array]:
    """What is merged: the models, or their differences from the base."""
    return block.models if inputs.base is None else list(deltas(inputs, block))


def _onto(inputs: Inputs, block: Block, values: Array) -> Array:
    return values if inputs.base is None else inputs.q(values + block.anchor)


# -- two models, one arc for the tensor or for each of its lines ---------------------------------------------------


def nuslerp_steps(inputs: Inputs, t: float, axis: int | None) -> Combine:
    """See `nuslerp`: (sin((1 − t) θ) a + sin(t θ) b) / sin θ; a straight line where the cosine rounds to one.

    Args:
        inputs: the tensor; blocks of whole rows if there is an axis.
        t: the second model's share.
        axis: None: one arc; 1: one for each row; 0: one for each column.
    """
    q, back, forth = inputs.q, np.float32(1 - t), np.float32(t)

    def pair(block: Block) -> list[Array]:
        width = -1 if axis is None else inputs.width
        return [row.reshape(-1, width) if axis is not None else row for row in _vectors(inputs, block)]

    squares = _along(inputs, axis, lambda block: [row.astype(np.float64) ** 2 for row in pair(block)])

    def lengths(block: Block) -> list[Array]:
        return [q(np.sqrt(found).astype(np.float32)) for found in squares(block)]

    def products(block: Block) -> list[Array]:
        one, other = (q(row / size) for row, size in zip(pair(block), lengths(block), strict=True))
        return [q(one * other).astype(np.float64)]

    cosines = _along(inputs, axis, products)

    def combine(block: Block) -> Array:
        a, b = pair(block)
        cosine = q(cosines(block)[0].astype(np.float32))
        angle = q(np.arccos(np.clip(cosine, -1, 1)))
        one, other = q(np.sin(q(back * angle))), q(np.sin(q(forth * angle)))
        arc = q(q(q(one * a) + q(other * b)) / q(np.sin(angle)))
        made = np.where(np.abs(cosine) < 1, arc, q(q(back * a) + q(forth * b)))
        return _onto(inputs, block, made.reshape(-1))

    return combine


def _along(inputs: Inputs, axis: int | None, values: Vectors) -> Vectors:
    """Sums of float64 arrays over the tensor (None), over rows (1) or columns (0); shapes (1,), (n, 1), (1, width)."""
    if axis == 1:
        return lambda block: [row.sum(axis=1, keepdims=True) for row in values(block)]
    if axis is None:
        whole = [np.array([found]) for found in sums_of(inputs, values)]
        return lambda _: whole
    columns: list[Array] = []

    def add(block: Block) -> None:
        for i, rows in enumerate(values(block)):
            if i == len(columns):
                columns.append(np.zeros((1, inputs.width)))
            for row in rows:  # one after another, so that blocks do not change the sum
                columns[i] += row

    inputs.scan(add)
    return lambda _: columns


# -- several models ------------------------------------------------------------------------------------------------


def multislerp_steps(inputs: Inputs, weights: Sequence[float], normalize: bool, eps: float) -> Combine:
    """See `multislerp`: mean direction m, mean tangent g at m, then (m cos |g| + g sin |g| / |g|) times the mean norm.

    Args:
        inputs: the tensor.
        weights: of the models; not yet divided by their sum.
        normalize: divide them.
        eps: added to lengths before a division.
    """
    q, one = inputs.q, partial(number, inputs)
    shares = q(np.array(weights, np.float32))
    shares = q(shares / one(float(shares.sum()))) if normalize else shares
    norms = [one(found) for found in _norms(inputs, partial(_vectors, inputs))]
    lengths = [np.float32(one(found + eps) or eps) for found in norms]  # float16 has no 1e-8

    def units(block: Block) -> list[Array]:
        return [q(row / length) for row, length in zip(_vectors(inputs, block), lengths, strict=True)]

    def mean(rows: Sequence[Array]) -> Array:
        weighted = [q(row * share) for row, share in zip(rows, shares, strict=True)]
        return q(inputs.kernels.combine(weighted, [1.0] * len(weighted)))

    size = one(_norms(inputs, lambda block: [mean(units(block))])[0]) if inputs.count else 0.0
    if size < eps:
        return lambda block: _onto(inputs, block, _vectors(inputs, block)[0])

    def directed(block: Block) -> tuple[list[Array], Array]:
        found = units(block)
        return found, q(mean(found) / np.float32(size))

    def dots(block: Block) -> list[Array]:
        found, middle = directed(block)
        return [q(row * middle) for row in found]

    cosines = [np.float32(one(found)) for found in sums_of(inputs, dots)]

    def tangent(block: Block) -> tuple[Array, Array]:
        found, middle = directed(block)
        return middle, mean([q(row - q(dot * middle)) for row, dot in zip(found, cosines, strict=True)])

    arc = one(one(_norms(inputs, lambda block: [tangent(block)[1]])[0]) + eps)
    near, far = np.float32(one(math.cos(arc))), np.float32(one(one(math.sin(arc)) / arc) if arc else 1)
    length = np.float32(one(sum(one(norm * share) for norm, share in zip(norms, shares.tolist(), strict=True))))

    def combine(block: Block) -> Array:
        middle, along = tangent(block)
        return _onto(inputs, block, q(q(q(middle * near) + q(along * far)) * length))

    return combine


# -- the Karcher mean ----------------------------------------------------------------------------------------------


class _Kept:
    """A vector in the short type, kept between passes."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        kind, count = storage(inputs.rounded or "F32"), inputs.count
        self._held: NDArray[Any] = np.zeros(count if count <= KEPT else 0, kind)
        if count > KEPT:
            with tempfile.TemporaryFile() as file:
                self._held = np.memmap(file, kind, shape=(count,))

    def get(self, block: Block) -> Array:
        raw = np.array(self._held[block.start : block.start + block.size])
        return self._inputs.kernels.decode(raw, self._inputs.rounded or "F32", "F32")

    def put(self, block: Block, values: Array) -> None:
        made = self._inputs.kernels.encode(values, self._inputs.rounded or "F32")
        self._held[block.start : block.start + block.size] = made


def _lengths(inputs: Inputs, values: Vectors) -> list[Any]:
    """Lengths in float32, summed in eight lanes as PyTorch sums them on 256-bit vectors. One pass.

    The iteration below is chaotic in short types: the arc between nearly parallel vectors jumps with the last bit of a
    cosine, so that only the very same lengths lead to the same mean.
    """
    lanes: list[Array] = []
    tails: list[Array] = []

    def add(block: Block) -> None:
        for i, row in enumerate(values(block)):
            if i == len(lanes):
                lanes.append(np.zeros(8, np.float32))
                tails.append(np.zeros(0, np.float32))
            squares, whole = row * row, len(row) // 8 * 8
            lanes[i] = np.add.reduce(np.concatenate([lanes[i], squares[:whole]]).reshape(-1, 8), axis=0)
            tails[i] = squares[whole:]  # the last block's only: all others are whole

    inputs.scan(add)
    ends = [np.concatenate(pair) for pair in zip(lanes, tails, strict=True)]
    return [np.sqrt(np.add.accumulate(end)[-1]) for end in ends]


def karcher_steps(inputs: Inputs, max_iter: int, tol: float) -> Combine:
    """See `karcher`; the lengths that vectors are divided by are float32, all else is rounded.

    The mean is kept between passes, two bytes for each element.
    """
    q = inputs.q
    norms = _lengths(inputs, lambda block: block.models)
    alive = [i for i, norm in enumerate(norms) if norm > 0]
    if not alive:
        return lambda block: np.zeros_like(block.models[0])
    share, point = np.float32(1 / len(alive)), _Kept(inputs)

    def units(block: Block) -> list[Array]:
        return [q(block.models[i] / norms[i]) for i in alive]

    def start(block: Block) -> Array:
        made = np.zeros(block.size, np.float32)
        for row in units(block):
            made = q(made + q(share * row))
        return made

    _walk(inputs, point, start)
    for _ in range(max_iter):
        step = _tangent(inputs, point, units, share)
        (size,) = _lengths(inputs, lambda block, step=step: [step(block)])  # type: ignore[misc]
        if size < tol:
            break
        near, far = np.float32(number(inputs, math.cos(size))), np.float32(number(inputs, math.sin(size)))

        def moved(block: Block, step: Any = step, size: Any = size, near: Any = near, far: Any = far) -> Array:
            return q(q(near * point.get(block)) + q(far * q(step(block) / size)))

        _walk(inputs, point, moved)
    length = np.float32(number(inputs, float(sum(norms[i] for i in alive) / len(alive))))
    return lambda block: q(length * point.get(block))


def _walk(inputs: Inputs, point: _Kept, target: Callable[[Block], Array]) -> None:
    """Put the point to where `target` says, at length one. Two passes."""

    def visit(block: Block) -> list[Array]:
        point.put(block, made := target(block))
        return [made]

    (size,) = _lengths(inputs, visit)
    if size > 0:
        inputs.scan(lambda block: point.put(block, inputs.q(point.get(block) / size)))


def _tangent(inputs: Inputs, point: _Kept, units: Vectors, share: Any) -> Callable[[Block], Array]:
    """The mean of the logarithms of unit vectors at the point: what `karcher` walks along. One pass."""
    q, one = inputs.q, partial(number, inputs)

    def visit(block: Block) -> dict[str, NDArray[np.float64]]:
        here = point.get(block)
        return {str(i): inputs.kernels.dots(here, row, inputs.leaf) for i, row in enumerate(units(block))}

    found = inputs.sums(visit)
    cosines = [max(-1.0, min(1.0, one(found[str(i)]))) for i in range(len(found))]
    angles = [one(math.acos(cosine)) for cosine in cosines]
    factors = [
        np.float32(one(float(share) * one(angle / one(math.sin(angle))))) if angle >= 1e-8 else None for angle in angles
    ]

    def tangent(block: Block) -> Array:
        here, made = point.get(block), np.zeros(block.size, np.float32)
        for row, cosine, factor in zip(units(block), cosines, factors, strict=True):
            if factor is not None:
                made = q(made + q(factor * q(row - q(np.float32(cosine) * here))))
        return made

    return tangent
