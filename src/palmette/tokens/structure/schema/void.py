"""Definitions that admit nothing: the grammar engine refuses a whole schema that refers to one, so they are cut out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["without_void"]

_UNDER = "#/$defs/"


def without_void(schema: dict[str, Any]) -> dict[str, Any]:
    """A carrier whose references to definitions that admit nothing are `false` instead.

    >>> without_void({"anyOf": [{"type": "null"}, {"$ref": "#/$defs/d"}], "$defs": {"d": {"anyOf": [False]}}})
    {'anyOf': [{'type': 'null'}, False]}
    """
    definitions: dict[str, Any] = schema.get("$defs", {})
    void: set[str] = set()
    while True:
        more = {name for name, part in definitions.items() if name not in void and _is_void(part, void)}
        if not more:
            break
        void |= more
    if not void:
        return schema
    kept = {name: _cut(part, void) for name, part in definitions.items() if name not in void}
    whole: dict[str, Any] = _cut({key: value for key, value in schema.items() if key != "$defs"}, void)
    return {**whole, "$defs": kept} if kept else whole


def _is_void(part: Any, void: set[str]) -> bool:
    """Whether a part admits nothing, as far as its references and connectives tell."""
    if not isinstance(part, Mapping):
        return part is False
    if "$ref" in part:
        return str(part["$ref"]).removeprefix(_UNDER) in void
    if part.get("enum") == []:
        return True
    if "anyOf" in part and all(_is_void(branch, void) for branch in part["anyOf"]):
        return True
    if any(_is_void(branch, void) for branch in part.get("allOf", ())):
        return True
    if part.get("type") == "object":
        declared = part.get("properties", {})
        return any(_is_void(declared.get(name, True), void) for name in part.get("required", ()))
    if part.get("type") == "array":
        needed = part.get("prefixItems", [])[: part.get("minItems", 0)]
        return any(_is_void(item, void) for item in needed)
    return False


def _cut(part: Any, void: set[str]) -> Any:
    """The part with each reference to nothing as `false`."""
    if isinstance(part, list):
        return [_cut(inner, void) for inner in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        return False if _is_void(part, void) else part
    if "const" in part or "enum" in part:
        return part
    return {
        key: {name: _cut(inner, void) for name, inner in value.items()}
        if key in ("properties", "patternProperties")
        else _cut(value, void)
        for key, value in part.items()
    }
