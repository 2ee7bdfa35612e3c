"""Requests, answers and events as JSON and back, without loss; what they are to a cache, a recording and a log.

An object names its type in `is`, and leaves out the fields that have their default. `canonical` is the same text for
the same value: 0 and 0.0 are one temperature, and one that is not set is another.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from operator import attrgetter
from typing import Any

from palmette.core.errors import BadParameter
from palmette.core.events import Event
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

__all__ = ["canonical", "from_json", "key_of", "to_json"]

_TYPES: dict[str, Any] = {
    kind.__name__: kind
    for kind in (Audio, Document, Event, Image, Message, Output, Reasoning, Request, Response, Text, TokenScore, Tool,
                 ToolCall, ToolResult, Usage)
}  # fmt: skip
_UNSAID = ("raw", "headers")  # what depends on the moment, not on the answer


def _written(kind: Any) -> tuple[Any, ...]:
    """What reads the fields that are written, their names, and what they are where nothing is said."""
    written = [field for field in fields(kind) if field.name not in _UNSAID]
    names = [field.name for field in written]
    unsaid = [f.default if f.default_factory is MISSING else f.default_factory() for f in written]
    return attrgetter(*names), names, unsaid


_WRITTEN = {kind: _written(kind) for kind in _TYPES.values()}


def to_json(value: Any) -> Any:
    """A value of messages, or JSON, as JSON.

    Raises:
        BadParameter: for a value that has no JSON.

    >>> to_json(Message.of("user", "Hi"))
    {'is': 'Message', 'role': 'user', 'parts': [{'is': 'Text', 'text': 'Hi'}]}
    """
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None or (kind is float and math.isfinite(value)):
        return value
    if kind is tuple or kind is list:
        return [to_json(item) for item in value]
    if kind in _WRITTEN:
        read, names, unsaid = _WRITTEN[kind]
        made: dict[str, Any] = {"is": kind.__name__}
        for name, default, found in zip(names, unsaid, read(value), strict=True):
            if found is not default and (found != default or type(found) is not type(default)):
                made[name] = to_json(found)
        return made
    if isinstance(value, bytes):
        return {"is": "bytes", "base64": base64.b64encode(value).decode()}
    if isinstance(value, float) and not math.isfinite(value):
        return {"is": "float", "value": str(value)}
    if isinstance(value, Mapping):
        plain = {str(k) if not isinstance(k, str) else k: to_json(v) for k, v in value.items()}
        return {"is": "table", "of": plain} if "is" in plain else plain
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise BadParameter(f"{value!r} cannot be kept: it has no JSON")


def from_json(value: Any) -> Any:
    """The value that `to_json` wrote.

    >>> from_json(to_json(Usage(3, 4))) == Usage(3, 4)
    True
    """
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value.get("is")
    if kind is None:
        return {k: from_json(v) for k, v in value.items()}
    if kind == "table":
        return {k: from_json(v) for k, v in value["of"].items()}
    if kind == "bytes":
        return base64.b64decode(value["base64"])
    if kind == "float":
        return float(value["value"])
    if kind not in _TYPES:
        raise BadParameter(f"a kept value is of an unknown kind {kind!r}; was it written by a later version?")
    made = {k: from_json(v) for k, v in value.items() if k != "is"}
    for field in fields(_TYPES[kind]):
        if field.name in made and str(field.type).startswith("tuple["):
            made[field.name] = tuple(tuple(x) if isinstance(x, list) else x for x in made[field.name])
    if kind == "Request" and "logit_bias" in made:
        made["logit_bias"] = {int(k): v for k, v in made["logit_bias"].items()}
    return _TYPES[kind](**made)


def canonical(value: Any) -> str:
    """One text for each value.

    >>> canonical(Request((), temperature=0)) == canonical(Request((), temperature=0.0)) != canonical(Request(()))
    True
    """
    return json.dumps(_even(to_json(value)), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def key_of(*values: Any) -> str:
    """A name for values, the same in every run."""
    return hashlib.sha256("\n".join(canonical(value) for value in values).encode()).hexdigest()


def _even(value: Any) -> Any:
    """Whole numbers written one way."""
    if isinstance(value, dict):
        return {k: _even(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_even(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
