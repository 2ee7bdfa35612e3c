"""Which worked examples stand in a prompt, and in which order; both change answers (Zhao et al. 2021).

A demonstration with the inputs that are asked about would give the answer away: it is left out, and the result says so.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import BadParameter, Unsupported
from palmette.core.message import Message, Request
from palmette.core.model import Model
from palmette.prompts.bm25 import Ranking
from palmette.prompts.reading import said
from palmette.prompts.run import Run
from palmette.prompts.task import Example, Task

__all__ = ["Choose", "Demonstrations", "Order", "Shown", "chosen"]

Choose = Literal["fixed", "random", "nearest", "diverse", "balanced"]
Order = Literal["chosen", "given", "nearest_first", "nearest_last", "random"]
Shown = Sequence[tuple[Example, str]]


@dataclass(frozen=True)
class Demonstrations:
    """How demonstrations are chosen.

    Args:
        k: how many; None for all.
        choose: fixed (the first), random, nearest to what is asked, diverse (near, but not alike: MMR, Carbonell and
            Goldstein 1998), balanced (as many of each answer).
        order: as chosen, as given in the task, by nearness, or random.
        seed: of the random ones.
        embedder: a model whose vectors say what is near; words in common (BM25) without one.
        room: the most tokens of a prompt; the least useful demonstrations are dropped, never the question.
        spread: of diverse: 1 for near alone, 0 for different alone.
    """

    k: int | None = None
    choose: Choose = "fixed"
    order: Order = "chosen"
    seed: int = 0
    embedder: Model | None = None
    room: int | None = None
    spread: float = 0.5

    def __post_init__(self) -> None:
        if self.k is not None and self.k < 0:
            raise BadParameter(f"k must be at least 0, not {self.k!r}")
        for name, value, known in (("choose", self.choose, Choose), ("order", self.order, Order)):
            if value not in get_args(known):
                raise BadParameter(f"{name} must be one of {', '.join(get_args(known))}, not {value!r}")


async def chosen(
    run: Run,
    inputs: Mapping[str, Any],
    how: Demonstrations,
    answer: Callable[[Example], str],
    prompt: Callable[[Shown], Sequence[Message]],
) -> tuple[Sequence[Message], tuple[str, ...]]:
    """The prompt with its demonstrations, and notes on what was left out.

    Args:
        answer: how an example's answer is shown.
        prompt: the prompt around demonstrations.
    """
    task, notes = run.task, []
    pool = [example for example in task.examples if example.inputs != dict(inputs)]
    if len(pool) < len(task.examples):
        notes.append("a demonstration asked what is asked here; it was left out")
    near = await _nearness(run, task, inputs, pool, how.embedder) if _needs_nearness(how) else np.zeros((0, 0))
    ranked = _ranked(pool, near, how)
    while True:
        shown = [pool[i] for i in _ordered(ranked, near, how)]
        messages = prompt([(example, answer(example)) for example in shown])
        if how.room is None or not ranked or await _fits(run, messages, how.room):
            return messages, tuple(notes)
        ranked = ranked[:-1]
        notes.append(f"a demonstration was left out, so that the prompt fits into {how.room} tokens")


def _needs_nearness(how: Demonstrations) -> bool:
    return how.choose in ("nearest", "diverse") or how.order in ("nearest_first", "nearest_last")


async def _nearness(
    run: Run, task: Task, inputs: Mapping[str, Any], pool: Sequence[Example], embedder: Model | None
) -> NDArray[np.float64]:
    """How near each example is to the question (last row) and to each other, float64[n + 1, n]."""
    texts = [task.said(example.inputs) for example in pool]
    asked = [*texts, task.said(inputs)]
    if not texts:
        return np.zeros((1, 0))
    if embedder is None:
        ranking = Ranking(texts)
        made = np.array([ranking.scores(text) for text in asked])
        own = np.array([max(ranking.scores(text)) or 1.0 for text in texts])
        made = np.minimum(made / own, 1.0)
        return np.asarray(made, np.float64)
    vectors: NDArray[np.float64] = (await embedder.vectorise(asked, run.way)).vectors.astype(np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    near: NDArray[np.float64] = vectors @ vectors[:-1].T  # (n + 1, n)
    return near


def _ranked(pool: Sequence[Example], near: NDArray[np.float64], how: Demonstrations) -> list[int]:
    """Places of the chosen examples, the most useful first."""
    everyone = list(range(len(pool)))
    k = len(pool) if how.k is None else min(how.k, len(pool))
    rng = random.Random(how.seed)
    if how.choose == "random":
        return rng.sample(everyone, k)
    if how.choose == "nearest":
        return sorted(everyone, key=lambda i: (-near[-1, i], i))[:k]
    if how.choose == "diverse":
        return _diverse(near, k, how.spread)
    if how.choose == "balanced":
        groups: dict[str, list[int]] = {}
        for i in everyone:
            groups.setdefault(said(pool[i].output), []).append(i)
        piles = list(groups.values())
        rounds = [pile[r] for r in range(max(map(len, piles), default=0)) for pile in piles if r < len(pile)]
        return rounds[:k]
    return everyone[:k]


def _diverse(near: NDArray[np.float64], k: int, spread: float) -> list[int]:
    """Maximal marginal relevance: argmax spread · sim(i, question) - (1 - spread) · max sim(i, chosen)."""
    picked: list[int] = []
    rest = list(range(near.shape[1]))
    while len(picked) < k:

        def gain(i: int) -> float:
            alike = max((float(near[j, i]) for j in picked), default=0.0)
            return spread * float(near[-1, i]) - (1 - spread) * alike

        best = max(rest, key=lambda i: (gain(i), -i))
        picked.append(best)
        rest.remove(best)
    return picked


def _ordered(ranked: Sequence[int], near: NDArray[np.float64], how: Demonstrations) -> list[int]:
    if how.order == "given":
        return sorted(ranked)
    if how.order == "random":
        return random.Random(how.seed + 1).sample(list(ranked), len(ranked))
    if how.order in ("nearest_first", "nearest_last"):
        sign = -1 if how.order == "nearest_first" else 1
        return sorted(ranked, key=lambda i: (sign * near[-1, i], i))
    return list(ranked)


async def _fits(run: Run, messages: Sequence[Message], room: int) -> bool:
    try:
        tokens = await run.model.measure(Request(tuple(messages)), run.way)
    except Unsupported:  # a byte is at most a token, and text has about three bytes to one
        tokens = sum(len(message.text.encode()) for message in messages) // 2
    return tokens <= room
