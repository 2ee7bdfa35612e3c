"""Planes by name: `random`, `hessian`, `quant:int4`, `pca:A,B,C`, or checkpoints; and those that a merge spans."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from palmette.core.errors import BadParameter, near_miss
from palmette.models.landscapes.subject import folder_at
from palmette.models.merging import merge
from palmette.weights.landscape.directions.base import Direction, Like, Norm, Quantised, Random
from palmette.weights.landscape.directions.checkpoints import Between, Principal
from palmette.weights.landscape.directions.slope import Gradient, Hessian
from palmette.weights.merge import Merge

__all__ = ["PLANES", "Named", "merge_plane", "plane_of", "quantised"]

PLANES = {
    "random": "two random directions",
    "gradient": "steepest ascent, and a random direction",
    "hessian": "the two sharpest directions",
    "quant:int4": "the error of rounding to 2 to 8 bits, and a random direction of the same size",
    "pca:A,B,C": "the two principal directions of checkpoints seen from the model, or of a folder that holds them",
    "task-vectors:A,B,C": "the same, of models fine-tuned from this one",
    "A": "to a checkpoint or LoRA adapter, and a random direction of the same size",
    "A,B": "to two of them: the coordinates are the weights of their task vectors",
    "base,A,B": "the same, from another base",
}
TO_CHECKPOINTS = (-0.5, 1.5)  # half a step beyond


@dataclass
class Named:
    """A plane by name.

    Args:
        directions: its recipes.
        labels: of the axes.
        span: the coordinates' range, one each; None to find it out.
        base: the origin, if it is not the model.
        marks: names of points to show, and the folders (or merges) that they are.
        trajectory: whether the marks are one after the other.
        best: whether the lowest point is a merge that one would want.
    """

    directions: list[Direction]
    labels: tuple[str, ...] = ("α", "β")
    span: list[tuple[float, float]] | None = None
    base: str | None = None
    marks: dict[str, Any] = field(default_factory=dict)
    trajectory: bool = False
    best: bool = False


def plane_of(text: str, seed: int, norm: Norm) -> Named:
    """The plane that a few words stand for.

    Raises:
        BadParameter: for words that stand for none.
    """
    kind, colon, rest = text.partition(":")
    if text == "random":
        return Named([Random(seed, norm), Random(seed + 1, norm)])
    if text == "gradient":
        return Named([Gradient(norm), Random(seed, norm)], ("steepest ascent", "random"))
    if text == "hessian":
        return Named([Hessian(0, norm), Hessian(1, norm)], ("sharpest direction", "second sharpest"))
    if kind == "quant" and colon:
        change = Quantised(quantised(text))
        return Named(
            [change, Like(change, seed)], (f"int{change.bits} error", "random of its size"), [(-0.5, 2.0), (-2.0, 2.0)]
        )
    if kind in ("pca", "task-vectors") and colon:
        return _principal(text, rest, trajectory=kind == "pca")
    return _through(text, seed)


def quantised(text: str) -> int:
    """The bits of `quant:int4`.

    Raises:
        BadParameter: for anything else.
    """
    match = re.fullmatch(r"quant:(?:int)?([2-8])", text)
    if not match:
        raise BadParameter(f"{text!r}: write quant:int4, with 2 to 8 bits")
    return int(match[1])


def merge_plane(recipes: Sequence[Any]) -> tuple[Named, Path]:
    """The plane of a merge's base and parents, with the merges as marks; and the base's folder.

    Args:
        recipes: what `palmette.merge` takes, or merges. The first spans the plane.

    Raises:
        BadParameter: for a merge of one model with itself.
    """
    made = [one if isinstance(one, Merge) else merge(one) for one in recipes]
    plan = made[0].plan
    folders = [
        (str(reference), _folder_of(model)) for reference, model in plan.models.items() if hasattr(model, "folder")
    ]
    base = dict(folders).get(str(plan.recipe.base), folders[0][1])
    others = [(name, folder) for name, folder in folders if folder != base]
    parents = dict(zip(_short([name for name, _ in others]), [folder for _, folder in others], strict=True))
    if not parents:
        raise BadParameter("the recipe names one model only: it spans no plane")
    listed = list(parents.values())
    names = [_title(one, recipe, i) for i, (one, recipe) in enumerate(zip(made, recipes, strict=True))]
    marks: dict[str, Any] = dict(parents) | dict(zip(names, made, strict=True))
    if len(listed) == 1:
        way = Between(listed[0])
        return Named([way, Like(way)], (next(iter(parents)), "random of its size"),
                     [TO_CHECKPOINTS, (-1.0, 1.0)], None, marks, best=False), Path(base)  # fmt: skip
    if len(listed) == 2:
        return Named([Between(folder) for folder in listed], tuple(parents), [TO_CHECKPOINTS] * 2, None, marks,
                     best=True), Path(base)  # fmt: skip
    return Named([Principal(tuple(listed), i) for i in (0, 1)], ("task vectors, 1st", "task vectors, 2nd"),
                 [(-1.3, 1.3)] * 2, None, marks), Path(base)  # fmt: skip


def _title(one: Merge, recipe: Any, index: int) -> str:
    if one.plan.recipe.name:
        return str(one.plan.recipe.name)
    if isinstance(recipe, (str, Path)):
        return Path(recipe).stem
    return one.plan.recipe.method if index == 0 else f"{one.plan.recipe.method} {index + 1}"


def _folder_of(model: Any) -> str:
    adapter = getattr(model, "adapter", None)
    return f"{model.folder}+{adapter.folder}" if adapter is not None else str(model.folder)


def _principal(text: str, rest: str, trajectory: bool) -> Named:
    names = [name for name in rest.split(",") if name]
    if len(names) == 1 and (home := Path(names[0]).expanduser()).is_dir() and not (home / "config.json").is_file():
        found = [path for path in home.iterdir() if (path / "config.json").is_file()]
        names = [str(path) for path in sorted(found, key=lambda path: _natural(path.name))]
    if len(names) < 2:
        raise BadParameter(f"plane {text!r}: name at least two checkpoints with commas between, or a folder of them")
    folders = tuple(_checkpoint(name, text) for name in names)
    what = "trajectory" if trajectory else "task vectors"
    span = [(-1.3, 1.3)] * 2  # the farthest checkpoint is at 1 or -1
    marks = dict(zip(_short(names), folders, strict=True))
    return Named(
        [Principal(folders, i) for i in (0, 1)], (f"{what}, 1st", f"{what}, 2nd"), span, None, marks, trajectory
    )


def _through(text: str, seed: int) -> Named:
    names = text.split(",")
    base = None
    if len(names) == 3:
        base = None if names[0] == "base" and not Path("base").is_dir() else _checkpoint(names[0], text)
        names = names[1:]
    if len(names) > 2:
        raise BadParameter(
            f"plane {text!r}: two checkpoints and a base span a plane; for more write task-vectors:{text}"
        )
    folders = [_checkpoint(name, text) for name in names]
    short = _short(names)
    marks = dict(zip(short, folders, strict=True))
    if len(folders) == 1:
        way = Between(folders[0])
        return Named(
            [way, Like(way, seed)], (short[0], "random of its size"), [TO_CHECKPOINTS, (-1.0, 1.0)], base, marks
        )
    return Named([Between(folder) for folder in folders], tuple(short), [TO_CHECKPOINTS] * 2, base, marks, best=True)


def _checkpoint(name: str, text: str) -> str:
    """A checkpoint's folder, from its path or reference; FOLDER+ADAPTER, too."""
    plain, plus, adapter = name.partition("+")
    if Path(plain).expanduser().is_dir():
        found = str(Path(plain).expanduser())
    elif re.match(r"(hf|zoo):", plain):
        found = str(folder_at(plain))
    else:
        near = near_miss(text, PLANES)
        raise BadParameter(
            f"plane {text!r}: there is no folder {plain!r}.{near} Known: {', '.join(PLANES)}, A and B being folders"
        )
    if plus and not Path(adapter).expanduser().is_dir():
        raise BadParameter(f"plane {text!r}: there is no folder {adapter!r}")
    return found + plus + adapter


def _short(names: Sequence[str]) -> list[str]:
    """Last parts of paths, or the whole where two are the same."""
    last = ["+".join(Path(part).name for part in name.split("+")) for name in names]
    return [short if last.count(short) == 1 else name for short, name in zip(last, names, strict=True)]


def _natural(name: str) -> list[Any]:
    """checkpoint-9 before checkpoint-10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name)]


def as_tensors(point: Any) -> Mapping[str, Any] | None:
    """A merge's tensors, computed when they are asked for; None for a folder."""
    return _Merged(point) if isinstance(point, Merge) else None


class _Merged(Mapping[str, Any]):
    def __init__(self, made: Merge) -> None:
        self._made = made
        self._names = made.tensors

    def __getitem__(self, name: str) -> Any:
        return self._made.tensor(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Any:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
