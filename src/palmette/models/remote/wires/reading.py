"""Reading and writing JSON that a stranger wrote: an answer's oddities are passed over, a client's mistakes refused.

What has not the form of an answer is a `BadAnswer`; a mistake in a request is `RequestRefused`, with its place.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from palmette.core.errors import BadAnswer, RequestRefused
from palmette.core.message import Media, TokenScore, Tool

__all__ = [
    "arguments_of", "asked_list", "asked_table", "asked_text", "data_url", "encoded", "from_base64", "functions",
    "given", "inner", "items", "json_text", "left_over", "logprob", "media_of", "number", "real", "scores_of", "table",
    "text", "texts", "whole", "yes_no",
]  # fmt: skip

M = TypeVar("M", bound=Media)


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
            "function": given({"name": t.name, "description": t.description or None, "strict": t.strict})
            | {"parameters": dict(t.parameters)},
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


def encoded(media: Media) -> str:
    """A file's bytes in base64."""
    return base64.b64encode(media.data).decode()


def data_url(media: Media) -> str:
    """A file as a URL."""
    return media.url or f"data:{media.mime};base64,{encoded(media)}"


def media_of(kind: type[M], url: str, where: str, name: str = "") -> M:
    """A file from a URL, whose bytes are in it where it is a data URL.

    Raises:
        RequestRefused: for a data URL that is not base64.
    """
    if not url.startswith("data:"):
        return kind(url=url, name=name)
    head, comma, data = url[5:].partition(",")
    mime, _, coding = head.partition(";")
    if not comma or coding != "base64":
        raise RequestRefused(f"{where}: a data URL must be data:TYPE;base64,DATA, not {url[:40]!r}")
    return kind(from_base64(data, where), mime or kind().mime, name=name)


def from_base64(data: str, where: str) -> bytes:
    """Bytes that were sent as base64.

    Raises:
        RequestRefused: for what is no base64.
    """
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise RequestRefused(f"{where}: no base64: {data[:40]!r}") from None


# -- reading what a client sent: its mistakes are refused with their place ---------------------------------------------


def asked_table(value: Any, where: str) -> Mapping[str, Any]:
    """A JSON object.

    Raises:
        RequestRefused: for anything else.
    """
    if not isinstance(value, Mapping):
        raise RequestRefused(f"{where} must be an object, not {str(value)[:80]!r}")
    return value


def asked_list(value: Any, where: str) -> list[Any]:
    """A JSON array; nothing for null.

    Raises:
        RequestRefused: for anything else.
    """
    if value is None:
        return []
    if not isinstance(value, list):
        raise RequestRefused(f"{where} must be a list, not {str(value)[:80]!r}")
    return value


def asked_text(value: Any, where: str) -> str:
    """A JSON string.

    Raises:
        RequestRefused: for anything else.
    """
    if not isinstance(value, str):
        raise RequestRefused(f"{where} must be a text, not {str(value)[:80]!r}")
    return value


def whole(value: Any, where: str) -> int | None:
    """A whole number, or None for null.

    Raises:
        RequestRefused: for anything else.
    """
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise RequestRefused(f"{where} must be a whole number, not {str(value)[:80]!r}")


def real(value: Any, where: str) -> float | None:
    """A finite number, or None for null.

    Raises:
        RequestRefused: for anything else.
    """
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e308):
        return value
    raise RequestRefused(f"{where} must be a number, not {str(value)[:80]!r}")


def yes_no(value: Any, where: str) -> bool | None:
    """True or false, or None for null.

    Raises:
        RequestRefused: for anything else.
    """
    if value is None or isinstance(value, bool):
        return value
    raise RequestRefused(f"{where} must be true or false, not {str(value)[:80]!r}")


def texts(value: Any, where: str) -> tuple[str, ...]:
    """One string or a list of them.

    Raises:
        RequestRefused: for anything else.
    """
    if isinstance(value, str):
        return (value,)
    return tuple(asked_text(one, where) for one in asked_list(value, where))


def left_over(body: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    """The fields that have no place of their own in a Request."""
    return {key: value for key, value in body.items() if key not in known and value is not None}


def json_text(value: Any) -> str:
    """A value as compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def arguments_of(call: str, name: str) -> Any:
    """A tool call's arguments as JSON, for an API that takes no text.

    Raises:
        RequestRefused: for arguments that are no JSON.
    """
    try:
        return json.loads(call or "{}")
    except ValueError:
        raise RequestRefused(f"the arguments of the call of {name!r} are no JSON: {call[:80]!r}") from None


def scores_of(
    rows: Any, words: str = "token", value: str = "logprob", top: str = "top_logprobs"
) -> tuple[TokenScore, ...]:
    """Log-probabilities as OpenAI writes them, and others after it."""
    return tuple(
        TokenScore(
            text(row.get(words)),
            logprob(row.get(value)),
            tuple((text(other.get(words)), logprob(other.get(value))) for other in items(row.get(top))),
        )
        for row in items(rows)
    )


def logprob(value: Any) -> float:
    """A log-probability; minus infinity where an API has null."""
    return float(value) if isinstance(value, (int, float)) else float("-inf")
