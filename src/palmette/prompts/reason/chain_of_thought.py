"""Chain of thought by example (Wei et al. 2022, arXiv 2201.11903): demonstrations reason before they answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from palmette.core.errors import BadParameter
from palmette.core.message import Message, Response
from palmette.core.model import Model
from palmette.prompts.ask.few_shot import settings_of
from palmette.prompts.demonstrations import Choose, Demonstrations, Order, chosen
from palmette.prompts.run import Result, Run, Solver, thought_of
from palmette.prompts.task import Task

__all__ = ["chain_of_thought", "concluded", "reasoned"]


def chain_of_thought(
    model: Model, task: Task, k: int | None = None, choose: Choose = "fixed", order: Order = "chosen",
    **options: Any,
) -> Solver:  # fmt: skip
    """Show k examples with their rationales; the reply reasons in the same way and ends in the answer.

    Args:
        model: who is asked.
        task: what is asked; at least one example has a `rationale`.
        k: how many examples; all that have a rationale unless given (8 in the paper).
        choose: which: fixed (the first), random, nearest, diverse or balanced.
        order: chosen, given, nearest_first, nearest_last or random.
        options: fields of the request.

    >>> import palmette
    >>> shown = {"question": "1 + 2 + 3?", "rationale": "1 + 2 = 3. 3 + 3 = 6.", "output": 6}
    >>> ask = chain_of_thought(palmette.scripted("2 + 2 = 4. The answer is 4."), Task(output=int, examples=[shown]))
    >>> done = ask("2 + 2?")
    >>> done.value, done.reasoning
    (4, '2 + 2 = 4.')
    """
    how = Demonstrations(k, choose, order)
    whole = with_rationales(task, "chain_of_thought")

    async def solve(run: Run, inputs: dict[str, Any]) -> Result:
        messages, notes = await reasoned(run, inputs, how)
        reply = await run.ask(messages, "reasoning and answer")
        return concluded(run, reply, notes=notes)

    return Solver("chain_of_thought", model, whole, solve, settings_of(how), options)


def with_rationales(task: Task, who: str) -> Task:
    """The task with those examples that reason.

    Raises:
        BadParameter: if none does.
    """
    shown = [example for example in task.examples if example.rationale]
    if not shown:
        raise BadParameter(f"{who} needs examples with a 'rationale'; without any, use zero_shot_cot")
    return task.with_examples(shown)


async def reasoned(
    run: Run, inputs: Mapping[str, Any], how: Demonstrations
) -> tuple[Sequence[Message], tuple[str, ...]]:
    """The prompt whose demonstrations reason."""
    task = run.task
    head = task.system(concluding=True)
    return await chosen(run, inputs, how, task.reasoned, lambda shown: task.conversation(inputs, shown, system=head))


def concluded(run: Run, reply: Response, **found: Any) -> Result:
    """The answer at the end of a reply, and apart from it the reasoning: the provider's own, or the text before."""
    start = run.task.conclusion.partition("{output}")[0].strip().lower()
    at = reply.text.lower().rfind(start) if start else -1
    before = reply.text[:at].strip() if at >= 0 else ""
    return run.read(reply.text, concluding=True, reasoning=thought_of(reply) or before, **found)
