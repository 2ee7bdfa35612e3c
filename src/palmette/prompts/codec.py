"""Requests and answers in an evaluation's log; see `palmette.core.values` for how they are written."""

from __future__ import annotations

from typing import Any

from palmette.core.errors import PalmetteError
from palmette.core.message import Request, Response
from palmette.core.values import from_json, to_json

__all__ = ["request_json", "response_json", "response_of"]

Json = Any


def request_json(request: Request) -> Json:
    """A request as JSON.

    >>> from palmette.core.message import Message
    >>> request_json(Request((Message.of("user", "Hi"),)))["messages"][0]["parts"]
    [{'is': 'Text', 'text': 'Hi'}]
    """
    return to_json(request)


def response_json(response: Response) -> Json:
    """An answer as JSON, without the provider's headers and raw body."""
    return to_json(response)


def response_of(value: Json) -> Response:
    """The answer that `response_json` wrote.

    Raises:
        PalmetteError: for anything else.

    >>> from palmette.core.message import Text
    >>> response_of(response_json(Response((Text("Hi"),)))).text
    'Hi'
    """
    try:
        read = from_json(value)
    except (KeyError, TypeError, ValueError) as error:
        raise PalmetteError(f"not an answer as it was kept: {error}") from error
    if not isinstance(read, Response):
        raise PalmetteError(f"not an answer as it was kept: {str(value)[:100]!r}")
    return read
