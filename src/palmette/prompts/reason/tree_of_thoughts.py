"""Tree of thoughts (Yao et al. 2023, arXiv 2305.10601): generate thoughts, evaluate states, search over them.

Names and order follow the paper's algorithms 1 (BFS) and 2 (DFS) and its code: a state is the question with the
thoughts so far; equal new states have the value 0, and no state is evaluated twice.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from palmette.core.errors import BadParameter
from palmette.core.message import Message
from palmette.core.model import Model
from palmette.prompts.reason.chain_of_thought import concluded
from palmette.prompts.run import Result, Run, Solver
from palmette.prompts.task import Task

__all__ = ["tree_of_thoughts"]

Generate = Literal["propose", "sample"]
Evaluate = Literal["value", "vote"]
Search = Literal["bfs", "dfs"]
Select = Literal["greedy", "sample"]

PROPOSE = "Propose different possible next steps, one a line. Write the steps alone."
SAMPLE = "Write the next step of the solution. Write one step alone, in one line."
VALUE = (
    "Evaluate whether the steps so far can lead to the answer. Think in one line; then write one word alone in the "
    "last line: sure, maybe or impossible."
)
VOTE = (
    "Below are several choices of steps for one question. Analyse each, then conclude in the last line with "
    '"The best choice is N", where N is its number.'
)
ANSWER = "Answer the question by these steps."
VALUES = {"impossible": 0.001, "maybe": 1.0, "likely": 1.0, "sure": 20.0}  # of the paper's code, game of 24
_BULLET = re.compile(r"^\s*(?:\d+[.):]|[-*•])\s+")
_BEST = re.compile(r"best choice is\D{0,3}(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class _Plan:
    """The parameters, by their names in the paper."""

    steps: int  # T
    generate: Generate
    k: int
    evaluate: Evaluate
    n: int
    breadth: int  # b
    select: Select
    threshold: float  # v_th


@dataclass
class _Work:
    """One search: its run, its question, and the values of states seen."""

    run: Run
    question: str
    plan: _Plan
    values: dict[str, float] = field(default_factory=dict)
    rng: random.Random = field(default_factory=lambda: random.Random(0))


State = tuple[str, ...]


def tree_of_thoughts(
    model: Model, task: Task, steps: int = 3, *, generate: Generate = "propose", k: int = 5,
    evaluate: Evaluate = "value", n: int = 3, breadth: int = 5, search: Search = "bfs", select: Select = "greedy",
    threshold: float = 0.5, **options: Any,
) -> Solver:  # fmt: skip
    """Search a tree whose nodes are partial solutions.

    The search is in the transcript: after each step every state with its value, and which are kept.

    Args:
        model: who is asked.
        task: what is asked.
        steps: the depth T.
        generate: propose k thoughts in one prompt, or sample k independent ones.
        k: thoughts of each state.
        evaluate: value each state alone (sure, maybe, impossible), or vote across all.
        n: evaluations of each state, or votes.
        breadth: states that are kept (b, 5 in the paper's game of 24).
        search: bfs, or dfs with backtracking from states below the threshold.
        select: the best states, or a draw by value.
        threshold: v_th of dfs, on the mean value of the n evaluations.
        options: fields of the request.
    """
    _check(locals())
    plan = _Plan(steps, generate, k, evaluate, n, breadth, select, threshold)

    async def solve(run: Run, inputs: dict[str, Any]) -> Result:
        work = _Work(run, run.task.said(inputs), plan, rng=random.Random(run.seed))
        state = await (_bfs(work) if search == "bfs" else _dfs(work))
        if state is None:
            return Result(failure="every branch was given up")
        reply = await run.ask(_prompt(work, ANSWER, state, run.task.system(concluding=True)), "answer")
        result = concluded(run, reply)
        return replace(result, reasoning="\n".join(state))

    shown = {"steps": steps, "generate": generate, "k": k, "evaluate": evaluate, "search": search}
    return Solver("tree_of_thoughts", model, task, solve, shown, options)


def _check(given: dict[str, Any]) -> None:
    for name, known in (("generate", Generate), ("evaluate", Evaluate), ("search", Search), ("select", Select)):
        if given[name] not in get_args(known):
            raise BadParameter(f"{name} must be one of {', '.join(get_args(known))}, not {given[name]!r}")
    for name in ("steps", "k", "n", "breadth"):
        if given[name] < 1:
            raise BadParameter(f"{name} must be at least 1, not {given[name]!r}")


async def _bfs(work: _Work) -> State | None:
    """Algorithm 1."""
    states: list[State] = [()]
    for t in range(work.plan.steps):
        new = [(*s, z) for s, zs in zip(states, await _thoughts(work, states, t), strict=True) for z in zs]
        if not new:
            return None
        values = await _evaluated(work, new, t)
        kept = _selected(work, values)
        work.run.note(f"step {t + 1}", _drawn(new, values, kept))
        states = [new[i] for i in kept]
    return states[0]


async def _dfs(work: _Work, state: State = (), t: int = 0) -> State | None:
    """Algorithm 2; the first state at depth T is the answer."""
    if t == work.plan.steps:
        return state
    (thoughts,) = await _thoughts(work, [state], t)
    new = [(*state, z) for z in dict.fromkeys(thoughts)]
    values = await _evaluated(work, new, t) if new else []
    order = sorted(range(len(new)), key=lambda i: -values[i])
    kept = [i for i in order if values[i] / work.plan.n > work.plan.threshold]
    work.run.note(f"step {t + 1}", _drawn(new, values, kept))
    for i in kept:
        found = await _dfs(work, new[i], t + 1)
        if found is not None:
            return found
    return None


async def _thoughts(work: _Work, states: Sequence[State], t: int) -> list[list[str]]:
    """G(p, s, k) of every state."""
    k = work.plan.k
    if work.plan.generate == "propose":
        asks = [(_prompt(work, PROPOSE, state), {"prefer": {"temperature": 0.7}}) for state in states]
        replies = await work.run.ask_all(asks, f"propose {t + 1}")
        return [[_BULLET.sub("", line).strip() for line in r.text.splitlines() if line.strip()][:k] for r in replies]
    drawn = [(state, {"seed": work.run.seed + i, "prefer": {"temperature": 0.7}}) for state in states for i in range(k)]
    replies = await work.run.ask_all([(_prompt(work, SAMPLE, s), must) for s, must in drawn], f"sample {t + 1}")
    lines = [next((line.strip() for line in reply.text.splitlines() if line.strip()), "") for reply in replies]
    return [[line for line in lines[i : i + k] if line] for i in range(0, len(lines), k)]


async def _evaluated(work: _Work, states: Sequence[State], t: int) -> list[float]:
    """V(p, S): the sum over n evaluations, or the votes of each state."""
    n = work.plan.n
    draws = [{"seed": work.run.seed + i, "prefer": {"temperature": 0.7}} for i in range(n)]
    if work.plan.evaluate == "vote":
        listed = "\n\n".join(f"Choice {i + 1}:\n" + "\n".join(state) for i, state in enumerate(states))
        prompt = [Message.of("system", VOTE), Message.of("user", f"{work.question}\n\n{listed}")]
        replies = await work.run.ask_all([(prompt, draw) for draw in draws], f"vote {t + 1}")
        votes = [0.0] * len(states)
        for reply in replies:
            said = _BEST.findall(reply.text)
            if said and 1 <= int(said[-1]) <= len(states):
                votes[int(said[-1]) - 1] += 1
        return votes
    texts = ["\n".join(state) for state in states]
    new = [text for text in dict.fromkeys(texts) if text not in work.values]
    asks = [(_prompt(work, VALUE, tuple(text.split("\n"))), draw) for text in new for draw in draws]
    replies = await work.run.ask_all(asks, f"value {t + 1}") if asks else []
    for i, text in enumerate(new):
        work.values[text] = sum(_value(reply.text) for reply in replies[i * n : (i + 1) * n])
    return [work.values[text] if text not in texts[:i] else 0.0 for i, text in enumerate(texts)]


def _value(text: str) -> float:
    """The word in the last line; 0 for a reply that has none."""
    lines = [line for line in text.splitlines() if line.strip()]
    return VALUES.get(lines[-1].strip().strip(".*\"'").lower(), 0.0) if lines else 0.0


def _selected(work: _Work, values: Sequence[float]) -> list[int]:
    b, places = work.plan.breadth, list(range(len(values)))
    if work.plan.select == "greedy":
        return sorted(places, key=lambda i: -values[i])[:b]
    kept: list[int] = []
    while len(kept) < b and (rest := [i for i in places if i not in kept]):
        weights = [values[i] + 1e-9 for i in rest]
        kept.append(work.rng.choices(rest, weights)[0])
    return kept


def _prompt(work: _Work, instruction: str, state: State, system: str = "") -> list[Message]:
    head = " ".join(part for part in (system or work.run.task.instruction, instruction) if part)
    steps = "\n".join(state) if state else "(none yet)"
    return [Message.of("system", head), Message.of("user", f"{work.question}\n\nSteps so far:\n{steps}")]


def _drawn(states: Sequence[State], values: Sequence[float], kept: Sequence[int]) -> str:
    return "\n".join(
        f"{'kept' if i in kept else 'left'}  {values[i]:g}  {' → '.join(state)}" for i, state in enumerate(states)
    )
