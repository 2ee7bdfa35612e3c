"""The slot pool: where the keys and values of every token of every branch lie, each stored once.

A `Cell` is one token's slot; it is given back when the last node that needs it is gone. The lowest free slot is used
first, so the part of the pool that attention has to look at stays short.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cell", "SlotPool"]


class SlotPool:
    """Slot numbers only; the engine keeps the arrays and is told when they must grow.

    A cell may die at any moment (in the middle of `take`, or in another thread), so its death only leaves a note;
    slots change hands in `take` and `settle` alone.

    Args:
        grow: called with the number of slots to make room for; what is stored must stay.
        capacity: slots to begin with; doubled whenever it does not suffice.

    >>> pool = SlotPool(grow=lambda capacity: None)
    >>> a, b = pool.take(depth=0), pool.take(depth=1)
    >>> del a
    >>> pool.take(depth=2).slot, pool.extent
    (0, 2)
    """

    def __init__(self, grow: Callable[[int], None], capacity: int = 64) -> None:
        self._grow = grow
        self._used = bytearray(capacity)
        self._lowest = 0  # no slot below this one is free
        self._extent = 0
        self.returned: deque[int] = deque()
        self.depth: NDArray[np.int64] = np.zeros(capacity, np.int64)  # each slot's position in its prefix
        grow(capacity)

    @property
    def capacity(self) -> int:
        """Slots that arrays are allocated for."""
        return len(self._used)

    @property
    def extent(self) -> int:
        """One more than the highest slot in use: all slots from here on are free."""
        self.settle()
        return self._extent

    @property
    def used(self) -> int:
        """Slots in use."""
        self.settle()
        return self._used.count(1)

    def take(self, depth: int) -> Cell:
        """The lowest free slot, for a token at this depth."""
        self.settle()
        slot = self._used.find(0, self._lowest)
        if slot < 0:
            slot = self.capacity
            self._double()
        cell = Cell(self, slot)  # from here on an interruption gives the slot back
        self._used[slot] = 1
        self._lowest = slot + 1
        self._extent = max(self._extent, slot + 1)
        self.depth[slot] = depth
        return cell

    def settle(self) -> None:
        """Take back the slots of cells that have died."""
        if not self.returned:
            return
        while self.returned:
            slot = self.returned.popleft()
            self._used[slot] = 0
            self._lowest = min(self._lowest, slot)
        self._extent = self._used.rfind(1) + 1

    def _double(self) -> None:
        capacity = 2 * self.capacity
        self._grow(capacity)  # first: if memory runs out here, nothing has changed
        self.depth = np.concatenate([self.depth, np.zeros(capacity - self.depth.size, np.int64)])
        self._used.extend(bytes(capacity - len(self._used)))


class Cell:
    """One token's slot, and its last-layer state where that was asked for."""

    __slots__ = ("_pool", "hidden", "slot")

    def __init__(self, pool: SlotPool, slot: int) -> None:
        self._pool = pool
        self.slot = slot
        self.hidden: NDArray[np.float32] | None = None

    def __del__(self) -> None:
        self._pool.returned.append(self.slot)
