"""Before a merge: what would be written, from what, and how the models' changes relate to each other."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palmette.weights.advice import Advice, advise
from palmette.weights.blocks import BLOCK, Block, Inputs
from palmette.weights.dtypes import FLOATS, SIZES
from palmette.weights.execute import best_kernels, inputs_of
from palmette.weights.layers import place
from palmette.weights.methods.task import deltas
from palmette.weights.plan import Plan, Task

__all__ = ["report", "summary"]

SPEED = 1e9  # bytes a second: of a usual disk
SPECTRAL = ("tsv", "iso_c", "iso_cts", "knots")
LARGEST = 0.2  # the share of changes that counts as large; 20 % overlap by chance
PASSES = {"linear": 1, "task_arithmetic": 1, "passthrough": 1, "nearswap": 1, "ram": 1, "magmax": 1, "consensus": 1,
          "ties": 3, "breadcrumbs": 3, "breadcrumbs_ties": 3, "sce": 5, "arcee_fusion": 3}  # fmt: skip


def summary(plan: Plan) -> str:
    """One line: tensors, parameters, bytes, methods."""
    count = sum(int(np.prod(task.shape, dtype=np.int64)) for task in plan.tasks)
    methods = ", ".join(f"{name} × {n}" for name, n in Counter(task.method for task in plan.tasks).items())
    return f"{len(plan.tasks)} tensors, {count:,} parameters, {plan.size / 1e6:,.1f} MB ({methods})"


def report(plan: Plan, measure: bool = False) -> dict[str, Any]:
    """What a merge would do; with `measure`, one pass over the weights to compare the task vectors.

    Returns:
        A JSON-able dict whose "text" is the report for people.
    """
    read = sum(SIZES[s.dtype] * int(np.prod(t.shape, dtype=np.int64)) for t in plan.tasks for s in t.models)
    passes = max((PASSES.get(task.method, 2) for task in plan.tasks), default=1)
    seconds = (read * passes + plan.size) / SPEED
    lines = [summary(plan), f"reads {read / 1e6:,.1f} MB × {passes}, writes {plan.size / 1e6:,.1f} MB"]
    lines.append(f"about {seconds:,.0f} s at {SPEED / 1e9:g} GB/s, {_memory(plan) / 1e6:,.0f} MB of memory")
    lines += [f"  {model}: {len(model.tensors)} tensors in {model.folder}" for model in plan.models.values()]
    if plan.vocabulary:
        lines.append(f"tokenizer of {plan.vocabulary.rows} tokens, from {plan.vocabulary.origin}")
    lines += [f"warning: {warning}" for warning in plan.warnings]
    if plan.left_out:
        lines.append(f"left out: {len(plan.left_out)} tensors, such as {plan.left_out[0]}")
    found: dict[str, Any] = {
        "tensors": [
            {
                "name": t.name,
                "shape": list(t.shape),
                "dtype": t.dtype,
                "method": t.method,
                "parameters": dict(t.parameters),
            }
            for t in plan.tasks
        ],
        "bytes": plan.size,
        "seconds": seconds,
        "memory": _memory(plan),
        "left_out": plan.left_out,
        "warnings": plan.warnings,
    }
    if measure:
        found["task_vectors"] = _measured(plan)
        lines += _lines(found["task_vectors"])
        advice = _advice(found["task_vectors"])
        if advice is not None:
            found["advice"] = advice.as_json()
            lines += advice.lines(found["task_vectors"][0]["models"])
    found["text"] = "\n".join(lines)
    return found


def _measured(plan: Plan) -> list[dict[str, Any]]:
    """For every group of tensors (a layer, or what lies outside): norms, cosines, sign conflicts, overlap."""
    groups: dict[str, list[Task]] = {}
    for task in plan.tasks:
        if task.base is not None and task.dtype in FLOATS:
            found = place(task.name)
            groups.setdefault(f"{found.prefix}{found.index}" if found else "outside the layers", []).append(task)
    kernels = best_kernels(plan.size // 2)
    rows = []
    for name, tasks in groups.items():
        count = len(tasks[0].models)
        products, conflicts, shared, positions = np.zeros((count, count)), 0, 0.0, 0
        for task in tasks:
            inputs = inputs_of(task, plan.options.seed, kernels)
            part, against, common = _geometry(inputs)
            products += part
            conflicts += against
            shared += common
            positions += inputs.count
        norms = np.sqrt(np.diag(products))
        cosines = products / np.maximum(np.outer(norms, norms), 1e-300)
        rows.append({"group": name, "models": list(tasks[0].labels), "norms": norms.tolist(),
                     "cosines": cosines.tolist(),
                     "sign_conflicts": conflicts / max(1, positions), "overlap": shared / max(1, positions),
                     "parameters": positions})  # fmt: skip
    return rows


def _geometry(inputs: Inputs) -> tuple[NDArray[np.float64], int, float]:
    """(inner products, positions with a sign conflict, positions × mean overlap of the largest changes) of a tensor."""
    count = len(inputs.models)
    kept = max(1, int(LARGEST * inputs.count))
    cuts = inputs.cuts(lambda block: list(deltas(inputs, block)), [[kept]] * count) if count > 1 else []

    def visit(block: Block) -> tuple[NDArray[np.float64], int, int]:
        found = deltas(inputs, block)
        against = (found > 0).any(axis=0) & (found < 0).any(axis=0)
        pairs = np.array([[float(inputs.kernels.dots(a, b, inputs.leaf).sum()) for b in found] for a in found])
        for row, (cut,) in zip(found, cuts, strict=False):
            inputs.kernels.keep(row, cut, block.start, True)
        large = found != 0
        both = sum(int((large[i] & large[j]).sum()) for i in range(count) for j in range(i))
        return pairs, int(against.sum()), both

    parts = inputs.scan(visit)
    products = np.sum([part[0] for part in parts], axis=0) if parts else np.zeros((count, count))
    pairs = count * (count - 1) // 2
    overlap = sum(part[2] for part in parts) / (pairs * kept) if pairs else 0.0
    return products, sum(part[1] for part in parts), overlap * inputs.count


def _advice(rows: list[dict[str, Any]]) -> Advice | None:
    """Of all groups together."""
    if not rows or len({tuple(row["models"]) for row in rows}) > 1:
        return None
    whole = sum(row["parameters"] for row in rows)
    products = np.sum([np.array(row["cosines"]) * np.outer(row["norms"], row["norms"]) for row in rows], axis=0)
    conflicts, overlap = (
        sum(row[k] * row["parameters"] for row in rows) / whole for k in ("sign_conflicts", "overlap")
    )
    return advise(products, conflicts, overlap)


def _memory(plan: Plan) -> int:
    """Bytes that blocks take at most, on two threads, with the program itself; whole matrices for spectral methods."""
    most = max((len(task.models) + 3 for task in plan.tasks), default=1)
    whole = [task for task in plan.tasks if task.method in SPECTRAL]
    held = max((int(np.prod(t.shape, dtype=np.int64)) * 8 * (len(t.models) + 2) for t in whole), default=0)
    return 90_000_000 + 2 * (most * BLOCK * 8 + held)


def _lines(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return ["no task vectors: the recipe's method uses no base model"]
    lines = [f"{'task vectors':<28} {'sign conflicts':>14} {'overlap':>8} {'lowest cosine':>14}  norms"]
    for row in rows:
        count = len(row["norms"])
        cosines = [row["cosines"][i][j] for i in range(count) for j in range(i + 1, count)]
        lowest = f"{min(cosines):.3f}" if cosines else "-"
        norms = " ".join(f"{norm:.3g}" for norm in row["norms"])
        lines.append(f"{row['group']:<28} {row['sign_conflicts']:>14.1%} {row['overlap']:>8.1%} {lowest:>14}  {norms}")
    return lines
