"""Which entities are one: links that can be taken back, never a merge.

A rule looks at one block at a time: all entities that share a key, and the one entity of which a text says that it is
also called so. A block's links are a function of its members alone, so they come out the same in whatever order
documents were added, and after a removal as if the document had never been there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from palmette.core.errors import BadParameter
from palmette.knowledge.names import alike, blocked, marks_of
from palmette.knowledge.store.base import Database, batches, marks

__all__ = ["Same", "clusters", "resolve", "same", "suggestions", "unlink"]

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
        for key, *member in db.rows(
            f"SELECT e.key, {columns} FROM entity e WHERE e.literal = 0 AND e.key {inside}", some
        ):
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


def same(db: Database, a: int, b: int, *, kind: Literal["same", "apart"] = "same") -> None:
    """Say that two entities are one, or that they are two whatever a rule makes of them; the last word counts."""
    if a == b:
        raise BadParameter("an entity is itself; a link needs two")
    with db.writing():
        pair = (min(a, b), max(a, b))
        db.run("DELETE FROM link WHERE a = ? AND b = ? AND source = 'user'", pair)
        db.load("link", ("a", "b", "kind", "source"), [(*pair, kind, "user")])


def unlink(db: Database, a: int, b: int) -> int:
    """Take back what a person said of two entities; the rules' links are as they would be without it."""
    with db.writing():
        return db.run("DELETE FROM link WHERE a = ? AND b = ? AND source = 'user'", (min(a, b), max(a, b)))


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


class Same:
    """Which entities are one, read anew whenever the store has changed."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._stamp: object = None
        self._of: dict[int, int] = {}
        self._members: dict[int, list[int]] = {}

    def one(self, entity: int) -> int:
        """The smallest of those that are the same."""
        self._look()
        return self._of.get(entity, entity)

    def now(self) -> Callable[[int], int]:
        """`one` as it is now, for very many questions: the store is looked at once."""
        self._look()
        of = self._of
        return (lambda entity: of.get(entity, entity)) if of else (lambda entity: entity)

    def linked(self) -> Mapping[int, int]:
        """The smallest of its cluster for every entity that has a link, as it is now; the others stand for themselves.

        For loops over very many: the store is looked at once.
        """
        self._look()
        return self._of

    def all(self, entity: int) -> list[int]:
        """All that are the same as this one, itself included, ascending."""
        self._look()
        return self._members.get(self._of.get(entity, entity), [entity])

    def spread(self, entities: Iterable[int]) -> list[int]:
        """All that are the same as any of these, ascending."""
        self._look()
        of, members = self._of, self._members
        return sorted({same for entity in entities for same in members.get(of.get(entity, entity), (entity,))})

    def _look(self) -> None:
        stamp = self._db.changes()
        if stamp == self._stamp:
            return
        self._of = clusters(self._db.rows("SELECT a, b, kind, source FROM link"))
        self._members = defaultdict(list)
        for entity in sorted(self._of):
            self._members[self._of[entity]].append(entity)
        self._members = dict(self._members)
        self._stamp = stamp


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
