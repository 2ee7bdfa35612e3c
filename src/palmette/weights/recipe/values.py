"""Parameter values of a recipe: a number, a gradient over the layers, or the first of several filters that matches.

As mergekit 0.1.5 resolves them: filters are plain substrings; the first match wins; no match falls through to the next
level (source, slice, module, recipe); a gradient is read at the layer's place in its slice, and at its first element
for tensors outside the layers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from palmette.core.errors import RecipeError

__all__ = ["MISSING", "Level", "check", "lookup"]

Level = Mapping[str, Any]
MISSING: Any = object()


def lookup(levels: Sequence[Level], parameter: str, name: str, t: float) -> Any:
    """The value of a parameter for a tensor, or MISSING.

    Args:
        levels: the parameter tables that apply, the nearest first.
        parameter: which.
        name: the tensor's name, for filters.
        t: the layer's place, from 0 to 1.

    >>> lookup([{"w": [{"filter": "mlp", "value": [0, 1]}]}, {"w": 7}], "w", "model.layers.1.mlp.up.weight", 0.25)
    0.25
    >>> lookup([{"w": [{"filter": "mlp", "value": [0, 1]}]}, {"w": 7}], "w", "model.norm.weight", 0.25)
    7
    """
    for level in levels:
        if parameter in level:
            found = _evaluate(level[parameter], name, t)
            if found is not MISSING:
                return found
    return MISSING


def _evaluate(value: Any, name: str, t: float) -> Any:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        for row in value:
            wanted = row.get("filter")
            if wanted is None or wanted == "*" or str(wanted) in name:
                return _evaluate(row["value"], name, t)
        return MISSING
    if isinstance(value, list):
        return _gradient(value, t)
    return value


def _gradient(values: Sequence[Any], t: float) -> Any:
    """Numbers between their neighbours, anything else the element before."""
    if len(values) == 1:
        return values[0]
    place = min(max(t, 0.0), 1.0) * (len(values) - 1)
    if any(isinstance(v, (bool, str)) or v is None for v in values):
        return values[int(place)]
    left = min(int(place), len(values) - 2)
    share = place - left
    return (1 - share) * values[left] + share * values[left + 1]


def check(value: Any, path: str) -> Any:
    """A parameter's value as a recipe writes it, with numbers that YAML took for text made numbers (1e-5).

    Raises:
        RecipeError: for a value that is no number, truth value, gradient or list of filters.
    """
    if isinstance(value, dict):
        return check([value], path)
    if isinstance(value, list):
        if not value:
            raise RecipeError(path, "an empty list has no value")
        if any(isinstance(v, dict) for v in value):
            return [_condition(row, f"{path}[{i}]") for i, row in enumerate(value)]
        return [_scalar(v, f"{path}[{i}]") for i, v in enumerate(value)]
    return _scalar(value, path)


def _condition(row: Any, path: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        return {"filter": None, "value": _scalar(row, path)}
    unknown = sorted(set(map(str, row)) - {"filter", "value"})
    if unknown:
        raise RecipeError(path, f"a condition has 'filter' and 'value', not {unknown[0]!r}")
    if "value" not in row:
        raise RecipeError(path, "a condition needs a 'value'")
    value = check(row["value"], f"{path}.value")
    if isinstance(value, list) and isinstance(value[0], dict):
        raise RecipeError(path, "conditions cannot be nested")
    return {"filter": row.get("filter"), "value": value}


def _scalar(value: Any, path: str) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise RecipeError(path, f"should be a finite number, not {value}")
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return value
        return _scalar(number, path)
    raise RecipeError(path, f"{value!r} is no number, truth value or text")
