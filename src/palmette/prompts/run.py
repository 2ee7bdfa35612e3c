"""One run of a technique on one input: it asks the model, and keeps what was asked and replied.

A technique is a coroutine over a `Run`, so the same code blocks or runs in an event loop, and what it returns is a
value with the whole transcript. Every call has a key (its request, and which draw of it this is), under which a log
finds it again: samples at a temperature are never one sample seen several times.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from palmette.core.errors import (
    BudgetSpent,
    BudgetTooSmall,
    ConstraintError,
    PalmetteError,
    PromptTooLong,
    Unanswered,
    Unsupported,
)
from palmette.core.events import Collector
from palmette.core.message import Message, Output, Reasoning, Request, Response, Text, ToolCall, ToolResult, Usage
from palmette.core.model import Model, request_of
from palmette.core.waiting import BLOCKING, LOOP, Way, finished
from palmette.prompts.codec import request_json
from palmette.prompts.reading import plain, read_value
from palmette.prompts.task import Task
from palmette.prompts.tools.tool import Approve, FunctionTool, Observation, use_tool

__all__ = ["Log", "Result", "Run", "Solve", "Solver", "Step", "thought_of"]

Ask = tuple[Sequence[Message], Mapping[str, Any]]


@dataclass(frozen=True)
class Step:
    """One thing that happened.

    Args:
        label: what it is in the technique: "rationale", "answer", "thought 1" …
        request, response: of a call.
        text: what a tool replied, or a note.
        seconds: how long it took.
    """

    label: str
    request: Request | None = None
    response: Response | None = None
    text: str = ""
    seconds: float = 0.0

    @property
    def prompt(self) -> str:
        """What was said to the model, by role."""
        turns = self.request.messages if self.request else ()
        return "\n".join(f"[{turn.role}] {_shown(turn)}" for turn in turns)

    @property
    def reply(self) -> str:
        """What came back."""
        return _shown(self.response.message) if self.response else self.text


@dataclass(frozen=True)
class Result:
    """What a technique came to.

    Args:
        value: the answer, of the task's type; None if there is none.
        text: the text from which it was read.
        failure: why there is no answer.
        reasoning: what was thought before it.
        confidence: between 0 and 1, where the technique gives one: the agreement of votes, or a probability.
        votes: answers and how often (or with which weight) they were given.
        unread: replies that could not be read.
        steps: all that happened, in order.
        notes: what the user should know: an oracle's feedback, a demonstration left out.
    """

    value: Any = None
    text: str = ""
    failure: str = ""
    reasoning: str = ""
    confidence: float | None = None
    votes: tuple[tuple[Any, float], ...] = ()
    unread: int = 0
    steps: tuple[Step, ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()

    @property
    def answered(self) -> bool:
        """Whether there is an answer."""
        return not self.failure

    @property
    def calls(self) -> int:
        """How often the model was asked."""
        return sum(step.response is not None for step in self.steps)

    @property
    def usage(self) -> Usage:
        """Tokens of all calls together."""
        given = [step.response.usage for step in self.steps if step.response and step.response.usage]
        names = ("input", "output", "cached", "cache_write", "reasoning")
        return given[0] if len(given) == 1 else Usage(*(sum(getattr(u, name) for u in given) for name in names))

    @property
    def transcript(self) -> str:
        """All that was said, as text."""
        parts = []
        for step in self.steps:
            said = f"{step.prompt}\n[reply] {step.reply}" if step.request else step.text
            parts.append(f"--- {step.label}\n{said}")
        return "\n".join(parts)

    def __str__(self) -> str:
        return f"no answer: {self.failure}" if self.failure else str(self.value)


class Log(Protocol):
    """Where calls are kept and found again."""

    def find(self, key: str) -> tuple[Response, float] | None:
        """A call made before: the answer, and how long it took."""
        ...

    def keep(self, key: str, response: Response, seconds: float) -> None:
        """Keep a call."""
        ...

    def fail(self, key: str, error: Exception) -> None:
        """Keep that a call failed."""
        ...


class Run:
    """A technique at work.

    Args:
        model: who is asked.
        task: what is asked.
        way: how to wait.
        options: what the user set for every call: temperature, max_tokens, seed …
        log: where calls are kept.
        budget: the most calls; None for no limit.
    """

    def __init__(
        self, model: Model, task: Task, way: Way = BLOCKING, options: Mapping[str, Any] | None = None,
        log: Log | None = None, budget: int | None = None,
    ) -> None:  # fmt: skip
        self.model, self.task, self.way = model, task, way
        self.options = dict(options or {})
        self.steps: list[Step | None] = []
        self._log = log
        self._budget = budget
        self._spent = 0
        self._drawn: dict[str, int] = {}

    @property
    def seed(self) -> int:
        """The seed of the first draw."""
        return int(self.options.get("seed") or 0)

    async def ask(self, messages: Sequence[Message], label: str, **must: Any) -> Response:
        """Ask once.

        Args:
            messages: the prompt.
            label: what the step is called.
            must: fields of the request that the technique needs; `prefer`, a mapping, holds those that the user's own
                settings override.

        Raises:
            BudgetSpent: if no call is left.
        """
        return (await self.ask_all([(messages, must)], label))[0]

    async def ask_all(self, asks: Sequence[Ask], label: str) -> list[Response]:
        """Ask several questions that do not depend on each other: at once in an event loop, else one after another."""
        requests = [self._request(messages, must) for messages, must in asks]
        if self._budget is not None and self._spent + len(requests) > self._budget:
            raise BudgetSpent(
                f"{label!r} needs {len(requests)} more calls, but {self._spent} of the {self._budget} allowed are made"
            )
        self._spent += len(requests)
        start = len(self.steps)
        self.steps += [None] * len(requests)
        labels = [label if len(requests) == 1 else f"{label} {i + 1}" for i in range(len(requests))]
        works = [self._made(r, self._key(r), start + i, labels[i]) for i, r in enumerate(requests)]
        if self.way.blocking or len(works) == 1:
            return [await work() for work in works]
        return await _gathered(works)

    async def score(self, messages: Sequence[Message], texts: Sequence[str], label: str) -> list[float]:
        """The log-probability of each text as the whole reply.

        Raises:
            Unsupported: by a model that gives no log-probabilities of a reply it is held to.
        """
        able = self.model.capabilities
        if not (able.choices and able.full_logits):
            raise Unsupported(f"{self.model.id} does not score given texts; this needs a model on this machine")
        asks = [(messages, {"output": Output("choices", [text]), "top_logprobs": 0}) for text in texts]
        replies = await self.ask_all(asks, label)
        return [sum(token.logprob for token in reply.logprobs) for reply in replies]

    def note(self, label: str, text: str, seconds: float = 0.0) -> None:
        """Keep something that is no call."""
        self.steps.append(Step(label, text=text, seconds=seconds))

    async def use(
        self, tools: Mapping[str, FunctionTool], name: str, arguments: Any, label: str, approve: Approve | None = None
    ) -> Observation:
        """Call a tool. A call that the log knows is not made again, so that a replay has no effects."""
        key = self._drawing(json.dumps(["tool", name, plain(arguments)], sort_keys=True, ensure_ascii=False))
        known = self._log.find(key) if self._log else None
        if known is not None:
            observed = Observation(known[0].text, known[0].id, known[1])
        else:
            observed = await use_tool(tools, name, arguments, self.way, approve)
            if self._log:
                self._log.keep(key, Response((Text(observed.text),), id=observed.failed), observed.seconds)
        self.note(label, observed.text, observed.seconds)
        return observed

    def read(self, text: str, concluding: bool = False, **found: Any) -> Result:
        """The result that a text gives, or the failure to read it; nothing is guessed."""
        try:
            return Result(self.task.read(text, concluding), text, **found)
        except ConstraintError as error:
            return Result(None, text, failure=str(error), unread=1, **found)

    def extract(self, text: str, **found: Any) -> Result:
        """The result of a reply to "the answer is": the value alone, or as the task says answers."""
        reason = ""
        ways: tuple[Callable[[], Any], ...] = (
            lambda: read_value(self.task.output, text),
            lambda: self.task.read(text, True),
            lambda: self.task.read(text),
        )
        for read in ways:
            try:
                return Result(read(), text, **found)
            except ConstraintError as error:
                reason = reason or str(error)
        return Result(None, text, failure=reason, unread=1, **found)

    def _request(self, messages: Sequence[Message], must: Mapping[str, Any]) -> Request:
        needed = {key: value for key, value in must.items() if key != "prefer"}
        merged = {"temperature": 0.0, **must.get("prefer", {}), **self.options, **needed}
        return request_of(tuple(messages), **merged)

    def _key(self, request: Request) -> str:
        return self._drawing(json.dumps([self.model.id, request_json(request)], sort_keys=True, ensure_ascii=False))

    def _drawing(self, text: str) -> str:
        draw = self._drawn.get(text, 0)
        self._drawn[text] = draw + 1
        return hashlib.sha256(f"{draw} {text}".encode()).hexdigest()

    def _made(self, request: Request, key: str, place: int, label: str) -> Callable[[], Awaitable[Response]]:
        async def work() -> Response:
            known = self._log.find(key) if self._log else None
            if known is None:
                begun = time.perf_counter()
                collector = Collector()
                try:
                    async for event in self.model.produce(request, self.way, whole=True):
                        collector.add(event)
                except PalmetteError as error:
                    if self._log:
                        self._log.fail(key, error)
                    raise
                known = (collector.response, time.perf_counter() - begun)
                if self._log:
                    self._log.keep(key, *known)
            self.steps[place] = Step(label, request, known[0], seconds=known[1])
            return known[0]

        return work

    def finish(self, result: Result) -> Result:
        """The result with all steps; a single reply's probability is the confidence where it is known."""
        return replace(result, steps=tuple(step for step in self.steps if step is not None))


Solve = Callable[[Run, dict[str, Any]], Awaitable[Result]]


@dataclass(frozen=True)
class Solver:
    """A technique bound to a model and a task: call it with the task's inputs.

    Args:
        technique: its name.
        settings: its parameters, as they are shown.
        options: fields of every request: temperature, max_tokens, seed …
        budget: the most calls for one input.
    """

    technique: str
    model: Model
    task: Task
    solve: Solve = field(repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    budget: int | None = None

    def __post_init__(self) -> None:
        request_of("", **{key: value for key, value in self.options.items() if key != "output"})

    def __call__(self, *values: Any, **inputs: Any) -> Result:
        """The answer for these inputs.

        Raises:
            Unanswered: if the reply cannot be read as the task's type; its `result` has the transcript.
        """
        return _answered(self.run(*values, **inputs))

    async def acall(self, *values: Any, **inputs: Any) -> Result:
        """Ask in an event loop."""
        return _answered(await self.work(_named(self.task, values, inputs), LOOP))

    def run(self, *values: Any, **inputs: Any) -> Result:
        """As a call, but a reply that cannot be read is a result with `failure`."""
        return finished(self.work(_named(self.task, values, inputs), BLOCKING))

    async def work(self, inputs: Mapping[str, Any], way: Way, log: Log | None = None) -> Result:
        """One run, told how to wait and where to keep its calls."""
        run = Run(self.model, self.task, way, self.options, log, self.budget)
        try:
            return run.finish(await self.solve(run, self.task.checked(inputs)))
        except (BudgetSpent, BudgetTooSmall, PromptTooLong) as error:
            return run.finish(Result(failure=str(error)))
        except ConstraintError as error:
            if type(error) is not ConstraintError:  # a schema or grammar that cannot be built is no answer's fault
                raise
            return run.finish(Result(failure=str(error), unread=1))


def _answered(result: Result) -> Result:
    if result.failure:
        raise Unanswered(f"no answer: {result.failure}", result)
    return result


def _named(task: Task, values: Sequence[Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {**dict(zip(task.inputs, values, strict=False)), **inputs}


async def _gathered(works: Sequence[Callable[[], Awaitable[Response]]]) -> list[Response]:
    """All at once; the first failure stops the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_as_coroutine(work)) for work in works]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def _as_coroutine(work: Callable[[], Awaitable[Response]]) -> Response:
    return await work()


def thought_of(response: Response) -> str:
    """What a reasoning model thought, apart from what it said."""
    return "".join(part.text for part in response.parts if isinstance(part, Reasoning))


def _shown(turn: Message) -> str:
    parts = []
    for part in turn.parts:
        if isinstance(part, Text):
            parts.append(part.text)
        elif isinstance(part, ToolCall):
            parts.append(f"→ {part.name}({part.arguments})")
        elif isinstance(part, ToolResult):
            parts.append(f"← {part.text}")
        else:
            parts.append(f"<{type(part).__name__.lower()}>")
    return "\n".join(parts)
