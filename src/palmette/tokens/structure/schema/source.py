"""A schema as it was given: its draft, the documents it may refer to, the validator that is the truth about it.

Everything hostile is met here: size, nesting and unresolvable references are refused with a path before any compiler
sees the schema. Nothing is ever fetched: a reference leads into the document, into the caller's registry, or nowhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

import jsonschema_rs as truth

from palmette.core.errors import BadParameter, SchemaError

__all__ = ["DIALECTS", "Dialect", "Source", "pointer", "read_schema"]

Dialect = Literal["draft4", "draft6", "draft7", "2019-09", "2020-12"]

DIALECTS: dict[str, tuple[int, Any]] = {
    "draft4": (truth.Draft4, truth.Draft4Validator),
    "draft6": (truth.Draft6, truth.Draft6Validator),
    "draft7": (truth.Draft7, truth.Draft7Validator),
    "2019-09": (truth.Draft201909, truth.Draft201909Validator),
    "2020-12": (truth.Draft202012, truth.Draft202012Validator),
}
_NAMED = [("draft-04", "draft4"), ("draft-06", "draft6"), ("draft-07", "draft7"), ("2019-09",) * 2, ("2020-12",) * 2]
_META = re.compile(r"^https?://json-schema\.org/(draft[-/][0-9-]+|draft/[0-9-]+)/?(schema)?#?$")
_NEWEST = ("2020-12", "2019-09", "draft7", "draft4")
_SAFE = "%/:#?@!$&'()*+,;=~"
_WILD = re.compile(r"[^\w%/:#?@!$&'()*+,;=~.-]")
MAX_DEPTH = 160  # levels of nesting; the compilers below recurse
MAX_PARTS = 400_000  # objects, arrays and scalars of a schema
# What a document may be made to have at least: far more than any model writes, and a plan of it still fits in memory.
MOST = {"minLength": 100_000, "minItems": 4_000, "minProperties": 4_000, "minContains": 4_000}
_DATA = ("const", "enum", "default", "examples")
PATTERNS = truth.FancyRegexOptions(backtrack_limit=100_000, size_limit=4 << 20)


@dataclass(frozen=True)
class Source:
    """A schema that was read: its value, draft, known documents, and the validator that decides in the end."""

    schema: dict[str, Any] | bool
    dialect: str
    registry: Any
    formats: bool
    validator: Any

    @property
    def settings(self) -> dict[str, Any]:
        """What every compiler of this schema is told."""
        return {
            "validate_formats": self.formats,
            "registry": self.registry,
            "offline": True,
            "pattern_options": PATTERNS,
        }

    @property
    def draft(self) -> int:
        """The draft's number as the validator's library knows it."""
        return DIALECTS[self.dialect][0]

    def valid(self, value: Any) -> bool:
        """Whether the validator accepts a value; one that it cannot even hold is not valid."""
        try:
            return bool(self.validator.is_valid(value))
        except (ValueError, OverflowError):
            return False


def read_schema(
    schema: Mapping[str, Any] | bool | str,
    dialect: str | None = None,
    registry: Mapping[str, Any] | None = None,
    formats: bool = False,
) -> Source:
    """Read a schema and compile its validator.

    Args:
        schema: a schema, or its JSON text.
        dialect: its draft, over what `$schema` says. Where neither says one that is known, it is the newest whose
            rules for schemas this one obeys.
        registry: documents that references may lead to, by URI.
        formats: whether `format` is asserted; it is an annotation otherwise.

    Raises:
        SchemaError: for a schema that is not one, is too large, or refers to an unknown document.

    >>> read_schema({"type": "integer"}).valid(1.0)
    True
    >>> read_schema('{"type": "integer"}', "draft4").valid(1.0)
    False
    """
    value: Any = _parsed(schema) if isinstance(schema, str) else schema
    if isinstance(value, Mapping):
        value = dict(value)
    elif not isinstance(value, bool):
        raise SchemaError("", f"a schema is an object or a boolean, not {_short(value)}")
    _measure(value)
    _bounded(value)
    value, drafts = _dialects(_quoted(value), dialect, registry or {})
    failure: SchemaError | None = None
    for named in drafts:
        try:
            return _source(value, named, registry, formats)
        except SchemaError as error:
            failure = failure or error
    assert failure is not None
    raise failure


def _source(value: Any, named: str, registry: Mapping[str, Any] | None, formats: bool) -> Source:
    """The schema in one draft."""
    draft, make = DIALECTS[named]
    known = _registry(registry, draft)
    try:
        validator = make(value, registry=known, validate_formats=formats, offline=True, pattern_options=PATTERNS)
    except truth.ValidationError as error:
        raise SchemaError(_where(value, error), _reason(error)) from None
    except (ValueError, truth.ReferencingError) as error:
        raise SchemaError(_mention(value, str(error)), _reason(error)) from None
    return Source(value, named, known, formats, validator)


def pointer(path: list[Any] | tuple[Any, ...]) -> str:
    """A JSON pointer.

    >>> pointer(["properties", "a/b", 0])
    '/properties/a~1b/0'
    """
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise SchemaError("", f"nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        raise SchemaError("", f"not JSON: {error}") from None


def _measure(schema: Any) -> None:
    """Refuse what is too deep or too large, without recursion."""
    parts = 0
    todo: list[tuple[Any, int]] = [(schema, 0)]
    while todo:
        value, depth = todo.pop()
        parts += 1
        if depth > MAX_DEPTH:
            raise SchemaError("", f"nested deeper than {MAX_DEPTH} levels")
        if parts > MAX_PARTS:
            raise SchemaError("", f"more than {MAX_PARTS} parts")
        if isinstance(value, Mapping):
            bad = next((key for key in value if not isinstance(key, str)), None)
            if bad is not None:
                raise SchemaError("", f"the key {bad!r} is not a string")
            todo.extend((inner, depth + 1) for inner in value.values())
        elif isinstance(value, (list, tuple)):
            todo.extend((inner, depth + 1) for inner in value)
        elif value is not None and not isinstance(value, (str, int, float)):
            raise SchemaError("", f"{_short(value)} is not a JSON value")


def _bounded(schema: Any) -> None:
    """Refuse a schema whose smallest document is too large to plan."""
    todo: list[tuple[Any, tuple[Any, ...]]] = [(schema, ())]
    while todo:
        value, path = todo.pop()
        if isinstance(value, Mapping):
            for key, most in MOST.items():
                least = value.get(key)
                if isinstance(least, (int, float)) and not isinstance(least, bool) and least > most:
                    raise SchemaError(pointer([*path, key]), f"at least {least:g}; at most {most} can be asked for")
            todo.extend((inner, (*path, key)) for key, inner in value.items() if key not in _DATA)
        elif isinstance(value, (list, tuple)):
            todo.extend((inner, (*path, i)) for i, inner in enumerate(value))


def _quoted(schema: Any) -> Any:
    """The schema with what no URI may hold percent-encoded in its references (`#/definitions/Def<number>`)."""
    if isinstance(schema, dict):
        made = {}
        for key, inner in schema.items():
            wild = key == "$ref" and isinstance(inner, str) and _WILD.search(inner)
            plain = key in _DATA
            made[key] = quote(inner, safe=_SAFE) if wild else inner if plain else _quoted(inner)
        return made
    return [_quoted(inner) for inner in schema] if isinstance(schema, list) else schema


def _dialects(schema: Any, asked: str | None, registry: Mapping[str, Any]) -> tuple[Any, tuple[str, ...]]:
    """The schema, its `$schema` spelled as the validator knows it, and its draft, or those to try, the best first."""
    if asked is not None and asked not in DIALECTS:
        raise BadParameter(f"no dialect {asked!r}; known: {', '.join(DIALECTS)}")
    said = schema.get("$schema") if isinstance(schema, dict) else None
    if not isinstance(said, str):
        return schema, (asked,) if asked else _NEWEST
    if said in registry and asked is None:
        inner = registry[said]
        return schema, _dialects(inner, None, {})[1][:1] if isinstance(inner, dict) else ("2020-12",)
    known = next((name for mark, name in _NAMED if mark in said and _META.match(said)), None)
    if (
        asked is None
        and known is None
        and said.startswith(("http://json-schema.org/draft", "https://json-schema.org/draft"))
    ):
        raise SchemaError("/$schema", f"unknown dialect {said!r}; known: {', '.join(DIALECTS)}")
    named = asked or known
    return {key: inner for key, inner in schema.items() if key != "$schema"}, (named,) if named else _NEWEST


def _registry(documents: Mapping[str, Any] | None, draft: int) -> Any:
    if not documents:
        return None
    try:
        return truth.Registry(list(documents.items()), draft=draft)
    except (ValueError, truth.ReferencingError, truth.ValidationError) as error:
        raise SchemaError("", f"the registry: {_reason(error)}") from None


def _where(schema: Any, error: Any) -> str:
    path = list(error.instance_path)
    return pointer(path) if path else _mention(schema, error.message)


def _mention(schema: Any, message: str) -> str:
    """The path of the reference that a message quotes."""
    todo: list[tuple[Any, tuple[Any, ...]]] = [(schema, ())]
    while todo:
        value, path = todo.pop()
        if isinstance(value, dict):
            for key, inner in value.items():
                quoted = key in ("$ref", "$dynamicRef", "$recursiveRef", "pattern") and isinstance(inner, str)
                if quoted and inner and inner.lstrip("#") in message:
                    return pointer([*path, key])
                todo.append((inner, (*path, key)))
        elif isinstance(value, list):
            todo.extend((inner, (*path, i)) for i, inner in enumerate(value))
    return ""


def _reason(error: Exception) -> str:
    text = getattr(error, "message", None) or str(error)
    return str(text).splitlines()[0]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
