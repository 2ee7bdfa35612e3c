"""Many directions instead of one: a basin's profile and radius with an interval, and what each layer takes.

One plane is an anecdote: losses at the same radius differ between random directions by more than their error bars.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from palmette.core.errors import BadParameter
from palmette.weights.landscape.directions.base import Direction, Like
from palmette.weights.landscape.evaluate import Evaluator, Local, Probe, Progress, quiet
from palmette.weights.landscape.measure import plateau
from palmette.weights.landscape.metric import (
    Estimate,
    Metric,
    amount,
    broken,
    counted,
    difference,
    estimate,
    few,
    known,
)
from palmette.weights.landscape.plan import refuse_span
from palmette.weights.landscape.sampler import lobatto
from palmette.weights.landscape.space import Space
from palmette.weights.landscape.store import Store
from palmette.weights.landscape.surrogate import Surrogate

__all__ = ["Layers", "Profile", "measure_layers", "measure_profile"]

NODES = 9  # Chebyshev points of each line


@dataclass(frozen=True)
class Profile:
    """The loss along several directions.

    Args:
        ticks: coordinates, float64[n].
        losses: float64[directions, n].
        radius: ‖Δθ‖ / ‖θ‖ at coordinate 1, float64[directions].
        origin: the model's own loss.
        errors: standard errors of the changes from the origin, float64[directions, n].
        facts: what the caption says.
    """

    ticks: NDArray[np.float64]
    losses: NDArray[np.float64]
    radius: NDArray[np.float64]
    origin: Estimate
    errors: NDArray[np.float64]
    facts: dict[str, Any] = field(default_factory=dict)

    def line(self, index: int) -> Surrogate:
        """One direction's loss."""
        box = (float(self.ticks[0]),), (float(self.ticks[-1]),)
        kind: Any = "chebyshev" if np.isfinite(self.losses[index]).all() else "linear"
        return Surrogate(*box, self.ticks[:, None], self.losses[index], kind, len(self.ticks) - 1)

    def curves(self, size: int = 201) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Coordinates, and the loss of every direction there: float64[size], float64[directions, size]."""
        x = np.linspace(self.ticks[0], self.ticks[-1], size)
        return x, np.stack([self.line(i)(x) for i in range(len(self.losses))])

    def basin_radius(self, rise: float, confidence: float = 0.95) -> tuple[float, float, float]:
        """(mean, low, high): the relative radius within which the loss rises by at most `rise`.

        The interval is Student's over directions, each being the mean of its two sides: what a further random direction
        is like on average. Infinity if some direction does not rise so far: measure a larger span.
        """
        if not rise > 0:
            raise BadParameter(f"the rise should be positive, not {rise!r}")
        found = np.array([np.mean(self.line(i).basin_radius(rise)) * r for i, r in enumerate(self.radius)])
        if not np.isfinite(found).all():
            return float("inf"), float(np.min(found)), float("inf")
        mean, count = float(found.mean()), len(found)
        if count < 2:
            return mean, float("nan"), float("nan")
        half = float(student.ppf(0.5 + confidence / 2, count - 1) * found.std(ddof=1) / np.sqrt(count))
        return mean, mean - half, mean + half

    @property
    def flags(self) -> list[str]:
        """What is doubtful about it."""
        return few(self.facts, self.origin) + broken(self.losses)

    @property
    def caption(self) -> str:
        """What a picture of it must say."""
        facts = self.facts
        return (
            f"{facts['unit'].split(' (')[0]} at the origin {known(self.origin)}; {amount(facts)}; {facts['dtype']}; "
            f"{self.losses.size} evaluations; {len(self.losses)} direction{'s' if len(self.losses) > 1 else ''}: "
            f"{facts['directions']}; relative radius at 1: {self.radius.mean():.3g}"
        )


@dataclass(frozen=True)
class Layers:
    """What a change of one part of the model alone does to the loss.

    Args:
        rows: (part, change of the loss, that of random noise of the same size in every unit, ‖Δθ‖ / ‖θ of the part‖),
            the most sensitive first.
        origin: the model's own loss.
        facts: what the caption says.
    """

    rows: list[tuple[str, Estimate, Estimate, float]]
    origin: Estimate
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def flags(self) -> list[str]:
        """What is doubtful about it."""
        changes = [change.value for _, *both, _ in self.rows for change in both]
        return few(self.facts, self.origin) + broken(np.array(changes))

    @property
    def caption(self) -> str:
        """What a picture of it must say."""
        facts = self.facts
        return (
            f"{facts['what']}, one part at a time, and random noise of the same size; "
            f"{facts['unit'].split(' (')[0]} of the model {known(self.origin)}; {amount(facts)}; {facts['dtype']}; "
            "2 standard errors of the change shown"
        )


def measure_profile(
    space: Space, metric: Metric, recipes: Sequence[Direction], span: tuple[float, float] | None = None, *,
    store: Store | None = None, progress: Progress = quiet, run: Evaluator | None = None,
) -> Profile:  # fmt: skip
    """The loss along several directions, one after the other, so that only one of them is in memory.

    Args:
        space: the parameters.
        metric: what is measured.
        recipes: the directions.
        span: the coordinates' range; by default ± the largest radius at which the first direction's loss is still
            below the plateau.
        store, progress, run: see `measure`.
    """
    if len(recipes) < 1:
        raise BadParameter("a profile needs a direction")
    if span is not None:
        refuse_span(span)
    kept, losses, errors, radius, box = Store(None, {}) if store is None else store, [], [], [], span
    length = float(space.origin.double().norm()) or 1.0
    with run or Local(space, metric) as evaluator:
        start = None
        for i, recipe in enumerate(recipes):
            vector = recipe.make(space, metric)
            radius.append(float(vector.double().norm()) / length)
            evaluator.aim([vector])
            probe = Probe(evaluator, metric, kept, 1, progress, f"direction {i}")
            start = probe.sums((0.0,)) if start is None else start
            if box is None:
                box = _span(probe, metric)
            ticks = box[0] + (box[1] - box[0]) * (lobatto(NODES) + 1) / 2
            probe.expected = len(recipes) * NODES
            table = probe.table([(float(x),) for x in ticks])
            losses.append(table.sum(axis=1) / metric.counts.sum())
            errors.append([difference(sums, start, metric.counts).error for sums in table])
    assert start is not None
    facts = _facts(space, metric) | {
        "directions": f"{recipes[0]} and further seeds" if len(recipes) > 1 else str(recipes[0])
    }
    return Profile(ticks, np.array(losses), np.array(radius), estimate(start, metric.counts), np.array(errors), facts)


def measure_layers(
    space: Space, metric: Metric, parts: Sequence[str], recipe: Callable[[str], Direction], *, seed: int = 0,
    store: Store | None = None, progress: Progress = quiet, run: Evaluator | None = None,
) -> Layers:  # fmt: skip
    """Change one part of the model after the other, and see what it does to the loss.

    Args:
        space: the parameters.
        metric: what is measured.
        parts: names, each found in the parameters that are changed together.
        recipe: the change of a part.
        seed: of the noise that is compared.
        store, progress, run: see `measure`.

    Raises:
        BadParameter: for no part.
    """
    if not parts:
        raise BadParameter("no part of the model was chosen")
    kept, rows = Store(None, {}) if store is None else store, []
    with run or Local(space, metric) as evaluator:
        start = None
        for name in parts:
            change = recipe(name)
            found = []
            for direction in (change, Like(change, seed)):
                vector = direction.make(space, metric)
                size = sum(
                    float(space.view(space.origin, p).double().norm()) ** 2 for p in space.parts if name in p.name
                )
                evaluator.aim([vector])
                probe = Probe(evaluator, metric, kept, 1, progress, str(direction))
                probe.expected = 2 * len(parts) + 1
                if start is None:
                    start = Probe(evaluator, metric, kept, 1, progress).sums((0.0,))
                found.append(difference(probe.sums((1.0,)), start, metric.counts))
            rows.append((name, found[0], found[1], float(vector.double().norm()) / (size**0.5 or 1.0)))
    assert start is not None
    rows.sort(key=lambda row: -row[1].value)
    return Layers(rows, estimate(start, metric.counts), _facts(space, metric) | {"what": str(recipe(""))})


def _span(probe: Probe, metric: Metric) -> tuple[float, float]:
    if metric.vocabulary is None:
        return -0.5, 0.5
    return plateau(lambda r: probe.loss((float(r),)).value, metric.vocabulary)


def _facts(space: Space, metric: Metric) -> dict[str, Any]:
    return {
        **counted(metric),
        "vocabulary": metric.vocabulary,
        "dtype": str(space.dtype).removeprefix("torch."),
    }
