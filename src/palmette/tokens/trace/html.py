"""The tree as one page: open it from the disk, no network, no server, nothing that a model's text could set in motion.

The page is text and pictures made here, so that it says everything without scripts as well; its own script adds looking
closer: pan and zoom, the histogram and the pipeline of each step, comparing two runs. The policy in its head allows
exactly this script and this style sheet, by their hashes.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import math
from html import escape
from importlib import resources
from typing import Any

from palmette.tokens.trace.layout import Limits, layout
from palmette.tokens.trace.marks import letter, percent, score_text
from palmette.tokens.trace.palette import hue, ink, pattern, shade
from palmette.tokens.trace.strands import answer_lines
from palmette.tokens.trace.svg import HATCH, tree_svg
from palmette.tokens.trace.terminal import level
from palmette.tokens.trace.values import Expansion, Trace, TraceNode
from palmette.tokens.trace.visible import clean, pieces, printable, shown

__all__ = ["to_html"]

SCRIPTS = ("dom.js", "tree.js", "step.js", "compare.js", "main.js")
LEVELS = 17
WHOLE = Limits(boxes=1500, fold=False)
FOLDED = Limits(boxes=400, fold=True)


def to_html(trace: Trace) -> str:
    """Draw a trace as a page of its own.

    >>> from palmette.tokens.matrix import MatrixEngine
    >>> from palmette.tokens.decode import decode
    >>> trace = decode(MatrixEngine([[0.2, 0.8], [0.5, 0.5]]), "a", max_tokens=2).run().trace
    >>> to_html(trace).startswith("<!doctype html>")
    True
    """
    style, script = _style(), _script()
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    title = escape(clean(trace.prompt)[:70])
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{title} · Palmette</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f"{_header(trace)}\n{_tree(trace)}\n{_rest(trace)}\n"
        f'<script type="application/json" id="data">{_embedded(page_data(trace))}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def page_data(trace: Trace) -> dict[str, Any]:
    """What the script needs: figures rounded to six digits, each token's text once."""
    tokens = {n.token: shown(n.bytes, n.name) for n in trace.nodes[1:]}
    raw = {n.token: n.bytes.hex(" ") for n in trace.nodes[1:]}
    for node in trace.nodes:
        for c in node.expansion.candidates if node.expansion else ():
            tokens.setdefault(c.token, shown(c.bytes, c.name))
    return {
        "tokens": tokens,
        "bytes": raw,
        "texts": [text for text, _ in pieces(trace)],
        "runs": [
            {
                "letter": letter(i),
                "label": clean(run.label),
                "hue": hue(i),
                "answers": [[a.node, _round(a.score), _round(a.logprob), a.finish] for a in run.answers],
            }
            for i, run in enumerate(trace.runs)
        ],
        "nodes": [_node(node) for node in trace.nodes],
    }


def _node(node: TraceNode) -> dict[str, Any]:
    visits = [[v.run, v.step, _round(v.logprob), _round(v.score), int(v.kept)] for v in node.visits]
    data: dict[str, Any] = {"p": node.parent, "t": node.token, "l": _round(node.logprob), "r": node.rank, "v": visits}
    if node.expansion is not None:
        data["x"] = _expansion(node.expansion)
    return data


def _expansion(expansion: Expansion) -> dict[str, Any]:
    return {
        "h": _round(expansion.entropy),
        "rest": _round(expansion.rest),
        "t": [c.token for c in expansion.candidates],
        "l": [_round(c.logprob) for c in expansion.candidates],
        "looks": [
            {
                "run": look.run,
                "h": _round(look.entropy),
                "l": [_round(lp) for lp in look.logprobs],
                "stages": [[s.view, s.kept, _round(s.removed_mass), list(s.removed)] for s in look.stages],
            }
            for look in expansion.looks
        ],
    }


def _round(value: float | None) -> float | str | None:
    if value is None or math.isfinite(value):
        return None if value is None else float(f"{value:.6g}")
    return "∞" if value > 0 else "−∞"


def _embedded(data: dict[str, Any]) -> str:
    """JSON that no HTML parser takes for markup, whatever is in it."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode("utf-8", "backslashreplace").decode()


def _header(trace: Trace) -> str:
    model = f"{escape(clean(trace.model))} · " if trace.model else ""
    plural = "" if len(trace.runs) == 1 else "s"
    runs = "\n".join(_run(trace, number) for number in range(len(trace.runs)))
    return (
        f'<header>\n<p class="kicker">Token tree</p>\n<h1 dir="auto">{escape(printable(trace.prompt))}</h1>\n'
        f'<p class="muted">{model}{len(trace.tokens)} prompt tokens · {len(trace.nodes) - 1} tokens in the tree · '
        f"{len(trace.runs)} run{plural}</p>\n</header>\n"
        f'<section class="runs" aria-label="Runs and their answers">\n{runs}\n</section>'
    )


def _run(trace: Trace, number: int) -> str:
    run = trace.runs[number]
    views = f"views: {escape(clean(', '.join(run.views)))} · " if run.views else ""
    lines = [line for line in answer_lines(trace, most=100) if line[0] == number]
    body = '<p class="muted">not finished</p>'
    if run.answers:
        body = (
            f'<p class="answer" dir="auto">{_coloured(trace, number)}</p>\n<p class="figures">{escape(lines[0][1])}</p>'
        )
    if len(lines) > 1:
        others = "".join(
            f'<li><span class="figures">{escape(figures)}</span><br>'
            f'<span dir="auto">{escape(printable(text))}</span></li>'
            for _, figures, text in lines[1:]
        )
        body += (
            f'\n<details><summary>{len(run.answers) - 1} more answers</summary><ol start="2">{others}</ol></details>'
        )
    return (
        f'<article class="run">\n<h2>{_swatch(number)}<span class="letter">{letter(number)}</span> '
        f'{escape(clean(run.label))}</h2>\n<p class="muted">{views}seed {run.seed}</p>\n{body}\n</article>'
    )


def _coloured(trace: Trace, number: int) -> str:
    """The best answer, each token a button that tells its probability."""
    found = []
    for node in trace.path(trace.runs[number].answers[0].node):
        text = printable(node.bytes.decode("utf-8", "backslashreplace")) if node.bytes else shown(b"", node.name)
        place = round(level(node.logprob) * (LEVELS - 1))
        said = f"{shown(node.bytes, node.name)}: {percent(node.logprob)}, rank {node.rank}"
        found.append(f'<span class="token l{place}" data-node="{node.id}" title="{escape(said)}">{escape(text)}</span>')
    return "".join(found)


def _swatch(number: int) -> str:
    dash = f' stroke-dasharray="{pattern(number)}"' if pattern(number) else ""
    return (
        '<svg class="swatch" width="30" height="10" viewBox="0 0 30 10" aria-hidden="true">'
        f'<path d="M0 5h30" stroke="{hue(number)}" stroke-width="4"{dash}/></svg>'
    )


def _tree(trace: Trace) -> str:
    whole, folded = layout(trace, WHOLE), layout(trace, FOLDED)
    drawings = []
    for name, drawn in (("folded", folded), ("whole", whole)):
        note = f"{drawn.hidden} of the tokens are hidden here, counted in their boxes" if drawn.hidden else ""
        drawings.append(f'<div class="drawing" id="{name}" data-hidden="{note}">{tree_svg(drawn)}</div>')
    start = "folded" if len(trace.nodes) > 65 else "whole"
    scale = "".join(f'<span class="l{k}"></span>' for k in range(LEVELS))
    return (
        f'<svg width="0" height="0" class="defs" aria-hidden="true">{HATCH}</svg>\n'
        '<main>\n<section class="tree" aria-labelledby="tree-title">\n'
        '<div class="bar"><h2 id="tree-title">The tree</h2>'
        f'<div class="tools" id="tools" data-start="{start}"></div></div>\n'
        f"{''.join(drawings)}\n"
        '<p class="muted legend">bold strand: best answer · ◆ best answers part · ■ an answer ends · dashed and '
        "hatched: pruned, ✕ with the step and score at which it was given up · a → b: probability before and after the "
        "views</p>\n"
        f'<p class="muted legend" aria-hidden="true">probability <span class="scale">{scale}</span> 0.01 % to 100 %, '
        "as the answers are coloured; boxes are coloured evenly from 0 to 100 %</p>\n</section>\n"
        '<section class="step" id="step" aria-labelledby="step-title" tabindex="-1"><h2 id="step-title">The step</h2>'
        '<p class="muted">With scripts allowed, this part shows each step: the likeliest tokens before and after the '
        "views, and which view removed which.</p></section>\n</main>"
    )


def _rest(trace: Trace) -> str:
    rows = []
    for number, run in enumerate(trace.runs):
        for node in trace.path(run.answers[0].node) if run.answers else ():
            visit = next((v for v in node.visits if v.run == number), None)
            after = percent(visit.logprob) if visit else ""
            score = score_text(visit.score) if visit else ""
            cells = [letter(number), str(node.depth), shown(node.bytes, node.name), percent(node.logprob), after]
            cells += [f"{node.logprob:.3f}", str(node.rank), score]
            rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    heads = ("run", "step", "token", "p", "p after views", "log p", "rank", "score")
    head = "".join(f'<th scope="col">{h}</th>' for h in heads)
    return (
        '<section id="compare" aria-labelledby="compare-title" hidden><h2 id="compare-title">Two runs compared</h2>'
        "</section>\n"
        '<section class="table"><details><summary>The best answers as a table</summary><div class="scroll">'
        f"<table><thead><tr>{head}</tr></thead><tbody>\n{chr(10).join(rows)}\n</tbody></table></div></details>"
        '</section>\n<footer class="muted">Made by Palmette. <span class="hint">In the tree: arrow keys move, + and − '
        "zoom, 0 fits, Enter shows the step.</span></footer>"
    )


@functools.cache
def _style() -> str:
    fills = (shade(k / (LEVELS - 1)) for k in range(LEVELS))
    levels = "".join(f".l{k}{{background:{fill};color:{ink(fill)}}}" for k, fill in enumerate(fills))
    return "\n" + _read("page.css") + levels + "\n"


@functools.cache
def _script() -> str:
    return "\n(() => {\n'use strict';\n" + "\n".join(_read(name) for name in SCRIPTS) + "})();\n"


def _read(name: str) -> str:
    return resources.files("palmette.tokens.trace.page").joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
