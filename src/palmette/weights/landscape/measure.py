"""Measuring a line or a plane: level after level of points until the surrogate is close enough everywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from palmette.core.errors import BadParameter
from palmette.weights.landscape import lint
from palmette.weights.landscape.choose import Choice, choose
from palmette.weights.landscape.directions.checkpoints import differences, project
from palmette.weights.landscape.evaluate import Evaluator, Local, Probe, Progress, quiet
from palmette.weights.landscape.landscape import Landscape, Mark
from palmette.weights.landscape.metric import Metric, difference, estimate
from palmette.weights.landscape.sampler import levels
from palmette.weights.landscape.space import Space
from palmette.weights.landscape.store import Key, Store

__all__ = ["Extra", "Plan", "measure", "measure_shard", "plateau"]

Span = tuple[float, float]
BUDGET = 101  # evaluations of a plane up to its first full level, all in all
HELD_OUT = (5, 8)  # random points that only check the surrogate: at least, and on a line
SCAN = (1.0, 0.5, 0.25, 0.125, 0.0625)  # radii tried, in units of the directions
ON = 1e-4  # ‖off the plane‖ / ‖θ‖ up to which a point lies on it
SPOTS = 4  # points computed in float32, too, when the picture is not


@dataclass(frozen=True)
class Plan:
    """How a line or plane is measured.

    Args:
        labels: of the axes.
        span: the coordinates' range, one for all axes or one each; None for ± the largest radius at which the loss is
            still below the plateau.
        tolerance: the surrogate's largest error that is small enough, as a share of the range of losses; errors below
            the standard error of the changes are small enough in any case.
        grid: points an axis of a plain grid, instead of Chebyshev points.
        least, most: points that the surrogate goes through.
        seed: of the held-out points.
        facts: what the caption says besides.
        recipes: the directions' recipes, for the caption and the lint.
        of: how the points are told from others in the store.
        origin: what pictures call the model at the origin.
    """

    labels: tuple[str, ...] = ("α", "β")
    span: Span | Sequence[Span] | None = None
    tolerance: float = 1e-3
    grid: int | None = None
    least: int = 0
    most: int = 400
    seed: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)
    recipes: Sequence[Mapping[str, Any]] = ()
    of: str = ""
    origin: str = "the model"

    def boxes(self, axes: int) -> list[Span] | None:
        """The range of each axis."""
        if self.span is None:
            return None
        pairs: Sequence[Any] = [self.span] * axes if isinstance(self.span[0], (int, float)) else self.span
        for pair in pairs:
            if not (len(pair) == 2 and pair[0] < pair[1]):
                raise BadParameter(f"the span should rise, not {tuple(pair)}")
        return [(float(a), float(b)) for a, b in pairs]


@dataclass(frozen=True)
class Extra:
    """What is measured besides the surface.

    Args:
        marks: tensors of points to show: each is projected, and its own loss measured where it lies off the surface.
        best: whether to measure the lowest point of the surface, too.
    """

    marks: Mapping[str, Any] = field(default_factory=dict)
    best: bool = False


def measure(
    space: Space,
    metric: Metric,
    directions: Sequence[Any],
    plan: Plan = Plan(),
    *,
    store: Store | None = None,
    progress: Progress = quiet,
    run: Evaluator | None = None,
    extra: Extra = Extra(),
) -> Landscape:
    """Measure the loss on a line (one direction) or a plane (two).

    Args:
        space: the parameters.
        metric: what is measured.
        directions: one or two vectors, float32[space.size].
        plan: how.
        store: where points are kept; in memory by default.
        progress: called with evaluations done and expected.
        run: who measures; this process by default.
        extra: points to measure besides.

    Raises:
        BadParameter: for a span that does not rise, other than one or two directions, or a picture that can only be
            wrong (see lint).
    """
    if len(directions) not in (1, 2):
        raise BadParameter(f"a landscape has one or two directions, not {len(directions)}")
    axes, boxes, training = len(directions), plan.boxes(len(directions)), bool(space.model.training)
    lint.refuse(space, metric, directions)
    kept = Store(None, {}) if store is None else store
    with run or Local(space, metric) as evaluator:
        evaluator.aim(directions)
        probe = Probe(evaluator, metric, kept, axes, progress, plan.of)
        before = len(kept)
        probe.expected = before + (BUDGET if axes == 2 else 9 + sum(HELD_OUT))
        probe.sums((0.0,) * axes)
        scanned: list[Key] = []
        if boxes is None:
            boxes = [_scan(probe, metric, scanned)] * axes
        found = _fitted(probe, boxes, plan, scanned)
        made = _landscape(probe, space, metric, directions, plan, found)
        _mark(made, evaluator, probe, space, metric, directions, extra)
    if space.dtype != torch.float32:
        made.facts["checked"] = _checked(space, metric, directions, probe, found)
    made.flags += lint.doubts(made, space, directions, plan.recipes, found.wanted, training)
    return made


def measure_shard(
    space: Space, metric: Metric, directions: Sequence[Any], plan: Plan, shard: tuple[int, int], store: Store, *,
    progress: Progress = quiet, run: Evaluator | None = None,
) -> int:  # fmt: skip
    """Measure one of several shares of the points up to the first full level, for `measure` to find them in a shard.

    Args:
        shard: (which, of how many), from 1.
        space, metric, directions, plan, store, progress, run: see `measure`.

    Returns:
        How many points the store holds now.

    Raises:
        BadParameter: for a shard that is none.
    """
    index, count = shard
    if not 1 <= index <= count:
        raise BadParameter(f"shard {index}/{count}: write 1/{max(count, 1)} to {max(count, 1)}/{max(count, 1)}")
    lint.refuse(space, metric, directions)
    axes, boxes, scanned = len(directions), plan.boxes(len(directions)), list[Key]()
    with run or Local(space, metric) as evaluator:
        evaluator.aim(directions)
        probe = Probe(evaluator, metric, store, axes, progress, plan.of)
        probe.sums((0.0,) * axes)
        boxes = boxes or [_scan(probe, metric, scanned)] * axes
        spots = _held(probe, boxes, plan, scanned)[1]
        spots += [_place(boxes, x) for level in levels(axes, plan.grid, 91) for x in level.points]
        probe.measure(spots[index - 1 :: count])
    return len(store)


@dataclass(frozen=True)
class _Found:
    choice: Choice
    sums: NDArray[np.float64]  # [points of the surrogate, examples]
    wanted: float
    held: Sequence[Key]


def _fitted(probe: Probe, boxes: Sequence[Span], plan: Plan, scanned: Sequence[Key]) -> _Found:
    """Levels until the surrogate is good enough; what was held out joins it."""
    held, spots = _held(probe, boxes, plan, scanned)
    probe.measure(spots)
    errors = [e for spot in spots if np.isfinite(e := probe.change(spot).error)]
    noise = float(np.median(errors)) if errors else 0.0
    used: list[Key] = []
    for level in levels(probe.axes, plan.grid, plan.most):
        new = [_place(boxes, x) for x in level.points]
        probe.measure(new)
        used = sorted({*used, *new})
        checks = [at for at in held if at not in set(used)] or list(held)
        known, values = _measured(probe, used)
        choice = choose(boxes, (known, values), _measured(probe, checks), level.trials)
        reach = np.ptp(values[np.isfinite(values)]) if np.isfinite(values).any() else 0.0
        wanted = max(plan.tolerance * float(reach), noise)
        if choice.within <= wanted and len(used) >= plan.least:
            break
    joined = [tuple(at) for at in choice.surrogate.points.tolist()]
    return _Found(choice, probe.table(joined), wanted, [at for at in held if at not in used])


def _measured(probe: Probe, spots: Sequence[Key]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points and the loss there."""
    return np.array(spots, float), probe.table(spots).sum(axis=1) / probe.counts.sum()


def _held(probe: Probe, boxes: Sequence[Span], plan: Plan, scanned: Sequence[Key]) -> tuple[list[Key], list[Key]]:
    """Points that only check: those known already inside the box, and random ones; and the random ones alone."""
    known = list(dict.fromkeys([(0.0,) * probe.axes, *scanned]))
    left = BUDGET - 91 - len(known) if probe.axes == 2 and plan.grid is None else HELD_OUT[1]
    draw = np.random.default_rng([plan.seed, 77])
    spots = [_place(boxes, (2 * draw.random(probe.axes) - 1).tolist()) for _ in range(max(HELD_OUT[0], left))]
    inside = [at for at in known if all(a <= x <= b for x, (a, b) in zip(at, boxes, strict=True))]
    return [*inside, *spots], spots


def _place(boxes: Sequence[Span], x: Sequence[float]) -> Key:
    """From [-1, 1] into the box."""
    return tuple(float(a + (b - a) * (v + 1) / 2) for v, (a, b) in zip(x, boxes, strict=True))


def _landscape(
    probe: Probe, space: Space, metric: Metric, directions: Sequence[Any], plan: Plan, found: _Found
) -> Landscape:
    axes = probe.axes
    start = probe.sums((0.0,) * axes)
    points = {
        at: (estimate(sums, metric.counts), difference(sums, start, metric.counts))
        for at in sorted(probe.store.keys(probe.of))
        for sums in [probe.store.get(at, probe.of)]
    }
    length = float(space.origin.double().norm()) or 1.0
    facts = {
        "tokens": int(metric.counts.sum()), "sequences": len(metric.counts), "vocabulary": metric.vocabulary,
        "unit": metric.unit, "dtype": str(space.dtype).removeprefix("torch."), "held": len(found.held),
        "directions": [f"direction {label}" for label in plan.labels[:axes]], **plan.facts,
    }  # fmt: skip
    if space.tied:
        facts["said"] = [*facts.get("said", ()), f"tied, moved once: {', '.join(space.tied)}"]
    if space.select:
        facts["said"] = [*facts.get("said", ()), f"only parameters matching {space.select!r}"]
    surrogate = found.choice.surrogate
    return Landscape(
        surrogate, tuple(plan.labels[:axes]), points, estimate(start, metric.counts), found.choice.held,
        tuple(float(d.double().norm()) / length for d in directions), facts, [],
        {plan.origin: Mark((0.0,) * axes)}, surrogate.of(found.sums), metric.counts, metric.tasks,
        found.choice.within,
    )  # fmt: skip


def _mark(
    made: Landscape, evaluator: Evaluator, probe: Probe, space: Space, metric: Metric, directions: Sequence[Any],
    extra: Extra,
) -> None:  # fmt: skip
    """The lowest point, and the points asked for: where they lie, and their own loss where it is not the surface's."""
    low, _ = made.argmin()
    beside = Probe(evaluator, metric, probe.store, probe.axes, quiet, f"{probe.of}lowest")
    made.marks["lowest"] = Mark(low, 0.0, beside.loss(low) if extra.best else None)
    for name, tensors in extra.marks.items():
        place = project(space, tensors, directions, name)
        loss = None
        if place.off > ON:
            flat = torch.empty_like(space.origin)
            for part, change in differences(space, tensors, name):
                space.view(flat, part).copy_(change)
            evaluator.aim([flat])
            what = hashlib.sha256(flat.cpu().numpy().tobytes()).hexdigest()[:16]  # a merge's recipe may change
            loss = Probe(evaluator, metric, probe.store, 1, quiet, f"{probe.of}mark {what}").loss((1.0,))
        made.marks[name] = Mark(place.at, place.off, loss)


def _scan(probe: Probe, metric: Metric, scanned: list[Key]) -> Span:
    def loss(r: float) -> float:
        at = (float(r),) * probe.axes
        scanned.append(at)
        return probe.loss(at).value

    return (-0.5, 0.5) if metric.vocabulary is None else plateau(loss, metric.vocabulary)


def plateau(loss: Callable[[float], float], vocabulary: int) -> Span:
    """± the largest scanned radius at which the loss, on both sides, is below nine tenths of the way to ln V.

    Beyond it is nothing but the loss of guessing, in which a polynomial rings.
    """
    before = loss(0.0)
    limit = before + 0.9 * max(float(np.log(vocabulary)) - before, 0.1)

    def inside(radius: float) -> bool:
        return loss(radius) < limit and loss(-radius) < limit

    for radius in SCAN:
        if inside(radius):
            wider = radius * 1.5
            radius = wider if radius < 1 and inside(wider) else radius
            return -radius, radius
    return -SCAN[-1] / 2, SCAN[-1] / 2


def _checked(space: Space, metric: Metric, directions: Sequence[Any], probe: Probe, found: _Found) -> tuple[int, float]:
    """(points, largest difference of the loss) where float32 was computed, too: what the rounding did."""
    spots = [(0.0,) * probe.axes, *found.held][:SPOTS]
    with Local(Space(space.model, space.select, torch.float32), metric) as plain:
        plain.aim(directions)
        exact = Probe(plain, metric, probe.store, probe.axes, quiet, f"{probe.of}float32")
        off = [abs(exact.loss(at).value - probe.loss(at).value) for at in dict.fromkeys(spots)]
    return len(off), float(np.max(off))
