"""A local model: an engine with a strategy and views fixed, called with a prompt."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from palmette.core.engine import Engine, Finish, Strategy, View
from palmette.core.errors import ConstraintError, UsageError
from palmette.core.types import value_of
from palmette.models.resolve import DEFAULT_MODEL, Dtype, EngineName, open_engine
from palmette.tokens.decode import Decoding, Plan, decode_together
from palmette.tokens.dialect import chain, check_strategy
from palmette.tokens.strategies.sampling import nucleus, sample
from palmette.tokens.structure.as_views import constraint
from palmette.tokens.structure.partial import PartialJson, typed_partial
from palmette.tokens.structure.schema.values import spelled
from palmette.tokens.trace.values import Trace

if TYPE_CHECKING:
    from palmette.weights.merge import Merge

__all__ = ["Completion", "LocalModel", "decode", "grow", "model", "opened"]


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
class LocalModel:
    """An engine with its choices. Calling it completes a prompt; `stream` gives the text as it comes."""

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

    def __call__(self, prompt: str | Sequence[int], **options: Any) -> Completion:
        """Complete a prompt."""
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

    def stream(self, prompt: str | Sequence[int], **options: Any) -> Iterator[str]:
        """The text of the best answer, piece by piece, as it becomes certain."""
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


def model(
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
    """Open a model.

    Args:
        reference: `zoo:seedling`, `hf:OWNER/NAME[@REVISION]`, a folder, an engine, or a merge (see `palmette.merge`).
        strategy: how to choose tokens; nucleus sampling with p = 0.9 by default, plain sampling with a dialect.
        views: what to see the model through, the first nearest to the model.
        dialect: read `settings` as this program does, "paper", "hf", "llama.cpp" or "vllm" ("paper" unless given); its
            views stand after `views`.
        settings: sampling settings, such as {"temperature": 0.7, "top_p": 0.9}.
        engine: "auto", "numpy" or "torch".
        dtype: precision of the torch engine.
        device: device of the torch engine.
        output: a type (dataclass, TypedDict, pydantic model, Literal, int, date, list[…] …) or a JSON schema: every
            answer is a document of it, complete within max_tokens, and its `value` one of the type.
        options: defaults for `decode`: max_tokens, stop, seed, heal.

    >>> import palmette
    >>> toy = palmette.model("zoo:seedling", strategy=palmette.greedy(), max_tokens=8)
    >>> toy("Once upon a time").finish
    'length'
    >>> palmette.model("zoo:seedling", output=range(1, 7))("The die shows ").value in range(1, 7)
    True
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


def opened(source: LocalModel | Engine | str) -> LocalModel:
    """The model itself, or one made of an engine or a reference."""
    return source if isinstance(source, LocalModel) else model(source)


def _name(kind: Any) -> str:
    return str(getattr(kind, "__name__", "value of the schema"))
