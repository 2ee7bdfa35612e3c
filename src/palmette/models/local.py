"""A local model: an engine with a strategy and views fixed, called with a prompt."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from palmette.core.engine import Engine, Finish, Strategy, View
from palmette.core.errors import BadParameter, ConstraintError, UsageError
from palmette.core.events import Event
from palmette.core.message import Message, Output, Request, Usage
from palmette.core.model import Capabilities, Embeddings, Model
from palmette.core.signature import build
from palmette.core.types import schema_of, value_of
from palmette.core.waiting import Way
from palmette.models.answering import Reply, prompt_of
from palmette.models.resolve import DEFAULT_MODEL, Dtype, EngineName, open_engine
from palmette.models.template import template_of
from palmette.tokens.decode import Decoding, Plan, decode_together
from palmette.tokens.dialect import chain, check_strategy
from palmette.tokens.strategies import STRATEGIES
from palmette.tokens.strategies.sampling import nucleus, sample
from palmette.tokens.structure.as_views import constraint
from palmette.tokens.structure.partial import PartialJson, typed_partial
from palmette.tokens.structure.schema.values import spelled
from palmette.tokens.trace.values import Trace
from palmette.tokens.views import VIEWS

if TYPE_CHECKING:
    from palmette.weights.merge import Merge

__all__ = ["Completion", "LocalModel", "decode", "grow", "local_model", "opened", "vectors_of"]


@dataclass(frozen=True)
class Completion:
    """What a model answered: text, tokens, why it ended; `answers` are all texts, best first."""

    text: str
    tokens: tuple[int, ...]
    finish: Finish
    score: float
    logprob: float
    answers: tuple[str, ...] = ()
    trace: Trace | None = field(default=None, repr=False)
    output: Any = field(default=None, repr=False)

    @cached_property
    def value(self) -> Any:
        """The answer as a value of the model's `output`: a dataclass, a pydantic model, a list, a number …

        Raises:
            UsageError: if no output was asked for.
            ConstraintError: if the type refuses the document, as a validator of your own may.
        """
        if self.output is None:
            raise UsageError("this answer is text: give the model an output=, a type or a JSON schema, to read a value")
        try:
            return value_of(self.output, json.loads(self.text))
        except ValueError as error:
            raise ConstraintError(f"{self.text!r} is no {_name(self.output)}: {error}") from error

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class LocalModel(Model):
    """An engine with its choices: a strategy and views.

    Given text, it continues the text: a call returns the whole, `stream` the pieces. Given messages or a Request, it
    answers as any model does (see `palmette.core.model`), in its own chat format; a form that the answer must have, and
    a call of a tool that it must make, are held by masking tokens.
    """

    id: str
    engine: Engine = field(repr=False)
    strategy: Strategy | None = field(default=None, repr=False)
    views: tuple[View, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    output: Any = None

    def decode(
        self, prompt: str | Sequence[int], strategy: Strategy | None = None, views: Sequence[View] = (), **options: Any
    ) -> Decoding:
        """Start decoding with this model's choices, or others: see `palmette.decode`."""
        merged = {**self.options, **options}
        seed = int(merged.pop("seed", 0))
        output = merged.pop("output", self.output)
        shaped = () if output is None else (constraint(output),)
        chosen = strategy or self.strategy or nucleus()
        plan = Plan(chosen, (*shaped, *self.views, *views), seed=seed)
        return decode_together(self.engine, prompt, [plan], model=self.id, **merged)

    def __call__(self, prompt: Any, **options: Any) -> Any:
        """Complete a prompt (text or token ids: a Completion), or answer messages or a Request (an Answer)."""
        if _is_question(prompt):
            return super().__call__(prompt, **options)
        decoding = self.decode(prompt, **{"trace": False, **options}).run()
        best = decoding.answers[0]
        return Completion(
            decoding.text,
            best.tokens,
            best.finish,
            best.score,
            best.logprob,
            tuple(decoding.answer_texts()),
            decoding.trace if options.get("trace") else None,
            options.get("output", self.output),
        )

    @property
    def capabilities(self) -> Capabilities:
        """What can be asked of it."""
        template = template_of(self.engine)
        return Capabilities(
            tools=template is not None and template.knows_tools, reasoning=template is not None and template.thinks,
            json_schema=True, regex=True, grammar=True, choices=True, top_logprobs=self.engine.vocabulary,
            prompt_logprobs=True, full_logits=True, seed=True, n=True, embeddings=True, decisions=True,
            count_tokens=True,
        )  # fmt: skip

    async def produce(self, request: Request, way: Way, *, whole: bool = False) -> AsyncIterator[Event]:
        """See Model."""
        reply = iter(await way.call(self.reply, request))
        while (event := await way.call(next, reply, None)) is not None:
            yield event

    def reply(self, request: Request, engine: Engine | None = None) -> Reply:
        """The request being answered; nothing has run yet.

        Args:
            request: its `extra` may hold `strategy` and `views` (specs, as on the command line), `n_best` (how many of
                the strategy's answers to tell, with their scores) and `tree` (whether to tell the token tree): both are
                told in the answer's `raw`.
            engine: another way to the same engine.

        Raises:
            UsageError: for fields that no model on this machine knows.
        """
        if request.output is None and self.output is not None:
            request = replace(request, output=Output("json", schema_of(self.output)))
        extra = dict(request.extra)
        strategy, views = self.strategy, list(self.views)
        if extra.get("strategy"):
            strategy, own = strategy_of(str(extra["strategy"]))
            views += own
        views += [view_of(spec) for spec in extra.get("views", ())]
        unknown = next((key for key in extra if key not in ("strategy", "views", "n_best", "tree")), None)
        if unknown is not None:
            raise UsageError(f"{self.id} is on this machine and knows no field {unknown!r}")
        return Reply(
            engine or self.engine, strategy, views, dict(self.options), replace(request, extra={}), self.id,
            n_best=int(extra.get("n_best", 0)), tree=bool(extra.get("tree", False)),
        )  # fmt: skip

    async def vectorise(self, texts: Sequence[str], way: Way) -> Embeddings:
        """Mean of the last layer's states over a text's tokens, of length 1; float32[texts, width]."""
        return await way.call(vectors_of, self.engine, list(texts), self.id)

    async def measure(self, request: Request, way: Way) -> int:
        """How many tokens the model reads before it answers."""
        return len((await way.call(prompt_of, self.engine, request)).tokens)

    def stream(self, prompt: Any, **options: Any) -> Iterator[str]:
        """The text of the best answer, piece by piece, as it becomes certain."""
        if _is_question(prompt):
            return super().stream(prompt, **options)
        return (step.text for step in self.decode(prompt, **{"trace": False, **options}) if step.text)

    def partials(self, prompt: str | Sequence[int], **options: Any) -> Iterator[Any]:
        """The output while it is written: each partial value is a beginning of the whole one.

        What is closed in it has its own type already; what is still open is a plain dict, list or text.

        >>> import palmette
        >>> toy = palmette.model("zoo:seedling", output=list[int], max_tokens=20)
        >>> parts = list(toy.partials("The numbers are "))
        >>> all(part == parts[-1][: len(part)] for part in parts)
        True
        """
        output = options.get("output", self.output)
        if output is None:
            raise UsageError("partial values need an output=: a type or a JSON schema")
        reader, shown = PartialJson(), None
        for piece in self.stream(prompt, **options):
            reader.push(piece)
            text = spelled(reader.value)
            if text != shown and reader.value is not None and not reader.complete:
                shown = text
                yield typed_partial(output, json.loads(text))
        yield typed_partial(output, reader.close(), whole=True)


def local_model(
    reference: str | Path | Engine | Merge = DEFAULT_MODEL,
    *,
    strategy: Strategy | None = None,
    views: Sequence[View] = (),
    dialect: str | None = None,
    settings: Mapping[str, object] | None = None,
    engine: EngineName = "auto",
    dtype: Dtype = "float32",
    device: str = "cpu",
    output: Any = None,
    **options: Any,
) -> LocalModel:
    """A model on this machine; see `palmette.model`, which opens any.

    >>> local_model("zoo:seedling", max_tokens=8).id
    'zoo:seedling'
    """
    if dialect is not None or settings:
        spoken = chain(dialect or "paper", settings, int(options.get("seed", 0)))
        strategy = strategy or sample()
        check_strategy(spoken, strategy)
        views = [*views, *spoken]
    if isinstance(reference, (str, Path)):
        name, loaded = str(reference), open_engine(reference, engine=engine, dtype=dtype, device=device)
    elif hasattr(reference, "prefill"):
        name, loaded = type(reference).__name__, cast("Engine", reference)
    else:
        name, loaded = "merge", open_engine(reference, engine=engine, dtype=dtype, device=device)
    return LocalModel(name, loaded, strategy, tuple(views), options, output)


def decode(
    source: LocalModel | Engine | str,
    prompt: str | Sequence[int],
    strategy: Strategy | None = None,
    *,
    views: Sequence[View] = (),
    **options: Any,
) -> Decoding:
    """Continue `prompt`: iterate the result for steps, then read `.text`, `.answers` and `.trace`.

    Args:
        source: a model, an engine or a model reference.
        prompt: text or token ids.
        strategy: what to grow.
        views: what to see the model through, after the model's own views; the first nearest to the model.
        options: max_tokens, stop, seed, heal, trace; see `palmette.tokens.decode.decode`.

    >>> import palmette
    >>> engine = palmette.MatrixEngine([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]], eos=2)
    >>> [step.text for step in palmette.decode(engine, "a", palmette.sample(), views=[palmette.top_p(0.9)])]
    ['b', '']
    """
    return opened(source).decode(prompt, strategy, views, **options)


def grow(
    source: LocalModel | Engine | str, prompt: str | Sequence[int], plans: Sequence[Plan | Strategy], **options: Any
) -> Decoding:
    """Grow several strategies from one prompt on ONE tree, sharing every forward pass.

    Args:
        source: a model, an engine or a model reference; a model's own views stand nearest to the model in every plan.
        prompt: text or token ids.
        plans: strategies, or `Plan`s with views, label and seed.
        options: max_tokens, stop, heal, trace.
    """
    base = opened(source)
    merged = {**base.options, **options}
    seed = int(merged.pop("seed", 0))
    whole = [p if isinstance(p, Plan) else Plan(p, (), seed=seed) for p in plans]
    viewed = [Plan(p.strategy, (*base.views, *p.views), p.label, p.seed) for p in whole]
    return decode_together(base.engine, prompt, viewed, model=base.id, **merged)


def strategy_of(spec: str) -> tuple[Strategy, list[View]]:
    """A strategy from `NAME[:ARG][|VIEW…]`, with the views it brings along; none that opens another model.

    >>> strategy_of("sample|top_p:0.9")[1]
    [top_p(p=0.9, tail='smallest')]
    """
    name, *views = spec.split("|")
    return build(STRATEGIES, name.strip(), "strategy", _CLOSED), [view_of(view) for view in views]


def view_of(spec: str) -> View:
    """A view from its spec; none that opens another model."""
    view: View = build(VIEWS, spec.strip(), "view", _CLOSED)
    return view


def _no_other_model(name: str) -> Engine:
    raise BadParameter(f"{name!r}: a strategy or view that is asked for by name opens no other model")


_CLOSED: dict[Any, Any] = {Engine: _no_other_model}


def _is_question(prompt: Any) -> bool:
    return isinstance(prompt, Request) or (
        not isinstance(prompt, str) and len(prompt) > 0 and isinstance(prompt[0], Message)
    )


def vectors_of(engine: Engine, texts: list[str], who: str) -> Embeddings:
    """Mean of the last layer's states over each text's tokens, of length 1."""
    prompts = [engine.tokenizer.encode(text) for text in texts]
    empty = next((i for i, tokens in enumerate(prompts) if not tokens), None)
    if empty is not None:
        raise UsageError(f"text {empty} is empty; it has no vector")
    rows = [node.hidden.mean(axis=0) for node in engine.prefill(prompts, hidden=True)] if prompts else []
    made = np.stack(rows) if rows else np.zeros((0, 0), np.float32)  # (texts, width)
    made /= np.maximum(np.linalg.norm(made, axis=-1, keepdims=True), 1e-12)
    return Embeddings(made.astype(np.float32), Usage(sum(map(len, prompts))), who)


def opened(source: LocalModel | Engine | str) -> LocalModel:
    """The model itself, or one made of an engine or a reference."""
    return source if isinstance(source, LocalModel) else local_model(source)


def _name(kind: Any) -> str:
    return str(getattr(kind, "__name__", "value of the schema"))
