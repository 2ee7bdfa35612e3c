"""Which part of a graph is drawn, and where everything stands: the same graph gives the same picture.

Things repel each other and facts pull (Fruchterman and Reingold 1991), labels count with their width, and the first
places are a spiral with the best connected in the middle; there is no chance in it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from palmette.knowledge.values import Entity, Fact
from palmette.tokens.trace.visible import cells, clean

__all__ = ["Bond", "Drawing", "Spot", "drawn"]

THINGS = 120
_LONGEST, _CHARACTER, _HEIGHT = 28, 7.3, 26.0
Places = NDArray[np.float64]


@dataclass(frozen=True)
class Spot:
    """A thing in the picture: its middle and its width; `label` is its name on one line, cut if it is long."""

    entity: Entity
    label: str
    x: float
    y: float
    width: float
    degree: int


@dataclass(frozen=True)
class Bond:
    """All facts between two spots, by their numbers; `facts` says for each whether it leads from `a` to `b`."""

    a: int
    b: int
    facts: tuple[tuple[Fact, bool], ...]


@dataclass(frozen=True)
class Drawing:
    """A picture's contents. `things` and `facts` count what there is; not all of it may be drawn."""

    spots: tuple[Spot, ...]
    bonds: tuple[Bond, ...]
    width: float
    height: float
    things: int
    facts: int


def drawn(facts: Iterable[Fact], *, most: int = THINGS, rounds: int = 300) -> Drawing:
    """Arrange the facts between the best connected things.

    Args:
        facts: what there is.
        most: things to draw.
        rounds: how long forces work.
    """
    given = list(dict.fromkeys(facts))
    degree: Counter[Entity] = Counter(e for fact in given for e in (fact.subject, fact.object))
    kept = [e for e, _ in sorted(degree.items(), key=lambda p: (-p[1], p[0].name, p[0].type, p[0].literal))][:most]
    number = {e: i for i, e in enumerate(kept)}
    bonds: dict[tuple[int, int], list[tuple[Fact, bool]]] = defaultdict(list)
    for fact in given:
        if fact.subject in number and fact.object in number:
            a, b = number[fact.subject], number[fact.object]
            bonds[min(a, b), max(a, b)].append((fact, a <= b))
    labels = [_label(e.name) for e in kept]
    widths = np.array([cells(label) * _CHARACTER + 20 for label in labels])
    ends = np.array(sorted(bonds), np.int64).reshape(-1, 2)
    places = _apart(_settled(len(kept), ends, widths, rounds), widths)
    margin = 40.0
    low = (
        (places - np.stack([widths / 2, np.full(len(kept), _HEIGHT / 2)], 1)).min(0, initial=0.0)
        if kept
        else np.zeros(2)
    )
    places = places - low + margin
    size = (places + np.stack([widths / 2, np.full(len(kept), _HEIGHT / 2)], 1)).max(0, initial=200.0) + margin
    spots = [
        Spot(e, label, round(float(x), 1), round(float(y), 1), round(float(w), 1), degree[e])
        for e, label, (x, y), w in zip(kept, labels, places, widths, strict=True)
    ]
    found = tuple(Bond(a, b, tuple(said)) for (a, b), said in sorted(bonds.items()))
    return Drawing(tuple(spots), found, round(float(size[0])), round(float(size[1])), len(degree), len(given))


def _label(name: str) -> str:
    text = clean(name)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _settled(count: int, ends: NDArray[np.int64], widths: Places, rounds: int) -> Places:
    """Where forces bring the things: float64[things, 2]."""
    if not count:
        return np.zeros((0, 2))
    order = np.arange(count)
    angle = order * np.pi * (3 - np.sqrt(5))
    spring = 120.0 + float(widths.mean()) / 2
    places = np.stack([np.cos(angle), np.sin(angle)], 1) * spring * 0.6 * np.sqrt(order)[:, None]
    if count == 1:
        return places
    stretch = np.array([1.0, 0.62])  # labels are wide: what is side by side needs more room
    apart = ends[ends[:, 0] != ends[:, 1]]
    for turn in range(rounds):
        gap = places[:, None] - places[None]  # (things, things, 2)
        far = np.maximum(np.sqrt((gap**2).sum(-1)), 1.0)
        push = (gap * (spring**2 / far**2)[..., None]).sum(1)
        if len(apart):
            pull = places[apart[:, 0]] - places[apart[:, 1]]
            force = pull * (np.sqrt((pull**2).sum(-1)) / spring)[:, None]
            np.add.at(push, apart[:, 0], -force)
            np.add.at(push, apart[:, 1], force)
        push -= places * 1.2  # islands stay in sight
        length = np.maximum(np.sqrt((push**2).sum(-1)), 1e-9)
        heat = spring * 0.6 * (1 - turn / rounds) + 0.5
        places = places + push / length[:, None] * np.minimum(length, heat)[:, None]
    return np.asarray(places * stretch)


def _apart(places: Places, widths: Places) -> Places:
    """Labels moved until none lies on another."""
    places = places.copy()
    for _ in range(200):
        moved = False
        order = np.argsort(places[:, 1], kind="stable")
        for k, i in enumerate(order):
            for j in order[k + 1 :]:
                dy = places[j, 1] - places[i, 1]
                if dy >= _HEIGHT + 10:
                    break
                overlap = (widths[i] + widths[j]) / 2 + 14 - abs(places[j, 0] - places[i, 0])
                if overlap <= 0:
                    continue
                moved = True
                if overlap < 60:
                    side = 1.0 if places[j, 0] >= places[i, 0] else -1.0
                    places[i, 0] -= side * overlap / 2
                    places[j, 0] += side * overlap / 2
                else:
                    places[i, 1] -= (_HEIGHT + 10 - dy) / 2
                    places[j, 1] += (_HEIGHT + 10 - dy) / 2 + 0.1
        if not moved:
            break
    return places


def relations(bond: Bond, most: int = 3) -> Sequence[str]:
    """What stands on a bond: its relations, each once."""
    names = list(dict.fromkeys(clean(fact.relation) for fact, _ in bond.facts))
    return [*names[:most], *(["…"] if len(names) > most else [])]
