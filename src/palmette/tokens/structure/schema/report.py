"""How each keyword of a schema is enforced: by the mask, by the validator when a value closes, or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from palmette.tokens.structure.schema.lower import EXACT_FORMATS
from palmette.tokens.structure.schema.source import Source, pointer

__all__ = ["Enforced", "Report", "report"]

Enforced = Literal["mask", "validator", "annotation"]

_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTED = ("allOf", "anyOf", "oneOf", "prefixItems")
_SINGLE = (
    *("items", "additionalItems", "additionalProperties", "unevaluatedItems", "unevaluatedProperties", "contains"),
    *("propertyNames", "not", "if", "then", "else", "contentSchema"),
)
_ASSERTED = {
    *("type", "enum", "const", "multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum"),
    *("maxLength", "minLength", "pattern", "maxItems", "minItems", "uniqueItems", "maxContains", "minContains"),
    *("maxProperties", "minProperties", "required", "dependentRequired", "dependencies"),
    *("$ref", "$dynamicRef", "$recursiveRef"),
    *_NAMED,
    *_LISTED,
    *_SINGLE,
} - {"$defs", "definitions", "contentSchema"}
# What the canonical form turns a keyword into; if that was left to the validator, so is the keyword.
_BECOMES: dict[str, tuple[str, ...]] = {
    "minContains": ("contains",),
    "maxContains": ("contains",),
    "if": ("not",),
    "then": ("not",),
    "else": ("not",),
    "dependencies": ("dependentRequired", "dependentSchemas", "not"),
    "dependentSchemas": ("not",),
    "oneOf": ("not",),
    "$dynamicRef": ("$ref", "allOf"),
    "$recursiveRef": ("$ref", "allOf"),
    "$ref": ("allOf",),
    "anyOf": ("allOf",),
    "additionalProperties": ("patternProperties", "propertyNames"),
    "properties": (),
    "unevaluatedProperties": ("patternProperties", "propertyNames", "allOf"),
    "unevaluatedItems": ("contains", "allOf"),
    "exclusiveMinimum": ("minimum",),
    "exclusiveMaximum": ("maximum",),
    "minimum": ("exclusiveMinimum",),
    "maximum": ("exclusiveMaximum",),
}


@dataclass(frozen=True)
class Report:
    """One entry for each keyword location, its JSON pointer and how it is enforced; and the draft that was followed.

    A keyword is said to be the validator's if any place where the schema uses its like was left to the validator.
    """

    keywords: tuple[tuple[str, Enforced], ...]
    dialect: str = "2020-12"

    def by(self, how: Enforced) -> list[str]:
        """The pointers of the keywords enforced in one way."""
        return [path for path, enforced in self.keywords if enforced == how]

    def __str__(self) -> str:
        return "\n".join(f"{enforced:<10} {path}" for path, enforced in self.keywords)


def report(source: Source, weak: frozenset[str]) -> Report:
    """Say for each keyword of a schema how it is enforced, given what the mask leaves to the validator.

    >>> from palmette.tokens.structure.schema.source import read_schema
    >>> print(report(read_schema({"type": "array", "uniqueItems": True, "title": "ids"}), frozenset({"uniqueItems"})))
    mask       /type
    validator  /uniqueItems
    annotation /title
    """
    found = ((pointer(path), _enforced(path[-1], value, source, weak)) for path, value in _walk(source.schema, ()))
    return Report(tuple(found), source.dialect)


def _enforced(name: str, value: Any, source: Source, weak: frozenset[str]) -> Enforced:
    if name == "format" and source.formats:
        return "validator" if value not in EXACT_FORMATS or "format" in weak else "mask"
    if name not in _ASSERTED:
        return "annotation"
    return "validator" if weak.intersection(("*", name, *_BECOMES.get(name, ()))) else "mask"


def _walk(schema: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every keyword with its path, subschemas after their keyword."""
    if not isinstance(schema, Mapping):
        return
    for name, value in schema.items():
        here = (*path, name)
        yield here, value
        if name in (*_NAMED, "dependencies") and isinstance(value, Mapping):
            for key, inner in value.items():
                yield from _walk(inner, (*here, key))
        elif name in (*_LISTED, "items") and isinstance(value, list):
            for place, inner in enumerate(value):
                yield from _walk(inner, (*here, place))
        elif name in _SINGLE:
            yield from _walk(value, here)
