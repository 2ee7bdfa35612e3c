"""A reader turns a piece of text into statements. What it does is a function of its id, its recipe and the piece."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from palmette.knowledge.documents.read import hash_of
from palmette.knowledge.extract.plain import Gazetteer, mentions, read_plainly
from palmette.knowledge.schema import OPEN, Schema
from palmette.knowledge.values import Entity, Piece, Statement

__all__ = ["Plain", "Reader", "Reading", "dumped", "loaded"]


@dataclass(frozen=True)
class Reading:
    """What was read: statements (offsets of the piece), tokens used, calls of a model made."""

    statements: tuple[Statement, ...]
    tokens: int = 0
    calls: int = 0


class Reader(Protocol):
    """Reads pieces. `recipe` stands for everything that changes what it reads: prompt, schema, settings."""

    @property
    def id(self) -> str:
        """Who reads: a model's name, or "none"."""
        ...

    @property
    def recipe(self) -> str:
        """A hash."""
        ...

    def read(self, piece: Piece, title: str) -> Reading:
        """Read one piece."""
        ...

    def cost(self, piece: Piece, title: str) -> tuple[int, int]:
        """What reading it costs, before it is read: calls, and tokens at most."""
        ...


@dataclass(frozen=True)
class Plain:
    """Reading without a model, see `palmette.knowledge.extract.plain`; what the schema does not have is left out."""

    schema: Schema = OPEN
    gazetteer: Gazetteer = field(default_factory=lambda: Gazetteer({}))
    id: str = "none"

    @property
    def recipe(self) -> str:
        """A hash."""
        return hash_of(f"plain 2\x1f{self.schema.text()}\x1f{json.dumps(dict(self.gazetteer.names), sort_keys=True)}")

    def read(self, piece: Piece, title: str) -> Reading:
        """Read one piece."""
        said = read_plainly(piece.text, mentions(piece.text, self.gazetteer))
        return Reading(tuple(s for s in said if self.schema.allows(s.subject.type, s.relation, _type(s.object))))

    def cost(self, piece: Piece, title: str) -> tuple[int, int]:
        """Nothing."""
        return 0, 0


def _type(entity: Entity) -> str:
    return "" if entity.literal else entity.type


def dumped(statements: Sequence[Statement]) -> str:
    """Statements as JSON, for the cache."""
    rows = [
        [s.subject.name, s.subject.type, s.relation, s.object.name, s.object.type, s.object.literal,
         s.start, s.end, s.confidence, s.valid_from, s.valid_to]
        for s in statements
    ]  # fmt: skip
    return json.dumps(rows, ensure_ascii=False)


def loaded(text: str) -> tuple[Statement, ...]:
    """The reverse of `dumped`."""
    return tuple(
        Statement(Entity(s, st), p, Entity(o, ot, literal), *rest)
        for s, st, p, o, ot, literal, *rest in json.loads(text)
    )
