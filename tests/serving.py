"""A running server of ours, in a thread, on a free port of this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2
import uvicorn

from palmette.core.model import Model
from palmette.serve.app import App, application
from palmette.serve.settings import ModelSettings, Settings

__all__ = ["Running", "running"]


@dataclass
class Running:
    """A server with a client for it."""

    url: str
    app: App
    server: uvicorn.Server
    http: httpx2.Client = field(repr=False)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def post(self, path: str, body: Any, **headers: str) -> httpx2.Response:
        """A POST of JSON."""
        return self.http.post(path, json=body, headers={k.replace("_", "-"): v for k, v in headers.items()})


@contextmanager
def running(
    settings: Settings | None = None,
    models: Mapping[str, Model] | None = None,
    dressed: Callable[[Model], Model] = lambda model: model,
) -> Iterator[Running]:
    """A server of these settings; `models` stand for what their names would open."""
    models = models or {}
    given = settings or Settings(())
    named = tuple(ModelSettings(name, "zoo:seedling") for name in models)
    guard, app = application(replace(given, models=(*given.models, *named)), dressed)
    for name, model in models.items():
        app.registry.entries[name].model = dressed(model)
    config = uvicorn.Config(guard, port=0, log_level="error", access_log=False, ws="none", lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + 20
    while not server.started and time.monotonic() < end:
        time.sleep(0.01)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    http = httpx2.Client(base_url=url, timeout=30)
    try:
        yield Running(url, app, server, http)
    finally:
        http.close()
        server.should_exit = True
        thread.join(20)
