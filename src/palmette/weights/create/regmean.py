"""RegMean: for every linear layer the weights whose outputs are nearest, in squares, to each model's on its inputs.

Jin et al. 2022, Dataless Knowledge Fusion by Merging Weights of Language Models (arXiv 2212.09849), equation 2:
W = (Σ Gᵢ)⁻¹ Σ Gᵢ Wᵢ with Gᵢ = XᵢᵀXᵢ of the inputs that a layer sees in model i, off-diagonals times α. Needs forward
passes only. What is no linear layer is averaged.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import BadParameter, MismatchedModels
from palmette.weights.blocks import Source
from palmette.weights.dtypes import Raw, decode
from palmette.weights.folder import Fetch, local
from palmette.weights.merge import Merge, merge

__all__ = ["Grams", "regmean", "solve"]

Matrix = NDArray[np.float64]
Grams = Mapping[str, NDArray[Any]]  # weight's name -> XᵀX of its inputs, float[in, in]
RIDGE = 1e-6  # of the mean of the diagonal: directions that no input has stay near the average


def solve(weights: Sequence[NDArray[Any]], grams: Sequence[NDArray[Any]], alpha: float = 0.9) -> Matrix:
    """The merged matrix of one layer, float64[out, in].

    Args:
        weights: of each model, [out, in].
        grams: of the inputs that the layer sees in each model, [in, in].
        alpha: what off-diagonals are multiplied by.

    >>> solve([np.eye(2), 3 * np.eye(2)], [np.diag([1.0, 3.0]), np.diag([1.0, 1.0])]).round(3).tolist()
    [[2.0, 0.0], [0.0, 1.5]]
    """
    shrunk = [alpha * gram + (1 - alpha) * np.diag(np.diag(gram)) for gram in map(np.float64, grams)]
    total = np.sum(shrunk, axis=0)
    ridge = RIDGE * max(float(np.trace(total)) / len(total), 1e-30)
    right = np.sum([gram @ np.float64(weight).T for gram, weight in zip(shrunk, weights, strict=True)], axis=0)
    mean = np.mean([np.float64(weight) for weight in weights], axis=0)
    made: Matrix = np.linalg.solve(total + ridge * np.eye(len(total)), right + ridge * mean.T).T
    return made


@dataclass
class _Kept:
    """The last matrix that was solved: blocks of one tensor come one after another."""

    name: str = ""
    made: NDArray[Any] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class Solved:
    """A source that is solved for when it is read."""

    name: str
    shape: tuple[int, ...]
    sources: tuple[Source, ...]
    grams: Sequence[Grams]
    alpha: float
    turned: bool  # stored as [in, out]
    kept: _Kept = field(default_factory=_Kept)
    dtype: str = "F32"

    def read(self, start: int, stop: int) -> Raw:
        """See Source."""
        with self.kept.lock:
            if self.kept.made is None:
                count = int(np.prod(self.shape))
                held = [decode(s.read(0, count), s.dtype).reshape(self.shape) for s in self.sources]
                made = solve([w.T if self.turned else w for w in held], [g[self.name] for g in self.grams], self.alpha)
                self.kept.made = np.ascontiguousarray(made.T if self.turned else made, np.float32).reshape(-1)
            found = self.kept.made[start:stop]
            if stop >= len(self.kept.made):
                self.kept.made = None  # read to the end: let it go
        return found


def regmean(
    models: Sequence[str], grams: Sequence[Grams], mark: str, *, alpha: float = 0.9, turned: bool = False,
    fetch: Fetch = local, **options: Any,
) -> Merge:  # fmt: skip
    """A merge by RegMean that can be saved, run, or measured.

    Args:
        models: folders or names, as in a recipe.
        grams: of each model, by the names of its weights.
        mark: what the statistics depend on, for provenance and resuming.
        alpha: what off-diagonals are multiplied by, from 0 to 1.
        turned: whether matrices are stored as [in, out] (GPT-2).
        fetch: how to find a model that is no folder.
        options: see `palmette.merge`.

    Raises:
        BadParameter: for alpha out of range.
        MismatchedModels: for models that do not fit together, or statistics that do not fit them.
    """
    if not 0 <= alpha <= 1:
        raise BadParameter(f"regmean: alpha should be between 0 and 1, not {alpha}")
    entries = [{"model": name, "parameters": {"weight": 1}} for name in models]
    made = merge({"merge_method": "linear", "models": entries}, fetch=fetch, **options)
    known = set(grams[0]).intersection(*grams[1:])
    for i, task in enumerate(made.plan.tasks):
        if task.name not in known or len(task.shape) != 2:
            continue
        width = task.shape[0] if turned else task.shape[1]
        if any(g[task.name].shape != (width, width) for g in grams):
            raise MismatchedModels(f"the statistics of {task.name!r} do not fit its {width} inputs")
        source = Solved(task.name, task.shape, task.models, grams, alpha, turned)
        label = f"regmean({', '.join(models)}; alpha={alpha}; {mark})"
        made.plan.tasks[i] = replace(task, method="passthrough", parameters={}, models=(source,), labels=(label,))
    return made
