"""What is known after measuring: the surrogate, every point with its error bar, and what both say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import BadParameter, UnknownName
from palmette.weights.landscape.metric import Estimate, amount, difference, estimate, known
from palmette.weights.landscape.surrogate import Surrogate, isolines

__all__ = ["Landscape", "Mark"]

Key = tuple[float, ...]


@dataclass(frozen=True)
class Mark:
    """A point of interest: a checkpoint, a merge, the lowest point.

    Args:
        at: its coordinates, or those of the nearest point of the plane.
        off: ‖its distance from the plane‖ / ‖θ‖.
        loss: its own loss, where that was measured: of a point off the plane it is not the surface's.
    """

    at: tuple[float, ...]
    off: float = 0.0
    loss: Estimate | None = None

    def said(self, name: str) -> str:
        """As a picture labels it."""
        return name if self.off < 5e-4 else f"{name} ({self.off:.1%} off)"


@dataclass
class Landscape:
    """What was measured, and a surrogate through it.

    Args:
        surrogate: the loss as a function of the coordinates.
        labels: of the axes.
        points: every measured point's loss, its standard error, and its change from the origin with that one's.
        origin: the loss of the model itself.
        held_out: the largest and the root-mean-square error of the surrogate without the held-out points, at these.
        radii: ‖Δθ‖ / ‖θ‖ at coordinate 1 of each axis.
        facts: what the caption says besides: tokens, precision, directions, vocabulary, unit.
        flags: what is doubtful about the picture.
        marks: points of interest.
        sums: the metric summed over each example, through the same points; None in a picture of pictures.
        counts: tokens of each example.
        tasks: which examples belong to which text.
        within: what the surrogate's largest error anywhere is estimated to be below (see choose.py).
        start: the metric summed over each example, at the origin; None in a picture of pictures.
        cosine: of the angle between the axes.
    """

    surrogate: Surrogate
    labels: tuple[str, ...]
    points: dict[Key, tuple[Estimate, Estimate]]
    origin: Estimate
    held_out: tuple[float, float]
    radii: tuple[float, ...]
    facts: dict[str, Any]
    flags: list[str] = field(default_factory=list)
    marks: dict[str, Mark] = field(default_factory=dict)
    sums: Surrogate | None = None
    counts: NDArray[np.float64] = field(default_factory=lambda: np.ones(1))
    tasks: Mapping[str, NDArray[np.intp]] = field(default_factory=dict)
    within: float = float("nan")
    start: NDArray[np.float64] | None = None
    cosine: float = 0.0

    def __call__(self, *at: Any) -> Any:
        """The loss by the surrogate, in nats for each token; NaN outside of what was measured."""
        return self.surrogate(*at)

    def estimate(self, *at: float) -> tuple[Estimate, Estimate]:
        """The loss by the surrogate anywhere, and its change from the origin, each with its standard error.

        The error is that of the text (other tokens would give another loss); the surrogate's own is `within`.
        """
        if self.sums is None or self.start is None:
            raise BadParameter("this landscape was made without its examples' losses")
        here = self.sums(*at)
        return estimate(here, self.counts), difference(here, self.start, self.counts)

    def gradient(self, *at: float) -> NDArray[np.float64]:
        """Its slope along the axes."""
        return self.surrogate.gradient(*at)

    def argmin(self, weights: Mapping[str, float] | None = None) -> tuple[tuple[float, ...], float]:
        """Where the surrogate is lowest, and its value there; with weights, of the weighted mean of the texts' losses.

        With several texts and no weights, every text counts the same: the coefficients of the best merge.
        """
        return self.objective(weights).argmin()

    def objective(self, weights: Mapping[str, float] | None = None) -> Surrogate:
        """What `argmin` makes small."""
        if not self.tasks:
            return self.surrogate
        shares = dict(weights or dict.fromkeys(self.tasks, 1.0))
        whole = sum(shares.values())
        if not whole > 0:
            raise BadParameter(f"the weights of the texts should be positive, not {shares}")
        values = sum(self.task(name).values * (share / whole) for name, share in shares.items())
        return self.surrogate.of(np.asarray(values))

    def task(self, name: str) -> Surrogate:
        """The loss on one of several texts, from the same evaluations."""
        if name not in self.tasks or self.sums is None:
            raise UnknownName("text", name, list(self.tasks))
        chosen = self.tasks[name]
        return self.sums.of(self.sums.values[:, chosen].sum(axis=1) / self.counts[chosen].sum())

    def contour(self, level: float) -> list[NDArray[np.float64]]:
        """The lines on which the loss is `level`, each float64[k, axes]."""
        return self.surrogate.contour(level)

    def as_good(self, size: int = 81) -> list[NDArray[np.float64]]:
        """The border of what is as good as the model, each line float64[k, 2]: outside, the loss is higher by more
        than two standard errors of the change there, and by more than the surrogate's own error.

        None for one sequence, which has no error bar.
        """
        if self.sums is None or self.start is None or len(self.counts) < 2 or len(self.labels) < 2:
            return []
        x, y = (np.linspace(a, b, size) for a, b in zip(self.surrogate.low, self.surrogate.high, strict=True))
        at = np.meshgrid(x, y, indexing="ij")
        means, spread = _spreads(self.sums.values - self.start, self.counts)
        error = np.linalg.norm(self.sums.of(spread)(*at), axis=-1)
        sure = 0.0 if np.isnan(self.within) else self.within
        return isolines(x, y, self.sums.of(means)(*at) - np.maximum(2 * error, sure), 0.0)

    def barrier(self, one: Sequence[float], two: Sequence[float]) -> Estimate:
        """How far the loss rises above the straight line between two points, with its standard error.

        Two models are linearly connected if this is about zero (Frankle et al. 2020, arXiv 1912.05671). NaN if one of
        the points is outside of what was measured.
        """
        height, t = self.surrogate.barrier(one, two)
        if self.sums is None or not 0 < t < 1:
            return Estimate(height, 0.0 if self.sums is not None else float("nan"))
        a, b, there = (self.sums(*(o + x * (w - o) for o, w in zip(one, two, strict=True))) for x in (0.0, 1.0, t))
        return Estimate(height, estimate(there - ((1 - t) * a + t * b), self.counts).error)

    def basin_radius(self, rise: float) -> tuple[float, float]:
        """(mean, standard deviation) over rays of the relative radius within which the loss rises by at most `rise`.

        Rays are as many in every direction of weight space, though axes may differ in length or not be orthogonal.
        Infinity and NaN if the loss does not rise so far in what was measured: measure a larger span.
        """
        gram = np.outer(self.radii, self.radii)
        if len(self.radii) > 1:
            gram *= [[1, self.cosine], [self.cosine, 1]]
        found = self.surrogate.basin_radius(rise, gram=gram)
        if np.isinf(found).any():
            return float("inf"), float("nan")
        return float(np.mean(found)), float(np.std(found))

    @property
    def others(self) -> list[str]:
        """Names of the marks besides the origin, which is the first, and the lowest point."""
        return [name for name in list(self.marks)[1:] if name != "lowest"]

    @property
    def plateau(self) -> float | None:
        """The loss of guessing, ln V, where there is one."""
        size = self.facts.get("vocabulary")
        return None if size is None else float(np.log(size))

    @property
    def unit(self) -> str:
        """What the numbers are."""
        return str(self.facts.get("unit", "loss (nats a token)"))

    @property
    def band(self) -> float:
        """Twice the typical standard error of a change: less than this above the origin is as good as the origin."""
        errors = [change.error for _, change in self.points.values() if np.isfinite(change.error) and change.error > 0]
        return 2 * float(np.median(errors)) if errors else float("nan")

    @property
    def caption(self) -> str:
        """What a picture of it must say."""
        facts = self.facts
        checked = facts.get("checked")
        kind = self.surrogate.kind + (f" {self.surrogate.degree}" if self.surrogate.degree else "")
        said = [
            f"{self.unit.split(' (')[0]} at the origin {known(self.origin)}",
            amount(facts),
            facts["dtype"] + (f" (off float32 by at most {checked[1]:.2g} at {checked[0]} points)" if checked else ""),
            f"{len(self.points)} evaluations",
            f"surrogate ({kind}) estimated to be within {self.within:.2g} everywhere (within {self.held_out[0]:.2g} at "
            f"{facts.get('held', 0)} held-out points)",
            f"relative radius at 1: {', '.join(f'{r:.3g}' for r in self.radii)}",
            *facts["directions"],
            *facts.get("said", ()),
        ]
        return "; ".join(said)


def _spreads(changes: NDArray[np.float64], counts: NDArray[np.float64]) -> tuple[Any, Any]:
    """Of changes of each example's sum, float64[points, examples]: their means, and what carries their standard errors.

    The latter is float64[points, at most points]: a weighted sum of its rows is as long as the standard error of the
    same weighted sum of changes (see metric.estimate), for a rotation keeps lengths. So many examples cost no more
    than as many as there are points.
    """
    whole, size = float(counts.sum()), len(counts)
    with np.errstate(invalid="ignore"):
        means = changes.sum(axis=1) / whole
        residuals = changes - means[:, None] * counts
    finite = np.isfinite(residuals).all(axis=1)
    _, upper = np.linalg.qr(residuals[finite].T)
    turned = upper.T * (np.sqrt(size / (size - 1)) / whole)
    spread = np.full((len(changes), turned.shape[1]), np.nan)
    spread[finite] = turned
    return means, spread
