"""One step as a picture: the likeliest next tokens before and after the views, the chosen ones, and what was cut by
which view. After the histograms of Labonne's article on decoding strategies (2023), with each view's share told apart.
"""

from __future__ import annotations

import math
from xml.sax.saxutils import escape

from palmette.core.errors import UsageError
from palmette.tokens.trace.marks import letter, percent
from palmette.tokens.trace.palette import hue, shade
from palmette.tokens.trace.svg import MONO, text_at
from palmette.tokens.trace.values import Expansion, Look, Trace
from palmette.tokens.trace.visible import cells, clean, printable, shown, wrap

__all__ = ["to_histogram"]

MARGIN, ROW, LABEL, BAR, WIDTH = 24.0, 19.0, 190.0, 420.0, 980.0
MUTED = "#555555"


def to_histogram(trace: Trace, node: int = 0, run: int = 0) -> str:
    """Draw the distribution after `node` as run `run` saw it, as SVG.

    A row is a candidate: the pale bar the model's probability, the dark one what it is after the views; a filled
    circle marks tokens the run chose here, and a removed one names the view that cut it. A line is drawn under the
    last row above which nothing was cut.

    Raises:
        UsageError: if that run never looked at that node.
    """
    here = trace.nodes[node]
    looks = here.expansion.looks if here.expansion else ()
    look = next((found for found in looks if found.run == run), None)
    if here.expansion is None or look is None:
        raise UsageError(f"run {letter(run)} chose nothing after node {node}; it has no histogram there")
    head, y = _head(trace, node, run, here.expansion, look)
    rows, y = _rows(trace, node, run, here.expansion, look, y)
    foot, y = _foot(here.expansion, look, y + 12)
    named = f"Step {here.depth + 1} of run {letter(run)}"
    height = y + MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {WIDTH:.0f} {height:.0f}" role="img" aria-label="{named}" font-family="{MONO}">\n'
        f'<title>{escape(named)}</title>\n<rect width="{WIDTH:.0f}" height="{height:.0f}" fill="#ffffff"/>\n'
        + "\n".join([*head, *rows, *foot])
        + "\n</svg>\n"
    )


def _head(trace: Trace, node: int, run: int, expansion: Expansion, look: Look) -> tuple[list[str], float]:
    here = trace.nodes[node]
    said = "".join(n.bytes.decode("utf-8", "backslashreplace") for n in trace.path(node))
    text = clean(printable(trace.prompt + said))
    room = int((WIDTH - 2 * MARGIN) / (14 * 0.61))
    y = MARGIN + 12
    out = [text_at(MARGIN, y, f"step {here.depth + 1} · {letter(run)} · {clean(trace.runs[run].label)}", 16, bold=True)]
    y += 24
    for line in wrap(text if cells(text) <= 2 * room else "…" + text[-2 * room + 2 :], room, 2):
        out.append(text_at(MARGIN, y, line, 14))
        y += 19
    y += 4
    out.append(
        text_at(MARGIN, y, f"entropy {expansion.entropy:.2f} nats, after the views {look.entropy:.2f}", 12, MUTED)
    )
    y += 18
    signs = "pale bar: the model · dark bar: after the views · ● chosen · ✕ removed by the view named"
    out.append(text_at(MARGIN, y, signs, 11, MUTED))
    return out, y + 14


def _rows(trace: Trace, node: int, run: int, expansion: Expansion, look: Look, y: float) -> tuple[list[str], float]:
    chosen = {child.token for child in trace.children(node) if any(v.run == run and v.kept for v in child.visits)}
    cut_by = {place: stage.view for stage in look.stages for place in stage.removed}
    present = [math.exp(c.logprob) for c in expansion.candidates]
    after = [0.0 if lp is None else math.exp(lp) for lp in look.logprobs]
    largest = max([*present, *after, 1e-12])
    first = min(cut_by, default=None)
    out: list[str] = []
    for place, candidate in enumerate(expansion.candidates):
        if place == first:
            out.append(
                f'<path d="M{MARGIN:g} {y + 1:.1f}H{WIDTH - MARGIN:g}" stroke="#1b1b1b" stroke-width="1.2" '
                'stroke-dasharray="2 3" fill="none"/>'
            )
        removed = cut_by.get(place)
        label = wrap(shown(candidate.bytes, candidate.name), int((LABEL - 20) / (12 * 0.61)), 1)[0]
        picked = candidate.token in chosen
        out.append(text_at(MARGIN, y + 14, "●" if picked else "✕" if removed else " ", 12, hue(run)))
        out.append(text_at(MARGIN + 18, y + 14, label, 12, MUTED if removed else "#1b1b1b", bold=picked))
        left = MARGIN + LABEL
        out += _bar(left, y + 3, present[place] / largest * BAR, 13, "#c9d6dc")
        out += _bar(left, y + 6, after[place] / largest * BAR, 7, hue(run) if picked else shade(0.72))
        note = percent(candidate.logprob)
        note += f"  cut by {removed}" if removed else f" → {percent(look.logprobs[place])}" if look.stages else ""
        end = left + max(present[place], after[place]) / largest * BAR + 8
        out.append(text_at(end, y + 14, note, 11, MUTED))
        y += ROW
    return out, y


def _bar(x: float, y: float, width: float, height: float, fill: str) -> list[str]:
    if width < 0.05:
        return []
    return [f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.2f}" height="{height:.1f}" fill="{fill}"/>']


def _foot(expansion: Expansion, look: Look, y: float) -> tuple[list[str], float]:
    lines = [f"all other tokens together: {percent(math.log(expansion.rest)) if expansion.rest > 0 else '0 %'}"]
    for number, stage in enumerate(look.stages, 1):
        mass = percent(math.log(stage.removed_mass)) if stage.removed_mass > 0 else "0 %"
        lines.append(f"{number}. {stage.view}: {stage.kept} candidates left, {mass} of the mass removed")
    out = []
    for line in lines:
        out.append(text_at(MARGIN, y + 12, line, 12, MUTED))
        y += 18
    return out, y
