"""Chain of verification (Dhuliawala et al. 2023, arXiv 2309.11495), factored: checks do not see the draft."""

from __future__ import annotations

import re
from typing import Any

from palmette.core.message import Message
from palmette.core.model import Model
from palmette.prompts.run import Result, Run, Solver
from palmette.prompts.task import Task

__all__ = ["chain_of_verification"]

PLAN = (
    "Write questions that check the facts of the draft, one a line and numbered. Each must be understood without the "
    "draft."
)
REVISE = "Write the answer anew, keeping to what the checks support and leaving out what they contradict."
_LINE = re.compile(r"^\s*(?:\d+[.):]|[-*•])\s*(.+?)\s*$", re.MULTILINE)


def chain_of_verification(model: Model, task: Task, *, most: int = 8, **options: Any) -> Solver:
    """Draft, plan verification questions, answer each on its own, revise.

    Args:
        model: who is asked.
        task: what is asked.
        most: the most questions that are answered; how many were left is noted.
        options: fields of the request.
    """

    async def solve(run: Run, inputs: dict[str, Any]) -> Result:
        task, question = run.task, run.task.said(inputs)
        draft = (await run.ask(task.conversation(inputs, system=task.instruction), "draft")).text.strip()
        planned = await run.ask(
            [Message.of("system", PLAN), Message.of("user", f"Question: {question}\n\nDraft: {draft}")], "plan"
        )
        checks = [each.strip() for each in _LINE.findall(planned.text)]
        notes = (f"{len(checks) - most} verification questions were left out",) if len(checks) > most else ()
        # No draft in these prompts: otherwise what it invents is copied.
        asks: list[tuple[list[Message], dict[str, Any]]] = [
            ([Message.of("user", check)], {}) for check in checks[:most]
        ]
        found = [reply.text.strip() for reply in await run.ask_all(asks, "verification")] if asks else []
        checked = "\n".join(f"Q: {q}\nA: {a}" for q, a in zip(checks, found, strict=False))
        head = " ".join(part for part in (task.instruction, REVISE, task.form_of_answer(True)) if part)
        final = f"Question: {question}\n\nDraft: {draft}\n\nChecks:\n{checked or '(none)'}"
        reply = await run.ask([Message.of("system", head), Message.of("user", final)], "revision")
        return run.read(reply.text, concluding=True, reasoning=checked, notes=notes)

    return Solver("chain_of_verification", model, task, solve, {"most": most}, options)
