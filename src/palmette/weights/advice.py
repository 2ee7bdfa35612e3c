"""What the geometry of task vectors says before a merge: how much of each would be lost, and weights to begin with.

All follows from the Gram matrix G of the task vectors, Gᵢⱼ = ⟨δᵢ, δⱼ⟩, and says nothing about a model's answers: on
language models only plain task arithmetic was found to gain reliably (arXiv 2511.21437). So what is suggested is where
to begin to measure (`palmette merge search`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Advice", "advise"]

Matrix = NDArray[np.float64]
ALIKE, APART = 0.6, 0.2  # mean cosines above and below which models count as alike, or as strangers
RIDGE = 1e-3  # keeps the weights of nearly equal models equal


@dataclass(frozen=True)
class Advice:
    """What is foretold and suggested.

    Args:
        kept: of each task vector, its length along its own direction in the plain average (1: all of it).
        noise: of each, how long the others' part across its direction is in the average, in its own length.
        weights: with which task arithmetic keeps each task vector whole along its own direction.
        stock: how far Model Stock would go from the base to the average.
        method: to begin with.
        reason: why.
    """

    kept: list[float]
    noise: list[float]
    weights: list[float]
    stock: float
    method: str
    reason: str

    def lines(self, names: list[str]) -> list[str]:
        """For people."""
        made = [f"{'in the plain average':<28} {'kept':>8} {'noise':>8}  {'weight to begin with':>20}"]
        for name, kept, noise, weight in zip(names, self.kept, self.noise, self.weights, strict=True):
            made.append(f"{name[-28:]:<28} {kept:>8.2f} {noise:>8.2f}  {weight:>20.2f}")
        made.append(f"suggestion: {self.method}: {self.reason}")
        return [*made, "geometry says nothing of answers: measure with palmette merge search RECIPE --eval EXAMPLES"]

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return dict(vars(self))


def advise(gram: Matrix, conflicts: float, overlap: float) -> Advice | None:
    """What a merge of these task vectors promises; None if one of them is zero or there is only one.

    Args:
        gram: inner products of the task vectors, float64[models, models].
        conflicts: the share of parameters that models change in different directions.
        overlap: the share of each model's largest fifth of changes that another has among its own; 0.2 by chance.

    >>> found = advise(np.eye(2), 0.5, 0.2)
    >>> found.method, [round(w, 2) for w in found.weights], [round(k, 2) for k in found.kept]
    ('task_arithmetic', [1.0, 1.0], [0.5, 0.5])
    >>> advise(np.ones((2, 2)) + 1e-6 * np.eye(2), 0.0, 1.0).method
    'linear'
    """
    count, squares = len(gram), np.diag(gram)
    if count < 2 or not (squares > 0).all():
        return None
    norms = np.sqrt(squares)
    cosines = gram / np.outer(norms, norms)
    mean = float(cosines[np.triu_indices(count, 1)].mean())
    average = np.full(count, 1 / count)
    kept = gram @ average / squares
    whole = float(average @ gram @ average)
    noise = np.sqrt(np.maximum(whole - (gram @ average) ** 2 / squares, 0)) / norms
    scaled = cosines + RIDGE * np.eye(count)
    weights = np.linalg.solve(scaled, norms * (1 + RIDGE)) / norms  # C (w‖δ‖) = ‖δ‖, as far as the ridge allows
    stock = count * mean / (1 + (count - 1) * mean) if 1 + (count - 1) * mean > 0 else 0.0
    method, reason = _method(mean, conflicts, overlap, norms)
    return Advice(kept.tolist(), noise.tolist(), np.clip(weights, -2, 2).tolist(), stock, method, reason)


def _method(mean: float, conflicts: float, overlap: float, norms: Matrix) -> tuple[str, str]:
    if mean >= ALIKE:
        return "linear", f"the models changed in the same direction (mean cosine {mean:.2f}): an average loses little"
    if mean > APART:
        return "model_stock", f"the models share part of a direction (mean cosine {mean:.2f}): go part of the way"
    if overlap > 0.3 and conflicts > 0.3:
        return "ties", (
            f"the models change the same parameters ({overlap:.0%} of the largest fifth, 20% by chance) in different "
            f"directions ({conflicts:.0%} of all): let signs be elected"
        )
    apart = float(norms.max() / norms.min())
    more = f"; one change is {apart:.1f} times as long as another, so weights matter" if apart > 2 else ""
    return "task_arithmetic", f"the changes are nearly at right angles (mean cosine {mean:.2f}) and can be added{more}"
