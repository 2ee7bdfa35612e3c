"""Merging from beginning to end: open, plan, run, write; and the values that Python programs build recipes from."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from palmette.core.checkpoint import TensorInfo
from palmette.core.errors import BadParameter, RecipeError, near_miss
from palmette.weights.card import digest, fingerprints, write_card
from palmette.weights.dtypes import decode
from palmette.weights.execute import best_kernels, merged
from palmette.weights.folder import Fetch, local
from palmette.weights.parameters import described
from palmette.weights.plan import Options, Plan
from palmette.weights.recipe.schema import Recipe, read_recipes, recipe_of
from palmette.weights.save import SHARD, Elsewhere, Progress, save_tasks
from palmette.weights.stage import plan_stages

__all__ = ["Merge", "merge", "open_plan"]

VERSION = "3"  # of the arithmetic: raised when a merge would give other bytes


def open_plan(recipe: Recipe | Sequence[Recipe], options: Options | None = None, fetch: Fetch = local) -> Plan:
    """Open every model that a recipe (or each of several stages) names and plan the merge; reads headers only.

    Raises:
        PalmetteError: for anything that cannot be merged.
    """
    stages = [recipe] if isinstance(recipe, Recipe) else list(recipe)
    return plan_stages(stages, options or Options(), fetch)


@dataclass(frozen=True)
class Merge:
    """A merge that has been planned.

    >>> import tempfile, numpy as np; from safetensors.numpy import save_file
    >>> home = Path(tempfile.mkdtemp())
    >>> for name, value in (("a", 1), ("b", 3)):
    ...     (home / name).mkdir()
    ...     save_file({"w": np.full(2, value, np.float32)}, home / name / "model.safetensors")
    ...     _ = (home / name / "config.json").write_text('{"model_type": "toy"}')
    >>> models = [{"model": str(home / name), "parameters": {"weight": 1}} for name in ("a", "b")]
    >>> out = merge({"merge_method": "linear", "models": models}).save(home / "out")
    >>> from palmette.core.checkpoint import open_checkpoint
    >>> open_checkpoint(out)["w"]
    memmap([2., 2.], dtype=float32)
    """

    plan: Plan
    recipes: tuple[Recipe, ...] = ()  # all stages, for workers elsewhere
    fetch: Fetch = local

    @property
    def tensors(self) -> dict[str, TensorInfo]:
        """What the merged model will hold: name, dtype and shape (no file yet)."""
        nowhere = self.plan.base.folder / "config.json"
        return {task.name: TensorInfo(nowhere, task.dtype, task.shape, 0, 0) for task in self.plan.tasks}

    def tensor(self, name: str) -> NDArray[Any]:
        """One merged tensor, computed now; float16 and bfloat16 come out as float32 of the same values.

        Raises:
            BadParameter: if the merge has no such tensor.
            NotFinite: for NaN or infinity in an input.
        """
        task = next((task for task in self.plan.tasks if task.name == name), None)
        if task is None:
            raise BadParameter(f"the merge has no tensor {name!r}.{near_miss(name, self.tensors)}")
        kernels = best_kernels(self.plan.size // 2)
        raw = merged(task, self.plan.options.seed, kernels=kernels, finite=not self.plan.options.allow_nonfinite)
        array = decode(raw, task.dtype) if task.dtype in ("F16", "BF16") else raw
        return array.reshape(task.shape)

    def save(
        self,
        target: str | Path,
        *,
        threads: int | None = None,
        shard_size: int = SHARD,
        block: int | None = None,
        speed: str = "auto",
        hash_inputs: bool = False,
        sync: bool = False,
        ray: str | None = None,
        progress: Progress = lambda _: None,
    ) -> Path:
        """Write the merged model as a folder that appears when it is complete; an interrupted call is continued.

        Args:
            target: the folder; must not exist yet, or be empty.
            threads: as many tensors are computed at once (default: one for each core).
            shard_size: the most bytes of one weights file.
            block: elements computed at once; any number gives the same bytes.
            speed: "numpy" or "numba" to choose the kernels; both give the same bytes.
            hash_inputs: put the SHA-256 of every whole input file into merge.json, not only of its header.
            sync: wait until the disk has everything; without it a cut of the machine's power, though no kill of the
                program, may leave a folder whose last bytes never reached the disk.
            ray: compute on a Ray cluster that shares the file system: "local", "auto" or its address (see `spread`).
            progress: called with the number of bytes just written.

        Raises:
            OutputError: if the folder is in the way or cannot be written.
            NotFinite: for NaN or infinity in an input.
        """
        plan, began = self.plan, time.monotonic()
        mark = digest(plan, VERSION, shard_size)

        def finish(work: Path, index: Mapping[str, Any] | None) -> None:
            about = _provenance(plan, mark, hash_inputs, round(time.monotonic() - began, 3))
            write_card(plan, work, about, index)

        path = save_tasks(
            Path(target).expanduser(), plan.tasks, mark, finish, seed=plan.options.seed, threads=threads,
            shard_size=shard_size, block=block, speed=speed, finite=not plan.options.allow_nonfinite, sync=sync,
            progress=progress, elsewhere=None if ray is None else self._spread(ray, speed),
        )  # fmt: skip
        for model in plan.models.values():
            model.close()
        return path

    def _spread(self, address: str, speed: str) -> Elsewhere:
        from palmette.weights.spread import spread_tasks

        recipes = self.recipes or (self.plan.recipe,)
        return partial(spread_tasks, address, recipes, self.plan.options, self.fetch, speed=speed)


def _provenance(plan: Plan, mark: str, whole: bool, seconds: float) -> dict[str, Any]:
    """merge.json."""
    return {
        "palmette": VERSION,
        "plan": mark,
        "method": plan.recipe.method,
        "seed": plan.options.seed,
        "compute": plan.options.compute,
        "seconds": seconds,
        "inputs": fingerprints(plan, whole),
        "left_out": plan.left_out,
        "warnings": plan.warnings,
        "tensors": {
            t.name: {"dtype": t.dtype, "shape": list(t.shape), "method": t.method, "parameters": described(t.parameters),  # noqa: E501
                     "from": list(t.labels)}
            for t in plan.tasks
        },
    }  # fmt: skip


def merge(recipe: Recipe | str | Path | dict[str, Any], *, fetch: Fetch = local, **options: Any) -> Merge:
    """Plan a merge: `palmette.merge(palmette.ties("a", "b", base="base", density=0.5)).save("out")`.

    Args:
        recipe: made by a method's function, such as `palmette.ties`; or the path of a YAML file; or its content as a
            dict.
        fetch: how to find the folder of a model that is no path (a hub's snapshot).
        options: seed, compute, allow_crimes, truncate, allow_nonfinite (see Options).

    Raises:
        PalmetteError: for a recipe or models that cannot be merged.
    """
    if isinstance(recipe, dict):
        recipe = recipe_of(recipe, json.dumps(recipe, indent=2))
    stages = [recipe] if isinstance(recipe, Recipe) else read_recipes(_text(recipe))
    try:
        chosen = replace(Options(), **options)
    except TypeError:
        known = [field.name for field in fields(Options)]
        unknown = next(name for name in options if name not in known)
        raise BadParameter(f"no option {unknown!r}.{near_miss(unknown, known)} Known: {', '.join(known)}") from None
    return Merge(open_plan(stages, chosen, fetch), tuple(stages), fetch)


def _text(path: str | Path) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError("", f"{str(path)!r} cannot be read: {error}") from error
