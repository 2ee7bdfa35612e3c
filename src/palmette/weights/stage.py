"""Stages: a recipe whose result another recipe merges, computed a tensor at a time when it is asked for.

Nothing is written between stages. A few finished tensors are kept, since a merge reads each of its inputs in blocks and
often twice.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from palmette.core.checkpoint import TensorInfo
from palmette.core.errors import RecipeError
from palmette.weights.blocks import Source
from palmette.weights.card import config_of, template_of
from palmette.weights.dtypes import Raw
from palmette.weights.execute import merged
from palmette.weights.folder import Fetch, Model
from palmette.weights.inputs.open import open_model
from palmette.weights.plan import Options, Plan, Task, make_plan
from palmette.weights.recipe.schema import Recipe, Reference

__all__ = ["Stage", "plan_stages"]

KEPT = 8  # finished tensors of one stage


class Finished:
    """The last tensors that a stage has computed; two threads that want one wait for one computation."""

    def __init__(self, seed: int, finite: bool = True) -> None:
        self._seed = seed
        self._finite = finite
        self._held: OrderedDict[str, Raw] = OrderedDict()
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    def get(self, task: Task) -> Raw:
        """The tensor as it would be stored, flat."""
        with self._guard:
            lock = self._locks.setdefault(task.name, threading.Lock())
        with lock:
            with self._guard:
                if task.name in self._held:
                    self._held.move_to_end(task.name)
                    return self._held[task.name]
            made = merged(task, self._seed, finite=self._finite)
            with self._guard:
                self._held[task.name] = made
                if len(self._held) > KEPT:
                    self._held.popitem(last=False)
            return made


@dataclass(frozen=True)
class StageTensor:
    """A source that is computed when it is first read."""

    task: Task
    finished: Finished

    @property
    def dtype(self) -> str:
        """As it would be stored."""
        return self.task.dtype

    def read(self, start: int, stop: int) -> Raw:
        """See Source."""
        return self.finished.get(self.task)[start:stop]


@dataclass(frozen=True)
class Stage(Model):
    """The result of a recipe, as a model."""

    tasks: Mapping[str, Task] = field(default_factory=dict)
    finished: Finished = field(default_factory=lambda: Finished(0))
    parts: tuple[Model, ...] = ()

    def source(self, name: str) -> Source:
        """See Model."""
        return StageTensor(self.tasks[name], self.finished)

    def origins(self) -> list[Model]:
        """The models on disk that the stage is made of."""
        return list({str(model): model for part in self.parts for model in part.origins()}.values())

    def close(self) -> None:
        """See Model."""
        for part in self.parts:
            part.close()


def plan_stages(recipes: Sequence[Recipe], options: Options, fetch: Fetch) -> Plan:
    """Plan the recipe that has no name (or the last one), with the others as models under their names.

    Raises:
        PalmetteError: for anything that cannot be merged.
    """
    unnamed = [recipe for recipe in recipes if recipe.name is None]
    if len(unnamed) > 1:
        raise RecipeError("name", f"{len(unnamed)} stages have no name; all but the one that is the result need one")
    last = unnamed[0] if unnamed else recipes[-1]
    stages = {recipe.name: recipe for recipe in recipes if recipe is not last and recipe.name}
    used: set[str] = set()
    plan = _planned(last, stages, options, fetch, {}, (), used)
    idle = sorted(name for name in stages if name not in used)
    if idle:
        plan.warnings.append(f"the stage {idle[0]!r} is used by no other and is not computed")
    return plan


def _planned(
    recipe: Recipe,
    stages: Mapping[str, Recipe],
    options: Options,
    fetch: Fetch,
    known: dict[str, Model],
    above: tuple[str, ...],
    used: set[str],
) -> Plan:
    models: dict[Reference, Model] = {}
    for reference in recipe.references():
        name = reference.path
        if name not in stages:
            models[reference] = open_model(reference, fetch)
            continue
        if name in above:
            raise RecipeError("name", f"the stages {' -> '.join([*above, name])} wait for each other")
        if reference.lora or reference.revision:
            raise RecipeError("models", f"{str(reference)!r}: a stage takes neither a revision nor a LoRA adapter")
        used.add(name)
        if name not in known:
            inner = _planned(stages[name], stages, options, fetch, known, (*above, name), used)
            known[name] = _stage(reference, inner)
        models[reference] = known[name]
    return make_plan(recipe, models, options)


def _stage(reference: Reference, plan: Plan) -> Stage:
    """What a planned recipe will be, without computing it."""
    words, origin = plan.vocabulary, plan.vocabulary.origin if plan.vocabulary else plan.base
    somewhere = plan.base.folder / "config.json"
    tensors = {task.name: TensorInfo(somewhere, task.dtype, task.shape, 0, 0) for task in plan.tasks}
    mark = hashlib.sha256(f"{plan.options.seed}/{reference.path}".encode()).digest()
    return Stage(
        replace(reference),
        plan.base.folder,
        config_of(plan),
        tensors,
        document=words.document if words and not words.unchanged else origin.document,
        template=template_of(plan) or origin.template,
        words=origin.words or origin.folder,
        tasks={task.name: task for task in plan.tasks},
        finished=Finished(int.from_bytes(mark[:6], "big"), not plan.options.allow_nonfinite),
        parts=tuple(plan.models.values()),
    )
