"""What a merge method is: a pure function of a tensor's inputs, and a row of facts about it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from palmette.core.errors import BadParameter
from palmette.weights.blocks import Combine

__all__ = ["Each", "Method", "Setting", "always", "settings", "spread"]

Each = Annotated[float | Sequence[float], "each"]  # one number for each model, or one for all
Base = Literal["required", "optional", "unused", "first"]


def always(_: Mapping[str, Any]) -> bool:
    """Whatever the parameters."""
    return True


@dataclass(frozen=True)
class Method:
    """A merge method.

    Args:
        function: `(inputs, *, parameters) -> Combine`.
        paper: where it comes from.
        base: "required" or "optional" (it works on differences from a base model), "first" (the base is one of exactly
            two models), "unused".
        fewest, most: how many models it takes, the base not counted.
        rows: whether blocks must hold whole rows, given the parameters.
        steady: whether identical models make that same model, given the parameters (then they are copied).
        optional: parameters that need not be given although they have no default.
    """

    function: Callable[..., Combine]
    paper: str
    base: Base = "required"
    fewest: int = 1
    most: int | None = None
    rows: Callable[[Mapping[str, Any]], bool] = lambda _: False
    steady: Callable[[Mapping[str, Any]], bool] = always

    @property
    def name(self) -> str:
        """As recipes call it."""
        return self.function.__name__


@dataclass(frozen=True)
class Setting:
    """One parameter of a method: its name in recipes, whether each model has its own, its type and its default."""

    name: str
    keyword: str
    each: bool
    kind: type
    default: Any
    required: bool


def settings(method: Method) -> dict[str, Setting]:
    """The parameters of a method by their names in recipes, read from its signature.

    >>> from palmette.weights.methods import METHODS
    >>> list(settings(METHODS["slerp"])), settings(METHODS["slerp"])["t"].required
    (['t'], True)
    """
    hints = get_type_hints(method.function, include_extras=True)
    made = {}
    for p in list(inspect.signature(method.function).parameters.values())[1:]:
        hint = hints[p.name]
        each = any(get_origin(h) is Annotated and "each" in get_args(h) for h in (hint, *get_args(hint)))
        kind = float if each else hint
        required = p.default is inspect.Parameter.empty
        name = p.name.rstrip("_")
        made[name] = Setting(name, p.name, each, kind, None if required else p.default, required)
    return made


def spread(value: float | Sequence[float], count: int, name: str = "weight") -> list[float]:
    """One number for each of `count` models.

    >>> spread(0.5, 2), spread([1, 2], 2)
    ([0.5, 0.5], [1.0, 2.0])
    """
    if isinstance(value, (int, float)):
        return [float(value)] * count
    if len(value) != count:
        raise BadParameter(f"{name} has {len(value)} values for {count} models: {list(value)!r}")
    return [float(v) for v in value]
