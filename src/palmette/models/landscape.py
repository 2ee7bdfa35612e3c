"""`palmette.landscape` and its kin: from a model and a text to a measured landscape, a basin, layers, a sharpness."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from palmette.core.errors import BadParameter, near_miss
from palmette.models.landscapes.cluster import Cluster
from palmette.models.landscapes.planes import Named, as_tensors, merge_plane, plane_of, quantised
from palmette.models.landscapes.subject import Data, Precision, Score, Subject, folder_at
from palmette.models.landscapes.workers import Pool
from palmette.weights.landscape.directions.base import Direction, Norm, Quantised, Random, Scaled
from palmette.weights.landscape.directions.checkpoints import Principal, tensors_of
from palmette.weights.landscape.directions.slope import ENOUGH, Hessian
from palmette.weights.landscape.evaluate import Evaluator, Progress, quiet
from palmette.weights.landscape.landscape import Landscape
from palmette.weights.landscape.measure import Extra, measure, measure_shard
from palmette.weights.landscape.plan import Plan
from palmette.weights.landscape.profile import Layers, Profile, measure_layers, measure_profile
from palmette.weights.landscape.sharpness import Sharpness, measure_sharpness
from palmette.weights.landscape.store import Store

__all__ = ["Sharpness", "basin", "landscape", "landscape_shard", "robustness", "sharpness"]

Metric = Literal["loss", "error"] | Score


def landscape(
    model: str | Path | None = None,
    data: Data | None = None,
    *,
    plane: str = "random",
    line: bool = False,
    merges: Sequence[Any] = (),
    directions: Sequence[Direction] | None = None,
    span: tuple[float, float] | None = None,
    seed: int = 0,
    norm: Norm = "filter",
    tolerance: float = 1e-3,
    grid: int | None = None,
    store: str | Path | None = None,
    progress: Progress = quiet,
    **how: Any,
) -> Landscape:
    """Measure the loss around a model.

    Args:
        model: `zoo:seedling`, `hf:OWNER/NAME`, or a folder; needs PyTorch. Not needed with merges.
        data: a text file, a .jsonl file (documents under "text"), documents, or several texts by name, whose losses
            are then known each for itself and whose mean is made small.
        plane: "random", "gradient", "hessian", "quant:int4" (2 to 8 bits), "pca:A,B,C" (or a folder of checkpoints),
            "task-vectors:A,B,C", or "A", "A,B", "base,A,B": checkpoints or LoRA adapters, which lie at coordinate 1.
        line: only the first direction.
        merges: recipes (see `palmette.merge`): base and parents of the first span the plane, all are marked on it.
        directions: recipes of one or two directions, instead of `plane`.
        span: the coordinates' range; by default as far as the loss is below that of guessing.
        seed: of random directions and of the points held out.
        norm: "filter", "layer", "element" (the same under every rescaling that keeps the function) or "none".
        tolerance: the surrogate's error that is small enough, as a share of the range.
        grid: points an axis of a plain grid, instead of Chebyshev points chosen as needed.
        store: a file that keeps measured points; an interrupted measurement goes on from it.
        progress: called with evaluations done and expected.
        how: metric ("loss", "error", or a function of the model that gives a number for each example), select (a
            regular expression: only parameters whose names hold it are moved), tokens (how many are predicted: 2048),
            length (of a sequence: 128), dtype ("float32" or "bfloat16", computed in float32 and rounded once), device,
            threads, workers (processes), ray ("local", "auto" or a cluster's address).

    Raises:
        BadParameter: for a plane that is none, or data that is empty.
        MismatchedModels: for checkpoints that do not fit the model.

    >>> import palmette
    >>> text = ["One day Runa went to the park. She was happy."] * 4
    >>> found = palmette.landscape("zoo:seedling", text, line=True, tokens=40)
    >>> loss, change = found.estimate(0.01)  # anywhere, with standard errors
    >>> change.error < loss.error
    True
    """
    asked = _Asked(plane, line, merges, directions, span, seed, norm, tolerance, grid)
    made: Landscape = _measured(model, data, asked, store, progress, how, None)
    return made


def landscape_shard(
    which: tuple[int, int], model: str | Path | None = None, data: Data | None = None, *, store: str | Path,
    progress: Progress = quiet, **options: Any,
) -> int:  # fmt: skip
    """Measure one of several shares of a landscape's points, on this machine; returns how many.

    Points go to STORE.shard1of4 and so on. `palmette.landscape` with the same arguments then finds those that lie
    beside STORE, and measures what is still missing.

    Args:
        which: (which, of how many), from 1.
        model, data, store, progress, options: see `palmette.landscape`.
    """
    names = {f.name for f in fields(_Asked)}
    asked = _Asked(**{name: options.pop(name) for name in list(options) if name in names})
    count: int = _measured(model, data, asked, store, progress, options, which)
    return count


@dataclass(frozen=True)
class _Asked:
    """Which line or plane, as `landscape` is asked for it."""

    plane: str = "random"
    line: bool = False
    merges: Sequence[Any] = ()
    directions: Sequence[Direction] | None = None
    span: tuple[float, float] | None = None
    seed: int = 0
    norm: Norm = "filter"
    tolerance: float = 1e-3
    grid: int | None = None

    def named(self) -> tuple[Named, Path | None]:
        """The plane, and the folder of a merge's base."""
        if self.directions is not None:
            return _cut(Named(list(self.directions)), self.line), None
        named, base = merge_plane(self.merges) if self.merges else (plane_of(self.plane, self.seed, self.norm), None)
        return _cut(named, self.line), base


def _cut(named: Named, line: bool) -> Named:
    """The whole plane, or its first axis."""
    if not line and len(named.directions) > 1:
        return named
    return replace(named, directions=named.directions[:1], labels=named.labels[:1],
                   span=None if named.span is None else named.span[:1], best=False)  # fmt: skip


def _measured(
    model: str | Path | None, data: Data | None, asked: _Asked, store: str | Path | None, progress: Progress,
    how: dict[str, Any], shard: tuple[int, int] | None,
) -> Any:  # fmt: skip
    named, base = asked.named()
    origin = base if base is not None else _origin(model, named)
    recipes = [one.spec() for one in named.directions]
    subject, run = _opened(origin, data, how, _beside(model, named))
    space = subject.space
    vectors = [direction.make(space, subject.metric) for direction in named.directions]
    about = {"directions": recipes, "vectors": [_digest(vector) for vector in vectors]}  # a folder's content may change
    with closing(_store(store, subject, about, shard)) as kept:
        facts = {
            "title": f"Loss landscape of {_shown(model or origin)}",
            "directions": [str(one) for one in named.directions],
            "data": subject.spec["data"],
            "said": _explained(space, named.directions),
            "trajectory": named.trajectory,
            "best": named.best,
        }
        if named.best:
            facts["checkpoints"] = {"base": str(origin), "to": [_folder(one) for one in named.directions]}
        points = dict(named.marks)
        if named.base is not None and model is not None:
            points["the model"] = str(folder_at(str(model)))
        marks = {name: _tensors(point, space) for name, point in points.items()}
        plan = Plan(named.labels, asked.span or named.span, asked.tolerance, asked.grid, seed=asked.seed, facts=facts,
                    recipes=recipes, origin=origin.name if base or named.base else "the model")  # fmt: skip
        if shard is not None:
            return measure_shard(space, subject.metric, vectors, plan, shard, kept, progress=progress, run=run)
        return measure(space, subject.metric, vectors, plan, store=kept, progress=progress, run=run,
                       extra=Extra(marks, named.best))  # fmt: skip


def basin(
    model: str | Path, data: Data, *, count: int = 8, seed: int = 0, norm: Norm = "filter",
    span: tuple[float, float] | None = None, store: str | Path | None = None,
    progress: Progress = quiet, **how: Any,
) -> Profile:  # fmt: skip
    """The loss along several random directions: mean ± sd, and the basin's radius with an interval.

    How far a model may be moved (fine-tuned, quantised, merged) in a typical direction before it is worse.

    Args:
        model, data, norm, span, store, progress, how: see `palmette.landscape`.
        count: directions.
        seed: of the first; the others follow.

    >>> import palmette
    >>> text = ["One day Runa went to the park. She was happy."] * 4
    >>> found = palmette.basin("zoo:seedling", text, count=2, tokens=40, span=(-0.5, 0.5))
    >>> found.losses.shape  # directions, points of each
    (2, 9)
    """
    if count < 1:
        raise BadParameter(f"count should be at least 1, not {count!r}")
    recipes = [Random(seed + i, norm) for i in range(count)]
    subject, run = _opened(folder_at(str(model)), data, how)
    with closing(_store(store, subject, {"directions": [one.spec() for one in recipes]})) as kept:
        made = measure_profile(subject.space, subject.metric, recipes, span, store=kept, progress=progress, run=run)
    return replace(made, facts=made.facts | {"title": f"Basin of {_shown(model)}"})


def robustness(
    model: str | Path, data: Data, change: str = "quant:int4", *, parts: Sequence[str] | None = None, seed: int = 0,
    norm: Norm = "filter", store: str | Path | None = None, progress: Progress = quiet, **how: Any,
) -> Layers:  # fmt: skip
    """What a change of one layer alone does to the loss: which layers to keep in higher precision.

    Args:
        model, data, norm, store, progress, how: see `palmette.landscape`.
        change: "quant:int4" (2 to 8 bits), or "noise:0.1" (random noise of that relative size).
        parts: names, each found in the parameters changed together; by default every layer, embedding and head.
        seed: of the noise; what is compared with it draws by the next.

    >>> import palmette
    >>> text = ["One day Runa went to the park. She was happy."] * 4
    >>> rows = palmette.robustness("zoo:seedling", text, "quant:int3", tokens=40).rows
    >>> rows[0][1].value >= rows[-1][1].value
    True
    """
    kind, _, amount = change.partition(":")
    recipe: Callable[[str], Direction]
    if kind == "noise":
        size = _size(change, amount)
        recipe = lambda name: Scaled(Random(seed, norm, select=name), size)  # noqa: E731
    else:
        bits = quantised(change)
        recipe = lambda name: Quantised(bits, name)  # noqa: E731
    subject, run = _opened(folder_at(str(model)), data, how)
    chosen = list(parts) if parts is not None else _parts(subject.space)
    with closing(_store(store, subject, {"directions": [recipe("").spec(), {"seed": seed}]})) as kept:
        made = measure_layers(
            subject.space, subject.metric, chosen, recipe, seed=seed + 1, store=kept, progress=progress, run=run
        )
    return replace(made, facts=made.facts | {"title": f"{change} of {_shown(model)}, part by part"})


def sharpness(
    model: str | Path, data: Data, *, count: int = 5, tolerance: float = 1e-6, most: int = 100,
    progress: Progress = quiet, **how: Any,
) -> Sharpness:  # fmt: skip
    """The sharpest curvature at a model, and the learning rate that it allows.

    Args:
        model, data, how: see `palmette.landscape`.
        count: eigenvalues.
        tolerance: their residuals, as a share of the largest.
        most: products with the Hessian at most; what has not converged by then is flagged.
        progress: called with products with the Hessian done, and at most to do.

    >>> import palmette
    >>> text = ["One day Runa went to the park. She was happy."] * 2
    >>> palmette.sharpness("zoo:seedling", text, count=1, tolerance=0.1, tokens=20).learning_rate > 0
    True
    """
    subject, _ = _opened(folder_at(str(model)), data, how)
    return measure_sharpness(subject.space, subject.metric, count, tolerance, progress, most)


@dataclass(frozen=True)
class _How:
    """The settings of every measurement, with their defaults."""

    metric: Metric = "loss"
    select: str = ""
    tokens: int = 2_048
    length: int = 128
    dtype: Precision = "float32"
    device: str = "cpu"
    threads: int | None = None
    workers: int = 0
    ray: bool | str = False


def _beside(model: str | Path | None, named: Named) -> list[Path]:
    """The folders of the other models of a picture: the one that was named, and the checkpoints and adapters."""
    folders = [] if model is None else [folder_at(str(model))]
    listed = [part for point in named.marks.values() if isinstance(point, str) for part in point.split("+")]
    return folders + [Path(part) for part in listed]


def _opened(
    origin: Path, data: Data | None, given: dict[str, Any], others: Sequence[Path] = ()
) -> tuple[Subject, Evaluator | None]:
    """What is measured, and who measures it (None for this process)."""
    known = [f.name for f in fields(_How)]
    unknown = next((name for name in given if name not in known), None)
    if unknown is not None:
        raise BadParameter(f"no setting {unknown!r}.{near_miss(unknown, known)} Known: {', '.join(known)}")
    how = _How(**given)
    threads = how.threads
    if threads is None and how.workers > 1:
        threads = max(1, (os.cpu_count() or 1) // how.workers)
    subject = Subject.open(origin, data, how.metric, select=how.select, tokens=how.tokens, length=how.length,
                           dtype=how.dtype, device=how.device, threads=threads, others=others)  # fmt: skip
    run: Evaluator | None = None
    if how.workers or how.ray:
        if subject.job is None:
            raise BadParameter("a metric that is a function stays in this process: leave workers and ray out")
        count = how.workers or 1
        run = (
            Cluster(subject.job, count, how.ray if isinstance(how.ray, str) else "local")
            if how.ray
            else Pool(subject.job, count)
        )
    return subject, run


def _store(
    path: str | Path | None, subject: Subject, about: dict[str, Any], shard: tuple[int, int] | None = None
) -> Store:
    """Where points are kept; a shard has a file beside the whole's."""
    if shard is not None:
        if path is None:
            raise BadParameter("a shard needs a store: a file whose name all shards share")
        path = f"{path}.shard{shard[0]}of{shard[1]}"
    return Store(None if path is None else Path(path), subject.spec | about)


def _digest(vector: Any) -> str:
    return hashlib.sha256(vector.cpu().numpy().tobytes()).hexdigest()


def _origin(model: str | Path | None, named: Named) -> Path:
    if named.base is not None:
        return Path(named.base)
    if model is None:
        raise BadParameter("there is no model: name one, or a merge recipe")
    return folder_at(str(model))


def _tensors(point: Any, space: Any) -> Any:
    """A point's tensors: of a merge, or of a folder."""
    merged = as_tensors(point)
    return merged if merged is not None else tensors_of(str(point), space)


def _folder(direction: Direction) -> str:
    return str(direction.spec().get("folder", ""))


def _explained(space: Any, directions: Sequence[Direction]) -> list[str]:
    """What principal directions explain, and how sharp eigenvectors are."""
    if any(isinstance(one, Hessian) for one in directions):
        values = space.kept["hessian"].values
        off = space.kept["hessian"].residuals
        sharp = [f"{values[one.index]:.4g}" + (f" (not converged: residual {off[one.index]:.1g})"
                 if off[one.index] > ENOUGH else "") for one in directions if isinstance(one, Hessian)]  # fmt: skip
        return [f"eigenvalues {', '.join(sharp)}"]
    found = [one for one in directions if isinstance(one, Principal)]
    return (
        [f"explained {sum(found[0].spectrum(space)[2][one.index] for one in found):.1%} of the differences"]
        if found
        else []
    )


def _parts(space: Any) -> list[str]:
    """Every layer, and what is outside of layers: embedding, head."""
    matrices = [part.name for part in space.parts if len(part.shape) > 1]
    layers = [match[1] if (match := re.match(r"(.*?\.\d+\.)", name)) else name for name in matrices]
    return list(dict.fromkeys(layers))


def _size(text: str, amount: str) -> float:
    try:
        size = float(amount)
    except ValueError:
        size = 0.0
    if not size > 0:
        raise BadParameter(f"{text!r}: write noise:0.1, a size relative to the weights")
    return size


def _shown(model: str | Path) -> str:
    """A model's name without the folders that it lies in."""
    text = str(model)
    return Path(text).name if Path(text).is_dir() else text
