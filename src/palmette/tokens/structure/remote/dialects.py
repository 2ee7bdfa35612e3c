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
        keywords: the keywords it enforces; others are left out.
        formats: the values of `format` it knows; others are annotations.
        closed: every object must list all its properties as required and take no others.
        root_object: the outermost value must be an object.
        linked: it follows references within the schema.
    """

    wrap: Callable[[str, Any], dict[str, Any]]
    keywords: frozenset[str]
    formats: frozenset[str] = frozenset()
    closed: bool = False
    root_object: bool = False
    linked: bool = True


def _openai_chat(name: str, schema: Any) -> dict[str, Any]:
    inner = {"name": name, "schema": schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": inner}}


def _openai_responses(name: str, schema: Any) -> dict[str, Any]:
    return {"text": {"format": {"type": "json_schema", "name": name, "schema": schema, "strict": True}}}


def _anthropic(name: str, schema: Any) -> dict[str, Any]:
    return {
        "tools": [{"name": name, "description": "Give the answer.", "input_schema": schema}],
        "tool_choice": {"type": "tool", "name": name},
    }


def _gemini(name: str, schema: Any) -> dict[str, Any]:
    return {"generationConfig": {"responseMimeType": "application/json", "responseSchema": schema}}


def _cohere(name: str, schema: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_object", "schema": schema}}


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
    # A tool's input is not decoded under the schema: the model reads it, so it may say everything.
    "anthropic": Dialect(
        _anthropic,
        _words(
            *(_CORE, _NUMBERS, _LINKS, "minItems maxItems minLength maxLength oneOf allOf not prefixItems uniqueItems"),
            "patternProperties contains minProperties maxProperties propertyNames if then else dependentRequired",
        ),
        _words("date-time time date email uri uuid ipv4 ipv6 hostname"),
        root_object=True,
    ),
    "gemini": Dialect(
        _gemini,
        _words("type properties required items enum anyOf title description format pattern")
        | _words("minItems maxItems minimum maximum minLength maxLength"),
        _words("date-time date time duration"),
        linked=False,
    ),
    "cohere": Dialect(_cohere, _words(_CORE, _LINKS), _words("date-time date time uuid"), root_object=True),
    "ollama": Dialect(
        lambda name, schema: {"format": schema},
        _words(_CORE, _LINKS, "minItems maxItems minLength maxLength prefixItems oneOf minimum maximum"),
        _words("date-time date time uuid"),
    ),
}
