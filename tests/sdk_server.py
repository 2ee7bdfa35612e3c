"""A server on this machine made of our wires' own server halves, for other people's clients: each API under its name.

It says what a test wants said; it remembers what it was asked, as our decoders understood it.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from palmette.core.errors import PalmetteError
from palmette.core.events import unfold
from palmette.core.message import Message, Request, Response, Usage
from palmette.core.model import Embeddings
from palmette.models.remote.wires import WIRES
from palmette.models.remote.wires.base import Wire, spell
from palmette.models.remote.wires.counting import COUNTS
from palmette.models.remote.wires.embeddings import EMBEDDINGS, Texts
from palmette.models.remote.wires.listing import LISTS, Listed

__all__ = ["MODELS", "Server", "serving"]

MODELS = [Listed("m-1", "8B Q4", "us", 4096, 1_700_000_000, 7, ("chat",)), Listed("m-2")]
CHAT = [
    (r"/chat/completions$", "openai"), (r"/responses$", "openai-responses"), (r"/completions$", "openai-completions"),
    (r"/v1/messages$", "anthropic"), (r":(stream)?[gG]enerateContent$", "gemini"), (r"/v2/chat$", "cohere"),
    (r"/api/chat$", "ollama"), (r"/api/generate$", "ollama-generate"),
]  # fmt: skip
VECTORS = [(r"/api/embed(dings)?$", "ollama"), (r"/v2/embed$", "cohere"), (r"mbedContents?$", "gemini"),
           (r"/embeddings$", "openai")]  # fmt: skip
COUNTED = [(r"/count_tokens$", "anthropic"), (r":countTokens$", "gemini"), (r"/input_tokens$", "openai-responses")]


@dataclass
class Server:
    """What a running server says, and what it was asked."""

    port: int = 0
    say: Callable[[Request], Response] = lambda request: Response((), "stop")
    asked: list[Request] = field(default_factory=list)
    texts: list[Texts] = field(default_factory=list)
    bodies: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def at(self, api: str) -> str:
        """The address of an API."""
        return f"http://127.0.0.1:{self.port}/{api}"


class _Failing(Exception):
    """A test wants this status."""


def _find(table: list[tuple[str, str]], path: str) -> str | None:
    return next((name for pattern, name in table if re.search(pattern, path)), None)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Server

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        self._answer(json.loads(self.rfile.read(length) or b"null"))

    def _answer(self, body: Any) -> None:
        path = self.path.partition("?")[0]
        self.state.bodies.append((self.command, self.path, dict(self.headers.items()), body))
        wire = _find(CHAT, path)
        try:
            if body is None:
                self._send(200, self._listed(path))
            elif wire is not None:
                self._chat(WIRES[wire], path, body)
            elif (name := _find(VECTORS, path)) is not None:
                self._send(200, self._vectors(name, path, body))
            elif (name := _find(COUNTED, path)) is not None:
                self.state.asked.append(COUNTS[name].decode_request(body, path))
                self._send(200, COUNTS[name].encode_response(7))
            else:
                self.state.refused.append(path)
                self._send(404, {"error": {"message": f"no address {path}"}})
        except _Failing as error:
            assert wire is not None
            self._send(int(str(error)), WIRES[wire].encode_error(int(str(error)), "no such luck"))
        except PalmetteError as error:
            self.state.refused.append(str(error))
            self._send(400, WIRES[wire or "openai"].encode_error(400, str(error)))

    def _chat(self, wire: Wire, path: str, body: Any) -> None:
        request, stream = wire.decode_request(body, path)
        self.state.asked.append(request)
        if request.model.startswith("fail-"):
            raise _Failing(request.model.removeprefix("fail-"))
        response = self.state.say(request)
        if not stream:
            self._send(200, wire.encode_response(response))
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream" if wire.framing == "sse" else "application/x-ndjson")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        writer = wire.writer(request)
        for event in unfold(response):
            self._piece(spell(writer.write(event), wire.framing))
        self._piece(spell(writer.close(), wire.framing))
        self.wfile.write(b"0\r\n\r\n")

    def _piece(self, data: bytes) -> None:
        if data:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _vectors(self, name: str, path: str, body: Any) -> dict[str, Any]:
        asked = EMBEDDINGS[name].decode_request(body, path)
        self.state.texts.append(asked)
        vectors = np.array([[len(one), 0.1] for one in asked.texts], np.float32)
        return EMBEDDINGS[name].encode_response(Embeddings(vectors, Usage(3), asked.model), asked)

    def _listed(self, path: str) -> Any:
        codec = LISTS[{"hf": "openai", "together": "openai"}.get(path.split("/")[1], path.split("/")[1])]
        name = path.rpartition("/")[2]
        one = next((model for model in MODELS if model.name == name), None)
        return codec.encode(MODELS) if one is None else codec.encode_one(one)

    def _send(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.send_header("retry-after", "0")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[Server]:
    """A running server."""
    state = Server()
    handler = type("Handler", (_Handler,), {"state": state})
    listener = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    listener.daemon_threads = True
    state.port = listener.server_address[1]
    thread = threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join(5)


def said(request: Request) -> str:
    """The text of the user's last turn."""
    last: Message = [one for one in request.messages if one.role == "user"][-1]
    return last.text
