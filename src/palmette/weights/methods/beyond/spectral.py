"""Merges in the singular vectors of task matrices. A tensor is held whole in float32, once for each model.

Singular vectors come from the eigenvectors of the smaller Gram matrix in float64: an eighth of the time of a full
decomposition. Directions whose singular value is below 1e-6 of the largest count as none. What is no matrix (norms,
biases) is averaged, as in the papers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import BadParameter
from palmette.weights.blocks import Block, Combine, Inputs, Mix
from palmette.weights.dtypes import Array
from palmette.weights.kernels import Mixture
from palmette.weights.methods.base import Each, spread
from palmette.weights.methods.task import ties

__all__ = ["iso_c", "iso_cts", "knots", "tsv"]

Matrix = NDArray[np.float64]
NOTHING = 1e-6


def tsv(inputs: Inputs, weight: Each = 1.0, lambda_: float = 1.0, rank: float = 0.0) -> Combine:
    """Each task matrix cut to its largest singular vectors, which are then made orthogonal across tasks.

    Paper: Gargiulo et al. 2024, Task Singular Vectors (arXiv 2412.00081), TSV-Merge, algorithm 2.

    Args:
        weight: of each model's singular values.
        lambda_: a factor of the sum.
        rank: the share of singular vectors kept of each task; 0 for one over the number of models.

    Raises:
        BadParameter: if rank is not between 0 and 1.

    >>> import numpy as np; from palmette.weights.blocks import Memory
    >>> models = [Memory(np.diag(v).astype(np.float32)) for v in ([3, 0], [0, 2])]
    >>> inputs = Inputs((2, 2), models, Memory(np.zeros((2, 2), np.float32)))
    >>> np.abs(tsv(inputs)(inputs.load((0, 4)))).round(6).tolist()
    [3.0, 0.0, 0.0, 2.0]
    """
    if not 0 <= rank <= 1:
        raise BadParameter(f"tsv: rank should be between 0 and 1, not {rank}")
    weights = spread(weight, len(inputs.models))
    if not _is_matrix(inputs):
        return _average(inputs, weights, lambda_)
    share = rank or 1 / len(weights)
    kept = max(1, int(min(_sides(inputs)) * share))
    parts = [_svd(matrix, kept) for matrix in _matrices(inputs)]
    left = _orthogonal(np.concatenate([u for u, _, _ in parts], axis=1))
    right = _orthogonal(np.concatenate([v for _, _, v in parts], axis=1))
    values = np.concatenate([s * w for (_, s, _), w in zip(parts, weights, strict=True)])
    return _placed(inputs, lambda_ * (left * values) @ right.T)


def iso_c(inputs: Inputs, weight: Each = 1.0, lambda_: float = 1.0) -> Combine:
    """The sum of task matrices with all its singular values made equal to their mean.

    Paper: Marczak et al. 2025, No Task Left Behind: Isotropic Model Merging (arXiv 2502.04959), Iso-C.

    Args:
        weight: of each model's task matrix.
        lambda_: a factor of the sum.

    >>> import numpy as np; from palmette.weights.blocks import Memory
    >>> models = [Memory(np.diag(v).astype(np.float32)) for v in ([3, 0], [0, 1])]
    >>> inputs = Inputs((2, 2), models, Memory(np.zeros((2, 2), np.float32)))
    >>> iso_c(inputs)(inputs.load((0, 4))).round(6).tolist()
    [2.0, 0.0, 0.0, 2.0]
    """
    weights = spread(weight, len(inputs.models))
    if not _is_matrix(inputs):
        return _average(inputs, weights, lambda_)
    left, values, right = _svd(_summed(inputs, weights))
    mean = values.sum() / min(_sides(inputs))
    return _placed(inputs, lambda_ * mean * left @ right.T)


def iso_cts(inputs: Inputs, weight: Each = 1.0, lambda_: float = 1.0, common: float = 0.8) -> Combine:
    """Iso-C with a share of directions taken from each task's own part, outside the common subspace.

    Paper: Marczak et al. 2025, No Task Left Behind: Isotropic Model Merging (arXiv 2502.04959), Iso-CTS, algorithm 2.

    Args:
        weight: of each model's task matrix.
        lambda_: a factor of the sum.
        common: the share of directions that all tasks have in common.

    Raises:
        BadParameter: if common is not between 0 and 1.

    >>> import numpy as np; from palmette.weights.blocks import Memory
    >>> models = [Memory(np.diag(v).astype(np.float32)) for v in ([3, 0], [0, 1])]
    >>> inputs = Inputs((2, 2), models, Memory(np.zeros((2, 2), np.float32)))
    >>> iso_cts(inputs, common=1.0)(inputs.load((0, 4))).round(6).tolist()
    [2.0, 0.0, 0.0, 2.0]
    """
    if not 0 <= common <= 1:
        raise BadParameter(f"iso_cts: common should be between 0 and 1, not {common}")
    weights = spread(weight, len(inputs.models))
    if not _is_matrix(inputs):
        return _average(inputs, weights, lambda_)
    size, matrices = min(_sides(inputs)), _matrices(inputs)
    total = np.sum([w * matrix for w, matrix in zip(weights, matrices, strict=True)], axis=0)
    own = int(size * (1 - common) / len(weights))  # directions of each task
    lefts, values, rights = _svd(total, size - own * len(weights))
    parts = [(lefts, values, rights)]
    if own:
        for w, matrix in zip(weights, matrices, strict=True):
            outside = matrix - lefts @ (lefts.T @ matrix)  # the task's part outside the common subspace
            u, s, v = _svd(outside, own)
            parts.append((u, s * w, v))
    left = _orthogonal(np.concatenate([u for u, _, _ in parts], axis=1))
    right = _orthogonal(np.concatenate([v for _, _, v in parts], axis=1))
    mean = np.abs(np.concatenate([s for _, s, _ in parts])).sum() / size
    return _placed(inputs, lambda_ * mean * left @ right.T)


def knots(inputs: Inputs, weight: Each, density: Each = 1.0, lambda_: float = 1.0, normalize: bool = True) -> Combine:
    """TIES in the coordinates of a basis that all task matrices share, which suits LoRA's low ranks.

    Paper: Stoica et al. 2024, Model merging with SVD to tie the KnOTS (arXiv 2410.19735).

    Args:
        weight: of each model's task matrix.
        density: the share of its coordinates that is kept.
        lambda_: a factor of the merged task matrix.
        normalize: divide, at each coordinate, by the weights that agree.

    >>> import numpy as np; from palmette.weights.blocks import Memory
    >>> models = [Memory(np.array(v, np.float32)) for v in ([[2, 2], [0, 0]], [[4, 4], [0, 0]])]
    >>> inputs = Inputs((2, 2), models, Memory(np.zeros((2, 2), np.float32)))
    >>> knots(inputs, weight=1)(inputs.load((0, 4))).round(5).tolist()
    [3.0, 3.0, 0.0, 0.0]
    """
    if not _is_matrix(inputs):
        return ties(inputs, weight, density, lambda_, normalize)
    matrices = _matrices(inputs)
    left, values, right = _svd(np.concatenate(matrices, axis=1))  # U Σ [V₁ᵀ … V_Tᵀ]
    if not len(values):
        return _placed(inputs, np.zeros(_sides(inputs)))
    width = matrices[0].shape[1]
    shared = [(values[:, None] * right[i * width : (i + 1) * width].T).astype(np.float32) for i in range(len(matrices))]
    merged = _ties_of(shared, weight, density, normalize, inputs)
    return _placed(inputs, lambda_ * left @ merged)


def _ties_of(parts: Sequence[Array], weight: Each, density: Each, normalize: bool, inputs: Inputs) -> Matrix:
    """TIES on matrices in memory, around zero."""
    from palmette.weights.blocks import Memory

    zero = Memory(np.zeros_like(parts[0]))
    inner = Inputs(parts[0].shape, [Memory(part) for part in parts], zero, kernels=inputs.kernels)
    combine = ties(inner, weight, density, normalize=normalize)
    flat = np.concatenate([combine(inner.load(span)) for span in inner.spans()])
    return flat.reshape(parts[0].shape).astype(np.float64)


def _is_matrix(inputs: Inputs) -> bool:
    return len(inputs.shape) > 1 and min(_sides(inputs)) > 1


def _sides(inputs: Inputs) -> tuple[int, int]:
    """A tensor as a matrix: its first dimension by all others."""
    return inputs.shape[0], inputs.count // max(1, inputs.shape[0])


def _matrices(inputs: Inputs) -> list[Matrix]:
    """Task matrices, float64."""
    found: list[list[Array]] = [[] for _ in inputs.models]
    for span in inputs.spans():
        block = inputs.load(span)
        for rows, model in zip(found, block.models, strict=True):
            rows.append(model - block.anchor)
    return [np.concatenate(rows).reshape(_sides(inputs)).astype(np.float64) for rows in found]


def _summed(inputs: Inputs, weights: Sequence[float]) -> Matrix:
    """Σ w δ, a block at a time, float64."""
    made = np.empty(inputs.count)
    for span in inputs.spans():
        block = inputs.load(span)
        made[span[0] : span[1]] = sum(
            w * (model - block.anchor).astype(np.float64) for w, model in zip(weights, block.models, strict=True)
        )
    return made.reshape(_sides(inputs))


def _svd(matrix: Matrix, most: int | None = None) -> tuple[Matrix, Matrix, Matrix]:
    """U (rows, k), σ (k), V (columns, k) of the largest singular values, those that are not nothing."""
    tall = matrix.shape[0] >= matrix.shape[1]
    products = matrix.T @ matrix if tall else matrix @ matrix.T
    squares, vectors = np.linalg.eigh(products)
    order = np.argsort(-squares, kind="stable")[:most]
    values = np.sqrt(np.maximum(squares[order], 0))
    alive = values > NOTHING * max(values[0] if len(values) else 0.0, 1e-300)
    values, one = values[alive], _signed(vectors[:, order][:, alive])
    other = (matrix @ one if tall else matrix.T @ one) / values
    return (other, values, one) if tall else (one, values, other)


def _signed(vectors: Matrix) -> Matrix:
    """Each vector with its largest entry positive: the sign that a decomposition leaves open."""
    if not vectors.size:
        return vectors
    peaks = np.take_along_axis(vectors, np.argmax(np.abs(vectors), axis=0)[None], axis=0)
    made: Matrix = vectors * np.where(peaks < 0, -1.0, 1.0)
    return made


def _orthogonal(vectors: Matrix) -> Matrix:
    """The nearest matrix with orthonormal columns (Procrustes): P Qᵀ of its singular value decomposition."""
    left, _, right = _svd(vectors)
    return left @ right.T


def _average(inputs: Inputs, weights: Sequence[float], factor: float) -> Combine:
    count = float(len(weights))
    return Mix(inputs.kernels, Mixture(tuple(weights), differences=True, divisor=count, factor=factor, anchor=1.0))


def _placed(inputs: Inputs, change: NDArray[Any]) -> Combine:
    """The base plus a change that is known whole."""
    flat = change.reshape(-1).astype(np.float64 if inputs.arithmetic == "F64" else np.float32)

    def combine(block: Block) -> Array:
        made: Array = block.anchor + flat[block.start : block.start + block.size]
        return made

    return combine
