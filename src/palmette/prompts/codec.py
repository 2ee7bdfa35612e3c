"""Requests and answers as JSON and back: each part by its name, bytes as base64, defaults left out."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from palmette.core.errors import PalmetteError
from palmette.core.message import (
    Audio,
    Document,
    Image,
    Message,
    Output,
    Reasoning,
    Request,
    Response,
    Text,
    TokenScore,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
)

__all__ = ["request_json", "response_json", "response_of"]

Json = Any
_KINDS = (Audio, Document, Image, Message, Output, Reasoning, Request, Response, Text, TokenScore, Tool, ToolCall,
          ToolResult, Usage)  # fmt: skip
_BY_NAME = {kind.__name__: kind for kind in _KINDS}
_LEFT_OUT = ("headers", "raw")


def request_json(request: Request) -> Json:
    """A request as JSON.

    >>> request_json(Request((Message.of("user", "Hi"),)))["messages"][0]["parts"]
    [{'is': 'Text', 'text': 'Hi'}]
    """
    return _written(request)


def response_json(response: Response) -> Json:
    """An answer as JSON, without the provider's headers and raw body."""
    return _written(response)


def response_of(value: Json) -> Response:
    """The answer that `response_json` wrote.

    Raises:
        PalmetteError: for anything else.

    >>> response_of(response_json(Response((Text("Hi"),)))).text
    'Hi'
    """
    try:
        read = _read(value)
    except (KeyError, TypeError, ValueError) as error:
        raise PalmetteError(f"not an answer as it was kept: {error}") from error
    if not isinstance(read, Response):
        raise PalmetteError(f"not an answer as it was kept: {str(value)[:100]!r}")
    return read


def _written(value: Any) -> Json:
    if type(value) in _KINDS:
        made: dict[str, Any] = {"is": type(value).__name__}
        for each in fields(value):
            held = getattr(value, each.name)
            if each.name in _LEFT_OUT or (each.default is not MISSING and held == each.default):
                continue
            if each.default_factory is not MISSING and not held:
                continue
            made[each.name] = _written(held)
        return made
    if isinstance(value, bytes):
        return {"is": "bytes", "base64": base64.b64encode(value).decode()}
    if isinstance(value, Mapping):
        return {"is": "mapping", "items": [[_written(k), _written(v)] for k, v in value.items()]} if _odd(value) else {
            key: _written(each) for key, each in value.items()
        }  # fmt: skip
    if isinstance(value, (list, tuple)):
        return [_written(each) for each in value]
    return value


def _odd(value: Mapping[Any, Any]) -> bool:
    """Whether a mapping has keys that JSON has not, or the one that marks our own."""
    return "is" in value or not all(isinstance(key, str) for key in value)


def _read(value: Json) -> Any:
    if isinstance(value, list):
        return tuple(_read(each) for each in value)
    if not isinstance(value, dict):
        return value
    name = value.get("is")
    if name is None:
        return {key: _read(each) for key, each in value.items()}
    if name == "bytes":
        return base64.b64decode(value["base64"])
    if name == "mapping":
        return {_read(key): _read(each) for key, each in value["items"]}
    return _BY_NAME[name](**{key: _read(each) for key, each in value.items() if key != "is"})
