"""POST /api/generate: one text and what follows it; an answer's words stand in `response`."""

from __future__ import annotations

from typing import Any, ClassVar

from palmette.core.errors import BadAnswer, Unsupported
from palmette.core.events import Event
from palmette.core.message import Image, Message, Part, Request, Response, Text, text_of
from palmette.models.remote.wires.base import Frame, Reader, Writer
from palmette.models.remote.wires.ollama.answer import LineReader, LineWriter, answer_of, said_answer
from palmette.models.remote.wires.ollama.request import images_of, said_images, settings_of
from palmette.models.remote.wires.ollama.wire import Ollama, settled
from palmette.models.remote.wires.reading import asked_table, asked_text, given, inner, table, yes_no

__all__ = ["OllamaGenerate"]

_KNOWN = frozenset({
    "model", "prompt", "system", "images", "stream", "options", "format", "think", "logprobs", "top_logprobs",
})  # fmt: skip


class OllamaGenerate(Ollama):
    """POST /api/generate."""

    lacks: ClassVar[frozenset[str]] = Ollama.lacks | {"tools", "tool_choice"}

    def path(self, request: Request, stream: bool) -> str:
        """See Wire."""
        return "/api/generate"

    def encode(self, request: Request, stream: bool) -> tuple[dict[str, Any], list[str]]:
        """See Wire.

        Raises:
            Unsupported: for a conversation of more than the system's words and the user's.
        """
        turns = [m for m in request.messages if m.role != "system"]
        plain = all(isinstance(p, (Text, Image)) for m in turns for p in m.parts)
        if len(turns) > 1 or not plain or any(m.role != "user" for m in turns):
            raise Unsupported("/api/generate takes one text of the user's; a conversation goes to /api/chat")
        system = [text_of(m.parts) for m in request.messages if m.role == "system"]
        parts = turns[0].parts if turns else ()
        body: dict[str, Any] = {"model": request.model, "stream": stream, "prompt": text_of(parts)}
        body |= given({"system": "\n\n".join(system) or None, "images": said_images(parts)})
        return settled(body, request, [])

    def decode(self, body: Any) -> Response:
        """See Wire."""
        body = table(body, "the answer")
        if not isinstance(body.get("response"), str):
            raise BadAnswer("the answer has no response")
        return answer_of(body, _moved(body))

    def reader(self) -> Reader:
        """See Wire."""
        return _Reader()

    def decode_request(self, body: Any, path: str = "") -> tuple[Request, bool]:
        """See Wire."""
        body = asked_table(body, "the body")
        system = asked_text(body.get("system") or "", "system")
        parts: tuple[Part, ...] = (
            Text(asked_text(body.get("prompt") or "", "prompt")),
            *images_of(body.get("images"), "images"),
        )
        turns = (*([Message.of("system", system)] if system else []), Message("user", parts))
        request = Request(turns, asked_text(body.get("model"), "model"), **settings_of(body, _KNOWN))
        return request, yes_no(body.get("stream"), "stream") is not False

    def encode_response(self, response: Response) -> dict[str, Any]:
        """See Wire."""
        return _flat(said_answer(response))

    def writer(self, request: Request) -> Writer:
        """See Wire."""
        return _Writer(request.model)


def _moved(body: Any) -> dict[str, Any]:
    """Where /api/chat has the words."""
    return {"content": body.get("response"), "thinking": body.get("thinking")}


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    said = inner(row.get("message"))
    rest = {key: value for key, value in row.items() if key != "message"}
    return rest | {"response": said["content"]} | ({"thinking": said["thinking"]} if "thinking" in said else {})


class _Reader(LineReader):
    def said(self, body: Any, said: Any) -> list[Event]:
        """See LineReader."""
        return super().said(body, _moved(body))


class _Writer(LineWriter):
    def write(self, event: Event) -> list[Frame]:
        """See Writer."""
        return [(name, _flat(row)) for name, row in super().write(event)]

    def close(self) -> list[Frame]:
        """See Writer."""
        return [(name, _flat(row)) for name, row in super().close()]
