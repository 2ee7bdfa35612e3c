"""Making probabilities mean what they say: a model's bias for some options taken out, and its confidence scaled.

Contextual calibration: the model is asked about states without content, and its preferences there are divided out
(Zhao et al. 2021, "Calibrate before use"). Temperature: one number per question, fitted to labelled examples by maximum
likelihood (Guo et al. 2017, "On calibration of modern neural networks"), with the expected calibration error before and
after on examples that the fit has not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palmette.core.decision import Decision, Decisions, State
from palmette.core.errors import BadParameter, UnknownName, UsageError

__all__ = [
    "CONTENT_FREE", "Calibration", "Fit", "calibrated", "check_examples", "expected_calibration_error", "fitted",
    "mean_prior", "place_of",
]  # fmt: skip

Floats = NDArray[np.float64]
CONTENT_FREE = ("N/A", "[MASK]", "...")
LEAST = 1e-12  # a probability of 0 has no logarithm
BINS = 10
FOLDS = 5
HOTTEST = 20.0


@dataclass(frozen=True)
class Fit:
    """What a temperature did for a question.

    Args:
        examples: how many were labelled.
        accuracy: the share of them whose likeliest option is right.
        before, after: expected calibration error; `after` on examples that the fit has not seen (5-fold).
        loss_before, loss_after: mean negative log-likelihood in nats, likewise.
    """

    temperature: float
    examples: int
    accuracy: float
    before: float
    after: float
    loss_before: float
    loss_after: float


@dataclass(frozen=True)
class Calibration:
    """A change of decisions; call it with them. Made by `palmette.calibrate`.

    Args:
        priors: for each question the probabilities that the model gives its options about nothing.
        fits: for each question the temperature that was fitted, and what it did.
    """

    priors: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    fits: Mapping[str, Fit] = field(default_factory=dict)

    def __call__(self, decisions: Decisions) -> Decisions:
        """Decisions with calibrated probabilities.

        Raises:
            UnknownName: for a question that was not calibrated.
        """
        return replace(decisions, answers=tuple(map(self._one, decisions.answers)))

    def _one(self, answer: Decision) -> Decision:
        name = answer.question.name
        if name not in self.priors and name not in self.fits:
            raise UnknownName("calibrated question", name, sorted({*self.priors, *self.fits}))
        prior = self.priors.get(name)
        if prior is not None and len(prior) != len(answer.probabilities):
            raise UsageError(f"{name!r} was calibrated with {len(prior)} options, not {len(answer.probabilities)}")
        fit = self.fits.get(name)
        shares = calibrated(answer.probabilities, prior, 1.0 if fit is None else fit.temperature)
        return replace(answer, probabilities=shares, intervals=())


def calibrated(
    probabilities: Sequence[float], prior: Sequence[float] | None = None, temperature: float = 1.0
) -> tuple[float, ...]:
    """Probabilities with a prior divided out, at a temperature.

    >>> [round(p, 3) for p in calibrated([0.8, 0.2], [0.8, 0.2])]
    [0.5, 0.5]
    """
    scores = _logs(probabilities)
    if prior is not None:
        scores = scores - _logs(prior)
    return tuple(_soft(scores / temperature).tolist())


def fitted(rows: Sequence[Sequence[float]], right: Sequence[int], prior: Sequence[float] | None = None) -> Fit:
    """The temperature of the greatest likelihood for examples.

    Args:
        rows: probabilities of the options, for each example.
        right: the place of the right option, for each.
        prior: divided out before.

    Raises:
        BadParameter: for fewer than two examples.
    """
    if len(rows) < 2:
        raise BadParameter(f"a temperature needs at least 2 labelled examples, not {len(rows)}")
    scores = _logs(rows) - (0.0 if prior is None else _logs(prior))  # (examples, options)
    truth = np.array(right)
    heat = _hottest(scores, truth)
    folds = np.arange(len(rows)) % min(FOLDS, len(rows))
    unseen = np.empty_like(scores)
    for fold in range(int(folds.max()) + 1):
        inside = folds == fold
        unseen[inside] = scores[inside] / _hottest(scores[~inside], truth[~inside])
    before, after = _soft(scores), _soft(unseen)
    return Fit(
        heat, len(rows), float((before.argmax(1) == truth).mean()), expected_calibration_error(before, truth),
        expected_calibration_error(after, truth), _loss(before, truth), _loss(after, truth),
    )  # fmt: skip


def expected_calibration_error(probabilities: Any, right: Any, bins: int = BINS) -> float:
    """Mean distance of confidence and accuracy over equal bins of confidence, weighted by how many fall into each.

    >>> expected_calibration_error([[0.75, 0.25]] * 4, [0, 0, 0, 1])
    0.0
    """
    shares, truth = np.asarray(probabilities, np.float64), np.asarray(right)
    sure = shares.max(axis=1)
    correct = shares.argmax(axis=1) == truth
    place = np.minimum((sure * bins).astype(int), bins - 1)
    total = 0.0
    for one in range(bins):
        inside = place == one
        if inside.any():
            total += float(abs(sure[inside].mean() - correct[inside].mean()) * inside.mean())
    return total


def _hottest(scores: Floats, truth: NDArray[np.int64]) -> float:
    """The temperature of the least loss: convex in 1/T, so golden section finds it."""

    def loss(cold: float) -> float:
        return _loss(_soft(scores * cold), truth)

    return 1 / _golden(loss, 1 / HOTTEST, HOTTEST)


def _golden(function: Callable[[float], float], low: float, high: float) -> float:
    """The place of the least value of a function with one valley."""
    ratio = (5**0.5 - 1) / 2
    a, b = low, high
    c, d = b - ratio * (b - a), a + ratio * (b - a)
    at_c, at_d = function(c), function(d)
    while b - a > 1e-7 * high:
        if at_c <= at_d:
            b, d, at_d = d, c, at_c
            c = b - ratio * (b - a)
            at_c = function(c)
        else:
            a, c, at_c = c, d, at_d
            d = a + ratio * (b - a)
            at_d = function(d)
    return (a + b) / 2


def _loss(shares: Floats, truth: NDArray[np.int64]) -> float:
    return float(-np.log(np.maximum(shares[np.arange(len(truth)), truth], LEAST)).mean())


def _logs(shares: Any) -> Floats:
    logs: Floats = np.log(np.maximum(np.asarray(shares, np.float64), LEAST))
    return logs


def _soft(scores: Floats) -> Floats:
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares: Floats = weights / weights.sum(axis=-1, keepdims=True)
    return shares


def mean_prior(found: Sequence[Decisions], name: str) -> tuple[float, ...]:
    """The mean of what a model says about several states without content."""
    return tuple(np.mean([decisions[name].probabilities for decisions in found], axis=0).tolist())


def place_of(decision: Decision, value: Any, where: str) -> int:
    """The place of a labelled value among the options.

    Raises:
        UnknownName: if it is none of them.
    """
    for i, option in enumerate(decision.question.options):
        if option == value and isinstance(option, bool) == isinstance(value, bool):
            return i
    raise UnknownName(f"option of {where}", str(value), [str(option) for option in decision.question.options])


def check_examples(examples: Sequence[tuple[State, Mapping[str, Any]]], names: Sequence[str]) -> None:
    """Refuse labelled examples that are none."""
    for i, example in enumerate(examples):
        if not (isinstance(example, tuple) and len(example) == 2 and isinstance(example[1], Mapping)):
            raise UsageError(f"example {i} must be (state, {{question: value}}), not {str(example)[:80]!r}")
        unknown = next((name for name in example[1] if name not in names), None)
        if unknown is not None:
            raise UnknownName(f"question in example {i}", unknown, names)
