"""What the page hands to its script: the trace itself, exactly, each token written once, and the words of its boxes.

`read_page_data` gives the same trace back, so a page that was sent to somebody is also the data. Words that need care
with hostile text or half characters are made here, in Python, and never a second time in the script.
"""

from __future__ import annotations

import json
import math
from typing import Any

from palmette.core.errors import UsageError
from palmette.tokens.trace.boxes import SIZES, Limits, Sheet, boxes_of, node_death, node_notes, node_probability
from palmette.tokens.trace.marks import ORDER, letter
from palmette.tokens.trace.palette import hue, pattern
from palmette.tokens.trace.terminal import FLOOR
from palmette.tokens.trace.values import Answer, Candidate, Expansion, Look, Run, Stage, Trace, TraceNode, Visit
from palmette.tokens.trace.visible import cells, clean, shown, wrap

__all__ = ["FORMAT", "LEVELS", "embedded", "page_data", "read_page_data"]

FORMAT = "palmette.page/1"
LEVELS = 17

Symbol = tuple[int, bytes, str]
Json = dict[str, Any]


def page_data(trace: Trace) -> Json:
    """Everything the script needs, as plain JSON values.

    >>> from palmette.tokens.matrix import MatrixEngine
    >>> from palmette.tokens.decode import decode
    >>> trace = decode(MatrixEngine([[0.2, 0.8], [0.5, 0.5]]), "a", max_tokens=2).run().trace
    >>> read_page_data(page_data(trace)) == trace
    True
    """
    symbols: dict[Symbol, int] = {}
    nodes = [_node(node, symbols) for node in trace.nodes]
    return {
        "format": FORMAT,
        "model": trace.model,
        "prompt": trace.prompt,
        "tokens": list(trace.tokens),
        "runs": [_run(run) for run in trace.runs],
        "nodes": nodes,
        "symbols": [[token, raw.hex(), name] for token, raw, name in symbols],
        "words": _words(trace, list(symbols)),
    }


def read_page_data(raw: Json) -> Trace:
    """The trace of a page's data; `read_page_data(page_data(trace)) == trace`."""
    if raw.get("format") != FORMAT:
        raise UsageError(f"not a page's data: format is {raw.get('format')!r}, expected {FORMAT!r}")
    symbols = [(token, bytes.fromhex(data), name) for token, data, name in raw["symbols"]]
    nodes: list[TraceNode] = []
    for number, (parent, symbol, logprob, rank, visits, expansion) in enumerate(raw["nodes"]):
        depth = nodes[parent].depth + 1 if parent >= 0 else 0
        seen = tuple(_read_visit(visit) for visit in visits)
        spread = None if expansion is None else _read_expansion(expansion, symbols)
        token, data, name = symbols[symbol]
        nodes.append(TraceNode(number, parent, token, data, name, depth, float(logprob), rank, seen, spread))
    runs = tuple(
        Run(label, tuple(views), seed, tuple(Answer(n, t, float(s), float(lp), f) for n, t, s, lp, f in answers))
        for label, views, seed, answers in raw["runs"]
    )
    return Trace(raw["model"], raw["prompt"], tuple(raw["tokens"]), runs, tuple(nodes))


def embedded(data: Json) -> str:
    """JSON in which no HTML parser finds markup and no character steers anything, whatever the tokens are."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    for character in "<>&\x7f":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _number(value: float) -> float | str:
    """JSON has no infinities: they are written as words."""
    return value if math.isfinite(value) else str(value)


def _run(run: Run) -> list[Any]:
    answers = [[a.node, a.text, _number(a.score), _number(a.logprob), a.finish] for a in run.answers]
    return [run.label, list(run.views), run.seed, answers]


def _node(node: TraceNode, symbols: dict[Symbol, int]) -> list[Any]:
    visits = [
        [v.run, v.step, None if v.logprob is None else _number(v.logprob), _number(v.score), v.kept]
        for v in node.visits
    ]
    symbol = symbols.setdefault((node.token, node.bytes, node.name), len(symbols))
    expansion = None if node.expansion is None else _expansion(node.expansion, symbols)
    return [node.parent, symbol, _number(node.logprob), node.rank, visits, expansion]


def _expansion(expansion: Expansion, symbols: dict[Symbol, int]) -> list[Any]:
    places = [symbols.setdefault((c.token, c.bytes, c.name), len(symbols)) for c in expansion.candidates]
    logprobs = [c.logprob for c in expansion.candidates]
    looks = [
        [
            look.run,
            look.entropy,
            # a run without views sees the model's own figures: they are not written twice
            None if list(look.logprobs) == logprobs else list(look.logprobs),
            [[s.view, s.kept, s.removed_mass, list(s.removed)] for s in look.stages],
        ]
        for look in expansion.looks
    ]
    return [expansion.entropy, expansion.rest, places, [_number(lp) for lp in logprobs], looks]


def _read_visit(raw: list[Any]) -> Visit:
    run, step, logprob, score, kept = raw
    return Visit(run, step, None if logprob is None else float(logprob), float(score), kept)


def _read_expansion(raw: list[Any], symbols: list[Symbol]) -> Expansion:
    entropy, rest, places, logprobs, looks = raw
    found = (symbols[place] for place in places)
    candidates = tuple(
        Candidate(token, data, name, float(lp)) for (token, data, name), lp in zip(found, logprobs, strict=True)
    )
    own = tuple(c.logprob for c in candidates)
    seen = tuple(
        Look(run, h, tuple(Stage(v, k, m, tuple(r)) for v, k, m, r in stages), own if after is None else tuple(after))
        for run, h, after, stages in looks
    )
    return Expansion(entropy, candidates, rest, seen)


def _words(trace: Trace, symbols: list[Symbol]) -> Json:
    """What boxes, lists and legends say. Per node: fate, runs whose best answer passes, captions, fate in each run."""
    sheet = Sheet(trace)
    marks = sheet.marks
    tokens = [shown(raw, name) if token >= 0 else "" for token, raw, name in symbols]
    lines = [wrap(text, int(SIZES["wrap"]), 2) for text in tokens]
    root = boxes_of(Sheet(trace, Limits(boxes=1)))[0]
    return {
        "root": [list(root.lines), root.width, root.height],
        "runs": [[letter(i), clean(run.label), hue(i), pattern(i)] for i, run in enumerate(trace.runs)],
        "views": {view: clean(view) for view in _views(trace)},
        "tokens": tokens,
        "widths": [max(map(cells, found)) for found in lines],
        "lines": {i: found for i, found in enumerate(lines) if len(found) > 1},
        "pieces": {
            node.id: [clean(text), cells(clean(text))]
            for node, (text, _) in zip(trace.nodes, sheet.texts, strict=True)
            if node.bytes and text.encode("utf-8", "replace") != node.bytes
        },
        "texts": [text for text, _ in sheet.texts],
        "open": {i: rest for i, (_, rest) in enumerate(sheet.texts) if rest},
        "nodes": [
            [
                ORDER.index(marks.status(node.id)),
                list(marks.best[node.id]),
                node_probability(sheet, node.id) if node.id else "",
                node_death(sheet, node.id),
                node_notes(sheet, node.id),
                int(node.id in marks.parts),
                [[m.run, ORDER.index(m.status), m.died] for m in marks.at[node.id]],
            ]
            for node in trace.nodes
        ],
        "sizes": SIZES,
        "floor": FLOOR,
        "levels": LEVELS,
    }


def _views(trace: Trace) -> list[str]:
    """The names of all views, in order of appearance."""
    looks = (look for node in trace.nodes if node.expansion for look in node.expansion.looks)
    return list(dict.fromkeys(stage.view for look in looks for stage in look.stages))
