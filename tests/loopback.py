"""A server on this machine that answers with the bytes a test gives it, and remembers what it was asked."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Loopback", "answer", "served"]

Script = Callable[["Loopback", socket.socket, int], None]


@dataclass
class Loopback:
    """What a running server was asked."""

    port: int
    requests: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    closed: list[bool] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"


def answer(status: int, body: Any, kind: str = "application/json", **headers: str) -> bytes:
    """A whole HTTP answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Status", f"content-type: {kind}", f"content-length: {len(data)}", "connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


@contextmanager
def served(script: Script | list[bytes]) -> Iterator[Loopback]:
    """A server; each request gets the script (or the next of some answers, the last one for ever)."""
    listener = socket.create_server(("127.0.0.1", 0))
    state = Loopback(listener.getsockname()[1])
    threads: list[threading.Thread] = []

    def accept() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=talk, args=(peer,), daemon=True)
            threads.append(thread)
            thread.start()

    def talk(peer: socket.socket) -> None:
        with peer:
            try:
                number = len(state.requests)
                state.requests.append(_read(peer))
                if isinstance(script, list):
                    peer.sendall(script[min(number, len(script) - 1)])
                else:
                    script(state, peer, number)
            except OSError:
                state.closed.append(True)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
        for one in threads:
            one.join(5)


def _read(peer: socket.socket) -> tuple[str, dict[str, str], Any]:
    data = b""
    while b"\r\n\r\n" not in data:
        more = peer.recv(65536)
        if not more:
            raise OSError("closed")
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    first, *rows = head.decode().split("\r\n")
    headers = {k.lower(): v for k, _, v in (row.partition(": ") for row in rows)}
    while len(body) < int(headers.get("content-length", 0)):
        body += peer.recv(65536)
    return first.split(" ")[1], headers, json.loads(body or b"null")


def drip(data: bytes, seconds: float) -> Script:
    """Sends a byte at a time."""

    def script(state: Loopback, peer: socket.socket, number: int) -> None:
        for i in range(len(data)):
            peer.sendall(data[i : i + 1])
            time.sleep(seconds)

    return script
