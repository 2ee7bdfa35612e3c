"""Every strategy with every view on both engines of real architectures: each pair runs, and they say the same.

(The third engine, the transition matrix, is in test_strategies.py, where what they say is checked by enumeration.)
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tiny

from palmette.core.engine import Budget, Engine, Hypothesis, View
from palmette.core.rng import Rng
from palmette.models.engines import numpy_engine, torch_engine
from palmette.tokens.gather import Gather
from palmette.tokens.strategies import STRATEGIES
from palmette.tokens.views import VIEWS, compose, top_k, top_p

KINDS = {"numpy": numpy_engine.load, "torch": torch_engine.load}
ARGUMENTS: dict[str, list[object]] = {
    "logit_bias": [{7: 2.0, 9: -3.0}],
    "ban": [[5, 6, 7]],
    "allow": [list(range(3, 90))],
    "guide": ["the dog", 1.5],
    "no_repeat_ngram": [2],
    "repetition_penalty": [1.3],
    "temperature": [0.7],
    "typical": [0.7],
    "epsilon": [0.003],
    "eta": [0.01],
    "dry": [0.8],
}
OWN: dict[str, list[View]] = {"nucleus": [top_p(0.9)], "topk": [top_k(40)]}  # views a strategy puts on top


@functools.cache
def engine(kind: str, name: str = "llama") -> Engine:
    return KINDS[kind](tiny.folder(name))


@functools.cache
def prompt() -> tuple[int, ...]:
    return tuple(tiny.tokens(np.random.default_rng(8), 12))


def seen(kind: str, view: str) -> Engine:
    arguments = [engine(kind, "qwen3")] if view == "mix" else ARGUMENTS.get(view, [])
    return compose(Gather(engine(kind)), [VIEWS[view](*arguments)])


def answers(kind: str, strategy: str, view: str) -> tuple[Hypothesis, ...]:
    chosen = STRATEGIES[strategy](engine(kind, "qwen3")) if strategy == "speculative" else STRATEGIES[strategy]()
    steps = list(chosen(seen(kind, view), prompt(), Budget(6), Rng(3)))
    assert tuple(t for step in steps for t in step.committed) == steps[-1].answers[0].tokens
    return steps[-1].answers


def forced(viewed: Engine, tokens: tuple[int, ...]) -> float:
    """Σ log p of given tokens, one at a time."""
    node, total = viewed.prefill([prompt()])[0], 0.0
    for token in tokens:
        total += node.scores.logprob(token)
        node = viewed.extend([node], [[token]])[0]
    return total


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_with_every_view_says_the_same_on_both_engines(strategy: str, view: str) -> None:
    ours, theirs = (answers(kind, strategy, view) for kind in KINDS)
    other = compose(seen("torch", view), OWN.get(strategy, []))
    for answer in ours:
        assert forced(other, answer.tokens) == pytest.approx(answer.logprob, abs=2e-4)
    if strategy != "arithmetic":  # its code magnifies a rounding error by 1/p with every token
        assert [h.tokens for h in ours] == [h.tokens for h in theirs]
        assert [h.finish for h in ours] == [h.finish for h in theirs]


def test_nothing_is_left_in_the_pools() -> None:
    for kind in KINDS:
        before = engine(kind).pool.used  # type: ignore[attr-defined]
        answers(kind, "beam", "top_p")
        assert engine(kind).pool.used == before  # type: ignore[attr-defined]
