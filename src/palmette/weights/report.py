"""Before a merge: what would be written, from what, and how the models' changes relate to each other."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palmette.weights.blocks import Block
from palmette.weights.dtypes import FLOATS, SIZES
from palmette.weights.execute import best_kernels, inputs_of
from palmette.weights.layers import place
from palmette.weights.methods.task import deltas
from palmette.weights.plan import Plan, Task

__all__ = ["report", "summary"]


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
    lines = [summary(plan), f"reads {read / 1e6:,.1f} MB a pass, writes {plan.size / 1e6:,.1f} MB"]
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
        "left_out": plan.left_out,
        "warnings": plan.warnings,
    }
    if measure:
        found["task_vectors"] = _measured(plan)
        lines += _lines(found["task_vectors"])
    found["text"] = "\n".join(lines)
    return found


def _measured(plan: Plan) -> list[dict[str, Any]]:
    """For every group of tensors (a layer, or what lies outside): norms, cosines and sign conflicts of task vectors."""
    groups: dict[str, list[Task]] = {}
    for task in plan.tasks:
        if task.base is not None and task.dtype in FLOATS:
            found = place(task.name)
            groups.setdefault(f"{found.prefix}{found.index}" if found else "outside the layers", []).append(task)
    kernels = best_kernels(plan.size // 2)
    rows = []
    for name, tasks in groups.items():
        count = len(tasks[0].models)
        products, conflicts, positions = np.zeros((count, count)), 0, 0
        for task in tasks:
            inputs = inputs_of(task, plan.options.seed, kernels)

            def visit(block: Block, inputs: Any = inputs) -> tuple[NDArray[np.float64], int]:
                found = deltas(inputs, block)
                against = (found > 0).any(axis=0) & (found < 0).any(axis=0)
                pairs = [[float(kernels.dots(a, b, inputs.leaf).sum()) for b in found] for a in found]
                return np.array(pairs), int(against.sum())

            for part, against in inputs.scan(visit):
                products += part
                conflicts += against
            positions += inputs.count
        norms = np.sqrt(np.diag(products))
        cosines = products / np.maximum(np.outer(norms, norms), 1e-300)
        rows.append({"group": name, "models": list(tasks[0].labels), "norms": norms.tolist(), "cosines": cosines.tolist(),  # noqa: E501
                     "sign_conflicts": conflicts / max(1, positions)})  # fmt: skip
    return rows


def _lines(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return ["no task vectors: the recipe's method uses no base model"]
    lines = [f"{'task vectors':<28} {'sign conflicts':>14}  {'lowest cosine':>13}  norms"]
    for row in rows:
        count = len(row["norms"])
        cosines = [row["cosines"][i][j] for i in range(count) for j in range(i + 1, count)]
        lowest = f"{min(cosines):.3f}" if cosines else "-"
        norms = " ".join(f"{norm:.3g}" for norm in row["norms"])
        lines.append(f"{row['group']:<28} {row['sign_conflicts']:>13.1%}  {lowest:>13}  {norms}")
    return lines
