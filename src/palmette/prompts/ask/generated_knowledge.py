"""Generated knowledge (Liu et al. 2021, arXiv 2110.08387): each sampled statement answers, the surest wins."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args, get_origin

from palmette.core.errors import BadParameter, Unsupported
from palmette.core.message import Message
from palmette.core.model import Model
from palmette.prompts.ask.zero_shot import shape_of
from palmette.prompts.reading import framed
from palmette.prompts.run import Result, Run, Solver
from palmette.prompts.task import Task

__all__ = ["generated_knowledge"]

ASKED = "Generate some knowledge about the input."


def generated_knowledge(model: Model, task: Task, m: int = 20, **options: Any) -> Solver:
    """Sample m statements about the question, answer with each of them alone, and take the most confident prediction.

    Section 2.2 of the paper: argmax over answers of max over q_0 … q_m of p(answer | q_i), where q_0 is the question as
    it is and q_i the question after statement i. Options of a Literal are scored; other answers are generated and
    weighed by their own probability.

    Args:
        model: who is asked; it must give log-probabilities.
        task: what is asked; `statement` of its examples show what knowledge looks like.
        m: how many statements (20 in the paper, sampled with nucleus p = 0.5, each of at most 64 tokens).
        options: fields of the request.
    """
    if m < 1:
        raise BadParameter(f"m must be at least 1, not {m!r}")
    if model.capabilities.top_logprobs is None:
        raise Unsupported(f"{model.id} gives no log-probabilities, by which generated_knowledge chooses its answer")

    async def solve(run: Run, inputs: dict[str, Any]) -> Result:
        task, question = run.task, run.task.said(inputs)
        shown = [f"Input: {task.said(e.inputs)}\nKnowledge: {e.statement}" for e in task.examples if e.statement]
        prompt = "\n\n".join([ASKED, *shown, f"Input: {question}\nKnowledge:"])
        drawn = {"prefer": {"temperature": 1.0, "top_p": 0.5, "max_tokens": 64}, "stop": ("\n",)}
        asks = [([Message.of("user", prompt)], {**drawn, "seed": run.seed + i}) for i in range(m)]
        said = [reply.text.strip() for reply in await run.ask_all(asks, "statement")]
        statements = list(dict.fromkeys(s for s in said if s))  # the paper discards repeated statements
        best: Result | None = None
        unread = 0
        for statement in ["", *statements]:
            ahead = {"inputs": inputs, "statement": statement}
            found = await _scored(run, ahead) if _listed(task.output) else await _generated(run, ahead)
            unread += found.unread
            if found.answered and (best is None or (found.confidence or 0) > (best.confidence or 0)):
                best = found
        if best is None:
            return Result(failure="no answer could be read with any statement", unread=unread)
        return Result(best.value, best.text, reasoning=best.reasoning, confidence=best.confidence, unread=unread)

    return Solver("generated_knowledge", model, task, solve, {"m": m}, options)


def _listed(kind: Any) -> bool:
    return get_origin(kind) is Literal


def _prompt(run: Run, ahead: dict[str, Any]) -> tuple[Message, ...]:
    *before, last = run.task.conversation(ahead["inputs"])
    known = f"{ahead['statement']} " if ahead["statement"] else ""
    return (*before, Message.of("user", known + last.text))


async def _scored(run: Run, ahead: dict[str, Any]) -> Result:
    options = get_args(run.task.output)
    texts = [framed(run.task.answer, option) for option in options]
    logs = await run.score(_prompt(run, ahead), texts, "option")
    top = max(logs)
    shares = [math.exp(log - top) for log in logs]
    best = max(range(len(options)), key=lambda i: shares[i])
    return Result(options[best], texts[best], reasoning=ahead["statement"], confidence=shares[best] / sum(shares))


async def _generated(run: Run, ahead: dict[str, Any]) -> Result:
    reply = await run.ask(_prompt(run, ahead), "answer", top_logprobs=0, **shape_of(run))
    sure = math.exp(sum(token.logprob for token in reply.logprobs)) if reply.logprobs else 0.0
    return run.read(reply.text, reasoning=ahead["statement"], confidence=sure)
