"""The knowledge graph as tools, over whatever can tell the facts of a name: a store of triples, or a plain list."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from palmette.core.errors import near_miss
from palmette.prompts.tools.tool import FunctionTool, tool

__all__ = ["Facts", "graph_tools"]

Triple = tuple[str, str, str]


class Facts(Protocol):
    """A graph, as far as a tool needs it."""

    def facts(self, name: str) -> Iterable[Triple]:
        """The triples in which a name stands first or last."""
        ...

    def names(self) -> Iterable[str]:
        """All names."""
        ...


class _Listed:
    def __init__(self, triples: Sequence[Triple]) -> None:
        self._triples = triples

    def facts(self, name: str) -> Iterable[Triple]:
        return (each for each in self._triples if name in (each[0], each[2]))

    def names(self) -> Iterable[str]:
        return dict.fromkeys(part for each in self._triples for part in (each[0], each[2]))


def graph_tools(graph: Facts | Sequence[Triple], *, most: int = 30) -> list[FunctionTool]:
    """Tools `facts(name)` and `find(text)` over a knowledge graph.

    Args:
        graph: anything with `facts` and `names`, or a list of (subject, relation, object).
        most: the most lines of an answer.

    >>> facts, find = graph_tools([("Runa", "lives in", "Tolby"), ("Leo", "friend of", "Runa")])
    >>> facts("Runa")
    '(Runa | lives in | Tolby)\\n(Leo | friend of | Runa)'
    """
    held: Facts = _Listed(graph) if isinstance(graph, Sequence) else graph

    def facts(name: str) -> str:
        """Tell what is known of a name: its relations to others.

        Args:
            name: as `find` gives it.
        """
        lines = [f"({s} | {r} | {o})" for s, r, o in held.facts(name)]
        return _told(lines, most) or f"Nothing is known of {name!r}.{near_miss(name, held.names())}"

    def find(text: str) -> str:
        """Find names that hold a text.

        Args:
            text: a part of the name.
        """
        wanted: Callable[[str], bool] = lambda name: text.lower() in name.lower()  # noqa: E731
        return _told(sorted(filter(wanted, held.names())), most) or f"No name holds {text!r}."

    return [tool(facts, effect="read"), tool(find, effect="read")]


def _told(lines: Sequence[str], most: int) -> str:
    more = f"\n({len(lines) - most} more)" if len(lines) > most else ""
    return "\n".join(lines[:most]) + more
