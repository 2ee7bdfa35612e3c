"""Files that a client names by their URL: fetched from hosts that were allowed, and from nowhere inside.

A server that fetches what strangers name can be made to read its own network (CWE-918). Here the name is resolved once,
every address it has must be a public one (or lie in a network that was allowed), and the connection goes to the address
that was checked, so that a name cannot mean another machine later. Nothing is sent along; a redirect is refused.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import httpcore2

from palmette.core.errors import RequestRefused
from palmette.core.message import Audio, Document, Image, Media, Message, Request

__all__ = ["Fetcher"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
M = TypeVar("M", bound=Media)
KINDS: tuple[tuple[type[Media], tuple[str, ...]], ...] = (
    (Image, ("image/",)), (Audio, ("audio/",)), (Document, ("application/pdf", "text/")),
)  # fmt: skip
NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Fetcher:
    """Puts the bytes of files in the place of their URLs.

    Args:
        hosts: names that may be asked, exactly; "*" for every public host.
        networks: networks that count as public, such as "10.1.0.0/16".
        most: bytes of a file.
        seconds: for one file, from the name's resolution to its last byte.

    >>> Fetcher(["files.example.org"], []).allows("evil.example.org")
    False
    """

    def __init__(
        self, hosts: Iterable[str], networks: Iterable[str], *, most: int = 10 << 20, seconds: float = 10.0
    ) -> None:
        self._hosts = frozenset(host.lower().rstrip(".") for host in hosts)
        self._networks = [ipaddress.ip_network(one) for one in networks]
        self._most, self._seconds = most, seconds

    def allows(self, host: str) -> bool:
        """Whether a host may be asked, as far as its name tells."""
        return "*" in self._hosts or host.lower().rstrip(".") in self._hosts

    async def filled(self, request: Request) -> Request:
        """The request with its files, side by side.

        Raises:
            RequestRefused: for a URL that is not fetched, or has no file of its kind; it says which and why.
        """
        urls = {part for turn in request.messages for part in turn.parts if isinstance(part, Media) and part.url}
        if not urls:
            return request
        parts = sorted(urls, key=lambda part: part.url)
        found = dict(zip(parts, await asyncio.gather(*(self._fetched(part) for part in parts)), strict=True))

        def with_files(turn: Message) -> Message:
            return replace(turn, parts=tuple(found.get(p, p) if isinstance(p, Media) else p for p in turn.parts))

        return replace(request, messages=tuple(with_files(turn) for turn in request.messages))

    async def _fetched(self, part: M) -> M:
        shown = repr(part.url[:60])
        url = self._parsed(part.url, shown)
        try:
            async with (
                asyncio.timeout(self._seconds),
                httpcore2.AsyncConnectionPool(network_backend=_Pinned(self._networks)) as pool,
                pool.stream("GET", url, headers={"host": _host(url), "accept": "*/*"}) as answer,
            ):
                kind = _header(answer, b"content-type").partition(";")[0].strip().lower()
                if answer.status != 200:
                    more = "; redirects are not followed" if 300 <= answer.status < 400 else ""
                    raise RequestRefused(f"{shown} answered {answer.status}{more}")
                wanted = next((names for one, names in KINDS if isinstance(part, one)), ())
                if not kind.startswith(wanted):
                    raise RequestRefused(
                        f"{shown} is {kind or 'of no type'!r}, where {' or '.join(wanted)} is expected"
                    )
                return replace(part, data=await self._body(answer, shown), mime=kind, url="")
        except TimeoutError:
            raise RequestRefused(f"{shown} took longer than {self._seconds:g} s") from None
        except (httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError, OSError) as error:
            raise RequestRefused(f"{shown} cannot be fetched: {str(error) or type(error).__name__}") from None

    async def _body(self, answer: httpcore2.Response, shown: str) -> bytes:
        data = bytearray()
        async for piece in answer.aiter_stream():
            data += piece
            if len(data) > self._most:
                raise RequestRefused(f"{shown} has more than the {self._most} bytes that are fetched")
        return bytes(data)

    def _parsed(self, text: str, shown: str) -> httpcore2.URL:
        try:
            url = httpcore2.URL(text)
        except (ValueError, UnicodeError, TypeError):
            url = None
        if url is None or any(ord(c) <= 32 or ord(c) == 127 for c in text):
            raise RequestRefused(f"{shown} is no URL")
        host = url.host.decode("ascii", "replace")
        usual = {b"http": 80, b"https": 443}.get(url.scheme)
        if usual is None or "@" in text.partition("://")[2].partition("/")[0]:
            raise RequestRefused(f"{shown}: http and https alone are fetched, without a user's name")
        if not self._networks and url.port not in (None, usual):
            raise RequestRefused(f"{shown}: only the usual port {usual} is asked")
        if not host or not self.allows(host):
            raise RequestRefused(f"this server fetches nothing from the host {host!r}")
        return url


class _Pinned(httpcore2.AnyIOBackend):
    """Connects to an address that was checked, whatever its name means later."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = networks

    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:  # fmt: skip
        loop = asyncio.get_running_loop()
        rows = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found = [str(row[4][0]) for row in rows]
        inside = next((address for address in found if not self._outside(address)), None)
        if inside is not None or not found:
            raise RequestRefused(
                f"{host!r} is {inside or 'nowhere'}, an address of an inner network; nothing was asked"
            )
        return await super().connect_tcp(found[0], port, timeout, local_address, socket_options)

    def _outside(self, text: str) -> bool:
        address = ipaddress.ip_address(text.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address):
            hidden = address.ipv4_mapped or address.sixtofour or (
                ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in NAT64 else None
            )  # fmt: skip
            if hidden is not None and not self._outside(str(hidden)):
                return False
        if any(address in network for network in self._networks if network.version == address.version):
            return True
        return address.is_global and not address.is_multicast


def _host(url: httpcore2.URL) -> str:
    host = url.host.decode("ascii")
    name = f"[{host}]" if ":" in host else host
    return name if url.port is None else f"{name}:{url.port}"


def _header(answer: httpcore2.Response, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in answer.headers if key.lower() == name), "")
