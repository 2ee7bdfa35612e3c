"""The canonical dump: JSON, one line for each thing that stands, sorted; without times of the run, and without what was
retracted. Two stores that know the same have the same bytes; a dump read back gives the same dump again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from palmette.core.errors import BadParameter
from palmette.knowledge.documents.read import hash_of
from palmette.knowledge.schema import Schema
from palmette.knowledge.store.links import same
from palmette.knowledge.store.store import Known, Part, Store, now
from palmette.knowledge.values import Entity, Mention, Piece, Statement

__all__ = ["FORMAT", "canonical", "restore"]

FORMAT = 1
_SAID = (
    "SELECT es.name, es.type, r.name, eo.name, eo.type, eo.literal, d.name, c.first, a.first, a.last, m.model, "
    "a.confidence, a.valid_from, a.valid_to FROM assertion a JOIN entity es ON es.id = a.s "
    "JOIN relation r ON r.id = a.p JOIN entity eo ON eo.id = a.o "
    "JOIN maker m ON m.id = a.maker LEFT JOIN chunk c ON c.id = a.chunk "
    "LEFT JOIN document d ON d.id = c.document WHERE a.retracted_at IS NULL"
)


def canonical(store: Store) -> Iterator[str]:
    """The dump, piece by piece."""
    yield "{\n" + f'"palmette graph": {FORMAT},\n"schema": {store.schema.text()},\n'
    for name, lines in (
        ("documents", _documents(store)),
        ("entities", _entities(store)),
        ("aliases", _aliases(store)),
        ("links", _links(store)),
        ("assertions", _assertions(store)),
    ):
        yield f'"{name}": ['
        between = "\n"
        for line in lines:
            yield between + line
            between = ",\n"
        yield "\n]" + (",\n" if name != "assertions" else "\n}\n")


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "))


def _documents(store: Store) -> Iterator[str]:
    for known in store.documents():
        rows = store.db.rows(
            "SELECT c.id, c.first, c.last, c.text FROM chunk c JOIN document d ON d.id = c.document WHERE d.name = ? "
            "ORDER BY c.first", (known.name,),
        )  # fmt: skip
        parts = []
        for chunk, first, last, text in rows:
            found = store.db.rows(
                "SELECT m.first, m.last, e.name, e.type FROM mention m JOIN entity e ON e.id = m.entity "
                "WHERE m.chunk = ?",
                (chunk,),
            )
            parts.append({"start": first, "end": last, "text": text, "mentions": sorted(map(list, found))})
        yield _line(
            {"name": known.name, "title": known.title, "hash": known.hash, "recipe": known.recipe, "chunks": parts}
        )


def _entities(store: Store) -> Iterator[str]:
    rows = store.db.rows("SELECT name, type, literal FROM entity")
    yield from (_line([n, t, bool(v)]) for n, t, v in sorted(rows))


def _aliases(store: Store) -> Iterator[str]:
    rows = store.db.rows(
        "SELECT e.name, e.type, l.surface, d.name, c.first FROM alias l JOIN entity e ON e.id = l.entity "
        "LEFT JOIN chunk c ON c.id = l.chunk LEFT JOIN document d ON d.id = c.document"
    )
    yield from sorted(map(_line, map(list, rows)))


def _links(store: Store) -> Iterator[str]:
    rows = store.db.rows(
        "SELECT x.name, x.type, y.name, y.type, l.kind, l.source FROM link l JOIN entity x ON x.id = l.a "
        "JOIN entity y ON y.id = l.b"
    )
    yield from sorted(_line([*sorted([[a, s], [b, t]]), kind, source]) for a, s, b, t, kind, source in rows)


def _assertions(store: Store) -> Iterator[str]:
    rows = store.db.rows(_SAID)
    lines = []
    for s, st, p, o, ot, literal, document, base, first, last, model, confidence, start, end in rows:
        place = None if document is None else [document, base, first, last]
        lines.append(_line([[s, st], p, [o, ot, bool(literal)], place, model, confidence, start, end]))
    yield from sorted(lines)


def restore(store: Store, dump: str | Mapping[str, Any], *, recorded_at: str = "") -> int:
    """Put a dump into a store; documents of the same names are replaced.

    Returns:
        how many assertions came in.

    Raises:
        BadParameter: for what is no dump, or one of a later format.
    """
    try:
        whole = json.loads(dump) if isinstance(dump, str) else dump
    except ValueError as error:
        raise BadParameter(f"this is no whole dump: {error}; nothing was changed") from None
    try:
        found = whole["palmette graph"]
    except (KeyError, TypeError):
        raise BadParameter('this is no dump of a graph: it has no "palmette graph" in it') from None
    if found != FORMAT:
        raise BadParameter(f"the dump has format {found!r}, and this Palmette reads {FORMAT}")
    try:
        return _restored(store, whole, recorded_at or now())
    except (KeyError, TypeError, ValueError) as error:
        raise BadParameter(f"the dump is damaged: {error!r}; nothing was changed") from error


def _restored(store: Store, whole: Mapping[str, Any], at: str) -> int:
    said: dict[tuple[str | None, int, str], list[Statement]] = {}
    for (s, st), p, (o, ot, literal), place, model, confidence, start, end in whole["assertions"]:
        document, base, first, last = place or (None, 0, 0, 0)
        statement = Statement(Entity(s, st), p, Entity(o, ot, literal), first, last, confidence, start, end)
        said.setdefault((document, base, model), []).append(statement)
    aliases: dict[tuple[str | None, int], list[tuple[Entity, str]]] = {}
    for name, type_, surface, document, base in whole["aliases"]:
        aliases.setdefault((document, base or 0), []).append((Entity(name, type_), surface))
    makers = {(d, m) for d, _, m in said if d is not None}
    with store.db.writing():
        if whole["schema"]["types"] or whole["schema"]["relations"]:
            store.schema = Schema.read(whole["schema"])
        for d in whole["documents"]:
            model = next((m for name, m in sorted(makers, key=str) if name == d["name"]), "none")
            parts = [
                Part(
                    Piece(c["start"], c["end"], c["text"]), hash_of(c["text"]),
                    said.get((d["name"], c["start"], model), ()),
                    [Mention(Entity(n, t), a, b) for a, b, n, t in c["mentions"]],
                    aliases.get((d["name"], c["start"]), ()),
                )
                for c in d["chunks"]
            ]  # fmt: skip
            store.add_document(Known(d["name"], d["title"], d["hash"], d["recipe"], at), parts, model=model)
        for (document, _, model), statements in sorted(said.items(), key=lambda item: str(item[0])):
            if document is None:
                store.say(statements, model=model, recorded_at=at)
        for entity, surface in aliases.get((None, 0), ()):
            store.name(entity, surface)
        for (a, s), (b, t), kind, source in whole["links"]:
            if source == "user":
                ids = store.numbers([Entity(a, s), Entity(b, t)])
                same(store.db, *ids, kind=kind)
    return sum(map(len, said.values()))
