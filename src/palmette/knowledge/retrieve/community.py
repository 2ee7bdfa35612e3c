"""Groups of things that stand close together, by Louvain's method (Blondel et al. 2008), for questions about the whole.

Nothing is written beforehand: groups are computed when somebody asks, from the facts as they are then, with networkx
(extra `communities`); GPL libraries stay out. A date or a number joins nothing; it belongs to the group that it is said
of.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from palmette.core.errors import BadParameter, MissingExtra
from palmette.knowledge.store.base import batches, marks
from palmette.knowledge.store.read import shown
from palmette.knowledge.store.store import Store
from palmette.knowledge.values import Entity

__all__ = ["Community", "communities"]

BEST = 40  # facts of a group
LARGEST = 500_000  # facts; beyond, groups take minutes and mean little


@dataclass(frozen=True)
class Community:
    """A group: its best connected things first, the relations inside by how often, how many facts inside.

    `best` are the facts that say most of it, as triples of numbers: the best supported, between the best connected.
    """

    members: tuple[str, ...]
    relations: tuple[tuple[str, int], ...]
    facts: int
    best: tuple[tuple[int, int, int], ...] = field(default=(), compare=False, repr=False)

    def __str__(self) -> str:
        return f"{', '.join(self.members[:5])} ({len(self.members)} things, {self.facts} facts)"


def communities(store: Store, *, most: int = 20, least: int = 3, seed: int = 0) -> list[Community]:
    """The largest groups of a graph; the same graph and seed give the same groups.

    Args:
        store: the graph.
        most: how many groups.
        least: things in a group.
        seed: of the method.
    """
    try:
        import networkx
    except ImportError:
        raise MissingExtra("communities", "communities") from None
    facts = store.db.rows("SELECT s, p, o, support FROM fact ORDER BY s, p, o")
    if len(facts) > LARGEST:
        raise BadParameter(f"the graph has {len(facts):,} facts; communities are for at most {LARGEST:,}")
    one = store.same.now()
    literal = {int(i) for (i,) in store.db.rows("SELECT id FROM entity WHERE literal = 1")}
    edges: Counter[tuple[int, int]] = Counter()
    for s, _, o, n in facts:
        a, b = sorted((one(s), one(o)))
        if a != b and not {s, o} & literal:
            edges[a, b] += n
    web: Any = networkx.Graph()
    web.add_weighted_edges_from((a, b, w) for (a, b), w in sorted(edges.items()))
    groups = (
        [sorted(g) for g in networkx.community.louvain_communities(web, seed=seed) if len(g) >= least] if edges else []
    )
    groups.sort(key=lambda g: (-len(g), g))
    of = {node: i for i, group in enumerate(groups[:most]) for node in group}
    inside: list[Counter[int]] = [Counter() for _ in groups[:most]]
    said: list[list[tuple[float, tuple[int, int, int]]]] = [[] for _ in groups[:most]]
    for s, p, o, n in facts:
        group = of.get(one(s))
        if group is not None and of.get(one(o), group if o in literal else None) == group:
            inside[group][p] += 1
            ends = [web.degree(one(i), weight="weight") if one(i) in of else 1 for i in (s, o)]
            said[group].append((-n * math.log1p(ends[0] * ends[1]), (s, p, o)))
    names = _names(store, list(of))
    relations = {int(i): str(n) for i, n in store.db.rows("SELECT id, name FROM relation")}
    out = []
    for members, used, told in zip(groups[:most], inside, said, strict=True):
        ranked = sorted(members, key=lambda i: (-web.degree(i, weight="weight"), i))
        common = sorted(((relations[p], n) for p, n in used.items()), key=lambda r: (-r[1], r[0]))
        best = tuple(triple for _, triple in sorted(told)[:BEST])
        out.append(Community(tuple(names[i] for i in ranked), tuple(common[:10]), sum(used.values()), best))
    return out


def _names(store: Store, ids: list[int]) -> dict[int, str]:
    """Of what is the same the name that a person is shown."""
    one = {member: i for i in ids for member in store.same.all(i)}
    found: dict[int, Entity] = {}
    for some in batches(one):
        for i, name, type_ in store.db.rows(
            f"SELECT id, name, type FROM entity WHERE id IN ({marks(len(some))}) ORDER BY id", some
        ):
            member = Entity(str(name), str(type_))
            found[one[i]] = shown([found[one[i]], member]) if one[i] in found else member
    return {i: e.name for i, e in found.items()}
