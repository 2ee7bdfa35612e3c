"""Loading many facts at once: names become numbers in memory, rows are sorted, indexes are built once at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import BadParameter
from palmette.knowledge.names import key_of
from palmette.knowledge.store.base import batches, inside
from palmette.knowledge.store.links import resolve
from palmette.knowledge.store.store import Store, now
from palmette.knowledge.store.tables import INDEXES
from palmette.knowledge.values import Entity

__all__ = ["load"]

Triple = tuple[str, str, str]
_LATE = ("assertion_ops", "entity_key", "entity_name")


def load(
    store: Store,
    triples: Iterable[Triple],
    *,
    model: str = "import",
    types: Callable[[str], str] | None = None,
    recorded_at: str = "",
) -> int:
    """Load triples of names that no document makes: one transaction; a triple given twice is loaded once.

    Args:
        store: where to.
        triples: subject, relation, object.
        model: who says so.
        types: the type of a name; without it none has one.
        recorded_at: the time; now by default.

    Returns:
        how many assertions were loaded.
    """
    with store.db.writing():
        empty = not store.db.rows("SELECT 1 FROM assertion LIMIT 1")
        ids: dict[Entity, int] = {
            Entity(n, t, bool(v)): i for i, n, t, v in store.db.rows("SELECT id, name, type, literal FROM entity")
        }
        names = {e.name: i for e, i in ids.items() if not e.literal and e.type == (types(e.name) if types else "")}
        relations: dict[str, int] = dict(store.db.rows("SELECT name, id FROM relation"))
        known = (len(names), len(relations))
        numbered = _numbered(triples, names, relations, (store._take("entity", 0), store._take("relation", 0)))
        rows = _sorted(np.fromiter(chain.from_iterable(numbered), np.int64).reshape(-1, 3))
        new_names, new_relations = list(names)[known[0] :], list(relations)[known[1] :]
        store._take("entity", len(new_names))
        store._take("relation", len(new_relations))
        _check(chain(new_names, new_relations))
        if empty:
            for index in _LATE:
                store.db.run(f"DROP INDEX {index}")
        else:
            rows = _unsaid(store, rows, model)
        fresh = ((names[n], n, types(n) if types else "", 0, key_of(n)) for n in new_names)
        store.db.load("entity", ("id", "name", "type", "literal", "key"), fresh)
        store.db.load("relation", ("id", "name"), ((relations[n], n) for n in new_relations))
        maker = store._number("maker", {"model": model, "recipe": "", "recorded_at": recorded_at or now()})
        first = store._take("assertion", len(rows))
        columns = [*(rows[:, i].tolist() for i in range(3)), range(first, first + len(rows))]
        fixed = {"maker": maker, "confidence": 1.0}
        store.db.load("assertion", ("s", "p", "o", "id"), zip(*columns, strict=True), fixed)
        if empty:
            for index in _LATE:
                store.db.run(INDEXES[index])
        resolve(store.db, None if len(new_names) > 10_000 else sorted({key_of(n) for n in new_names}))
    return len(rows)


def _numbered(
    triples: Iterable[Triple], names: dict[str, int], relations: dict[str, int], first: tuple[int, int]
) -> Iterator[tuple[int, int, int]]:
    """Triples of numbers; new names are given the next ones."""
    next_name, next_relation = first
    for triple in triples:
        if isinstance(triple, str) or len(triple) != 3:
            raise BadParameter(f"a triple is (subject, relation, object), not {triple!r}")
        s, p, o = triple
        subject = names.get(s)
        if subject is None:
            subject = names[s] = next_name
            next_name += 1
        object = names.get(o)
        if object is None:
            object = names[o] = next_name
            next_name += 1
        relation = relations.get(p)
        if relation is None:
            relation = relations[p] = next_relation
            next_relation += 1
        yield subject, relation, object


def _sorted(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows in order, each once: int64[n, 3]."""
    rows = rows[np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))]
    new = np.ones(len(rows), bool)
    new[1:] = (rows[1:] != rows[:-1]).any(1)
    return rows[new]


def _unsaid(store: Store, rows: NDArray[np.int64], model: str) -> NDArray[np.int64]:
    """Those of the triples that nobody of this name has said outside a document and without times."""
    said: set[tuple[int, int, int]] = set()
    for some in batches(np.unique(rows[:, 0]).tolist()):
        among, ids = inside(some)
        sql = (
            f"SELECT s, p, o FROM assertion WHERE s {among} AND chunk IS NULL AND retracted_at IS NULL AND "
            "valid_from IS NULL AND valid_to IS NULL AND maker IN (SELECT id FROM maker WHERE model = ?)"
        )
        said.update(store.db.rows(sql, [*ids, model]))
    return rows[np.fromiter((tuple(row) not in said for row in rows.tolist()), bool, len(rows))] if said else rows


def _check(names: Iterable[str]) -> None:
    for name in names:
        if not isinstance(name, str) or not name.strip() or "\x00" in name:
            raise BadParameter(f"a name of visible characters is needed, not {name!r}")
