"""Bytes of a streamed answer into events, whatever borders the network puts between them."""

from __future__ import annotations

from collections.abc import Iterator

from palmette.core.errors import BadAnswer

__all__ = ["Lines", "ServerEvents"]

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

    def pairs(self, data: bytes) -> Iterator[tuple[str, str]]:
        """Lines as events without a name."""
        return (("", line) for line in self.feed(data))

    def last(self) -> Iterator[tuple[str, str]]:
        """The last line as an event without a name."""
        return (("", line) for line in self.close())

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

    def pairs(self, data: bytes) -> Iterator[tuple[str, str]]:
        """The events that are complete now.

        >>> list(ServerEvents().pairs(b": hello\\ndata: 1\\ndata: 2\\n\\n"))
        [('', '1\\n2')]
        """
        for line in self._lines.feed(data):
            found = self._line(line)
            if found is not None:
                yield found

    def last(self) -> Iterator[tuple[str, str]]:
        """An event that only the end of the stream completes; providers do cut the last blank line."""
        for line in (*self._lines.close(), ""):
            found = self._line(line)
            if found is not None:
                yield found

    def _line(self, line: str) -> tuple[str, str] | None:
        """The event that this line completes."""
        if self._first:
            self._first, line = False, line.removeprefix("\ufeff")
        if not line:
            found = (self._name, "\n".join(self._data)) if self._data else None
            self._name, self._data = "", []
            return found
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._name = value
        return None


def _text(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise BadAnswer(f"the answer is not UTF-8: {error}") from error
