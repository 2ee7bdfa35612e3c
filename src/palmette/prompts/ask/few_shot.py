"""Few-shot (Brown et al. 2020, arXiv 2005.14165): k worked examples before the question, in the same format."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any, Literal, get_args, get_origin

from palmette.core.errors import BadParameter
from palmette.core.message import Message
from palmette.core.model import Model
from palmette.prompts.ask.zero_shot import answered
from palmette.prompts.demonstrations import Choose, Demonstrations, Order, Shown, chosen
from palmette.prompts.reading import framed, said
from palmette.prompts.run import Result, Run, Solver
from palmette.prompts.task import Task

__all__ = ["few_shot", "settings_of"]


def few_shot(
    model: Model,
    task: Task,
    k: int | None = None,
    choose: Choose = "fixed",
    order: Order = "chosen",
    *,
    choice_seed: int = 0,
    embedder: Model | None = None,
    room: int | None = None,
    calibrate: bool = False,
    **options: Any,
) -> Solver:
    """Show k of the task's examples, then ask.

    Args:
        model: who is asked.
        task: what is asked, with its examples.
        k: how many examples; all unless given.
        choose: which: fixed (the first), random, nearest, diverse or balanced.
        order: chosen, given, nearest_first, nearest_last or random.
        choice_seed: of random choices and orders.
        embedder: a model whose vectors say what is near; without one, words in common (BM25).
        room: the most tokens of the prompt; the least useful examples are dropped, never the question.
        calibrate: of a task whose answers are a Literal: divide out what the prompt alone makes likely (contextual
            calibration, Zhao et al. 2021, arXiv 2102.09690); on models that score given texts.
        options: fields of the request.

    >>> import palmette
    >>> task = Task(output=int, examples=[{"question": "1 + 1?", "output": 2}, {"question": "2 + 2?", "output": 4}])
    >>> few_shot(palmette.scripted("7"), task, 1)("3 + 4?").steps[0].prompt.count("[assistant]")
    1
    """
    how = Demonstrations(k, choose, order, choice_seed, embedder, room)
    if not task.examples and k != 0:
        raise BadParameter("few_shot needs examples: Task(…, examples=[{…, 'output': …}])")
    if calibrate and get_origin(task.output) is not Literal:
        raise BadParameter("calibrate needs a task whose output is a Literal of its answers")

    async def solve(run: Run, inputs: dict[str, Any]) -> Result:
        task = run.task

        def prompt(shown: Shown, asked: dict[str, Any] | None = None) -> tuple[Message, ...]:
            return task.conversation(inputs if asked is None else asked, shown)

        messages, notes = await chosen(run, inputs, how, task.direct, prompt)
        if calibrate:
            return await _calibrated(run, messages, task.said(inputs), notes)
        return await answered(run, messages, "answer", notes=notes)

    return Solver("few_shot", model, task, solve, settings_of(how), options)


def settings_of(how: Demonstrations) -> dict[str, Any]:
    """What is set, as it is shown."""
    return {
        name: value for name, value in asdict(how).items()
        if value != getattr(Demonstrations(), name) and name != "embedder"
    }  # fmt: skip


async def _calibrated(run: Run, messages: Any, asked: str, notes: tuple[str, ...]) -> Result:
    """argmax p(y | x) / p(y | content-free), the diagonal of Zhao et al.; content-free is their mean of three."""
    options = get_args(run.task.output)
    texts = [framed(run.task.answer, option) for option in options]
    free = [0.0] * len(texts)
    for empty in ("N/A", "", "[MASK]"):
        bare = (*messages[:-1], Message.of("user", messages[-1].text.replace(asked, empty)))
        logs = await run.score(bare, texts, f"content-free {empty or 'empty'!r}")
        free = [total + p / 3 for total, p in zip(free, _normal(logs), strict=True)]
    real = _normal(await run.score(messages, texts, "option"))
    weighed = [p / max(q, 1e-12) for p, q in zip(real, free, strict=True)]
    shares = [w / sum(weighed) for w in weighed]
    best = max(range(len(options)), key=lambda i: shares[i])
    votes = tuple(zip((said(option) for option in options), shares, strict=True))
    return Result(options[best], texts[best], confidence=shares[best], votes=votes, notes=notes)


def _normal(logs: list[float]) -> list[float]:
    top = max(logs)
    weights = [math.exp(each - top) for each in logs]
    return [weight / sum(weights) for weight in weights]
