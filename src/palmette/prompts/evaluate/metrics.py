"""What makes an answer good: each metric gives a score of an item, or None where it has nothing to say.

An answer that could not be read scores 0; it is counted besides, in the report's column `unread`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from palmette.core.errors import BadParameter, ConstraintError, Unsupported
from palmette.core.message import Message, Output
from palmette.core.model import Model
from palmette.core.signature import build
from palmette.core.types import value_of
from palmette.prompts.evaluate.data import Item
from palmette.prompts.reading import framed, plain, said
from palmette.prompts.run import Result, Run
from palmette.prompts.task import Task

__all__ = ["METRICS", "Metric", "Scoring", "contains", "exact", "judge", "metric", "numeric", "perplexity", "regex",
           "schema"]  # fmt: skip

JUDGE = (
    "Two answers to a question are shown. Say whether they mean the same. Reply with one word alone: same or different."
)


@dataclass(frozen=True)
class Scoring:
    """What a metric sees."""

    task: Task
    item: Item
    result: Result
    run: Callable[[Model | None], Run]  # to ask further questions, whose calls are in the log too


@dataclass(frozen=True)
class Metric:
    """A score of an answer.

    Args:
        name: as the report shows it.
        score: between 0 and 1 unless `lower`.
        lower: whether less is better, as of perplexity.
    """

    name: str
    score: Callable[[Scoring], Awaitable[float | None]]
    lower: bool = False


def exact() -> Metric:
    """Whether the answer is the right one; text is compared without case, spaces around and a full stop.

    >>> exact().name
    'exact'
    """
    return _told("exact", lambda s: _normal(s.result.value) == _normal(s.item.expected))


def numeric(tolerance: float = 0.0, relative: float = 1e-9) -> Metric:
    """Whether the number is near enough.

    Args:
        tolerance: the most by which it may differ.
        relative: the same, as a share of the right one.
    """

    def near(s: Scoring) -> bool:
        try:
            got, want = float(s.result.value), float(s.item.expected)
        except (TypeError, ValueError):
            return False
        return abs(got - want) <= max(tolerance, relative * abs(want))

    return _told("numeric", near)


def regex(pattern: str = "") -> Metric:
    """Whether a regular expression matches the whole reply; without one, the right answer is the expression.

    Args:
        pattern: what must match.
    """

    def matches(s: Scoring) -> bool:
        wanted = pattern or str(s.item.expected)
        try:
            return re.fullmatch(wanted, s.result.text.strip(), re.DOTALL) is not None
        except re.error as error:
            raise BadParameter(f"item {s.item.id}: {wanted!r} is no regular expression: {error}") from error

    return _told("regex", matches)


def contains() -> Metric:
    """Whether the reply holds the right answer, without regard to case."""
    return _told("contains", lambda s: said(s.item.expected).casefold() in s.result.text.casefold())


def schema() -> Metric:
    """Whether the answer is of the task's type at all."""

    def fits(s: Scoring) -> bool:
        try:
            value_of(s.task.output, plain(s.result.value))
        except (ConstraintError, ValueError):
            return False
        return True

    return _told("schema", fits)


def judge(model: Model | None = None) -> Metric:
    """Whether a model finds that the answer means the same as the right one, asked in both orders.

    Args:
        model: who judges; the model that answered unless given. If the two orders disagree, the score is 0.5.
    """

    async def score(s: Scoring) -> float | None:
        if not s.result.answered:
            return 0.0
        run = s.run(model)
        both = (said(s.result.value), said(s.item.expected))
        asks: list[tuple[list[Message], dict[str, Any]]] = []
        for one, two in (both, both[::-1]):
            text = f"Question: {s.task.said(s.item.inputs)}\n\nFirst answer: {one}\n\nSecond answer: {two}"
            asks.append(([Message.of("system", JUDGE), Message.of("user", text)], {}))
        words = [reply.text.strip().strip(".*\"'").lower() for reply in await run.ask_all(asks, "judge")]
        if any(word not in ("same", "different") for word in words):
            return None
        return sum(word == "same" for word in words) / 2

    return Metric("judge", score)


def perplexity() -> Metric:
    """The perplexity of the right answer after the question, per token; on models that score given texts."""

    async def score(s: Scoring) -> float | None:
        run = s.run(None)
        able = run.model.capabilities
        if not (able.choices and able.full_logits):
            raise Unsupported(f"{run.model.id} does not score given texts; perplexity needs a model on this machine")
        held = Output("choices", [framed(s.task.answer, s.item.expected)])
        reply = await run.ask(s.task.conversation(s.item.inputs), "perplexity", output=held, top_logprobs=0)
        logs = [token.logprob for token in reply.logprobs]
        return math.exp(-sum(logs) / len(logs)) if logs else None

    return Metric("perplexity", score, lower=True)


METRICS: Mapping[str, Callable[..., Metric]] = {
    "exact": exact, "numeric": numeric, "regex": regex, "contains": contains, "schema": schema, "judge": judge,
    "perplexity": perplexity,
}  # fmt: skip


def metric(spec: str | Metric, open_model: Callable[[str], Model] | None = None) -> Metric:
    """A metric from `NAME[:ARG,…]`, as `numeric:0.01` or `judge:openai:gpt-5`.

    Raises:
        UnknownName: with the near miss.
    """
    if isinstance(spec, Metric):
        return spec
    made = build(METRICS, spec, "metric", {Model: open_model} if open_model else None)
    assert isinstance(made, Metric)
    return made


def _told(name: str, right: Callable[[Scoring], bool]) -> Metric:
    async def score(s: Scoring) -> float | None:
        return float(s.result.answered and right(s))

    return Metric(name, score)


def _normal(value: Any) -> Any:
    """Text as lm-evaluation-harness compares it; other values as JSON."""
    if isinstance(value, str):
        return " ".join(value.split()).removesuffix(".").casefold()
    if isinstance(value, (bool, int, float)) or value is None:
        return value
    return json.dumps(plain(value), sort_keys=True)
