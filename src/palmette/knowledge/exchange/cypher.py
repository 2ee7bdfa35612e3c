"""A Cypher script for Neo4j, Memgraph and Kuzu's kin: every name is a quoted string and every type and relation a
property.

So no label and no relation type is ever made of a document's words, and no word of a document is ever read as Cypher.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from palmette.core.errors import BadParameter
from palmette.knowledge.store.read import facts
from palmette.knowledge.store.store import Store
from palmette.knowledge.values import Entity, Statement

__all__ = ["read", "write"]

_STRING = r"'((?:[^'\\]|\\.)*)'"
_NODE = rf"\((?:\w*):Thing \{{name: {_STRING}, type: {_STRING}, literal: (true|false)\}}\)"
_FACT = re.compile(
    rf"MATCH {_NODE}, {_NODE} MERGE \(a\)-\[:FACT \{{id: {_STRING}, relation: {_STRING}, "
    r"support: (\d+)\}\]->\(b\);"
)


def write(store: Store) -> Iterator[str]:
    """Nodes first, then facts; running it twice changes nothing."""
    yield "CREATE CONSTRAINT thing IF NOT EXISTS FOR (t:Thing) REQUIRE (t.name, t.type, t.literal) IS UNIQUE;\n"
    seen: set[Entity] = set()
    found = facts(store)
    for fact in found:
        for entity in (fact.subject, fact.object):
            if entity not in seen:
                seen.add(entity)
                yield f"MERGE (:Thing {_properties(entity)});\n"
    for fact in found:
        edge = f"{{id: {_quoted(fact.id)}, relation: {_quoted(fact.relation)}, support: {fact.support}}}"
        ends = f"(a:Thing {_properties(fact.subject)}), (b:Thing {_properties(fact.object)})"
        yield f"MATCH {ends} MERGE (a)-[:FACT {edge}]->(b);\n"


def _properties(entity: Entity) -> str:
    literal = str(entity.literal).lower()
    return f"{{name: {_quoted(entity.name)}, type: {_quoted(entity.type)}, literal: {literal}}}"


def _quoted(text: str) -> str:
    """A string of Cypher: quotes, backslashes and what is no printable character are escaped."""
    out = []
    for c in text:
        if c in "'\\":
            out.append(f"\\{c}")
        elif ord(c) < 32 or c in "\x7f\u2028\u2029\x85":
            out.append(f"\\u{ord(c):04x}")
        else:
            out.append(c)
    return f"'{''.join(out)}'"


def _plain(text: str) -> str:
    return re.sub(
        r"\\(u[0-9a-f]{4}|.)", lambda m: chr(int(m[1][1:], 16)) if m[1][0] == "u" and len(m[1]) > 1 else m[1], text
    )


def read(store: Store, text: str) -> int:
    """Facts from a script that `write` made; other Cypher is refused."""
    said = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line or line.startswith(("CREATE CONSTRAINT", "MERGE (:Thing {", "//")):
            continue
        found = _FACT.fullmatch(line)
        if found is None:
            raise BadParameter(f"line {number} is no fact as this program writes it: {json.dumps(line[:120])}")
        a, at, al, b, bt, bl, _, relation, _ = found.groups()
        ends = [Entity(_plain(n), _plain(t), v == "true") for n, t, v in ((a, at, al), (b, bt, bl))]
        said.append(Statement(ends[0], _plain(relation), ends[1]))
    return store.say(said, model="cypher")
