"""The loss of a language model on fixed text, with what its error bars need: sums for every sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from palmette.core.errors import BadParameter
from palmette.weights.landscape.space import Space

__all__ = ["FEW", "Estimate", "TokenLoss", "difference", "estimate", "windows"]

FEW = 2_000  # tokens; with fewer, noise is easily taken for landscape

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
    if size < 2:
        return Estimate(mean, float("nan"))
    residual = sums - mean * counts
    return Estimate(mean, float(np.sqrt(size / (size - 1) * float(residual @ residual))) / whole)


def difference(sums: Sums, before: Sums, counts: Sums) -> Estimate:
    """How much the loss changed, from the same tokens at both points: far more precise than either loss."""
    return estimate(sums - before, counts)


def windows(ids: Sequence[Sequence[int]], length: int, tokens: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Documents cut into sequences of `length` tokens, the first so many that `tokens` are predicted.

    Returns:
        Token ids int64[sequences, length], padded with 0 on the right, and which of them are real.

    Raises:
        BadParameter: if there is no sequence of two tokens.

    >>> windows([[5, 6, 7], [8]], 2, 10)[0]
    array([[5, 6]])
    """
    if length < 2:
        raise BadParameter(f"length should be at least 2, not {length!r}")
    pieces: list[Sequence[int]] = []
    left = tokens
    for document in ids:
        for start in range(0, len(document) - 1, length):
            piece = document[start : start + length]
            if len(piece) < 2 or left <= 0:
                break
            piece = piece[: left + 1]
            pieces.append(piece)
            left -= len(piece) - 1
    if not pieces:
        raise BadParameter("the data holds no two tokens in a row: nothing can be predicted")
    width = max(map(len, pieces))
    made = np.zeros((len(pieces), width), np.int64)
    real = np.zeros((len(pieces), width), bool)
    for row, piece in enumerate(pieces):
        made[row, : len(piece)] = piece
        real[row, : len(piece)] = True
    return made, real


class TokenLoss:
    """The negative log-likelihood of the next token over fixed sequences; the same at every point.

    Args:
        model: a causal language model in torch.
        ids: int64[sequences, length], padded on the right.
        real: which of them are tokens and not padding.
        batch: sequences computed at once.

    Raises:
        BadParameter: for no data, or token ids that the model has not.
    """

    def __init__(
        self, model: Any, ids: NDArray[np.int64], real: NDArray[np.bool_] | None = None, batch: int = 8
    ) -> None:
        real = np.ones(ids.shape, bool) if real is None else real
        if ids.size == 0 or not real[:, 1:].any():
            raise BadParameter("the data is empty")
        size = int(model.get_output_embeddings().weight.shape[0])
        if int(ids.max()) >= size or int(ids.min()) < 0:
            raise BadParameter(f"the data holds the token {int(ids.max())}, the model has {size}")
        device = next(model.parameters()).device
        self.model = model
        self.vocabulary = size
        self.counts: Sums = real[:, 1:].sum(axis=1).astype(np.float64)
        self._batches = [
            (torch.from_numpy(ids[i : i + batch]).to(device), torch.from_numpy(real[i : i + batch]).to(device))
            for i in range(0, len(ids), batch)
        ]

    @property
    def tokens(self) -> int:
        """How many tokens are predicted."""
        return int(self.counts.sum())

    def sums(self) -> Sums:
        """The loss summed over each sequence, float64[sequences], in nats."""
        with torch.inference_mode():
            return np.concatenate([self._losses(*batch).sum(dim=1).double().cpu().numpy() for batch in self._batches])

    def _losses(self, ids: Any, real: Any) -> Any:
        """The loss of every target token, zero for padding; float32[n, length - 1]."""
        logits = self.model(input_ids=ids, attention_mask=real.long(), use_cache=False).logits
        rows = [
            F.cross_entropy(one[:-1].float(), targets[1:], reduction="none")
            for one, targets in zip(logits, ids, strict=True)  # a sequence at a time: float32 scores of one only
        ]
        return torch.where(real[:, 1:], torch.stack(rows), torch.zeros(()))

    def gradient(self, space: Space) -> Any:
        """The gradient of the mean loss at the origin, float32[space.size], by backpropagation."""
        with space:
            space.move([0.0], [torch.zeros_like(space.origin)])
            params = list(space.moved)
            for p in params:
                p.requires_grad_(True)
            with torch.enable_grad():
                total = sum(self._losses(*batch).sum() for batch in self._batches) / self.tokens
                found = torch.autograd.grad(total, params, allow_unused=True)
        flat = torch.zeros_like(space.origin)
        for part, slope in zip(space.parts, found, strict=True):
            if slope is not None:
                space.view(flat, part).copy_(slope)
        return flat
