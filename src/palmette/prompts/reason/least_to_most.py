"""Least-to-most (Zhou et al. 2022, arXiv 2205.10625): decompose into sub-questions, then answer them in sequence."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from palmette.core.errors import BadParameter
from palmette.core.message import Message
from palmette.core.model import Model
from palmette.prompts.reason.chain_of_thought import concluded
from palmette.prompts.run import Result, Run, Solver
from palmette.prompts.task import Example, Task

__all__ = ["least_to_most"]

DECOMPOSE = (
    "Break the question down into simpler sub-questions that lead to its answer, one a line and numbered; the last one "
    "is the question itself."
)
_LINE = re.compile(r"^\s*(?:\d+[.):]|[-*•])\s*(.+?)\s*$", re.MULTILINE)


def least_to_most(model: Model, task: Task, *, most: int = 8, **options: Any) -> Solver:
    """Ask for the sub-questions, then answer each with all earlier questions and answers in the prompt.

    Args:
        model: who is asked.
        task: what is asked; examples with `steps`, (sub-question, answer) pairs, show both stages.
        most: the most sub-questions; more is a failure, not a cut.
        options: fields of the request.
    """
    if most < 1:
        raise BadParameter(f"most must be at least 1, not {most!r}")

    async def solve(run: Run, inputs: dict[str, Any]) -> Result:
        task = run.task
        shown = [example for example in task.examples if example.steps]
        question = task.said(inputs)
        reply = await run.ask(_decomposition(task, shown, question), "decomposition")
        parts = [part.strip() for part in _LINE.findall(reply.text)]
        if not parts:
            return Result(text=reply.text, failure=f"no numbered sub-question in {reply.text[:200]!r}", unread=1)
        if len(parts) > most:
            return Result(text=reply.text, failure=f"{len(parts)} sub-questions are more than the {most} allowed")
        if _same(parts[-1], question):
            parts = parts[:-1]
        parts.append(question.splitlines()[-1] if len(question) < 400 else "What is the answer to the whole question?")
        answers: list[tuple[str, str]] = []
        for i, part in enumerate(parts):
            last = i == len(parts) - 1
            prompt = _solution(task, shown, question, answers, part, last)
            said = await run.ask(prompt, f"sub-question {i + 1}" if not last else "answer")
            answers.append((part, said.text.strip()))
        steps = "\n".join(f"Q: {q}\nA: {a}" for q, a in answers[:-1])
        result = concluded(run, said)
        return replace(result, reasoning="\n".join(each for each in (steps, result.reasoning) if each))

    return Solver("least_to_most", model, task, solve, {"most": most}, options)


def _decomposition(task: Task, shown: list[Example], question: str) -> list[Message]:
    turns = [Message.of("system", DECOMPOSE)]
    for example in shown:
        lines = "\n".join(f"{i + 1}. {q}" for i, (q, _) in enumerate(example.steps))
        turns += [Message.of("user", task.said(example.inputs)), Message.of("assistant", lines)]
    return [*turns, Message.of("user", question)]


def _solution(
    task: Task, shown: list[Example], question: str, answers: list[tuple[str, str]], part: str, last: bool
) -> list[Message]:
    """The second stage: worked examples, the question, and what is answered so far, as in the paper's section 3."""
    blocks = [_written(task.said(e.inputs), list(e.steps)) for e in shown]
    blocks.append(_written(question, answers) + f"\n\nQ: {part}\nA:")
    turns = [Message.of("system", task.system(concluding=True))] if last else []
    if not last and task.instruction:
        turns = [Message.of("system", task.instruction)]
    return [*turns, Message.of("user", "\n\n".join(blocks))]


def _written(question: str, steps: list[tuple[str, str]]) -> str:
    return "\n\n".join([question, *(f"Q: {q}\nA: {a}" for q, a in steps)])


def _same(a: str, b: str) -> bool:
    return re.sub(r"\W+", "", a).lower() == re.sub(r"\W+", "", b).lower()
