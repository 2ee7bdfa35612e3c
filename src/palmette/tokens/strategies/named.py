"""A strategy that knows what it is called and how it was set, so that a trace can say so."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ParamSpec

from palmette.core.engine import Budget, Engine, Step, Strategy
from palmette.core.rng import Rng

__all__ = ["Named", "label_of", "named"]

P = ParamSpec("P")


@dataclass(frozen=True)
class Named:
    """A strategy with the name of its factory and the settings it was given."""

    name: str
    settings: Mapping[str, object]
    run: Strategy = field(repr=False, compare=False)

    def __call__(self, engine: Engine, prompt: Sequence[int], budget: Budget, rng: Rng) -> Iterator[Step]:
        """Start decoding."""
        return self.run(engine, prompt, budget, rng)

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={_short(v)}' for k, v in self.settings.items())})"


def named(factory: Callable[P, Strategy]) -> Callable[P, Strategy]:
    """Let a factory's strategies show the call that made them.

    >>> from palmette.tokens.strategies import beam
    >>> beam(4, length_penalty=0.8)
    beam(width=4, length_penalty=0.8)
    """
    signature = inspect.signature(factory)

    @functools.wraps(factory)
    def make(*args: P.args, **kwargs: P.kwargs) -> Strategy:
        run = factory(*args, **kwargs)
        return Named(factory.__name__, dict(signature.bind(*args, **kwargs).arguments), run)

    return make


def label_of(strategy: Strategy) -> str:
    """What a person may call a strategy."""
    return repr(strategy) if isinstance(strategy, Named) else getattr(strategy, "__name__", type(strategy).__name__)


def _short(value: object) -> str:
    return (
        repr(value) if isinstance(value, (str, int, float, bool)) else getattr(value, "__name__", type(value).__name__)
    )
