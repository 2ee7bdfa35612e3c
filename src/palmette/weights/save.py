"""Carrying out tasks into a folder that appears when it is complete, whatever they were planned for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from palmette.core.errors import OutputError
from palmette.weights.dtypes import Raw
from palmette.weights.execute import execute
from palmette.weights.plan import Task
from palmette.weights.write import Output, Spot, layout

__all__ = ["SHARD", "Elsewhere", "Finish", "Progress", "save_tasks"]

SHARD = 5_000_000_000  # bytes
Progress = Callable[[int], None]
Elsewhere = Callable[[Sequence[Task], Path, Mapping[str, Spot], Callable[[Task], None]], None]
Finish = Callable[[Path, Mapping[str, Any] | None], None]  # writes all but the weights, given a shards' index


def save_tasks(
    path: Path,
    tasks: Sequence[Task],
    mark: str,
    finish: Finish,
    *,
    seed: int = 0,
    threads: int | None = None,
    shard_size: int = SHARD,
    block: int | None = None,
    speed: str = "auto",
    finite: bool = True,
    sync: bool = False,
    progress: Progress = lambda _: None,
    elsewhere: Elsewhere | None = None,
) -> Path:
    """Compute tensors and write them as shards; an interrupted call is continued by the next.

    Args:
        path: the folder; must not exist yet, or be empty, or be this very result.
        tasks: the tensors, in the order of the files.
        mark: a digest of all that the bytes depend on.
        finish: writes what stands beside the weights, merge.json with the mark among it.
        elsewhere: computes and writes tensors instead of this process's threads.
        seed, threads, shard_size, block, speed, finite, sync, progress: see `Merge.save`.

    Raises:
        OutputError: if the folder is in the way or cannot be written.
        NotFinite: for NaN or infinity in an input.
    """
    if _complete(path, mark):
        return path
    shards, spots, index = layout([(t.name, t.dtype, t.shape) for t in tasks], shard_size)
    output = Output(path, mark)
    with output.opened(shards):

        def write(task: Task, start: int, raw: Raw) -> None:
            output.write(spots[task.name], start * raw.itemsize, raw.view(np.uint8).data)
            progress(raw.nbytes)

        left = [task for task in tasks if task.name not in output.done]
        progress(sum(spots[name].size for name in output.done))
        extra: dict[str, Any] = {"speed": speed, "finite": finite} | ({} if block is None else {"block": block})
        if elsewhere is None:
            execute(left, write, lambda task: output.finish(task.name), seed, threads, **extra)
        elif left:

            def written(task: Task) -> None:
                output.finish(task.name)
                progress(spots[task.name].size)

            elsewhere(left, output.work, spots, written)
        finish(output.work, index if len(shards) > 1 else None)
        output.commit(sync)
    return path


def _complete(path: Path, mark: str) -> bool:
    """True if the folder is this very result, finished before.

    Raises:
        OutputError: if it is anything else that is not empty.
    """
    if not path.exists():
        return False
    try:
        if json.loads((path / "merge.json").read_text(encoding="utf-8"))["plan"] == mark:
            return True
    except (OSError, ValueError, KeyError, TypeError):
        pass
    if path.is_dir() and not any(path.iterdir()):
        return False
    raise OutputError(f"{path} exists already; name another folder, or remove it")
