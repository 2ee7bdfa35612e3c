"""Cutting a schema down to a provider's dialect. What is cut is listed; the validator enforces it on the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from palmette.tokens.structure.remote.dialects import Dialect
from palmette.tokens.structure.schema.source import pointer

__all__ = ["Trimming", "followed", "is_map"]

# Keywords that assert nothing by themselves: leaving them out loses nothing.
_SILENT = {
    *("$schema", "$id", "id", "$comment", "$anchor", "$vocabulary", "title", "description", "default", "examples"),
    *("deprecated", "readOnly", "writeOnly", "contentEncoding", "contentMediaType", "contentSchema", "$defs"),
    *("definitions", "format"),
}
_MOST = 12  # references that are followed into one another where a dialect has none

Path = tuple[Any, ...]


@dataclass
class Trimming:
    """One schema cut down to one dialect.

    `dropped` are the JSON pointers of what was left out, `optional` the names of properties that had to become
    required: their absence is said as null.
    """

    schema: Any
    dialect: Dialect
    dropped: list[str] = field(default_factory=list)
    optional: set[str] = field(default_factory=set)

    def trimmed(self) -> Any:
        """The schema in the dialect."""
        return self._part(self.schema, (), 0)

    def _part(self, part: Any, path: Path, depth: int) -> Any:
        if not isinstance(part, Mapping):
            if part is False:
                self.dropped.append(pointer(path))
            return {}
        if "$ref" in part and not self.dialect.linked:
            return self._inlined(part, path, depth)
        out: dict[str, Any] = {}
        for name, value in part.items():
            here = (*path, name)
            if name not in self.dialect.keywords:
                self._left_out(name, value, here, out)
            elif name == "format":
                if value in self.dialect.formats:
                    out[name] = value
            elif name in ("properties", "$defs", "definitions", "patternProperties"):
                out[name] = {key: self._part(inner, (*here, key), depth) for key, inner in value.items()}
            elif name in ("anyOf", "oneOf", "allOf", "prefixItems"):
                out[name] = [self._part(inner, (*here, k), depth) for k, inner in enumerate(value)]
            elif name == "additionalProperties":
                out[name] = value if isinstance(value, bool) else self._part(value, here, depth)
            elif name in ("items", "not", "if", "then", "else", "contains", "propertyNames"):
                out[name] = self._part(value, here, depth) if isinstance(value, (Mapping, bool)) else {}
            else:
                out[name] = value
        return self._shaped(out, part, path)

    def _left_out(self, name: str, value: Any, path: Path, out: dict[str, Any]) -> None:
        """A keyword that the dialect lacks: said in others where that is the same, else listed."""
        if name == "const" and "enum" in self.dialect.keywords:
            out["enum"] = [value]
        elif name == "oneOf" and "anyOf" in self.dialect.keywords and "anyOf" not in out:
            out["anyOf"] = [self._part(inner, (*path, k), 0) for k, inner in enumerate(value)]
            self.dropped.append(pointer(path))  # that only one holds is the validator's
        elif name == "additionalProperties" and value is not False and not isinstance(value, Mapping):
            pass  # anything is allowed, which is what leaving it out says
        elif name not in _SILENT:
            self.dropped.append(pointer(path))

    def _shaped(self, out: dict[str, Any], part: Mapping[str, Any], path: Path) -> dict[str, Any]:
        """Types and enumerations as the dialect writes them, objects closed where it wants that."""
        if not self.dialect.linked:
            _without_lists(out)
            if "enum" in part and "enum" not in out:
                self.dropped.append(pointer((*path, "enum")))
        if self.dialect.closed and ("properties" in out or out.get("type") == "object"):
            properties = out.setdefault("properties", {})
            required = set(part.get("required", ()))
            for name in [n for n in properties if n not in required and not _admits_null(properties[n])]:
                properties[name] = _nullable(properties[name])
                self.optional.add(name)
            for name in sorted(required - set(properties)):
                properties[name] = {}
            out["required"] = list(properties)
            out["additionalProperties"] = False
        return out

    def _inlined(self, part: Mapping[str, Any], path: Path, depth: int) -> Any:
        """What a reference leads to, in its place; past a few levels anything is allowed."""
        target = _resolved(self.schema, part["$ref"])
        if target is None or depth >= _MOST:
            self.dropped.append(pointer((*path, "$ref")))
            return {}
        beside = {key: value for key, value in part.items() if key != "$ref"}
        whole = {**target, **beside} if isinstance(target, Mapping) else target
        return self._part(whole, path, depth + 1)


def is_map(part: Any) -> bool:
    """Whether a part anywhere is an object of names that nobody listed, which a closed dialect cannot say.

    >>> is_map({"type": "object", "additionalProperties": {"type": "integer"}})
    True
    """
    if isinstance(part, list):
        return any(map(is_map, part))
    if not isinstance(part, Mapping):
        return False
    types = part.get("type")
    speaks = types == "object" or (isinstance(types, list) and "object" in types) or "properties" in part
    free = isinstance(part.get("additionalProperties"), Mapping) or "patternProperties" in part
    if speaks and (free or (not part.get("properties") and part.get("additionalProperties") is not False)):
        return True
    return any(is_map(value) for key, value in part.items() if key not in ("enum", "const", "default", "examples"))


def followed(schema: Any) -> Any:
    """A schema that is nothing but a reference as what it refers to, definitions kept."""
    for _ in range(_MOST):
        target = _resolved(schema, schema["$ref"]) if isinstance(schema, Mapping) and "$ref" in schema else None
        if not isinstance(target, Mapping):
            break
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    return schema


def _resolved(schema: Any, reference: Any) -> Any:
    """The part that a local reference names, or None."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    at = schema
    for step in reference[1:].split("/")[1:]:
        key: Any = step.replace("~1", "/").replace("~0", "~")
        if isinstance(at, list) and key.isdecimal() and int(key) < len(at):
            at = at[int(key)]
        elif isinstance(at, Mapping) and key in at:
            at = at[key]
        else:
            return None
    return at


def _nullable(part: Any) -> Any:
    if isinstance(part, Mapping) and isinstance(part.get("type"), str) and not {"enum", "const"} & set(part):
        return {**part, "type": [part["type"], "null"]}
    return {"anyOf": [part, {"type": "null"}]}


def _admits_null(part: Any) -> bool:
    """Whether null is a value of a part already, as far as its own words say."""
    if not isinstance(part, Mapping) or "$ref" in part:
        return False
    if "const" in part or "enum" in part:
        return None in part.get("enum", [part.get("const")])
    if "anyOf" in part:
        return any(map(_admits_null, part["anyOf"]))
    kinds = part.get("type")
    return kinds is None or kinds == "null" or (isinstance(kinds, list) and "null" in kinds)


def _without_lists(out: dict[str, Any]) -> None:
    """Lists of types as `nullable` and unions; values of enumerations as text (OpenAPI's words)."""
    types = out.get("type")
    if isinstance(types, list):
        named = [name for name in types if name != "null"]
        if "null" in types:
            out["nullable"] = True
        del out["type"]
        if len(named) == 1:
            out["type"] = named[0]
        elif named:
            out["anyOf"] = [{"type": name} for name in named]
    values = out.get("enum")
    if isinstance(values, list) and not all(isinstance(value, str) for value in values):
        kinds = {True: "boolean", False: "number"}
        del out["enum"]
        known = {kinds[isinstance(v, bool)] for v in values if isinstance(v, (bool, int, float))}
        if len(known) == 1 and all(isinstance(v, (bool, int, float)) for v in values):
            out.setdefault("type", known.pop())
