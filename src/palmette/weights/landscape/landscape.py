"""Measuring a landscape: points on nested Chebyshev grids until held-out points agree, and what is known afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import BadParameter
from palmette.weights.landscape.direction import cosine
from palmette.weights.landscape.metric import FEW, Estimate, TokenLoss, difference, estimate
from palmette.weights.landscape.space import Space
from palmette.weights.landscape.store import Store
from palmette.weights.landscape.surrogate import Surrogate, lobatto

__all__ = ["Landscape", "Progress", "measure", "plateau"]

Key = tuple[float, ...]
Progress = Callable[[int, int], None]
LEVELS = (5, 9, 17, 33)
HELD_OUT = 20  # points that only check the surrogate
SCAN = (1.0, 0.5, 0.25, 0.125)  # radii tried, in units of the first direction


@dataclass
class Landscape:
    """What was measured, and a surrogate through it.

    Args:
        surrogate: the loss as a function of the coordinates.
        labels: of the axes.
        points: every measured point's loss, its standard error, and its change from the origin with that one's.
        origin: the loss of the model itself.
        held_out: the largest and the root-mean-square difference of surrogate and held-out points.
        radii: ‖Δθ‖ / ‖θ‖ at coordinate 1 of each axis.
        facts: what the caption says besides: tokens, precision, directions, vocabulary.
        flags: what is doubtful about the picture.
    """

    surrogate: Surrogate
    labels: tuple[str, ...]
    points: dict[Key, tuple[Estimate, Estimate]]
    origin: Estimate
    held_out: tuple[float, float]
    radii: tuple[float, ...]
    facts: dict[str, Any]
    flags: list[str] = field(default_factory=list)

    def __call__(self, *at: Any) -> Any:
        """The loss by the surrogate, in nats for each token."""
        return self.surrogate(*at)

    def gradient(self, *at: float) -> NDArray[np.float64]:
        """Its slope along the axes."""
        return self.surrogate.gradient(*at)

    def argmin(self) -> tuple[tuple[float, ...], float]:
        """Where the surrogate is lowest, and its value there."""
        return self.surrogate.argmin()

    def barrier(self, one: Sequence[float], two: Sequence[float]) -> float:
        """How far the loss rises above the straight line between two points."""
        return self.surrogate.barrier(one, two)

    def basin_radius(self, rise: float) -> tuple[float, float]:
        """(mean, standard deviation) over rays of the relative radius within which the loss rises by at most `rise`.

        Infinity and NaN if the loss does not rise so far in what was measured: measure a larger span.
        """
        found = self.surrogate.basin_radius(rise) * float(np.mean(self.radii))
        if np.isinf(found).any():
            return float("inf"), float("nan")
        return float(np.mean(found)), float(np.std(found))

    @property
    def caption(self) -> str:
        """What a picture of it must say."""
        error = f"± {self.origin.error:.3g}" if np.isfinite(self.origin.error) else "(one sequence: no error bar)"
        return (
            f"loss at the origin {self.origin.value:.4f} {error}; {self.facts['tokens']:,} tokens in "
            f"{self.facts['sequences']} sequences; {self.facts['dtype']}; {len(self.points)} evaluations; "
            f"surrogate within {self.held_out[0]:.2g} at {HELD_OUT} held-out points ({self.surrogate.kind}); "
            f"relative radius at 1: {', '.join(f'{r:.3g}' for r in self.radii)}; {'; '.join(self.facts['directions'])}"
        )


def measure(
    space: Space,
    metric: TokenLoss,
    directions: Sequence[Any],
    *,
    labels: Sequence[str] = ("α", "β"),
    span: tuple[float, float] | None = None,
    tolerance: float = 1e-3,
    most: int = 33,
    store: Store | None = None,
    seed: int = 0,
    facts: dict[str, Any] | None = None,
    progress: Progress = lambda done, of: None,
) -> Landscape:
    """Measure the loss on a line (one direction) or a plane (two).

    Grids of 5, 9, 17 and 33 Chebyshev points an axis hold each other; the next is measured until the surrogate is, at
    held-out points, within `tolerance` of the range or within the standard error of the changes.

    Args:
        space: the parameters.
        metric: the loss.
        directions: one or two vectors, float32[space.size].
        labels: of the axes.
        span: the coordinates' range; None for ± the largest radius at which the loss is still below the plateau.
        tolerance: share of the range of losses.
        most: points an axis at most.
        store: where points are kept; in memory by default.
        seed: of the held-out points.
        facts: what the caption says besides.
        progress: called with evaluations done and expected.

    Raises:
        BadParameter: for a span that does not hold 0, or other than one or two directions.
    """
    if len(directions) not in (1, 2):
        raise BadParameter(f"a landscape has one or two directions, not {len(directions)}")
    if span is not None and not span[0] < span[1]:
        raise BadParameter(f"the span should rise, not {span}")
    points = Store(None, {}) if store is None else store
    said = dict(facts or {})
    with space:
        training = space.model.training
        space.model.eval()
        try:
            probe = _Probe(space, metric, directions, points, progress)
            return _measured(probe, space, metric, directions, labels, span, tolerance, most, seed, said)
        finally:
            space.model.train(training)


class _Probe:
    """Measures points that are not in the store yet."""

    def __init__(
        self, space: Space, metric: TokenLoss, directions: Sequence[Any], points: Store, progress: Progress
    ) -> None:
        self.axes = len(directions)
        self.points = points
        self.expected = 0
        self._space, self._metric, self._directions, self._progress = space, metric, directions, progress

    def sums(self, at: Key) -> NDArray[np.float64]:
        """The loss summed over each sequence."""
        if at not in self.points:
            self._space.move(at, self._directions)
            self.points.add(at, self._metric.sums())
            self._progress(len(self.points), max(self.expected, len(self.points)))
        return self.points[at]

    def loss(self, at: Key) -> float:
        """The mean loss."""
        return estimate(self.sums(at), self._metric.counts).value

    def change(self, at: Key) -> Estimate:
        """How much it is above that of the origin."""
        return difference(self.sums(at), self.sums((0.0,) * self.axes), self._metric.counts)

    def grid(self, low: float, high: float, count: int) -> NDArray[np.float64]:
        """Losses at the Chebyshev points of every axis."""
        ticks = [float(low + (high - low) * (node + 1) / 2) for node in lobatto(count)]
        spots = [(a,) for a in ticks] if self.axes == 1 else [(a, b) for a in ticks for b in ticks]
        self.expected = max(self.expected, len(self.points) + sum(at not in self.points for at in spots))
        return np.array([self.loss(at) for at in spots]).reshape((count,) * self.axes)


def _fitted(
    probe: _Probe, box: tuple[float, float], spots: Sequence[Key], tolerance: float, noise: float, most: int
) -> tuple[Surrogate, tuple[float, float], float]:
    """The surrogate that fits held-out points best, its largest and mean error there, and the error asked for."""
    truth = np.array([probe.loss(spot) for spot in spots])
    best, apart, spread, wanted = None, np.inf, np.inf, 0.0
    for count in [n for n in LEVELS if n <= most] or [LEVELS[0]]:
        values = probe.grid(*box, count)
        for kind in ("chebyshev", "spline") if np.isfinite(values).all() else ("linear",):
            trial = Surrogate((box[0],) * probe.axes, (box[1],) * probe.axes, values, kind)
            off = np.abs(trial(*np.array(spots).T) - truth)
            off = off[np.isfinite(off)] if np.isfinite(off).any() else np.array([np.inf])
            if best is None or not np.max(off) >= apart:
                best, apart, spread = trial, float(np.max(off)), float(np.sqrt(np.mean(off**2)))
        wanted = max(tolerance * float(np.nanmax(values) - np.nanmin(values)), noise)
        if count > LEVELS[0] and apart <= wanted:
            break
    assert best is not None
    return best, (apart, spread), wanted


def _measured(
    probe: _Probe, space: Space, metric: TokenLoss, directions: Sequence[Any], labels: Sequence[str],
    span: tuple[float, float] | None, tolerance: float, most: int, seed: int, facts: dict[str, Any],
) -> Landscape:  # fmt: skip
    axes = probe.axes
    start = probe.sums((0.0,) * axes)
    low, high = span or plateau(lambda r: probe.loss((r,) + (0.0,) * (axes - 1)), metric.vocabulary)
    draw = np.random.default_rng([seed, 77])
    spots = [tuple(float(v) for v in low + (high - low) * draw.random(axes)) for _ in range(HELD_OUT)]
    probe.expected = len(probe.points) + HELD_OUT + LEVELS[1] ** axes
    errors = [probe.change(spot).error for spot in spots]
    noise = float(np.nanmedian(errors)) if np.isfinite(errors).any() else 0.0
    surrogate, held_out, wanted = _fitted(probe, (low, high), spots, tolerance, noise, most)
    found = {at: (estimate(probe.points[at], metric.counts), probe.change(at)) for at in probe.points}
    length = float(space.origin.double().norm())
    radii = tuple(float(d.double().norm()) / length for d in directions)
    facts |= {"tokens": metric.tokens, "sequences": len(metric.counts), "vocabulary": metric.vocabulary,
              "dtype": str(space.dtype).removeprefix("torch.")}  # fmt: skip
    facts.setdefault("directions", [f"direction {label}" for label in labels[:axes]])
    origin = estimate(start, metric.counts)
    made = Landscape(surrogate, tuple(labels[:axes]), found, origin, held_out, radii, facts)
    made.flags = _flags(made, directions, held_out[0], wanted)
    return made


def plateau(loss: Callable[[float], float], vocabulary: int) -> tuple[float, float]:
    """± the largest scanned radius at which the loss on both sides is below nine tenths of the way to ln V."""
    before = loss(0.0)
    limit = before + 0.9 * max(float(np.log(vocabulary)) - before, 0.1)
    for radius in SCAN:
        if loss(radius) < limit and loss(-radius) < limit:
            return -radius, radius
    return -SCAN[-1] / 2, SCAN[-1] / 2


def _flags(made: Landscape, directions: Sequence[Any], apart: float, wanted: float) -> list[str]:
    """What is doubtful, in words."""
    flags = []
    if made.facts["tokens"] < FEW:
        flags.append(
            f"only {made.facts['tokens']} tokens: the loss is known to ± {made.origin.error:.2g}; take {FEW} or more"
        )
    if len(directions) == 2 and abs(angle := cosine(*directions)) > 0.1:
        flags.append(f"the axes are not orthogonal: their cosine is {angle:.2f}")
    bad = sum(not np.isfinite(loss.value) for loss, _ in made.points.values())
    if bad:
        flags.append(f"{bad} of {len(made.points)} points have no finite loss; they are kept as NaN")
    if apart > wanted:
        flags.append(f"the surrogate misses held-out points by {apart:.2g}, more than the {wanted:.2g} asked for")
    return flags
