"""ReAct (Yao et al. 2022, arXiv 2210.03629): thoughts, actions and observations in turn, and an end that is certain.

By construction, on models held to a grammar: the tool exists, its arguments fit, every step ends, and the last step can
only answer. Elsewhere the same is asked for, and checked; what goes wrong is an observation.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

from palmette.core.errors import BadParameter, BudgetTooSmall, ConstraintError
from palmette.core.model import Model
from palmette.core.types import value_of
from palmette.prompts.agent.move import Move
from palmette.prompts.agent.protocols import Dialogue, Grammar, Native, Written
from palmette.prompts.reading import plain, said
from palmette.prompts.run import Result, Run, Solver
from palmette.prompts.task import Task
from palmette.prompts.tools.tool import Approve, FunctionTool, Observation, toolset

__all__ = ["react"]

Way = Literal["auto", "grammar", "tools", "schema", "text"]
REPEATED = "You made this very call before, at step {step}. Use what it gave, try something else, or answer.\n"
REPAIRS = 2  # of a final answer that is not of its type, on models that cannot be held to it


def react(
    model: Model, task: Task, tools: Sequence[FunctionTool | Callable[..., Any]] = (), *, steps: int = 7,
    protocol: Way = "auto", approve: Approve | None = None, thought: int = 400, **options: Any,
) -> Solver:  # fmt: skip
    """Let the model use tools until it answers, at the latest in the last step.

    Args:
        model: who is asked.
        task: what is asked; its examples are not shown (the paper shows six trajectories; models of today need none).
        tools: functions with types and a docstring, or what `palmette.tool` makes of them.
        steps: the most steps (7 in the paper).
        protocol: how a step is asked for: "grammar" on models of this machine, else "tools" (the API's own), "schema"
            or "text" (the paper's), the first that the model can.
        approve: asked before a tool with an effect (write, net) runs, with the tool and its arguments; nothing else
            can approve it, and without it none runs.
        thought: the most characters of a thought, in grammars and schemas.
        options: fields of every request.

    >>> import palmette
    >>> from palmette.prompts.tools.calculator import calculator
    >>> lines = ["I multiply.\\nAction 1: calculator[37*46]", "Done.\\nAction 2: finish[1702]"]
    >>> ask = react(palmette.scripted(lines), Task(output=int), [calculator], protocol="text")
    >>> ask("37 times 46?").value
    1702
    """
    held = toolset(tools)
    if steps < 1:
        raise BadParameter(f"steps must be at least 1, not {steps!r}")
    if protocol not in get_args(Way):
        raise BadParameter(f"protocol must be one of {', '.join(get_args(Way))}, not {protocol!r}")
    if "final_answer" in held or "finish" in held:
        raise BadParameter("final_answer and finish are how an agent answers; give the tool another name")
    spoken = _protocol(model) if protocol == "auto" else protocol

    async def solve(run: Run, inputs: dict[str, Any]) -> Result:
        question = run.task.said(inputs)
        dialogue: Dialogue
        if spoken == "tools":
            dialogue = Native(run.task, held, question)
        elif spoken == "text":
            dialogue = Written(run.task, held, question)
        else:
            dialogue = Grammar(run.task, held, question, thought)
        return await _loop(run, dialogue, held, steps, approve)

    return Solver("react", model, task, solve, {"tools": list(held), "steps": steps, "protocol": spoken}, options)


def _protocol(model: Model) -> Way:
    able = model.capabilities
    if able.json_schema and able.full_logits:
        return "grammar"
    return "tools" if able.tools else "schema" if able.json_schema else "text"


async def _loop(
    run: Run, dialogue: Dialogue, tools: Mapping[str, FunctionTool], steps: int, approve: Approve | None
) -> Result:
    thoughts: list[str] = []
    seen: dict[str, list[int]] = {}
    final_only, wrong = False, 0
    for step in range(1, steps + 1):
        final_only = final_only or step == steps or not tools
        move = await _moved(run, dialogue, step, final_only)
        if move.thought:
            thoughts.append(move.thought)
        for _ in range(REPAIRS if final_only else 0):  # only where a model is not held to the form
            if not move.wrong and not move.tool:
                break
            wrong += 1
            dialogue.observe(move, step, Observation(f"Error: {move.wrong or 'only the final answer is left'}"))
            move = await _moved(run, dialogue, step, True)
        done = _ended(move)
        if done is not None:
            return _told(done, thoughts, dialogue, wrong)
        if move.wrong:
            wrong += 1
            run.note(f"observation {step}", f"Error (schema): {move.wrong}")
            dialogue.observe(move, step, Observation(f"Error (schema): {move.wrong}", "schema"))
        elif not final_only:
            final_only = await _act(run, dialogue, tools, move, step, seen, approve)
        if final_only and step == steps:
            break
    failed = Result(failure=f"no answer within {steps} steps: {move.wrong or 'a tool was called instead'}", unread=1)
    return _told(failed, thoughts, dialogue, wrong)


async def _moved(run: Run, dialogue: Dialogue, step: int, final_only: bool) -> Move:
    """The next step; where a whole step no longer fits into the context, the final answer alone."""
    try:
        move = await dialogue.move(run, step, final_only)
    except BudgetTooSmall:
        if final_only:
            raise
        move = await dialogue.move(run, step, True)
    if move.tool or move.wrong:
        return move
    try:
        return replace(move, final=value_of(run.task.output, move.final))
    except (ConstraintError, ValueError) as error:  # or a validator of the type's own
        return replace(move, wrong=f"the final answer does not fit: {error}")


async def _act(
    run: Run, dialogue: Dialogue, tools: Mapping[str, FunctionTool], move: Move, step: int,
    seen: dict[str, list[int]], approve: Approve | None,
) -> bool:  # fmt: skip
    """Call the tool and observe; whether from now on only the answer is allowed."""
    call = f"{move.tool} {_canonical(move.arguments)}"
    before = seen.setdefault(call, [])
    before.append(step)
    label = f"observation {step}: {move.tool}"
    if len(before) > 2:
        observed = Observation("Error (loop): the same call for the third time; give the final answer.", "loop")
        run.note(label, observed.text)
    else:
        observed = await run.use(tools, move.tool, move.arguments, label, approve)
        if len(before) == 2:
            observed = replace(observed, text=REPEATED.format(step=before[0]) + observed.text)
    dialogue.observe(move, step, observed)
    return len(before) > 2


def _ended(move: Move) -> Result | None:
    """The result of a final answer; None for a step that is none."""
    return None if move.tool or move.wrong else Result(move.final, said(move.final))


def _told(result: Result, thoughts: Sequence[str], dialogue: Dialogue, wrong: int) -> Result:
    bad = wrong + getattr(dialogue, "bad", 0)
    notes = (f"{bad} steps could not be read and were asked for again",) if bad else ()
    return replace(result, reasoning="\n".join(thoughts), notes=notes)


def _canonical(arguments: Any) -> str:
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return str(arguments)
    try:
        return json.dumps(plain(arguments), sort_keys=True, ensure_ascii=False)
    except (TypeError, ConstraintError):
        return repr(arguments)
