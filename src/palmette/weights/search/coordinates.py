"""The coordinates of a search: which numbers of a recipe may move, between which bounds.

A coordinate is a place in the recipe's document. So any point is an ordinary recipe, and the best is written as such.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import BadParameter, near_miss
from palmette.weights.methods import METHODS, Setting, settings
from palmette.weights.recipe.schema import Recipe, recipe_of

__all__ = ["Coordinate", "Coordinates"]

Key = str | int
BOUNDS = {
    "weight": (-0.25, 1.25), "t": (1e-4, 1.0), "density": (0.05, 1.0), "gamma": (0.0, 0.3), "epsilon": (0.0, 0.3),
    "lambda": (0.0, 2.0), "select_topk": (0.05, 1.0), "r": (0.0, 1.0), "alpha": (0.0, 1.0), "scale": (0.0, 2.0),
}  # fmt: skip
FIRST = ("weight", "t", "lambda", "density", "select_topk")  # what moves if nothing is said: the first that there is


@dataclass(frozen=True)
class Coordinate:
    """A number of a recipe: where it stands in the document, what it is called, its bounds, what it is now."""

    path: tuple[Key, ...]
    label: str
    low: float
    high: float
    start: float


@dataclass(frozen=True)
class Coordinates:
    """Everything that moves, and the stages of the recipe around it.

    >>> text = '{"merge_method": "slerp", "base_model": "a", "models": [{"model": "b"}], "parameters": {"t": 0.5}}'
    >>> moving = Coordinates.of([json.loads(text)])
    >>> moving.rows[0].label, moving.document([0.25])["parameters"]
    ('t', {'t': 0.25})
    """

    documents: tuple[Mapping[str, Any], ...]
    rows: tuple[Coordinate, ...]

    @classmethod
    def of(cls, documents: Sequence[Mapping[str, Any]], over: Sequence[str] = (), groups: int = 1) -> Coordinates:
        """Find what may move in the last stage of a recipe.

        Args:
            documents: the recipe's stages as plain values; the last is the result.
            over: parameters by name; by default the weights, or what the method has in their place.
            groups: numbers for each parameter, spread over the layers as a gradient.

        Raises:
            BadParameter: for a parameter that the method has not, or that is no number.
        """
        last = json.loads(json.dumps(documents[-1]))
        known = settings(METHODS[str(last["merge_method"])])
        numbers = [name for name, setting in known.items() if setting.kind is float]
        for name in over:
            if name not in numbers:
                raise BadParameter(
                    f"--over {name}: {last['merge_method']} has no such number.{near_miss(name, numbers)} "
                    f"It has: {', '.join(numbers) or 'none'}"
                )
        chosen = list(over) or next(([name] for name in FIRST if name in numbers), [])
        if not chosen:
            raise BadParameter(f"merge method {last['merge_method']!r} has no coefficient to search over")
        rows = [row for name in chosen for row in _rows(last, known[name], groups)]
        return cls((*documents[:-1], last), tuple(rows))

    @property
    def start(self) -> list[float]:
        """The recipe's own point."""
        return [row.start for row in self.rows]

    def model(self, row: Coordinate) -> str:
        """The model whose parameter a coordinate is, as the recipe names it."""
        at: Any = self.documents[-1]
        for key in row.path[: row.path.index("parameters")]:
            at = at[key]
        return str(at.get("model", ""))

    def unit(self, point: Sequence[float]) -> list[float]:
        """A point in the unit cube."""
        return [(value - row.low) / (row.high - row.low) for value, row in zip(point, self.rows, strict=True)]

    def point(self, unit: Sequence[float] | NDArray[np.float64]) -> list[float]:
        """Back from the unit cube, to six digits: what a recipe can say is what was measured."""
        return [
            float(f"{row.low + float(u) * (row.high - row.low):.6g}") for u, row in zip(unit, self.rows, strict=True)
        ]

    def document(self, point: Sequence[float]) -> dict[str, Any]:
        """The last stage with these numbers."""
        made: dict[str, Any] = json.loads(json.dumps(self.documents[-1]))
        for value, row in zip(point, self.rows, strict=True):
            at: Any = made
            for key in row.path[:-1]:
                at = at[key]
            at[row.path[-1]] = value
        return made

    def recipes(self, point: Sequence[float]) -> list[Recipe]:
        """All stages, the last with these numbers."""
        stages = [*self.documents[:-1], self.document(point)]
        return [recipe_of(stage, json.dumps(stage, indent=2) + "\n") for stage in stages]


def _rows(document: dict[str, Any], setting: Setting, groups: int) -> Iterator[Coordinate]:
    """The coordinates of one parameter; `document` gets a number at each of their places."""
    tables = list(_tables(document)) if setting.each else [((), document, "")]
    for path, entry, label in tables:
        if setting.each and entry.get("model") == document.get("base_model"):
            continue
        parameters = entry.setdefault("parameters", {})
        if setting.name not in parameters:
            shared = document.get("parameters", {}).get(setting.name)
            parameters[setting.name] = shared if shared is not None else _default(setting)
        where = (*path, "parameters", setting.name)
        name = f"{setting.name} of {label}" if label else setting.name
        yield from _numbers(parameters, setting.name, where, name, setting.name, groups)


def _default(setting: Setting) -> float:
    if setting.default is None:
        return 0.5
    return float(setting.default)


def _numbers(holder: Any, key: Key, path: tuple[Key, ...], label: str, name: str, groups: int) -> Iterator[Coordinate]:
    value = holder[key]
    if isinstance(value, dict):
        yield from _numbers(value, "value", (*path, "value"), f"{label} ({value.get('filter', '*')})", name, groups)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for i, row in enumerate(value):
            yield from _numbers(
                row, "value", (*path, i, "value"), f"{label} ({row.get('filter') or '*'})", name, groups
            )
    elif isinstance(value, list):
        for i in range(len(value)):
            yield _coordinate(value[i], (*path, i), f"{label}[{i}]", name)
    elif groups > 1:
        holder[key] = [value] * groups
        for i in range(groups):
            yield _coordinate(value, (*path, i), f"{label}[{i}]", name)
    else:
        yield _coordinate(value, path, label, name)


def _coordinate(value: Any, path: tuple[Key, ...], label: str, name: str) -> Coordinate:
    try:
        start = float(value)
    except (TypeError, ValueError):
        raise BadParameter(f"{label} is {value!r}, which is no number to search from") from None
    low, high = BOUNDS.get(name, (0.0, 1.0))
    return Coordinate(path, label, min(low, start), max(high, start), start)


def _tables(document: dict[str, Any]) -> Iterator[tuple[tuple[Key, ...], dict[str, Any], str]]:
    """Every entry of a model, with its path and name."""
    parts: list[tuple[tuple[Key, ...], Any]] = [((), document)]
    parts += [(("modules", name), part) for name, part in (document.get("modules") or {}).items()]
    for path, part in parts:
        for i, entry in enumerate(part.get("models") or []):
            yield (*path, "models", i), entry, _named(entry)
        for i, piece in enumerate(part.get("slices") or []):
            for j, entry in enumerate(piece.get("sources") or []):
                yield (*path, "slices", i, "sources", j), entry, f"{_named(entry)} in slice {i}"


def _named(entry: Mapping[str, Any]) -> str:
    model = entry["model"]
    text = str(model.get("model", model)) if isinstance(model, dict) else str(model)
    return text.rstrip("/").rsplit("/", 1)[-1]
