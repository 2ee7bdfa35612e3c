"""Where names are written beside their points so that none covers another: the most important first, where it fits.

What a picture must name is moved away until it fits, with a line to its point; what it need not name is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Box", "Label", "Pair", "placed", "ranked"]

Pair = tuple[float, float]
Box = tuple[float, float, float, float]  # left, bottom, right, top
AWAY = (1.0, 2.5, 4.0, 6.0, 9.0, 13.0, 18.0)  # how far off a name is tried, in gaps; one that is not needed only once
NEAR = 1  # how many of these distances need no line


@dataclass(frozen=True)
class Label:
    """A name to write.

    Args:
        at: its point.
        size: width and height of the text.
        side: where it would be best, (-1 left or 1 right, -1 below or 1 above).
        needed: whether it may not be left out.
    """

    at: Pair
    size: Pair
    side: tuple[int, int] = (1, 1)
    needed: bool = True


def placed(
    labels: Mapping[str, Label], inside: Box, gap: float, dots: Sequence[Pair] = (),
    before: Mapping[str, tuple[Pair, bool]] | None = None,
) -> dict[str, tuple[Pair, bool]]:  # fmt: skip
    """Where each name's lower left corner is, seen from its point, and whether a line should lead there.

    Args:
        labels: by name, the most important first.
        inside: of what they should stay.
        gap: between a point and its name.
        dots: points that no name should cover, besides those of the labels.
        before: where names were in the picture before, and stay if nothing is in the way.

    >>> found = placed({"a": Label((0, 0), (8, 2)), "b": Label((1, 0), (8, 2))}, (-50, -50, 50, 50), 1.0)
    >>> found["a"][0], found["b"][0]
    ((1.0, 1.0), (1.0, -3.0))
    """
    spots = [*dots, *(label.at for label in labels.values())]
    taken: list[Box] = [(x - gap / 2, y - gap / 2, x + gap / 2, y + gap / 2) for x, y in spots]
    found: dict[str, tuple[Pair, bool]] = {}
    for name, label in labels.items():
        tries = [*([before[name]] if before and name in before else []), *_tries(label, gap)]
        free = [t for t in tries if _within(_box(label, t[0]), inside) and not _hits(_box(label, t[0]), taken)]
        best = free[0] if free else tries[0] if label.needed else None
        if best is not None:
            found[name] = best
            taken.append(_box(label, best[0]))
    return found


def ranked(labels: Mapping[str, Label], between: Sequence[str]) -> dict[str, Label]:
    """The most important first: what may be left out comes after all others, of it the last first.

    >>> list(ranked({name: Label((0, 0), (1, 1)) for name in "abcd"}, ["b", "c"]))
    ['a', 'd', 'c', 'b']
    """
    names = [name for name in labels if name not in between] + [name for name in reversed(between) if name in labels]
    return {name: labels[name] for name in names}


def _tries(label: Label, gap: float) -> Iterator[tuple[Pair, bool]]:
    """Corners to try, the best first, and whether each needs a line."""
    (width, height), (right, up) = label.size, label.side
    ways = [(right, up), (right, -up), (-right, up), (-right, -up), (right, 0), (-right, 0), (0, up), (0, -up)]
    for i, far in enumerate(AWAY if label.needed else AWAY[:NEAR]):
        for x, y in ways:
            across = far * gap if x > 0 else -far * gap - width if x < 0 else -width / 2
            along = far * gap if y > 0 else -far * gap - height if y < 0 else -height / 2
            yield (across, along), i >= NEAR


def _box(label: Label, corner: Pair) -> Box:
    left, bottom = label.at[0] + corner[0], label.at[1] + corner[1]
    return left, bottom, left + label.size[0], bottom + label.size[1]


def _within(box: Box, inside: Box) -> bool:
    return box[0] >= inside[0] and box[1] >= inside[1] and box[2] <= inside[2] and box[3] <= inside[3]


def _hits(box: Box, taken: Sequence[Box]) -> bool:
    return any(box[0] < t[2] and t[0] < box[2] and box[1] < t[3] and t[1] < box[3] for t in taken)
