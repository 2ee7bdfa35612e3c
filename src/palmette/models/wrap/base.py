"""What wrappers share: they are the model that they wrap in all that they do not change."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import fields
from typing import Any, cast

from palmette.core.errors import UsageError
from palmette.core.events import Event
from palmette.core.message import Request
from palmette.core.model import Answer, Capabilities, Embeddings, Model
from palmette.core.waiting import Way

__all__ = ["Around", "Wrapper", "asking", "common", "output_of", "says", "the_model"]


class Around(Model):
    """A model around others, whose answers are of the type that theirs are of, unless a call says another."""

    @property
    def within(self) -> Sequence[Model]:
        """The models that it asks."""
        raise NotImplementedError

    def __call__(self, prompt: Any, **options: Any) -> Any:
        """Ask, and wait for the whole answer; see Model."""
        return super().__call__(prompt, **self._typed(options))

    async def acall(self, prompt: Any, **options: Any) -> Answer:
        """Ask in an event loop."""
        return await super().acall(prompt, **self._typed(options))

    def _typed(self, options: dict[str, Any]) -> dict[str, Any]:
        kinds = [output_of(model) for model in self.within]
        if "output" in options or kinds[0] is None or any(kind != kinds[0] for kind in kinds):
            return options
        return {**options, "output": kinds[0]}


class Wrapper(Around):
    """A model around a model. Subclasses change `produce`."""

    def __init__(self, model: Model) -> None:
        self.model = the_model(model)
        self.id = self.model.id

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r})"

    @property
    def within(self) -> Sequence[Model]:
        """The one model."""
        return (self.model,)

    @property
    def capabilities(self) -> Capabilities:
        """Those of the model within."""
        return self.model.capabilities

    async def vectorise(self, texts: Sequence[str], way: Way) -> Embeddings:
        """See Model."""
        return await self.model.vectorise(texts, way)

    async def measure(self, request: Request, way: Way) -> int:
        """See Model."""
        return await self.model.measure(request, way)


def asking(model: Model, request: Request, way: Way, whole: bool) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
    """The events of another model; leaving the block closes it, so that who stops a wrapper stops the model within."""
    return aclosing(cast(Any, model.produce(request, way, whole=whole)))


def says(event: Event) -> bool:
    """Whether an event carries some of the answer, which cannot be taken back; the others are about it."""
    return bool(event.text or event.reasoning or event.signature or event.call or event.new or event.finish
                or event.whole is not None or event.logprobs)  # fmt: skip


def output_of(model: Model) -> Any:
    """The type of a model's answers that it was made with, if any: through all wrappers."""
    if isinstance(model, Around):
        kinds = [output_of(one) for one in model.within]
        return kinds[0] if all(kind == kinds[0] for kind in kinds) else None
    own = getattr(model, "output", None)
    return getattr(model, "options", {}).get("output") if own is None else own


def the_model(model: Any) -> Model:
    """A model, or an error that says how to get one.

    Raises:
        UsageError: for anything else.
    """
    if isinstance(model, Model):
        return model
    hint = f"; palmette.connect({model!r}) makes one" if isinstance(model, str) else ""
    raise UsageError(f"a wrapper takes a model, not {model!r}{hint}")


def common(models: Sequence[Model]) -> Capabilities:
    """What can be asked of every one of them."""
    made: dict[str, Any] = {}
    for field in fields(Capabilities):
        found = [getattr(model.capabilities, field.name) for model in models]
        if field.name == "top_logprobs":
            made[field.name] = None if None in found else min(found)
        else:
            made[field.name] = all(found)
    return Capabilities(**made)
