"""What is wanted of scores: each token's loss, or whether it was guessed wrong; from all scores, or some at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

__all__ = ["Losses", "Misses"]

SUMMED = 1024  # scores of a row that are summed at once


class Losses:
    """The negative log-likelihood of each row's target; see `Fold`.

    Args:
        targets: int64[rows], token ids.
    """

    def __init__(self, targets: Any) -> None:
        self._targets = targets
        self._ids = targets.cpu().numpy()
        self._own = torch.full(targets.shape, torch.nan)
        self._sums: list[Any] = []
        self._waiting: list[Any] = []

    def whole(self, scores: Any) -> Any:
        """float32[rows] from all scores, float[rows, vocabulary]."""
        return F.cross_entropy(scores.float(), self._targets, reduction="none")

    def add(self, scores: Any, first: int) -> None:
        """Some scores, float[rows, n], of the tokens from `first` on."""
        rows = np.flatnonzero((first <= self._ids) & (self._ids < first + scores.shape[1]))
        if len(rows):
            at = torch.from_numpy(rows)
            self._own[at] = scores[at, self._targets[at] - first].float()
        self._waiting.append(scores)
        if sum(some.shape[1] for some in self._waiting) >= SUMMED:
            self._sum()

    def made(self) -> Any:
        """float32[rows] from all that was added."""
        self._sum()
        return torch.stack(self._sums).logsumexp(dim=0) - self._own

    def _sum(self) -> None:
        if self._waiting:
            self._sums.append(torch.cat(self._waiting, dim=1).float().logsumexp(dim=1))
            self._waiting = []


class Misses:
    """1 for each row whose likeliest token is not its target, else 0; see `Losses`."""

    def __init__(self, targets: Any) -> None:
        self._targets = targets
        self._best: Any = None
        self._at = torch.empty(0)

    def whole(self, scores: Any) -> Any:
        """float32[rows] from all scores, float[rows, vocabulary]."""
        return (scores.argmax(dim=-1) != self._targets).float()

    def add(self, scores: Any, first: int) -> None:
        """Some scores, float[rows, n], of the tokens from `first` on, in their order."""
        best, at = scores.max(dim=1)
        at += first
        if self._best is not None:
            less = (best <= self._best) | self._best.isnan()  # the first that is no number is the best, as in argmax
            best, at = torch.where(less, self._best, best), torch.where(less, self._at, at)
        self._best, self._at = best, at

    def made(self) -> Any:
        """float32[rows] from all that was added."""
        return (self._at != self._targets).float()
