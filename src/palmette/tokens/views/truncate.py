"""Truncation of one step's distribution: each view keeps a subset of the candidates and leaves their scores alone.

Notation of the docstrings: ℓ scores, q = softmax(ℓ), H = −Σ q ln q (nats), q(1) the largest probability.
Entries that an earlier view removed count nowhere. A truncation keeps at least one candidate.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from palmette.core.errors import BadParameter
from palmette.core.rng import Rng
from palmette.core.scores import Floats, Ids, Scores
from palmette.tokens.views.base import PointView, pointwise
from palmette.tokens.views.change import remove

__all__ = ["epsilon", "eta", "min_p", "top_k", "top_n_sigma", "top_p", "typical", "xtc"]


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise BadParameter(f"{name} must lie between {low:g} and {high:g}, not {value!r}")


def _check_ties(name: str, ties: str) -> None:
    if ties not in ("drop", "keep"):
        raise BadParameter(f"{name}'s ties must be 'drop' or 'keep', not {ties!r}")


def top_k(k: int = 50, ties: Literal["drop", "keep"] = "drop") -> PointView:
    """Keep the k best candidates (Fan et al. 2018).

    Args:
        k: how many; 0 keeps all.
        ties: "drop" keeps exactly k, equal scores by lower id (the paper, llama.cpp); "keep" keeps all that equal the
            k-th (transformers, vLLM).

    >>> top_k(3)
    top_k(k=3, ties='drop')
    """
    if k < 0:
        raise BadParameter(f"top_k must be 0 (off) or positive, not {k!r}")
    _check_ties("top_k", ties)

    def apply(scores: Scores) -> Scores:
        if k == 0 or k >= scores.size:
            return scores
        kept = scores.prefix(k)
        return scores.at_least(float(kept.values[-1])) if ties == "keep" and kept.count else kept

    return pointwise("top_k", apply, k=k, ties=ties)


def top_p(p: float = 0.95, tail: Literal["smallest", "hf"] = "smallest") -> PointView:
    """Nucleus sampling: keep the smallest best-first prefix whose probability is at least p (Holtzman et al. 2020).

    Args:
        p: probability mass to keep, 0 … 1; 1 keeps all, 0 the best candidate alone.
        tail: "smallest" follows the paper and llama.cpp (the token that crosses p is kept, then the rest is cut);
            "hf" follows transformers and vLLM, which cut from the other end: a candidate falls when it and all
            smaller ones hold a mass <= 1 − p. The two differ only where a cumulated mass meets p exactly, and then
            in rounding.
    """
    _within("top_p", p, 0.0, 1.0)
    if tail not in ("smallest", "hf"):
        raise BadParameter(f"top_p's tail must be 'smallest' or 'hf', not {tail!r}")

    def apply(scores: Scores) -> Scores:
        if p >= 1.0 or scores.empty:
            return scores
        if tail == "hf":
            return _ascending_nucleus(scores, p)
        ids, values, _ = scores.heaviest(p)
        return Scores(values, ids, scores.size)

    return pointwise("top_p", apply, p=p, tail=tail)


def _ascending_nucleus(scores: Scores, p: float) -> Scores:
    ids, values = scores.head(scores.size)
    above = np.exp(values - scores.log_normalizer)[::-1].cumsum()[::-1]  # mass of a candidate and all smaller ones
    count = max(1, int(np.count_nonzero(above > 1.0 - p)))
    return Scores(values[:count], ids[:count], scores.size)


def min_p(p: float = 0.05) -> PointView:
    """Keep q ≥ p · q(1), that is ℓ ≥ ℓ(1) + ln p (Nguyen et al. 2024, arXiv 2407.01082). 0 keeps all."""
    _within("min_p", p, 0.0, 1.0)
    return pointwise("min_p", lambda s: s if p == 0.0 or s.empty else s.at_least(s.peak + math.log(p)), p=p)


def epsilon(cutoff: float = 3e-4) -> PointView:
    """Keep q ≥ ε (Hewitt et al. 2022); the best candidates always stay. Usual: 3e-4 … 9e-4; 0 keeps all."""
    _within("epsilon", cutoff, 0.0, 1.0)
    return pointwise("epsilon", lambda s: _floor(s, cutoff), cutoff=cutoff)


def eta(cutoff: float = 3e-4) -> PointView:
    """Keep q ≥ min(ε, √ε · e^−H) (Hewitt et al. 2022, eta sampling). Usual: 3e-4 … 2e-3; 0 keeps all."""
    _within("eta", cutoff, 0.0, 1.0)
    return pointwise("eta", lambda s: _floor(s, min(cutoff, math.sqrt(cutoff) * math.exp(-s.entropy))), cutoff=cutoff)


def _floor(scores: Scores, probability: float) -> Scores:
    if probability <= 0.0 or scores.empty:
        return scores
    kept = scores.at_least(scores.log_normalizer + math.log(probability))
    return kept if kept.count else scores.at_least(scores.peak)


def typical(mass: float = 0.95, ties: Literal["drop", "keep"] = "drop") -> PointView:
    """Locally typical sampling (Meister et al. 2022): the smallest set of mass ≥ τ whose surprise is nearest to H.

    Candidates are ordered by |−ln q − H|, ties by lower id.

    Args:
        mass: τ, probability mass to keep, 0 … 1; 1 keeps all.
        ties: "drop" keeps the smallest set; "keep" also keeps all that are as near as the last one (transformers).
    """
    _within("typical", mass, 0.0, 1.0)
    _check_ties("typical", ties)

    def apply(scores: Scores) -> Scores:
        if mass >= 1.0 or scores.empty:
            return scores
        ids = scores.support()
        logq = scores.at(ids) - scores.log_normalizer
        distance = np.abs(-logq - scores.entropy)
        kept = _nearest(ids, distance, np.exp(logq), mass)
        return scores.only(ids[distance <= distance[ids == kept[-1]]] if ties == "keep" else kept)

    return pointwise("typical", apply, mass=mass, ties=ties)


def _nearest(ids: Ids, distance: Floats, q: Floats, mass: float) -> Ids:
    """The shortest prefix by ascending distance that holds `mass`; grows fourfold to spare a full sort."""
    tried = 1024
    while True:
        if tried < ids.size:
            bound = np.partition(distance, tried - 1)[tried - 1]
            near = np.flatnonzero(distance <= bound)
        else:
            near = np.arange(ids.size)
        order = near[np.lexsort((ids[near], distance[near]))]
        cumulated = q[order].cumsum()
        if cumulated[-1] >= mass or near.size == ids.size:
            return ids[order[: int(np.searchsorted(cumulated, mass, side="left")) + 1]]
        tried *= 4


def top_n_sigma(n: float = 1.0) -> PointView:
    """Keep ℓ ≥ ℓ(1) − n·σ(ℓ) (Tang et al. 2024).

    σ is the population standard deviation of the candidates that are left, so a grammar's mask does not change what
    the statistic means; the set does not depend on temperature.
    """
    if n <= 0:
        raise BadParameter(f"top_n_sigma must be positive, not {n!r}")

    def apply(scores: Scores) -> Scores:
        if scores.empty:
            return scores
        finite = scores.values if scores.finite else scores.values[scores.values > -np.inf]
        return scores.at_least(scores.peak - n * float(finite.std(dtype=np.float64)))

    return pointwise("top_n_sigma", apply, n=n)


def xtc(threshold: float = 0.1, probability: float = 0.5, seed: int = 0) -> PointView:
    """Exclude top choices (p-e-w 2024): with `probability`, drop all candidates with q ≥ threshold but the last.

    The coin is keyed by the prefix and `seed`, so that it does not depend on what else runs. A threshold above 0.5 can
    never drop anything.
    """
    _within("xtc's threshold", threshold, 0.0, 1.0)
    _within("xtc's probability", probability, 0.0, 1.0)
    coin = Rng(seed).fork("xtc")

    def apply(scores: Scores, key: int) -> Scores:
        if threshold > 0.5 or probability == 0.0 or coin.uniform(key) >= probability:
            return scores
        likely = scores.at_least(scores.log_normalizer + math.log(threshold)) if threshold > 0 else scores
        if likely.count < 2:
            return scores
        dropped = likely.prefix(likely.count - 1).support()
        return remove(scores, dropped)

    return PointView(
        "xtc",
        {"threshold": threshold, "probability": probability, "seed": seed},
        lambda scores, state, node: apply(scores, node.key),
    )
