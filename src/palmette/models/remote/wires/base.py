"""What a wire can do: an API's words, read and written by a client and by a server. No wire opens a connection."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, Literal, Protocol

from palmette.core.events import Event, unfold
from palmette.core.message import Request, Response

__all__ = ["DONE", "Frame", "Reader", "Wire", "Writer", "spell", "spread"]

Frame = tuple[str, Any]  # the name of an event (may be empty) and its JSON
DONE: Frame = ("", "[DONE]")  # what ends a stream of OpenAI's kind
Reader = Callable[[str, Any], Iterable[Event]]


class Writer(Protocol):
    """Says an answer's events in the words of an API, one after another."""

    def write(self, event: Event) -> list[Frame]:
        """What to send for an event."""
        ...

    def close(self) -> list[Frame]:
        """What to send when the answer is complete."""
        ...


class Wire(Protocol):
    """One kind of API, in both directions: a client's (`encode`, `decode`, `reader`) and a server's (the others).

    Laws: a request that was encoded is decoded to itself, and so is an answer, whole or streamed, as far as the API has
    words for it; `lacks` names the fields of a Request for which it has none.
    """

    framing: ClassVar[Literal["sse", "lines"]]
    schemas: ClassVar[str]  # the name of its structured mode
    lacks: ClassVar[frozenset[str]]

    def path(self, request: Request, stream: bool) -> str:
        """What comes after the base URL."""
        ...

    def encode(self, request: Request, stream: bool) -> tuple[dict[str, Any], list[str]]:
        """The body, and notes on what was added to the request."""
        ...

    def decode(self, body: Any) -> Response:
        """The answer of a request that was not streamed.

        Raises:
            BadAnswer: if it has not the form of one.
        """
        ...

    def reader(self) -> Reader:
        """Reads one streamed answer: (event name, JSON) to events.

        The reader raises ProviderFailed if a step is an error.
        """
        ...

    def complaint(self, body: Any) -> str:
        """What an error's body says, or an empty text."""
        ...

    def decode_request(self, body: Any, path: str = "") -> tuple[Request, bool]:
        """What a client asks for, and whether it wants a stream; fields without a place of their own are in `extra`.

        Raises:
            RequestRefused: for a body that has not the form of a request, with the place in it.
        """
        ...

    def encode_response(self, response: Response) -> dict[str, Any]:
        """An answer."""
        ...

    def writer(self, request: Request) -> Writer:
        """Writes one streamed answer to `request`."""
        ...

    def encode_error(self, status: int, said: str) -> dict[str, Any]:
        """A failure."""
        ...


def spell(frames: Iterable[Frame], framing: Literal["sse", "lines"]) -> bytes:
    """Frames as the bytes that go over the connection.

    >>> spell([("", {"a": 1}), DONE], "sse")
    b'data: {"a":1}\\n\\ndata: [DONE]\\n\\n'
    """
    made = []
    for name, body in frames:
        said = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        if framing == "lines":
            made.append(f"{said}\n")
        else:
            made.append((f"event: {name}\n" if name else "") + f"data: {said}\n\n")
    return "".join(made).encode()


def spread(event: Event) -> Iterator[Event]:
    """An event that holds a whole answer as the steps of it; any other as it is."""
    if event.whole is None:
        yield event
    else:
        yield from unfold(event.whole)
