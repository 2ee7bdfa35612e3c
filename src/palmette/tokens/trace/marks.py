"""What became of every node in every run: on a best answer, on another answer, kept for a while, or pruned.

A run that kept a node and later dropped everything below it let it die: `died` is that step. Steps count from 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from palmette.tokens.trace.values import Answer, Trace, Visit

__all__ = ["Mark", "Marks", "Status", "letter", "mark", "percent", "score_text"]

Status = Literal["best", "answer", "kept", "pruned", "passed"]
ORDER: tuple[Status, ...] = ("best", "answer", "kept", "passed", "pruned")


@dataclass(frozen=True)
class Mark:
    """One run at one node. `died` is the step in which the run gave the node up, None if it never did."""

    run: int
    status: Status
    died: int | None
    visit: Visit | None


@dataclass(frozen=True)
class Marks:
    """Everything a picture says about nodes besides the trace itself; lists are indexed by node id.

    `best`: the runs whose best answer leads through the node; `ends`: (run, place, answer) that end at it;
    `parts`: where best answers part, the groups of runs that stay together.
    """

    at: tuple[tuple[Mark, ...], ...]
    best: tuple[tuple[int, ...], ...]
    ends: dict[int, tuple[tuple[int, int, Answer], ...]]
    parts: dict[int, tuple[tuple[int, ...], ...]]

    def status(self, node: int) -> Status:
        """The best of the node's fates."""
        return min((m.status for m in self.at[node]), key=ORDER.index, default="passed")


def mark(trace: Trace) -> Marks:
    """Read the fates of all nodes off a trace."""
    best: list[list[int]] = [[] for _ in trace.nodes]
    answered: list[set[int]] = [set() for _ in trace.nodes]
    ends: dict[int, list[tuple[int, int, Answer]]] = {}
    for number, run in enumerate(trace.runs):
        for place, answer in enumerate(run.answers):
            ends.setdefault(answer.node, []).append((number, place, answer))
            for node in (trace.nodes[0], *trace.path(answer.node)):
                answered[node.id].add(number)
                if place == 0:
                    best[node.id].append(number)
    last = _last_steps(trace)
    marks = tuple(
        tuple(
            _mark(trace, node.id, run, best[node.id], answered[node.id], last[node.id])
            for run in sorted({*answered[node.id], *(v.run for v in node.visits), *last[node.id]})
        )
        for node in trace.nodes
    )
    together = tuple(map(tuple, best))
    return Marks(marks, together, {n: tuple(found) for n, found in ends.items()}, _parts(trace, together))


def _last_steps(trace: Trace) -> list[dict[int, int]]:
    """For each node and run the last step in which the run kept something at or below it."""
    last: list[dict[int, int]] = [{} for _ in trace.nodes]
    for node in reversed(trace.nodes):
        mine = last[node.id]
        for visit in node.visits:
            if visit.kept:
                mine[visit.run] = max(mine.get(visit.run, 0), visit.step)
        if node.parent >= 0:
            above = last[node.parent]
            for run, step in mine.items():
                above[run] = max(above.get(run, 0), step)
    return last


def _mark(trace: Trace, node: int, run: int, best: list[int], answered: set[int], last: dict[int, int]) -> Mark:
    visit = next((v for v in trace.nodes[node].visits if v.run == run), None)
    if run in answered:
        return Mark(run, "best" if run in best else "answer", None, visit)
    if visit is not None and not visit.kept and run not in last:
        return Mark(run, "pruned", visit.step + 1, visit)
    ended = bool(trace.runs[run].answers) and run in last
    status: Status = "kept" if run in last else "passed"
    return Mark(run, status, last[run] + 2 if ended else None, visit)


def _parts(trace: Trace, best: tuple[tuple[int, ...], ...]) -> dict[int, tuple[tuple[int, ...], ...]]:
    """Nodes at which the best answers of their runs go different ways."""
    parts = {}
    for node in trace.nodes:
        if len(best[node.id]) < 2:
            continue
        groups = tuple(sorted(best[child.id] for child in trace.children(node.id) if best[child.id]))
        if len(groups) > 1:
            parts[node.id] = groups
    return parts


def letter(run: int) -> str:
    """The short name of a run: A, B, … Z, then R27."""
    return chr(65 + run) if run < 26 else f"R{run + 1}"


def percent(logprob: float | None) -> str:
    """A log-probability as a percentage of three digits or fewer; a cross where it was removed.

    >>> [percent(math.log(p)) for p in (1.0, 0.9987, 0.42, 0.0312, 0.00042, 3e-9)]
    ['100 %', '99.9 %', '42 %', '3.1 %', '0.04 %', '3e-7 %']
    """
    if logprob is None:
        return "✕"
    p = 100 * math.exp(logprob)
    if p == 0:
        return "0 %"
    if p < 0.01:
        mantissa, power = f"{p:.0e}".split("e")
        return f"{mantissa}e{int(power)} %"
    digits = 0 if p >= 99.95 or 10 <= p < 99 else 1 if p >= 1 else 2
    return f"{p:.{digits}f} %"


def score_text(score: float) -> str:
    """A strategy's figure, with a real minus sign.

    >>> score_text(-3.14159)
    '−3.14'
    """
    if math.isinf(score):
        return "∞" if score > 0 else "−∞"
    return f"{score:.3g}".replace("-", "−")
