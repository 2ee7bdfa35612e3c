"""Which nodes a picture shows, and in which boxes: chains become one box, and whatever is left out is counted.

Every node of the trace is either in one box's `nodes` or in one box's `hidden` count; nothing is dropped silently.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from palmette.tokens.trace.marks import Marks, Status, letter, mark, percent, score_text
from palmette.tokens.trace.values import Trace, TraceNode
from palmette.tokens.trace.visible import cells, clean, pieces, shown, wrap

__all__ = ["SIZES", "Box", "Limits", "Sheet", "boxes_of"]

# In pixels.
SIZES = {
    "token": 14.0, "caption": 11.0, "slim": 12.0, "cell": 0.61, "line": 18.0, "note": 14.0, "pad": 8.0, "inset": 5.0,
    "low": 22.0, "gap": 34.0, "apart": 7.0, "wrap": 30.0, "lines": 5.0,
}  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """How much to show.

    Args:
        depth: the deepest step shown; None for all.
        probability: nodes off every answer are hidden when the model gives their token less than this.
        boxes: the most boxes; the least likely pruned nodes go first.
        fold: join chains into one box; None: only in traces of more than 64 nodes.
    """

    depth: int | None = None
    probability: float = 0.0
    boxes: int = 120
    fold: bool | None = None


@dataclass(frozen=True)
class Box:
    """Some nodes of one chain, top to bottom; `y` is the middle of the box. `parent` is a place in the list of boxes.

    `kind`: the prompt, one token, a chain, or a slim one-line box for a pruned token.
    """

    nodes: tuple[int, ...]
    parent: int
    kind: str
    status: Status
    best: tuple[int, ...]
    lines: tuple[str, ...]
    captions: tuple[str, ...]
    hidden: int
    depth: int
    logprob: float
    score: float | None
    width: float
    height: float
    x: float = 0.0
    y: float = 0.0


@dataclass(frozen=True)
class Sheet:
    """A trace with everything that its pictures share."""

    trace: Trace
    limits: Limits = Limits()
    marks: Marks = field(init=False, repr=False)
    texts: list[tuple[str, str]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "marks", mark(self.trace))
        object.__setattr__(self, "texts", pieces(self.trace))

    @property
    def folds(self) -> bool:
        """Whether chains are joined."""
        return len(self.trace.nodes) > 65 if self.limits.fold is None else self.limits.fold

    def children(self, node: int) -> list[TraceNode]:
        """Children in drawing order: the way of the first best answer, pruned ones, then the other branches."""
        return sorted(self.trace.children(node), key=self._place)

    def _place(self, node: TraceNode) -> tuple[int, float, int]:
        status = self.marks.status(node.id)
        if status == "best":
            return (0 if self.marks.best[node.id][0] == min(self.marks.best[node.parent]) else 2), 0, node.id
        return (1, -node.logprob, node.id) if status == "pruned" else (3 if status == "answer" else 4, 0, node.id)


def boxes_of(sheet: Sheet) -> list[Box]:
    """The boxes without their positions, parents before children, the first child of each box in line with it."""
    chosen = _chosen(sheet)
    below = _counts(sheet.trace, chosen)
    boxes: list[Box] = []
    stack = [(0, -1)]
    while stack:
        start, parent = stack.pop()
        chain = [start]
        inside = [child.id for child in sheet.children(start) if child.id in chosen]
        while sheet.folds and start and len(inside) == 1 and _alike(sheet, chain[-1], inside[0]):
            chain.append(inside[0])
            inside = [child.id for child in sheet.children(chain[-1]) if child.id in chosen]
        hidden = sum(below[child.id] for n in chain for child in sheet.trace.children(n) if child.id not in chosen)
        boxes.append(_box(sheet, tuple(chain), parent, hidden, leaf=not inside))
        stack += [(child, len(boxes) - 1) for child in reversed(inside)]
    return boxes


def _chosen(sheet: Sheet) -> set[int]:
    """The nodes to show: answers first, then what was kept, then what was pruned, the likeliest first."""
    trace, limits, fold = sheet.trace, sheet.limits, sheet.folds
    order = sorted(_importance(sheet), key=lambda entry: entry[:3])
    chosen, fans, count = {0}, {0: 0}, 1
    for status, _, node in order:
        here = trace.nodes[node]
        if here.parent not in chosen or (limits.depth is not None and here.depth > limits.depth):
            continue
        if status > 1 and limits.probability > 0 and math.exp(here.logprob) < limits.probability:
            continue
        cost = 1 if not fold or fans[here.parent] > 1 or here.parent == 0 else 2 * fans[here.parent]
        if count + cost <= limits.boxes:
            chosen.add(node)
            count += cost
            fans[here.parent] += 1
            fans[node] = 0
    return chosen


def _importance(sheet: Sheet) -> list[tuple[int, float, int]]:
    """(class, figure, node): a parent never stands behind its child."""
    trace, marks = sheet.trace, sheet.marks
    total = [0.0] * len(trace.nodes)
    place = [float("inf")] * len(trace.nodes)
    for node, ends in marks.ends.items():
        place[node] = min(p for _, p, _ in ends)
    for here in reversed(trace.nodes[1:]):
        place[here.parent] = min(place[here.parent], place[here.id])
    found = []
    for here in trace.nodes[1:]:
        total[here.id] = total[here.parent] + here.logprob
        status = {"best": 0, "answer": 1, "kept": 2, "passed": 2, "pruned": 3}[marks.status(here.id)]
        found.append((status, place[here.id] if status < 2 else -total[here.id], here.id))
    return found


def _counts(trace: Trace, chosen: set[int]) -> list[int]:
    """For each hidden node the size of its subtree, itself included."""
    below = [int(node.id not in chosen) for node in trace.nodes]
    for node in reversed(trace.nodes[1:]):
        if node.parent not in chosen:
            below[node.parent] += below[node.id]
    return below


def _alike(sheet: Sheet, upper: int, lower: int) -> bool:
    """Whether two nodes of a chain may share a box: same runs, same fate, nothing that ends or parts between them."""
    marks = sheet.marks
    return (
        marks.best[upper] == marks.best[lower]
        and marks.status(upper) == marks.status(lower)
        and upper not in marks.ends
        and upper not in marks.parts
    )


def _box(sheet: Sheet, chain: tuple[int, ...], parent: int, hidden: int, leaf: bool) -> Box:
    node = sheet.trace.nodes[chain[-1]]
    status = sheet.marks.status(node.id)
    kind = "prompt" if node.id == 0 else "chain" if len(chain) > 1 else "token"
    if kind == "token" and status == "pruned" and leaf and not hidden:
        kind = "slim"
    logprobs = [sheet.trace.nodes[n].logprob for n in chain]
    scores = [m.visit.score for m in sheet.marks.at[node.id] if m.visit is not None]
    lines, captions = _lines(sheet, chain, kind), _captions(sheet, chain, kind, hidden)
    width, height = _size(kind, lines, captions)
    return Box(
        chain, parent, kind, status, sheet.marks.best[node.id], lines, captions, hidden,
        sheet.trace.nodes[chain[0]].depth, sum(logprobs) / len(logprobs), max(scores, default=None), width, height,
    )  # fmt: skip


def _size(kind: str, lines: tuple[str, ...], captions: tuple[str, ...]) -> tuple[float, float]:
    s = SIZES
    small = max((cells(c) for c in captions), default=0) * s["caption"] * s["cell"]
    if kind == "slim":
        return cells(lines[0]) * s["slim"] * s["cell"] + s["pad"] + small + 2 * s["pad"], s["low"]
    wide = max(max(cells(line) for line in lines) * s["token"] * s["cell"], small) + 2 * s["pad"]
    return max(wide, 44.0), len(lines) * s["line"] + len(captions) * s["note"] + 2 * s["inset"]


def _lines(sheet: Sheet, chain: tuple[int, ...], kind: str) -> tuple[str, ...]:
    node = sheet.trace.nodes[chain[0]]
    if kind == "prompt":
        text = clean(sheet.trace.prompt)
        return ("prompt", *wrap(text if len(text) <= 40 else "…" + text[-39:], 20, 2))
    if kind != "chain":
        return tuple(wrap(shown(node.bytes, node.name), int(SIZES["wrap"]), 2))
    text = clean("".join(sheet.texts[n][0] for n in chain)) + sheet.texts[chain[-1]][1]
    return tuple(wrap(text, int(SIZES["wrap"]), int(SIZES["lines"])))


def _captions(sheet: Sheet, chain: tuple[int, ...], kind: str, hidden: int) -> tuple[str, ...]:
    """The small lines of a box: probabilities, its death, answers that end here, where runs part, what is hidden."""
    last = chain[-1]
    notes: list[str] = []
    if kind == "chain":
        logprobs = [sheet.trace.nodes[n].logprob for n in chain]
        notes.append(f"{len(chain)} tokens · {percent(min(logprobs))} … {percent(max(logprobs))}")
        notes.append(f"Σ log p {score_text(sum(logprobs))}")
    elif kind != "prompt":
        notes.append(node_probability(sheet, last))
    died = node_death(sheet, last)
    if kind == "slim":
        return (f"{notes[0]}{' ' + died if died else ''}",)
    notes += [died] if died else []
    notes += node_notes(sheet, last)
    if hidden:
        notes.append(f"+{hidden} hidden")
    return tuple(notes)


def node_probability(sheet: Sheet, node: int) -> str:
    """The model's probability, and after an arrow the one after each run's views where that differs."""
    here = sheet.trace.nodes[node]
    before = percent(here.logprob)
    after: dict[str, str] = {}
    for m in sheet.marks.at[node]:
        if m.visit is not None:
            text = percent(m.visit.logprob)
            after[text] = after.get(text, "") + letter(m.run)
    changed = {text: runs for text, runs in after.items() if text != before}
    if not changed:
        return before
    several = len(sheet.trace.runs) > 1
    return f"{before} → " + ", ".join(f"{runs} {text}" if several else text for text, runs in changed.items())


def node_death(sheet: Sheet, node: int) -> str:
    """Which runs gave the node up, in which step, with their score."""
    several = len(sheet.trace.runs) > 1
    found = []
    for m in sheet.marks.at[node]:
        ended = m.died is not None and not any(
            o.run == m.run and o.died == m.died for c in sheet.trace.children(node) for o in sheet.marks.at[c.id]
        )
        if m.died is not None and (ended or m.status == "pruned"):
            score = f" {score_text(m.visit.score)}" if m.visit is not None else ""
            found.append(f"✕{letter(m.run) if several else ''}{m.died}{score}")
    return " ".join(found)


def node_notes(sheet: Sheet, node: int) -> list[str]:
    """Answers that end at a node, and where best answers part."""
    notes = [
        f"■ {letter(run)}{place + 1} {answer.finish} {score_text(answer.score)}"
        for run, place, answer in sheet.marks.ends.get(node, ())[:3]
    ]
    if len(sheet.marks.ends.get(node, ())) > 3:
        notes.append(f"■ +{len(sheet.marks.ends[node]) - 3} answers")
    if node in sheet.marks.parts:
        groups = ("".join(map(letter, group)) for group in sheet.marks.parts[node])
        notes.append(f"◆ {' | '.join(groups)} part")
    return notes
