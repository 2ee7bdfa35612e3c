"""Task vectors: differences from a base model, made sparse, weighted, perhaps agreed upon, and added to the base.

One scheme serves the whole family:
δᵢ = xᵢ − base → sparse(δᵢ) → rescale → × wᵢ → (elect signs) → sum → (÷ weights) → × λ → + base.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import BadParameter
from palmette.weights.blocks import Block, Combine, Inputs, Mix
from palmette.weights.dtypes import Array
from palmette.weights.kernels import Mixture
from palmette.weights.kernels import elect as elect_signs
from palmette.weights.methods.base import Each, spread

__all__ = ["Sparse", "TaskVectors", "breadcrumbs", "breadcrumbs_ties", "deltas", "task_arithmetic", "ties"]

REMEMBERED = 1 << 28  # bits: 32 MB for each tensor in work
Sparse = Callable[[Array, int, int], None]  # (delta, model, first position): set to zero, in place, what is dropped


def deltas(inputs: Inputs, block: Block) -> Array:
    """Every model minus the base; (models, n)."""
    made = np.empty((len(block.models), block.size), block.anchor.dtype)
    for row, model in zip(made, block.models, strict=True):
        np.subtract(model, block.anchor, out=row)
    return made if inputs.exact else inputs.q(made.reshape(-1)).reshape(made.shape)


@dataclass(frozen=True)
class TaskVectors:
    """The scheme of this file, with its sparsification left open."""

    weight: Each
    elect: bool = False
    normalize: bool = False
    rescale: bool = False
    lambda_: float = 1.0

    def merge(self, inputs: Inputs, sparse: Sparse | None = None, dear: bool = False) -> Combine:
        """How to combine a block; one more pass first if the deltas are rescaled.

        Args:
            inputs: the tensor.
            sparse: what makes deltas sparse, or None.
            dear: True if that takes long, so that what it kept is remembered (a bit for each element) between passes.

        Raises:
            BadParameter: if normalised weights sum to zero.
        """
        weights = spread(self.weight, len(inputs.models))
        if self.normalize and not self.elect and abs(sum(weights)) < 1e-8:
            raise BadParameter(f"the weights {weights} sum to zero and cannot be normalised; set normalize: false")
        if sparse and dear and self.rescale and len(weights) * inputs.count <= REMEMBERED:
            sparse = _remembered(sparse)
        if inputs.exact and not sparse and not self.elect:
            whole = _sum_of(weights, inputs) if self.normalize else 1.0
            made = Mixture(tuple(weights), differences=True, divisor=whole, factor=self.lambda_, anchor=1.0)
            return Mix(inputs.kernels, made)
        factors = self._factors(inputs, sparse) if self.rescale and sparse else [1.0] * len(weights)

        def combine(block: Block) -> Array:
            found = deltas(inputs, block)  # (models, n)
            for i, row in enumerate(found):
                if sparse:
                    sparse(row, i, block.start)
                if factors[i] != 1:
                    row *= row.dtype.type(factors[i])
                    row[:] = inputs.q(row)
            return self._add(inputs, block.anchor, found, weights)

        return combine

    def _add(self, inputs: Inputs, base: Array, found: Array, weights: list[float]) -> Array:
        """The weighted deltas, summed or agreed upon, onto the base."""
        kind = found.dtype.type
        shares = inputs.q(np.array(weights, found.dtype))
        if self.elect:
            for row, share in zip(found, shares, strict=True):
                if share != 1:
                    row *= share
                    row[:] = inputs.q(row)
            if inputs.exact:
                merged = inputs.kernels.elect(found, [float(s) for s in shares], self.normalize)
            else:
                merged = elect_signs(found, [float(s) for s in shares], self.normalize, inputs.q)
        else:
            merged = self._sum(inputs, found, shares)
            if self.normalize and (whole := inputs.q(np.array([shares.sum()], found.dtype))[0]) != 1:
                merged = inputs.q(merged / whole)
        if self.lambda_ != 1:
            merged = inputs.q(merged * kind(self.lambda_))
        merged += base
        return merged

    @staticmethod
    def _sum(inputs: Inputs, found: Array, shares: Array) -> Array:
        if inputs.exact:
            return inputs.kernels.combine(list(found), [float(s) for s in shares])
        weighted = [inputs.q(row * share) for row, share in zip(found, shares, strict=True)]
        return inputs.q(inputs.kernels.combine(weighted, [1.0] * len(weighted)))

    @staticmethod
    def _factors(inputs: Inputs, sparse: Sparse) -> list[float]:
        """‖δ‖₁ / ‖sparse δ‖₁ for each model: what is kept gets the absolute sum of the whole (not 1/density)."""

        def visit(block: Block) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
            made = {}
            for i, row in enumerate(deltas(inputs, block)):
                made[f"whole {i}"] = inputs.kernels.sizes(row, inputs.leaf)
                sparse(row, i, block.start)
                made[f"kept {i}"] = inputs.kernels.sizes(row, inputs.leaf)
            return made

        sums = inputs.sums(visit)
        pairs = [(sums.get(f"whole {i}", 0.0), sums.get(f"kept {i}", 0.0)) for i in range(len(inputs.models))]
        return [whole / kept if kept > 0 else 1.0 for whole, kept in pairs]


def _sum_of(weights: Sequence[float], inputs: Inputs) -> float:
    """Of the weights as the arithmetic holds them."""
    return float(np.array(weights, np.float64 if inputs.arithmetic == "F64" else np.float32).sum())


def _remembered(sparse: Sparse) -> Sparse:
    """The same, computed once for each block and model."""
    known: dict[tuple[int, int], NDArray[np.uint8]] = {}

    def again(delta: Array, model: int, start: int) -> None:
        bits = delta.view(np.uint32 if delta.dtype == np.float32 else np.uint64)
        if (model, start) in known:
            np.multiply(bits, np.unpackbits(known[model, start], count=len(bits)), out=bits)
        else:
            sparse(delta, model, start)
            known[model, start] = np.packbits(delta != 0)

    return again


def top(inputs: Inputs, wanted: Sequence[tuple[int, int]]) -> Sparse | None:
    """Keep, of each delta, the magnitudes ranked (from, to]; ties fall to the earlier positions."""
    if all(first <= 0 and last >= inputs.count for first, last in wanted):
        return None
    cuts = inputs.cuts(lambda block: list(deltas(inputs, block)), wanted)

    def sparse(delta: Array, model: int, start: int) -> None:
        (first, last), (upper, lower) = wanted[model], cuts[model]
        if first > 0:
            inputs.kernels.keep(delta, upper, start, False)
        if last < inputs.count:
            inputs.kernels.keep(delta, lower, start, True)

    return sparse


def task_arithmetic(
    inputs: Inputs,
    weight: Each,
    density: Each = 1.0,
    lambda_: float = 1.0,
    normalize: bool = False,
    rescale: bool = False,
    int8_mask: bool = False,
) -> Combine:
    """The base plus the weighted sum of task vectors.

    Paper: Ilharco et al. 2022, Editing models with task arithmetic (arXiv 2212.04089).

    Args:
        weight: of each model's task vector.
        density: unused here; recipes may hold it.
        lambda_: a factor of the sum.
        normalize: divide the sum by the sum of the weights.
        rescale: unused here.
        int8_mask: accepted from recipes; masks take no memory here.

    >>> import numpy as np; from palmette.weights.blocks import Memory
    >>> base, model = Memory(np.ones(2, np.float32)), Memory(np.array([2.0, 0.0], np.float32))
    >>> inputs = Inputs((2,), [model], base)
    >>> task_arithmetic(inputs, weight=0.5)(inputs.load((0, 2)))
    array([1.5, 0.5], dtype=float32)
    """
    return TaskVectors(weight, normalize=normalize, lambda_=lambda_).merge(inputs)


def ties(
    inputs: Inputs,
    weight: Each,
    density: Each = 1.0,
    lambda_: float = 1.0,
    normalize: bool = True,
    rescale: bool = False,
    int8_mask: bool = False,
) -> Combine:
    """Trim each task vector to its largest magnitudes, elect a sign for each parameter, merge what agrees.

    Paper: Yadav et al. 2023, TIES-Merging (arXiv 2306.01708).

    Args:
        weight: of each model's task vector.
        density: the share of each task vector that is kept, at least one parameter.
        lambda_: a factor of the merged task vector.
        normalize: divide, at each parameter, by the weights that agree.
        rescale: give the kept part the absolute sum of the whole.
        int8_mask: accepted from recipes; masks take no memory here.

    >>> import numpy as np; from palmette.weights.blocks import Memory
    >>> base = Memory(np.zeros(3, np.float32))
    >>> models = [Memory(np.array(v, np.float32)) for v in ([3, -1, 2], [1, 4, -5])]
    >>> inputs = Inputs((3,), models, base)
    >>> ties(inputs, weight=1, density=0.67)(inputs.load((0, 3)))
    array([ 3.,  4., -5.], dtype=float32)
    """
    shares = spread(density, len(inputs.models), "density")
    wanted = [(0, max(1, int(share * inputs.count))) for share in shares]
    return TaskVectors(weight, True, normalize, rescale, lambda_).merge(inputs, top(inputs, wanted))


def breadcrumbs(
    inputs: Inputs,
    weight: Each,
    density: Each = 1.0,
    gamma: Each = 0.01,
    lambda_: float = 1.0,
    normalize: bool = False,
    rescale: bool = False,
    int8_mask: bool = False,
) -> Combine:
    """Drop each task vector's largest and smallest magnitudes, and add what is left.

    Paper: Davari & Belilovsky 2023, Model Breadcrumbs (arXiv 2312.06795).

    Args:
        weight: of each model's task vector.
        density: the share that is kept.
        gamma: the share of the largest that is dropped.
        lambda_: a factor of the sum.
        normalize: divide the sum by the sum of the weights.
        rescale: give the kept part the absolute sum of the whole.
        int8_mask: accepted from recipes; masks take no memory here.

    >>> import numpy as np; from palmette.weights.blocks import Memory
    >>> inputs = Inputs((4,), [Memory(np.array([9, 3, 2, 1], np.float32))], Memory(np.zeros(4, np.float32)))
    >>> breadcrumbs(inputs, weight=1, density=0.5, gamma=0.25)(inputs.load((0, 4)))
    array([0., 3., 2., 0.], dtype=float32)
    """
    scheme = TaskVectors(weight, False, normalize, rescale, lambda_)
    return scheme.merge(inputs, top(inputs, _middle(inputs, density, gamma)))


def breadcrumbs_ties(
    inputs: Inputs,
    weight: Each,
    density: Each = 1.0,
    gamma: Each = 0.01,
    lambda_: float = 1.0,
    normalize: bool = False,
    rescale: bool = False,
    int8_mask: bool = False,
) -> Combine:
    """Drop each task vector's largest and smallest magnitudes, elect signs, and add what agrees.

    Paper: Davari & Belilovsky 2023 (arXiv 2312.06795) with the election of Yadav et al. 2023 (arXiv 2306.01708).

    Args:
        weight: of each model's task vector.
        density: the share that is kept.
        gamma: the share of the largest that is dropped.
        lambda_: a factor of the sum.
        normalize: divide, at each parameter, by the weights that agree.
        rescale: give the kept part the absolute sum of the whole.
        int8_mask: accepted from recipes; masks take no memory here.

    >>> import numpy as np; from palmette.weights.blocks import Memory
    >>> inputs = Inputs((4,), [Memory(np.array([9, 3, 2, 1], np.float32))], Memory(np.zeros(4, np.float32)))
    >>> breadcrumbs_ties(inputs, weight=1, density=0.5, gamma=0.25)(inputs.load((0, 4)))
    array([0., 3., 2., 0.], dtype=float32)
    """
    scheme = TaskVectors(weight, True, normalize, rescale, lambda_)
    return scheme.merge(inputs, top(inputs, _middle(inputs, density, gamma)))


def _middle(inputs: Inputs, density: Each, gamma: Each) -> list[tuple[int, int]]:
    """Ranks (from, to] of what breadcrumbs keeps: without the top γn, and without the bottom n − dn − γn."""
    made = []
    count = inputs.count
    pairs = zip(spread(density, len(inputs.models), "density"), spread(gamma, len(inputs.models), "gamma"), strict=True)
    for share, dropped in pairs:
        first = int(dropped * count)
        made.append((first, count - max(0, count - int(share * count) - first)))
    return made
