"""The tree and the coloured text for a terminal. No control character of a model's text reaches it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from palmette.tokens.trace.boxes import Box, Limits, Sheet, boxes_of
from palmette.tokens.trace.marks import letter, percent
from palmette.tokens.trace.palette import hue, ink, shade
from palmette.tokens.trace.strands import answer_lines, run_lines
from palmette.tokens.trace.values import Trace, TraceNode
from palmette.tokens.trace.visible import cells, clean, printable, shown, wrap

__all__ = ["color_text", "scale_line", "to_terminal", "token_table"]

RESET, BOLD, DIM = "\x1b[0m", "\x1b[1m", "\x1b[2m"
FLOOR = math.log(1e-4)
LIMITS = Limits(boxes=60, fold=True)


def to_terminal(trace: Trace, width: int = 100, color: bool = True, limits: Limits = LIMITS) -> str:
    """Draw a trace with line-drawing characters, best answers bold and named by their run's letter.

    Args:
        trace: what to draw.
        width: cells in a line.
        color: whether escape sequences for colours may be used.
        limits: how much to show; what is left out is counted in its line.

    >>> from palmette.tokens.matrix import MatrixEngine
    >>> from palmette.tokens.decode import decode
    >>> from palmette.tokens.strategies import greedy
    >>> engine = MatrixEngine([[0.1, 0.9, 0.0], [0.2, 0.0, 0.8], [0.0, 0.0, 1.0]], eos=2)
    >>> print(to_terminal(decode(engine, "a", greedy()).run().trace, color=False))
    A · greedy() · seed 0
    <BLANKLINE>
    a
    └─ A b«c»  2 tokens · 80 % … 90 % · Σ log p −0.329 · ■ A1 eos −0.329
    <BLANKLINE>
    ■ A1  score −0.329 · Σ log p −0.329 · 2 tokens · ended by eos
        b
    """
    sheet = Sheet(trace, limits)
    boxes = boxes_of(sheet)
    out = [_paint(line, BOLD + _front(hue(run)) if color else "") for run, line in run_lines(trace)]
    out += ["", *wrap(clean(trace.prompt), width)]
    for box, lead, under in _branches(boxes):
        out += _lines(sheet, box, _clipped(lead, width), _clipped(under, width), width, color)
    out.append("")
    for run, figures, text in answer_lines(trace):
        out.append(_paint(figures, _front(hue(run)) if color else ""))
        out += ["    " + line for line in wrap(clean(text), width - 4)] if text else []
    hidden = sum(box.hidden for box in boxes)
    if hidden:
        out.append(f"{hidden} of {len(trace.nodes) - 1} tokens are hidden here; --tree FILE.html shows them all")
    return "\n".join(out)


def color_text(pieces: Iterable[tuple[str, float]], color: bool = True) -> str:
    """Text whose background tells its log-probability: pale is unlikely, dark is certain.

    >>> color_text([("so", -0.1), (" it\\x07", -3.0)], color=False)
    'so it\\\\x07'
    """
    return "".join(_paint(printable(text), _behind(level(logprob)) if color else "") for text, logprob in pieces)


def scale_line(color: bool = True) -> str:
    """The legend of `color_text`."""
    ticks = (1.0, 0.1, 0.01, 0.001, 0.0001)
    return "  ".join(_paint(f" {percent(math.log(p))} ", _behind(level(math.log(p))) if color else "") for p in ticks)


def token_table(path: Sequence[TraceNode]) -> str:
    """One line for each token: text, probability, log-probability and rank, as the model alone sees it."""
    rows = [(shown(n.bytes, n.name), percent(n.logprob), f"{n.logprob:.3f}", str(n.rank)) for n in path]
    rows.insert(0, ("token", "p", "log p", "rank"))
    wide = [max(cells(row[i]) for row in rows) for i in range(4)]
    return "\n".join(
        row[0] + " " * (wide[0] - cells(row[0])) + "".join(f"  {row[i]:>{wide[i]}}" for i in (1, 2, 3)) for row in rows
    )


def level(logprob: float) -> float:
    """Where a log-probability lies on the scale: 1 for certain, 0 for 1e-4 and below, even steps for each factor."""
    return max(0.0, 1.0 - logprob / FLOOR) if logprob > -math.inf else 0.0


def _branches(boxes: Sequence[Box]) -> list[tuple[Box, str, str]]:
    """Each box but the prompt's with what stands before its first line and before the lines under it."""
    last: dict[int, int] = {box.parent: number for number, box in enumerate(boxes)}
    under = {0: ""}
    found = []
    for number, box in enumerate(boxes[1:], 1):
        ends = last[box.parent] == number
        above = under[box.parent]
        under[number] = above + ("   " if ends else "│  ")
        more = "│  " if number in last else "   "
        found.append((box, above + ("└─ " if ends else "├─ "), under[number] + more))
    return found


def _lines(sheet: Sheet, box: Box, lead: str, under: str, width: int, color: bool) -> list[str]:
    text = clean("".join(sheet.texts[n][0] for n in box.nodes)) + sheet.texts[box.nodes[-1]][1]
    if len(box.nodes) == 1:
        node = sheet.trace.nodes[box.nodes[0]]
        text = shown(node.bytes, node.name)
    runs = "".join(map(letter, box.best))
    sign = f"{runs} " if runs else "✕ " if box.status == "pruned" else ""
    room = max(16, width - cells(lead) - cells(sign))
    lines = wrap(text, room)
    notes = wrap(" · ".join(box.captions), max(16, width - cells(under)))
    style = (BOLD if runs else "") + _behind(math.exp(box.logprob)) if color else ""
    out = [lead + sign + _paint(lines[0], style)]
    out += [under + " " * cells(sign) + _paint(line, style) for line in lines[1:]]
    joined = cells(lead + sign + lines[0]) + 2 + cells(notes[0])
    if len(lines) == len(notes) == 1 and joined <= width:
        out[0] += "  " + _paint(notes[0], DIM if color else "")
    else:
        out += [under + _paint(line, DIM if color else "") for line in notes]
    return out


def _clipped(lead: str, width: int) -> str:
    """Indentation that leaves two fifths of the line for the text."""
    most = width * 3 // 5
    return lead if len(lead) <= most else "…" + lead[len(lead) - most + 1 :]


def _paint(text: str, style: str) -> str:
    return f"{style}{text}{RESET}" if style else text


def _behind(value: float) -> str:
    fill = shade(value)
    return f"\x1b[48;2;{_channels(fill)};38;2;{_channels(ink(fill))}m"


def _front(colour: str) -> str:
    return f"\x1b[38;2;{_channels(colour)}m"


def _channels(colour: str) -> str:
    return ";".join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))
