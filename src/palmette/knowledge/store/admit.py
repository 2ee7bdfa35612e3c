"""What a store takes: names of visible characters that a file can hold, times that can be compared, names it knows."""

from __future__ import annotations

import re
from collections.abc import Iterable

from palmette.core.errors import BadParameter, UnknownName
from palmette.knowledge.values import Entity, Statement

__all__ = ["checked", "instant", "named", "timed", "unknown"]

_LISTED = 20  # names that an error lists
_TIME = re.compile(r"[0-9]{4}(-[0-9]{2}(-[0-9]{2}([T ][0-9:.]+([Zz]|[+-][0-9:]+)?)?)?)?")


def named(entity: Entity) -> Entity:
    """The entity, if its name can be kept."""
    name = entity.name
    if not name.strip() or "\x00" in name or not _encodes(name) or not _encodes(entity.type):
        raise BadParameter(f"an entity needs a name of visible characters, not {name!r}")
    return entity


def checked(statement: Statement) -> Statement:
    """The statement, if its relation and its times can be kept."""
    relation, start, end = statement.relation, statement.valid_from, statement.valid_to
    if not relation.strip() or "\x00" in relation or not _encodes(relation):
        raise BadParameter(f"a relation needs a name of visible characters, not {relation!r}")
    for time in (start, end):
        if time is not None:
            timed(time)
    if start and end and instant(start) >= instant(end):
        raise BadParameter(f"{statement.subject} {relation}: valid from {start!r} until {end!r} is no time at all")
    return statement


def timed(time: str) -> str:
    """The time, if it can be compared with others.

    >>> timed("2023-06")
    '2023-06'
    """
    if not isinstance(time, str) or not _TIME.fullmatch(time):
        raise BadParameter(f"a time is a text such as '2023', '2023-06' or '2023-06-05T17:00:00Z', not {time!r}")
    return time


def instant(time: str) -> str:
    """A time to the second, as the text by which it is compared: a year, a month or a day is its beginning.

    >>> instant("2023"), instant("2023-06"), instant("2023-06-05")
    ('2023-01-01T00:00:00Z', '2023-06-01T00:00:00Z', '2023-06-05T00:00:00Z')
    """
    return time + "0000-01-01T00:00:00Z"[len(time) :] if len(time) <= len("0000-01-01") else time


def unknown(kind: str, name: str, known: Iterable[str]) -> UnknownName:
    """The error for what a graph does not have by this name, with the nearest, and all if they are few."""
    known = sorted({*known})
    hint = "" if 0 < len(known) <= _LISTED else f" It is not in the graph, which has {len(known):,} {kind}s."
    return UnknownName(kind, name, known, hint)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
