"""The one place that talks to the network: timeouts, retries, a deadline, and keys that go nowhere else."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from palmette.core.errors import (
    BadAnswer,
    KeyRefused,
    NoConnection,
    NotServed,
    ProviderError,
    ProviderFailed,
    RateLimited,
    RequestRefused,
    TimedOut,
)
from palmette.models.remote.stream import Lines, ServerEvents
from palmette.models.remote.wires.base import Wire

__all__ = ["Client", "Limits", "Secret"]

LARGEST = 64 << 20  # bytes of an answer
_AGAIN = frozenset({408, 429, 500, 502, 503, 504, 529})
_TYPES: dict[int, type[ProviderError]] = {
    400: RequestRefused, 401: KeyRefused, 403: KeyRefused, 404: NotServed, 408: TimedOut, 413: RequestRefused,
    422: RequestRefused, 429: RateLimited,
}  # fmt: skip


class Secret:
    """A key: shown to nobody, in no message, log or trace."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __reduce__(self) -> Any:
        raise TypeError("a key is not to be copied or stored")

    def reveal(self) -> str:
        """The key itself."""
        return self._value


@dataclass(frozen=True)
class Limits:
    """Seconds and tries.

    Args:
        connect: to reach the host.
        read: of silence, between two pieces of an answer.
        total: for the whole call, retries included.
        retries: further tries after a failure that may pass; a stream that has begun is never begun again.
    """

    connect: float = 5.0
    read: float = 60.0
    total: float = 600.0
    retries: int = 2


class Client:
    """A connection pool to one host, with its key.

    Args:
        base: URL; the key goes to its scheme, host and port alone, and no redirect is followed.
        headers: sent with every request.
        key: the header's name and the secret, or None.
        limits: see Limits.
    """

    def __init__(
        self, base: str, headers: Mapping[str, str], key: tuple[str, Secret] | None = None, limits: Limits | None = None
    ) -> None:
        url = httpx2.URL(base)
        if url.scheme not in ("http", "https") or not url.host:
            raise RequestRefused(f"{base!r} is no URL of an API; write https://HOST/PATH")
        self.base = base.rstrip("/")
        self.limits = limits or Limits()
        self._headers = dict(headers)
        self._key = key
        self._pool = httpx2.Client(follow_redirects=False)

    def __repr__(self) -> str:
        return f"Client({self.base!r})"

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def post(self, path: str, body: Mapping[str, Any], wire: Wire) -> Any:
        """The answer's JSON.

        Raises:
            ProviderError: of the type that says what happened.
        """
        end = time.monotonic() + self.limits.total
        with self._answer(path, body, wire, end) as answer:
            return self._json(answer, self._read(answer, end))

    def stream(self, path: str, body: Mapping[str, Any], wire: Wire) -> Iterator[tuple[str, Any]]:
        """(event name, JSON) pairs as they come; leaving the iterator closes the connection.

        Raises:
            ProviderError: of the type that says what happened.
        """
        end = time.monotonic() + self.limits.total
        with self._answer(path, body, wire, end) as answer:
            kind = answer.headers.get("content-type", "")
            if wire.framing == "sse" and "event-stream" not in kind:
                raw = self._read(answer, end)
                said = wire.complaint(self._json(answer, raw)) if "json" in kind else ""
                raise BadAnswer(self._clean(said) or f"the answer is no stream but {kind or 'of no type'}")
            pairs = ServerEvents() if wire.framing == "sse" else None
            lines = Lines()
            for chunk in self._chunks(answer, end):
                found = pairs.feed(chunk) if pairs else (("", line) for line in lines.feed(chunk))
                for name, data in found:
                    if data == "[DONE]":
                        return
                    if data:
                        yield name, self._parsed(data)
            for name, data in pairs.close() if pairs else (("", line) for line in lines.close()):
                if data and data != "[DONE]":
                    yield name, self._parsed(data)

    # -- one call ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _answer(self, path: str, body: Mapping[str, Any], wire: Wire, end: float) -> Iterator[httpx2.Response]:
        """A successful answer, its body unread; tried again where that may help."""
        for attempt in range(self.limits.retries + 1):
            try:
                answer = self._send(path, body, end)
            except NoConnection:
                if attempt == self.limits.retries or not self._rest(_pause(attempt, None), end):
                    raise
                continue
            if answer.status_code < 300:
                break
            failure = self._failure(answer, wire, end)
            again = answer.status_code in _AGAIN and attempt < self.limits.retries
            if not again or not self._rest(_pause(attempt, answer.headers), end):
                raise failure
        try:
            yield answer
        finally:
            answer.close()

    def _send(self, path: str, body: Mapping[str, Any], end: float) -> httpx2.Response:
        headers = {**self._headers, "content-type": "application/json"}
        if self._key is not None:
            headers[self._key[0]] = self._key[1].reveal()
        left = max(0.001, end - time.monotonic())
        patience = httpx2.Timeout(min(self.limits.read, left), connect=min(self.limits.connect, left))
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        request = self._pool.build_request("POST", self.base + path, content=content, headers=headers, timeout=patience)
        with self._failures():
            return self._pool.send(request, stream=True)

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

    def _chunks(self, answer: httpx2.Response, end: float) -> Iterator[bytes]:
        size = 0
        chunks = answer.iter_bytes()
        while True:
            with self._failures():
                chunk = next(chunks, None)
            if chunk is None:
                return
            size += len(chunk)
            if size > LARGEST:
                raise BadAnswer(f"{self.base} sent more than {LARGEST >> 20} MB")
            if time.monotonic() > end:
                raise TimedOut(f"{self.base} was still answering after {self.limits.total:g} s")
            yield chunk

    def _read(self, answer: httpx2.Response, end: float) -> bytes:
        return b"".join(self._chunks(answer, end))

    def _failure(self, answer: httpx2.Response, wire: Wire, end: float) -> ProviderError:
        """The error that a status stands for, with what the provider says about it."""
        try:
            raw = self._read(answer, end)
        except ProviderError:
            raw = b""
        finally:
            answer.close()
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
        return kind(text + kind.advice, status)

    def _rest(self, seconds: float, end: float) -> bool:
        """Wait before the next try, if there is time for it."""
        if time.monotonic() + seconds >= end:
            return False
        time.sleep(seconds)
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


def _pause(attempt: int, headers: Any) -> float:
    """Seconds to wait: what the provider asks for, else twice as long each time, with jitter."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            asked = float((headers or {}).get(name, "")) * unit
        except ValueError:
            continue
        if 0 <= asked <= 120:
            return asked
    return float(min(8.0, 0.5 * 2**attempt) * (0.75 + 0.25 * random.random()))
