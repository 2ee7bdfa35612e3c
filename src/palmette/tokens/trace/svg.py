"""The tree as SVG: the tokens with their probabilities before and after the views, pruned ones hatched with the step
and score at which they died, each run's best answer as a bold strand, and where two runs part. No library is needed.

Every text is made visible (`visible.py`) and escaped; the file holds no script, style sheet or link.
"""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from palmette.tokens.trace.boxes import SIZES, Box
from palmette.tokens.trace.layout import Layout, Limits, layout
from palmette.tokens.trace.marks import letter, percent, score_text
from palmette.tokens.trace.palette import hue, ink, pattern
from palmette.tokens.trace.strands import (
    Color,
    Strand,
    answer_lines,
    check_color,
    fills,
    legend,
    run_lines,
    strands,
)
from palmette.tokens.trace.values import Trace
from palmette.tokens.trace.visible import cells, clean, wrap

__all__ = ["HATCH", "MONO", "text_at", "to_svg", "tree_svg"]

MONO = "'DejaVu Sans Mono', ui-monospace, Menlo, Consolas, 'Liberation Mono', monospace"
MARGIN = 24.0
DARK, MUTED = "#1b1b1b", "#555555"
SIGNS = (
    "bold strand: best answer of a run     ◆ best answers part here     ■ an answer ends here",
    "dashed and hatched: pruned     ✕ step in which it was given up, and its score",
    "a → b: probability before and after the views     ␣ space   ⏎ newline   \\x.. bytes that are no character",
)
HATCH = (
    '<defs><pattern id="palmette-hatch" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><path d="M0 0V6" stroke="#000" stroke-opacity="0.22" stroke-width="1.6"/>'
    "</pattern></defs>"
)


def to_svg(trace: Trace, color: Color = "probability", limits: Limits | None = None) -> str:
    """Draw a trace.

    Args:
        trace: what to draw.
        color: what the boxes' colour means: the model's "probability", the "run", or the strategy's "score".
        limits: how much to show; what is left out is counted in its box.

    >>> from palmette.tokens.matrix import MatrixEngine
    >>> from palmette.tokens.decode import decode
    >>> trace = decode(MatrixEngine([[0.2, 0.8], [0.5, 0.5]]), "a", max_tokens=2).run().trace
    >>> to_svg(trace).startswith("<svg")
    True
    """
    check_color(color)
    drawn = layout(trace, limits)
    wide = max(drawn.width, 720.0)
    head, top = _head(drawn, color, min(wide, 1180.0))
    tree = _tree(drawn, color, top)
    foot, bottom = _foot(trace, top + drawn.height + 34, min(wide, 1180.0))
    width, height = wide + 2 * MARGIN, bottom + MARGIN
    named = f"Token tree of {len(trace.nodes) - 1} tokens after the prompt {clean(trace.prompt)[:80]}"
    body = "\n".join([*head, *tree, *foot])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label={quoteattr(named)} '
        f'font-family="{MONO}">\n<title>{escape(named)}</title>\n'
        f"{HATCH}\n"
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def tree_svg(drawn: Layout, color: Color = "probability") -> str:
    """The tree alone, for a page that has title, legend, answers and the definition of `HATCH` itself."""
    width, height = drawn.width + 2 * MARGIN, drawn.height + 2 * MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" data-width="{width:.0f}" '
        f'data-height="{height:.0f}" font-family="{MONO}">\n' + "\n".join(_tree(drawn, color, MARGIN)) + "\n</svg>"
    )


def text_at(x: float, y: float, text: str, size: float, fill: str = DARK, bold: bool = False, anchor: str = "") -> str:
    """A line of text. Where glyphs may come from other fonts its width is fixed, so that it cannot leave its box."""
    more = ' font-weight="bold"' if bold else ""
    more += f' text-anchor="{anchor}"' if anchor else ""
    if not text.isascii() and cells(text) > 1:
        more += f' textLength="{cells(text) * size * 0.602:.1f}" lengthAdjust="spacingAndGlyphs"'
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" fill="{fill}" xml:space="preserve" '
        f'unicode-bidi="plaintext"{more}>{escape(text)}</text>'
    )


def _head(drawn: Layout, color: Color, width: float) -> tuple[list[str], float]:
    """Title, runs and legend, and the y at which the tree begins."""
    trace = drawn.sheet.trace
    out: list[str] = []
    y = MARGIN + 14
    for line in wrap(clean(trace.prompt), int(width / (18 * 0.61)), 3):
        out.append(text_at(MARGIN, y, line, 18, bold=True))
        y += 24
    hidden = f" · {drawn.hidden} of them hidden, counted in their boxes" if drawn.hidden else ""
    model = f"{clean(trace.model)} · " if trace.model else ""
    out.append(text_at(MARGIN, y, f"{model}{len(trace.nodes) - 1} tokens in the tree{hidden}", 12, MUTED))
    y += 24
    for run, line in run_lines(trace):
        out.append(
            f'<path d="M{MARGIN:g} {y - 4:.1f}h34" stroke="{hue(run)}" stroke-width="3" '
            f'stroke-dasharray="{pattern(run) or "none"}"/>'
        )
        for part in wrap(clean(line), int((width - 44) / (13 * 0.61)), 3):
            out.append(text_at(MARGIN + 44, y, part, 13))
            y += 18
    out += _bar(drawn, color, y + 4)
    y += 58
    for sign in SIGNS:
        out.append(text_at(MARGIN, y, sign, 11, MUTED))
        y += 16
    y += 14
    for step, left in enumerate(drawn.columns[1:], 1):
        out.append(text_at(MARGIN + left, y, f"step {step}", 11, MUTED))
    return out, y + (10 if drawn.columns else 0)


def _bar(drawn: Layout, color: Color, y: float) -> list[str]:
    title, ticks, colours = legend(drawn, color)
    out = [text_at(MARGIN, y + 8, title, 11, MUTED)]
    if not ticks:
        return out
    size = 320.0
    stops = "".join(f'<stop offset="{i / (len(colours) - 1):g}" stop-color="{c}"/>' for i, c in enumerate(colours))
    out.append(f'<linearGradient id="palmette-scale">{stops}</linearGradient>')
    out.append(
        f'<rect x="{MARGIN:g}" y="{y + 14:.1f}" width="{size:g}" height="12" rx="2" fill="url(#palmette-scale)" '
        'stroke="#777" stroke-width="0.6"/>'
    )
    for place, text in ticks:
        anchor = "start" if place == 0 else "end" if place == 1 else "middle"
        out.append(text_at(MARGIN + place * size, y + 38, text, 11, MUTED, anchor=anchor))
    return out


def _tree(drawn: Layout, color: Color, top: float) -> list[str]:
    out = [f'<g transform="translate({MARGIN:g} {top:.1f})">']
    out += [_strand(s) for s in strands(drawn)]
    out += [_box(drawn, box, fill) for box, fill in zip(drawn.boxes, fills(drawn, color), strict=True)]
    return [*out, "</g>"]


def _strand(s: Strand) -> str:
    rise = s.to_y - s.y
    if abs(rise) < 0.5:
        d = f"M{s.x:.1f} {s.y:.1f}H{s.to_x:.1f}"
    elif abs(rise) < 14:
        d = f"M{s.x:.1f} {s.y:.1f}H{s.turn - 6:.1f}L{s.turn + 6:.1f} {s.to_y:.1f}H{s.to_x:.1f}"
    else:
        bend = 7 if rise > 0 else -7
        d = (
            f"M{s.x:.1f} {s.y:.1f}H{s.turn - 7:.1f}Q{s.turn:.1f} {s.y:.1f} {s.turn:.1f} {s.y + bend:.1f}"
            f"V{s.to_y - bend:.1f}Q{s.turn:.1f} {s.to_y:.1f} {s.turn + 7:.1f} {s.to_y:.1f}H{s.to_x:.1f}"
        )
    dash = f' stroke-dasharray="{s.dash}"' if s.dash else ""
    return f'<path d="{d}" fill="none" stroke="{s.colour}" stroke-width="{s.width:g}"{dash}/>'


def _box(drawn: Layout, box: Box, fill: str) -> str:
    pruned, best = box.status == "pruned", bool(box.best)
    x, y = box.x, box.y - box.height / 2
    frame = f'x="{x:.1f}" y="{y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="5"'
    line = "#1b1b1b" if best else "#555" if box.status == "answer" else "#888"
    stroke = f'stroke="{line}" stroke-width="{2.2 if best else 1.2:g}"' + (' stroke-dasharray="4 3"' if pruned else "")
    nodes = " ".join(map(str, box.nodes))
    out = [
        f'<g class="box {box.status}" data-nodes="{nodes}"><title>{escape(describe(drawn, box))}</title>',
        f'<rect {frame} fill="{fill}" {stroke}/>',
    ]
    if pruned:
        out.append(f'<rect {frame} fill="url(#palmette-hatch)"/>')
    colour = ink(fill)
    left = x + SIZES["pad"]
    if box.kind == "slim":
        shift = cells(box.lines[0]) * SIZES["slim"] * SIZES["cell"] + SIZES["pad"]
        out.append(text_at(left, box.y + 4, box.lines[0], SIZES["slim"], colour))
        out.append(text_at(left + shift, box.y + 4, box.captions[0], SIZES["caption"], colour))
        return "".join([*out, "</g>"])
    y += SIZES["inset"]
    for number, text in enumerate(box.lines):
        small = box.kind == "prompt" and number == 0
        out.append(
            text_at(left, y + 13, text, SIZES["caption"] if small else SIZES["token"], colour, best and not small)
        )
        y += SIZES["line"]
    for text in box.captions:
        out.append(text_at(left, y + 10, text, SIZES["caption"], colour))
        y += SIZES["note"]
    if box.nodes[-1] in drawn.sheet.marks.parts:
        at = box.x + box.width + 8
        out.append(
            f'<path d="M{at:.1f} {box.y - 8:.1f}l8 8l-8 8l-8 -8z" fill="#fff" stroke="#1b1b1b" stroke-width="2"/>'
        )
    return "".join([*out, "</g>"])


def describe(drawn: Layout, box: Box) -> str:
    """Everything about a box in words: the tooltip."""
    if box.kind == "prompt":
        return "the prompt"
    if box.kind == "chain":
        return f"{len(box.nodes)} tokens of a chain; {', '.join(box.captions)}"
    trace = drawn.sheet.trace
    node = trace.nodes[box.nodes[0]]
    said = [f"{box.lines[0]}: token {node.token}, step {node.depth}, rank {node.rank}, {percent(node.logprob)}"]
    for m in drawn.sheet.marks.at[node.id]:
        after = f", {percent(m.visit.logprob)} after its views, score {score_text(m.visit.score)}" if m.visit else ""
        died = f", given up in step {m.died}" if m.died is not None else ""
        said.append(f"run {letter(m.run)} {clean(trace.runs[m.run].label)}: {m.status}{after}{died}")
    return "\n".join(said)


def _foot(trace: Trace, y: float, width: float) -> tuple[list[str], float]:
    """The answers, and where they end."""
    out = []
    for run, figures, text in answer_lines(trace):
        out.append(
            f'<path d="M{MARGIN:g} {y - 4:.1f}h34" stroke="{hue(run)}" stroke-width="3" '
            f'stroke-dasharray="{pattern(run) or "none"}"/>'
        )
        out.append(text_at(MARGIN + 44, y, figures, 12, MUTED))
        y += 19
        for line in wrap(clean(text), int((width - 44) / (14 * 0.61)), 6) if text else []:
            out.append(text_at(MARGIN + 44, y, line, 14))
            y += 19
        y += 7
    return out, y
