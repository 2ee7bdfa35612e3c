"""Decisions of a model that gives no scores of all tokens: read off the likeliest ones, counted, or asked natively.

An API reports at most the twenty likeliest tokens, so options are asked for by letters (or yes and no), which are
single tokens for every vocabulary; what is not among the twenty has a bound instead of a value. Counted answers have
Wilson's intervals (1927).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from palmette.core.decision import Decision, Decisions, Question, State
from palmette.core.errors import BadAnswer, BadParameter, Unsupported
from palmette.core.events import fold
from palmette.core.message import Output, Request, Response, TokenScore, Usage
from palmette.core.model import Model
from palmette.core.waiting import Way, finished
from palmette.models.decide.wording import TALK, Wording
from palmette.models.remote.model import RemoteModel
from palmette.models.remote.wires.decisions import DECIDERS

__all__ = ["by_logprobs", "by_native", "by_samples", "wilson"]

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
AT_ONCE = 8  # calls of an API at the same time
Z95 = 1.959963984540054
SEEN = 0.5  # the least mass of the options among the reported tokens for which shares of it mean something


async def by_native(model: RemoteModel, state: State, questions: Sequence[Question], way: Way, wire: str) -> Decisions:
    """What a decision endpoint says, as many questions at once as it takes.

    Raises:
        ProviderError: of the type that says what happened.
    """
    codec = DECIDERS[wire]
    body = codec.encode(model.name, state, questions)
    path = codec.path
    if wire == "systemone" and model.client.base.endswith("/v1"):
        path = path.removeprefix("/v1")
    said, _ = await model.client.post(path, body, way, cast(Any, codec))
    return codec.decode(said, questions)


async def by_logprobs(
    model: Model, state: State, questions: Sequence[Question], way: Way, wording: Wording | None
) -> Decisions:
    """From the likeliest tokens of one answer to each question.

    Raises:
        Unsupported: if the model reports none, or the answer is not one of the options.
    """

    async def one(question: Question) -> tuple[Decision, Usage | None]:
        labels = marks(question)
        most = min(20, model.capabilities.top_logprobs or 0)
        if most < 2:
            raise Unsupported(f"{model.id} reports no likeliest tokens; how='samples' counts answers instead")
        turns = (wording or TALK).turns(state, question, labels if labels != question.labels else ())
        response = await _answer(model, Request(turns, max_tokens=1, temperature=1.0, top_logprobs=most), way)
        return _read(model, question, labels, response), response.usage

    return await _each(model, one, questions, way)


def _read(model: Model, question: Question, labels: Sequence[str], response: Response) -> Decision:
    """Shares of the reported mass."""
    first = next((score for score in response.logprobs if score.text.strip()), None)
    if first is None:
        raise Unsupported(f"{model.id} gave no log-probabilities; how='samples' counts answers instead")
    mass, floor = _masses(first, labels)
    total = sum(mass)
    if total < SEEN:
        seen = ", ".join(repr(text) for text, _ in first.top[:5])
        raise Unsupported(
            f"{model.id} does not answer {question.name!r} by one of {', '.join(labels)}: they have {total:.1%} of its "
            f"probability, and it would say {seen}; how='samples' asks for whole answers"
        )
    shares = tuple(one / total for one in mass)
    hidden = [i for i, one in enumerate(mass) if one == 0]
    notes = (f"{1 - total:.1%} of the probability lay on other tokens and was left out",) if total < 0.99 else ()
    if not hidden:
        return Decision(question, shares, "logprobs", notes=notes)
    bound = floor / (total + floor)
    intervals = tuple((0.0, bound) if i in hidden else (p * (1 - bound * len(hidden)), p) for i, p in enumerate(shares))
    said = ", ".join(question.labels[i] for i in hidden)
    note = f"not among the likeliest tokens, so at most {bound:.2g} each: {said}"
    return Decision(question, shares, "logprobs", intervals, notes=(*notes, note))


def _masses(first: TokenScore, labels: Sequence[str]) -> tuple[list[float], float]:
    """The probability of each label among the likeliest tokens, and that of the least likely of them."""
    top = first.top or ((first.text, first.logprob),)
    mass = [0.0] * len(labels)
    places = {label.casefold(): i for i, label in enumerate(labels)}
    for text, logprob in top:
        place = places.get(text.strip().casefold())
        if place is not None:
            mass[place] += math.exp(logprob)
    return mass, math.exp(min(logprob for _, logprob in top))


async def by_samples(
    model: Model, state: State, questions: Sequence[Question], way: Way, wording: Wording | None, count: int,
    seed: int | None,
) -> Decisions:  # fmt: skip
    """Counted among some answers to each question, with intervals.

    Raises:
        BadAnswer: if no answer is one of the options.
    """

    async def one(question: Question) -> tuple[Decision, Usage | None]:
        form = Output("choices", question.labels) if model.capabilities.choices else None
        longest = 16 + max(len(label.encode()) for label in question.labels)
        asked = Request(
            (wording or TALK).turns(state, question), max_tokens=longest, temperature=1.0, output=form,
            n=count if count > 1 else None, seed=seed,
        )  # fmt: skip
        response = await _answer(model, asked, way)
        return _counted(model, question, response, count), response.usage

    return await _each(model, one, questions, way)


def _counted(model: Model, question: Question, response: Response, count: int) -> Decision:
    """Shares of the answers that are options."""
    counts = [0] * len(question.labels)
    for one in (response, *response.alternatives):
        place = _said(one.text, question.labels)
        if place is not None:
            counts[place] += 1
    total = sum(counts)
    if not total:
        raise BadAnswer(f"{model.id} answered {question.name!r} {count} times, and never by one of the options; "
                        f"it said {response.text[:80]!r}")  # fmt: skip
    notes = [f"counted among {total} answers"]
    if total < count:
        notes.append(f"{count - total} answers were none of the options and are left out")
    notes += [note for note in response.notes if note.startswith("temperature")]
    shares = tuple(n / total for n in counts)
    return Decision(question, shares, "samples", tuple(wilson(n, total) for n in counts), notes=tuple(notes))


async def _each(
    model: Model, one: Callable[[Question], Coroutine[Any, Any, tuple[Decision, Usage | None]]],
    questions: Sequence[Question], way: Way,
) -> Decisions:  # fmt: skip
    """Every question asked: of an API several at once, of any other model one after another."""
    if not isinstance(model, RemoteModel) or len(questions) == 1:
        found = [await one(question) for question in questions]
    elif way.blocking:
        with ThreadPoolExecutor(min(AT_ONCE, len(questions))) as pool:
            found = list(pool.map(lambda question: finished(one(question)), questions))
    else:
        room = asyncio.Semaphore(AT_ONCE)

        async def held(question: Question) -> tuple[Decision, Usage | None]:
            async with room:
                return await one(question)

        tasks = [asyncio.ensure_future(held(question)) for question in questions]
        try:
            found = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
    used = Usage()
    for _, usage in found:
        used = _sum(used, usage)
    return Decisions(tuple(decision for decision, _ in found), model.id, used)


def marks(question: Question) -> tuple[str, ...]:
    """What stands for the options as a single token each: yes and no, digits, or letters.

    Raises:
        Unsupported: for more options than letters.
    """
    if question.kind == "predicate" or all(len(label) == 1 for label in question.labels):
        folded = {label.casefold() for label in question.labels}
        if len(folded) == len(question.labels):
            return question.labels
    if len(question.labels) > len(LETTERS):
        raise Unsupported(
            f"{question.name!r} has {len(question.labels)} options, more than single letters stand for; "
            "how='samples' counts answers instead"
        )
    return tuple(LETTERS[: len(question.labels)])


def wilson(hits: int, total: int, z: float = Z95) -> tuple[float, float]:
    """The 95 % interval of a share that was counted.

    >>> [round(x, 3) for x in wilson(10, 10)]
    [0.722, 1.0]
    """
    if total < 1:
        raise BadParameter(f"an interval needs at least one answer, not {total!r}")
    p, n = hits / total, total
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def _said(text: str, labels: Sequence[str]) -> int | None:
    """The option that an answer is, or alone stands in."""
    plain = text.strip().strip(".!\"'*` ").casefold()
    for i, label in enumerate(labels):
        if plain == label.casefold():
            return i
    return None


async def _answer(model: Model, request: Request, way: Way) -> Response:
    events = model.produce(request, way, whole=True)
    return fold([event async for event in events])


def _sum(one: Usage, other: Usage | None) -> Usage:
    if other is None:
        return one
    return Usage(
        one.input + other.input, one.output + other.output, one.cached + other.cached,
        one.cache_write + other.cache_write, one.reasoning + other.reasoning,
    )  # fmt: skip
