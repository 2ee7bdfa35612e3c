"""A tensor that some models of a merge lack: what becomes of it, by the caller's policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from palmette.core.errors import MismatchedModels
from palmette.weights.folder import Model
from palmette.weights.parameters import Side
from palmette.weights.recipe.schema import Reference

__all__ = ["Missing", "Settled", "held", "settle"]

Missing = Literal["error", "present", "base", "skip"]
Place = tuple[Reference, str]  # a model and the name of its tensor


@dataclass(frozen=True)
class Settled:
    """Who takes part in the end; a note if that is not everybody, and whether the tensor is left out."""

    sides: list[Side]
    base: Place | None
    note: str = ""
    skipped: bool = False


def held(sides: Sequence[Side], base: Place | None, models: Mapping[Reference, Model]) -> set[Place]:
    """The stored tensors of those that have one."""
    places = [*((side.model, side.name) for side in sides), *([base] if base else [])]
    found = ((reference, models[reference].find(name)) for reference, name in places)
    return {(reference, stored) for reference, stored in found if stored is not None}


def settle(
    name: str,
    sides: list[Side],
    base: Place | None,
    fallback: Reference | None,
    models: Mapping[Reference, Model],
    policy: Missing,
) -> Settled:
    """Apply the policy to one tensor.

    Args:
        name: of the output's tensor.
        sides, base: who would take part.
        fallback: the recipe's base model, for methods that use none.
        models: opened.
        policy: "present", "base" or "skip".

    Raises:
        MismatchedModels: if the policy leaves nothing sensible.
    """
    lacking = [side for side in sides if models[side.model].find(side.name) is None]
    based = base is None or models[base[0]].find(base[1]) is not None
    if not lacking and based:
        return Settled(sides, base)
    shown = ", ".join([*(str(side.model) for side in lacking), *([] if based or base is None else [str(base[0])])])
    note = f"{name!r} is missing in {shown}"
    if policy == "skip":
        return Settled([], None, f"{note}: left out", True)
    if policy == "base":
        standing = base or ((fallback, name) if fallback else None)
        if standing is None or models[standing[0]].find(standing[1]) is None:
            raise MismatchedModels(f"{note}; no base model has it, so missing='base' cannot keep it")
        return Settled([Side(standing[0], standing[1], {})], None, f"{note}: the base's is kept")
    having = [side for side in sides if side not in lacking]
    note = f"{note}: merged from those that have it"
    if not having and base is not None:
        return Settled([Side(base[0], base[1], {})], None, note)
    if not based and len(having) > 1:
        raise MismatchedModels(f"{note.split(':')[0]}; without the base's there is no difference: use missing='skip'")
    return Settled(having, base if based else None, note)
