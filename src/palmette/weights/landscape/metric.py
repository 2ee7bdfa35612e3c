"""What is measured at a point, with what its error bars need: sums for every sequence of the same tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from palmette.core.errors import BadParameter
from palmette.weights.landscape.forward import Forward, forward_of
from palmette.weights.landscape.losses import Losses, Misses
from palmette.weights.landscape.steps import OWN, Fold, Given, Steps, computed, drive

__all__ = [
    "Estimate",
    "Metric",
    "Scored",
    "TokenLoss",
    "amount",
    "broken",
    "computing",
    "counted",
    "difference",
    "estimate",
    "few",
    "known",
    "windows",
]

Kind = Literal["loss", "error"]
FEW = 2_000  # tokens; with fewer, noise is easily taken for landscape
FEW_EXAMPLES = 100  # of a metric that is a function

FOLDS: dict[Kind, Callable[[Any], Fold]] = {"loss": Losses, "error": Misses}
ROWS = 256  # tokens whose scores are held at once
PADDED = 1.25  # how much longer than the first of a batch a sequence of it may be
Sums = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean loss in nats for each token, and its standard error."""

    value: float
    error: float


def estimate(sums: Sums, counts: Sums) -> Estimate:
    """The mean over tokens with its cluster-robust standard error: tokens of a sequence are not independent.

    Args:
        sums: the loss summed over each sequence, float64[sequences].
        counts: tokens of each.

    The ratio estimator's linearised variance (Cochran 1977, Sampling Techniques, section 6.4).

    >>> estimate(np.array([2.0, 4.0]), np.array([1.0, 1.0]))
    Estimate(value=3.0, error=1.0)
    """
    whole = float(counts.sum())
    mean = float(sums.sum()) / whole
    size = len(sums)
    if size < 2 or not np.isfinite(mean):
        return Estimate(mean, float("nan"))
    residual = sums - mean * counts
    return Estimate(mean, float(np.sqrt(size / (size - 1) * float(residual @ residual))) / whole)


def counted(metric: Metric) -> dict[str, Any]:
    """For captions: how much was measured, and in what."""
    facts = {"tokens": int(metric.counts.sum()), "sequences": len(metric.counts), "unit": metric.unit}
    return facts | ({"examples": True} if isinstance(metric, Scored) else {})


def amount(facts: Mapping[str, Any]) -> str:
    """The same in words; a function gives numbers for examples, and not for tokens.

    >>> amount({"tokens": 2_000, "sequences": 16})
    '2,000 tokens in 16 sequences'
    """
    if facts.get("examples"):
        return f"{facts['sequences']:,} examples"
    return f"{facts['tokens']:,} tokens in {facts['sequences']} sequence{'s' if facts['sequences'] > 1 else ''}"


def known(one: Estimate) -> str:
    """A number with its error bar, in words.

    >>> known(Estimate(3.0, 0.25)), known(Estimate(3.0, float("nan")))
    ('3.0000 ± 0.25', '3.0000 (no error bar)')
    """
    return f"{one.value:.4f} " + (f"± {one.error:.3g}" if np.isfinite(one.error) else "(no error bar)")


def few(facts: Mapping[str, Any], origin: Estimate) -> list[str]:
    """Why the error bars are wide, or missing, in words; nothing if there is text enough.

    >>> few({"tokens": 100, "sequences": 1}, Estimate(3.0, float("nan")))[0]
    'only 100 tokens; take 2000 or more'
    """
    flags = []
    least, what = (FEW_EXAMPLES, "examples") if facts.get("examples") else (FEW, "tokens")
    if facts["tokens"] < least:
        sure = f": the loss is known to ± {origin.error:.2g}" if np.isfinite(origin.error) else ""
        flags.append(f"only {facts['tokens']} {what}{sure}; take {least} or more")
    if facts["sequences"] < 2 and what == "tokens":
        flags.append("one sequence only: there is no error bar; give more text, or a shorter length")
    return flags


def broken(values: Sums) -> list[str]:
    """How many values are not finite, in words; nothing if all are."""
    bad = int((~np.isfinite(values)).sum())
    said = f"{bad} of {values.size} points have no finite loss; they are kept as they are, not replaced"
    return [said] if bad else []


def difference(sums: Sums, before: Sums, counts: Sums) -> Estimate:
    """How much the loss changed, from the same tokens at both points: far more precise than either loss."""
    with np.errstate(invalid="ignore"):  # infinity less infinity is NaN, and is said to be
        return estimate(sums - before, counts)


def windows(
    ids: Sequence[Sequence[int]], length: int, tokens: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """Documents cut into sequences of `length` tokens, the first so many that `tokens` are predicted.

    Returns:
        Token ids int64[sequences, length], padded with 0 on the right; which of them are real; and the document that
        each sequence is from.

    Raises:
        BadParameter: if there is no sequence of two tokens.

    >>> windows([[5, 6, 7], [8]], 2, 10)[0]
    array([[5, 6]])
    """
    if length < 2:
        raise BadParameter(f"length should be at least 2, not {length!r}")
    pieces: list[Sequence[int]] = []
    origin: list[int] = []
    left = tokens
    for index, document in enumerate(ids):
        for start in range(0, len(document) - 1, length):
            piece = document[start : start + length]
            if len(piece) < 2 or left <= 0:
                break
            piece = piece[: left + 1]
            pieces.append(piece)
            origin.append(index)
            left -= len(piece) - 1
    if not pieces:
        raise BadParameter("the data holds no two tokens in a row: nothing can be predicted")
    width = max(map(len, pieces))
    made = np.zeros((len(pieces), width), np.int64)
    real = np.zeros((len(pieces), width), bool)
    for row, piece in enumerate(pieces):
        made[row, : len(piece)] = piece
        real[row, : len(piece)] = True
    return made, real, np.array(origin)


class Metric(Protocol):
    """A number to be small, as sums over examples that are the same at every point."""

    model: Any
    vocabulary: int | None  # for the loss of guessing, ln V; None where there is none
    unit: str

    @property
    def counts(self) -> Sums:
        """Tokens (or 1) of each example."""

    @property
    def tasks(self) -> Mapping[str, NDArray[np.intp]]:
        """Which examples belong to which text."""

    def sums(self) -> Sums:
        """The number summed over each example, at the model's present weights."""


class TokenLoss:
    """The negative log-likelihood of the next token over fixed sequences; the same at every point.

    Args:
        model: a causal language model in torch; it computes in evaluation mode, and is left in the mode that it was in.
        ids: int64[sequences, length], padded on the right.
        real: which of them are tokens and not padding.
        batch: sequences computed at once.
        kind: "loss" in nats a token, or "error", the share of tokens that are not the likeliest.
        groups: which example each sequence belongs to, 0 … k - 1; every sequence is one by default. Sequences of one
            document are not independent, so that documents should be the examples where there are many.
        tasks: which text each example is from, if there are several.

    Raises:
        BadParameter: for no data, or token ids that the model has not.
    """

    def __init__(
        self, model: Any, ids: NDArray[np.int64], real: NDArray[np.bool_] | None = None, batch: int = 8,
        kind: Kind = "loss", groups: NDArray[np.int64] | None = None, tasks: Sequence[str] = (),
    ) -> None:  # fmt: skip
        real = np.ones(ids.shape, bool) if real is None else real
        if ids.size == 0 or not real[:, 1:].any():
            raise BadParameter("the data is empty")
        if kind not in ("loss", "error"):
            raise BadParameter(f"the metric is loss or error, not {kind!r}")
        size = int(model.get_output_embeddings().weight.shape[0])
        if int(ids.max()) >= size or int(ids.min()) < 0:
            raise BadParameter(f"the data holds the token {int(ids.max())}, the model has {size}")
        device = next(model.parameters()).device
        self.model = model
        self.kind = kind
        self.unit = "loss (nats a token)" if kind == "loss" else "share of tokens guessed wrong"
        self.vocabulary: int | None = size if kind == "loss" else None
        self._groups = np.arange(len(ids)) if groups is None else groups
        self.counts: Sums = _grouped(self._groups, real[:, 1:].sum(axis=1).astype(np.float64))
        labels = np.array(list(tasks) or [""] * len(self.counts))
        self.tasks = {name: np.flatnonzero(labels == name) for name in dict.fromkeys(labels.tolist()) if name}
        self._batches = [
            (rows, *(torch.from_numpy(table[rows, :length]).to(device) for table in (ids, real)))
            for rows, length in _batches(real, batch)
        ]
        _, first, there = self._batches[-1]  # the longest
        with _evaluating(model):
            self.way: Forward = forward_of(model, first[:1], there[:1])

    @property
    def tokens(self) -> int:
        """How many tokens are predicted."""
        return int(self.counts.sum())

    @property
    def computed(self) -> int:
        """How many tokens go through the model at a point, padding among them."""
        return sum(ids.numel() for _, ids, _ in self._batches)

    def sums(self) -> Sums:
        """Loss or errors summed over each example, float64[examples]."""
        with computing(self.model):
            return drive(self.steps(OWN), computed)

    def steps(self, given: Given) -> Steps[Sums]:
        """The same as a computation that asks for its products, for the inside of `computing`."""
        each = np.zeros(len(self._groups))
        for rows, ids, real in self._batches:
            each[rows] = yield from self._summed(ids, real, given)
        return _grouped(self._groups, each)

    def _summed(self, ids: Any, real: Any, given: Given) -> Steps[Sums]:
        """Scores are made for tokens that are predicted only, `ROWS` at a time, and forgotten."""
        way, wanted = self.way, real[:, 1:]
        states = (yield from way.hidden(ids, given))[:, :-1][wanted]  # (targets, width)
        targets = ids[:, 1:][wanted]
        made = []
        for start in range(0, len(targets), ROWS):
            fold = FOLDS[self.kind](targets[start : start + ROWS])
            made.append((yield from way.head(states[start : start + ROWS], fold)))
        place = wanted.nonzero()[:, 0].cpu().numpy()
        return _grouped(place, torch.cat(made).double().cpu().numpy(), len(ids))

    def total(self) -> list[Callable[[], Any]]:
        """For every batch, what computes its share of the mean loss with a graph to differentiate."""

        def share(ids: Any, real: Any) -> Any:
            with _evaluating(self.model):
                scores = self.model(input_ids=ids, attention_mask=real.long(), use_cache=False).logits[:, :-1]
            wanted = real[:, 1:]
            kept = scores[wanted] if scores.dtype == torch.float64 else scores[wanted].float()
            return F.cross_entropy(kept, ids[:, 1:][wanted], reduction="sum") / self.tokens

        return [lambda batch=batch: share(*batch[1:]) for batch in self._batches]  # type: ignore[misc]


class Scored:
    """Any function as a metric: accuracy, validity under a schema, a judge.

    Args:
        model: the torch module that is moved.
        function: gives a number for each example, float[examples], smaller is better (0 right, 1 wrong); the examples
            are the same at every call.
        unit: what the number is.

    Raises:
        BadParameter: for no numbers, another count of them than before, or other numbers at the same weights.

    >>> one = torch.nn.Linear(1, 1)
    >>> Scored(one, lambda: [0.0, 1.0]).counts
    array([1., 1.])
    """

    vocabulary: int | None = None

    def __init__(self, model: Any, function: Callable[[], Sequence[float]], unit: str = "score") -> None:
        self.model = model.eval()
        self.unit = unit
        self.tasks: dict[str, NDArray[np.intp]] = {}
        self._function = function
        first = _numbers(function())
        if first.ndim != 1 or not len(first):
            raise BadParameter(
                f"the metric should give a list of numbers, one for each example, not an array of shape {first.shape}"
            )
        self.counts: Sums = np.ones(len(first))
        if not np.array_equal(self.sums(), first, equal_nan=True):
            raise BadParameter(
                "the metric gave other numbers at the same weights: dropout, sampling without a seed, or shuffled data "
                "would be drawn as landscape"
            )

    @property
    def tokens(self) -> int:
        """How many examples there are."""
        return len(self.counts)

    def sums(self) -> Sums:
        """The function's numbers."""
        found = _numbers(self._function())
        if found.shape != self.counts.shape:
            raise BadParameter(f"the metric gave {found.size} numbers where it gave {len(self.counts)} before")
        return found


def _numbers(given: Any) -> Sums:
    """What a function gave as an array; of no shape if it is no list of numbers."""
    try:
        return np.asarray(list(given), np.float64)
    except (TypeError, ValueError):
        return np.asarray(np.nan)


@contextmanager
def computing(model: Any) -> Iterator[None]:
    """Without dropout and without a graph inside."""
    with torch.inference_mode(), _evaluating(model):
        yield


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """Without dropout inside, whatever the mode was; and that mode afterwards."""
    training = bool(model.training)
    if training:
        model.eval()
    try:
        yield
    finally:
        if training:
            model.train()


def _batches(real: NDArray[np.bool_], most: int) -> Iterator[tuple[NDArray[np.intp], int]]:
    """Rows that are computed together, and how long they are: of about one length, so that little is padding."""
    lengths = np.where(real[:, 1:].any(axis=1), real.shape[1] - np.argmax(real[:, ::-1], axis=1), 0)
    rows: list[int] = []
    for row in np.argsort(lengths, kind="stable")[(lengths == 0).sum() :].tolist():  # where there is what to predict
        if rows and (len(rows) == most or lengths[row] > PADDED * lengths[rows[0]]):
            yield np.array(rows), int(lengths[rows[-1]])
            rows = []
        rows.append(row)
    yield np.array(rows), int(lengths[rows[-1]])


def _grouped(places: NDArray[Any], values: Sums, count: int = 0) -> Sums:
    """The sum of the values at each place, in their order."""
    return np.asarray(np.bincount(places, values, minlength=count), np.float64)
