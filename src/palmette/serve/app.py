"""The server as an ASGI application: every API of every model, from one table of routes."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from palmette.core.errors import Busy
from palmette.core.model import Model
from palmette.models.remote.wires import WIRES
from palmette.serve.errors import status_of, told
from palmette.serve.fetch import Fetcher
from palmette.serve.guard import Guard
from palmette.serve.metrics import Metrics
from palmette.serve.openapi import document, page
from palmette.serve.registry import Registry
from palmette.serve.routes import Route, api_of, find, methods
from palmette.serve.settings import Settings
from palmette.serve.talk import Exchange, reply
from palmette.serve.tasks import TASKS, named_in

__all__ = ["App", "application"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
log = logging.getLogger("palmette.serve")


class App:
    """Routes requests to models; see `application` for the whole with its guard."""

    def __init__(self, registry: Registry, fetcher: Fetcher | None = None) -> None:
        self.registry = registry
        self.fetcher = fetcher
        self.metrics = Metrics()
        self.draining = False
        self.stop_at = 0.0  # when running answers are cut, once it drains
        self._sweeper: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        path = scope["path"]
        route, model = find(scope["method"], path)
        if route is None:
            known = methods(path)
            more = {"allow": ", ".join(known)} if known else {}
            said = f"no address {scope['method']} {path}; /docs lists them"
            await self._fail(path, 405 if known else 404, said, send, **more)
            return
        await self._answered(route, model, scope, receive, send)

    async def _answered(self, route: Route, model: str, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(route.api, model)
        self.metrics.in_flight += 1
        work = asyncio.current_task()
        assert work is not None
        watch = asyncio.ensure_future(_watch(receive, work, exchange))
        try:
            await self._do(route, model, scope, send, exchange)
        except asyncio.CancelledError:
            if not exchange.gone:
                raise
            work.uncancel()
            exchange.status = 499
            self.metrics.left[exchange.model] += 1
        except Exception as error:
            watch.cancel()
            exchange.status = status_of(error)
            if exchange.status == 500:
                log.exception("%s failed", scope["path"])
            if not exchange.started:
                headers = {"retry-after": f"{max(1, round(error.retry_after))}"} if isinstance(error, Busy) else {}
                await self._fail(scope["path"], exchange.status, told(error), send, **headers)
        finally:
            watch.cancel()
            self._count(route, exchange)

    async def _do(self, route: Route, name: str, scope: Scope, send: Send, exchange: Exchange) -> None:
        if self.draining and route.kind not in ("health", "ready", "metrics"):
            raise Busy("this server is being stopped", 5)
        body = scope.get("palmette.body")
        match route.kind:
            case "chat":
                wanted = name or named_in(body)
                exchange.model = wanted
                async with self.registry.use(wanted) as model:
                    await reply(model, WIRES[route.api], body, scope["path"], send, exchange, self.fetcher)
            case "health":
                await _json(send, 200, {"status": "ok"})
            case "ready":
                await _json(send, 503 if self.draining else 200, {"status": "draining" if self.draining else "ready"})
            case "metrics":
                loads = {n: entry.load for n, entry in self.registry.entries.items()}
                await _bytes(send, 200, self.metrics.text(loads).encode(), "text/plain; version=0.0.4")
            case "openapi":
                await _json(send, 200, document(list(self.registry.entries)))
            case "docs":
                await _bytes(send, 200, page().encode(), "text/html; charset=utf-8", **_PAGE)
            case _:
                headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
                await _json(
                    send, 200, await TASKS[route.kind](self.registry, route, name, body, scope["path"], headers)
                )

    def _count(self, route: Route, exchange: Exchange) -> None:
        self.metrics.in_flight -= 1
        if route.kind in ("health", "ready", "metrics", "openapi", "docs"):
            return
        seconds = time.monotonic() - exchange.began
        self.metrics.done(route.api, exchange.model if exchange.model in self.registry.entries else "", exchange.status,
                          seconds, exchange.first)  # fmt: skip
        used = exchange.usage
        if used is not None:
            self.metrics.tokens[exchange.model, "input"] += used.input
            self.metrics.tokens[exchange.model, "output"] += used.output
        if not log.isEnabledFor(logging.INFO):
            return
        log.info("%s", json.dumps({"path": route.path, "model": exchange.model, "status": exchange.status,
                                   "seconds": round(seconds, 4), "first": exchange.first and round(exchange.first, 4),
                                   "input": used and used.input, "output": used and used.output}))  # fmt: skip

    async def _fail(self, path: str, status: int, said: str, send: Send, **headers: str) -> None:
        await _json(send, status, failed(path, status, said), **headers)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Start with the server, end with it."""
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._sweeper = asyncio.ensure_future(self.registry.sweep())
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                if self._sweeper is not None:
                    self._sweeper.cancel()
                await asyncio.to_thread(self.registry.close)
                await send({"type": "lifespan.shutdown.complete"})
                return


def application(settings: Settings, dressed: Callable[[Model], Model] = lambda model: model) -> tuple[Guard, App]:
    """The whole application, and its inside.

    Args:
        settings: what it is told; see `Settings.checked` for what is refused.
        dressed: what is put around every model, such as the run store.

    >>> from palmette.serve.settings import ModelSettings
    >>> guard, app = application(Settings((ModelSettings("toy", "zoo:seedling"),)))
    >>> list(app.registry.entries)
    ['toy']
    """
    fetcher = Fetcher(settings.fetch, settings.networks) if settings.fetch else None
    app = App(Registry(settings.checked(), dressed), fetcher)
    return Guard(app, settings, failed), app


def failed(path: str, status: int, said: str) -> Any:
    """A failure in the words of the API that an address belongs to."""
    wire = WIRES.get(api_of(path)) or WIRES["openai"]
    return wire.encode_error(status, said)


async def _watch(receive: Receive, work: asyncio.Task[Any], exchange: Exchange) -> None:
    """Stop the work when the client goes away; its body was read before."""
    while (await receive())["type"] != "http.disconnect":
        pass
    exchange.gone = True
    work.cancel()


async def _json(send: Send, status: int, body: Any, **headers: str) -> None:
    data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    await _bytes(send, status, data, "application/json", **headers)


async def _bytes(send: Send, status: int, data: bytes, kind: str, **headers: str) -> None:
    rows = [(b"content-type", kind.encode()), (b"content-length", str(len(data)).encode())]
    rows += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": rows})
    await send({"type": "http.response.body", "body": data})


_PAGE = {"content_security_policy": "default-src 'none'; style-src 'unsafe-inline'", "referrer_policy": "no-referrer"}
