"""The tree as one page: open it from the disk, no network, no server, nothing that a model's text could set in motion.

The page is text made here, so that it says what matters without scripts as well (the tree is then a still picture); its
own script adds looking closer: the tree to pan, zoom and fold, each step's distribution and pipeline, two runs
compared. The policy in its head allows exactly this script and this style sheet, by their hashes.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from html import escape
from importlib import resources

from palmette.tokens.trace.layout import Limits, layout
from palmette.tokens.trace.marks import letter, percent, score_text
from palmette.tokens.trace.page.data import LEVELS, embedded, page_data
from palmette.tokens.trace.palette import hue, ink, pattern, shade
from palmette.tokens.trace.svg import HATCH, tree_svg
from palmette.tokens.trace.terminal import level
from palmette.tokens.trace.values import Answer, Trace
from palmette.tokens.trace.visible import clean, printable, shown

__all__ = ["to_html"]

SCRIPTS = (
    "data.js", "dom.js", "layout.js", "boxes.js", "drawing.js", "tree.js", "gestures.js", "histogram.js", "step.js",
    "texts.js", "toolbar.js", "compare.js", "save.js", "main.js",
)  # fmt: skip
STILL = Limits(boxes=300)
ANSWERS = 100


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
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f"<title>{title} · Palmette</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f"{_header(trace)}\n{_main(trace)}\n{_rest(trace)}\n"
        f'<script type="application/json" id="data">{embedded(page_data(trace))}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def _header(trace: Trace) -> str:
    model = f"{escape(clean(trace.model))} · " if trace.model else ""
    runs = "\n".join(_run(trace, number) for number in range(len(trace.runs)))
    scale = "".join(f'<span class="l{k}"></span>' for k in range(LEVELS))
    return (
        f'<header>\n<p class="kicker">Token tree</p>\n<h1 dir="auto">{escape(printable(trace.prompt))}</h1>\n'
        f'<p class="muted">{model}{_count(len(trace.tokens), "prompt token")} · '
        f"{_count(len(trace.nodes) - 1, 'token')} in the tree · {_count(len(trace.runs), 'run')}</p>\n"
        '<p class="muted legend">probability of a token in the model: <span class="scale-end">0.01 %</span>'
        f'<span class="scale" aria-hidden="true">{scale}</span><span class="scale-end">100 %</span></p>\n</header>\n'
        f'<section class="runs" aria-label="Runs and their answers">\n{runs}\n</section>'
    )


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _run(trace: Trace, number: int) -> str:
    run = trace.runs[number]
    views = "".join(f"<li>{escape(clean(view))}</li>" for view in run.views)
    views = f'<ol class="views" aria-label="Views, in order">{views}</ol>' if views else ""
    head = (
        f'<h2>{_swatch(number)}<span class="letter">{letter(number)}</span> '
        f'<span>{escape(clean(run.label))}</span></h2>\n<p class="muted">seed {run.seed}'
        f"{'' if run.views else ' · no views'}</p>{views}"
    )
    if not run.answers:
        return f'<article class="run">\n{head}\n<p class="muted">not finished</p>\n</article>'
    body = f'{_figures(trace, number, 0)}\n<p class="answer" dir="auto">{_coloured(trace, number)}</p>'
    others = "".join(
        f'<li>{_figures(trace, number, place)}<p class="other" dir="auto">{escape(printable(answer.text))}</p></li>'
        for place, answer in enumerate(run.answers[1:ANSWERS], 1)
    )
    if others:
        more = len(run.answers) - ANSWERS
        uncounted = f'<p class="muted">and {_count(more, "more answer")} in the tree</p>' if more > 0 else ""
        body += (
            f"\n<details><summary>{_count(len(run.answers) - 1, 'more answer')}</summary>"
            f'<ul class="others">{others}</ul>{uncounted}</details>'
        )
    return f'<article class="run">\n{head}\n{body}\n</article>'


def _figures(trace: Trace, number: int, place: int) -> str:
    """One line of figures under which an answer stands; its name becomes a button."""
    answer: Answer = trace.runs[number].answers[place]
    pairs = (
        ("score", score_text(answer.score)),
        ("Σ log p", score_text(answer.logprob)),
        ("tokens", str(trace.nodes[answer.node].depth)),
        ("ended by", answer.finish),
    )
    said = "".join(f"<span>{name} <b>{escape(value)}</b></span> " for name, value in pairs)
    return (
        f'<p class="figures"><span class="pick" data-run="{number}" data-answer="{place}">'
        f"{letter(number)}{place + 1}</span> {said}</p>"
    )


def _coloured(trace: Trace, number: int) -> str:
    """The best answer, each token with the colour of its probability and its figures as a tooltip."""
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


def _main(trace: Trace) -> str:
    still = layout(trace, STILL)
    note = f"{still.hidden} tokens are counted in their boxes. " if still.hidden else ""
    return (
        f'<svg width="0" height="0" class="defs" aria-hidden="true">{HATCH}</svg>\n'
        '<main>\n<section class="tree" aria-labelledby="tree-title">\n'
        '<div class="bar"><h2 id="tree-title">The tree</h2><div class="tools" id="tools"></div></div>\n'
        f'<div id="tree"></div>\n<noscript><div class="still">{tree_svg(still)}</div>'
        f'<p class="muted legend">{note}Here boxes are coloured evenly from 0 to 100 %.</p></noscript>\n'
        '<p class="muted legend">bold strand: a best answer · ◆ best answers part · ■ an answer ends · dashed and '
        "hatched: pruned · ✕ step in which it was given up, and its score · a → b: before and after the views</p>\n"
        '<p class="muted legend hint" id="tree-hint">Drag to pan; the wheel zooms once the tree has the focus, or with '
        "Ctrl. Arrow keys move, + and − zoom, 0 fits, Space folds, Enter shows the step.</p>\n</section>\n"
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
            cells += [score_text(node.logprob), str(node.rank), score]
            rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    heads = ("run", "step", "token", "p", "after views", "log p", "rank", "score")
    head = "".join(f'<th scope="col">{h}</th>' for h in heads)
    return (
        '<section id="compare" aria-labelledby="compare-title" hidden><h2 id="compare-title">Two runs compared</h2>'
        "</section>\n"
        '<section class="table"><details><summary>The best answers as a table</summary><div class="scroll">'
        f'<table class="steps"><caption>Every token of the best answers</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>\n{chr(10).join(rows)}\n</tbody></table></div></details>"
        '</section>\n<footer class="muted"><span>Made by Palmette</span> <span id="save"></span></footer>'
    )


@functools.cache
def _style() -> str:
    fills = (shade(k / (LEVELS - 1)) for k in range(LEVELS))
    levels = "\n".join(  # under a text the bar is thin where the model was sure: what surprised it is what one sees
        f".l{k} {{ --fill: {fill}; --on: {ink(fill)}; --thick: {2 + 0.4 * (LEVELS - 1 - k):.1f}px; }}"
        for k, fill in enumerate(fills)
    )
    return f"\n{_read('page.css')}{levels}\n"


@functools.cache
def _script() -> str:
    return "\n(() => {\n'use strict';\n" + "\n".join(_read(name) for name in SCRIPTS) + "})();\n"


def _read(name: str) -> str:
    return resources.files("palmette.tokens.trace.page").joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
