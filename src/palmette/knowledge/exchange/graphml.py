"""GraphML, as Gephi, yEd and networkx read it: a node for each thing, an edge for each fact."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

from palmette.core.errors import BadParameter
from palmette.knowledge.store.read import facts
from palmette.knowledge.store.store import Store
from palmette.knowledge.values import Entity, Statement

__all__ = ["read", "write"]

_SPACE = "http://graphml.graphdrawing.org/xmlns"
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_KEYS = (("name", "node"), ("type", "node"), ("literal", "node"), ("relation", "edge"), ("support", "edge"))


def write(store: Store) -> Iterator[str]:
    """The facts as GraphML; characters that XML cannot hold are written as U+FFFD."""
    yield f'<?xml version="1.0" encoding="UTF-8"?>\n<graphml xmlns="{_SPACE}">\n'
    for name, kind in _KEYS:
        type_ = {"literal": "boolean", "support": "int"}.get(name, "string")
        yield f'<key id="{name}" for="{kind}" attr.name="{name}" attr.type="{type_}"/>\n'
    yield '<graph edgedefault="directed">\n'
    numbers: dict[Entity, int] = {}
    for fact in facts(store):
        for entity in (fact.subject, fact.object):
            if entity not in numbers:
                numbers[entity] = len(numbers)
                data = _data(name=entity.name, type=entity.type, literal=str(entity.literal).lower())
                yield f'<node id="n{numbers[entity]}">{data}</node>\n'
        ends = f'source="n{numbers[fact.subject]}" target="n{numbers[fact.object]}"'
        data = _data(relation=fact.relation, support=str(fact.support))
        yield f"<edge id={quoteattr(fact.id)} {ends}>{data}</edge>\n"
    yield "</graph>\n</graphml>\n"


def _data(**values: str) -> str:
    # A carriage return or a tab would come back as a space or a line feed, if it stood there as itself.
    kept = {k: escape(_FORBIDDEN.sub("\ufffd", v), {"\r": "&#13;"}) for k, v in values.items()}
    return "".join(f'<data key="{k}">{v}</data>' for k, v in kept.items())


def read(store: Store, text: str) -> int:
    """Facts from GraphML with these keys; edges without a relation are called "related to"."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise BadParameter("this GraphML declares entities of its own, which nothing here needs; it is not read")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise BadParameter(f"this is no GraphML: {error}") from None
    names = {k.get("id", ""): k.get("attr.name", "") for k in root.iter(f"{{{_SPACE}}}key")}
    things: dict[str, Entity] = {}
    for node in root.iter(f"{{{_SPACE}}}node"):
        data = _read(node, names)
        number = node.get("id", "")
        things[number] = Entity(
            data.get("name") or data.get("label") or number, data.get("type", ""), data.get("literal") == "true"
        )
    try:
        said = [
            Statement(
                things[edge.get("source", "")],
                _read(edge, names).get("relation") or "related to",
                things[edge.get("target", "")],
            )
            for edge in root.iter(f"{{{_SPACE}}}edge")
        ]
    except KeyError as error:
        raise BadParameter(f"an edge of this GraphML ends at {error}, which is no node of it") from None
    return store.say(said, model="graphml")


def _read(element: ElementTree.Element, names: dict[str, str]) -> dict[str, str]:
    found = element.iter(f"{{{_SPACE}}}data")
    return {names.get(d.get("key", ""), d.get("key", "")): d.text or "" for d in found}
