"""What stands before every route: who may ask, how much, and from where. Pure ASGI, so that streams stay streams.

The order is that of the checks: Host (DNS rebinding), origin (pages of other sites), key, size and kind of the body.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from palmette.serve.settings import Settings, is_loopback

__all__ = ["Guard", "Refused"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]")
OPEN = ("/health", "/ready")  # answered without a key, since they tell nothing


class Refused(Exception):
    """A request that is not let in."""

    def __init__(self, status: int, said: str, **headers: str) -> None:
        super().__init__(said)
        self.status = status
        self.headers = headers


class Guard:
    """Lets requests through that may be asked; puts the body, read whole, into the scope.

    Args:
        app: what stands behind it.
        settings: limits, keys, names.
        failed: makes the body of a refusal: (path, status, text) -> JSON.
    """

    def __init__(self, app: App, settings: Settings, failed: Callable[[str, int, str], Any]) -> None:
        self._app, self._settings, self._failed = app, settings, failed
        own = settings.host if settings.host not in ("0.0.0.0", "::", "") else ""
        self._hosts = frozenset(name.lower() for name in (*settings.hosts, own) if name)
        self._keys = [bytes.fromhex(key) for key in settings.keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers = _headers(scope)
        try:
            self._let_in(scope, headers)
            if scope["method"] in ("POST", "PUT", "PATCH", "DELETE"):
                scope["palmette.body"] = await self._body(receive, headers)
        except Refused as refused:
            await self._refuse(scope, send, refused, headers)
            return
        await self._app(scope, receive, self._shared(send, headers))

    # -- the checks ----------------------------------------------------------------------------------------------------

    def _let_in(self, scope: Scope, headers: Mapping[str, list[str]]) -> None:
        hosts = headers.get("host", [])
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            raise Refused(421, f"this server does not answer for the host {(hosts or [''])[0][:80]!r}")
        origin = (headers.get("origin") or [""])[0]
        site = (headers.get("sec-fetch-site") or [""])[0]
        foreign = origin and origin not in self._settings.origins and not self._same(origin, hosts[0])
        if foreign or (site not in ("", "same-origin", "none") and origin not in self._settings.origins):
            raise Refused(403, f"pages of {origin or 'another site'!r} may not call this server")
        if scope["method"] == "OPTIONS":
            raise Refused(204, "")
        if self._keys and scope["path"] not in OPEN and not self._opens(headers):
            raise Refused(
                401, "a key of this server is needed, as Authorization: Bearer KEY", **{"www-authenticate": "Bearer"}
            )

    def _is_ours(self, host: str) -> bool:
        """Whether a Host header names this server: this machine, or a name that was allowed."""
        name, port = _split(host)
        if name is None or (port and not (port.isascii() and port.isdigit())):
            return False
        if name in self._hosts:
            return True
        return is_loopback(name) and not name.endswith(".")

    def _same(self, origin: str, host: str) -> bool:
        return origin in (f"http://{host}", f"https://{host}")

    def _opens(self, headers: Mapping[str, list[str]]) -> bool:
        given = [v.partition(" ")[2].strip() for v in headers.get("authorization", []) if v[:7].lower() == "bearer "]
        given += headers.get("x-api-key", []) + headers.get("x-goog-api-key", [])
        marks = [hashlib.sha256(key.encode()).digest() for key in given]
        found = False
        for mark in marks:
            for known in self._keys:  # all of them, so that the time tells nothing
                found |= hmac.compare_digest(mark, known)
        return found

    async def _body(self, receive: Receive, headers: Mapping[str, list[str]]) -> Any:
        """The body's JSON, within the limits."""
        kind = (headers.get("content-type") or [""])[0].partition(";")[0].strip().lower()
        if headers.get("content-encoding", ["identity"])[0].lower() not in ("", "identity"):
            raise Refused(415, "a body must not be compressed")
        length = (headers.get("content-length") or ["0"])[0]
        if length.isdigit() and int(length) > self._settings.body:
            raise Refused(413, f"the body has {length} bytes; this server takes {self._settings.body}")
        data = bytearray()
        try:
            async with asyncio.timeout(self._settings.seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refused(400, "the client went away")
                    data += message.get("body", b"")
                    if len(data) > self._settings.body:
                        raise Refused(
                            413, f"the body has more than the {self._settings.body} bytes that this server takes"
                        )
                    if not message.get("more_body"):
                        break
        except TimeoutError:
            raise Refused(408, f"the body took longer than {self._settings.seconds:g} s") from None
        if not data:
            return None
        if kind != "application/json" and not kind.endswith("+json"):
            raise Refused(415, f"the body must be sent as application/json, not {kind[:60] or 'without a type'!r}")
        return _json(bytes(data), self._settings.depth)

    # -- what goes back ------------------------------------------------------------------------------------------------

    async def _refuse(self, scope: Scope, send: Send, refused: Refused, headers: Mapping[str, list[str]]) -> None:
        body = b"" if refused.status == 204 else json.dumps(
            self._failed(scope["path"], refused.status, str(refused)), ensure_ascii=False).encode()  # fmt: skip
        said = {"content-type": "application/json", "content-length": str(len(body)), **refused.headers}
        if refused.status in (408, 413):
            said["connection"] = "close"
        send = self._shared(send, headers)
        rows = [(k.encode(), v.encode()) for k, v in said.items()]
        await send({"type": "http.response.start", "status": refused.status, "headers": rows})
        await send({"type": "http.response.body", "body": body})

    def _shared(self, send: Send, headers: Mapping[str, list[str]]) -> Send:
        """Adds what browsers must know: nothing is shared but with the origins that were allowed, by name."""
        origin = (headers.get("origin") or [""])[0]
        more = [(b"x-content-type-options", b"nosniff")]
        if origin and origin in self._settings.origins:
            more += [(b"access-control-allow-origin", origin.encode()), (b"vary", b"origin"),
                     (b"access-control-allow-headers", b"authorization, content-type, x-api-key, anthropic-version"),
                     (b"access-control-allow-methods", b"GET, POST")]  # fmt: skip

        async def sent(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *more]
            await send(message)

        return sent


def _headers(scope: Scope) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


def _split(host: str) -> tuple[str | None, str]:
    """A Host header's name and port; no name for what is none."""
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        return (name.lower(), port.removeprefix(":")) if bracket and port[:1] in ("", ":") else (None, "")
    name, _, port = host.partition(":")
    return (name.lower(), port) if name and not any(c in name for c in "/@ \\?#") else (None, "")


def _json(data: bytes, depth: int) -> Any:
    """A body as JSON: strict, and not deeper than so many levels."""

    def no(text: str) -> Any:
        raise Refused(400, f"the body is no JSON: {text} is no number of it")

    if data.count(b"[") + data.count(b"{") > depth:
        level = 0
        for bracket in _BRACKETS.finditer(_STRINGS.sub(b"", data)):
            level += 1 if bracket[0] in b"[{" else -1
            if level > depth:
                raise Refused(400, f"the body is deeper than {depth} levels")
    try:
        return json.loads(data, parse_constant=no)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body is no JSON: {str(error)[:120]}") from None
