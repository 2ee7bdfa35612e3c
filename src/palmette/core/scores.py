"""`Scores`: the unnormalised log-probabilities of the next token, dense or as a short candidate list.

A sampling step rarely needs a sort of the whole vocabulary. The best k entries come from block maxima (the k-th largest
block maximum bounds the k-th largest value from below), prefixes of the distribution grow by a factor of four until
their mass suffices, and what falls out of a truncation is simply no longer listed. `reference_*` functions beside the
fast paths say the same with a full sort, and a law holds them equal.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import ModelError

__all__ = ["Floats", "Ids", "Scores", "reference_order", "unpacked"]

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]

HEAD = 256  # candidates that are tried before a larger prefix is looked at
_BLOCKS = 4096
LISTED = 2048  # at most so many candidates that a mask leaves are listed; more stay a dense row
_ADDENDS = np.where(np.arange(256)[:, None] >> np.arange(8) & 1, np.float32(0), np.float32(-np.inf))


class Scores:
    """Next-token scores over a vocabulary of `size` tokens; immutable by convention.

    Two forms: *dense* (`values` float32[size], may hold -inf; `ids` is None) and *listed* (`ids` int64[n] with
    `values` float64[n], all finite, best first, ties by lower id; every other token is excluded).

    >>> s = Scores(np.log(np.array([0.5, 0.3, 0.2], np.float32)))
    >>> s.best, round(s.logprob(1), 4), s.count
    (0, -1.204, 3)
    >>> round(s.only(np.array([1, 2])).probability(1), 6)
    0.6
    """

    def __init__(
        self, values: NDArray[np.floating], ids: Ids | None = None, size: int | None = None, *, finite: bool = False
    ) -> None:
        self.ids = ids
        self.size = int(values.size) if size is None else size
        self.finite = finite or ids is not None  # a dense row known to hold no -inf
        self.values = values
        self._head: tuple[Ids, Floats] | None = None

    # -- construction -------------------------------------------------------------------------------------------------

    @staticmethod
    def listed(ids: Ids, values: NDArray[np.floating], size: int) -> Scores:
        """A candidate list from ids and values in any order; -inf entries are dropped."""
        keep = values > -np.inf
        if not keep.all():
            ids, values = ids[keep], values[keep]
        order = np.lexsort((ids, -values))
        return Scores(values[order].astype(np.float64), ids[order], size)

    def scaled(self, factor: float) -> Scores:
        """Every score times `factor` (> 0): the order, and so every cached head, stays."""
        if self.ids is not None:
            return Scores(self.values * factor, self.ids, self.size)
        out = Scores(self.values * np.float32(factor), finite=self.finite)
        if self._head is not None:
            out._head = (self._head[0], self._head[1] * factor)
        return out

    def only(self, ids: Ids) -> Scores:
        """Keep these ids (those that are still candidates) and drop all others."""
        return Scores.listed(ids, self.at(ids), self.size)

    def masked(self, words: NDArray[np.uint32]) -> Scores:
        """Keep the tokens whose bits are set: 32 to a word, lowest bit first; tokens past the last word are dropped."""
        if self.ids is not None:
            keep = unpacked(words, self.size)[self.ids]
            return Scores(self.values[keep], self.ids[keep], self.size)
        if int(np.bitwise_count(words).sum()) <= LISTED:
            ids = np.flatnonzero(unpacked(words, self.size))
            return Scores.listed(ids, self.values[ids], self.size)
        addend = _ADDENDS.take(words.view(np.uint8), axis=0).reshape(-1)  # eight tokens a byte: 0 or -inf
        if addend.size < self.size:
            addend = np.concatenate([addend, np.full(self.size - addend.size, -np.inf, np.float32)])
        return Scores(self.values + addend[: self.size])

    def prefix(self, count: int) -> Scores:
        """Keep the best `count` candidates exactly (ties by lower id)."""
        ids, values = self.head(count)
        return Scores(values, ids, self.size)

    def at_least(self, threshold: float) -> Scores:
        """Keep every candidate whose score is >= `threshold`."""
        if self.ids is not None:
            n = int(np.searchsorted(-self.values, -threshold, side="right"))
            return Scores(self.values[:n], self.ids[:n], self.size)
        if self._head is not None and self._head[1].size and self._head[1][-1] < threshold:
            n = int(np.searchsorted(-self._head[1], -threshold, side="right"))
            return Scores(self._head[1][:n], self._head[0][:n], self.size)
        ids = np.flatnonzero(self.values >= np.float32(threshold))
        return Scores.listed(ids, self.values[ids], self.size)

    # -- reading ------------------------------------------------------------------------------------------------------

    def dense(self) -> NDArray[np.float32]:
        """The row as float32[size], -inf where a token is excluded."""
        if self.ids is None:
            return self.values.astype(np.float32, copy=False)
        row = np.full(self.size, -np.inf, np.float32)
        row[self.ids] = self.values
        return row

    def at(self, ids: Ids) -> Floats:
        """The scores of `ids`, -inf where excluded; int64[n] -> float64[n]."""
        if self.ids is None:
            return self.values[ids].astype(np.float64)
        out = np.full(len(ids), -np.inf)
        order = np.argsort(self.ids, kind="stable")
        if order.size:
            slot = np.minimum(np.searchsorted(self.ids[order], ids), order.size - 1)
            hit = self.ids[order][slot] == ids
            out[hit] = self.values[order][slot][hit]
        return out

    def support(self) -> Ids:
        """The ids of all candidates; ascending for a dense row, best first for a list."""
        return np.flatnonzero(self.values > -np.inf) if self.ids is None else self.ids

    @property
    def count(self) -> int:
        """How many candidates are left."""
        if self.ids is not None:
            return int(self.ids.size)
        return self.size if self.finite else int(np.count_nonzero(self.values > -np.inf))

    @property
    def empty(self) -> bool:
        """True when no token may follow."""
        return self.values.size == 0 if self.ids is not None else bool(self.peak == -np.inf)

    @cached_property
    def peak(self) -> float:
        """The best score; -inf when there is no candidate."""
        if self.values.size == 0:
            return -math.inf
        top = float(self.values[0]) if self.ids is not None else float(self.values.max())
        if math.isnan(top) or top == math.inf:
            raise ModelError(f"the model gave {top} as a score: its weights are broken or overflowed in half precision")
        return top

    @property
    def best(self) -> int:
        """The id of the best candidate, ties by lower id."""
        if self.ids is not None:
            return int(self.ids[0])
        _ = self.peak  # refuses NaN
        return int(self.values.argmax())

    def head(self, count: int) -> tuple[Ids, Floats]:
        """The best `count` candidates (fewer if there are fewer): ids int64[n], values float64[n], best first."""
        if self.ids is not None:
            return self.ids[:count], self.values[:count].astype(np.float64, copy=False)
        if self._head is None or (self._head[0].size < min(count, self.size) and not self._head_is_all):
            self._head = _best(self.values, max(count, min(HEAD, self.size)))
            self._head_is_all = self._head[0].size < max(count, min(HEAD, self.size))
        return self._head[0][:count], self._head[1][:count]

    _head_is_all = False

    @cached_property
    def log_normalizer(self) -> float:
        """log Σ exp(score), in nats."""
        if self.empty:
            return -math.inf
        if self.ids is not None:
            return self.peak + math.log(float(np.exp(self.values - self.peak).sum()))
        return self.peak + math.log(float(np.exp(self.values - np.float32(self.peak)).sum(dtype=np.float32)))

    def logprob(self, token: int) -> float:
        """log p(token), in nats; -inf when excluded."""
        if self.ids is None:
            return float(self.values[token]) - self.log_normalizer
        hit = np.flatnonzero(self.ids == token)
        return float(self.values[hit[0]]) - self.log_normalizer if hit.size else -math.inf

    def probability(self, token: int) -> float:
        """p(token)."""
        return math.exp(self.logprob(token))

    def logprobs(self) -> NDArray[np.float64]:
        """log p of the whole vocabulary, float64[size]."""
        return self.dense().astype(np.float64) - self.log_normalizer

    @cached_property
    def entropy(self) -> float:
        """−Σ p ln p, in nats, over the candidates."""
        if self.empty:
            return 0.0
        x = self.values - (self.peak if self.ids is not None else np.float32(self.peak))
        e = np.exp(x)
        z = float(e.sum())
        with np.errstate(invalid="ignore"):
            weighted = np.where(e > 0, e * x, 0.0)
        return max(0.0, math.log(z) - float(weighted.sum(dtype=np.float64)) / z)

    def rank(self, token: int) -> int:
        """1 for the best candidate; counts the candidates that are strictly better, plus one."""
        score = self.at(np.array([token]))[0]
        return int(np.count_nonzero(self.values > (score if self.ids is not None else np.float32(score)))) + 1

    def heaviest(self, mass: float) -> tuple[Ids, Floats, Floats]:
        """The shortest best-first prefix whose probability is >= `mass`, or all candidates.

        Returns ids int64[n], values float64[n] and the cumulated probability float64[n]. The prefix grows from 256
        candidates by a factor of four, so that a full sort happens only for flat rows.
        """
        total, tried = self.log_normalizer, HEAD
        while True:
            ids, values = self.head(tried)
            cumulated = np.cumsum(np.exp(values - total))
            if ids.size < tried or cumulated[-1] >= mass or ids.size == self.size:
                n = int(np.searchsorted(cumulated, mass, side="left")) + 1
                return ids[:n], values[:n], cumulated[:n]
            tried *= 4

    def draw(self, u: float) -> int:
        """Inverse transform sampling, best candidate first: the token at which the cumulated probability passes `u`."""
        ids, _, cumulated = self.heaviest(u)
        if cumulated[-1] > u or ids.size == 1:
            return int(ids[np.searchsorted(cumulated, u, side="right")]) if cumulated[-1] > u else int(ids[0])
        return int(ids[-1])  # u lies in the rounding error above the total

    def __repr__(self) -> str:
        form = "dense" if self.ids is None else "listed"
        return f"Scores({form}, {self.count} of {self.size} candidates)"


def unpacked(words: NDArray[np.uint32], size: int) -> NDArray[np.bool_]:
    """Bits to bool[size]; tokens past the last word are False."""
    bits = np.unpackbits(words.view(np.uint8), count=min(size, 32 * words.size), bitorder="little").view(np.bool_)
    return bits if bits.size == size else np.concatenate([bits, np.zeros(size - bits.size, np.bool_)])


def reference_order(values: NDArray[np.floating]) -> Ids:
    """All finite ids, best first, ties by lower id: what every fast path must agree with."""
    order = np.argsort(-values.astype(np.float64), kind="stable")
    return order[values[order] > -np.inf]


def _best(values: NDArray[np.floating], count: int) -> tuple[Ids, Floats]:
    """The best `count` finite entries of a dense row, best first, ties by lower id."""
    threshold = _bound(values, count)
    ids = np.flatnonzero(values >= threshold) if threshold > -np.inf else np.flatnonzero(values > -np.inf)
    chosen = values[ids]
    order = np.argsort(-chosen, kind="stable")[:count]
    return ids[order], chosen[order].astype(np.float64)


def _bound(values: NDArray[np.floating], count: int) -> float:
    """A lower bound of the `count`-th largest value that few values pass."""
    n = values.size
    if count >= n:
        return -math.inf
    if count <= HEAD and n >= 4 * _BLOCKS:
        maxima = values[: n // _BLOCKS * _BLOCKS].reshape(-1, _BLOCKS).max(axis=0)
        return float(np.partition(maxima, _BLOCKS - count)[_BLOCKS - count])
    return float(np.partition(values, n - count)[n - count])
