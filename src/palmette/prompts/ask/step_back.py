"""Step-back prompting (Zheng et al. 2023, arXiv 2310.06117): a more abstract question first, its answer as ground."""

from __future__ import annotations

from typing import Any

from palmette.core.message import Message
from palmette.core.model import Model
from palmette.prompts.reading import said
from palmette.prompts.run import Result, Run, Solver
from palmette.prompts.task import Task
from palmette.prompts.tools.tool import FunctionTool

__all__ = ["step_back"]

ABSTRACT = (
    "Your task is to step back and paraphrase a question to a more generic step-back question, which is easier to "
    "answer. Reply with that question alone."
)


def step_back(model: Model, task: Task, *, retrieve: FunctionTool | None = None, **options: Any) -> Solver:
    """Ask the more general question, answer it (or look it up), then answer the question on that ground.

    Args:
        model: who is asked.
        task: what is asked; `principle` of its examples are their more general questions.
        retrieve: a tool with one text argument that answers the general question instead of the model.
        options: fields of the request.
    """

    async def solve(run: Run, inputs: dict[str, Any]) -> Result:
        task, question = run.task, run.task.said(inputs)
        shown = [(task.said(e.inputs), e.principle) for e in task.examples if e.principle]
        turns = [Message.of("system", ABSTRACT)]
        for asked, general in shown:
            turns += [Message.of("user", asked), Message.of("assistant", general)]
        general = (await run.ask([*turns, Message.of("user", question)], "step-back question")).text.strip()
        if retrieve is None:
            ground = (await run.ask([Message.of("user", general)], "step-back answer")).text.strip()
        else:
            name = next(iter(retrieve.spec.parameters.get("properties", {"query": {}})))
            seen = await retrieve.use({name: general}, run.way)
            run.note("retrieval", seen.text, seen.seconds)
            ground = seen.text
        said_so = f"{question}\n\nBackground (question: {said(general)})\n{ground}"
        final = [Message.of("system", task.system(concluding=True)), Message.of("user", said_so)]
        reply = await run.ask(final, "answer")
        return run.read(reply.text, concluding=True, reasoning=ground)

    return Solver("step_back", model, task, solve, {"retrieve": retrieve.spec.name} if retrieve else {}, options)
