"""Another model where one fails; an answer that has begun stays with the model that began it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from palmette.core.errors import ModelError, ProviderError, ProviderFailed, Unsupported, UsageError
from palmette.core.events import Event
from palmette.core.message import Request
from palmette.core.model import Capabilities, Embeddings, Model
from palmette.core.waiting import Way
from palmette.models.wrap.base import Around, asking, common, says, the_model

__all__ = ["fallback"]

FAILURES = (ProviderError, Unsupported, ModelError)


class Fallback(Around):
    """See `fallback`."""

    def __init__(self, models: Sequence[Model], on: tuple[type[BaseException], ...]) -> None:
        self.models = tuple(the_model(model) for model in models)
        self.id = "|".join(model.id for model in self.models)
        self._on = on

    def __repr__(self) -> str:
        return f"fallback({', '.join(map(repr, self.models))})"

    @property
    def within(self) -> Sequence[Model]:
        """All of them."""
        return self.models

    @property
    def capabilities(self) -> Capabilities:
        """What all of them can do: whoever answers is able to."""
        return common(self.models)

    async def vectorise(self, texts: Sequence[str], way: Way) -> Embeddings:
        """The first model's alone: vectors of two models cannot be compared."""
        return await self.models[0].vectorise(texts, way)

    async def measure(self, request: Request, way: Way) -> int:
        """The largest count of all of them."""
        return max([await model.measure(request, way) for model in self.models])

    async def produce(self, request: Request, way: Way, *, whole: bool = False) -> AsyncIterator[Event]:
        """See Model."""
        failures: list[str] = []
        for model in self.models:
            held: list[Event] | None = []
            try:
                async with asking(model, request, way, whole) as events:
                    async for event in events:
                        if held is not None:
                            held.append(event)
                            if not says(event):
                                continue
                            if failures:
                                yield Event(notes=(f"{model.id} answered, since {'; '.join(failures)}",))
                            for one in held:
                                yield one
                            held = None
                        else:
                            yield event
                for one in held or ():
                    yield one
                return
            except self._on as error:
                if held is None:
                    raise
                failures.append(f"{model.id}: {type(error).__name__}: {error}")
                last = error
        kind = type(last) if isinstance(last, ProviderError) and len(self.models) == 1 else ProviderFailed
        raise kind(f"none of {len(self.models)} models answered: {'; '.join(failures)}") from last


def fallback(*models: Model, on: tuple[type[BaseException], ...] = FAILURES) -> Model:
    """The first of the models that answers.

    Args:
        models: in the order in which they are asked.
        on: the errors after which the next one is asked; never once an answer has begun.

    Raises:
        ProviderFailed: if none answers, with what each one said.

    >>> import palmette
    >>> from palmette.core.errors import NoConnection
    >>> near = palmette.scripted(NoConnection("no server"), id="near")
    >>> found = palmette.fallback(near, palmette.scripted("Hello", id="far"))("Hi")
    >>> found.text, found.response.notes
    ('Hello', ('far answered, since near: NoConnection: no server',))
    """
    if not models:
        raise UsageError("a fallback needs at least one model")
    return Fallback(models, on)
