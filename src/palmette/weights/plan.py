"""From a recipe to a list of tasks: for every tensor of the output its shape, type, method, parameters and sources.

Planning reads headers only. What does not fit together is refused here, before a byte is written, and every tensor of
every input is accounted for: merged, or listed as left out with the reason.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from palmette.core.errors import MismatchedModels, RecipeError
from palmette.weights.blocks import Source
from palmette.weights.dtypes import FLOATS, SIZES, promote
from palmette.weights.folder import EMBEDDING, HEAD, Model, natural
from palmette.weights.layers import Layout, layout_of, main_of, place
from palmette.weights.methods import METHODS
from palmette.weights.missing import Missing, held, settle
from palmette.weights.parameters import Side, choose, resolve
from palmette.weights.recipe.schema import Entry, Module, Recipe, Reference, Slice
from palmette.weights.vocabulary import Vocabulary

__all__ = ["Compute", "Missing", "Options", "Plan", "Task", "make_plan"]

Compute = Literal["float32", "mergekit"]
_BUFFER = re.compile(r"(rotary_emb\.inv_freq|\.attn\.(masked_)?bias|position_ids)$")


@dataclass(frozen=True)
class Options:
    """What the caller allows and chooses, besides the recipe.

    Args:
        seed: of every random draw.
        compute: "float32" (more accurate), or "mergekit" to round as mergekit does.
        allow_crimes: merge models of different architectures.
        truncate: cut vocabularies that differ in size to the smallest.
        allow_nonfinite: let NaN and infinity through.
        missing: what becomes of a tensor that some models lack: "error"; "present": merge those that have it, a single
            one passes through; "base": keep the base's; "skip": leave it out.
    """

    seed: int = 0
    compute: Compute = "float32"
    allow_crimes: bool = False
    truncate: bool = False
    allow_nonfinite: bool = False
    missing: Missing = "error"


@dataclass(frozen=True)
class Task:
    """One tensor of the output."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    method: str
    parameters: Mapping[str, Any]
    models: tuple[Source, ...]
    base: Source | None
    labels: tuple[str, ...]
    rounded: str | None = None
    arithmetic: str = "F32"


@dataclass
class Plan:
    """The whole merge, ready to run."""

    recipe: Recipe
    options: Options
    models: Mapping[Reference, Model]
    tasks: list[Task]
    base: Model  # whose configuration the output starts from
    tied: bool
    layers: Sequence[tuple[Model, int]] | None = None  # of the output, where slices made them
    vocabulary: Vocabulary | None = None
    left_out: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(SIZES[task.dtype] * math.prod(task.shape) for task in self.tasks)


@dataclass(frozen=True)
class _Spot:
    """One output tensor before its sources are opened."""

    name: str
    t: float
    sides: tuple[tuple[Entry, str], ...]
    base: tuple[Reference, str] | None
    levels: tuple[Mapping[str, Any], ...]


def make_plan(recipe: Recipe, models: Mapping[Reference, Model], options: Options) -> Plan:
    """Plan a merge of opened models.

    Raises:
        RecipeError: for a recipe that asks for what the method cannot do.
        MismatchedModels: for models that do not fit together.
    """
    base = models[recipe.base] if recipe.base else models[_first(recipe)]
    merged = _merged(recipe, models)
    _same_architecture(merged, options)
    tied = all(model.tied for model in merged)
    plan = Plan(recipe, options, models, [], base, tied)
    if recipe.tokenizer:
        plan.vocabulary = Vocabulary.of(recipe.tokenizer, merged, base, models)
    elif any(p.suffix == ".gguf" for p in base.paths()) and not (base.folder / "tokenizer.json").is_file():
        plan.warnings.append(
            f"{base} keeps its tokenizer inside: the output has none; put its tokenizer.json beside it"
        )
    seen: dict[str, _Spot] = {}
    used: set[tuple[Reference, str]] = set()
    for label, module in recipe.modules.items():
        for spot in _spots(label, module, plan):
            if spot.name in seen:
                raise RecipeError(f"modules.{label}", f"the tensor {spot.name!r} belongs to two modules")
            seen[spot.name] = spot
    for name in sorted(seen, key=natural):
        task = _task(seen[name], plan, used)
        if task is not None:
            plan.tasks.append(task)
    _account(plan, merged, used)
    return plan


def _first(recipe: Recipe) -> Reference:
    module = next(iter(recipe.modules.values()))
    return (module.models or module.slices[0].sources)[0].model


def _merged(recipe: Recipe, models: Mapping[Reference, Model]) -> list[Model]:
    """The models whose weights are merged (not those that only lend a tokenizer), in the recipe's order."""
    found = [recipe.base] if recipe.base else []
    for module in recipe.modules.values():
        found += [entry.model for entry in module.models]
        for piece in module.slices:
            found += [entry.model for entry in piece.sources] + ([piece.base] if piece.base else [])
    return [models[reference] for reference in dict.fromkeys(found)]


def _same_architecture(merged: Sequence[Model], options: Options) -> None:
    said = {str(model): model.config.get("architectures") or [model.config.get("model_type")] for model in merged}
    kinds = {name: str(classes[0]) for name, classes in said.items()}
    if len(set(kinds.values())) > 1 and not options.allow_crimes:
        shown = ", ".join(f"{name} is {kind}" for name, kind in kinds.items())
        raise MismatchedModels(f"the models have different architectures: {shown}; --allow-crimes merges them anyway")


def _spots(label: str, module: Module, plan: Plan) -> Iterator[_Spot]:
    if module.models:
        yield from _whole(label, module, plan)
    else:
        yield from _cut(label, module, plan)


def _belongs(label: str, name: str, plan: Plan) -> bool:
    """True if a tensor is part of a module: its name has the module's as a component; `default` is the rest."""
    others = [other for other in plan.recipe.modules if other != "default"]
    if label == "default":
        return not any(f".{other}." in f".{name}" for other in others)
    return f".{label}." in f".{name}"


def _base_of(plan: Plan, piece: Slice | None = None) -> Reference | None:
    return (piece.base if piece else None) or plan.recipe.base


def _whole(label: str, module: Module, plan: Plan) -> Iterator[_Spot]:
    """Tensors of a merge of whole models."""
    base = _base_of(plan)
    references = dict.fromkeys([*([base] if base else []), *(entry.model for entry in module.models)])
    opened = [plan.models[reference] for reference in references]
    names = dict.fromkeys(name for model in opened for name in sorted(model.tensors, key=natural))
    layouts = {str(model): layout_of(model.tensors, model.text) for model in opened}
    _equal_depth(layouts)
    layout = Layout(
        {p: max(other.counts.get(p, 0) for other in layouts.values()) for n in layouts.values() for p in n.counts}, None
    )
    levels = (module.parameters, plan.recipe.parameters)
    for name in names:
        if not _belongs(label, name, plan) or (plan.tied and HEAD.search(name) and opened[0].embedding):
            continue
        if _BUFFER.search(name) and not all(name in model.tensors for model in opened):
            plan.warnings.append(f"the buffer {name!r} is not in all models and is left out")
            continue
        sides = tuple((entry, name) for entry in module.models)
        yield _Spot(name, layout.t(name), sides, (base, name) if base else None, levels)


def _equal_depth(layouts: Mapping[str, Layout]) -> None:
    depths = {label: dict(layout.counts) for label, layout in layouts.items()}
    first = next(iter(depths))
    for label, counts in depths.items():
        if counts != depths[first]:
            raise MismatchedModels(
                f"{first} has the layers {depths[first]}, {label} has {counts}; only slices can merge such models"
            )


def _cut(label: str, module: Module, plan: Plan) -> Iterator[_Spot]:
    """Tensors of a merge of slices: what precedes the layers from the first slice, what follows from the last."""
    layouts = {r: layout_of(m.tensors, m.text) for r, m in plan.models.items() if m.tensors}
    first, last = module.slices[0], module.slices[-1]
    for piece, before in ((first, True), (last, False)):
        opened = [plan.models[entry.model] for entry in piece.sources]
        for name in dict.fromkeys(name for model in opened for name in sorted(model.tensors, key=natural)):
            found = place(name)
            inside = found is not None and found.prefix == layouts[piece.sources[0].model].main
            if inside or Layout.before(name) != before or not _belongs(label, name, plan):
                continue
            if plan.tied and HEAD.search(name) and opened[0].embedding:
                continue
            base = _base_of(plan, piece)
            levels = (piece.parameters, module.parameters, plan.recipe.parameters)
            t = layouts[piece.sources[0].model].t(name)
            yield _Spot(name, t, tuple((e, name) for e in piece.sources), (base, name) if base else None, levels)
    at, order = 0, []
    for number, piece in enumerate(module.slices):
        length = (piece.sources[0].layers or (0, 0))[1] - (piece.sources[0].layers or (0, 0))[0]
        for offset in range(length):
            yield from _layer(module, piece, number, offset, at, layouts, plan)
            entry = piece.sources[0]
            order.append((plan.models[entry.model], (entry.layers or (0, 0))[0] + offset))
            at += 1
    plan.layers = order


def _layer(
    module: Module, piece: Slice, number: int, offset: int, at: int, layouts: Mapping[Reference, Layout], plan: Plan
) -> Iterator[_Spot]:
    """One layer of the output."""
    length = (piece.sources[0].layers or (0, 0))[1] - (piece.sources[0].layers or (0, 0))[0]
    t = offset / (length - 1) if length > 1 else 1.0
    stems: list[tuple[Entry, str]] = []
    for entry in piece.sources:
        prefix, count = main_of(layouts[entry.model], entry.model)
        start, end = entry.layers or (0, 0)
        if end > count:
            wrong = f"layer_range [{start}, {end}) of {entry.model}, which has {count} layers"
            raise RecipeError(f"slices[{number}]", wrong)
        stems.append((entry, f"{prefix}{start + offset}."))
    base = _base_of(plan, piece)
    base_stem = _base_stem(base, stems, layouts, number, plan.recipe.method)
    target = f"{main_of(layouts[piece.sources[0].model], piece.sources[0].model)[0]}{at}."
    rests = dict.fromkeys(
        name.removeprefix(stem)
        for entry, stem in stems
        for name in sorted(plan.models[entry.model].tensors, key=natural)
        if name.startswith(stem)
    )
    levels = (piece.parameters, module.parameters, plan.recipe.parameters)
    for rest in rests:
        sides = tuple((entry, stem + rest) for entry, stem in stems)
        yield _Spot(target + rest, t, sides, (base, base_stem + rest) if base and base_stem else None, levels)


def _base_stem(
    base: Reference | None,
    stems: Sequence[tuple[Entry, str]],
    layouts: Mapping[Reference, Layout],
    number: int,
    method: str,
) -> str | None:
    """The base's layer of a slice: its own source's, else the one layer that all sources have."""
    if base is None or METHODS[method].base == "unused":
        return None
    own = [stem for entry, stem in stems if entry.model == base]
    if own:
        return own[0]
    indices = {stem.rstrip(".").rsplit(".", 1)[-1] for _, stem in stems}
    if len(indices) > 1:
        hint = f"{method} needs the base model {base} among the sources to know its layers"
        raise RecipeError(f"slices[{number}]", hint)
    return f"{main_of(layouts[base], base)[0]}{indices.pop()}."


def _task(spot: _Spot, plan: Plan, used: set[tuple[Reference, str]]) -> Task | None:
    """Open a tensor's sources, check that they fit, and resolve its parameters; None for one that is left out."""
    choice = choose(plan.recipe, spot.name)
    method = METHODS[choice.method if choice else plan.recipe.method]
    base = spot.base
    sides = [Side(entry.model, name, entry.parameters) for entry, name in spot.sides]
    if method.base == "unused":
        base = None
    elif base is None and method.base in ("required", "first"):
        raise RecipeError("base_model", f"merge method {method.name!r} needs a base_model")
    elif base is not None:
        sides = [side for side in sides if side.model != base[0]]
    _count(method.name, len(sides), method.fewest, method.most)
    if method.base == "first" and base is not None:
        sides, base = [Side(base[0], base[1], {}), *sides], None
    if plan.options.missing != "error":
        found = settle(spot.name, sides, base, plan.recipe.base, plan.models, plan.options.missing)
        if found.note:
            used.update(held(sides, base, plan.models))
            (plan.left_out if found.skipped else plan.warnings).append(found.note)
            if found.skipped:
                return None
            sides, base = found.sides, found.base
            few = len(sides) < method.fewest + (method.base == "first")
            if few or (base is None and method.base == "required"):
                method, choice = METHODS["passthrough"], None
    names = [_stored(plan, side.model, side.name, spot.name, used) for side in sides]
    below = _stored(plan, base[0], base[1], spot.name, used) if base else None
    parameters = resolve(method, sides, spot.levels, choice, spot.name, spot.t, plan.warnings)
    opened = [(plan.models[side.model], name) for side, name in zip(sides, names, strict=True)]
    whole = [*opened, *([(plan.models[base[0]], below)] if base and below else [])]
    shape, sources = _fitting(spot.name, whole, plan)
    dtype, rounded, arithmetic = _types([model.tensors[stored].dtype for model, stored in whole], plan)
    if dtype not in FLOATS:
        method, parameters = METHODS["passthrough"], {}
    return Task(
        spot.name, shape, dtype, method.name, parameters, tuple(sources[: len(opened)]),
        sources[-1] if base else None, _labels(sides), rounded, arithmetic,
    )  # fmt: skip


def _labels(sides: Sequence[Side]) -> tuple[str, ...]:
    """What random draws are keyed by: the model as the recipe names it; a second mention of it gets a number."""
    names = [str(side.model) for side in sides]
    return tuple(name if name not in names[:i] else f"{name}#{names[:i].count(name)}" for i, name in enumerate(names))


def _count(method: str, count: int, fewest: int, most: int | None) -> None:
    if count < fewest or (most is not None and count > most):
        wanted = f"{fewest} to {most}" if most != fewest else f"exactly {fewest}"
        wanted = f"at least {fewest}" if most is None else wanted
        raise RecipeError("models", f"merge method {method!r} takes {wanted} models besides a base model, not {count}")


def _stored(plan: Plan, reference: Reference, name: str, output: str, used: set[tuple[Reference, str]]) -> str:
    """The tensor of a model that plays this part.

    Raises:
        MismatchedModels: if there is none.
    """
    model = plan.models[reference]
    found = model.find(name)
    if found is None:
        beside = next((f" (but in {other})" for other in plan.models.values() if name in other.tensors), "")
        cause = f"and {output!r} is made from it" if output != name else "--missing says what becomes of it"
        raise MismatchedModels(f"the tensor {name!r} is missing in {model}{beside}; {cause}")
    used.add((reference, found))
    return found


def _fitting(name: str, whole: Sequence[tuple[Model, str]], plan: Plan) -> tuple[tuple[int, ...], list[Source]]:
    """Sources of one shape: as stored, or with their rows brought to the output's vocabulary."""
    shapes = {str(model): model.shape(stored) for model, stored in whole}
    if plan.vocabulary and (EMBEDDING.search(name) or HEAD.search(name)):
        return plan.vocabulary.shape(whole), [plan.vocabulary.source(model, stored, whole) for model, stored in whole]
    sources = [model.source(stored) for model, stored in whole]
    if len(set(shapes.values())) == 1:
        return next(iter(shapes.values())), sources
    shown = ", ".join(f"{list(shape)} in {label}" for label, shape in shapes.items())
    vocabulary = (EMBEDDING.search(name) or HEAD.search(name)) and len({shape[1:] for shape in shapes.values()}) == 1
    if vocabulary and plan.options.truncate:
        plan.warnings.append(f"{name!r} is cut to its smallest number of rows: {shown}")
        return min(shapes.values()), sources
    hint = "; give the recipe a tokenizer_source, or --unsafe-truncate-embeddings" if vocabulary else ""
    raise MismatchedModels(f"the tensor {name!r} has different shapes: {shown}{hint}")


def _types(stored: list[str], plan: Plan) -> tuple[str, str | None, str]:
    """(output type, type that operations are rounded to as mergekit rounds them or None, arithmetic)."""
    if any(dtype not in FLOATS for dtype in stored):
        if len(set(stored)) > 1:
            raise MismatchedModels(f"a tensor is stored as {' and '.join(dict.fromkeys(stored))}")
        return stored[0], None, "F32"
    said = plan.recipe.dtype if plan.recipe.dtype in FLOATS else None
    inner = said or promote(stored)
    outer = plan.recipe.out_dtype if plan.recipe.out_dtype in FLOATS else None
    arithmetic = "F64" if inner == "F64" else "F32"
    return outer or inner, inner if plan.options.compute == "mergekit" else None, arithmetic


def _account(plan: Plan, merged: Sequence[Model], used: set[tuple[Reference, str]]) -> None:
    """List what is not merged; refuse a merge of whole models that would lose something."""
    sliced = any(module.slices for module in plan.recipe.modules.values())
    for model in merged:
        for name in sorted(model.tensors, key=natural):
            if (model.reference, name) in used:
                continue
            head = HEAD.search(name) and model.tied
            unused_base = plan.recipe.base == model.reference
            if sliced or head or _BUFFER.search(name) or unused_base:
                plan.left_out.append(f"{model}: {name}")
            else:
                raise MismatchedModels(
                    f"the tensor {name!r} of {model} would be lost: no module of the recipe holds it"
                )
