"""Numbers of a canonical schema in the words of the grammar engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import lcm
from typing import Any

from jsonschema_rs import canonical

from palmette.tokens.structure.schema.carrier import Notes
from palmette.tokens.structure.schema.values import plain

__all__ = ["integers", "numbers"]

_SURE = 2**53  # larger bounds are left to the validator

Json = Any
Takes = Callable[[Json], bool]


def integers(v: canonical.IntegerView, notes: Notes, takes: Takes) -> Json:
    """Integers; `takes` tells whether the engine compiles a schema."""
    out: dict[str, Json] = {"type": "integer"}
    _bound(out, "minimum", v.minimum, notes)
    _bound(out, "maximum", v.maximum, notes)
    return _numeric(out, v.multiple_of, bool(v.not_multiple_of), notes, takes)


def numbers(v: canonical.NumberView, notes: Notes, takes: Takes) -> Json:
    """Numbers; `takes` tells whether the engine compiles a schema."""
    out: dict[str, Json] = {"type": "number"}
    _bound(out, "exclusiveMinimum" if v.exclusive_minimum else "minimum", v.minimum, notes)
    _bound(out, "exclusiveMaximum" if v.exclusive_maximum else "maximum", v.maximum, notes)
    return _numeric(out, v.multiple_of, bool(v.not_multiple_of) or v.excludes_integers, notes, takes)


def _bound(out: dict[str, Json], name: str, bound: Any, notes: Notes) -> None:
    if bound is None:
        return
    value = plain(bound)
    if not abs(value) <= _SURE:
        notes.weak.add(name)
    else:
        out[name] = value


def _numeric(out: dict[str, Json], multiples: Sequence[Any], unless: bool, notes: Notes, takes: Takes) -> Json:
    if unless:
        notes.weak.add("not")
    steps = [plain(m) for m in multiples]
    if steps:
        whole = all(isinstance(s, int) for s in steps)
        step = lcm(*steps) if whole else steps[0]
        if (len(steps) > 1 and not whole) or not 1e-9 <= step <= 2**31:
            notes.weak.add("multipleOf")
        if 1e-9 <= step <= 2**31:
            out["multipleOf"] = step
    if not takes(out):
        notes.weak |= set(out) - {"type"}
        return {"type": out["type"]}
    return out
