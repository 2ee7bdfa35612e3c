"""The slot pool: where the keys and values of every token of every branch lie, each stored once.

A `Cell` is one token's slot; it is given back when the last node that needs it is gone. The lowest free slot is used
first, so the part of the pool that attention has to look at stays short.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cell", "SlotPool"]


class SlotPool:
    """Slot numbers only; the engine keeps the arrays and is told when they must grow.

    Attributes:
        extent: slots 0 … extent − 1 are or were in use; all above are free.
        depth: int64[capacity], the position of each slot's token in its prefix (for sliding windows).
    """

    def __init__(self, grow: Callable[[int], None], capacity: int = 64) -> None:
        self._grow = grow
        self._free: list[int] = []
        self._used = bytearray(capacity)
        self.extent = 0
        self.depth: NDArray[np.int64] = np.zeros(capacity, np.int64)
        grow(capacity)

    @property
    def capacity(self) -> int:
        """Slots that arrays are allocated for."""
        return len(self.depth)

    @property
    def used(self) -> int:
        """Slots in use."""
        return sum(self._used)

    def take(self, depth: int) -> Cell:
        """A free slot for a token at this depth."""
        slot = -1
        while self._free and slot < 0:
            candidate = heapq.heappop(self._free)
            slot = candidate if candidate < self.extent else -1
        if slot < 0:
            slot = self.extent
            self.extent += 1
            if slot >= self.capacity:
                self._double()
        self._used[slot] = 1
        self.depth[slot] = depth
        return Cell(self, slot)

    def give(self, slot: int) -> None:
        """Take a slot back."""
        self._used[slot] = 0
        if slot == self.extent - 1:
            while self.extent and not self._used[self.extent - 1]:
                self.extent -= 1
        else:
            heapq.heappush(self._free, slot)

    def _double(self) -> None:
        capacity = 2 * self.capacity
        self._grow(capacity)
        self._used.extend(bytes(capacity - len(self._used)))
        self.depth = np.concatenate([self.depth, np.zeros(capacity - self.depth.size, np.int64)])


class Cell:
    """One token's slot, and its last-layer state where that was asked for."""

    __slots__ = ("_pool", "hidden", "slot")

    def __init__(self, pool: SlotPool, slot: int) -> None:
        self._pool = pool
        self.slot = slot
        self.hidden: NDArray[np.float32] | None = None

    def __del__(self) -> None:
        self._pool.give(self.slot)
