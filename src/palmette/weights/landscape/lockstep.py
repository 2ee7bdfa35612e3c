"""Points of a short text that go through a model together, weight by weight.

With few tokens, a point's time goes into its weights, and that into memory: the origin and the directions are read and
the weights written for every point anew. Here a piece of a weight is made for all points while it is in the cache, and
multiplied at once: memory is read once for all of them, and the weights of a point are never whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil
from typing import Any, TypeGuard

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from palmette.core.errors import BadParameter
from palmette.weights.landscape.metric import Metric, Sums, TokenLoss, computing
from palmette.weights.landscape.products import products_for
from palmette.weights.landscape.space import MANY, Part, Space, compiled
from palmette.weights.landscape.steps import Product, computed, drive_all

__all__ = ["Lockstep", "suits"]

PIECE = 786_432  # bytes of a piece
COLUMNS = 64  # a product's width should be a multiple of it
FILLED = 4  # points whose pieces are made at once, and should all stay in the cache
MOST = 8  # points at once: with more, little is gained
HELD = 1024  # tokens of all points at once
TOKENS = 256  # of a text; with more, the products take nearly all of the time either way
LEAST, LARGEST = MANY, 200_000_000  # parameters; the weights are held three times more here

Floats = NDArray[np.float32]


def suits(metric: Metric, space: Space) -> TypeGuard[TokenLoss]:
    """Whether this way is the fastest, and can be gone: numba is there, and the model's pass asks for its products."""
    return (
        isinstance(metric, TokenLoss)
        and metric.way.asks
        and metric.computed <= TOKENS
        and LEAST <= space.size <= LARGEST
        and space.device.type == "cpu"
        and compiled(space.dtype) is not None
    )


@dataclass(frozen=True)
class _Piece:
    """Some outputs of a weight.

    Args:
        first, outputs: which, and how many.
        numbers: the weight's in the origin and both directions, float32[inputs · outputs] each.
    """

    first: int
    outputs: int
    numbers: tuple[Floats, Floats, Floats]


class Lockstep:
    """Measures several points at once; each has the bits that it has alone.

    Args:
        space: entered while points are measured.
        metric: whose pass asks for its products.

    `most` is how many points are best measured at once.
    """

    def __init__(self, space: Space, metric: TokenLoss) -> None:
        self.most = max(1, min(MOST, HELD // metric.computed))
        self._space, self._metric = space, metric
        self._parts = {id(p): part for p, part in zip(space.moved, space.parts, strict=True)}
        self._small = [(id(p), part) for p, part in zip(space.moved, space.parts, strict=True) if p.dim() < 2]
        self._fill = compiled(space.dtype)
        self._vectors: tuple[Any, Any, Any] | None = None
        self._origins: dict[str, list[Floats]] = {}
        self._pieces: dict[str, list[_Piece]] = {}
        self._room = torch.empty(0, dtype=space.dtype)
        self._rooms: dict[tuple[int, int, int], tuple[Any, list[Any]]] = {}

    def aim(self, directions: Sequence[Any]) -> None:
        """Take these directions, one or two float32[space.size], from now on."""
        if len(directions) not in (1, 2):
            raise BadParameter(f"{len(directions)} directions; one or two are possible")
        self._axes = len(directions)
        first = directions[0].float()
        second = first if self._axes == 1 else directions[1].float()
        self._vectors = (self._space.origin, first, second)
        none = torch.empty(0)
        self._few = [torch.cat([none, *(self._flat(v, part) for _, part in self._small)]) for v in self._vectors]
        self._pieces = {}

    def __call__(self, spots: Sequence[Sequence[float]]) -> list[Sums]:
        """The metric's sums at points.

        Raises:
            BadParameter: before `aim`, or for points of other than as many coordinates as there are directions.
        """
        if self._vectors is None or any(len(at) != self._axes for at in spots):
            raise BadParameter(f"points {spots!r} need a direction for each coordinate")
        scales = [(at[0] if self._axes == 2 else 0.0, at[-1]) for at in spots]
        a, b = np.array(scales, np.float32).T.copy()
        with computing(self._metric.model):
            runs = [self._metric.steps(_At(self, *scale)) for scale in scales]
            return drive_all(runs, lambda asked: self._products(asked, a, b))

    def _products(self, asked: list[Product], a: Floats, b: Floats) -> list[Any]:
        """The same product at every point."""
        first = asked[0]
        part = self._parts.get(id(first.weight))
        if part is None:
            return [computed(one) for one in asked]
        pieces = self._pieces_of(part, first.turned)
        do, widths = products_for(first.x), [piece.outputs for piece in pieces]
        made = do.gelu if first.after == "gelu" else do.linear
        biases = [[None] * len(pieces) if one.bias is None else one.bias.split(widths) for one in asked]
        sinks = [one.fold or _Joined() for one in asked]
        few = ceil(len(asked) / ceil(len(asked) / FILLED))
        for index, piece in enumerate(pieces):
            for start in range(0, len(asked), few):
                weights = self._weights(piece, a[start : start + few], b[start : start + few])
                for i, weight in enumerate(weights, start):
                    sinks[i].add(made(asked[i].x, weight, biases[i][index]), piece.first)
        found = [sink.made() for sink in sinks]
        return [one.h.add_(x) if one.after == "onto" else x for one, x in zip(asked, found, strict=True)]

    def _weights(self, piece: _Piece, a: Floats, b: Floats) -> list[Any]:
        """A piece at some points, [inputs, outputs] each, in memory that the next piece will use."""
        size, dtype = len(piece.numbers[0]), self._space.dtype
        shape = (size // piece.outputs, piece.outputs)
        if (len(a), *shape) not in self._rooms:
            made = self._memory(len(a) * size).view(len(a), size)
            turned = dtype == torch.bfloat16  # see _cut
            weights = [row.view(shape[::-1]).t() if turned else row.view(shape) for row in made]
            self._rooms[len(a), *shape] = made.view(torch.uint16 if turned else dtype).numpy(), weights
        array, weights = self._rooms[len(a), *shape]
        assert self._fill is not None  # else it is not suited
        self._fill(*piece.numbers, a, b, array)
        return weights

    def _memory(self, size: int) -> Any:
        """So many numbers, the same for all pieces."""
        if self._room.numel() < size:
            self._rooms.clear()
            self._room = torch.empty(size, dtype=self._space.dtype)
        return self._room[:size]

    def _pieces_of(self, part: Part, turned: bool) -> list[_Piece]:
        """A weight in pieces, some outputs each; sorted once for the directions."""
        if part.name not in self._pieces:
            assert self._vectors is not None
            origin, one, two = self._vectors
            if part.name not in self._origins:
                self._origins[part.name] = self._cut(origin, part, turned)
            first = self._cut(one, part, turned)
            second = first if two is one else self._cut(two, part, turned)
            inputs = part.shape[1] if turned else part.shape[0]
            sizes = [len(piece) // inputs for piece in first]
            starts = accumulate(sizes, initial=0)
            numbers = zip(self._origins[part.name], first, second, strict=True)
            self._pieces[part.name] = [_Piece(*each) for each in zip(starts, sizes, numbers, strict=False)]
        return self._pieces[part.name]

    def _cut(self, vector: Any, part: Part, turned: bool) -> list[Floats]:
        """The pieces of a weight; products in bfloat16 are faster with a piece as [outputs, inputs]."""
        whole = self._space.view(vector, part)
        whole = whole if turned else whole.t()  # [outputs, inputs]
        numbers = PIECE // self._space.dtype.itemsize
        count = max(COLUMNS, numbers // whole.shape[1] // COLUMNS * COLUMNS)
        pieces = whole.split(count)
        if self._space.dtype == torch.float32:
            pieces = [piece.t() for piece in pieces]
        return [piece.reshape(-1).clone().numpy() for piece in pieces]

    def values(self, parameter: Any, a: float, b: float, rows: Any = None) -> Any:
        """A parameter at one point, or rows of it."""
        part = self._parts.get(id(parameter))
        if part is None:
            return parameter if rows is None else F.embedding(rows, parameter)
        assert self._vectors is not None
        views = [self._space.view(v, part) for v in self._vectors]
        return self._sum(views if rows is None else [F.embedding(rows, v) for v in views], a, b)

    def small(self, a: float, b: float) -> dict[int, Any]:
        """All parameters of one axis at one point, by their identities."""
        sizes = [part.size for _, part in self._small]
        pieces = self._sum(self._few, a, b).split(sizes) if sizes else ()
        return {key: piece.view(part.shape) for (key, part), piece in zip(self._small, pieces, strict=True)}

    def _sum(self, vectors: Sequence[Any], a: float, b: float) -> Any:
        origin, one, two = vectors
        return torch.add(torch.add(origin, one, alpha=a), two, alpha=b).to(self._space.dtype)

    def _flat(self, vector: Any, part: Part) -> Any:
        return vector[part.start : part.start + part.size]


class _At:
    """Parameters at one point; see Given."""

    def __init__(self, lockstep: Lockstep, a: float, b: float) -> None:
        self._lockstep, self._at = lockstep, (a, b)
        self._small = lockstep.small(a, b)

    def __call__(self, parameter: Any) -> Any:
        found = self._small.get(id(parameter))
        return self._lockstep.values(parameter, *self._at) if found is None else found

    def rows(self, parameter: Any, ids: Any) -> Any:
        return self._lockstep.values(parameter, *self._at, ids)


class _Joined:
    """All outputs, side by side; see Fold."""

    def __init__(self) -> None:
        self._pieces: list[Any] = []

    def whole(self, made: Any) -> Any:
        return made

    def add(self, made: Any, first: int) -> None:
        self._pieces.append(made)

    def made(self) -> Any:
        return self._pieces[0] if len(self._pieces) == 1 else torch.cat(self._pieces, dim=1)
