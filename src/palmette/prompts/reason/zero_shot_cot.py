"""Zero-shot chain of thought (Kojima et al. 2022, arXiv 2205.11916): two calls, to reason and to extract the answer."""

from __future__ import annotations

from typing import Any

from palmette.core.message import Message, Output
from palmette.core.model import Model
from palmette.prompts.ask.zero_shot import shape_of
from palmette.prompts.reading import HOLE, escaped
from palmette.prompts.run import Result, Run, Solver, thought_of
from palmette.prompts.task import Task, described

__all__ = ["zero_shot_cot"]


def zero_shot_cot(
    model: Model, task: Task, *, trigger: str = "Let's think step by step.", extract: str = "", begin: bool = False,
    **options: Any,
) -> Solver:  # fmt: skip
    """Ask to think first, then ask again for the answer with the thoughts in the prompt.

    Args:
        model: who is asked.
        task: what is asked; its examples are not shown.
        trigger: what makes it think.
        extract: what asks for the answer; "Therefore, the answer (TYPE) is" unless given.
        begin: whether the reply itself begins with the trigger, as in the paper, on models that are held to a regular
            expression; otherwise the trigger stands below the question.
        options: fields of the request.

    >>> import palmette
    >>> ask = zero_shot_cot(palmette.scripted(["3 and 4 make 7.", "7"]), Task(output=int))
    >>> [step.label for step in ask("3 + 4?").steps]
    ['rationale', 'answer']
    """

    async def solve(run: Run, inputs: dict[str, Any]) -> Result:
        task = run.task
        asks_answer = extract or f"Therefore, the answer ({described(task.output)}) is"
        if task.form == "text":
            (whole,) = task.conversation(inputs, system=task.instruction)
            first = await run.ask([Message.of("user", f"{whole.text} {trigger}")], "rationale")
            thought = first.text.strip()
            again = Message.of("user", f"{whole.text} {trigger} {thought}\n{asks_answer}")
            second = await run.ask([again], "answer", **shape_of(run, HOLE))
        else:
            held = Output("regex", escaped(trigger) + "[^\n]*") if begin and run.model.capabilities.regex else None
            prompt = task.conversation(inputs, system=task.instruction, ending="" if held else trigger)
            first = await run.ask(prompt, "rationale", **({"output": held} if held else {}))
            thought = thought_of(first) or first.text.strip()
            turns = [*prompt, first.message, Message.of("user", asks_answer)]
            second = await run.ask(turns, "answer", **shape_of(run, HOLE))
        return run.extract(second.text, reasoning=thought)

    return Solver("zero_shot_cot", model, task, solve, {"trigger": trigger}, options)
