"""A graph in other programs' words, and back: the canonical JSON dump, GraphML, N-Quads, CSV, a Cypher script."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from palmette.core.errors import UnknownName
from palmette.knowledge.exchange import cypher, graphml, nquads, table
from palmette.knowledge.store.dump import canonical, restore
from palmette.knowledge.store.store import Store

__all__ = ["FORMATS", "export", "take"]

FORMATS: Mapping[str, tuple[Callable[[Store], Iterator[str]], Callable[[Store, str], int]]] = {
    "json": (canonical, restore),
    "graphml": (graphml.write, graphml.read),
    "nquads": (nquads.write, nquads.read),
    "csv": (table.write, table.read),
    "cypher": (cypher.write, cypher.read),
}


def export(store: Store, format: str) -> Iterator[str]:
    """The graph as text, piece by piece. json holds all that stands, the others facts with their types."""
    return _format(format)[0](store)


def take(store: Store, text: str, format: str) -> int:
    """Read what `export` wrote; returns how many assertions came in."""
    return _format(format)[1](store, text)


def _format(name: str) -> tuple[Callable[[Store], Iterator[str]], Callable[[Store, str], int]]:
    if name not in FORMATS:
        raise UnknownName("format", name, FORMATS)
    return FORMATS[name]
