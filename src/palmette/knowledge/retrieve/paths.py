"""Ways through the graph: what lies around a thing, and the shortest way between two.

Both read the store's indexes, some hundred things at a time, so neither needs the graph in memory. A thing with very
many facts is not spread out whole: the best supported and the rarest of its facts stand for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise

from palmette.core.errors import BadParameter
from palmette.knowledge.store.base import batches, inside, marks
from palmette.knowledge.store.network import Direction
from palmette.knowledge.store.read import NOW, When, entity, triples
from palmette.knowledge.store.store import Store
from palmette.knowledge.values import Entity, Fact, Hop, Path

__all__ = ["around", "near", "path"]

Triple = tuple[int, int, int]
CAP = 50  # facts of one thing that a walk looks at
MOST_HOPS = 8
_STEP = 40  # things whose facts are read at once while a way is looked for


def around(
    store: Store, entities: Iterable[int], *, hops: int = 1, cap: int = CAP, most: int = 200, when: When = NOW
) -> list[Fact]:
    """The facts within so many hops, the nearest first.

    Args:
        store: the graph.
        entities: numbers, from `entity`.
        hops: how far.
        cap: how many facts of one thing are looked at: the best supported first, then those that lead to the rarest.
        most: how many facts in all.
        when: the times.
    """
    if hops < 1 or cap < 1 or most < 1:
        raise BadParameter(f"hops, cap and most must be at least 1, not {hops}, {cap} and {most}")
    frontier = store.same.spread(entities)
    seen, found = set(frontier), dict[Triple, None]()
    for _ in range(hops):
        reached: set[int] = set()
        for facts in _facts_of(store, frontier, when, cap).values():
            for triple in facts:
                found.setdefault(triple)
                reached |= {triple[0], triple[2]}
        frontier = [i for i in store.same.spread(sorted(reached)) if i not in seen]
        seen.update(frontier)
        if not frontier or len(found) >= most:
            break
    return triples(store, list(found)[:most], when=when)


def near(
    store: Store, start: str | Entity, *, hops: int = 1, direction: Direction = "any", when: When = NOW
) -> list[Entity]:
    """The things within so many hops of one, itself aside: the nearest first, those equally near by their names.

    What is the same counts as one thing, under its oldest name.

    Args:
        store: the graph.
        start: where from.
        hops: how far.
        direction: facts are walked "out" (subject to object), "in", or "any" way.
        when: the times.
    """
    if hops < 1:
        raise BadParameter(f"hops must be at least 1, not {hops!r}")
    if direction not in ("out", "in", "any"):
        raise BadParameter(f"direction must be 'out', 'in' or 'any', not {direction!r}")
    if when is NOW and (network := store.memory.now()) is not None and (things := network.named(start)):
        return network.near(things, hops, direction)
    condition, values = when.sql()
    ways = [w for w, d in ((("s", "o"), "out"), (("o", "s"), "in")) if direction in (d, "any")]
    edge, of = entity(store, start), store.same.linked()
    seen, found = set(edge), list[Entity]()
    for _ in range(hops):
        reached: set[int] = set()
        for here, there in ways:
            for some in batches(edge):
                among, ids = inside(some)
                sql = f"SELECT a.{there} FROM assertion a WHERE a.{here} {among} AND {condition}"
                reached.update(chain.from_iterable(store.db.rows(sql, [*ids, *values])))
        edge = store.same.spread(reached - seen) if of else sorted(reached - seen)
        seen.update(edge)
        found += _entities(store, {of.get(i, i) for i in edge})
        if not edge:
            break
    return found


def _facts_of(store: Store, entities: Sequence[int], when: When, cap: int) -> dict[int, list[Triple]]:
    """At most `cap` facts for each of the entities."""
    condition, values = when.sql()
    held: dict[int, dict[Triple, int]] = defaultdict(dict)
    for some in batches(entities):
        for near in ("s", "o"):
            sql = (
                f"SELECT a.s, a.p, a.o, count(*) FROM assertion a WHERE a.{near} IN ({marks(len(some))}) "
                f"AND {condition} GROUP BY a.s, a.p, a.o"
            )
            for s, p, o, n in store.db.rows(sql, [*some, *values]):
                held[s if near == "s" else o][s, p, o] = n
    crowded = {e for e, facts in held.items() if len(facts) > cap}
    degree = _degrees(store, {t[2] if t[0] == e else t[0] for e in crowded for t in held[e]}, cap)
    out = {}
    for e, facts in sorted(held.items()):
        ranked = sorted(facts, key=lambda t: (-facts[t], degree.get(t[2] if t[0] == e else t[0], 0), t))
        out[e] = ranked[:cap]
    return out


def _degrees(store: Store, entities: Iterable[int], cap: int) -> dict[int, int]:
    """How many facts end at each of these things; counted for the first thousands only, the others as rare."""
    found: dict[int, int] = {}
    for some in batches(sorted(entities)[: 100 * cap]):
        sql = f"SELECT o, count(*) FROM assertion WHERE o IN ({marks(len(some))}) AND retracted_at IS NULL GROUP BY o"
        found |= dict(store.db.rows(sql, some))
    return found


def path(
    store: Store, start: str | Entity, goal: str | Entity, *, most_hops: int = MOST_HOPS, when: When = NOW
) -> Path | None:
    """The shortest way between two things, facts walked in either direction; None if there is none that short.

    The search goes on from both ends, always on the side that has less to look at, so it sees the square root of what a
    search from one end would. Of several ways of one length the first that it meets is taken, always the same one.
    """
    if most_hops < 1:
        raise BadParameter(f"most_hops must be at least 1, not {most_hops!r}")
    ends = [{store.same.one(i) for i in entity(store, name)} for name in (start, goal)]
    meeting = ends[0] & ends[1]
    if meeting:
        return Path(_entities(store, [min(meeting)])[0], ())
    above: list[dict[int, int]] = [dict.fromkeys(ids, -1) for ids in ends]
    edges = [sorted(ids) for ids in ends]
    for _ in range(most_hops):
        side = 0 if len(edges[0]) <= len(edges[1]) else 1
        fresh, met = _wave(store, edges[side], above[side], above[1 - side], when)
        above[side] |= fresh
        if met:
            return _path(store, min(met), above, when)
        if not fresh:
            return None
        edges[side] = sorted(fresh)
    return None


def _wave(
    store: Store, edge: Sequence[int], known: dict[int, int], other: dict[int, int], when: When
) -> tuple[dict[int, int], set[int]]:
    """What is one hop further from an edge, each with where it was reached from; and where it meets the other side.

    Facts are walked forwards for the whole edge before any is walked backwards: a thing is the subject of few facts,
    and what they speak of is what much else speaks of, so most ways meet before a hub has to be spread out.
    """
    condition, values = when.sql()
    of = store.same.linked()
    fresh: dict[int, int] = {}
    for near, far in (("s", "o"), ("o", "s")):
        for some in batches(store.same.spread(edge), _STEP):
            among, ids = ("= ?", some) if len(some) == 1 else inside(some)
            sql = f"SELECT a.{far}, a.{near} FROM assertion a WHERE a.{near} {among} AND {condition}"
            rows = store.db.rows(sql, [*ids, *values])
            found = {of.get(a, a): of.get(b, b) for a, b in rows} if of else dict(rows)
            fresh |= found
            met = found.keys() & other.keys()
            if met:  # what else this wave would find is as far away
                return {i: from_ for i, from_ in fresh.items() if i not in known}, met
    return {i: from_ for i, from_ in fresh.items() if i not in known}, set()


def _path(store: Store, middle: int, above: Sequence[dict[int, int]], when: When) -> Path:
    first = _way(middle, above[0])[::-1]
    nodes = first + _way(middle, above[1])[1:]
    hops = tuple(_hop(store, a, b, when) for a, b in pairwise(nodes))
    start = hops[0].fact.object if hops[0].backwards else hops[0].fact.subject
    return Path(start, hops)


def _way(node: int, above: dict[int, int]) -> list[int]:
    way = [node]
    while above[way[-1]] >= 0:
        way.append(above[way[-1]])
    return way


def _hop(store: Store, a: int, b: int, when: When) -> Hop:
    """The best supported fact between two neighbours."""
    condition, values = when.sql()
    ways = []
    for backwards in (False, True):
        left, right = (store.same.all(b), store.same.all(a)) if backwards else (store.same.all(a), store.same.all(b))
        sql = (
            f"SELECT a.s, a.p, a.o, count(*) FROM assertion a WHERE a.s IN ({marks(len(left))}) "
            f"AND a.o IN ({marks(len(right))}) AND {condition} GROUP BY a.s, a.p, a.o"
        )
        ways += [(-n, backwards, (s, p, o)) for s, p, o, n in store.db.rows(sql, [*left, *right, *values])]
    _, backwards, triple = min(ways)
    return Hop(triples(store, [triple], when=when)[0], backwards)


def _entities(store: Store, numbers: Iterable[int]) -> list[Entity]:
    """By name."""
    found = []
    for some in batches(sorted(numbers)):
        among, ids = inside(some)
        found += store.db.rows(f"SELECT name, type, literal FROM entity WHERE id {among}", ids)
    return [Entity(name, type_, bool(literal)) for name, type_, literal in sorted(found)]
