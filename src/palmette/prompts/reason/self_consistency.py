"""Self-consistency (Wang et al. 2022, arXiv 2203.11171): sample reasoning paths, marginalise over the answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from palmette.core.errors import BadParameter, Unsupported
from palmette.core.model import Model
from palmette.prompts.demonstrations import Demonstrations
from palmette.prompts.reading import said
from palmette.prompts.reason.chain_of_thought import concluded, reasoned
from palmette.prompts.run import Result, Run, Solver
from palmette.prompts.task import Task

__all__ = ["self_consistency", "voted"]


def self_consistency(
    model: Model, task: Task, k: int = 40, *, weigh: Literal["count", "probability", "mean_probability"] = "count",
    early_stop: bool = True, shots: int | None = None, **options: Any,
) -> Solver:  # fmt: skip
    """Draw k chains of thought with different seeds, and take the answer that most of them give.

    Replies without an answer that can be read are no votes; they are counted in `unread`. Equal votes go to the answer
    that came first. The share of the votes is the confidence.

    Args:
        model: who is asked.
        task: what is asked; examples with a `rationale` are shown, else the paper's trigger asks for reasoning.
        k: how many paths (40 in the paper, at temperature 0.7).
        weigh: count each path once; or by its probability, or by that of the mean token (the paper's table 1).
        early_stop: draw no more once no other answer can win; the answer is the same.
        shots: how many examples; all unless given.
        options: fields of the request.

    >>> import palmette
    >>> ask = self_consistency(palmette.scripted([f"The answer is {n}." for n in (1, 2, 2)]), Task(output=int), k=3)
    >>> done = ask("…")
    >>> done.value, round(done.confidence, 2)
    (2, 0.67)
    """
    if k < 1:
        raise BadParameter(f"k must be at least 1, not {k!r}")
    if weigh != "count" and model.capabilities.top_logprobs is None:
        raise Unsupported(f"{model.id} gives no log-probabilities to weigh paths with; use weigh='count'")
    example_how = Demonstrations(shots)
    rational = [example for example in task.examples if example.rationale]
    whole = task.with_examples(rational)

    async def solve(run: Run, inputs: dict[str, Any]) -> Result:
        messages, notes = await reasoned(run, inputs, example_how)
        if not rational:
            messages = run.task.conversation(
                inputs, system=run.task.system(concluding=True), ending="Let's think step by step."
            )
        scored = {} if weigh == "count" else {"top_logprobs": 0}
        paths: list[Result] = []
        weights: list[float] = []
        while len(paths) < k:
            more = _needed(paths, k) if early_stop and weigh == "count" else k - len(paths)
            if not more:
                break
            first = len(paths)
            asks = [
                (messages, {"seed": run.seed + first + i, "prefer": {"temperature": 0.7}, **scored})
                for i in range(more)
            ]
            for reply in await run.ask_all(asks, f"path {first + 1}…" if more > 1 else f"path {first + 1}"):
                paths.append(concluded(run, reply))
                logs = [token.logprob for token in reply.logprobs]
                total = sum(logs) / (max(len(logs), 1) if weigh == "mean_probability" else 1)
                weights.append(1.0 if weigh == "count" else math.exp(total) if logs else 0.0)
        return voted(paths, weights, notes)

    return Solver("self_consistency", model, whole, solve, {"k": k, "weigh": weigh}, options)


def voted(paths: Sequence[Result], weights: Sequence[float], notes: tuple[str, ...] = ()) -> Result:
    """The answer with the most weight among those that could be read; the first of equals.

    >>> voted([Result(3), Result(failure="?"), Result(5), Result(5)], [1, 1, 1, 1]).votes
    ((5, 2), (3, 1))
    """
    totals: dict[str, float] = {}
    firsts: dict[str, Result] = {}
    for path, weight in zip(paths, weights, strict=True):
        if path.answered:
            name = said(path.value)
            firsts.setdefault(name, path)
            totals[name] = totals.get(name, 0) + weight
    unread = len(paths) - sum(path.answered for path in paths)
    if not totals:
        return Result(failure=f"none of {len(paths)} paths has an answer that can be read: {paths[0].failure}"
                      if paths else "no path was drawn", unread=unread, notes=notes)  # fmt: skip
    ranked = sorted(totals, key=lambda name: -totals[name])
    best, whole = firsts[ranked[0]], sum(totals.values())
    return Result(
        best.value, best.text, reasoning=best.reasoning, confidence=totals[ranked[0]] / whole if whole else None,
        votes=tuple((firsts[name].value, totals[name]) for name in ranked), unread=unread, notes=notes,
    )  # fmt: skip


def _needed(paths: Sequence[Result], k: int) -> int:
    """The fewest further paths after which the leader may be unbeatable; 0 if it is already."""
    counts: dict[str, int] = {}
    for path in paths:
        if path.answered:
            counts[said(path.value)] = counts.get(said(path.value), 0) + 1
    ranked = sorted(counts.values(), reverse=True)
    first, second = [*ranked, 0, 0][:2]
    left = k - len(paths)
    # A challenger with `left` more votes must stay below the leader; equality would go to the earlier of the two.
    if first > second + left:
        return 0
    return min(left, (second + left - first) // 2 + 1)
