"""A model for each kind of request, chosen by a rule: a function that reads the request and names the model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from palmette.core.errors import UnknownName, Unsupported, UsageError
from palmette.core.events import Event
from palmette.core.message import Request
from palmette.core.model import Capabilities, Embeddings, Model
from palmette.core.waiting import Way
from palmette.models.wrap.base import Around, asking, common, the_model

__all__ = ["route"]

Rule = Callable[[Request], str]


class Router(Around):
    """See `route`."""

    def __init__(self, models: Mapping[str, Model], rule: Rule) -> None:
        self.models = {name: the_model(model) for name, model in models.items()}
        self.id = "+".join(model.id for model in self.models.values())
        self._rule = rule

    def __repr__(self) -> str:
        return f"route({self.models!r})"

    @property
    def within(self) -> Sequence[Model]:
        """All of them."""
        return tuple(self.models.values())

    @property
    def capabilities(self) -> Capabilities:
        """What all of them can do."""
        return common(list(self.models.values()))

    def chosen(self, request: Request) -> Model:
        """The model that a request goes to.

        Raises:
            UnknownName: if the rule names none of them.
        """
        name = self._rule(request)
        if name not in self.models:
            raise UnknownName("model of this router", str(name), self.models, f" The rule may name {[*self.models]}.")
        return self.models[name]

    async def vectorise(self, texts: Sequence[str], way: Way) -> Embeddings:
        """None: vectors of several models cannot be compared."""
        raise Unsupported(f"a router gives no embeddings, since they must be of one model: ask one of {[*self.models]}")

    async def measure(self, request: Request, way: Way) -> int:
        """See Model."""
        return await self.chosen(request).measure(request, way)

    async def produce(self, request: Request, way: Way, *, whole: bool = False) -> AsyncIterator[Event]:
        """See Model."""
        async with asking(self.chosen(request), request, way, whole) as events:
            async for event in events:
                yield event


def route(models: Mapping[str, Model], rule: Rule) -> Model:
    """Models behind one, each request going to the one that the rule names.

    Args:
        models: by name.
        rule: reads a request, and gives a name.

    >>> import palmette
    >>> models = {"short": palmette.scripted("brief"), "long": palmette.scripted("at length")}
    >>> both = palmette.route(models, lambda request: "long" if len(request.messages[-1].text) > 20 else "short")
    >>> both("Hi").text, both("Tell me everything about it").text
    ('brief', 'at length')
    """
    if not models:
        raise UsageError("a router needs at least one model")
    return Router(models, rule)
