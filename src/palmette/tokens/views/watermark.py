"""A watermark for language models (Kirchenbauer et al. 2023) and its detector: + δ on a context-keyed green list."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from palmette.core.engine import Node
from palmette.core.errors import BadParameter
from palmette.core.rng import mix, mix_array
from palmette.core.scores import Ids, Scores
from palmette.tokens.views.base import PointView
from palmette.tokens.views.change import replace
from palmette.tokens.views.history import History

__all__ = ["Detection", "detect_watermark", "watermark"]


@dataclass(frozen=True)
class Detection:
    """`z` standard deviations more green tokens than chance, with its one-sided p-value."""

    green: int
    scored: int
    z: float
    p_value: float


def watermark(gamma: float = 0.25, delta: float = 2.0, context: int = 1, key: int = 15485863) -> PointView:
    """Add δ to the scores of the green list, a share γ of the vocabulary drawn from `key` and the last h tokens.

    Each token is green independently with probability γ (the paper permutes the vocabulary for exactly γ·V), so that
    the detector can ask for one token without drawing a list.

    Args:
        gamma: share of green tokens.
        delta: what is added to their scores; 0 is off.
        context: h, how many preceding tokens key the list.
        key: the secret.
    """
    _check(gamma, context)

    def apply(scores: Scores, history: History, node: Node) -> Scores:
        if delta == 0.0 or history.size < context:
            return scores
        ids = scores.support()
        green = ids[_green(ids, history.last(context), gamma, key)]
        return replace(scores, green, scores.at(green) + delta)

    return PointView(
        "watermark",
        {"gamma": gamma, "delta": delta, "context": context, "key": key},
        apply,
        start=History.start,
        advance=lambda history, token, parent: history.append(token),
    )


def detect_watermark(tokens: Sequence[int], gamma: float = 0.25, context: int = 1, key: int = 15485863) -> Detection:
    """Test a text for the watermark: z = (green − γT) / √(T γ (1 − γ)), over distinct (context, token) pairs.

    A pair that repeats is counted once, or a loop in the text would pass for evidence.

    >>> detect_watermark([1, 2, 3, 4, 5]).scored
    4
    """
    _check(gamma, context)
    windows = {tuple(tokens[i - context : i + 1]) for i in range(context, len(tokens))}
    hits = [
        bool(_green(np.array([w[-1]], np.int64), np.array(w[:-1], np.int64), gamma, key)[0]) for w in sorted(windows)
    ]
    if not hits:
        raise BadParameter(f"{len(tokens)} tokens are too few to test for a watermark with context {context}")
    n, green = len(hits), sum(hits)
    z = (green - gamma * n) / math.sqrt(n * gamma * (1 - gamma))
    return Detection(green, n, z, 0.5 * math.erfc(z / math.sqrt(2)))


def _green(ids: Ids, before: Ids, gamma: float, key: int) -> NDArray[np.bool_]:
    seed = key
    for token in before:
        seed = mix(seed, int(token))
    return mix_array(seed, ids.astype(np.uint64)) < np.uint64(int(gamma * 2**64))


def _check(gamma: float, context: int) -> None:
    if not 0 < gamma < 1:
        raise BadParameter(f"watermark's gamma must lie between 0 and 1, not {gamma!r}")
    if context < 1:
        raise BadParameter(f"watermark's context must be at least 1, not {context!r}")
