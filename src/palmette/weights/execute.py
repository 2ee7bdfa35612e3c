"""Running a plan: tensors in parallel, each in blocks from positioned reads to positioned writes."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any

import numpy as np

from palmette.core.errors import MismatchedModels, MissingExtra, NotFinite
from palmette.core.rng import Rng
from palmette.weights.blocks import BLOCK, Inputs, Mix
from palmette.weights.dtypes import FLOATS, SIZES, Array, Raw
from palmette.weights.kernels import Kernels, NumpyKernels
from palmette.weights.methods import METHODS
from palmette.weights.plan import Task

__all__ = ["best_kernels", "blocks_of", "execute", "inputs_of", "keep_pages", "merged"]

Write = Callable[[Task, int, Raw], None]
MANY = 10_000_000  # elements from which loading the compiled kernels pays
COPY = 1 << 19  # bytes of one piece of a plain copy


def best_kernels(elements: int, speed: str = "auto") -> Kernels:
    """The compiled kernels where they pay and numba is there, else numpy's; both give the same bytes."""
    if speed == "numpy" or (speed == "auto" and elements < MANY):
        return NumpyKernels()
    try:
        from palmette.weights.fast.kernels import FastKernels

        made = FastKernels()
        made.decode(np.zeros(1, np.uint16), "BF16", "F32")  # compiles a loop, if none is kept from before
    except Exception as error:  # no numba, or one that cannot compile here: slower, the same bytes
        if speed == "numba":
            raise MissingExtra("speed='numba'", "merge") from error
        return NumpyKernels()
    return made


def keep_pages() -> None:
    """Tell the C library to keep freed memory for the next block (glibc only; the whole process, so commands call it).

    Blocks are a few megabytes: by default each would be returned to the system and faulted in again, page by page.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    for option, value in ((-3, 1 << 30), (-1, 1 << 30), (-8, 1)):  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_ARENA_MAX
        mallopt(option, value)


def inputs_of(task: Task, seed: int, kernels: Kernels, block: int = BLOCK) -> Inputs:
    """A task's inputs."""
    return Inputs(
        task.shape,
        task.models,
        task.base,
        METHODS[task.method].rows(task.parameters),
        task.labels,
        Rng(seed).fork(task.name),
        task.rounded,
        task.arithmetic,
        block,
        kernels,
    )


def blocks_of(task: Task, seed: int, kernels: Kernels, write: Write, block: int = BLOCK, finite: bool = True) -> None:
    """Compute one tensor of the output, block by block.

    Raises:
        NotFinite: for a NaN or infinity in an input.
        MismatchedModels: for buffers that are no floats and differ.
    """
    method, inputs = METHODS[task.method], inputs_of(task, seed, kernels, block)
    same = (method.steady(task.parameters) or task.dtype not in FLOATS) and inputs.identical()
    if task.dtype not in FLOATS and not same:
        raise MismatchedModels(
            f"the tensor {task.name!r} ({task.dtype}) is no float tensor and differs between the models"
        )
    if same and (task.models[0].dtype == task.dtype):
        _copy(task, kernels, write, finite)
        return
    if same:
        inputs, method = replace(inputs, models=inputs.models[:1], base=None), METHODS["passthrough"]
        parameters = {}
    else:
        parameters = dict(task.parameters)
    combine = method.function(inputs, **parameters)
    plain = isinstance(combine, Mix) and task.dtype == "BF16" and inputs.stored("BF16")
    for span in inputs.spans():
        if plain and (made := _mixed(task, inputs, combine, span, finite)) is not None:
            write(task, span[0], made)
            continue
        found = inputs.load(span)
        if finite:
            _refuse_nonfinite(task, [*([found.base] if found.base is not None else []), *found.models], kernels)
        write(task, span[0], kernels.encode(combine(found), task.dtype))


def _mixed(task: Task, inputs: Inputs, combine: Any, span: tuple[int, int], finite: bool) -> Raw | None:
    """A block of a linear combination, bfloat16 to bfloat16 in one go, if the kernels can."""
    if type(inputs.kernels).mix is NumpyKernels.mix:
        return None
    raws, base = inputs.packed(span)
    found = inputs.kernels.mix(raws, base, combine.mixture)
    if found is None or (finite and not found[1]):
        return None  # the slow way names the culprit
    return found[0]


def _copy(task: Task, kernels: Kernels, write: Write, finite: bool) -> None:
    """The same bytes."""
    count = int(np.prod(task.shape, dtype=np.int64))
    step = COPY // SIZES[task.dtype]
    for start in range(0, count, step):
        raw = task.models[0].read(start, min(start + step, count))
        if finite and not kernels.finite(raw, task.dtype):
            raise NotFinite(
                f"the tensor {task.name!r} of {task.labels[0]} holds NaN or infinity; --allow-nonfinite keeps it"
            )
        write(task, start, raw)


def _refuse_nonfinite(task: Task, arrays: Sequence[Array], kernels: Kernels) -> None:
    labels = [*(["the base model"] if task.base is not None else []), *task.labels]
    for label, array in zip(labels, arrays, strict=True):
        if not kernels.finite(array, "F64" if array.dtype == np.float64 else "F32"):
            raise NotFinite(
                f"the tensor {task.name!r} of {label} holds NaN or infinity; --allow-nonfinite lets it through"
            )


def merged(task: Task, seed: int = 0, block: int = BLOCK, kernels: Kernels | None = None, finite: bool = True) -> Raw:
    """One tensor of the output in memory, as it would be stored, flat.

    Raises:
        NotFinite: for a NaN or infinity in an input, if `finite`.
    """
    parts: dict[int, Raw] = {}

    def write(_: Task, start: int, raw: Raw) -> None:
        parts[start] = raw

    with np.errstate(all="ignore"):
        blocks_of(task, seed, kernels or NumpyKernels(), write, block, finite)
    return np.concatenate([parts[start] for start in sorted(parts)]) if parts else np.zeros(0, np.uint8)


def execute(
    tasks: Sequence[Task],
    write: Write,
    finish: Callable[[Task], None],
    seed: int,
    threads: int | None = None,
    block: int = BLOCK,
    speed: str = "auto",
    finite: bool = True,
) -> None:
    """Run tasks on several threads, the largest first; the first error stops all."""
    sizes = {id(task): int(np.prod(task.shape, dtype=np.int64)) for task in tasks}
    kernels = best_kernels(sum(sizes.values()), speed)
    order = sorted(tasks, key=lambda task: -sizes[id(task)])

    def one(task: Task) -> None:
        with np.errstate(all="ignore"):
            blocks_of(task, seed, kernels, write, block, finite)
        finish(task)

    pool = ThreadPoolExecutor(max_workers=max(1, threads or os.cpu_count() or 1), thread_name_prefix="merge")
    try:
        jobs = [pool.submit(one, task) for task in order]
        done, _ = wait(jobs, return_when=FIRST_EXCEPTION)
        for job in done:
            job.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
