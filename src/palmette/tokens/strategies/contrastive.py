"""Contrastive search (Su et al. 2022): likely tokens, but not those whose state repeats the context."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from palmette.core.engine import Budget, Edge, Engine, Step, Strategy
from palmette.core.errors import BadParameter
from palmette.core.rng import Rng
from palmette.tokens.strategies.frontier import Branch, grow
from palmette.tokens.strategies.named import named

__all__ = ["contrastive"]


@named
def contrastive(k: int = 4, alpha: float = 0.6) -> Strategy:
    """Choose among the k best v the one with the largest (1 − α) · p(v) − α · max cos(h_v, h_j) over the context's j.

    h are the last layer's hidden states; the k candidates are tried in one forward pass.

    Args:
        k: candidates at every step.
        alpha: weight of the degeneration penalty; 0 is greedy decoding.
    """
    if k < 1 or not 0 <= alpha <= 1:
        raise BadParameter(f"contrastive needs k >= 1 and alpha between 0 and 1, not k={k!r}, alpha={alpha!r}")

    def run(engine: Engine, prompt: Sequence[int], budget: Budget, rng: Rng) -> Iterator[Step]:
        branch = Branch(engine.prefill([prompt], hidden=True)[0])
        seen = _unit(branch.node.hidden)  # (context, width)
        while True:
            scores = branch.node.scores
            ids, values = scores.head(k)
            logprobs = values - scores.log_normalizer
            tried = grow(engine, [(branch.node, int(t), 0.0) for t in ids])
            states = _unit(np.concatenate([b.node.hidden for b in tried]))  # (k, width)
            values = (1 - alpha) * np.exp(logprobs) - alpha * (states @ seen.T).max(axis=1)
            best = int(values.argmax())
            token, logprob = int(ids[best]), branch.logprob + float(logprobs[best])
            edges = tuple(
                Edge(branch.node, int(t), float(v), i == best) for i, (t, v) in enumerate(zip(ids, values, strict=True))
            )
            end = branch.end(engine, budget, token, logprob)
            if end is not None:
                yield Step(edges=edges, committed=(token,), answers=(end,))
                return
            branch = Branch(tried[best].node, logprob)
            seen = np.concatenate([seen, states[best : best + 1]])
            yield Step(edges=edges, committed=(token,))

    return run


def _unit(states: NDArray[np.float32]) -> NDArray[np.float32]:
    norm = np.linalg.norm(states, axis=-1, keepdims=True)
    return np.asarray(states / np.maximum(norm, 1e-12), np.float32)
