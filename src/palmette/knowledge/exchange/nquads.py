"""N-Quads (W3C): a fact is a triple, the document that says it the graph's name; names and types are triples of their
own.

Things and relations become IRIs under urn:palmette:, their names percent-encoded, so that any name makes the round
trip.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote, unquote

from palmette.core.errors import BadParameter
from palmette.knowledge.store.read import assertions
from palmette.knowledge.store.store import Store
from palmette.knowledge.values import Entity, Statement

__all__ = ["read", "write"]

_LABEL = "<http://www.w3.org/2000/01/rdf-schema#label>"
_TYPE = "<http://www.w3.org/1999/02/22-rdf-syntax-ns#type>"
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
_BACK = {v[1]: k for k, v in _ESCAPES.items()}
_LINE = re.compile(
    r'\s*<([^>]*)>\s+<([^>]*)>\s+(?:<([^>]*)>|"((?:[^"\\]|\\.)*)"(?:\^\^<([^>]*)>|@[\w-]+)?)\s*(?:<([^>]*)>|_:\S+)?\s*\.\s*(?:#.*)?'
)


def write(store: Store) -> Iterator[str]:
    """Every assertion as a quad, sorted; the same twice is there once."""
    seen: set[str] = set()
    for said in assertions(store):
        fact = said.fact
        place = f" <{_iri('document', said.quote.document)}>" if said.quote else ""
        lines = [f"<{_thing(fact.subject)}> <{_iri('relation', fact.relation)}> {_object(fact.object)}{place} .\n"]
        for entity in (fact.subject, fact.object):
            if not entity.literal:
                lines.append(f"<{_thing(entity)}> {_LABEL} {_text(entity.name)} .\n")
                if entity.type:
                    lines.append(f"<{_thing(entity)}> {_TYPE} <{_iri('type', entity.type)}> .\n")
        for line in lines:
            if line not in seen:
                seen.add(line)
                yield line


def _iri(kind: str, name: str) -> str:
    return f"urn:palmette:{kind}:{quote(name, safe='')}"


def _thing(entity: Entity) -> str:
    return _iri("thing", entity.name) + (f":{quote(entity.type, safe='')}" if entity.type else "")


def _object(entity: Entity) -> str:
    if not entity.literal:
        return f"<{_thing(entity)}>"
    return _text(entity.name) + (f"^^<{_iri('type', entity.type)}>" if entity.type else "")


def _text(value: str) -> str:
    return '"' + "".join(_ESCAPES.get(c, c) for c in value) + '"'


def read(store: Store, text: str) -> int:
    """Facts from N-Quads or N-Triples; IRIs of others are taken by their labels, or by their last part."""
    rows, labels, types = [], dict[str, str](), dict[str, str]()
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            raise BadParameter(f"line {number} is no N-Quad: {line[:120]!r}")
        s, p, o, literal, kind, _ = found.groups()
        value = None if literal is None else _plain(literal)
        if f"<{p}>" == _LABEL and value is not None:
            labels[s] = value
        elif f"<{p}>" == _TYPE and o is not None:
            types[s] = _last(o)
        else:
            rows.append((s, p, o, value, kind))
    said = []
    for s, p, o, value, kind in rows:
        end = Entity(value, _last(kind or ""), True) if value is not None else _entity(o, labels, types)
        said.append(Statement(_entity(s, labels, types), _last(p), end))
    return store.say(said, model="nquads")


def _entity(iri: str, labels: dict[str, str], types: dict[str, str]) -> Entity:
    return Entity(labels.get(iri) or _last(iri), types.get(iri, ""))


def _last(iri: str) -> str:
    """The name that an IRI ends with."""
    if iri.startswith("urn:palmette:"):
        return unquote(iri.split(":")[3])
    return unquote(re.split(r"[/#:]", iri.rstrip("/#"))[-1]).replace("_", " ")


def _plain(text: str) -> str:
    def back(found: re.Match[str]) -> str:
        code = found[1]
        return chr(int(code[1:], 16)) if code[0] in "uU" else _BACK.get(code, code)

    return re.sub(r"\\(u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)", back, text, flags=re.DOTALL)
