"""DoLa: decoding by contrasting layers (Chuang et al. 2023), for engines that give the states of their layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from palmette.core.engine import Engine, Node
from palmette.core.errors import BadParameter
from palmette.core.scores import Floats, Scores
from palmette.tokens.views.base import EngineView, PointView, ViewEngine

__all__ = ["dola"]


def dola(layers: Literal["low", "high"] | Sequence[int] = "high", alpha: float = 0.1) -> EngineView:
    """log q_N − log q_M on the candidates with q_N ≥ α · max q_N; M is the layer that differs most from the last, N.

    The premature layer M is chosen at every step by the Jensen-Shannon divergence (equations 1 to 4 of the paper); its
    states go through the output head without the final norm, as in the authors' code and transformers' former one.

    Args:
        layers: candidate layers: "low" or "high" (even layers of the lower or upper half; of the whole model, low:
            first 20 and high: last 20 layers where it has more than 40), or indices, 0 being the embeddings.
        alpha: the plausibility threshold, 0 … 1.
    """
    if not 0 <= alpha <= 1:
        raise BadParameter(f"dola's alpha must lie between 0 and 1, not {alpha!r}")
    if isinstance(layers, str) and layers not in ("low", "high"):
        raise BadParameter(f"dola's layers must be 'low', 'high' or layer numbers, not {layers!r}")

    def wrap(engine: Engine) -> Engine:
        def apply(scores: Scores, state: object, node: Node) -> Scores:
            states = node.layers  # (layers + 1, width)
            chosen = _candidates(layers, len(states) - 1)
            early = _log_softmax(engine.project(states[chosen]))  # (candidates, vocabulary)
            return _contrast(scores, early, alpha)

        return HiddenEngine(engine, PointView("dola", settings, apply))

    settings = {"layers": layers if isinstance(layers, str) else tuple(layers), "alpha": alpha}
    return EngineView("dola", settings, wrap)


class HiddenEngine(ViewEngine):
    """A view engine that always asks for hidden states."""

    def prefill(self, prompts: Sequence[Sequence[int]], *, hidden: bool = False) -> list[Node]:
        """Roots that carry hidden states."""
        return super().prefill(prompts, hidden=True)


def _candidates(layers: Literal["low", "high"] | Sequence[int], count: int) -> list[int]:
    """Layer indices below the last one; `count` is the number of layers."""
    if not isinstance(layers, str):
        wrong = [i for i in layers if not 0 <= i < count]
        if wrong or not layers:
            raise BadParameter(f"dola's layers must lie between 0 and {count - 1}, not {list(layers)}")
        return list(layers)
    if layers == "low":
        span = range(0, 20 if count > 40 else max(1, count // 2), 2)
    else:
        span = range(count - 20 if count > 40 else count // 2, count, 2)
    return list(span)


def _contrast(scores: Scores, early: Floats, alpha: float) -> Scores:
    final = _log_softmax(scores.dense()[None].astype(np.float64))[0]  # (vocabulary,)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.log(0.5 * (np.exp(final)[None] + np.exp(early)))
        divergence = 0.5 * (_kl(final[None], mean) + _kl(early, mean))  # (candidates,)
    premature = early[int(np.argmax(divergence))]
    kept = scores.at_least(scores.peak + math.log(alpha)) if alpha > 0 else scores
    ids = kept.support()
    return Scores.listed(ids, final[ids] - premature[ids], scores.size)


def _kl(p: Floats, q: Floats) -> Floats:
    terms: Floats = np.where(p > -np.inf, np.exp(p) * (p - q), 0.0)
    return np.asarray(terms.sum(axis=-1), np.float64)


def _log_softmax(rows: NDArray[np.floating]) -> Floats:
    shifted = rows.astype(np.float64) - rows.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)), np.float64)
