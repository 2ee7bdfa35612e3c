"""One request to a model, over HTTP: read by a wire, answered whole or streamed, stopped when the client goes away."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, cast
from uuid import uuid4

from palmette.core.errors import RequestRefused
from palmette.core.events import Collector, Event
from palmette.core.message import Media, Request, Response, Usage
from palmette.core.model import Model
from palmette.core.waiting import LOOP
from palmette.models.remote.wires import WIRES, Wire
from palmette.models.remote.wires.base import Frame, spell, spread
from palmette.serve.errors import status_of, told
from palmette.serve.extension import Extension, extension_of
from palmette.serve.fetch import Fetcher

__all__ = ["Exchange", "Gone", "reply"]

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
HEARTBEAT = 15.0  # seconds of silence in a stream before a comment is sent, so that proxies keep it open
# Fields that clients send and that change no answer of a model on this machine; any other is refused there.
HARMLESS = frozenset({
    "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
    "stream_options", "keep_alive", "labels", "cache_control", "priority", "request_timeout",
    "truncation",
})  # fmt: skip
# Fields that would change it, were the model another; the answer says in a header that they did not.
UNHEEDED = frozenset(
    {"strict_tools", "safetySettings", "verbosity", "include", "text", "modalities", "think", "thinking"}
)


class Gone(Exception):
    """The client went away."""


@dataclass
class Exchange:
    """What is known of a request while it is answered, for metrics and logs.

    Args:
        first: seconds to the first text.
        usage: tokens that were counted.
        started, gone: whether an answer was begun; whether the client went away.
    """

    api: str
    model: str = ""
    status: int = 200
    began: float = field(default_factory=time.monotonic)
    first: float | None = None
    usage: Usage | None = None
    started: bool = False
    gone: bool = False

    def saw(self, event: Event) -> None:
        """Take note of an event."""
        if self.first is None and (event.text or event.reasoning or event.call or event.whole):
            self.first = time.monotonic() - self.began
        if event.usage is not None:
            self.usage = event.usage


async def reply(
    model: Model, wire: Wire, body: Any, path: str, send: Send, exchange: Exchange, fetcher: Fetcher | None = None
) -> None:
    """Answer a request in the words of a wire.

    Args:
        fetcher: what fetches files that the request names by URL; they are refused without it.

    Raises:
        PalmetteError: before anything was sent; afterwards a failure is told in the stream.
    """
    asked, stream = wire.decode_request(body, path)
    if fetcher is not None:
        asked = await fetcher.filled(asked)
    request, extension = _accepted(model, asked)
    exchange.model = asked.model or exchange.model
    if stream:
        await _stream(model, wire, request, extension, send, exchange)
    else:
        response = await _whole(model, request, exchange)
        await _send_whole(wire, replace(response, model=asked.model or response.model), extension, send)


def _accepted(model: Model, asked: Request) -> tuple[Request, Extension]:
    """The request as the model gets it: our own fields read, others passed on or refused."""
    for message in asked.messages:
        for part in message.parts:
            if isinstance(part, Media) and part.url:
                raise RequestRefused(
                    f"this server fetches no URLs ({part.url[:60]!r}): send the file itself, as base64"
                )
    extension, rest = extension_of(asked)
    local = model.capabilities.full_logits
    if local:
        unknown = next((key for key in rest if key not in HARMLESS | UNHEEDED), None)
        if unknown is not None:
            raise RequestRefused(f"{unknown}: a model on this machine has no such setting")
        extension = replace(extension, unheeded=tuple(sorted(UNHEEDED & set(rest))))
        rest = {}
    elif extension.asked:
        raise RequestRefused(f"palmette: {model.id} does not give the scores of every token, which these fields need")
    return replace(
        asked, model="", extra={**rest, **extension.fields}, output=extension.output or asked.output
    ), extension


async def _whole(model: Model, request: Request, exchange: Exchange) -> Response:
    collector = Collector()
    async with aclosing(cast(Any, model.produce(request, LOOP, whole=True))) as events:
        async for event in events:
            exchange.saw(event)
            collector.add(event)
    response = collector.response
    exchange.usage = response.usage
    return response if response.id else replace(response, id=_mark())


async def _send_whole(wire: Wire, response: Response, extension: Extension, send: Send) -> None:
    body = wire.encode_response(response)
    if extension.asked and isinstance(response.raw, dict) and "palmette" in response.raw:
        body["palmette"] = response.raw["palmette"]
    data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    headers += _notes((*response.notes, *extension.notes))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": data})


async def _stream(
    model: Model, wire: Wire, request: Request, extension: Extension, send: Send, exchange: Exchange
) -> None:
    writer = wire.writer(replace(request, model=exchange.model))
    raw: Any = None
    async with aclosing(cast(Any, _identified(model.produce(request, LOOP), exchange.model))) as events:
        try:
            async for event in _beating(events):
                if event is None:
                    if exchange.started and wire.framing == "sse":
                        await _piece(send, b": keep-alive\n\n")
                    continue
                exchange.saw(event)
                raw = event.raw or raw
                frames = [frame for one in spread(event) for frame in writer.write(one)]
                if not exchange.started:
                    await _begin(wire, (*event.notes, *extension.notes), send, exchange)
                if frames:
                    await _piece(send, spell(frames, wire.framing))
        except Exception as error:
            if not exchange.started:
                raise
            exchange.status = status_of(error)
            await _piece(send, spell(_failure(wire, error), wire.framing))
            await send({"type": "http.response.body", "body": b""})
            return
    last: list[Frame] = list(writer.close())
    if extension.asked and isinstance(raw, dict) and "palmette" in raw and wire is WIRES["openai"]:
        last.insert(0, ("", {"object": "chat.completion.chunk", "choices": [], "palmette": raw["palmette"]}))
    await send({"type": "http.response.body", "body": spell(last, wire.framing)})


async def _identified(events: AsyncIterator[Event], name: str) -> AsyncIterator[Event]:
    """The events with an id and the name that the client used, should they have none."""
    first = True
    async with aclosing(cast(Any, events)):
        async for event in events:
            if first:
                first = False
                event = replace(event, id=event.id or _mark(), model=name or event.model)
            elif event.model:
                event = replace(event, model=name or event.model)
            yield event


async def _beating(events: AsyncIterator[Event]) -> AsyncIterator[Event | None]:
    """The events, and None whenever nothing came for a while."""
    waiting: asyncio.Future[Event] | None = None
    try:
        while True:
            waiting = waiting or asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait({waiting}, timeout=HEARTBEAT)
            if not done:
                yield None
                continue
            found, waiting = waiting, None
            try:
                yield found.result()
            except StopAsyncIteration:
                return
    finally:
        if waiting is not None:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)


async def _begin(wire: Wire, notes: tuple[str, ...], send: Send, exchange: Exchange) -> None:
    kind = b"text/event-stream; charset=utf-8" if wire.framing == "sse" else b"application/x-ndjson"
    headers = [(b"content-type", kind), (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
    exchange.started = True
    await send({"type": "http.response.start", "status": 200, "headers": [*headers, *_notes(notes)]})


async def _piece(send: Send, data: bytes) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": True})


def _failure(wire: Wire, error: Exception) -> list[Frame]:
    """What ends a stream that cannot go on."""
    body = wire.encode_error(status_of(error), told(error))
    named = wire in (WIRES["anthropic"], WIRES["openai-responses"])
    return [("error" if named else "", body)]


def _notes(notes: tuple[str, ...]) -> list[tuple[bytes, bytes]]:
    """What could not be honoured, as a header."""
    return [(b"x-palmette-note", note.encode("ascii", "replace").replace(b"\n", b" ")[:500]) for note in notes]


def _mark() -> str:
    return f"palmette-{uuid4().hex[:24]}"
