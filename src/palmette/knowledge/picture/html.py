"""A graph as one page: open it from the disk; no network, no server, nothing that a document's text could set in
motion.

Without scripts the page is a picture and a list of facts with their quotes. Its own script adds looking closer. The
policy in its head allows exactly this script and this style sheet, by their hashes, and no request at all.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Iterable
from html import escape
from importlib import resources

from palmette.knowledge.picture.drawing import THINGS, Drawing, drawn
from palmette.knowledge.picture.svg import colours, to_svg
from palmette.knowledge.values import Fact
from palmette.tokens.trace.page.data import embedded
from palmette.tokens.trace.visible import printable

__all__ = ["to_html"]

LISTED = 3000  # facts on the page


def to_html(facts: Iterable[Fact], *, title: str = "Knowledge graph", lead: str = "", most: int = THINGS) -> str:
    """Draw facts as a page of their own.

    Args:
        facts: with their quotes, if they are to be seen.
        title: of the page.
        lead: what it begins with, such as an answer.
        most: things in the picture.
    """
    given = list(facts)
    drawing = drawn(given, most=most)
    style, script = _read("graph.css"), f"\n(() => {{\n'use strict';\n{_read('graph.js')}}})();\n"
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    said = f'<p class="lead" dir="auto">{escape(printable(lead))}</p>' if lead else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{escape(printable(title))} · Palmette</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f'<header>\n<p class="kicker">Knowledge graph</p>\n<h1 dir="auto">{escape(printable(title))}</h1>\n'
        f'<p class="muted">{_count(drawing.things, "thing")}, {_count(drawing.facts, "fact")}{_cut(drawing)}</p>\n'
        f"{said}</header>\n"
        f'<main>\n<section class="picture" aria-label="Picture">{to_svg(drawing, page=True)}</section>\n'
        f'<section class="side" aria-label="Facts">\n<ul class="facts">\n{_facts(given)}</ul>\n</section>\n</main>\n'
        f'<script type="application/json" id="data">{embedded(_data(drawing, given))}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _cut(drawing: Drawing) -> str:
    shown = len(drawing.spots)
    return f" · the picture shows the {shown} best connected" if shown < drawing.things else ""


def _facts(facts: list[Fact]) -> str:
    lines = []
    for number, fact in enumerate(facts[:LISTED]):
        quotes = "".join(
            f'<blockquote dir="auto">{escape(printable(q.text))} '
            f"<cite>{escape(printable(q.document))} {q.start}–{q.end}</cite></blockquote>"
            for q in fact.quotes
        )
        names = (f"<b>{escape(printable(n))}</b>" for n in (fact.subject.name, fact.object.name))
        said = f" <i>{escape(printable(fact.relation))}</i> ".join(names)
        lines.append(f'<li data-fact="{number}" dir="auto">{said}{quotes}</li>\n')
    if len(facts) > LISTED:
        lines.append(f'<li class="muted">and {len(facts) - LISTED:,} more in the store</li>\n')
    return "".join(lines)


def _data(drawing: Drawing, facts: list[Fact]) -> dict[str, object]:
    number = {fact: i for i, fact in enumerate(facts[:LISTED])}
    fills = colours(drawing)
    spots = [
        [s.entity.name, s.entity.type, s.x, s.y, s.width, fills[s.entity.type, s.entity.literal], s.degree]
        for s in drawing.spots
    ]
    bonds = [[b.a, b.b, [number[f] for f, _ in b.facts if f in number]] for b in drawing.bonds]
    ends = [[f.subject.name, f.object.name] for f in facts[:LISTED]]
    return {"spots": spots, "bonds": bonds, "facts": ends, "size": [drawing.width, drawing.height]}


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@functools.cache
def _read(name: str) -> str:
    return resources.files("palmette.knowledge.picture.page").joinpath(name).read_text("utf-8")
