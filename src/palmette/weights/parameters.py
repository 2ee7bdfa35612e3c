"""The parameters of one output tensor: from the recipe's levels to the keywords of a merge method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from palmette.core.errors import RecipeError
from palmette.weights.methods import Method, Setting, settings
from palmette.weights.recipe.schema import Choice, Recipe, Reference
from palmette.weights.recipe.values import MISSING, Level, lookup

__all__ = ["Side", "choose", "described", "resolve"]

_SHARES = ("density", "gamma", "epsilon", "select_topk")


@dataclass(frozen=True)
class Side:
    """One model's part in an output tensor: its own tensor's name and its own parameters."""

    model: Reference
    name: str
    parameters: Level


def choose(recipe: Recipe, name: str) -> Choice | None:
    """The method chosen for tensors of this name, if the recipe chooses one."""
    return next((choice for choice in recipe.choices if choice.filter in name or choice.filter == "*"), None)


def resolve(
    method: Method,
    sides: Sequence[Side],
    levels: Sequence[Level],
    choice: Choice | None,
    name: str,
    t: float,
    warnings: list[str],
) -> dict[str, Any]:
    """Keywords for the method's function.

    Raises:
        RecipeError: for a parameter that is missing, of the wrong type or out of range.
    """
    made: dict[str, Any] = {}
    chosen: list[Level] = [choice.parameters] if choice else []
    for setting in settings(method).values():
        if setting.each:
            own = [
                _one(
                    setting, lookup([side.parameters, *chosen, *levels], setting.name, side.name, t), method, side.name
                )
                for side in sides
            ]
            if not all(value is None for value in own):
                made[setting.keyword] = own
        else:
            found = lookup([*chosen, *levels], setting.name, name, t)
            made[setting.keyword] = _one(setting, found, method, name)
            misplaced = next((s for s in sides if setting.name in s.parameters), None)
            note = (
                f"{setting.name} under {misplaced.model if misplaced else ''} has no effect: it belongs to the recipe"
            )
            if misplaced and note not in warnings:
                warnings.append(note)
    return made


def _one(setting: Setting, value: Any, method: Method, name: str) -> Any:
    """A value of the setting's type."""
    where = f"parameters.{setting.name}"
    if value is MISSING or (value is None and setting.default is None):
        if setting.required:
            raise RecipeError(where, f"merge method {method.name!r} needs {setting.name!r} for {name!r}")
        return setting.default
    if setting.kind is bool:
        if value not in (True, False, 0, 1):
            raise RecipeError(where, f"should be true or false, not {value!r}")
        return bool(value)
    if isinstance(value, str) or value is None or not math.isfinite(value):
        raise RecipeError(where, f"should be a finite number, not {value!r}")
    if setting.kind is int:
        if value != int(value):
            raise RecipeError(where, f"should be a whole number, not {value!r}")
        return int(value)
    if setting.name in _SHARES and not 0 <= value <= 1:
        raise RecipeError(where, f"should be between 0 and 1, not {value!r}")
    return float(value)


def described(parameters: Mapping[str, Any]) -> str:
    """As a line of text: `weight=[0.5, 0.5], normalize=True`."""
    return ", ".join(f"{key.rstrip('_')}={value}" for key, value in parameters.items())
