"""Connections that send a request in one piece, and know their socket.

A request's head and body are two writes, and each is a call of the system and a packet: what is written is held here
until an answer is read. And a pool asks each idle connection, at every request, whether its host has hung up; through
anyio each such question looks the socket up among typed attributes, a sixth of what a gateway does at 32 connections.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import nullcontext, suppress
from typing import Any, TypeVar

import httpcore2
import httpx2

from palmette.core.errors import ProviderError
from palmette.core.waiting import Way

__all__ = ["drained", "joined"]

HELD = 1 << 16  # bytes that are held back at most
FRESH = 0.05  # seconds for which an open connection is taken to be open still
TAIL, LINGER = 1 << 16, 0.25  # bytes and seconds that a stream may go on after its last event
C = TypeVar("C", httpx2.Client, httpx2.AsyncClient)


class _Held:
    """What was written and not yet sent."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def full(self, more: bytes) -> bool:
        """Take in more; whether it is time to send."""
        self._pieces.append(more)
        self._size += len(more)
        return self._size > HELD

    def all(self) -> bytes:
        """Everything, once."""
        data = b"".join(self._pieces)
        self._pieces, self._size = [], 0
        return data


class _Stream(httpcore2.NetworkStream):
    """A connection that blocks."""

    def __init__(self, inner: httpcore2.NetworkStream) -> None:
        self._inner, self._held = inner, _Held()
        self.close, self.get_extra_info = inner.close, inner.get_extra_info  # type: ignore[method-assign]

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """See httpcore2."""
        if self._held.full(buffer):
            self._inner.write(self._held.all(), timeout)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """See httpcore2."""
        if self._held:
            self._inner.write(self._held.all(), timeout)
        return self._inner.read(max_bytes, timeout)

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        """See httpcore2."""
        self._inner.write(self._held.all(), timeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, timeout))


class _AsyncStream(httpcore2.AsyncNetworkStream):
    """A connection of an event loop."""

    def __init__(self, inner: httpcore2.AsyncNetworkStream) -> None:
        self._inner, self._held = inner, _Held()
        self.aclose = inner.aclose  # type: ignore[method-assign]
        self._socket = inner.get_extra_info("socket")
        self._fresh = 0.0

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """See httpcore2."""
        if self._held.full(buffer):
            await self._inner.write(self._held.all(), timeout)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """See httpcore2."""
        if self._held:
            await self._inner.write(self._held.all(), timeout)
        return await self._inner.read(max_bytes, timeout)

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        """See httpcore2."""
        await self._inner.write(self._held.all(), timeout)
        return _AsyncStream(await self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        """See httpcore2."""
        if info == "is_readable" and self._socket is not None and hasattr(select, "poll"):
            if self._socket.fileno() < 0:
                return True
            now = time.monotonic()
            if now < self._fresh:  # asked a moment ago; should it be closed meanwhile, the request is sent again
                return False
            self._fresh = now + FRESH
            asked = select.poll()
            asked.register(self._socket, select.POLLIN)
            return bool(asked.poll(0))
        return self._inner.get_extra_info(info)


class _Network(httpcore2.SyncBackend):
    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:  # fmt: skip
        return _Stream(super().connect_tcp(host, port, timeout, local_address, socket_options))


class _AsyncNetwork(httpcore2.AnyIOBackend):
    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:  # fmt: skip
        return _AsyncStream(await super().connect_tcp(host, port, timeout, local_address, socket_options))


def joined(client: C) -> C:
    """The client, whose pools connect like this; a version of httpx2 that hides them otherwise is left as it is."""
    network = _Network() if isinstance(client, httpx2.Client) else _AsyncNetwork()
    for transport in (getattr(client, "_transport", None), *getattr(client, "_mounts", {}).values()):
        pool: Any = getattr(transport, "_pool", None)
        if hasattr(pool, "_network_backend"):
            pool._network_backend = network
    return client


async def drained(answer: httpx2.Response, chunks: AsyncIterator[bytes], way: Way) -> None:
    """Read the few bytes after a stream's last event, so that its connection is used again.

    A host that never ends what it has finished is cut off: a thread that blocks is woken by shutting its socket.
    """
    cut = threading.Timer(LINGER, _shut, (answer.extensions["network_stream"],))
    try:
        if way.blocking and str(answer.num_bytes_downloaded) != answer.headers.get("content-length"):
            cut.start()
        async with asyncio.timeout(LINGER) if not way.blocking else nullcontext():
            size = 0
            async for chunk in chunks:
                size += len(chunk)
                if size > TAIL:
                    return
    except (ProviderError, TimeoutError):
        pass  # the answer was whole; what broke was its connection
    finally:
        cut.cancel()


def _shut(stream: Any) -> None:
    with suppress(OSError):
        stream.get_extra_info("socket").shutdown(socket.SHUT_RD)
