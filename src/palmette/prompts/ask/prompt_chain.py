"""Prompt chaining: a line of tasks, each reading what the ones before it gave, with a schema at every link."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from palmette.core.errors import BadParameter
from palmette.core.model import Model
from palmette.prompts.ask.zero_shot import answered
from palmette.prompts.run import Result, Run, Solver
from palmette.prompts.task import Task

__all__ = ["prompt_chain"]


def prompt_chain(model: Model, task: Task, *, links: Sequence[tuple[str, Task]] = (), **options: Any) -> Solver:
    """Answer the tasks of `links` in order, then the task itself.

    Each link's answer is known by its name to all that follow, and is checked against their types before they are
    asked. A link that cannot be read ends the chain there.

    Args:
        model: who is asked.
        task: the last link; its inputs are the chain's own and names of links.
        links: (name, task) of the links before it.
        options: fields of the request.

    Raises:
        BadParameter: for a link whose input nobody gives.

    >>> import palmette
    >>> quotes = Task("Quote what matters.", inputs={"text": str}, output=list[str])
    >>> last = Task("Answer from the quotes.", inputs={"quotes": list[str], "question": str})
    >>> ask = prompt_chain(palmette.scripted(['["red"]', "It is red."]), last, links=[("quotes", quotes)])
    >>> ask(text="It was red.", question="Which colour?").value
    'It is red.'
    """
    names = [name for name, _ in links]
    if len(set(names)) < len(names):
        raise BadParameter(f"two links have one name: {', '.join(names)}")
    given: dict[str, Any] = {}
    for position, (name, link) in enumerate([*links, ("", task)]):
        for needed, kind in link.inputs.items():
            if needed in names[position:]:
                raise BadParameter(f"the link {name or 'last'!r} needs {needed!r}, which comes after it")
            if needed not in names:
                given.setdefault(needed, kind)
    whole = Task(task.instruction, inputs=given, output=task.output)

    async def solve(run: Run, inputs: dict[str, Any]) -> Result:
        known: dict[str, Any] = dict(inputs)
        for name, link in [*links, ("answer", task)]:
            run.task = link
            mine = link.checked({key: known[key] for key in link.inputs}, f"link {name}: ")
            result = await answered(run, link.conversation(mine, [(e, link.direct(e)) for e in link.examples]), name)
            if not result.answered:
                return replace(result, failure=f"link {name!r}: {result.failure}")
            known[name] = result.value
        return result

    return Solver("prompt_chain", model, whole, solve, {"links": names}, options)
