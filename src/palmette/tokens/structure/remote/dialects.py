"""What each provider's structured mode understands of JSON Schema, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

__all__ = ["DIALECTS", "Dialect"]

_CORE = "type properties required additionalProperties items enum anyOf title description const pattern format"
_NUMBERS = "minimum maximum exclusiveMinimum exclusiveMaximum multipleOf"
_LINKS = "$ref $defs definitions"


@dataclass(frozen=True)
class Dialect:
    """One provider's subset.

    Args:
        wrap: the request's fields that carry a schema under a name.
        keywords: the keywords it enforces; others are left out. Without any the question has to say the schema.
        formats: the values of `format` it knows; others are annotations.
        closed: every object must list all its properties as required and take no others.
        sealed: every object must say that it takes no other properties; not all of them need be required.
        enums: types of the values that an enumeration may have, if not all.
        loose: it takes a schema that it cannot enforce as a hint; otherwise the question has to say it.
        root_object: the outermost value must be an object.
    """

    wrap: Callable[[str, Any], dict[str, Any]]
    keywords: frozenset[str]
    formats: frozenset[str] = frozenset()
    closed: bool = False
    root_object: bool = False
    sealed: bool = False
    enums: tuple[type, ...] | None = None
    loose: bool = True


def _openai_chat(name: str, schema: Any) -> dict[str, Any]:
    inner = {"name": name, "schema": schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": inner}}


def _openai_responses(name: str, schema: Any) -> dict[str, Any]:
    return {"text": {"format": {"type": "json_schema", "name": name, "schema": schema, "strict": True}}}


def _anthropic(name: str, schema: Any) -> dict[str, Any]:
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}


def _gemini(name: str, schema: Any) -> dict[str, Any]:
    return {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": schema}}


def _cohere(name: str, schema: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_object", "schema": schema}}


def _json_object(name: str, schema: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_object"}}


def _words(*lists: str) -> frozenset[str]:
    return frozenset(" ".join(lists).split())


_OPENAI = Dialect(
    _openai_chat,
    _words(_CORE, _NUMBERS, _LINKS, "minItems maxItems"),
    _words("date-time time date duration email hostname ipv4 ipv6 uuid"),
    closed=True,
    root_object=True,
)

DIALECTS: Mapping[str, Dialect] = {
    "openai": _OPENAI,
    "openai-responses": replace(_OPENAI, wrap=_openai_responses),
    "json-object": Dialect(_json_object, frozenset(), root_object=True),  # hosts that promise JSON, of no schema
    "anthropic": Dialect(
        _anthropic,
        _words("type properties required additionalProperties items enum anyOf title description const format", _LINKS),
        _words("date-time time date duration email hostname uri ipv4 ipv6 uuid"),
        root_object=True,
        sealed=True,
        enums=(str, int, float, bool, type(None)),
        loose=False,
    ),
    "gemini": Dialect(
        _gemini,
        _words("type properties required additionalProperties items enum anyOf title description format")
        | _words("minItems maxItems minimum maximum prefixItems $ref $defs"),
        _words("date-time date time duration"),
        enums=(str, int, float),
    ),
    "cohere": Dialect(_cohere, _words(_CORE, _LINKS), _words("date-time date time uuid"), root_object=True),
    "ollama": Dialect(
        lambda name, schema: {"format": schema},
        _words(_CORE, _LINKS, "minItems maxItems minLength maxLength prefixItems oneOf minimum maximum"),
        _words("date-time date time uuid"),
    ),
}
