"""Measuring a line or a plane: points until the surrogate is close enough everywhere, and what is said about it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from palmette.core.errors import BadParameter
from palmette.weights.landscape import lint
from palmette.weights.landscape.directions.base import cosine
from palmette.weights.landscape.directions.checkpoints import differences, project
from palmette.weights.landscape.evaluate import Evaluator, Local, Probe, Progress, quiet
from palmette.weights.landscape.fit import Fit, fit, shared
from palmette.weights.landscape.landscape import Landscape, Mark
from palmette.weights.landscape.metric import Metric, counted, difference, estimate
from palmette.weights.landscape.plan import Plan, Span
from palmette.weights.landscape.space import Space
from palmette.weights.landscape.store import Key, Store

__all__ = ["Extra", "Plan", "measure", "measure_shard", "plateau"]

BUDGET = {1: 22, 2: 101}  # evaluations of a line or plane that progress begins with: most need no more
SCAN = (1.0, 0.5, 0.25, 0.125, 0.0625)  # radii tried, in units of the directions
ON = 1e-4  # ‖off the plane‖ / ‖θ‖ up to which a point lies on it
SPOTS = 4  # points computed in float32, too, when the picture is not


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
        probe.expected = before + BUDGET[axes]
        probe.sums((0.0,) * axes)
        scanned: list[Key] = []
        if boxes is None:
            boxes = [_scan(probe, metric, scanned)] * axes
        found = fit(probe, boxes, plan, scanned)
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
    """Measure one of several shares of the points that are measured in any case, for `measure` to find them in a shard.

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
        probe.measure(shared(axes, boxes, plan)[index - 1 :: count])
    return len(store)


def _landscape(
    probe: Probe, space: Space, metric: Metric, directions: Sequence[Any], plan: Plan, found: Fit
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
        **counted(metric), "vocabulary": metric.vocabulary, "dtype": str(space.dtype).removeprefix("torch."),
        "held": len(found.held),
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
        found.choice.within, start, cosine(*directions) if axes == 2 else 0.0,
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


def _checked(space: Space, metric: Metric, directions: Sequence[Any], probe: Probe, found: Fit) -> tuple[int, float]:
    """(points, largest difference of the loss) where float32 was computed, too: what the rounding did."""
    spots = [(0.0,) * probe.axes, *found.held][:SPOTS]
    with Local(Space(space.model, space.select, torch.float32), metric) as plain:
        plain.aim(directions)
        exact = Probe(plain, metric, probe.store, probe.axes, quiet, f"{probe.of}float32")
        off = [abs(exact.loss(at).value - probe.loss(at).value) for at in dict.fromkeys(spots)]
    return len(off), float(np.max(off))
