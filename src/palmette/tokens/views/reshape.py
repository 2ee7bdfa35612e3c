"""Views that move scores without regard to history: temperatures, biases, allowed and banned tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from palmette.core.engine import Node
from palmette.core.errors import BadParameter
from palmette.core.scores import Ids, Scores
from palmette.tokens.views.base import PointView, pointwise
from palmette.tokens.views.change import remove, replace

__all__ = ["allow", "ban", "dynamic_temperature", "logit_bias", "mirostat", "smoothing", "temperature"]


def temperature(t: float = 1.0) -> PointView:
    """ℓ / T. T = 0 keeps the best candidate alone (ties by lower id), the limit of T → 0.

    Stands where you put it: truncating before or after gives different sets (transformers and vLLM put it first,
    llama.cpp last).
    """
    if not t >= 0:
        raise BadParameter(f"temperature must be 0 or positive, not {t!r}")
    return pointwise("temperature", lambda s: _warm(s, t), t=t)


def _warm(scores: Scores, t: float) -> Scores:
    if t == 0.0:
        return scores.prefix(1)
    if t < 1e-9:  # finer than float32 scores are; l / T would drown log Σ, and overflow from 1e-37 on
        return scores.at_least(scores.peak)
    return scores if t == 1.0 else scores.scaled(1.0 / t)


def dynamic_temperature(low: float = 0.5, high: float = 1.5, exponent: float = 1.0) -> PointView:
    """T = low + (high − low) · (H / ln n)^exponent over the n candidates left (kalomaze; llama.cpp's `temp_ext`).

    A confident step is sharpened, an uncertain one is flattened.
    """
    if not 0 < low <= high:
        raise BadParameter(f"dynamic_temperature needs 0 < low <= high, not low={low!r}, high={high!r}")

    def apply(scores: Scores) -> Scores:
        if scores.count < 2:
            return scores
        share = min(1.0, scores.entropy / math.log(scores.count))
        return _warm(scores, low + (high - low) * share**exponent)

    return pointwise("dynamic_temperature", apply, low=low, high=high, exponent=exponent)


def smoothing(factor: float = 0.2, curve: float = 1.0) -> PointView:
    """Quadratic sampling: ℓ' = ℓ(1) − k·f·d² + s·f·d³ with d = ℓ − ℓ(1), k = (3 − c)/2, s = (c − 1)/2; 0 is off."""
    if factor < 0 or curve < 1:
        raise BadParameter(f"smoothing needs factor >= 0 and curve >= 1, not factor={factor!r}, curve={curve!r}")

    def apply(scores: Scores) -> Scores:
        if factor == 0 or scores.empty:
            return scores
        ids = scores.support()
        d = scores.at(ids) - scores.peak
        bent = scores.peak - (3 - curve) / 2 * factor * d**2 + (curve - 1) / 2 * factor * d**3
        return Scores.listed(ids, bent, scores.size)

    return pointwise("smoothing", apply, factor=factor, curve=curve)


def logit_bias(bias: Mapping[int, float]) -> PointView:
    """ℓ[token] + b for each token of `bias`; −inf bans, as `ban` does."""
    table = {int(token): float(b) for token, b in bias.items()}
    ids = np.array(sorted(table), np.int64)
    added = np.array([table[int(i)] for i in ids], np.float64)

    def apply(scores: Scores) -> Scores:
        _check(ids, scores.size, "logit_bias")
        return replace(scores, ids, scores.at(ids) + added)

    return pointwise("logit_bias", apply, bias=table)


def ban(tokens: Sequence[int]) -> PointView:
    """These tokens never follow."""
    ids = np.unique(np.asarray(tokens, np.int64))

    def apply(scores: Scores) -> Scores:
        _check(ids, scores.size, "ban")
        return remove(scores, ids)

    return pointwise("ban", apply, tokens=[int(i) for i in ids])


def allow(tokens: Sequence[int]) -> PointView:
    """Only these tokens may follow."""
    ids = np.unique(np.asarray(tokens, np.int64))
    if not ids.size:
        raise BadParameter("allow needs at least one token")

    def apply(scores: Scores) -> Scores:
        _check(ids, scores.size, "allow")
        return scores.only(ids)

    return pointwise("allow", apply, tokens=[int(i) for i in ids])


def _check(ids: Ids, size: int, name: str) -> None:
    if ids.size and not 0 <= ids[0] <= ids[-1] < size:
        wrong = int(ids[0]) if ids[0] < 0 else int(ids[-1])
        raise BadParameter(f"{name}: token {wrong} is outside the vocabulary of {size} tokens")


def mirostat(tau: float = 5.0, eta: float = 0.1) -> PointView:
    """Mirostat v2 (Basu et al. 2021): keep surprise −log2 q ≤ μ, then μ ← μ − η · (surprise of the choice − τ).

    μ starts at 2τ and lives on the node; it moves when a token is chosen, by whatever strategy, by the token's surprise
    among the candidates that were kept. Meant to stand last and without other truncation.
    """
    if tau <= 0 or eta < 0:
        raise BadParameter(f"mirostat needs tau > 0 and eta >= 0, not tau={tau!r}, eta={eta!r}")

    def apply(scores: Scores, mu: float, node: Node) -> Scores:
        kept = scores.at_least(scores.log_normalizer - mu * math.log(2))
        return kept if kept.count else scores.prefix(1)

    def advance(mu: float, token: int, parent: Node) -> float:
        logprob = parent.scores.logprob(token)
        if logprob == -math.inf:  # a token forced from outside tells nothing of the controller
            return mu
        return mu - eta * (-logprob / math.log(2) - tau)

    return PointView("mirostat", {"tau": tau, "eta": eta}, apply, start=lambda prompt, engine: 2 * tau, advance=advance)
