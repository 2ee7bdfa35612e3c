"""The canonical form of a schema, and why there is none: what cannot be satisfied is found here, with its path.

Canonicalisation (references, anchors, dynamic scopes, all drafts) is the validator library's; it is exact. A schema
that it cannot model is relaxed first, keyword by keyword, which only ever admits more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jsonschema_rs import CanonicalSchema, ReferencingError, ValidationError, canonical, canonicalize

from palmette.core.errors import SchemaError, Unsatisfiable
from palmette.tokens.structure.schema.source import Source

__all__ = ["Normal", "normalise"]

_HARD = ("unevaluatedItems", "unevaluatedProperties", "$recursiveRef", "$dynamicRef")
_NEGATIVE = ("not", "if", "then", "else", "contains", "minContains", "maxContains", "uniqueItems", "propertyNames")
_DEPENDENT = ("dependencies", "dependentRequired", "dependentSchemas")
_UNIONS = ("anyOf", "oneOf", "allOf")
_LADDER = [_HARD, (*_HARD, *_NEGATIVE, *_DEPENDENT), (*_HARD, *_NEGATIVE, *_DEPENDENT, *_UNIONS)]
_MANY = 4_096  # a product of this many cases is not multiplied out

_NAMED = ("properties", "patternProperties", "$defs", "definitions")
_LISTED = ("allOf", "anyOf", "oneOf", "prefixItems")
_SINGLE = ("items", "additionalItems", "additionalProperties")


@dataclass(frozen=True)
class Normal:
    """The canonical schema that the mask is made from, and the keywords that were left out to reach it."""

    node: CanonicalSchema
    dropped: frozenset[str] = frozenset()


def normalise(source: Source) -> Normal:
    """The canonical form of a schema.

    Raises:
        Unsatisfiable: if no document satisfies it.

    >>> from palmette.tokens.structure.schema.source import read_schema
    >>> normalise(read_schema({"allOf": [{"minimum": 2}, {"type": "integer"}]})).node.to_json_schema()["minimum"]
    2
    >>> normalise(read_schema({"type": "string", "enum": [1]}))
    Traceback (most recent call last):
    ...
    palmette.core.errors.Unsatisfiable: schema at /: no document can satisfy it: enum and type contradict each other
    """
    dropped: tuple[str, ...] = ()
    schema: Any = source.schema
    for step in [(), *_LADDER]:
        if step:
            schema = _relaxed(source.schema, step)
        if _cases(schema) > _MANY:
            continue
        node = _canonical(schema, source)
        if node is not None:
            dropped = tuple(name for name in step if name in _keywords(source.schema))
            break
    else:
        node, dropped = canonicalize(True), ("*",)
    if node.satisfiability() == canonical.Satisfiability.NO:
        raise _unsatisfiable(source)
    return Normal(node, frozenset(dropped))


def _canonical(schema: Any, source: Source) -> CanonicalSchema | None:
    try:
        node = canonicalize(schema, draft=source.draft, **source.settings)
    except ValidationError as error:
        raise SchemaError("", str(error.message)) from None
    except (ValueError, ReferencingError) as error:
        raise SchemaError("", str(error).splitlines()[0]) from None
    return None if isinstance(node.view(), canonical.RawView) else node


def _unsatisfiable(source: Source) -> Unsatisfiable:
    """The deepest reason that the whole schema cannot be satisfied."""
    try:
        found = canonical.find_unsatisfiable(source.schema, draft=source.draft, **source.settings)
    except (ValueError, ReferencingError):
        found = {}
    path = "#" if "#" in found else ""
    for _ in range(64):
        reason = found.get(path)
        if not isinstance(reason, canonical.UnsatisfiableReason.Empty) or reason.cause.keywords:
            break
        if reason.cause.pointer == path:
            break
        path = reason.cause.pointer
    return Unsatisfiable(path.lstrip("#"), f"no document can satisfy it: {_said(found.get(path), path)}")


def _said(reason: Any, path: str) -> str:
    kinds = canonical.UnsatisfiableReason
    if isinstance(reason, kinds.Literal):
        return "it is false"
    if isinstance(reason, kinds.Empty):
        return f"{_cause(reason.cause, path)} admits nothing"
    if isinstance(reason, kinds.Conflict):
        return f"{' and '.join(_cause(cause, path) for cause in reason.causes)} contradict each other"
    return "every document would have to contain itself, or its parts contradict each other"


def _cause(cause: Any, path: str) -> str:
    where = "" if cause.pointer in ("", path) else f" at {cause.pointer}"
    return (", ".join(cause.keywords) or "the schema") + where


def _keywords(schema: Any) -> set[str]:
    found: set[str] = set()
    todo = [schema]
    while todo:
        value = todo.pop()
        if isinstance(value, Mapping):
            found |= set(value)
            todo += value.values()
        elif isinstance(value, list):
            todo += value
    return found


def _cases(schema: Any) -> float:
    """About how many cases the unions that hold together multiply to."""
    if not isinstance(schema, dict):
        return 1
    product: float = 1
    for name in ("anyOf", "oneOf"):
        branches = schema.get(name)
        if isinstance(branches, list) and branches:
            product *= sum(_cases(branch) for branch in branches)
    for branch in schema["allOf"] if isinstance(schema.get("allOf"), list) else []:
        product *= _cases(branch)
        product *= 2 if isinstance(branch, dict) and "if" in branch else 1
    inner = [schema.get(name) for name in _SINGLE]
    for name in _NAMED:
        table = schema.get(name)
        inner += list(table.values()) if isinstance(table, dict) else []
    return max([product, *(_cases(part) for part in inner)])


def _relaxed(schema: Any, without: tuple[str, ...]) -> Any:
    """The schema without some keywords wherever it is asserted; one-of becomes any-of."""
    if not isinstance(schema, dict):
        return schema
    out: dict[str, Any] = {}
    for name, value in schema.items():
        if name in without:
            continue
        if name in _NAMED and isinstance(value, dict):
            out[name] = {key: _relaxed(inner, without) for key, inner in value.items()}
        elif name in _LISTED and isinstance(value, list):
            parts = [_relaxed(inner, without) for inner in value]
            if name == "oneOf" and len(without) > len(_HARD):
                out["allOf"] = [*out.get("allOf", []), {"anyOf": parts}]
            elif name == "allOf":
                out["allOf"] = [*out.get("allOf", []), *parts]
            else:
                out[name] = parts
        elif name in _SINGLE:
            out[name] = [_relaxed(i, without) for i in value] if isinstance(value, list) else _relaxed(value, without)
        else:
            out[name] = value
    return out
