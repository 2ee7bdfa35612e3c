"""A merge spread over the machines of a Ray cluster that share a file system (extra `ray`); the same bytes.

Tensors are independent and lie at offsets known beforehand. So a worker plans the same recipe, computes some tensors
and writes them into the shards; only names travel back. What was finished is in the journal, as without Ray.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from palmette.core.cluster import cluster, gathered
from palmette.weights.dtypes import Raw
from palmette.weights.execute import execute
from palmette.weights.folder import Fetch
from palmette.weights.plan import Options, Task
from palmette.weights.recipe.schema import Recipe
from palmette.weights.stage import plan_stages
from palmette.weights.write import Spot

__all__ = ["spread_tasks"]

PARTS = 4  # for each core of the cluster: the last ones are short


def spread_tasks(
    address: str,
    recipes: Sequence[Recipe],
    options: Options,
    fetch: Fetch,
    tasks: Sequence[Task],
    folder: Path,
    spots: Mapping[str, Spot],
    finish: Callable[[Task], None],
    speed: str = "auto",
) -> None:
    """Compute tensors on a cluster.

    Args:
        address: "local" to start workers on this machine, "auto" for the cluster this machine belongs to, or a
            cluster's address.
        recipes, options, fetch: what each worker plans again.
        tasks: of that plan, those still to be computed.
        folder: of the shards, laid out; on a file system that all workers share.
        spots: where tensors lie.
        finish: called for each tensor that is written.
        speed: which kernels.

    Raises:
        PalmetteError: as without a cluster.
        ClusterError: if the cluster cannot be reached, or a worker dies.
    """
    by_name = {task.name: task for task in tasks}
    with cluster(address, "merging on a Ray cluster") as ray:
        cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
        work = ray.remote(num_cpus=1, max_retries=2)(_part)
        where = {name: (str(folder.resolve() / spots[name].file), spots[name].start) for name in by_name}
        shared = ray.put((tuple(recipes), options, fetch, where, speed))
        waiting = [work.remote(shared, names) for names in _parts(tasks, cores * PARTS)]
        while waiting:
            done, waiting = ray.wait(waiting)
            for name in gathered(ray, done[0]):
                finish(by_name[name])


def _parts(tasks: Sequence[Task], count: int) -> list[list[str]]:
    """Names in groups of about the same number of elements, the largest tensors first."""
    groups: list[list[str]] = [[] for _ in range(min(count, len(tasks)))]
    sizes = [0] * len(groups)
    for task in sorted(tasks, key=lambda task: -int(np.prod(task.shape, dtype=np.int64))):
        least = sizes.index(min(sizes))
        groups[least].append(task.name)
        sizes[least] += int(np.prod(task.shape, dtype=np.int64)) + 1
    return groups


def _part(shared: Any, names: Sequence[str]) -> list[str]:
    """On a worker: plan, compute these tensors on one thread, write them."""
    recipes, options, fetch, where, speed = shared
    plan = plan_stages(list(recipes), options, fetch)
    files = {path: os.open(path, os.O_RDWR) for path in sorted({where[name][0] for name in names})}
    finished: list[str] = []

    def write(task: Task, start: int, raw: Raw) -> None:
        path, first = where[task.name]
        data, at = raw.view(np.uint8).data, first + start * raw.itemsize
        while len(data):
            count = os.pwrite(files[path], data, at)
            data, at = data[count:], at + count

    try:
        chosen = [task for task in plan.tasks if task.name in set(names)]
        execute(chosen, write, lambda task: finished.append(task.name), options.seed, 1, speed=speed,
                finite=not options.allow_nonfinite)  # fmt: skip
        for file in files.values():
            os.fsync(file)  # so that other machines see it
    finally:
        for file in files.values():
            os.close(file)
        for model in plan.models.values():
            model.close()
    return finished
