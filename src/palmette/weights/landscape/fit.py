"""Points and a way through them, until that way is close enough to the loss everywhere.

A line and a plain grid have levels of points, and random points that only check. A plane has its points chosen as they
come, so that each is guessed before it is measured: those guesses are what is held out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from palmette.weights.landscape.choose import Choice, choose, radial
from palmette.weights.landscape.evaluate import Probe
from palmette.weights.landscape.plan import Plan, Span
from palmette.weights.landscape.refine import NEAR, Refinement, grid
from palmette.weights.landscape.sampler import levels
from palmette.weights.landscape.store import Key

__all__ = ["Fit", "fit", "shared"]

CHECKS = 8  # points that only check
EPSILON = float(np.finfo(np.float32).eps)
Points = NDArray[np.float64]


@dataclass(frozen=True)
class Fit:
    """What was fitted.

    Args:
        choice: the surrogate, and how far off it may be.
        sums: the metric's sums at its points, float64[points, examples].
        wanted: the error that was small enough.
        held: the points that were held out.
    """

    choice: Choice
    sums: Points
    wanted: float
    held: Sequence[Key]


def fit(probe: Probe, boxes: Sequence[Span], plan: Plan, scanned: Sequence[Key]) -> Fit:
    """Measure until the surrogate is good enough.

    Args:
        probe: measures.
        boxes: the range of each axis.
        plan: what is good enough.
        scanned: points that were measured to find the range.
    """
    known = list(dict.fromkeys([(0.0,) * probe.axes, *scanned]))
    inside = [at for at in known if all(a <= x <= b for x, (a, b) in zip(at, boxes, strict=True))]
    way = _plane if probe.axes == 2 and plan.grid is None else _levels
    return way(probe, boxes, plan, inside)


def shared(axes: int, boxes: Sequence[Span], plan: Plan) -> list[Key]:
    """Points that are measured whatever comes out, for several processes to share."""
    if axes == 2 and plan.grid is None:
        return [_place(boxes, x) for x in grid()]
    first = next(iter(levels(axes, plan.grid, 91)))
    return [*_checks(axes, boxes, plan), *(_place(boxes, x) for x in first.points)]


def _levels(probe: Probe, boxes: Sequence[Span], plan: Plan, inside: Sequence[Key]) -> Fit:
    """Levels until the surrogate is good enough; what was held out joins it."""
    spots = _checks(probe.axes, boxes, plan)
    held = [*inside, *spots]
    probe.measure(spots)
    used: list[Key] = []
    for level in levels(probe.axes, plan.grid, plan.most):
        new = [_place(boxes, x) for x in level.points]
        probe.measure(new)
        used = sorted({*used, *new})
        checks = [at for at in held if at not in set(used)] or list(held)
        known, values = _measured(probe, used)
        choice = choose(boxes, (known, values), _measured(probe, checks), level.trials)
        wanted = _wanted(probe, plan, values, spots)
        if choice.within <= wanted and len(used) >= plan.least:
            break
    return _done(probe, choice, wanted, [at for at in held if at not in used])


def _plane(probe: Probe, boxes: Sequence[Span], plan: Plan, inside: Sequence[Key]) -> Fit:
    """A few points at a time, until those of the last two times were guessed well, or there are as many as allowed."""
    refinement = Refinement()
    places = refinement.first()
    used = [_place(boxes, x) for x in places]
    probe.measure(used)
    beside = _beside(inside, boxes)
    missed: list[list[float]] = [[]]
    while True:
        known, values = _measured(probe, [*used, *beside])
        wanted = _wanted(probe, plan, values, used)
        if not np.isfinite(values).all():
            return _broken(probe, boxes, plan, used)
        last = [error for batch in missed[-2:] for error in batch]
        good = len(missed) > 2 and max(last) <= wanted and len(known) >= plan.least
        room = max(0, plan.most - len(known))
        # Its radial functions are its own: the surrogate's nodes went through the box, and their last bits would say
        # which of two points that are as hard to guess comes first.
        more = [] if good or not room else refinement.more(np.array([*places, *beside.values()]), values)[:room]
        choice = radial(boxes, (known, values), last)
        if not more:
            return _done(probe, choice, wanted, used[len(used) - len(last) :])
        new = [_place(boxes, x) for x in more]
        probe.measure(new)
        guessed = choice.surrogate(*np.array(new).T)
        missed.append(np.abs(guessed - _measured(probe, new)[1]).tolist())
        used, places = [*used, *new], [*places, *more]


def _broken(probe: Probe, boxes: Sequence[Span], plan: Plan, used: Sequence[Key]) -> Fit:
    """Losses that are not finite cannot be guessed: the whole first grid, and nothing smooth through it."""
    held = _checks(2, boxes, plan)
    spots = list(dict.fromkeys([*used, *(_place(boxes, x) for x in grid())]))
    known, values = _measured(probe, spots)
    choice = choose(boxes, (known, values), _measured(probe, held), ())
    return _done(probe, choice, _wanted(probe, plan, values, spots), held)


def _beside(inside: Sequence[Key], boxes: Sequence[Span]) -> dict[Key, Key]:
    """Points that are known and not of the grid, each with its place in [-1, 1]."""
    first = np.array(grid())
    scaled = {at: tuple(2 * (x - a) / (b - a) - 1 for x, (a, b) in zip(at, boxes, strict=True)) for at in inside}
    return {at: x for at, x in scaled.items() if np.abs(first - np.array(x)).max(axis=1).min() > NEAR}


def _done(probe: Probe, choice: Choice, wanted: float, held: Sequence[Key]) -> Fit:
    return Fit(choice, probe.table([tuple(at) for at in choice.surrogate.points.tolist()]), wanted, held)


def _wanted(probe: Probe, plan: Plan, values: Points, spots: Sequence[Key]) -> float:
    """The error that is small enough; never below what float32 can tell apart."""
    finite = values[np.isfinite(values)]
    share = max(plan.tolerance * float(np.ptp(finite)), EPSILON * float(np.abs(finite).max())) if len(finite) else 0.0
    errors = [e for at in spots if any(at) and np.isfinite(e := probe.change(at).error)]
    return share if plan.exact or not errors else max(share, float(np.median(errors)))


def _measured(probe: Probe, spots: Sequence[Key]) -> tuple[Points, Points]:
    """Points and the loss there."""
    return np.array(spots, float), probe.table(spots).sum(axis=1) / probe.counts.sum()


def _checks(axes: int, boxes: Sequence[Span], plan: Plan) -> list[Key]:
    """Random points that only check."""
    draw = np.random.default_rng([plan.seed, 77])
    return [_place(boxes, (2 * draw.random(axes) - 1).tolist()) for _ in range(CHECKS)]


def _place(boxes: Sequence[Span], x: Sequence[float]) -> Key:
    """From [-1, 1] into the box."""
    return tuple(float(a + (b - a) * (v + 1) / 2) for v, (a, b) in zip(x, boxes, strict=True))
