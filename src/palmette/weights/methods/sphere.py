"""Merges on the sphere. Every one of them returns a linear combination of its inputs whose coefficients follow from the
inputs' inner products alone, so one pass over the tensors (their Gram matrix) and one to combine them are enough.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import BadParameter
from palmette.weights.blocks import Block, Combine, Inputs, Mix
from palmette.weights.dtypes import Array
from palmette.weights.kernels import Mixture, NumpyKernels, total
from palmette.weights.methods.base import Each, spread
from palmette.weights.methods.stepwise import karcher_steps, multislerp_steps, nuslerp_steps
from palmette.weights.methods.task import deltas

__all__ = ["gram", "karcher", "multislerp", "nuslerp", "slerp"]

Matrix = NDArray[np.float64]


def gram(inputs: Inputs, differences: bool = False) -> Matrix:
    """Inner products of the models' tensors, or of their differences from the base; float64[models, models]."""
    count = len(inputs.models)
    pairs = [(i, j) for i in range(count) for j in range(i, count)]

    def visit(block: Block) -> dict[str, Matrix]:
        arrays = list(deltas(inputs, block)) if differences else block.models
        return {f"{i} {j}": inputs.kernels.dots(arrays[i], arrays[j], inputs.leaf) for i, j in pairs}

    sums = _quickly(inputs, pairs, differences) or inputs.sums(visit)
    made = np.zeros((count, count))
    for i, j in pairs:
        made[i, j] = made[j, i] = sums.get(f"{i} {j}", 0.0)
    return made


def _quickly(inputs: Inputs, pairs: Sequence[tuple[int, int]], differences: bool) -> dict[str, float] | None:
    """The same sums from stored bfloat16 in one go, if the kernels can."""
    plain = inputs.stored("BF16") and (inputs.exact or not differences)
    if not plain or type(inputs.kernels).products is NumpyKernels.products:
        return None
    found: list[Matrix] = []
    for span in inputs.spans():
        part = inputs.kernels.products(*inputs.packed(span), inputs.leaf, differences)
        if part is None:
            return None
        found.append(part)
    sums = np.concatenate(found, axis=1) if found else np.zeros((len(pairs), 0))
    return {f"{i} {j}": total(row) for (i, j), row in zip(pairs, sums, strict=True)}


def slerp(inputs: Inputs, t: float) -> Combine:
    """Along the great circle from the base (t = 0) to the other model (t = 1); a straight line if they are parallel.

    Source: Shoemake 1985, Animating rotation with quaternion curves.

    Args:
        t: how far to go.

    >>> import numpy as np; from palmette.weights.blocks import Memory
    >>> inputs = Inputs((2,), [Memory(np.array([1, 0], np.float32)), Memory(np.array([0, 1], np.float32))])
    >>> slerp(inputs, t=0.5)(inputs.load((0, 2)))
    array([0.70710677, 0.70710677], dtype=float32)
    """
    products = gram(inputs)
    one, other = _arc(products[0, 0], products[1, 1], products[0, 1], t, 0.9995)

    return Mix(inputs.kernels, Mixture((one, other)))


def _arc(aa: float, bb: float, ab: float, t: float, parallel: float) -> tuple[float, float]:
    """Coefficients of a and b on the arc between their directions, or on the line if |cos| exceeds `parallel`."""
    length = math.sqrt(aa) * math.sqrt(bb)
    cosine = max(-1.0, min(1.0, ab / length)) if length > 0 else 1.0
    if abs(cosine) > parallel:
        return 1 - t, t
    angle = math.acos(cosine)
    return math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)


def nuslerp(inputs: Inputs, weight: Each, nuslerp_row_wise: bool = False, nuslerp_flatten: bool = True) -> Combine:
    """SLERP of two models, or of their differences from a base, with weights in place of a position.

    Source: mergekit's documentation of NuSLERP.

    Args:
        weight: of each of the two models; t is the second's share.
        nuslerp_row_wise: with nuslerp_flatten false, one arc for each column instead of each row (as mergekit does it).
        nuslerp_flatten: turn the whole tensor as one vector.

    Raises:
        BadParameter: for a tensor that columns are asked of but whose columns do not fit into one block.

    >>> import numpy as np; from palmette.weights.blocks import Memory
    >>> inputs = Inputs((2,), [Memory(np.array([1, 0], np.float32)), Memory(np.array([0, 1], np.float32))])
    >>> nuslerp(inputs, weight=[1, 1])(inputs.load((0, 2)))
    array([0.70710677, 0.70710677], dtype=float32)
    """
    first, second = spread(weight, 2)
    t = 0.5 if abs(first + second) < 1e-6 else second / (first + second)
    differences = inputs.base is not None
    lines = not nuslerp_flatten and len(inputs.shape) > 1
    if not inputs.exact:
        return nuslerp_steps(inputs, t, int(not nuslerp_row_wise) if lines else None)
    if lines:
        return _by_lines(inputs, t, not nuslerp_row_wise, differences)
    products = gram(inputs, differences)
    one, other = _arc(products[0, 0], products[1, 1], products[0, 1], t, 1 - 1e-7)

    return Mix(inputs.kernels, Mixture((one, other), differences=differences, anchor=float(differences)))


def _by_lines(inputs: Inputs, t: float, by_row: bool, differences: bool) -> Combine:
    """One arc for each row or column."""
    width = inputs.width

    def arrays(block: Block) -> list[Array]:
        found = list(deltas(inputs, block)) if differences else block.models
        return [array.reshape(-1, width) for array in found]

    def products(block: Block) -> Matrix:
        a, b = arrays(block)
        wide = a.astype(np.float64), b.astype(np.float64)
        pairs = [(0, 0), (1, 1), (0, 1)]
        made: Matrix = np.array([(wide[i] * wide[j]).sum(axis=1) if by_row else wide[i] * wide[j] for i, j in pairs])
        return made

    if not by_row:
        columns = np.zeros((3, width))

        def add(block: Block) -> None:
            for row in products(block).transpose(1, 0, 2):  # one after another, so that blocks do not change the sum
                np.add(columns, row, out=columns)

        inputs.scan(add)
        shares = _arcs(columns, t)

    def combine(block: Block) -> Array:
        a, b = arrays(block)
        one, other = _arcs(products(block), t) if by_row else shares
        if by_row:
            one, other = one[:, None], other[:, None]
        made: Array = (a * one.astype(a.dtype) + b * other.astype(a.dtype)).reshape(-1)
        return made + block.anchor if differences else made

    return combine


def _arcs(products: Matrix, t: float) -> tuple[Matrix, Matrix]:
    """`_arc` for many pairs; products[3, n] of aa, bb, ab."""
    pairs = [_arc(aa, bb, ab, t, 1 - 1e-7) for aa, bb, ab in products.T.tolist()]
    return np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])


def multislerp(inputs: Inputs, weight: Each, normalize_weights: bool = True, eps: float = 1e-8) -> Combine:
    """The direction of the weighted mean of directions, times the weighted mean of the norms.

    Source: Goddard 2025, https://goddard.blog/posts/multislerp-wow-what-a-cool-idea. The article corrects the mean
    by the mean of projections onto its tangent space, which vanishes at this very point.

    Args:
        weight: of each model.
        normalize_weights: divide the weights by their sum.
        eps: below it a length counts as zero.

    Raises:
        BadParameter: if weights that are to be normalised sum to zero.

    >>> import numpy as np; from palmette.weights.blocks import Memory
    >>> inputs = Inputs((2,), [Memory(np.array([2, 0], np.float32)), Memory(np.array([0, 2], np.float32))])
    >>> multislerp(inputs, weight=1)(inputs.load((0, 2)))
    array([1.4142135, 1.4142135], dtype=float32)
    """
    weights = np.array(spread(weight, len(inputs.models)))
    if normalize_weights:
        if abs(weights.sum()) < 1e-8:
            raise BadParameter(f"the weights {weights.tolist()} sum to zero; set normalize_weights: false")
        weights = weights / weights.sum()
    if not inputs.exact:
        return multislerp_steps(inputs, spread(weight, len(inputs.models)), normalize_weights, eps)
    differences = inputs.base is not None
    products = gram(inputs, differences)
    norms = np.sqrt(np.diag(products))
    lengths = norms + eps
    cosines = products / np.outer(lengths, lengths)  # of the unit vectors
    length = math.sqrt(max(0.0, float(weights @ cosines @ weights)))
    shares = np.zeros(len(norms))
    if length < eps:
        shares[0] = 1.0
    else:
        shares = weights / length * float(weights @ norms) / lengths
    coefficients = tuple(float(s) for s in shares)
    return Mix(inputs.kernels, Mixture(coefficients, differences=differences, anchor=float(differences)))


def _tangent(point: Matrix, weights: Matrix, cosines: Matrix) -> Matrix:
    """The weighted mean of the logarithms at `point` of unit vectors, in their coordinates."""
    made = np.zeros(len(point))
    for i, dot in enumerate(cosines @ point):
        toward = -dot * point
        toward[i] += 1
        length = math.sqrt(max(0.0, float(toward @ cosines @ toward)))
        if length > 0:
            made += weights[i] * math.acos(max(-1.0, min(1.0, dot))) / length * toward
    return made


def _walk(point: Matrix, tangent: Matrix, cosines: Matrix) -> Matrix:
    """The exponential map: from `point` along `tangent`."""
    length = math.sqrt(max(0.0, float(tangent @ cosines @ tangent)))
    if length == 0:
        return point
    return math.cos(length) * point + math.sin(length) / length * tangent


def karcher(inputs: Inputs, max_iter: int = 10, tol: float = 1e-5) -> Combine:
    """The Karcher mean: the point of the sphere with the least sum of squared arcs to all models, times the mean norm.

    Paper: Karcher 1977, Riemannian center of mass; for models arXiv 2603.04972.

    Args:
        max_iter: the most steps.
        tol: stop when a step is shorter.

    >>> import numpy as np; from palmette.weights.blocks import Memory
    >>> inputs = Inputs((2,), [Memory(np.array([2, 0], np.float32)), Memory(np.array([0, 2], np.float32))])
    >>> karcher(inputs)(inputs.load((0, 2)))
    array([1.4142135, 1.4142135], dtype=float32)
    """
    if not inputs.exact:
        return karcher_steps(inputs, max_iter, tol)
    products = gram(inputs)
    norms = np.sqrt(np.diag(products))
    alive = norms > 0
    count = int(alive.sum())
    shares = np.zeros(len(norms))
    if count:
        inner = np.ix_(alive, alive)
        cosines = products[inner] / np.outer(norms[alive], norms[alive])
        weights = np.full(count, 1 / count)
        point = _unit(weights, cosines)
        for _ in range(max_iter):
            tangent = _tangent(point, weights, cosines)
            if math.sqrt(max(0.0, float(tangent @ cosines @ tangent))) < tol:
                break
            point = _unit(_walk(point, tangent, cosines), cosines)
        shares[alive] = point * norms[alive].mean() / norms[alive]
    return Mix(inputs.kernels, Mixture(tuple(float(s) for s in shares)))


def _unit(point: Matrix, cosines: Matrix) -> Matrix:
    """Of length one; the first input where opposite ones cancel."""
    length = math.sqrt(max(0.0, float(point @ cosines @ point)))
    if length > 0:
        return point / length
    made = np.zeros(len(point))
    made[0] = 1.0
    return made
