"""How long the parts of a schema are at least."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from palmette.tokens.structure.schema.values import spelled

__all__ = ["longest_part"]

_FAR = 1e9


def longest_part(carrier: Mapping[str, Any]) -> int:
    """The bytes of the largest among the smallest values of a carrier's parts: how far one choice can lead.

    >>> longest_part({"type": "object", "properties": {"ab": {"type": "boolean"}}, "required": ["ab"]})
    12
    """
    definitions = carrier.get("$defs", {})
    known = dict.fromkeys(definitions, _FAR)
    sizes: list[float] = []
    for _ in range(4):  # a few rounds of the least fixed point; a part not reached by then counts as far
        sizes = []
        for name, part in definitions.items():
            known[name] = _least(part, known, sizes)
    sizes.append(_least(carrier, known, sizes))
    return int(max((size for size in sizes if size < _FAR), default=16))


def _least(part: Any, known: dict[str, float], sizes: list[float]) -> float:
    if part is False:
        return _FAR
    if not isinstance(part, Mapping):
        return 1
    if "$ref" in part:
        return known.get(part["$ref"].rpartition("/")[2], 1)
    if "const" in part:
        size: float = len(spelled(part["const"]))
    elif "enum" in part:
        size = min((len(spelled(v)) for v in part["enum"][:500]), default=_FAR)
    elif "anyOf" in part:
        size = min((_least(inner, known, sizes) for inner in part["anyOf"]), default=_FAR)
    elif "allOf" in part:
        size = max((_least(inner, known, sizes) for inner in part["allOf"]), default=1)
    else:
        size = _typed(part, known, sizes)
    sizes.append(size)
    return size


def _typed(part: Mapping[str, Any], known: dict[str, float], sizes: list[float]) -> float:
    kind = part.get("type")
    if kind == "string":
        return 2 + int(part.get("minLength", 0)) + (16 if "pattern" in part or "format" in part else 0)
    if kind in ("integer", "number"):
        bound = part.get("minimum", part.get("exclusiveMinimum", part.get("maximum", 0)))
        return len(spelled(bound)) + (4 if "multipleOf" in part else 0)
    if kind == "array":
        prefix = [_least(inner, known, sizes) for inner in part.get("prefixItems", [])]
        item = _least(part.get("items", {}), known, sizes)
        count = int(part.get("minItems", 0))
        used = [*prefix[:count], *([item] if count > len(prefix) else [])]
        return min(_FAR, 2 + sum(used) + max(0, count - len(prefix) - 1) * (item + 1) + max(0, len(used) - 1))
    if kind == "object":
        required = set(part.get("required", ()))
        total: float = 2
        for name, inner in part.get("properties", {}).items():
            size = _least(inner, known, sizes)
            total += (len(spelled(name)) + 2 + size) if name in required else 0
        for inner in part.get("patternProperties", {}).values():
            _least(inner, known, sizes)
        least = 6 + _least(part.get("additionalProperties", {}), known, sizes)
        return min(_FAR, total + max(0, int(part.get("minProperties", 0)) - len(required)) * least)
    return 4
