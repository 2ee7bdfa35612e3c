"""Reflexion (Shinn et al. 2023, arXiv 2303.11366): try, evaluate, put what went wrong into words, try again.

The paper's runs on HotpotQA evaluate by the *right answer*. That is an oracle, which nobody has
outside of a benchmark: a result that was found with its help says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, get_args

from palmette.core.errors import BadParameter
from palmette.core.message import Message
from palmette.core.model import Model
from palmette.prompts.reason.zero_shot_cot import zero_shot_cot
from palmette.prompts.run import Result, Run, Solver
from palmette.prompts.task import Task

__all__ = ["reflexion"]

Strategy = Literal["none", "last_attempt", "reflexion", "last_attempt_and_reflexion"]
Check = Callable[[dict[str, Any], Result], bool]

EVALUATE = "Judge whether the answer to the question is right. Write one word alone: correct or incorrect."
REFLECT = (
    "You will be given an attempt at a question that failed. In a few sentences, diagnose a possible reason for the "
    "failure and devise a new, concise, high level plan that aims to mitigate the same failure."
)


def reflexion(
    model: Model, task: Task, trials: int = 3, *, strategy: Strategy = "reflexion", check: Check | None = None,
    oracle: bool = False, memory: int = 3, actor: Callable[..., Solver] = zero_shot_cot, **options: Any,
) -> Solver:  # fmt: skip
    """Try up to `trials` times, with reflections on what failed before.

    Args:
        model: who acts, evaluates and reflects.
        task: what is asked.
        trials: the most attempts.
        strategy: what the next attempt is told: none, the last attempt, the reflections, or both.
        check: evaluates (inputs, result), by tests for instance; the model judges itself without it.
        oracle: whether `check` knows the right answer; every result then says so.
        memory: how many reflections are kept (1 to 3 in the paper).
        actor: the technique of an attempt.
        options: fields of every request.
    """
    if trials < 1 or memory < 1:
        raise BadParameter(f"trials and memory must be at least 1, not {trials!r} and {memory!r}")
    if strategy not in get_args(Strategy):
        raise BadParameter(f"strategy must be one of {', '.join(get_args(Strategy))}, not {strategy!r}")
    if oracle and check is None:
        raise BadParameter("oracle=True labels a check that knows the right answer; give the check")
    inner = actor(model, task, **options)

    async def solve(run: Run, inputs: dict[str, Any]) -> Result:
        plain, reflections, result = inner.task, [""][:0], Result(failure="no trial")
        notes = ("the feedback came from an oracle that knows the right answer",) if oracle else ()
        for trial in range(1, trials + 1):
            run.task = _told(plain, strategy, result if trial > 1 else None, reflections)
            result = await inner.solve(run, inputs)
            run.task = plain
            good = result.answered and await _evaluated(run, inputs, result, check)
            run.note(f"evaluation {trial}", "success" if good else "failure")
            if good or trial == trials:
                break
            if "reflexion" in strategy:
                reflections = [*reflections, await _reflected(run, inputs, result)][-memory:]
        return replace(result, notes=(*result.notes, *notes))

    shown = {"trials": trials, "strategy": strategy, "oracle": oracle, "actor": inner.technique}
    return Solver("reflexion", model, inner.task, solve, shown, options)


def _told(task: Task, strategy: Strategy, last: Result | None, reflections: list[str]) -> Task:
    """The task with what is remembered."""
    parts = [task.instruction] if task.instruction else []
    if last is not None and "last_attempt" in strategy:
        parts.append(f"A previous attempt failed:\n{_attempt(last)}")
    if reflections:
        parts.append("Reflections on previous attempts:\n" + "\n".join(f"- {each}" for each in reflections))
    return task.with_instruction("\n\n".join(parts))


async def _evaluated(run: Run, inputs: dict[str, Any], result: Result, check: Check | None) -> bool:
    if check is not None:
        return bool(check(inputs, result))
    asked = f"Question: {run.task.said(inputs)}\n\n{_attempt(result)}"
    reply = await run.ask([Message.of("system", EVALUATE), Message.of("user", asked)], "evaluation")
    return reply.text.strip().strip(".*\"'").lower() == "correct"


async def _reflected(run: Run, inputs: dict[str, Any], result: Result) -> str:
    asked = f"Question: {run.task.said(inputs)}\n\n{_attempt(result)}"
    return (await run.ask([Message.of("system", REFLECT), Message.of("user", asked)], "reflection")).text.strip()


def _attempt(result: Result) -> str:
    answer = result.text.strip() if result.answered else f"(none: {result.failure})"
    return "\n".join(part for part in (f"Reasoning: {result.reasoning}" if result.reasoning else "",
                                       f"Answer: {answer}") if part)  # fmt: skip
