"""A search over a merge's coefficients by a measured loss, and an honest account of what it has found.

The examples are divided: candidates are chosen by one half, and all that is reported was measured on the other half,
because the best of many measurements looks better than it is. Differences are paired: example by example.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import BadParameter, MissingExtra, NotFinite
from palmette.weights.folder import Fetch, local
from palmette.weights.merge import Merge, open_plan
from palmette.weights.plan import Options
from palmette.weights.recipe.schema import Recipe, recipe_of
from palmette.weights.search.cma import CMA
from palmette.weights.search.coordinates import Coordinates

__all__ = ["By", "Found", "Loss", "Row", "search"]

Sums = NDArray[np.float64]
Loss = Callable[[Merge], Sums]  # the loss of each example, summed over its tokens
By = Literal["cma", "cocktail", "surrogate"]
Progress = Callable[[int, int, float], None]  # evaluations done, expected, best so far
CHEAP = 1.96  # standard errors of a 95 % interval


@dataclass(frozen=True)
class Row:
    """A model on the examples held out: its mean loss, and how far it is from the best parent.

    Args:
        loss: nats for each unit.
        error: its standard error, clustered by example.
        change: difference to the reference, paired by example (negative is better).
        change_error: its standard error.
    """

    name: str
    loss: float
    error: float
    change: float = 0.0
    change_error: float = 0.0

    @property
    def verdict(self) -> str:
        """Better or worse than the reference, or not to be told apart."""
        if abs(self.change) <= CHEAP * self.change_error or self.change == 0:
            return "no difference that these examples show"
        return "better" if self.change < 0 else "worse"


@dataclass(frozen=True)
class Found:
    """What a search has found."""

    point: list[float]
    recipes: list[Recipe]
    rows: list[Row]  # base, parents, the recipe as given, the best found
    history: list[tuple[list[float], float]]
    reference: str
    notes: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The report for people."""
        width = max(len(row.name) for row in self.rows)
        lines = [f"{'':<{width}}  loss ± 95 %        against {self.reference}"]
        for row in self.rows:
            said = f"{row.name:<{width}}  {row.loss:.4f} ± {CHEAP * row.error:.4f}"
            if row.name != self.reference:
                said += f"   {row.change:+.4f} ± {CHEAP * row.change_error:.4f}  {row.verdict}"
            lines.append(said)
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


@dataclass
class _Store:
    """Measured points in a file, so that an interrupted search goes on where it was."""

    path: Path | None
    mark: str
    known: dict[str, Sums] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path is None or not self.path.is_file():
            return
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
                if row["search"] == self.mark:
                    self.known[row["point"]] = np.array(row["sums"], np.float64)
            except (ValueError, KeyError, TypeError):
                continue  # a torn last line

    def get(self, key: str, make: Callable[[], Sums]) -> Sums:
        """The value at a key, measured now if it never was."""
        if key not in self.known:
            self.known[key] = make()
            if self.path is not None:
                row = {"search": self.mark, "point": key, "sums": self.known[key].tolist()}
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
        return self.known[key]


def search(
    coordinates: Coordinates, loss: Loss, counts: Sums, *,
    evaluations: int = 40,
    seed: int = 0,
    options: Options = Options(),
    fetch: Fetch = local,
    store: Path | None = None,
    mark: str = "",
    by: By = "cma",
    temperature: float = 0.2,
    progress: Progress = lambda done, of, best: None,
) -> Found:  # fmt: skip
    """Look for the coefficients with the least loss.

    Args:
        coordinates: what moves.
        loss: measures a merge in memory; the same merge gives the same numbers.
        counts: the units (tokens) of each example.
        evaluations: points that are measured, besides base and parents.
        seed: of the search; merges draw by `options.seed`.
        store: a file of measured points; a search that was interrupted goes on from it.
        mark: what the loss depends on besides the merge (the data, the engine), for that file.
        by: "cma" to search; "surrogate" to fit a surface of one or two coordinates and take its bottom; "cocktail" to
            set each model's weight by its own loss and measure only that.
        temperature: of the cocktail's softmax, in nats for each unit.
        options, fetch, progress: of every merge; progress gets evaluations done, expected, and the least loss.

    Raises:
        BadParameter: if nothing can be measured, or the recipe does not suit `by`.
    """
    if evaluations < 1 or len(counts) < 2:
        raise BadParameter(f"a search needs an evaluation and two examples, not {evaluations} and {len(counts)}")
    spec = [coordinates.documents, [row.path for row in coordinates.rows], mark, options.seed, options.compute]
    kept = _Store(store, hashlib.sha256(json.dumps(spec, default=str).encode()).hexdigest()[:16])
    notes: list[str] = []
    tuned, held = _halves(len(counts), notes)
    history: list[tuple[list[float], float]] = []

    def at(point: list[float]) -> Sums:
        make = partial(_measured, coordinates.recipes(point), loss, len(counts), options, fetch)
        return kept.get(json.dumps(point), make)

    def score(point: list[float]) -> float:
        value = float(at(point)[tuned].sum() / counts[tuned].sum())
        history.append((point, value))
        progress(len(history), evaluations, min(v for _, v in history))
        return value

    others = []
    for name, recipe in _parents(coordinates):
        make = partial(_measured, [recipe], loss, len(counts), options, fetch)
        others.append((name, kept.get(f"model {name}", make)))
    if by == "cocktail":
        best = cocktail(coordinates, {n: sums[tuned].sum() / counts[tuned].sum() for n, sums in others}, temperature)
        score(best)
    else:
        minimise = _minimise if by == "cma" else _surrogate
        best = minimise(coordinates, score, evaluations, seed, history)
    return _found(coordinates, best, [*others, ("recipe", at(coordinates.start)), ("best", at(best))], counts, held,
                  history, notes)  # fmt: skip


def _found(
    coordinates: Coordinates, best: list[float], measured: Sequence[tuple[str, Sums]], counts: Sums, held: Any,
    history: list[tuple[list[float], float]], notes: list[str],
) -> Found:  # fmt: skip
    rows, reference = _account(measured, counts, held)
    if rows[-1].change > 0:
        notes.append(f"{reference} is better than any merge that was found: a merge does not help here")
    return Found(best, coordinates.recipes(best), rows, history, reference, notes)


def _measured(recipes: Sequence[Recipe], loss: Loss, count: int, options: Options, fetch: Fetch) -> Sums:
    """The loss of a merge that is not written; infinite where it holds NaN or infinity."""
    merge = Merge(open_plan(recipes, options, fetch))
    try:
        return loss(merge)
    except NotFinite:
        return np.full(count, math.inf)
    finally:
        for model in merge.plan.models.values():
            model.close()


def cocktail(coordinates: Coordinates, losses: Mapping[str, float], temperature: float) -> list[float]:
    """LM-Cocktail's weights: w ∝ exp(−L / temperature), with L each model's own loss.

    Xiao et al. 2023, LM-Cocktail (arXiv 2311.13534), equation 2.

    Raises:
        BadParameter: if the coordinates are not one weight for each of these models.
    """
    models = [coordinates.model(row) for row in coordinates.rows]
    if not models or any(row.path[-1] != "weight" for row in coordinates.rows) or not set(models) <= set(losses):
        raise BadParameter("a cocktail needs one plain weight for each model on disk, and nothing else that moves")
    least = min(losses[model] for model in models)
    shares = [math.exp(-(losses[model] - least) / temperature) for model in models]
    return [float(f"{share / sum(shares):.6g}") for share in shares]


def _halves(count: int, notes: list[str]) -> tuple[Any, Any]:
    """Which examples choose, and which are reported on."""
    if count < 8:
        notes.append(f"only {count} examples: the same ones choose and are reported on, so the best looks too good")
        return np.ones(count, bool), np.ones(count, bool)
    odd = np.arange(count) % 2 == 1
    return ~odd, odd


def _minimise(
    coordinates: Coordinates,
    score: Callable[[list[float]], float],
    evaluations: int,
    seed: int,
    history: list[tuple[list[float], float]],
) -> list[float]:
    """CMA-ES from the recipe's own point, which is measured first."""
    score(coordinates.start)
    engine = CMA(coordinates.unit(coordinates.start), seed=seed)
    while len(history) < evaluations:
        candidates = engine.ask()
        if len(history) + len(candidates) > evaluations:
            candidates = candidates[: evaluations - len(history)]
        losses = [score(coordinates.point(unit)) for unit in candidates]
        if len(candidates) == engine.size:
            engine.tell(candidates, losses)
    return min(history, key=lambda row: row[1])[0]


def _surrogate(
    coordinates: Coordinates,
    score: Callable[[list[float]], float],
    evaluations: int,
    seed: int,
    history: list[tuple[list[float], float]],
) -> list[float]:
    """The bottom of the surface through the loss at Chebyshev points of the box, if it is as low as it promises."""
    try:
        from palmette.weights.landscape.surrogate import Kind, Surrogate
    except ImportError as error:
        raise MissingExtra("a search by surrogate", "landscape") from error
    axes = len(coordinates.rows)
    if axes > 2:
        raise BadParameter(f"a surrogate has one or two coordinates, not {axes}; narrow --over, or search by cma")
    fitting = [n for n in (3, 5, 9, 17, 33) if n**axes < evaluations]
    if not fitting:
        raise BadParameter(f"a surrogate of {axes} coordinates needs {3**axes + 1} evaluations, not {evaluations}")
    nodes = (1 - np.cos(np.pi * np.arange(fitting[-1]) / (fitting[-1] - 1))) / 2  # Chebyshev-Lobatto points of [0, 1]
    points = np.stack(np.meshgrid(*[nodes] * axes, indexing="ij"), axis=-1).reshape(-1, axes)
    values = np.array([score(coordinates.point(list(unit))) for unit in points])
    way: tuple[Kind, int] = ("chebyshev", fitting[-1] - 1) if axes == 1 else ("quintic", 0)
    made = Surrogate((0.0,) * axes, (1.0,) * axes, points, values, *way)
    score(coordinates.point(list(made.argmin()[0])))
    return min(history, key=lambda row: row[1])[0]


def _parents(coordinates: Coordinates) -> list[tuple[str, Recipe]]:
    """The base and every model of a recipe of whole models, each as a recipe that passes it through."""
    last = coordinates.recipes(coordinates.start)[-1]
    found = []
    stages = {recipe.name for recipe in coordinates.recipes(coordinates.start)[:-1]}
    for reference in last.references():
        if reference.path in stages or any(module.slices for module in last.modules.values()):
            continue  # a stage is no model on disk, and a source of slices none that stands for the whole
        said = {"merge_method": "passthrough", "models": [{"model": str(reference)}]}
        found.append((str(reference), recipe_of(said, json.dumps(said))))
    return found


def _account(measured: Sequence[tuple[str, Sums]], counts: Sums, held: Any) -> tuple[list[Row], str]:
    """Rows on the held-out examples, against the best model that went in."""
    models = measured[:-2] or measured[:1]
    reference, least = min(models, key=lambda row: float(row[1][held].sum()))
    rows = []
    for name, sums in measured:
        loss, error = _ratio(sums[held], counts[held])
        change, apart = _ratio(sums[held] - least[held], counts[held])
        rows.append(Row(name, loss, error, change, apart))
    return rows, reference


def _ratio(sums: Sums, counts: Sums) -> tuple[float, float]:
    """A mean over units and its standard error, clustered by example (Cochran 1977, section 6.4)."""
    whole, size = float(counts.sum()), len(sums)
    mean = float(sums.sum()) / whole
    residual = sums - mean * counts
    if size < 2 or not np.isfinite(mean):
        return mean, math.nan
    return mean, math.sqrt(size / (size - 1) * float(residual @ residual)) / whole
