"""`palmette graph`: build a knowledge graph, ask it, look at it, take things out of it; one verb a file."""

from __future__ import annotations

import importlib

import click

from palmette.core.errors import near_miss

__all__ = ["VERBS", "command"]

VERBS = {
    "build": "Read documents into a store: Markdown, text, HTML, PDF.",
    "ask": "Answer a question with quotes, or say that the store does not.",
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
_HOME = {"import": "import_"}  # a word of Python


class Graphs(click.Group):
    """A group whose commands are modules of this folder."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order of the table."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Load a verb's module."""
        if name not in VERBS:
            return None
        verb = importlib.import_module(f"palmette.cli.graph.{_HOME.get(name, name)}").command
        assert isinstance(verb, click.Command)
        return verb

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb, or name the near miss."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            known = f"palmette graph has {', '.join(VERBS)}"
            raise click.UsageError(f"no verb {args[0]!r}.{near_miss(args[0], VERBS)} {known}.")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs with their lines, without loading them."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


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
