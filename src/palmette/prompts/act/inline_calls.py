"""Calls in the middle of a text (Toolformer, Schick et al. 2023, arXiv 2302.04761): the model writes `[15*72=`, the
runtime writes the result and `]`, and the model goes on. For models trained on such texts, as `zoo:seedling` is.
"""

from __future__ import annotations

from typing import Any

from palmette.core.errors import BadParameter, Unsupported
from palmette.core.message import Output
from palmette.core.model import Model
from palmette.prompts.reading import escaped
from palmette.prompts.reason.chain_of_thought import concluded
from palmette.prompts.run import Result, Run, Solver
from palmette.prompts.task import Task
from palmette.prompts.tools.calculator import calculator
from palmette.prompts.tools.tool import FunctionTool, toolset

__all__ = ["inline_calls"]


def inline_calls(
    model: Model, task: Task, *, tool: FunctionTool = calculator, opening: str = "[", closing: str = "=",
    ending: str = "]", most: int = 8, **options: Any,
) -> Solver:  # fmt: skip
    """Interrupt the text at each call, put the tool's result there, and let the model continue.

    Args:
        model: who writes; it must be one that can be held to a regular expression, by which its text is continued.
        task: what is asked; the answer is read as the task's conclusion.
        tool: what is called, with one argument.
        opening: what a call begins with.
        closing: where the model's part of it ends.
        ending: what follows the result.
        most: the most calls; one more is a failure.
        options: fields of every request.
    """
    if not (opening and closing and ending):
        raise BadParameter("opening, closing and ending must not be empty")
    able = model.capabilities
    if not (able.regex and able.full_logits):
        raise Unsupported(f"{model.id} cannot be made to continue its own text; use react")
    (name,) = tool.spec.parameters["properties"]
    free, inner = f"[^{escaped(opening[0])}\n]", f"[^{escaped(closing[0])}\n]"
    going = f"{free}{{0,400}}(?:{escaped(opening)}{inner}{{1,100}}{escaped(closing)})?"

    async def solve(run: Run, inputs: dict[str, Any]) -> Result:
        task = run.task
        shown = [(each, each.rationale) for each in task.examples if each.rationale]
        prompt, text = task.conversation(inputs, shown, system=task.instruction), ""
        for step in range(1, most + 2):
            reply = await run.ask(prompt, f"text {step}", output=Output("regex", escaped(text) + going))
            text = reply.text.strip()
            if not text.endswith(closing):
                return concluded(run, reply)
            argument = text[text.rfind(opening) + len(opening) : -len(closing)]
            observed = await run.use(toolset([tool]), tool.name, {name: argument}, f"result {step}")
            text += observed.text.replace("\n", " ") + ending
        return Result(text=text, failure=f"more than {most} calls", unread=1)

    return Solver("inline_calls", model, task, solve, {"tool": tool.name}, options)
