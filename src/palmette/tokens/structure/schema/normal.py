"""The canonical form of a schema, and why there is none: what cannot be satisfied is found here, with its path.

Canonicalisation (references, anchors, dynamic scopes, all drafts) is the validator library's; it is exact. A schema
that it cannot model is relaxed first, keyword by keyword, which only ever admits more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jsonschema_rs import CanonicalSchema, ReferencingError, ValidationError, canonical, canonicalize

from palmette.core.errors import SchemaError, Unsatisfiable
from palmette.tokens.structure.schema.source import Source

__all__ = ["Normal", "normalise"]

_HARD = ("unevaluatedItems", "unevaluatedProperties", "$recursiveRef", "$dynamicRef")
_NEGATIVE = ("not", "if", "then", "else", "contains", "minContains", "maxContains", "uniqueItems", "propertyNames")
_DEPENDENT = ("dependencies", "dependentRequired", "dependentSchemas")
_UNIONS = ("anyOf", "oneOf")
_ANY = 1 << 30
# What is left out until there is a canonical form: keywords, and unions of more branches than so many.
_LADDER: list[tuple[tuple[str, ...], int]] = [
    (_HARD, _ANY),
    (_HARD, 24),
    ((*_HARD, *_NEGATIVE, *_DEPENDENT), 24),
    ((*_HARD, *_NEGATIVE, *_DEPENDENT), 0),
]
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
    >>> normalise(read_schema({"type": "string", "enum": [1]}))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    palmette.core.errors.Unsatisfiable: schema at /: no document can satisfy it: ...
    """
    dropped: set[str] = set()
    schema: Any = source.schema
    for without, widest in [((), _ANY), *_LADDER]:
        if without:
            dropped = set()
            schema = _relaxed(source.schema, without, widest, dropped)
        if _cases(schema) > _MANY:
            continue
        node = _canonical(schema, source)
        if node is not None:
            break
    else:
        node, dropped = canonicalize(True), {"*"}
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


def _cases(schema: Any) -> float:
    """About how many cases the unions that hold together multiply to."""
    if not isinstance(schema, dict):
        return 1
    product: float = 1
    for name in _UNIONS:
        branches = schema.get(name)
        if isinstance(branches, list) and branches:
            product *= sum(_cases(branch) for branch in branches) * _shared(schema, branches)
    for branch in schema["allOf"] if isinstance(schema.get("allOf"), list) else []:
        product *= _cases(branch)
        product *= 2 if isinstance(branch, dict) and "if" in branch else 1
    inner = [schema.get(name) for name in _SINGLE]
    for name in _NAMED:
        table = schema.get(name)
        inner += list(table.values()) if isinstance(table, dict) else []
    return max([product, *(_cases(part) for part in inner)])


def _shared(schema: dict[str, Any], branches: list[Any]) -> float:
    """The cases of the properties that a schema and the branches of its union both speak of."""
    own = schema.get("properties")
    if not isinstance(own, dict):
        return 1
    said = {name for b in branches if isinstance(b, dict) for name in b.get("properties", ())}
    return max([1, *(_cases(own[name]) for name in said & set(own))])


def _hull(branches: list[Any]) -> dict[str, Any]:
    """What admits every branch of a union, said without one: its values, or else its types."""
    if all(isinstance(b, dict) and ("const" in b or isinstance(b.get("enum"), list)) for b in branches):
        return {"enum": [v for b in branches for v in (b["enum"] if "enum" in b else [b["const"]])]}
    types = [b.get("type") if isinstance(b, dict) else None for b in branches]
    if all(types):
        flat = [name for kind in types for name in (kind if isinstance(kind, list) else [kind])]
        return {"type": sorted(set(flat))}
    return {}


def _relaxed(schema: Any, without: tuple[str, ...], widest: int, dropped: set[str]) -> Any:
    """The schema without some keywords and wide unions wherever it is asserted, which are put into `dropped`.

    Once negations are left out, one-of becomes any-of.
    """
    if not isinstance(schema, dict):
        return schema

    def relaxed(inner: Any) -> Any:
        return _relaxed(inner, without, widest, dropped)

    out: dict[str, Any] = {}
    every: list[Any] = []  # what goes into all-of
    for name, value in schema.items():
        if name in without:
            dropped.add(name)
        elif name in _NAMED and isinstance(value, dict):
            out[name] = {key: relaxed(inner) for key, inner in value.items()}
        elif name in _UNIONS and isinstance(value, list) and len(value) > widest:
            dropped.add(name)
            every.append(_hull(value))
        elif name == "oneOf" and isinstance(value, list) and "not" in without:
            dropped.add(name)
            every.append({"anyOf": [relaxed(inner) for inner in value]})
        elif name == "allOf" and isinstance(value, list):
            every += [relaxed(inner) for inner in value]
        elif name in _LISTED and isinstance(value, list):
            out[name] = [relaxed(inner) for inner in value]
        elif name in _SINGLE:
            out[name] = [relaxed(i) for i in value] if isinstance(value, list) else relaxed(value)
        else:
            out[name] = value
    return {**out, "allOf": every} if every else out
