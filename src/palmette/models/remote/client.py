"""The one place that talks to the network: timeouts, retries, a deadline, and keys that go nowhere else.

Written once: whether a call blocks or suspends is the caller's `Way`; only sending and reading bytes differ.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import random
import re
import ssl
import time
import weakref
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import httpx2

from palmette.core.errors import (
    BadAnswer,
    KeyRefused,
    NoConnection,
    NotServed,
    Offline,
    ProviderError,
    ProviderFailed,
    RateLimited,
    RequestRefused,
    TimedOut,
)
from palmette.core.offline import offline
from palmette.core.waiting import Way
from palmette.models.remote.network import drained, joined
from palmette.models.remote.patience import Limits, Secret
from palmette.models.remote.stream import Lines, ServerEvents

__all__ = ["Client", "Limits", "Secret", "Upload", "client_of", "told"]

_DATE = re.compile(r"^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$")
_clients: dict[Any, Client] = {}
KEPT = httpx2.Limits(max_connections=1024, max_keepalive_connections=256)  # 20, the default, makes a gateway reconnect
LARGEST = 64 << 20  # bytes of an answer
_AGAIN = frozenset({408, 429, 500, 502, 503, 504, 529})
_TYPES: dict[int, type[ProviderError]] = {
    400: RequestRefused, 401: KeyRefused, 403: KeyRefused, 404: NotServed, 408: TimedOut, 413: RequestRefused,
    422: RequestRefused, 429: RateLimited, 501: RequestRefused,
}  # fmt: skip


@dataclass(frozen=True)
class Upload:
    """A body that is no JSON."""

    kind: str
    content: bytes = field(repr=False)


class Framed(Protocol):
    """What the client has to know of an API: how its streams are cut, and where its errors say what is wrong."""

    @property
    def framing(self) -> Literal["sse", "lines"]: ...
    def complaint(self, body: Any) -> str: ...


Body = Mapping[str, Any] | Upload | None  # None asks with GET


class Client:
    """Connections to one host, with its key.

    Args:
        base: URL; the key goes to its scheme, host and port alone, and no redirect is followed.
        headers: sent with every request.
        key: the header's name and the secret, or None.
        limits: see Limits.
        proxy: URL of a proxy; the environment's (HTTPS_PROXY …) unless given.
        verify: False, or the path of a file of certificates to trust instead of the system's.
    """

    def __init__(
        self, base: str, headers: Mapping[str, str], key: tuple[str, Secret] | None = None,
        limits: Limits | None = None, *, proxy: str | None = None, verify: bool | str = True,
    ) -> None:  # fmt: skip
        url = httpx2.URL(base)
        if url.scheme not in ("http", "https") or not url.host:
            raise RequestRefused(f"{base!r} is no URL of an API; write https://HOST/PATH")
        self.base = base.rstrip("/")
        self.limits = limits or Limits()
        self._headers = dict(headers)
        self._key = key
        self._settings: dict[str, Any] = {
            "follow_redirects": False,
            "proxy": proxy,
            "verify": _trusted(verify),
            "limits": KEPT,
        }
        self._pool: httpx2.Client | None = None
        self._pools: weakref.WeakKeyDictionary[Any, tuple[httpx2.AsyncClient, Any]] = weakref.WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"Client({self.base!r})"

    def close(self) -> None:
        """Close the connections of calls that block; those of an event loop end with it."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    async def get(self, path: str, way: Way, wire: Framed) -> Any:
        """The JSON at a path.

        Raises:
            ProviderError: of the type that says what happened.
        """
        return (await self.post(path, None, way, wire))[0]

    async def post(self, path: str, body: Body, way: Way, wire: Framed) -> tuple[Any, Mapping[str, str]]:
        """The answer's JSON, and what its headers tell.

        Raises:
            ProviderError: of the type that says what happened.
        """
        end = time.monotonic() + self.limits.total
        async with self._answer(path, body, way, wire, end) as answer:
            return self._json(answer, await self._read(answer, way, end)), told(answer.headers)

    async def stream(
        self, path: str, body: Body, way: Way, wire: Framed
    ) -> AsyncIterator[tuple[str, Any, Mapping[str, str] | None]]:
        """(event name, JSON, headers with the first) as they come; closing the iterator closes the connection.

        Raises:
            ProviderError: of the type that says what happened.
        """
        end = time.monotonic() + self.limits.total
        async with self._answer(path, body, way, wire, end) as answer:
            kind = answer.headers.get("content-type", "")
            if wire.framing == "sse" and "event-stream" not in kind:
                raw = await self._read(answer, way, end)
                said = wire.complaint(self._json(answer, raw)) if "json" in kind else ""
                raise BadAnswer(self._clean(said) or f"the answer is no stream but {kind or 'of no type'}")
            headers: Mapping[str, str] | None = told(answer.headers)
            frames = ServerEvents() if wire.framing == "sse" else Lines()
            chunks = self._chunks(answer, way, end)
            async for chunk in chunks:
                for name, data in frames.pairs(chunk):
                    if data == "[DONE]":
                        await drained(answer, chunks, way)
                        return
                    if data:
                        yield name, self._parsed(data), headers
                        headers = None
            for name, data in frames.last():
                if data and data != "[DONE]":
                    yield name, self._parsed(data), headers

    # -- one call ------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _answer(
        self, path: str, body: Body, way: Way, wire: Framed, end: float
    ) -> AsyncIterator[httpx2.Response]:
        """A successful answer, its body unread; tried again where that may help."""
        for attempt in range(self.limits.retries + 1):
            try:
                answer = await self._send(path, body, way, end)
            except NoConnection:
                if attempt == self.limits.retries or not await self._rest(_pause(attempt, None), way, end):
                    raise
                continue
            if answer.status_code < 300:
                break
            failure = await self._failure(answer, way, wire, end)
            again = answer.status_code in _AGAIN and answer.headers.get("x-should-retry") != "false"
            last = attempt == self.limits.retries
            if last or not again or not await self._rest(_pause(attempt, answer.headers), way, end):
                raise failure
        try:
            yield answer
        finally:
            await _closed(answer, way)

    async def _send(self, path: str, body: Body, way: Way, end: float) -> httpx2.Response:
        if offline():
            raise Offline(f"PALMETTE_OFFLINE is set: nothing was sent to {self.base}; unset it to ask")
        headers = dict(self._headers)
        if self._key is not None:
            headers[self._key[0]] = self._key[1].reveal()
        content = None
        if isinstance(body, Upload):
            headers["content-type"], content = body.kind, body.content
        elif body is not None:
            headers["content-type"] = "application/json"
            content = _bytes(body)
        left = max(0.001, end - time.monotonic())
        patience = httpx2.Timeout(min(self.limits.read, left), connect=min(self.limits.connect, left))
        verb = "GET" if body is None else "POST"
        pool: Any = self._blocking_pool() if way.blocking else await self._loop_pool()
        request = pool.build_request(verb, self.base + path, content=content, headers=headers, timeout=patience)
        with self._failures():
            sent = pool.send(request, stream=True)
            return sent if way.blocking else await sent  # type: ignore[no-any-return]

    def _blocking_pool(self) -> httpx2.Client:
        if self._pool is None:
            self._pool = joined(httpx2.Client(**self._settings))
        return self._pool

    async def _loop_pool(self) -> httpx2.AsyncClient:
        """Connections belong to an event loop, and are closed when it ends."""
        loop = asyncio.get_running_loop()
        if loop not in self._pools:
            pool = joined(httpx2.AsyncClient(**self._settings))
            guard = _closing(pool)
            self._pools[loop] = (pool, guard)
            await anext(guard)
        return self._pools[loop][0]

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """The network's exceptions as ours; they hold the request and so the key, and are not passed on."""
        try:
            yield
        except httpx2.ConnectTimeout:
            raise NoConnection(f"{self.base} did not answer within {self.limits.connect:g} s") from None
        except httpx2.TimeoutException:
            raise TimedOut(f"{self.base} was silent for {self.limits.read:g} s, or the time was up") from None
        except httpx2.ConnectError as error:
            raise NoConnection(f"{self.base} cannot be reached: {self._clean(str(error))}") from None
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            what = self._clean(str(error)) or type(error).__name__
            raise NoConnection(f"the connection to {self.base} broke: {what}") from None

    async def _chunks(self, answer: httpx2.Response, way: Way, end: float) -> AsyncIterator[bytes]:
        size = 0
        if way.blocking:
            chunks = answer.iter_bytes()
        else:
            achunks = answer.aiter_bytes()
        while True:
            with self._failures():
                chunk = next(chunks, None) if way.blocking else await anext(achunks, None)
            if chunk is None:
                return
            size += len(chunk)
            if size > LARGEST:
                raise BadAnswer(f"{self.base} sent more than {LARGEST >> 20} MB")
            if time.monotonic() > end:
                raise TimedOut(f"{self.base} was still answering after {self.limits.total:g} s")
            yield chunk

    async def _read(self, answer: httpx2.Response, way: Way, end: float) -> bytes:
        return b"".join([chunk async for chunk in self._chunks(answer, way, end)])

    async def _failure(self, answer: httpx2.Response, way: Way, wire: Framed, end: float) -> ProviderError:
        """The error that a status stands for, with what the provider says about it."""
        try:
            raw = await self._read(answer, way, end)
        except ProviderError:
            raw = b""
        finally:
            await _closed(answer, way)
        try:
            said = wire.complaint(json.loads(raw))
        except (ValueError, RecursionError):
            said = ""
        status = answer.status_code
        said = self._clean(said or raw[:200].decode(errors="replace").strip())
        mark = answer.headers.get("x-request-id") or answer.headers.get("request-id") or ""
        text = f"{self.base} answered {status}" + (f": {said}" if said else "") + (f" (request {mark})" if mark else "")
        if 300 <= status < 400:
            return ProviderFailed(
                f"{text}; redirects are not followed, since the key belongs to this host alone", status
            )
        kind = _TYPES.get(status, ProviderFailed if status >= 500 else RequestRefused)
        failure = kind(text + kind.advice, status)
        failure.headers = told(answer.headers)
        return failure

    async def _rest(self, seconds: float, way: Way, end: float) -> bool:
        """Wait before the next try, if there is time for it."""
        if time.monotonic() + seconds >= end:
            return False
        await way.sleep(seconds)
        return True

    def _json(self, answer: httpx2.Response, raw: bytes) -> Any:
        try:
            return json.loads(raw)
        except (ValueError, RecursionError):
            kind = answer.headers.get("content-type", "no type")
            start = self._clean(raw[:80].decode(errors="replace"))
            raise BadAnswer(f"{self.base} answered no JSON ({kind}): {start!r}") from None

    def _parsed(self, data: str) -> Any:
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise BadAnswer(f"{self.base} streamed no JSON: {self._clean(data[:80])!r}") from None

    def _clean(self, text: str) -> str:
        """Text without the key, should somebody have put it there."""
        return text if self._key is None else text.replace(self._key[1].reveal().removeprefix("Bearer "), "…")


def told(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that tell of limits and of the request."""
    return {k: v for k, v in headers.items() if "ratelimit" in k or k in ("retry-after", "x-request-id", "request-id")}


def _bytes(body: Mapping[str, Any]) -> bytes:
    """A body as JSON in UTF-8."""
    try:
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise RequestRefused(
            f"half a character cannot be sent: {error.object[error.start - 20 : error.end]!r}"
        ) from None


def client_of(
    base: str, headers: Mapping[str, str], key: tuple[str, Secret] | None, limits: Limits | None, **settings: Any
) -> Client:
    """One client for each address, key and setting: making one takes far longer than a call."""
    limits = limits or Limits()
    name = None if key is None else (key[0], key[1].mark)
    mark = (base, tuple(sorted(headers.items())), name, limits, tuple(sorted(settings.items())))
    if mark not in _clients:
        _clients[mark] = Client(base, headers, key, limits, **settings)
    return _clients[mark]


async def _closing(pool: httpx2.AsyncClient) -> AsyncIterator[None]:
    """An event loop closes its open generators when it ends, and this one closes the connections."""
    try:
        yield
    finally:
        await pool.aclose()


async def _closed(answer: httpx2.Response, way: Way) -> None:
    if way.blocking:
        answer.close()
    else:
        await answer.aclose()


def _trusted(verify: bool | str) -> Any:
    """What httpx2 takes: True, False, or a context that trusts a file's certificates."""
    if isinstance(verify, bool):
        return verify
    return ssl.create_default_context(cafile=verify)


def _pause(attempt: int, headers: Any) -> float:
    """Seconds to wait: what the provider asks for, else twice as long each time, with jitter."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        said = (headers or {}).get(name, "")
        try:
            asked = float(said) * unit
        except ValueError:
            date = email.utils.parsedate_to_datetime(said) if _DATE.match(said) else None
            if date is None:
                continue
            asked = max(0.0, date.timestamp() - time.time())
        if asked >= 0:  # longer than the whole call may last: the caller hears of it at once
            return asked
    return float(min(8.0, 0.5 * 2**attempt) * (0.75 + 0.25 * random.random()))
