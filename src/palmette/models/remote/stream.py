"""Bytes of a streamed answer into events, whatever borders the network puts between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from palmette.core.errors import BadAnswer
from palmette.models.remote.messages import Event, Finish, Part, Reasoning, Response, Text, ToolCall, Usage

__all__ = ["Collector", "Lines", "ServerEvents"]

LONGEST = 16 << 20  # bytes of one line


class Lines:
    """Splits bytes into lines ended by LF, CRLF or CR; a character is never cut."""

    def __init__(self) -> None:
        self._rest = b""
        self._after_return = False

    def feed(self, data: bytes) -> Iterator[str]:
        """The lines that are complete now.

        >>> list(Lines().feed(b"a\\r\\nb\\nc"))
        ['a', 'b']
        """
        if self._after_return and data.startswith(b"\n"):
            data = data[1:]
        if data:
            self._after_return = data.endswith(b"\r")
        whole = (self._rest + data).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, self._rest = whole.split(b"\n")
        if len(self._rest) > LONGEST:
            raise BadAnswer(f"a line of the answer is longer than {LONGEST} bytes")
        for line in lines:
            yield _text(line)

    def close(self) -> Iterator[str]:
        """The last line, if it was not ended."""
        if self._rest:
            yield _text(self._rest)
            self._rest = b""


class ServerEvents:
    """Server-sent events (WHATWG HTML, section 9.2): (event, data) pairs."""

    def __init__(self) -> None:
        self._lines = Lines()
        self._name = ""
        self._data: list[str] = []
        self._first = True

    def feed(self, data: bytes) -> Iterator[tuple[str, str]]:
        """The events that are complete now.

        >>> list(ServerEvents().feed(b": hello\\ndata: 1\\ndata: 2\\n\\n"))
        [('', '1\\n2')]
        """
        for line in self._lines.feed(data):
            yield from self._line(line)

    def close(self) -> Iterator[tuple[str, str]]:
        """An event that only the end of the stream completes; providers do cut the last blank line."""
        for line in self._lines.close():
            yield from self._line(line)
        yield from self._line("")

    def _line(self, line: str) -> Iterator[tuple[str, str]]:
        if self._first:
            self._first, line = False, line.removeprefix("\ufeff")
        if not line:
            if self._data:
                yield self._name, "\n".join(self._data)
            self._name, self._data = "", []
            return
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._name = value


class Collector:
    """Puts a streamed answer together."""

    def __init__(self, notes: Iterable[str] = ()) -> None:
        self._text: list[str] = []
        self._thought: list[str] = []
        self._signature = ""
        self._calls: dict[int, list[str]] = {}
        self._logprobs: list[tuple[str, float]] = []
        self._usage: Usage | None = None
        self._notes = tuple(notes)
        self.finish: Finish | None = None
        self._id = self._model = ""

    def add(self, event: Event) -> None:
        """Take in the next step."""
        self._text.append(event.text)
        self._thought.append(event.reasoning)
        self._signature += event.signature
        self._logprobs += event.logprobs
        self._id, self._model = event.id or self._id, event.model or self._model
        if event.call is not None:
            place, key, name, more = event.call
            row = self._calls.setdefault(place, ["", "", ""])
            row[0], row[1], row[2] = row[0] or key, row[1] or name, row[2] + more
        if event.usage is not None:
            old = self._usage or Usage()
            new = event.usage
            self._usage = Usage(
                new.input or old.input,
                new.output or old.output,
                new.cached or old.cached,
                new.reasoning or old.reasoning,
            )
        self.finish = event.finish or self.finish

    @property
    def response(self) -> Response:
        """The whole answer."""
        parts: list[Part] = []
        if any(self._thought) or self._signature:
            parts.append(Reasoning("".join(self._thought), self._signature))
        if any(self._text):
            parts.append(Text("".join(self._text)))
        parts += [ToolCall(*row) for _, row in sorted(self._calls.items())]
        finish: Finish = self.finish or "other"
        return Response(
            tuple(parts),
            finish,
            self._usage,
            self._id,
            self._model,
            self._notes,
            tuple(self._logprobs),
        )


def _text(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise BadAnswer(f"the answer is not UTF-8: {error}") from error
