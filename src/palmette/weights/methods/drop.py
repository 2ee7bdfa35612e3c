"""Task vectors made sparse by chance. Every coin is a function of (seed, tensor, model, position) and nothing else."""

from __future__ import annotations

import numpy as np

from palmette.weights.blocks import Combine, Inputs
from palmette.weights.dtypes import Array
from palmette.weights.methods.base import Each, spread
from palmette.weights.methods.task import Sparse, TaskVectors

__all__ = ["dare_linear", "dare_ties", "della", "della_linear"]


def dare_linear(
    inputs: Inputs,
    weight: Each,
    density: Each = 1.0,
    lambda_: float = 1.0,
    normalize: bool = False,
    rescale: bool = True,
    int8_mask: bool = False,
) -> Combine:
    """Drop parameters of each task vector at random, rescale the rest, and add.

    Paper: Yu et al. 2023, Language models are super Mario (arXiv 2311.03099). As in mergekit, rescaling matches the
    absolute sum of the task vector instead of dividing by the density.

    Args:
        weight: of each model's task vector.
        density: the probability that a parameter is kept.
        lambda_: a factor of the sum.
        normalize: divide the sum by the sum of the weights.
        rescale: give the kept part the absolute sum of the whole.
        int8_mask: accepted from recipes; masks take no memory here.

    >>> import numpy as np; from palmette.weights.blocks import Memory
    >>> inputs = Inputs((3,), [Memory(np.ones(3, np.float32))], Memory(np.zeros(3, np.float32)))
    >>> dare_linear(inputs, weight=1, density=1)(inputs.load((0, 3)))
    array([1., 1., 1.], dtype=float32)
    """
    return TaskVectors(weight, False, normalize, rescale, lambda_).merge(inputs, _coins(inputs, density))


def dare_ties(
    inputs: Inputs,
    weight: Each,
    density: Each = 1.0,
    lambda_: float = 1.0,
    normalize: bool = False,
    rescale: bool = True,
    int8_mask: bool = False,
) -> Combine:
    """Drop parameters of each task vector at random, rescale the rest, elect signs, and add what agrees.

    Paper: Yu et al. 2023 (arXiv 2311.03099) with the election of Yadav et al. 2023 (arXiv 2306.01708).

    Args:
        weight: of each model's task vector.
        density: the probability that a parameter is kept.
        lambda_: a factor of the sum.
        normalize: divide, at each parameter, by the weights that agree.
        rescale: give the kept part the absolute sum of the whole.
        int8_mask: accepted from recipes; masks take no memory here.

    >>> import numpy as np; from palmette.weights.blocks import Memory
    >>> inputs = Inputs((3,), [Memory(np.ones(3, np.float32))], Memory(np.zeros(3, np.float32)))
    >>> dare_ties(inputs, weight=1, density=1)(inputs.load((0, 3)))
    array([1., 1., 1.], dtype=float32)
    """
    return TaskVectors(weight, True, normalize, rescale, lambda_).merge(inputs, _coins(inputs, density))


def della(
    inputs: Inputs,
    weight: Each,
    density: Each = 1.0,
    epsilon: Each = 0.15,
    lambda_: float = 1.0,
    normalize: bool = True,
    rescale: bool = True,
    int8_mask: bool = False,
) -> Combine:
    """Drop parameters at random, large ones less often than small ones, rescale, elect signs, and merge what agrees.

    Paper: Deep et al. 2024, DELLA-Merging (arXiv 2406.11617).

    Args:
        weight: of each model's task vector.
        density: the mean probability that a parameter is kept.
        epsilon: within each row probabilities go by rank of magnitude from density - epsilon to density + epsilon.
        lambda_: a factor of the merged task vector.
        normalize: divide, at each parameter, by the weights that agree.
        rescale: give the kept part the absolute sum of the whole.
        int8_mask: accepted from recipes; masks take no memory here.

    >>> import numpy as np; from palmette.weights.blocks import Memory
    >>> inputs = Inputs((3,), [Memory(np.ones(3, np.float32))], Memory(np.zeros(3, np.float32)), rows=True)
    >>> della(inputs, weight=1, density=1, epsilon=0)(inputs.load((0, 3)))
    array([1., 1., 1.], dtype=float32)
    """
    return TaskVectors(weight, True, normalize, rescale, lambda_).merge(inputs, _ranked(inputs, density, epsilon), True)


def della_linear(
    inputs: Inputs,
    weight: Each,
    density: Each = 1.0,
    epsilon: Each = 0.15,
    lambda_: float = 1.0,
    normalize: bool = False,
    rescale: bool = True,
    int8_mask: bool = False,
) -> Combine:
    """Drop parameters at random, large ones less often than small ones, rescale, and add.

    Paper: Deep et al. 2024, DELLA-Merging (arXiv 2406.11617).

    Args:
        weight: of each model's task vector.
        density: the mean probability that a parameter is kept.
        epsilon: within each row probabilities go by rank of magnitude from density - epsilon to density + epsilon.
        lambda_: a factor of the sum.
        normalize: divide the sum by the sum of the weights.
        rescale: give the kept part the absolute sum of the whole.
        int8_mask: accepted from recipes; masks take no memory here.

    >>> import numpy as np; from palmette.weights.blocks import Memory
    >>> inputs = Inputs((3,), [Memory(np.ones(3, np.float32))], Memory(np.zeros(3, np.float32)), rows=True)
    >>> della_linear(inputs, weight=1, density=1, epsilon=0)(inputs.load((0, 3)))
    array([1., 1., 1.], dtype=float32)
    """
    return TaskVectors(weight, False, normalize, rescale, lambda_).merge(
        inputs, _ranked(inputs, density, epsilon), True
    )


def _coins(inputs: Inputs, density: Each) -> Sparse | None:
    """A coin of probability `density` for each position."""
    shares = spread(density, len(inputs.models), "density")
    if all(share >= 1 for share in shares):
        return None
    keys = [inputs.key(model) for model in range(len(shares))]

    def sparse(delta: Array, model: int, start: int) -> None:
        inputs.kernels.drop(delta, keys[model], start, round(shares[model] * 2**32))

    return sparse


def _ranked(inputs: Inputs, density: Each, epsilon: Each) -> Sparse | None:
    """A coin for each position whose probability rises with the rank of the magnitude in its row."""
    shares = spread(density, len(inputs.models), "density")
    spans = spread(epsilon, len(inputs.models), "epsilon")
    if all(share >= 1 for share in shares):
        return None
    keys = [inputs.key(model) for model in range(len(shares))]
    ranks = np.arange(inputs.width) / max(1, inputs.width - 1)
    ramps = [share - span + 2 * span * ranks for share, span in zip(shares, spans, strict=True)]
    limits = [np.round(np.clip(ramp, 0, 1) * 2**32).astype(np.int64) for ramp in ramps]

    def sparse(delta: Array, model: int, start: int) -> None:
        if shares[model] < 1:
            inputs.kernels.drop_ranked(delta, keys[model], start, limits[model])

    return sparse
