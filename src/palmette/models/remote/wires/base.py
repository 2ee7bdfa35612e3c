"""What a wire can do, and what wires share: reading JSON that a stranger wrote."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol

from palmette.core.errors import BadAnswer
from palmette.models.remote.messages import Event, Image, Request, Response, Tool

__all__ = ["Wire", "data_url", "encoded", "functions", "given", "inner", "items", "number", "table", "text"]


class Wire(Protocol):
    """One kind of API. `encode` also says what of the request it has no words for."""

    framing: ClassVar[Literal["sse", "lines"]]
    schemas: ClassVar[str]  # the name of its structured mode

    def path(self, request: Request, stream: bool) -> str:
        """What comes after the base URL."""
        ...

    def encode(self, request: Request, stream: bool) -> tuple[dict[str, Any], list[str]]:
        """The body, and notes."""
        ...

    def decode(self, body: Any) -> Response:
        """The answer of a request that was not streamed.

        Raises:
            BadAnswer: if it has not the form of one.
        """
        ...

    def event(self, name: str, body: Any) -> Event:
        """One step of a streamed answer.

        Raises:
            ProviderFailed: if the step is an error.
        """
        ...

    def complaint(self, body: Any) -> str:
        """What an error's body says, or an empty text."""
        ...


def table(value: Any, where: str) -> Mapping[str, Any]:
    """A JSON object.

    Raises:
        BadAnswer: for anything else.
    """
    if not isinstance(value, Mapping):
        raise BadAnswer(f"{where} is no object but {str(value)[:80]!r}")
    return value


def items(value: Any) -> list[Mapping[str, Any]]:
    """The objects of a list; nothing where there is none."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def inner(value: Any) -> Mapping[str, Any]:
    """A JSON object, or an empty one."""
    return value if isinstance(value, Mapping) else {}


def functions(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """Tools as OpenAI writes them, and others after it."""
    return [
        {
            "type": "function",
            "function": {"name": t.name, "description": t.description, "parameters": dict(t.parameters)},
        }
        for t in tools
    ]


def text(value: Any) -> str:
    """A text, or an empty one."""
    return value if isinstance(value, str) else ""


def number(value: Any) -> int:
    """A count, or 0."""
    return int(value) if isinstance(value, (int, float)) and value == value else 0


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that have a value."""
    return {key: value for key, value in fields.items() if value is not None and value != [] and value != ()}


def encoded(image: Image) -> str:
    """An image's bytes in base64."""
    return base64.b64encode(image.data).decode()


def data_url(image: Image) -> str:
    """An image as a URL."""
    return image.url or f"data:{image.mime};base64,{encoded(image)}"
