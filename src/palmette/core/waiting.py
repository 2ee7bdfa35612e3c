"""Code that waits, written once for callers that block and for an event loop.

Whatever talks to the network, sleeps or computes for long is a coroutine that is told *how to wait*. A way that blocks
does the waiting inside the call and never suspends, so that `finished` and `steps` run such a coroutine to its end
without any event loop; the other way suspends, and asyncio runs it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Protocol, TypeVar, cast

__all__ = ["BLOCKING", "LOOP", "Way", "finished", "steps"]

T = TypeVar("T")


class Way(Protocol):
    """How to wait."""

    @property
    def blocking(self) -> bool:
        """Whether waiting stops the thread."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        ...

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function that computes or blocks."""
        ...


class _Blocking:
    blocking = True

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        return function(*arguments)


class _Loop:
    blocking = False

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.to_thread(function, *arguments)


BLOCKING: Way = _Blocking()
LOOP: Way = _Loop()


def finished(work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that waits by blocking.

    >>> finished(BLOCKING.call(max, 1, 2))
    2
    """
    try:
        work.send(None)
    except StopIteration as done:
        return cast(T, done.value)
    work.close()
    raise RuntimeError("this work suspended, although it was told to wait by blocking")


def steps(work: AsyncIterator[T]) -> Iterator[T]:
    """What an asynchronous generator gives that waits by blocking; leaving the iterator closes it.

    >>> async def two(way: Way):
    ...     yield await way.call(abs, -1)
    ...     yield 2
    >>> list(steps(two(BLOCKING)))
    [1, 2]
    """
    try:
        while True:
            try:  # `finished`, without a call more for each step
                work.__anext__().__await__().send(None)
            except StopIteration as done:
                found = done.value
            except StopAsyncIteration:
                return
            else:
                raise RuntimeError("this work suspended, although it was told to wait by blocking")
            yield found
    finally:
        close = getattr(work, "aclose", None)
        if close is not None:
            finished(close())
