"""Zero-shot: the instruction and the question, no demonstration."""

from __future__ import annotations

from typing import Any

from palmette.core.message import Output
from palmette.core.model import Model
from palmette.core.types import schema_of
from palmette.prompts.reading import pattern_of, scalar
from palmette.prompts.run import Result, Run, Solver
from palmette.prompts.task import Task

__all__ = ["answered", "shape_of", "zero_shot"]


def zero_shot(model: Model, task: Task, **options: Any) -> Solver:
    """Ask for the answer alone, without an example.

    Args:
        model: who is asked.
        task: what is asked; its examples are not shown.
        options: fields of the request: temperature (0 unless given), max_tokens, seed …

    >>> import palmette
    >>> ask = zero_shot(palmette.scripted("7"), Task("Add.", output=int))
    >>> ask(question="3 + 4?").value
    7
    """

    async def solve(run: Run, inputs: dict[str, Any]) -> Result:
        return await answered(run, run.task.conversation(inputs), "answer")

    return Solver("zero_shot", model, task, solve, {}, options)


def shape_of(run: Run, frame: str | None = None) -> dict[str, Any]:
    """What a request says of the form of an answer that stands alone.

    A document is asked for by its schema; words and numbers by a regular expression, where the model is held to it.
    """
    task, able = run.task, run.model.capabilities
    if not scalar(task.output) and able.json_schema:
        return {"output": Output("json", schema_of(task.output))}
    pattern = pattern_of(task.output, task.answer if frame is None else frame)
    if task.enforce and able.regex and able.full_logits and pattern:
        return {"output": Output("regex", pattern)}
    return {}


async def answered(run: Run, messages: Any, label: str, **found: Any) -> Result:
    """Ask for an answer that stands alone, and read it."""
    reply = await run.ask(messages, label, **shape_of(run))
    return run.read(reply.text, **found)
