"""A tidy tree that reads like text: left to right, each box level with its first child, in linear time.

Contours after Reingold and Tilford (1981), with boxes of any size as in van der Ploeg (2014): a subtree is pushed below
its elder siblings just as far as their outlines ask. Outlines are linked lists that share their tails, so a merge costs
only the shorter of the two and the whole layout O(n).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

from palmette.tokens.trace.boxes import SIZES, Box, Limits, Sheet, boxes_of
from palmette.tokens.trace.values import Trace

__all__ = ["Layout", "Limits", "layout", "place"]


@dataclass(frozen=True)
class Layout:
    """Placed boxes; `columns` are the left edges of the steps (empty when chains are folded: steps have no column)."""

    sheet: Sheet
    boxes: tuple[Box, ...]
    width: float
    height: float
    columns: tuple[float, ...]

    @property
    def hidden(self) -> int:
        """How many nodes are counted instead of shown."""
        return sum(box.hidden for box in self.boxes)


def layout(trace: Trace, limits: Limits | None = None) -> Layout:
    """Lay a trace out for drawing."""
    sheet = Sheet(trace, limits or Limits())
    boxes = boxes_of(sheet)
    columns = () if sheet.folds else _columns(boxes)
    placed = place(boxes, columns)
    return Layout(
        sheet,
        tuple(placed),
        max(box.x + box.width for box in placed),
        max(box.y + box.height / 2 for box in placed),
        columns,
    )


def _columns(boxes: list[Box]) -> tuple[float, ...]:
    """The left edge of each step: one column is as wide as its widest box."""
    widths = [0.0] * (1 + max(box.depth for box in boxes))
    for box in boxes:
        widths[box.depth] = max(widths[box.depth], box.width)
    edges = [0.0]
    for width in widths[:-1]:
        edges.append(edges[-1] + width + SIZES["gap"])
    return tuple(edges)


class Cell:
    """One step of an outline: up to `end` (along the tree) it runs at `level`. What follows is shifted by `shift`."""

    __slots__ = ("end", "level", "next", "shift")

    def __init__(self, end: float, level: float, following: Cell | None = None, shift: float = 0.0) -> None:
        self.end, self.level, self.next, self.shift = end, level, following, shift


class Outline:
    """A linked list of cells: the first with its shift, the last with its shift."""

    __slots__ = ("first", "last", "shift", "tail")

    def __init__(self, first: Cell, last: Cell, shift: float = 0.0, tail: float = 0.0) -> None:
        self.first, self.last, self.shift, self.tail = first, last, shift, tail

    def moved(self, by: float) -> Outline:
        """The same cells, seen from a frame in which they lie lower."""
        return Outline(self.first, self.last, self.shift + by, self.tail + by)

    def under(self, *cells: Cell) -> Outline:
        """With cells put before it."""
        for cell, following in pairwise(cells):
            cell.next = following
        cells[-1].next, cells[-1].shift = self.first, self.shift
        return Outline(cells[0], self.last, 0.0, self.tail)


def place(boxes: list[Box], columns: tuple[float, ...] = ()) -> list[Box]:
    """Give every box its position; parents stand before their children in the list."""
    starts: list[float] = []
    children: list[list[int]] = [[] for _ in boxes]
    for number, box in enumerate(boxes):
        if box.parent >= 0:
            children[box.parent].append(number)
            above = boxes[box.parent]
            starts.append(columns[box.depth] if columns else starts[box.parent] + above.width + SIZES["gap"])
        else:
            starts.append(0.0)
    shifts = [0.0] * len(boxes)
    tops: dict[int, Outline] = {}
    bottoms: dict[int, Outline] = {}
    for number in range(len(boxes) - 1, -1, -1):
        box, below = boxes[number], children[number]
        end, half = starts[number] + box.width, box.height / 2
        top, bottom = Cell(end, -half), Cell(end, half)
        if not below:
            tops[number], bottoms[number] = Outline(top, top), Outline(bottom, bottom)
            continue
        upper, lower = tops.pop(below[0]), bottoms.pop(below[0])
        for child in below[1:]:
            upper, lower, shifts[child] = _merge(upper, lower, tops.pop(child), bottoms.pop(child))
        start = starts[below[0]]  # the lines to the children run between `end` and here: nothing else may
        tops[number] = upper.under(top, Cell(start, -SIZES["apart"]))
        bottoms[number] = lower.under(bottom, Cell(start, shifts[below[-1]] + SIZES["apart"]))
    ys: list[float] = []
    for number, box in enumerate(boxes):
        ys.append(shifts[number] + (ys[box.parent] if box.parent >= 0 else 0.0))
    highest = min(y - box.height / 2 for y, box in zip(ys, boxes, strict=True))
    return [replace(box, x=x, y=y - highest) for box, x, y in zip(boxes, starts, ys, strict=True)]


def _merge(upper: Outline, lower: Outline, top: Outline, bottom: Outline) -> tuple[Outline, Outline, float]:
    """Push a subtree (top, bottom) below a forest (upper, lower); returns the new forest and the push."""
    push = 0.0
    a: Cell | None = lower.first
    b: Cell | None = top.first
    at, bt = lower.shift, top.shift
    while a is not None and b is not None:
        push = max(push, a.level + at + SIZES["apart"] - b.level - bt)
        ends = a.end, b.end
        if ends[0] <= ends[1]:
            at, a = at + a.shift, a.next
        if ends[1] <= ends[0]:
            bt, b = bt + b.shift, b.next
    top, bottom = top.moved(push), bottom.moved(push)
    if a is not None:  # the forest reaches further: its lower outline goes on behind the subtree's
        bottom.last.next, bottom.last.shift = a, at - bottom.tail
        bottom = Outline(bottom.first, lower.last, bottom.shift, lower.tail)
    if b is not None:  # the subtree reaches further: its upper outline goes on behind the forest's
        upper.last.next, upper.last.shift = b, bt + push - upper.tail
        upper = Outline(upper.first, top.last, upper.shift, top.tail)
    return upper, bottom, push
