"""Reading and writing JSON that a stranger wrote: an answer's oddities are passed over, a client's mistakes refused.

What has not the form of an answer is a `BadAnswer`; a mistake in a request is `RequestRefused`, with its place.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from palmette.core.errors import BadAnswer, RequestRefused
from palmette.core.message import Audio, Document, Image, Media, Message, TokenScore, Tool, ToolCall, ToolResult

__all__ = [
    "arguments_of", "asked_list", "asked_table", "asked_text", "asked_texts", "data_url", "encoded", "from_base64",
    "functions", "given", "inner", "items", "json_text", "kind_of", "left_over", "loaded", "logprob", "media_of",
    "merged", "named", "number", "real", "said_logprob", "scores_of", "shown", "spelled", "table", "text", "texts",
    "whole", "yes_no",
]  # fmt: skip

M = TypeVar("M", bound=Media)
LEAST = -9999.0  # a log-probability so low stands for minus infinity, which JSON cannot say


def shown(value: Any) -> str:
    """A value as an error quotes it: short, however large or deep it is.

    >>> shown([[1]]), shown("a" * 100)[-3:], shown(None)
    ('a list', "a…'", 'null')
    """
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:60] + "…")
    if isinstance(value, (list, tuple)):
        return "a list"
    return "an object" if isinstance(value, Mapping) else "null" if value is None else repr(value)[:80]


def table(value: Any, where: str) -> Mapping[str, Any]:
    """A JSON object.

    Raises:
        BadAnswer: for anything else.
    """
    if not isinstance(value, Mapping):
        raise BadAnswer(f"{where} is no object but {shown(value)}")
    return value


def items(value: Any) -> list[Mapping[str, Any]]:
    """The objects of a list; nothing where there is none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def inner(value: Any) -> Mapping[str, Any]:
    """A JSON object, or an empty one."""
    return value if isinstance(value, dict) else {}


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
    if not isinstance(value, str):
        return ""
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:  # half a pair of surrogates, which JSON can say and UTF-8 cannot
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def number(value: Any) -> int:
    """A count, or 0."""
    return int(value) if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)) else 0


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that have a value."""
    return {key: value for key, value in fields.items() if value is not None and value != [] and value != ()}


def merged(body: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Objects within objects, brought together; where both have a value, the second's holds.

    >>> merged({"options": {"seed": 1}}, {"options": {"num_ctx": 9}})
    {'options': {'seed': 1, 'num_ctx': 9}}
    """
    made = dict(body)
    for key, value in more.items():
        old = made.get(key)
        made[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return made


def named(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Messages whose tools' results know the name of the call that they answer, for an API that says its id alone."""
    names = {p.id: p.name for m in messages for p in m.parts if isinstance(p, ToolCall)}

    def fill(part: Any) -> Any:
        return replace(part, name=names.get(part.id, "")) if isinstance(part, ToolResult) and not part.name else part

    return tuple(replace(m, parts=tuple(map(fill, m.parts))) for m in messages)


def kind_of(mime: str) -> type[Image] | type[Audio] | type[Document]:
    """The part that holds a file of a type."""
    return Image if mime.startswith("image/") else Audio if mime.startswith("audio/") else Document


def loaded(media: M) -> M:
    """A file whose bytes are in its URL, with its bytes."""
    if not media.url.startswith("data:"):
        return media
    return media_of(type(media), media.url, "a file's URL", media.name)


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
        raise RequestRefused(f"{where}: a data URL must be data:TYPE;base64,DATA, not {shown(url)}")
    return kind(from_base64(data, where), mime or kind().mime, name=name)


def from_base64(data: str, where: str) -> bytes:
    """Bytes that were sent as base64, in either of its alphabets.

    Raises:
        RequestRefused: for what is no base64.
    """
    try:
        plain = data.replace("-", "+").replace("_", "/").rstrip("=")
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise RequestRefused(f"{where}: no base64: {shown(data)}") from None


# -- reading what a client sent: its mistakes are refused with their place ---------------------------------------------


def asked_table(value: Any, where: str) -> Mapping[str, Any]:
    """A JSON object.

    Raises:
        RequestRefused: for anything else.
    """
    if not isinstance(value, Mapping):
        raise RequestRefused(f"{where} must be an object, not {shown(value)}")
    return value


def asked_list(value: Any, where: str) -> list[Any]:
    """A JSON array; nothing for null.

    Raises:
        RequestRefused: for anything else.
    """
    if value is None:
        return []
    if not isinstance(value, list):
        raise RequestRefused(f"{where} must be a list, not {shown(value)}")
    return value


def asked_text(value: Any, where: str) -> str:
    """A JSON string.

    Raises:
        RequestRefused: for anything else.
    """
    if not isinstance(value, str):
        raise RequestRefused(f"{where} must be a text, not {shown(value)}")
    if text(value) != value:
        raise RequestRefused(f"{where} has half a surrogate pair, which is no character")
    return value


def asked_texts(value: Any, where: str) -> str:
    """A JSON string, or the text of a list of blocks of text.

    Raises:
        RequestRefused: for anything else.
    """
    if isinstance(value, str) or value is None:
        return asked_text(value or "", where)
    rows = [asked_table(row, f"{where}[{i}]") for i, row in enumerate(asked_list(value, where))]
    return "".join(asked_text(row.get("text"), f"{where}[{i}].text") for i, row in enumerate(rows))


def whole(value: Any, where: str) -> int | None:
    """A whole number, or None for null.

    Raises:
        RequestRefused: for anything else.
    """
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise RequestRefused(f"{where} must be a whole number, not {shown(value)}")


def real(value: Any, where: str) -> float | None:
    """A finite number, or None for null.

    Raises:
        RequestRefused: for anything else.
    """
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e308):
        return value
    raise RequestRefused(f"{where} must be a number, not {shown(value)}")


def yes_no(value: Any, where: str) -> bool | None:
    """True or false, or None for null.

    Raises:
        RequestRefused: for anything else.
    """
    if value is None or isinstance(value, bool):
        return value
    raise RequestRefused(f"{where} must be true or false, not {shown(value)}")


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


def spelled(value: Any) -> str:
    """A tool call's arguments as models write them."""
    return json.dumps(value, ensure_ascii=False)


def arguments_of(call: str) -> dict[str, Any]:
    """A tool call's arguments for an API that takes an object and no text; what is none is said under `arguments`.

    >>> arguments_of('{"a": 1}'), arguments_of('{"a": ')
    ({'a': 1}, {'arguments': '{"a": '})
    """
    try:
        found = json.loads(call or "{}")
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"arguments": call}


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
    known = isinstance(value, (int, float)) and value > LEAST and value < 1e300
    return float(value) if known else float("-inf")


def said_logprob(value: float) -> float:
    """A log-probability as JSON has it."""
    return max(value, LEAST)
