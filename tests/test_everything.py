"""Every strategy with every view on the engines of real architectures: each pair runs, and they say the same.

(Another engine, the transition matrix, is in test_strategies.py, where what they say is checked by enumeration.)
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable

import numpy as np
import pytest
import tiny

from palmette.core.engine import Budget, Engine, Hypothesis, View
from palmette.core.rng import Rng
from palmette.models.engines import gguf_engine, numpy_engine, torch_engine
from palmette.tokens.gather import Gather
from palmette.tokens.strategies import STRATEGIES
from palmette.tokens.views import VIEWS, compose, top_k, top_p

KINDS: dict[str, Callable[[str], Engine]] = {
    "numpy": lambda name: numpy_engine.load(tiny.folder(name)),
    "torch": lambda name: torch_engine.load(tiny.folder(name)),
}
if importlib.util.find_spec("xllamacpp"):
    KINDS["gguf"] = lambda name: gguf_engine.load(tiny.gguf_file(name))
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
    return KINDS[kind](name)


@functools.cache
def prompt() -> tuple[int, ...]:
    return tuple(tiny.tokens(np.random.default_rng(8), 12))


def seen(kind: str, view: str) -> Engine:
    arguments = [engine(kind, "qwen3 without biases")] if view == "mix" else ARGUMENTS.get(view, [])
    return compose(Gather(engine(kind)), [VIEWS[view](*arguments)])


def answers(kind: str, strategy: str, view: str) -> tuple[Hypothesis, ...]:
    chosen = (
        STRATEGIES[strategy](engine(kind, "qwen3 without biases"))
        if strategy == "speculative"
        else STRATEGIES[strategy]()
    )
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


@pytest.mark.parametrize("kind", ["torch", "gguf"])
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_with_every_view_says_the_same_as_the_numpy_engine(strategy: str, view: str, kind: str) -> None:
    if kind not in KINDS:
        pytest.skip("the extra gguf is not installed: pip install 'palmette[gguf]'")
    ours, theirs = numpy_answers(strategy, view), answers(kind, strategy, view)
    other = compose(seen(kind, view), OWN.get(strategy, []))
    for tokens, logprob, _ in ours:
        assert forced(other, tokens) == pytest.approx(logprob, abs=2e-4)
    if strategy != "arithmetic":  # its code magnifies a rounding error by 1/p with every token
        assert [tokens for tokens, _, _ in ours] == [h.tokens for h in theirs]
        assert [finish for _, _, finish in ours] == [h.finish for h in theirs]


@functools.cache
def numpy_answers(strategy: str, view: str) -> list[tuple[tuple[int, ...], float, str]]:
    """What the numpy engine answers; no nodes, which would fill its pool."""
    return [(h.tokens, h.logprob, h.finish) for h in answers("numpy", strategy, view)]


def test_nothing_is_left_in_the_pools() -> None:
    for kind in KINDS:
        before = held(kind)
        answers(kind, "beam", "top_p")
        assert held(kind) == before


def held(kind: str) -> int:
    """Slots of the pool, or llama.cpp's sequences, in use."""
    found = engine(kind)
    if isinstance(found, gguf_engine.GgufEngine):
        found.settle()
        return found.branches
    return found.pool.used  # type: ignore[attr-defined, no-any-return]
