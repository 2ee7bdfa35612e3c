"""A tensor of several models as a stream of blocks: what every merge method reads, however large the tensor.

A method is a function of `Inputs` that first looks (`scan`, `sums`, `cuts`: passes over the blocks), then returns how
to combine one block. Blocks are independent, so they may be computed in any order and by any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from palmette.core.rng import Rng
from palmette.weights.dtypes import Array, Raw
from palmette.weights.kernels import LEAF, Cut, Kernels, Mixture, NumpyKernels, key_bits, total

__all__ = ["Block", "Combine", "Inputs", "Memory", "Mix", "Source"]

T = TypeVar("T")
BLOCK = 1 << 18  # elements; a megabyte of float32 for each model
_END = 1 << 62
GLANCE = 1024  # elements that tell most different tensors apart
SEGMENTS = 16  # parts of a tensor whose last histogram is kept apart, to find where a tie is cut


class Source(Protocol):
    """One model's tensor, flat."""

    @property
    def dtype(self) -> str:
        """As stored."""

    def read(self, start: int, stop: int) -> Raw:
        """Elements [start, stop) as stored."""


@dataclass(frozen=True)
class Memory:
    """A source that is an array already.

    >>> Memory(np.ones((2, 2), np.float32)).read(1, 3)
    array([1., 1.], dtype=float32)
    """

    array: NDArray[Any]
    dtype: str = "F32"

    def read(self, start: int, stop: int) -> Raw:
        """See Source."""
        return self.array.reshape(-1)[start:stop]


@dataclass(frozen=True)
class Block:
    """The elements from `start` on, of the base (if there is one) and of every model, in the recipe's order."""

    start: int
    base: Array | None
    models: list[Array]

    @property
    def anchor(self) -> Array:
        """The base, which the method has asked for."""
        assert self.base is not None
        return self.base

    @property
    def size(self) -> int:
        """How many elements."""
        return len(self.models[0])


Combine = Callable[[Block], Array]


@dataclass(frozen=True)
class Mix:
    """A combine that is linear in the models: kernels may compute it from stored numbers in one go."""

    kernels: Kernels
    mixture: Mixture

    def __call__(self, block: Block) -> Array:
        return self.kernels.mixture(block.models, block.base, self.mixture)


@dataclass(frozen=True)
class Inputs:
    """One output tensor's inputs.

    Args:
        shape: of the tensor.
        models: a source for each model.
        base: the base model's source, if the method takes deltas.
        rows: True if blocks must hold whole rows.
        labels: what a model's random draws are keyed by, besides the seed.
        rng: the seed and the tensor's name.
        rounded: to imitate mergekit, the type of its arithmetic: each operation is rounded to "BF16" or "F16"; None to
            compute as accurately as float32 allows.
        block: elements of a block; any number gives the same bytes.
    """

    shape: tuple[int, ...]
    models: Sequence[Source]
    base: Source | None = None
    rows: bool = False
    labels: Sequence[str] = ()
    rng: Rng = field(default_factory=Rng)
    rounded: str | None = None
    arithmetic: str = "F32"
    block: int = BLOCK
    kernels: Kernels = field(default_factory=NumpyKernels)

    @property
    def count(self) -> int:
        """Elements of the tensor."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def width(self) -> int:
        """Elements of a row: the last dimension (a vector is one row)."""
        return max(1, self.shape[-1]) if self.shape else 1

    @property
    def leaf(self) -> int:
        """Elements of one partial sum: a row where rows matter, else a fixed number."""
        return self.width if self.rows else LEAF

    @property
    def exact(self) -> bool:
        """True unless every operation is to be rounded to a short type."""
        return self.rounded not in ("BF16", "F16")

    def q(self, values: Array) -> Array:
        """A result rounded as one operation of `--compute mergekit` would round it."""
        if self.exact or self.rounded is None:
            return values
        flat = np.ascontiguousarray(values).reshape(-1)
        return self.kernels.decode(self.kernels.encode(flat, self.rounded), self.rounded, "F32").reshape(values.shape)

    def spans(self) -> list[tuple[int, int]]:
        """Where blocks begin and end: multiples of a leaf, so that partial sums do not depend on the block size."""
        unit = self.leaf
        length = max(1, self.block // unit) * unit
        return [(start, min(start + length, self.count)) for start in range(0, self.count, length)]

    def load(self, span: tuple[int, int]) -> Block:
        """Read one block."""
        start, stop = span
        base = None if self.base is None else self._read(self.base, start, stop)
        return Block(start, base, [self._read(source, start, stop) for source in self.models])

    def stored(self, dtype: str) -> bool:
        """True if all is stored in this type and the arithmetic is float32."""
        sources = [*self.models, *([] if self.base is None else [self.base])]
        return self.arithmetic == "F32" and all(source.dtype == dtype for source in sources)

    def packed(self, span: tuple[int, int]) -> tuple[NDArray[np.uint16], Raw | None]:
        """One block of bfloat16 as it is stored: uint16[models, n], and the base."""
        start, stop = span
        made = np.empty((len(self.models), stop - start), np.uint16)
        for row, source in zip(made, self.models, strict=True):
            fill(source, start, row)
        if self.base is None:
            return made, None
        below = np.empty(stop - start, np.uint16)
        fill(self.base, start, below)
        return made, below

    def _read(self, source: Source, start: int, stop: int) -> Array:
        values = self.kernels.decode(source.read(start, stop), source.dtype, self.arithmetic)
        return self.q(values)

    def scan(self, visit: Callable[[Block], T]) -> list[T]:
        """What `visit` returns for each block, in order. One pass."""
        return [visit(self.load(span)) for span in self.spans()]

    def sums(self, visit: Callable[[Block], Mapping[str, NDArray[np.float64]]]) -> dict[str, float]:
        """Partial sums by name, added up exactly over all blocks. One pass."""
        found: dict[str, list[NDArray[np.float64]]] = {}
        for parts in self.scan(visit):
            for name, array in parts.items():
                found.setdefault(name, []).append(array)
        return {name: total(np.concatenate(arrays)) for name, arrays in found.items()}

    def key(self, model: int) -> int:
        """The key of a model's random draws in this tensor."""
        label = self.labels[model] if self.labels else str(model)
        return self.rng.fork(label).seed

    def identical(self) -> bool:
        """True if all sources hold the same bytes; stops reading at the first difference."""
        sources = [*([] if self.base is None else [self.base]), *self.models]
        if len({source.dtype for source in sources}) > 1:
            return False
        spans = self.spans()
        if spans and len(sources) > 1 and not self._same(sources, (0, min(GLANCE, spans[0][1]))):
            return False
        return all(self._same(sources, span) for span in spans)

    @staticmethod
    def _same(sources: Sequence[Source], span: tuple[int, int]) -> bool:
        first = sources[0].read(*span)
        return all(np.array_equal(_bytes(source.read(*span)), _bytes(first)) for source in sources[1:])

    # -- order statistics ---------------------------------------------------------------------------------------------

    def cuts(self, values: Callable[[Block], Sequence[Array]], ranks: Sequence[Sequence[int]]) -> list[list[Cut]]:
        """Where the largest magnitudes end: for value v and rank r, the r-th largest of v, ties in order of position.

        No sort: magnitudes are integers in disguise, so histograms of their leading bits, then of the next, find any
        rank exactly in two passes (one, if every operation is rounded to bfloat16).

        Args:
            values: the arrays of a block whose magnitudes are ranked.
            ranks: for each array the ranks wanted, from 0 (nothing is above the cut) to the number of elements.

        Returns:
            For each array and rank a cut: exactly `rank` elements are above it.
        """
        wanted = [(v, rank) for v, row in enumerate(ranks) for rank in row]
        state = [_Search(v, rank) for v, rank in wanted if 0 < rank < self.count]
        if state:
            self._narrow(values, state)
            self._settle(values, state)
        found = iter(state)
        made: list[list[Cut]] = [[] for _ in ranks]
        top = 1 << key_bits(self.arithmetic)
        for v, rank in wanted:
            made[v].append((top, -1) if rank <= 0 else (-1, -1) if rank >= self.count else next(found).cut)
        return made

    def smallest(self, values: Callable[[Block], Sequence[Array]], indices: Sequence[int]) -> list[float]:
        """The elements at these places of the sorted magnitudes, the smallest at 0. As many passes as `cuts`."""
        state = [_Search(0, self.count - index) for index in indices]
        self._narrow(values, state)
        wide = np.uint32 if self.arithmetic == "F32" else np.uint64
        kind = np.float32 if self.arithmetic == "F32" else np.float64
        return [float(np.array([s.prefix], wide).view(kind)[0]) for s in state]

    def _levels(self) -> list[tuple[int, int]]:
        """(shift, bits) of each histogram, from the leading bits down."""
        if self.rounded == "BF16" and self.arithmetic == "F32":
            return [(16, 15)]
        return [(15, 16), (0, 15)] if self.arithmetic == "F32" else [(47, 16), (31, 16), (15, 16), (0, 15)]

    def _narrow(self, values: Callable[[Block], Sequence[Array]], state: list[_Search]) -> None:
        levels = self._levels()
        for shift, bits in levels:
            parts = SEGMENTS if (shift, bits) == levels[-1] else 1
            jobs = sorted({(s.value, s.prefix) for s in state})
            counts = np.zeros((len(jobs), parts, 1 << bits), np.int64)

            for span in self.spans():
                arrays = values(self.load(span))
                for job, (value, prefix) in enumerate(jobs):
                    self.kernels.histogram(
                        arrays[value], shift, bits, prefix, counts[job, span[0] * parts // self.count]
                    )
            found = [counts[jobs.index((search.value, search.prefix))] for search in state]
            for search, bins in zip(state, found, strict=True):
                search.descend(bins, bits)
        for search in state:
            search.prefix <<= levels[-1][0]

    def _settle(self, values: Callable[[Block], Sequence[Array]], state: list[_Search]) -> None:
        """Find the last element that is kept among equals: read the one segment where the quota runs out."""
        spans = self.spans()
        for search in state:
            if search.quota <= 0:
                continue
            for span in spans:
                if span[0] * SEGMENTS // self.count != search.segment:
                    continue
                array = values(self.load(span))[search.value]
                wide = np.int64 if self.arithmetic == "F32" else np.uint64
                magnitude = np.abs(array).view(np.uint32 if self.arithmetic == "F32" else np.uint64).astype(wide)
                places = np.flatnonzero(magnitude == search.prefix)
                if len(places) >= search.quota:
                    search.last = span[0] + int(places[search.quota - 1])
                    break
                search.quota -= len(places)


def _bytes(raw: Raw) -> Raw:
    return np.ascontiguousarray(raw).view(np.uint8)


def fill(source: Source, start: int, into: Raw) -> None:
    """Read elements as stored from `start` on into an array."""
    reader = getattr(source, "fill", None)
    if reader is None:
        into[:] = source.read(start, start + len(into))
    else:
        reader(start, into)


@dataclass
class _Search:
    """One rank being looked for: the leading bits found so far, and how many elements are still to be taken below."""

    value: int
    rank: int
    prefix: int = -1
    quota: int = -1
    segment: int = 0
    last: int = -1

    @property
    def cut(self) -> Cut:
        return self.prefix, self.last

    def descend(self, counts: NDArray[np.int64], bits: int) -> None:
        """Choose the bin that holds the rank-th largest; counts[segments, bins]."""
        if self.quota < 0:
            self.quota = self.rank
        bins = counts.sum(axis=0)
        above = np.cumsum(bins[::-1])[::-1] - bins  # elements in higher bins
        chosen = int(np.flatnonzero((above < self.quota) & (above + bins >= self.quota))[0])
        self.quota -= int(above[chosen])
        self.prefix = chosen if self.prefix < 0 else (self.prefix << bits) | chosen
        if len(counts) > 1 and self.quota == bins[chosen]:  # all equals are above the cut
            self.quota, self.last = 0, _END
        elif len(counts) > 1:
            reached = np.cumsum(counts[:, chosen])
            self.segment = int(np.searchsorted(reached, self.quota))
            self.quota -= int(reached[self.segment] - counts[self.segment, chosen])
