"""Which entities are one: links that can be taken back, never a merge.

A rule looks at one block at a time: all entities that share a key, and the one entity of which a text says that it is
also called so. A block's links are a function of its members alone, so they come out the same in whatever order
documents were added, and after a removal as if the document had never been there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from palmette.core.errors import BadParameter
from palmette.knowledge.names import alike, blocked, marks_of
from palmette.knowledge.store.base import Database, batches, marks

__all__ = ["apart", "clusters", "members", "resolve", "same", "suggestions"]

_RULE = "rule:"
_Member = tuple[int, str, str]  # number, name, type


def resolve(db: Database, keys: Sequence[str] | None = None) -> None:
    """Write anew the links that follow from these keys, or from all."""
    if keys is None:
        db.run("DELETE FROM link WHERE source LIKE 'rule:%'")
        shared = "SELECT key FROM entity WHERE literal = 0 GROUP BY key HAVING count(*) > 1"
        keys = sorted({k for (k,) in db.rows(f"{shared} UNION SELECT key FROM alias")})
    for some in batches(keys):
        inside = f"IN ({marks(len(some))})"
        db.run(f"DELETE FROM link WHERE source {inside}", [_RULE + k for k in some])
        own: dict[str, list[_Member]] = defaultdict(list)
        named: dict[str, list[_Member]] = defaultdict(list)
        columns = "e.id, e.name, e.type"
        for key, *member in db.rows(f"SELECT e.key, {columns} FROM entity e WHERE e.literal = 0 AND e.key {inside}", some):
            own[key].append((member[0], member[1], member[2]))
        joined = f"SELECT DISTINCT l.key, {columns} FROM alias l JOIN entity e ON e.id = l.entity WHERE l.key {inside}"
        for key, *member in db.rows(joined, some):
            named[key].append((member[0], member[1], member[2]))
        rows = [
            (min(a, b), max(a, b), "same", _RULE + key)
            for key in some
            if len(own[key]) + len(named[key]) > 1
            for a, b in _pairs(own[key], named[key])
        ]
        db.load("link", ("a", "b", "kind", "source"), rows)


def _pairs(own: list[_Member], named: list[_Member]) -> list[tuple[int, int]]:
    """The links of one block: its members of one type and one set of numbers, and the thing that is also called so."""
    own = sorted(own, key=lambda m: (m[1], m[2]))
    types = {t for _, _, t in own if t}
    groups: dict[tuple[str, tuple[str, ...]], list[_Member]] = defaultdict(list)
    for member in own:
        # With one type in the block, what has no type is of that type; with several, nobody can say.
        kind = member[2] if len(types) > 1 else ""
        groups[kind, marks_of(member[1])].append(member)
    pairs = [(group[0][0], other[0]) for group in groups.values() for other in group[1:]]
    outside = [m for m in named if m[0] not in {i for i, _, _ in own}]
    if len(outside) == 1 and len(groups) == 1 and own:
        known = types | ({outside[0][2]} if outside[0][2] else set())
        if len(known) <= 1:
            pairs.append((own[0][0], outside[0][0]))
    return pairs


def same(db: Database, a: int, b: int) -> None:
    """Say that two entities are one. Taken back by `apart`."""
    _say(db, a, b, "same")


def apart(db: Database, a: int, b: int) -> None:
    """Say that two entities are two, whatever a rule makes of them. Taken back by `same`."""
    _say(db, a, b, "apart")


def _say(db: Database, a: int, b: int, kind: str) -> None:
    if a == b:
        raise BadParameter("an entity is itself; a link needs two")
    with db.writing():
        pair = (min(a, b), max(a, b))
        db.run("DELETE FROM link WHERE a = ? AND b = ? AND source = 'user'", pair)
        db.load("link", ("a", "b", "kind", "source"), [(*pair, kind, "user")])


def clusters(links: Iterable[tuple[int, int, str, str]]) -> dict[int, int]:
    """The smallest member of the cluster of every linked entity.

    The user's links count before a rule's; a link that would join two that the user told apart is left out.
    """
    ordered = sorted(links, key=lambda link: (link[3] != "user", link))
    enemies = [(a, b) for a, b, kind, _ in ordered if kind == "apart"]
    group: dict[int, set[int]] = {}
    for a, b, kind, _ in ordered:
        left, right = group.setdefault(a, {a}), group.setdefault(b, {b})
        if kind != "same" or left is right:
            continue
        if any((x in left and y in right) or (y in left and x in right) for x, y in enemies):
            continue
        left |= right
        for member in right:
            group[member] = left
    return {i: min(members) for i, members in group.items()}


def members(db: Database, entity: int) -> list[int]:
    """All entities that are the same as this one, itself included, ascending."""
    found, edge = {entity}, [entity]
    links: dict[tuple[int, int, str, str], None] = {}
    while edge:
        rows = []
        for some in batches(edge):
            inside = f"IN ({marks(len(some))})"
            sql = f"SELECT a, b, kind, source FROM link WHERE a {inside} OR b {inside}"
            rows += db.rows(sql, [*some, *some])
        if not rows:
            break
        links |= dict.fromkeys((a, b, kind, source) for a, b, kind, source in rows)
        reached = {i for a, b, kind, _ in rows for i in (a, b) if kind == "same"}
        edge = sorted(reached - found)
        found |= reached
    if not links:
        return [entity]
    of = clusters(links)
    return sorted(i for i in found if of.get(i, i) == of.get(entity, entity))


def suggestions(db: Database, *, least: float = 0.75, most: int = 100) -> list[tuple[str, str, float]]:
    """Pairs of names that might be one, for a person to decide: alike by trigrams, and not stopped by numbers or types.

    Nothing is linked. Names are compared where they share a word, the commonest words left aside.
    """
    blocks: dict[str, list[tuple[str, str]]] = defaultdict(list)
    rows = db.rows("SELECT name, type, key FROM entity WHERE literal = 0 ORDER BY name, type")
    for name, type_, key in rows:
        for word in dict.fromkeys(key.split()):
            blocks[word].append((name, type_))
    pairs: dict[tuple[str, str], float] = {}
    for block in blocks.values():
        if len(block) > 50:
            continue
        for i, (a, type_a) in enumerate(block):
            for b, type_b in block[i + 1 :]:
                if a != b and (a, b) not in pairs and not blocked(a, b, type_a, type_b):
                    pairs[a, b] = alike(a, b)
    close = [(a, b, round(score, 3)) for (a, b), score in pairs.items() if least <= score < 1]
    return sorted(close, key=lambda p: (-p[2], p))[:most]
