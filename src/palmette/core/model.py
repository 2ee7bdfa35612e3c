"""A model: anything that answers a request. It implements `produce` alone; all ways to ask it come from this class.

Local weights, an API, a cache around either, a router over many: all are a `Model`, so whatever takes one takes all. A
wrapper is a model that asks another in its own `produce`, and so works streamed or not, blocking or in an event loop.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, fields, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import ConstraintError, Unsupported, UsageError, near_miss
from palmette.core.events import Collector, Event
from palmette.core.message import Message, Output, Request, Response, Usage
from palmette.core.types import schema_of, value_of
from palmette.core.waiting import BLOCKING, LOOP, Way, finished, steps

__all__ = ["Answer", "Asked", "Capabilities", "Embeddings", "Model", "OPTIONS", "asked", "completed", "request_of"]

OPTIONS = tuple(field.name for field in fields(Request) if field.name not in ("messages", "model"))
Prompt = str | Sequence[Message] | Request


@dataclass(frozen=True)
class Capabilities:
    """What can be asked of a model.

    Args:
        json_schema, regex, grammar, choices: forms of an answer that it is held to.
        top_logprobs: how many likeliest tokens it reports at each place; None if not even the chosen one.
        full_logits: whether every token's score is known, as on this machine.
    """

    tools: bool = False
    images: bool = False
    audio: bool = False
    documents: bool = False
    reasoning: bool = False
    json_schema: bool = False
    regex: bool = False
    grammar: bool = False
    choices: bool = False
    top_logprobs: int | None = None
    prompt_logprobs: bool = False
    full_logits: bool = False
    seed: bool = False
    n: bool = False
    embeddings: bool = False
    decisions: bool = False
    count_tokens: bool = False

    def need(self, feature: str, who: str, others: str = "") -> None:
        """Refuse what a model lacks.

        Raises:
            Unsupported: naming the feature and what has it.

        >>> Capabilities(tools=True).need("tools", "m")
        """
        if getattr(self, feature) in (False, None):
            raise Unsupported(f"{who} has no {feature.replace('_', ' ')}" + (f"; {others}" if others else ""))


@dataclass(frozen=True)
class Answer:
    """What a model answered; `value` is of the type that was asked for, if one was."""

    response: Response
    value: Any = None

    def __str__(self) -> str:
        return self.response.text

    @property
    def text(self) -> str:
        """The text."""
        return self.response.text


@dataclass(frozen=True)
class Embeddings:
    """Vectors of texts, float32[texts, width]."""

    vectors: NDArray[np.float32]
    usage: Usage | None = None
    model: str = ""


@dataclass(frozen=True)
class Asked:
    """A request, and the type of the answer's value if one was asked for."""

    request: Request
    kind: Any = None

    def answer(self, response: Response) -> Answer:
        """The response with its value.

        Raises:
            ConstraintError: if the answer is no document of the type.
        """
        if self.kind is None:
            return Answer(response)
        try:
            value = json.loads(response.text)
            return Answer(
                response, value if isinstance(self.kind, (Mapping, bool, str)) else value_of(self.kind, value)
            )
        except ValueError as error:
            raise ConstraintError(f"{response.text[:200]!r} is not what was asked for: {error}") from error


class Model:
    """Something that answers. Subclasses set `id` and implement `produce`; the rest is the same for all."""

    id: str

    @property
    def capabilities(self) -> Capabilities:
        """What can be asked of it."""
        return Capabilities()

    def produce(self, request: Request, way: Way, *, whole: bool = False) -> AsyncIterator[Event]:
        """Answer, step by step: the one thing that a model does.

        Args:
            request: the question.
            way: how to wait.
            whole: whether the answer may come all at once, since nobody looks at its steps.
        """
        raise NotImplementedError

    async def vectorise(self, texts: Sequence[str], way: Way) -> Embeddings:
        """Vectors of texts.

        Raises:
            Unsupported: by a model that has none.
        """
        raise Unsupported(f"{self.id} gives no embeddings")

    async def measure(self, request: Request, way: Way) -> int:
        """How many tokens a request has.

        Raises:
            Unsupported: by a model that cannot count without answering.
        """
        raise Unsupported(f"{self.id} does not count tokens; the usage of an answer says how many there were")

    # -- one question, one answer --------------------------------------------------------------------------------------

    def respond(self, request: Prompt, **options: Any) -> Response:
        """The whole answer.

        Raises:
            ProviderError: of the type that says what happened.
        """
        return finished(self._respond(request_of(request, **options), BLOCKING))

    async def arespond(self, request: Prompt, **options: Any) -> Response:
        """`respond` in an event loop."""
        return await self._respond(request_of(request, **options), LOOP)

    def events(self, request: Prompt, **options: Any) -> Iterator[Event]:
        """The answer as it comes, for `palmette.core.events.fold`; leaving the iterator stops the model."""
        return steps(self.produce(request_of(request, **options), BLOCKING))

    def aevents(self, request: Prompt, **options: Any) -> AsyncIterator[Event]:
        """`events` in an event loop."""
        return self.produce(request_of(request, **options), LOOP)

    def __call__(self, prompt: Any, **options: Any) -> Any:
        """Ask, and wait for the whole answer.

        Args:
            prompt: text, messages, or a whole request.
            options: fields of a Request, such as max_tokens, temperature, tools; `output` may also be a type.

        Raises:
            ProviderError: of the type that says what happened.
            ConstraintError: if no answer is of the type that was asked for.
        """
        question = asked(prompt, **options)
        return question.answer(finished(self._respond(question.request, BLOCKING)))

    async def acall(self, prompt: Prompt, **options: Any) -> Answer:
        """Ask in an event loop."""
        question = asked(prompt, **options)
        return question.answer(await self._respond(question.request, LOOP))

    def stream(self, prompt: Any, **options: Any) -> Iterator[str]:
        """Pieces of the answer's text as they come."""
        return (event.text for event in self.events(prompt, **options) if event.text and not event.index)

    async def astream(self, prompt: Prompt, **options: Any) -> AsyncIterator[str]:
        """`stream` in an event loop."""
        async with aclosing(cast("AsyncGenerator[Event]", self.aevents(prompt, **options))) as events:
            async for event in events:
                if event.text and not event.index:
                    yield event.text

    def embed(self, texts: str | Sequence[str]) -> Embeddings:
        """Vectors of texts, float32[texts, width]."""
        return finished(self.vectorise([texts] if isinstance(texts, str) else list(texts), BLOCKING))

    async def aembed(self, texts: str | Sequence[str]) -> Embeddings:
        """`embed` in an event loop."""
        return await self.vectorise([texts] if isinstance(texts, str) else list(texts), LOOP)

    def count_tokens(self, prompt: Prompt, **options: Any) -> int:
        """How many tokens a question has."""
        return finished(self.measure(request_of(prompt, **options), BLOCKING))

    async def acount_tokens(self, prompt: Prompt, **options: Any) -> int:
        """`count_tokens` in an event loop."""
        return await self.measure(request_of(prompt, **options), LOOP)

    async def _respond(self, request: Request, way: Way) -> Response:
        collector = Collector()
        async for event in self.produce(request, way, whole=True):
            collector.add(event)
        return collector.response


def request_of(prompt: Prompt, **options: Any) -> Request:
    """A question as a Request.

    Raises:
        UsageError: for an option that a request does not have.

    >>> request_of("Hello", max_tokens=5).messages[0].text
    'Hello'
    """
    return asked(prompt, **options).request


def completed(request: Request, options: Mapping[str, Any], system: str = "") -> Request:
    """A request with defaults for what it does not say, and a system message if it has none.

    >>> completed(request_of("Hello", seed=1), {"seed": 2, "top_k": 3}, "Be brief.").top_k
    3
    """
    missing = {key: value for key, value in options.items() if getattr(request, key) in (None, (), {})}
    request = asked(request, **missing).request if missing else request
    if system and not any(message.role == "system" for message in request.messages):
        return replace(request, messages=(Message.of("system", system), *request.messages))
    return request


def asked(prompt: Prompt, **options: Any) -> Asked:
    """A question, and the type of its answer.

    >>> asked("How many?", output=int).request.output.value
    {'type': 'integer'}
    """
    unknown = next((key for key in options if key not in OPTIONS), None)
    if unknown is not None:
        raise UsageError(f"no option {unknown!r}.{near_miss(unknown, OPTIONS)} Known: {', '.join(OPTIONS)}")
    kind = options.get("output")
    if kind is not None and not isinstance(kind, Output):
        options["output"] = Output("json", schema_of(kind))
    elif isinstance(kind, Output):
        kind = kind.value if kind.kind == "json" else None
    for name in ("stop", "tools"):
        if name in options:
            value = options[name]
            options[name] = (value,) if isinstance(value, str) else tuple(value or ())
    if isinstance(prompt, Request):
        return Asked(replace(prompt, **options) if options else prompt, kind)
    turns = (Message.of("user", prompt),) if isinstance(prompt, str) else tuple(prompt)
    return Asked(Request(turns, **options), kind)
