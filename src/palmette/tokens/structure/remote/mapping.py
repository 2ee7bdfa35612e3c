"""One schema for every provider: the fields of its request, what the validator still enforces, and the way back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from palmette.core.errors import ConstraintError
from palmette.core.signature import pick
from palmette.core.types import schema_of, value_of
from palmette.tokens.structure.remote.dialects import DIALECTS, Dialect
from palmette.tokens.structure.remote.gbnf import gbnf
from palmette.tokens.structure.remote.trim import Trimming, followed, is_map
from palmette.tokens.structure.schema.carrier import Carrier
from palmette.tokens.structure.schema.lower import Lowering
from palmette.tokens.structure.schema.normal import normalise
from palmette.tokens.structure.schema.order import Order
from palmette.tokens.structure.schema.source import Source, pointer, read_schema

__all__ = ["Remote", "answered", "remote"]

_GRAMMAR = "llama.cpp"  # takes a grammar instead of a schema
_HARD = {
    *("allOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies"),
    *("$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor", "unevaluatedProperties", "unevaluatedItems"),
}
_WRAP = "value"  # the property that carries what is no object


@dataclass(frozen=True)
class Remote:
    """A schema as a provider takes it.

    Args:
        dialect: the provider's.
        body: fields to put into its request.
        dropped: what its structured mode cannot say, as JSON pointers (keywords for a grammar); the validator does.
        strict: whether the provider's mode enforces what was kept; otherwise the schema only guides the model.
        question: the schema as text, which the question has to say where `body` has no place for it.
    """

    dialect: str
    body: Mapping[str, Any]
    dropped: tuple[str, ...]
    strict: bool
    kind: Any = field(repr=False)
    source: Source = field(repr=False)
    wrapped: bool = field(default=False, repr=False)
    optional: frozenset[str] = field(default=frozenset(), repr=False)
    question: str = field(default="", repr=False)

    def read(self, text: str) -> Any:
        """The value of an answer, as one of the type that was asked for.

        Raises:
            ConstraintError: for an answer that the schema does not accept; its message says where and why.
        """
        value = self.document(text)
        return value if isinstance(self.kind, (Mapping, bool, str)) else value_of(self.kind, value)

    def document(self, text: str) -> Any:
        """The JSON value of an answer, as the schema has it.

        Raises:
            ConstraintError: as `read`.
        """
        try:
            value = json.loads(text)
        except ValueError as error:
            raise ConstraintError(f"the answer is not JSON: {error}") from None
        if self.wrapped:
            if not isinstance(value, dict) or list(value) != [_WRAP]:
                raise ConstraintError(f"the answer is not an object with the one key {_WRAP!r}")
            value = value[_WRAP]
        if self.source.valid(value):
            return value
        lean = _without_null(value, self.optional)
        if self.source.valid(lean):
            return lean
        wrong = next(iter(self.source.validator.iter_errors(lean)), None)
        if wrong is None:
            raise ConstraintError("the answer holds a number that cannot be checked")
        where = pointer(list(wrong.instance_path)) or "/"
        raise ConstraintError(f"the answer does not fit at {where}: {wrong.message}")


def remote(
    dialect: str,
    schema: Any,
    *,
    name: str = "answer",
    registry: Mapping[str, Any] | None = None,
    formats: bool | None = None,
) -> Remote:
    """A schema or a Python type in the words of a provider's structured mode.

    Args:
        dialect: "openai", "openai-responses", "anthropic", "gemini", "cohere", "ollama" or "llama.cpp".
        schema: what `palmette.constraint` takes.
        name: what the provider calls it: letters, digits, - and _.
        registry: documents that references may lead to, by URI.
        formats: whether `format` is asserted; by default for types.

    Raises:
        SchemaError, Unsatisfiable: as `palmette.constraint`, before anything is sent.

    >>> made = remote("openai", {"type": "array", "items": {"type": "integer"}, "uniqueItems": True})
    >>> made.body["response_format"]["json_schema"]["schema"]["required"], made.dropped
    (['value'], ('/uniqueItems',))
    >>> made.read('{"value": [1, 2]}')
    [1, 2]
    """
    given = isinstance(schema, (Mapping, bool, str))
    asserted = not given if formats is None else formats
    source = read_schema(schema if given else schema_of(schema), None, registry, asserted)
    carrier = _carrier(source, registry or {})
    if dialect == _GRAMMAR:
        grammar, left = gbnf(carrier.schema)
        dropped = tuple(sorted(left | carrier.weak))
        return Remote(dialect, {"grammar": grammar}, dropped, True, schema, source)
    spoken: Dialect = pick(DIALECTS, dialect, "structured mode")
    base: Any = carrier.schema if _hard(source.schema) else followed(source.schema)
    wrapped = spoken.root_object and not _is_object(base)
    free = (spoken.closed or spoken.sealed) and is_map(base)
    trimming = Trimming(base, spoken)
    said = base if free else trimming.trimmed()
    if wrapped:
        said = _wrapped(said)
    body = spoken.wrap(name, said)
    unsaid = not spoken.keywords or (free and not spoken.loose)
    if free:
        body = _loosened(body) if spoken.loose else {}
    question = json.dumps(_wrapped(source.schema) if wrapped else source.schema, ensure_ascii=False) if unsaid else ""
    lost = ("",) if free or unsaid else tuple(trimming.dropped)
    missing = tuple(sorted(carrier.weak)) if base is carrier.schema else ()
    strict = not free and not unsaid
    optional = frozenset(trimming.optional)
    return Remote(dialect, body, (*lost, *missing), strict, schema, source, wrapped, optional, question)


def answered(asked: Remote, ask: Callable[[str | None], str], tries: int = 3) -> Any:
    """Ask until the answer fits: the bounded re-ask, with no network of its own.

    Args:
        asked: the schema.
        ask: gets None first, then what was wrong with the last answer; gives the model's text.
        tries: the most answers that are looked at.

    Raises:
        ConstraintError: if none of them fits; its message holds the last complaint.

    >>> answers = iter(["[1, 1]", "[1, 2]"])
    >>> unique = remote("ollama", {"type": "array", "uniqueItems": True})
    >>> answered(unique, lambda complaint: next(answers))
    [1, 2]
    """
    complaint: str | None = None
    for _ in range(tries):
        try:
            return asked.read(ask(complaint))
        except ConstraintError as error:
            complaint = f"{error}. Answer again with the corrected JSON document alone."
    raise ConstraintError(f"no answer of {tries} fits the schema; of the last one: {complaint}")


def _carrier(source: Source, registry: Mapping[str, Any]) -> Carrier:
    normal = normalise(source)
    order = Order([source.schema, *registry.values()])
    carrier = Lowering(normal.node, order, source.formats).carrier()
    return Carrier(carrier.schema, carrier.weak | normal.dropped)


def _hard(schema: Any) -> bool:
    """Whether a schema uses words that are better rewritten before they are sent."""
    if isinstance(schema, list):
        return any(map(_hard, schema))
    if not isinstance(schema, Mapping):
        return isinstance(schema, bool)
    link = schema.get("$ref")
    far = isinstance(link, str) and not link.startswith(("#/$defs/", "#/definitions/"))
    if far or _HARD & set(schema):
        return True
    skipped = ("enum", "const", "default", "examples", "example")
    boolean = ("additionalProperties", "additionalItems", "uniqueItems", "exclusiveMinimum", "exclusiveMaximum")
    return any(
        _hard(value)
        for key, value in schema.items()
        if key not in skipped and not (isinstance(value, bool) and (key in boolean or not _subschema(key)))
    )


def _subschema(key: str) -> bool:
    return key in ("items", "contains", "propertyNames", "not")


def _is_object(schema: Any) -> bool:
    return isinstance(schema, Mapping) and schema.get("type") == "object" and "$ref" not in schema


def _wrapped(schema: Any) -> dict[str, Any]:
    """An object that carries the value, definitions outside."""
    links = ("$defs", "definitions")
    inner = {key: value for key, value in schema.items() if key not in links}
    whole: dict[str, Any] = {"type": "object", "properties": {_WRAP: inner}, "required": [_WRAP]}
    return {**whole, "additionalProperties": False, **{key: schema[key] for key in links if key in schema}}


def _loosened(body: Any) -> Any:
    """The same request without strictness."""
    if isinstance(body, dict):
        return {key: False if key == "strict" else _loosened(value) for key, value in body.items()}
    return body


def _without_null(value: Any, optional: frozenset[str]) -> Any:
    """A value without the members that say their absence as null."""
    if isinstance(value, list):
        return [_without_null(inner, optional) for inner in value]
    if isinstance(value, dict):
        kept = ((key, inner) for key, inner in value.items() if not (inner is None and key in optional))
        return {key: _without_null(inner, optional) for key, inner in kept}
    return value
