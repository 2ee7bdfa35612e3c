"""What joins and fills boxes in every drawing: the strands between them, and the colour of each box.

A best answer is a strand of its run's own colour and dash pattern; strands of several runs lie side by side, so that
the eye sees where two runs part.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from palmette.core.errors import UnknownName
from palmette.tokens.trace.boxes import SIZES, Box
from palmette.tokens.trace.layout import Layout
from palmette.tokens.trace.marks import letter, score_text
from palmette.tokens.trace.palette import SCALE, blend, hue, pattern, shade
from palmette.tokens.trace.values import Trace

__all__ = ["COLORS", "Color", "Strand", "answer_lines", "check_color", "fills", "legend", "run_lines", "strands"]

Color = Literal["probability", "run", "score"]
COLORS: tuple[Color, ...] = ("probability", "run", "score")
LANE = 4.0
GREY = {"answer": "#555555", "kept": "#8a8a8a", "passed": "#8a8a8a", "pruned": "#8a8a8a"}


@dataclass(frozen=True)
class Strand:
    """From (x, y) along to `turn`, there across to the second y, and on to the second x."""

    run: int | None
    x: float
    y: float
    turn: float
    to_x: float
    to_y: float
    colour: str
    width: float
    dash: str


def strands(drawn: Layout) -> Iterator[Strand]:
    """All strands, plain ones first so that best answers lie on top."""
    pairs = [(drawn.boxes[box.parent], box) for box in drawn.boxes if box.parent >= 0]
    for above, box in pairs:
        if not box.best:
            turn = box.x - SIZES["gap"] / 2
            width, dash = (1.6, "") if box.status == "answer" else (1.2, "4 3" if box.status == "pruned" else "")
            yield Strand(None, above.x + above.width, above.y, turn, box.x, box.y, GREY[box.status], width, dash)
    for above, box in pairs:
        for run in box.best:
            start, end = _lane(above, run), _lane(box, run)
            turn = box.x - SIZES["gap"] / 2 - end
            yield Strand(
                run, above.x + above.width, above.y + start, turn, box.x, box.y + end, hue(run), 3.0, pattern(run)
            )


def _lane(box: Box, run: int) -> float:
    return (box.best.index(run) - (len(box.best) - 1) / 2) * LANE


def check_color(color: str) -> None:
    """Refuse a colouring that does not exist."""
    if color not in COLORS:
        raise UnknownName("colouring", color, COLORS)


def fills(drawn: Layout, color: Color) -> list[str]:
    """The fill of each box; pruned ones are paled."""
    low, high = _range(drawn)
    found = []
    for box in drawn.boxes:
        if box.kind == "prompt":
            found.append("#ffffff")
            continue
        if color == "probability":
            fill = shade(math.exp(box.logprob))
        elif color == "score":
            fill = "#ffffff" if box.score is None else shade((min(max(box.score, low), high) - low) / (high - low))
        else:
            runs = box.best or tuple(m.run for m in drawn.sheet.marks.at[box.nodes[-1]] if m.status != "pruned")
            runs = runs or tuple(m.run for m in drawn.sheet.marks.at[box.nodes[-1]])
            fill = blend(hue(runs[0]), "#ffffff", 0.65) if runs else "#ffffff"
        found.append(blend(fill, "#ffffff", 0.6) if box.status == "pruned" else fill)
    return found


def _range(drawn: Layout) -> tuple[float, float]:
    scores = [box.score for box in drawn.boxes if box.score is not None and math.isfinite(box.score)]
    low, high = min(scores, default=0.0), max(scores, default=1.0)
    return (low, high) if high > low else (low - 1.0, high)


def legend(drawn: Layout, color: Color) -> tuple[str, list[tuple[float, str]], tuple[str, ...]]:
    """The colour bar: its title, ticks (place from 0 to 1, text) and colours; no ticks when runs are coloured."""
    if color == "run":
        return "boxes coloured by run, see the list above", [], ()
    if color == "score":
        low, high = _range(drawn)
        return "score of the strategy", [(k / 2, score_text(low + (high - low) * k / 2)) for k in range(3)], SCALE
    return "probability of the token (the model's own)", [(k / 4, f"{25 * k} %") for k in range(5)], SCALE


def run_lines(trace: Trace) -> list[tuple[int, str]]:
    """One line for each run: letter, label, views, seed, how it stands."""
    found = []
    for number, run in enumerate(trace.runs):
        views = f" · views: {', '.join(run.views)}" if run.views else ""
        state = "" if run.answers else " · not finished"
        found.append((number, f"{letter(number)} · {run.label}{views} · seed {run.seed}{state}"))
    return found


def answer_lines(trace: Trace, most: int = 4) -> list[tuple[int, str, str]]:
    """(run, figures, text) of each run's first answers; the others are counted."""
    found = []
    for number, run in enumerate(trace.runs):
        for place, answer in enumerate(run.answers[:most]):
            length = trace.nodes[answer.node].depth
            figures = (
                f"■ {letter(number)}{place + 1}  score {score_text(answer.score)} · "
                f"Σ log p {score_text(answer.logprob)} · {length} tokens · ended by {answer.finish}"
            )
            found.append((number, figures, answer.text))
        if len(run.answers) > most:
            found.append((number, f"{letter(number)}  +{len(run.answers) - most} more answers", ""))
    return found
