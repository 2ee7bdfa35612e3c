"""`palmette graph`: build a knowledge graph, ask it, look at it, take things out of it; one verb a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import click

from palmette.cli.verbs import Verbs

__all__ = ["VERBS", "command"]

VERBS = {
    "build": "Read documents into a store: Markdown, text, HTML, PDF.",
    "ask": "Answer a question with quotes, or say that the store does not.",
    "calibrate": "Learn from questions how sure an answer must be.",
    "communities": "Groups of things that stand close together, with what is said of them.",
    "show": "Show the graph as text, as a page to explore, or as a picture.",
    "path": "The shortest way from one thing to another, with quotes.",
    "query": "Answer a typed query.",
    "remove": "Take documents out, exactly.",
    "export": "Write the graph for other programs, or all of it.",
    "import": "Read an export.",
    "schema": "What may be said in a store: print, propose, set.",
    "conflicts": "What contradicts itself, with quotes.",
    "demo": "The course's lesson on its graph of twenty-two facts.",
}


class Graphs(Verbs):
    """Verbs of a knowledge graph."""

    package, table = "palmette.cli.graph", VERBS
    home: ClassVar[Mapping[str, str]] = {"import": "import_"}  # a word of Python


@click.group("graph", cls=Graphs, short_help="Knowledge graphs: build, ask, show, export.")
def command() -> None:
    """Knowledge graphs whose every fact has its quote, and answers that can only say what is known.

    \b
      palmette graph build notes.db docs/*.md
      palmette graph ask notes.db "Who founded Apple?"
      palmette graph path notes.db iPhone "Steve Jobs"
      palmette graph show notes.db --html notes.html

    STORE is a file, or postgresql://USER@HOST/DATABASE.
    """
