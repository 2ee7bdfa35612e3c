"""Listening: uvicorn around the application, with a drain that ends every stream in good order."""

from __future__ import annotations

import gc
import socket
import sys
import time
from collections.abc import Callable
from types import FrameType

from palmette.core.errors import MissingExtra, UsageError
from palmette.core.model import Model
from palmette.models.keep.logs import Logs
from palmette.models.wrap.logged import logged
from palmette.serve.app import App, application
from palmette.serve.registry import prove
from palmette.serve.settings import Settings

try:
    import uvicorn
except ImportError as error:
    raise MissingExtra("palmette serve", "serve") from error

__all__ = ["serve"]


class _Server(uvicorn.Server):
    """Told to stop, it takes no more requests, waits for those that run, then cancels them; told twice, it stops."""

    def __init__(self, config: uvicorn.Config, app: App, drain: float) -> None:
        super().__init__(config)
        self._app, self._drain = app, drain

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """See uvicorn."""
        if self._app.draining:
            self.force_exit = True
        self._app.draining = True
        self._app.stop_at = time.monotonic() + self._drain
        self.should_exit = True


def serve(settings: Settings, ready: Callable[[str], None] = lambda url: None) -> int:
    """Serve until a signal stops it; returns the exit code.

    Args:
        settings: what it is told.
        ready: is told the address when requests are answered.

    Raises:
        UsageError: for settings that are not safe, or an address that is in use.
    """
    for one in settings.models:
        prove(one)
    log = Logs(settings.log) if settings.log else None

    def dressed(model: Model) -> Model:
        return model if log is None else logged(model, log, content=settings.content)

    guard, app = application(settings, dressed)
    listener = _listener(settings)
    config = uvicorn.Config(
        guard, log_level="warning", access_log=False, server_header=False, date_header=False, http=_http(), ws="none",
        lifespan="on", timeout_keep_alive=30, timeout_graceful_shutdown=max(1, round(settings.drain)),
        h11_max_incomplete_event_size=64 << 10, loop="auto", proxy_headers=False,
    )  # fmt: skip
    server = _Server(config, app, settings.drain)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    ready(f"http://{shown}:{port}")
    gc.collect()
    gc.freeze()  # modules live as long as the server does: they need not be looked through again and again
    gc.set_threshold(20_000, 20, 20)
    server.run(sockets=[listener])
    return 0


def _listener(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise UsageError(f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}") from None
    listener.listen(1024)
    return listener


def _http() -> str:
    return "httptools" if sys.implementation.name == "cpython" else "h11"
