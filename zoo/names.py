"""Names that exist nowhere: for people and towns that the model has never seen, so that
reading and extraction have to copy from the text instead of remembering.
"""

from __future__ import annotations

import random

from zoo.world import (
    FOODS,
    HOBBIES,
    JOBS,
    PETS,
    RELATIONS,
    TOWNS,
    Gender,
    Person,
    Relation,
    words,
)

CONSONANTS = words("b d f g h j k l m n p r s t v w z")
VOWELS = words("a e i o u")
CODAS = words("l n r s t")


def invented_name(rng: random.Random, syllables: int | None = None) -> str:
    """A pronounceable name of two or three syllables.

    >>> invented_name(random.Random(0)).istitle()
    True
    """
    number = syllables or rng.choice((2, 2, 2, 3))
    body = "".join(rng.choice(CONSONANTS) + rng.choice(VOWELS) for _ in range(number))
    return (body + (rng.choice(CODAS) if rng.random() < 0.7 else "")).capitalize()


def invented_person(rng: random.Random, name: str | None = None, gender: Gender | None = None) -> Person:
    """A person with seven facts drawn at random; half of the towns are invented too."""
    facts: dict[Relation, str] = {
        "town": rng.choice(TOWNS) if rng.random() < 0.5 else invented_name(rng),
        "job": rng.choice(JOBS),
        "birth": str(rng.randint(1930, 2015)),
        "pet": rng.choice(PETS),
        "food": rng.choice(FOODS),
        "hobby": rng.choice(HOBBIES),
        "friend": invented_name(rng),
    }
    called = name or invented_name(rng)
    chosen: Gender = gender if gender else rng.choice(("f", "m"))
    return Person(called, chosen, facts)


def some_relations(rng: random.Random, number: int) -> list[Relation]:
    """``number`` different relations in random order."""
    return rng.sample(RELATIONS, number)
