"""What a graph is made of. An assertion is one statement of one fact at one place; a fact is what its assertions share.

Everything here is a frozen value with names instead of row numbers, so it means the same on every store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = [
    "Assertion",
    "Chunk",
    "Conflict",
    "Entity",
    "Fact",
    "Hop",
    "Mention",
    "Path",
    "Piece",
    "Quote",
    "Statement",
    "facts_of",
]


@dataclass(frozen=True, slots=True)
class Entity:
    """A thing with a name and a type ("" where nobody said one), or a literal: a date, a number, a text."""

    name: str
    type: str = ""
    literal: bool = False

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a document: `text` is exactly the document's characters from `start` to `end`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece in the store, with its document's name and title; `id` is the store's own number."""

    id: int
    document: str
    title: str
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Mention:
    """An entity that is named in a piece, at these offsets of the piece."""

    entity: Entity
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Statement:
    """What somebody says: subject, relation, object, and where in the piece it is said (offsets of the piece)."""

    subject: Entity
    relation: str
    object: Entity
    start: int = 0
    end: int = 0
    confidence: float = 1.0
    valid_from: str | None = None
    valid_to: str | None = None


@dataclass(frozen=True, slots=True)
class Quote:
    """Text of a document that supports a fact: `text` is the document's characters from `start` to `end`."""

    document: str
    start: int
    end: int
    text: str

    def __str__(self) -> str:
        return f"“{self.text}” ({self.document}, {self.start}–{self.end})"


@dataclass(frozen=True, slots=True)
class Assertion:
    """One statement in the store: the fact, the quote (None for what was said by hand), who read it, and when.

    `valid_from` and `valid_to` say when the fact holds in the world, `recorded_at` and `retracted_at` when the store
    knew it. Times are ISO 8601 texts, the end excluded.
    """

    fact: Fact
    quote: Quote | None
    model: str
    confidence: float
    valid_from: str | None = None
    valid_to: str | None = None
    recorded_at: str = ""
    retracted_at: str | None = None


@dataclass(frozen=True, slots=True)
class Fact:
    """A subject, a relation and an object. `support` counts its assertions; `quotes` are filled in where asked for."""

    subject: Entity
    relation: str
    object: Entity
    support: int = field(default=1, compare=False)
    quotes: tuple[Quote, ...] = field(default=(), compare=False)

    @property
    def names(self) -> tuple[str, str, str]:
        """Subject, relation and object as names."""
        return self.subject.name, self.relation, self.object.name

    @property
    def id(self) -> str:
        """A name that depends on the fact alone, the same in every store: F and ten hexadecimal digits.

        >>> Fact(Entity("Apple"), "created", Entity("iMac")).id
        'F5a8160f50b'
        """
        parts = (self.subject.name, self.subject.type, self.relation, self.object.name, self.object.type)
        return "F" + hashlib.blake2b("\x1f".join(parts).encode(), digest_size=5).hexdigest()

    def __str__(self) -> str:
        return f"{self.subject} {self.relation} {self.object}"


_SET = tuple(Fact.__dict__[name].__set__ for name in ("subject", "relation", "object", "support", "quotes"))


def facts_of(rows: Iterable[tuple[Entity, str, Entity, int]]) -> list[Fact]:
    """Many facts without quotes: what `Fact(*row)` makes, whose constructor asks five times whether it may set a field.

    >>> facts_of([(Entity("Apple"), "created", Entity("iMac"), 2)])[0].support
    2
    """
    new, (put_subject, put_relation, put_object, put_support, put_quotes) = Fact.__new__, _SET
    found = []
    for subject, relation, object, support in rows:
        fact = new(Fact)
        put_subject(fact, subject)
        put_relation(fact, relation)
        put_object(fact, object)
        put_support(fact, support)
        put_quotes(fact, ())
        found.append(fact)
    return found


@dataclass(frozen=True, slots=True)
class Hop:
    """One step of a path: a fact, walked from its subject to its object or backwards."""

    fact: Fact
    backwards: bool = False

    def __str__(self) -> str:
        arrow = f"<-[{self.fact.relation}]-" if self.backwards else f"-[{self.fact.relation}]->"
        return f"{arrow} {self.fact.subject if self.backwards else self.fact.object}"


@dataclass(frozen=True, slots=True)
class Path:
    """A way between two entities: `hops` hang together, the first begins at `start`."""

    start: Entity
    hops: tuple[Hop, ...]

    def __len__(self) -> int:
        return len(self.hops)

    def __str__(self) -> str:
        return " ".join([str(self.start), *map(str, self.hops)])


@dataclass(frozen=True, slots=True)
class Conflict:
    """Several objects of a functional relation that are said to hold at one time, with everything that was said."""

    subject: Entity
    relation: str
    assertions: tuple[Assertion, ...]

    def __str__(self) -> str:
        said = "; ".join(f"{a.fact.object} {a.quote or '(said by hand)'}" for a in self.assertions)
        return f"{self.subject} {self.relation}: {said}"
