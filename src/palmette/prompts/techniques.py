"""The techniques by name: one file and one line here for each. A spec is `NAME[:ARG,…]`: `few_shot:4,nearest`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from palmette.core.errors import UnknownName
from palmette.core.model import Model
from palmette.core.signature import build
from palmette.prompts.act.inline_calls import inline_calls
from palmette.prompts.act.react import react
from palmette.prompts.act.reflexion import reflexion
from palmette.prompts.ask.few_shot import few_shot
from palmette.prompts.ask.generated_knowledge import generated_knowledge
from palmette.prompts.ask.prompt_chain import prompt_chain
from palmette.prompts.ask.step_back import step_back
from palmette.prompts.ask.zero_shot import zero_shot
from palmette.prompts.reason.chain_of_thought import chain_of_thought
from palmette.prompts.reason.chain_of_verification import chain_of_verification
from palmette.prompts.reason.least_to_most import least_to_most
from palmette.prompts.reason.program_aided import program_aided
from palmette.prompts.reason.self_consistency import self_consistency
from palmette.prompts.reason.tree_of_thoughts import tree_of_thoughts
from palmette.prompts.reason.zero_shot_cot import zero_shot_cot
from palmette.prompts.run import Solver
from palmette.prompts.task import Task

__all__ = ["SHORT", "TECHNIQUES", "technique"]

TECHNIQUES: Mapping[str, Callable[..., Solver]] = {
    "zero_shot": zero_shot,
    "few_shot": few_shot,
    "chain_of_thought": chain_of_thought,
    "zero_shot_cot": zero_shot_cot,
    "self_consistency": self_consistency,
    "react": react,
    "inline_calls": inline_calls,
    "tree_of_thoughts": tree_of_thoughts,
    "least_to_most": least_to_most,
    "program_aided": program_aided,
    "reflexion": reflexion,
    "step_back": step_back,
    "chain_of_verification": chain_of_verification,
    "generated_knowledge": generated_knowledge,
    "prompt_chain": prompt_chain,
}
SHORT = {
    "cot": "chain_of_thought", "pal": "program_aided", "pot": "program_aided", "tot": "tree_of_thoughts",
    "cove": "chain_of_verification",
}  # fmt: skip


def technique(spec: str, model: Model, task: Task, options: Mapping[str, Any] | None = None, **given: Any) -> Solver:
    """The technique that a spec names, bound to a model and a task.

    Args:
        spec: `NAME[:ARG,…]`; `cot`, `pal`, `tot` and `cove` are short for four of them.
        options: fields of every request: temperature, max_tokens, seed …
        given: values for parameters that this technique has: tools, approve; others are left aside.

    Raises:
        UnknownName: with the near miss.

    >>> import palmette
    >>> technique("few_shot:0", palmette.scripted("7"), Task(output=int))("3 + 4?").value
    7
    """
    name, colon, rest = spec.partition(":")
    name = SHORT.get(name.strip(), name.strip())
    known = TECHNIQUES.get(name)
    if known is None:
        raise UnknownName("technique", name, [*TECHNIQUES, *SHORT])
    takes = set(known.__annotations__)
    ours = {"model": model, "task": task, **{key: value for key, value in given.items() if key in takes}}
    ours |= options or {}
    solver = build(TECHNIQUES, name + colon + rest, "technique", given=ours)
    assert isinstance(solver, Solver)
    return solver
