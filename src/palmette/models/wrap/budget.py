"""A cap on what calls may cost: the worst case is set aside before a call, which is not made if it does not fit.

Many calls at once, from threads or tasks, share the budget: what one has set aside no other can spend.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from dataclasses import replace

from palmette.core.errors import BadParameter, OverBudget, Unsupported, UsageError
from palmette.core.events import Collector, Event
from palmette.core.message import Request, Usage
from palmette.core.model import Model
from palmette.core.waiting import Way
from palmette.models.keep.prices import Price, cost, price
from palmette.models.remote.model import TRIES
from palmette.models.wrap.base import Wrapper, asking, says
from palmette.models.wrap.estimate import at_most

__all__ = ["Budgeted", "budget"]


COMPLAINT = 512  # tokens of what is said to be wrong with an answer


class Budgeted(Wrapper):
    """A model with a budget; see `budget`. `spent` and `left` are dollars, or tokens."""

    def __init__(self, model: Model, limit: float, unit: str, prices: Price | None, max_tokens: int | None) -> None:
        super().__init__(model)
        self.unit = unit
        self.spent = 0.0
        self._limit = limit
        self._aside = 0.0
        self._prices = prices
        self._max_tokens = max_tokens
        self._lock = threading.Lock()

    @property
    def left(self) -> float:
        """What is neither spent nor set aside for calls that run."""
        return self._limit - self.spent - self._aside

    async def produce(self, request: Request, way: Way, *, whole: bool = False) -> AsyncIterator[Event]:
        """See Model."""
        if request.max_tokens is None:
            if self._max_tokens is None:
                raise UsageError("a budget needs max_tokens: without it an answer has no worst case")
            request = replace(request, max_tokens=self._max_tokens)
        worst = self._of(await self._most(request, way))
        self._reserve(worst)
        actual, collector = 0.0, Collector()
        try:
            async with asking(self.model, request, way, whole) as events:
                async for event in events:
                    collector.add(event)
                    if says(event):
                        actual = worst  # until it is known; an answer that is broken off may be charged in full
                    yield event
            actual = self._actual(collector, worst)
        finally:
            with self._lock:
                self._aside -= worst
                self.spent += actual

    async def _most(self, request: Request, way: Way) -> Usage:
        """Tokens at the most. A model that counts is asked; else a text has no more tokens than bytes."""
        if self.capabilities.count_tokens:
            input = await self.measure(request, way)
        else:
            try:
                input = at_most(request)
            except Unsupported as error:
                raise Unsupported(f"{error}, and {self.id} does not count them; ask it outside of the budget") from None
        answers, longest = request.n or 1, request.max_tokens or 0
        if request.output is not None and not self.capabilities.full_logits:  # asked again with what was wrong
            input, longest = TRIES * (input + longest + COMPLAINT), TRIES * longest
        return Usage(input if self.capabilities.n else input * answers, longest * answers)

    def _of(self, usage: Usage) -> float:
        """A usage in the budget's unit."""
        if self.unit == "tokens":
            return usage.input + usage.output
        found = cost(usage, self.id, prices=self._prices)
        assert found.dollars is not None  # checked when the budget was made
        dearest = self._prices or price(self.id)
        extra = 0.0 if dearest is None or dearest.cache_write is None else dearest.cache_write - dearest.input
        return found.dollars + max(0.0, extra) * (usage.input - usage.cache_write) / 1e6

    def _actual(self, collector: Collector, worst: float) -> float:
        response = collector.response
        if response.usage is None:
            return worst
        if self.unit == "tokens":
            return response.usage.input + response.usage.output
        return cost(response, self.id, prices=self._prices).dollars or 0.0

    def _reserve(self, worst: float) -> None:
        with self._lock:
            if worst > self.left:
                raise OverBudget(
                    f"this call may cost {self._said(worst)}, and {self._said(self.left)} of {self._said(self._limit)} "
                    "are left; lower max_tokens, shorten the question or raise the budget"
                )
            self._aside += worst

    def _said(self, amount: float) -> str:
        return f"{amount:.0f} tokens" if self.unit == "tokens" else f"${amount:.6f}"


def budget(
    model: Model,
    dollars: float | None = None,
    tokens: int | None = None,
    *,
    prices: Price | None = None,
    max_tokens: int | None = None,
) -> Budgeted:
    """The model, until a sum is spent: a call that might cost more than what is left raises and is not made.

    The worst case is all of max_tokens for every answer, and for the question what the model counts, or its bytes.

    Args:
        model: what to ask.
        dollars: that all calls together may cost, by the price of the model (see `palmette.cost`).
        tokens: instead of dollars, that questions and answers together may have.
        prices: the model's price, if the tables do not have it.
        max_tokens: of the calls that do not say it.

    Raises:
        UsageError: for a model whose price is unknown: unknown is not free.

    >>> import palmette
    >>> model = palmette.budget(palmette.scripted("Hello you"), tokens=10)
    >>> model("Hi", max_tokens=5).text, model.spent
    ('Hello you', 3.0)
    >>> model("Hi", max_tokens=7)
    Traceback (most recent call last):
    ...
    palmette.core.errors.OverBudget: this call may cost 8 tokens, and 7 tokens of 10 tokens are left; lower max_tokens,
    shorten the question or raise the budget
    """
    limit = dollars if tokens is None else tokens
    if limit is None or (dollars is not None and tokens is not None):
        raise UsageError("a budget is either dollars or tokens; give one of them")
    if not limit > 0:
        raise BadParameter(f"a budget must be above 0, not {limit!r}")
    made = Budgeted(model, limit, "dollars" if tokens is None else "tokens", prices, max_tokens)
    if tokens is None and prices is None and price(made.id) is None:
        raise UsageError(
            f"no price of {made.id!r} is known, and unknown is not free: give prices=palmette.Price(input, output), "
            "budget tokens instead, or pip install 'palmette[prices]'"
        )
    return made
