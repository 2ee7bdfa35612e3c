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
_MOST = 12  # references that are followed into one another

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
        return self._part(self.schema, ())

    def _part(self, part: Any, path: Path) -> Any:
        if not isinstance(part, Mapping):
            if part is False:
                self.dropped.append(pointer(path))
            return {}
        out: dict[str, Any] = {}
        for name, value in part.items():
            here = (*path, name)
            if name not in self.dialect.keywords:
                self._left_out(name, value, here, out)
            elif name == "format":
                if value in self.dialect.formats:
                    out[name] = value
            elif name in ("properties", "$defs", "definitions", "patternProperties"):
                out[name] = {key: self._part(inner, (*here, key)) for key, inner in value.items()}
            elif name in ("anyOf", "oneOf", "allOf", "prefixItems"):
                out[name] = [self._part(inner, (*here, k)) for k, inner in enumerate(value)]
            elif name == "additionalProperties":
                out[name] = value if isinstance(value, bool) else self._part(value, here)
            elif name in ("items", "not", "if", "then", "else", "contains", "propertyNames"):
                out[name] = self._part(value, here) if isinstance(value, (Mapping, bool)) else {}
            else:
                out[name] = value
        return self._shaped(out, part, path)

    def _left_out(self, name: str, value: Any, path: Path, out: dict[str, Any]) -> None:
        """A keyword that the dialect lacks: said in others where that is the same, else listed."""
        if name == "const" and "enum" in self.dialect.keywords:
            out["enum"] = [value]
        elif name == "oneOf" and "anyOf" in self.dialect.keywords and "anyOf" not in out:
            out["anyOf"] = [self._part(inner, (*path, k)) for k, inner in enumerate(value)]
            self.dropped.append(pointer(path))  # that only one holds is the validator's
        elif name == "additionalProperties" and value is not False and not isinstance(value, Mapping):
            pass  # anything is allowed, which is what leaving it out says
        elif name not in _SILENT:
            self.dropped.append(pointer(path))

    def _shaped(self, out: dict[str, Any], part: Mapping[str, Any], path: Path) -> dict[str, Any]:
        """Types and enumerations as the dialect writes them, objects closed where it wants that."""
        self._enumerated(out, path)
        if self.dialect.sealed and ("properties" in out or _speaks_of_objects(out)):
            out["additionalProperties"] = False
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

    def _enumerated(self, out: dict[str, Any], path: Path) -> None:
        """An enumeration whose values the dialect has no words for, as a union of types where that says the same."""
        values = out.get("enum")
        if self.dialect.enums is None or not isinstance(values, list):
            return
        others = [value for value in values if type(value) not in self.dialect.enums]
        if not others:
            return
        del out["enum"]
        kept = [value for value in values if type(value) in self.dialect.enums]
        ways: list[dict[str, Any]] = [{"enum": kept}] if kept else []
        ways += [{"type": "boolean"}] if True in others and False in others else []
        ways += [{"type": "null"}] if None in others else []
        said = sum(type(value) in (bool, type(None)) for value in others)
        if said < len(others) or {True, False} & {v for v in others if type(v) is bool} not in (set(), {True, False}):
            self.dropped.append(pointer((*path, "enum")))
        elif len(ways) == 1:
            out |= ways[0]
        elif "anyOf" not in out:
            out.pop("type", None)
            out["anyOf"] = ways
        else:
            self.dropped.append(pointer((*path, "enum")))


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


def _speaks_of_objects(out: Mapping[str, Any]) -> bool:
    kinds = out.get("type")
    return kinds == "object" or (isinstance(kinds, list) and "object" in kinds)
