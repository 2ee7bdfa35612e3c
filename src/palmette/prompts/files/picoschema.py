"""Picoschema, the short notation of dotprompt, as JSON Schema (google.github.io/dotprompt/reference/picoschema).

name: string, who it is
tags?(array, of topics): string
mood(enum): [GOOD, BAD]
place(object): {town: string}
"""

from __future__ import annotations

import re
from typing import Any

from palmette.core.errors import UsageError

__all__ = ["picoschema"]

SCALARS = ("string", "number", "integer", "boolean", "null", "any")
_KEY = re.compile(r"(?P<name>[^(?]+)(?P<optional>\?)?(?:\((?P<kind>array|object|enum|\*)(?:,\s*(?P<note>[^)]*))?\))?\Z")


def picoschema(given: Any, where: str) -> dict[str, Any]:
    """The JSON Schema; one that is written out already is returned as it is.

    Raises:
        UsageError: naming the place.

    >>> picoschema({"age?": "integer, in years"}, "input")["properties"]
    {'age': {'anyOf': [{'type': 'integer', 'description': 'in years'}, {'type': 'null'}]}}
    """
    if isinstance(given, dict) and ("properties" in given or given.get("type") in (*SCALARS, "object", "array")):
        return given
    return _read(given, where)


def _read(given: Any, where: str) -> dict[str, Any]:
    if isinstance(given, str):
        kind, comma, note = given.partition(",")
        if kind.strip() not in SCALARS:
            raise UsageError(f"{where}: {kind.strip()!r} is no type of Picoschema; known: {', '.join(SCALARS)}")
        made = {} if kind.strip() == "any" else {"type": kind.strip()}
        return {**made, "description": note.strip()} if comma else made
    if not isinstance(given, dict):
        raise UsageError(f"{where}: {given!r} is no schema")
    properties: dict[str, Any] = {}
    required: list[str] = []
    more: Any = False
    for key, value in given.items():
        found = _KEY.match(str(key))
        if str(key) == "(*)":
            more = _read(value, f"{where}, (*)")
            continue
        if found is None:
            raise UsageError(f"{where}: {key!r} is no field of Picoschema")
        name = found["name"].strip()
        schema = _field(found["kind"], value, f"{where}, {name}")
        if found["note"]:
            schema = {**schema, "description": found["note"].strip()}
        if found["optional"]:
            schema = {"anyOf": [schema, {"type": "null"}]}
        else:
            required.append(name)
        properties[name] = schema
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": more}


def _field(kind: str | None, value: Any, where: str) -> dict[str, Any]:
    if kind == "array":
        return {"type": "array", "items": _read(value, where)}
    if kind == "enum":
        if not isinstance(value, list) or not value:
            raise UsageError(f"{where}: an enum is a list of its values, not {value!r}")
        return {"enum": value}
    return _read(value, where)
