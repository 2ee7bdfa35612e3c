"""What one forward pass gets and gives: a packed row of new tokens, and their scores.

The tokens of a row belong to any number of branches; a mask says which slots of the pool each of them sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["Batch", "Output", "reach"]

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """One packed row of P new tokens that look at the N slots `first` … `first` + N − 1 of the pool.

    `seen[i]` is what token i sees: the first so many slots of a whole path, its own slot included.
    """

    tokens: Ints  # (P,)
    positions: Ints  # (P,), depth of each token
    slots: Ints  # (P,), counted from the beginning of the pool
    seen: list[tuple[Ints, int]]  # (P,)
    first: int
    depth: Ints  # (N,), depth of the token in each slot
    rows: Ints  # (R,), the tokens whose scores are wanted
    hidden: bool

    @property
    def extent(self) -> int:
        """One more than the highest slot looked at: `first` + N."""
        return self.first + len(self.depth)

    @cached_property
    def causal(self) -> bool:
        """True if this is one whole prompt in neighbouring slots: a plain causal forward needs no mask."""
        size = len(self.tokens)
        return (
            size == len(self.depth)
            and all(count == i + 1 for i, (_, count) in enumerate(self.seen))
            and np.array_equal(self.slots, np.arange(self.first, self.first + size))
            and np.array_equal(self.positions, np.arange(size))
        )

    @cached_property
    def full(self) -> bool:
        """True if there is one token and it sees all slots: a single branch without holes needs no mask."""
        return len(self.tokens) == 1 and self.seen[0][1] == len(self.depth)

    @cached_property
    def allowed(self) -> NDArray[np.bool_]:
        """Which slots each token sees, bool[P, N]."""
        table = np.zeros((len(self.tokens), len(self.depth)), bool)
        for path, rows in _by_path(self.seen):
            counts = np.array([self.seen[i][1] for i in rows])
            sees = np.arange(counts.max()) < counts[:, None]  # (rows, slots of the path)
            table[np.array(rows)[:, None], path[: sees.shape[1]] - self.first] = sees
        return table

    def mask(self, window: int | None = None) -> Floats:
        """0 where a token may look, the lowest float elsewhere: float32[P, N]. `window` counts depth, not slots."""
        table = self.allowed
        if window is not None:
            table = table & (self.positions[:, None] - self.depth[None, :] < window)
        return np.where(table, np.float32(0), np.finfo(np.float32).min)


def _by_path(seen: Sequence[tuple[Ints, int]]) -> list[tuple[Ints, list[int]]]:
    """The distinct paths, each with the tokens that see a part of it."""
    found: dict[int, tuple[Ints, list[int]]] = {}
    for i, (path, _) in enumerate(seen):
        found.setdefault(id(path), (path, []))[1].append(i)
    return list(found.values())


def reach(seen: Sequence[tuple[Ints, int]]) -> tuple[int, int]:
    """The lowest slot that is seen, and one more than the highest."""
    parts = [path[: max(seen[i][1] for i in rows)] for path, rows in _by_path(seen)]
    return min(int(part.min()) for part in parts), max(int(part.max()) for part in parts) + 1


@dataclass(frozen=True)
class Output:
    """What a forward pass gives: scores float32[R, V]; with hidden states, last layer float32[P, width] after the final
    norm, and all layers float32[R, layers + 1, width]."""

    logits: Floats
    last: Floats | None = None
    layers: Floats | None = None
