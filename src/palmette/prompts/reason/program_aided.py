"""Program-aided reasoning (Gao et al. 2022, arXiv 2211.10435; Chen et al. 2022, arXiv 2211.12588): the model writes a
program, an interpreter finds the answer. It never runs in this process: our own interpreter of arithmetic has limits of
steps and sizes, and Python proper runs in a limited process of its own.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from palmette.core.errors import BadParameter, ConstraintError
from palmette.core.message import Message
from palmette.core.model import Model
from palmette.core.types import value_of
from palmette.core.waiting import Way
from palmette.prompts.reading import plain
from palmette.prompts.reason.self_consistency import voted
from palmette.prompts.run import Result, Run, Solver
from palmette.prompts.task import Task
from palmette.prompts.tools.interpreter import CodeError, run_program
from palmette.prompts.tools.sandbox import run_python

__all__ = ["program_aided"]

WRITE = (
    "Write a short Python program that works out the answer and assigns it to the variable `answer`. Import nothing. "
    "Reply with the program alone, in one ```python block."
)
_FENCE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:\n```|\Z)", re.DOTALL)


def program_aided(
    model: Model, task: Task, k: int = 1, *, interpreter: Literal["arithmetic", "python"] = "arithmetic",
    retries: int = 0, seconds: float = 5.0, **options: Any,
) -> Solver:  # fmt: skip
    """Ask for a program and run it; its `answer` is the answer.

    Args:
        model: who is asked.
        task: what is asked; `program` of its examples show what programs look like.
        k: how many programs vote (1 in the paper's main results, 40 with majority voting).
        interpreter: "arithmetic" is our own, of numbers, text, lists, loops and conditions; "python" is a limited
            process of Python, which is a fence and no wall.
        retries: how often a program that fails is sent back with its error.
        seconds: the most a program may take.
        options: fields of the request.

    >>> import palmette
    >>> model = palmette.scripted("```python\\na = 3\\nanswer = a * 4\\n```")
    >>> program_aided(model, Task(output=int))("3 times 4?").value
    12
    """
    if k < 1 or retries < 0:
        raise BadParameter(f"k must be at least 1 and retries at least 0, not {k!r} and {retries!r}")
    if interpreter not in ("arithmetic", "python"):
        raise BadParameter(f"interpreter must be 'arithmetic' or 'python', not {interpreter!r}")

    async def solve(run: Run, inputs: dict[str, Any]) -> Result:
        task = run.task
        shown = [(e, f"```python\n{e.program.strip()}\n```") for e in task.examples if e.program]
        head = " ".join(part for part in (task.instruction, WRITE) if part)
        prompt = task.conversation(inputs, shown, system=head)
        drawn = {"prefer": {"temperature": 0.7}} if k > 1 else {}
        asks = [(prompt, {**drawn, **({"seed": run.seed + i} if k > 1 else {})}) for i in range(k)]
        results = []
        for reply in await run.ask_all(asks, "program"):
            result, turns = await _ran(run, reply.text, interpreter, seconds), list(prompt)
            for attempt in range(retries):
                if result.answered:
                    break
                turns += [
                    reply.message,
                    Message.of("user", f"It fails: {result.failure}\nWrite the whole program anew."),
                ]
                reply = await run.ask(turns, f"program, attempt {attempt + 2}")
                result = await _ran(run, reply.text, interpreter, seconds)
            results.append(result)
        return results[0] if k == 1 else voted(results, [1.0] * k)

    return Solver("program_aided", model, task, solve, {"k": k, "interpreter": interpreter}, options)


async def _ran(run: Run, text: str, interpreter: str, seconds: float) -> Result:
    fenced = _FENCE.findall(text)
    code = fenced[0] if fenced else text
    try:
        found = await _executed(code, interpreter, seconds, run.way)
        run.note("execution", f"answer = {found!r}")
        kind = run.task.output
        value = value_of(kind, int(found) if kind is int and isinstance(found, float) and found.is_integer()
                         else str(found) if kind is str else plain(found))  # fmt: skip
        return Result(value, text, reasoning=code)
    except (CodeError, ConstraintError) as error:
        run.note("execution", f"failed: {error}")
        return Result(text=text, failure=str(error), reasoning=code, unread=1)


async def _executed(code: str, interpreter: str, seconds: float, way: Way) -> Any:
    if interpreter == "python":
        return await way.call(run_python, code, seconds)
    return await way.call(run_program, code, seconds)
