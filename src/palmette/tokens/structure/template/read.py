"""Which part of a filled text stands in which hole, by matching the text against its template once more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from palmette.tokens.structure.template.compile import kind_in, limits_of
from palmette.tokens.structure.template.parse import Group, Hole, Literal, Part

__all__ = ["Span", "spans"]


@dataclass(frozen=True)
class Span:
    """A hole and the characters it holds, from `start` to `end`."""

    hole: Hole
    start: int
    end: int


def spans(parts: Sequence[Part], text: str) -> list[Span] | None:
    """The holes of a text, in order; None if the text is not of this template.

    Where a text can be read in several ways, earlier holes take as much as they can.

    >>> from palmette.tokens.structure.template.parse import parse_template
    >>> [text_span.hole.name for text_span in spans(parse_template("{a:int}-{b:word}"), "3-x")]
    ['a', 'b']
    """
    found = next((holes for end, holes in _sequence(tuple(parts), text, 0) if end == len(text)), None)
    return None if found is None else list(found)


Match = tuple[int, tuple[Span, ...]]


def _sequence(parts: tuple[Part, ...], text: str, at: int) -> Iterator[Match]:
    """All ways to read the parts from a place: (where they end, their holes)."""
    if not parts:
        yield at, ()
        return
    for middle, first in _part(parts[0], text, at):
        for end, rest in _sequence(parts[1:], text, middle):
            yield end, first + rest


def _part(part: Part, text: str, at: int) -> Iterator[Match]:
    if isinstance(part, Literal):
        if text.startswith(part.text, at):
            yield at + len(part.text), ()
    elif isinstance(part, Hole):
        kind, stop = kind_in(part), limits_of(part).stop
        for end in range(len(text), at - 1, -1):
            piece = text[at:end]
            if kind.fits(piece) and not (stop and stop in piece):
                yield end, (Span(part, at, end),)
    else:
        yield from _times(part, text, at, 0)


def _times(group: Group, text: str, at: int, done: int) -> Iterator[Match]:
    """The group once more, or enough of it."""
    if group.most is None or done < group.most:
        for way in group.ways:
            for middle, first in _sequence(way, text, at):
                if middle > at or done < group.least:
                    for end, rest in _times(group, text, middle, done + 1):
                        yield end, first + rest
    if done >= group.least:
        yield at, ()
