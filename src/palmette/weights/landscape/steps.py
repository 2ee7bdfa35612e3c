"""A computation that asks for its matrix products, so that who runs it says where the weights come from.

A forward pass is a generator: it yields each `Product` that it wants and is sent the result; everything else it
computes itself, with parameters that `Given` hands it. So one text of a pass serves a model as it is and many points.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import torch.nn.functional as F

from palmette.weights.landscape.products import products_for

__all__ = ["OWN", "After", "Fold", "Given", "Product", "Steps", "computed", "drive", "drive_all"]

After = Literal["none", "gelu", "onto"]
Made = TypeVar("Made")


class Fold(Protocol):
    """What is wanted of a product, so that it need not be held: from the whole, or from some outputs at a time."""

    def whole(self, made: Any) -> Any:
        """From the product, float[tokens, out]."""

    def add(self, made: Any, first: int) -> None:
        """Take the outputs from `first` on, float[tokens, n]; all are given in their order."""

    def made(self) -> Any:
        """From all that was added."""


@dataclass(frozen=True)
class Product:
    """x · weight + bias is wanted.

    Args:
        x: float[tokens, in].
        weight: the parameter as the model has it, [in, out].
        turned: whether it is [out, in] instead.
        bias: float[out], or None.
        after: "gelu" (its tanh form) of it, or added "onto" h.
        h: what it is added onto, float[tokens, out]; it may be overwritten.
        fold: what is wanted of it instead of the whole.
    """

    x: Any
    weight: Any
    bias: Any = None
    after: After = "none"
    h: Any = None
    turned: bool = False
    fold: Fold | None = None


Steps = Generator[Product, Any, Made]


class Given(Protocol):
    """The parameters that a computation uses by itself: small ones, and rows of tables."""

    def __call__(self, parameter: Any) -> Any:
        """A parameter's value."""

    def rows(self, parameter: Any, ids: Any) -> Any:
        """Some rows of one, as an embedding looks them up: float[…, width] for int64[…]."""


class _Own:
    """The model's own tensors, where they are now."""

    def __call__(self, parameter: Any) -> Any:
        return parameter

    def rows(self, parameter: Any, ids: Any) -> Any:
        return F.embedding(ids, parameter)


OWN: Given = _Own()


def drive(steps: Steps[Made], answer: Callable[[Product], Any]) -> Made:
    """Run a computation to its end.

    >>> def twice(x):
    ...     return (yield Product(x, None)) * 2
    >>> drive(twice(3), lambda asked: asked.x + 1)
    8
    """
    return drive_all([steps], lambda asked: [answer(asked[0])])[0]


def drive_all(runs: Sequence[Steps[Made]], answer: Callable[[list[Product]], Sequence[Any]]) -> list[Made]:
    """Run like computations side by side: each asks for its next product, and all are answered together."""
    ended: list[Made] = []
    answers: Sequence[Any] = [None] * len(runs)
    while len(ended) < len(runs):
        asked = []
        for run, made in zip(runs, answers, strict=True):
            try:
                asked.append(run.send(made))
            except StopIteration as end:
                ended.append(end.value)
        answers = answer(asked) if asked else []
    return ended


def computed(asked: Product) -> Any:
    """A product with the weight as it is now."""
    do = products_for(asked.x)
    weight = asked.weight.t() if asked.turned else asked.weight
    if asked.after == "onto":
        return do.onto(asked.h, asked.x, weight, asked.bias)
    made = (do.gelu if asked.after == "gelu" else do.linear)(asked.x, weight, asked.bias)
    return made if asked.fold is None else asked.fold.whole(made)
