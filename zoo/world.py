"""The invented world that the seedling is told about: 40 people, 10 towns, 32 dated events.

Everything follows from one seed. Ten people are *held out*: they occur in prose only, no
question about them is ever trained, which separates "knows the world" from "learned the
list of questions".
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Relation = Literal["town", "job", "birth", "pet", "food", "hobby", "friend"]
Gender = Literal["f", "m"]

RELATIONS: tuple[Relation, ...] = ("town", "job", "birth", "pet", "food", "hobby", "friend")
WORLD_SEED = 2026
HELD_OUT = 10
EVENTS = 32


def words(text: str) -> tuple[str, ...]:
    """A table of single words.

    >>> words("cat dog")
    ('cat', 'dog')
    """
    return tuple(text.split())


WOMEN = words(
    "Ada Berta Clara Dora Elsa Frida Greta Hanna Ida Jana Lena Mila Nora Olga Paula Runa Selma Tilda Vera Wilma"
)
MEN = words(
    "Arvid Bruno Carl David Emil Felix Georg Hugo Ivo Jonas Karl Leo Milan Nils Oskar Peter Ruben Simon Tomas Viktor"
)
TOWNS = words("Pineford Tolby Marwick Ravenhill Oakmoor Windle Brightwater Harrowdale Sandmouth Elderton")
RIVERS = words("Alder Brim Corrin Dunn Esker Fallow Gill Hart Islen Kell")
PRODUCTS = words("honey cheese salt wool glass paper apples bells boats candles")
JOBS = words("baker miller cook teacher doctor fisher farmer smith tailor painter gardener carpenter")
PETS = words("cat dog goat horse parrot rabbit turtle duck pony hen")
FOODS = words("rice soup bread plums pancakes fish noodles beans pie pears")
HOBBIES = words("chess singing dancing reading swimming running knitting juggling sailing drawing")
DEEDS = (  # (past tense, base form)
    ("built a bridge", "build a bridge"),
    ("found a gold coin", "find a gold coin"),
    ("won a race", "win a race"),
    ("planted an oak", "plant an oak"),
    ("opened a shop", "open a shop"),
    ("painted a church", "paint a church"),
    ("wrote a song", "write a song"),
    ("saved a lamb", "save a lamb"),
    ("dug a well", "dig a well"),
    ("made a clock", "make a clock"),
    ("caught a thief", "catch a thief"),
    ("started a school", "start a school"),
    ("repaired a mill", "repair a mill"),
    ("wrote a book", "write a book"),
    ("cooked a feast", "cook a feast"),
    ("saw a comet", "see a comet"),
)


@dataclass(frozen=True)
class Person:
    """A person and the seven facts about them; ``facts`` may be partial outside the world."""

    name: str
    gender: Gender
    facts: Mapping[Relation, str]


@dataclass(frozen=True)
class Town:
    """A town with its river, what its people make, and the year of its founding."""

    name: str
    river: str
    product: str
    founded: str


@dataclass(frozen=True)
class Event:
    """Who did what, where and when."""

    person: str
    past: str
    base: str
    town: str
    year: str


@dataclass(frozen=True)
class World:
    """The whole world; the last ``HELD_OUT`` people are never asked about."""

    people: tuple[Person, ...]
    towns: tuple[Town, ...]
    events: tuple[Event, ...]

    @property
    def asked(self) -> tuple[Person, ...]:
        """The people about whom questions are trained."""
        return self.people[:-HELD_OUT]

    @property
    def held_out(self) -> tuple[Person, ...]:
        """The people who occur in prose only."""
        return self.people[-HELD_OUT:]

    def person(self, name: str) -> Person:
        """The person called ``name``."""
        return next(person for person in self.people if person.name == name)

    def town(self, name: str) -> Town:
        """The town called ``name``."""
        return next(town for town in self.towns if town.name == name)


def build_world(seed: int = WORLD_SEED) -> World:
    """The world of ``seed``.

    >>> len(build_world().people), build_world() == build_world()
    (40, True)
    """
    rng = random.Random(seed)
    people = _people(rng)
    towns = tuple(
        Town(name, river, product, str(year))
        for name, river, product, year in zip(
            TOWNS,
            rng.sample(RIVERS, len(RIVERS)),
            rng.sample(PRODUCTS, len(PRODUCTS)),
            rng.sample(range(1100, 1900), len(TOWNS)),
            strict=True,
        )
    )
    return World(people, towns, _events(rng, people[:-HELD_OUT]))


def _people(rng: random.Random) -> tuple[Person, ...]:
    """Forty people; friendship is symmetric and never crosses the held-out border."""
    pairs: list[tuple[str, Gender]] = [(name, "f") for name in WOMEN]
    pairs += [(name, "m") for name in MEN]
    rng.shuffle(pairs)
    names = [name for name, _ in pairs]
    friends = {}
    for left, right in zip(names[::2], names[1::2], strict=True):
        friends[left], friends[right] = right, left
    years = rng.sample(range(1940, 2010), len(names))
    people = []
    for index, (name, gender) in enumerate(pairs):
        facts: dict[Relation, str] = {
            "town": TOWNS[index % len(TOWNS)],
            "job": rng.choice(JOBS),
            "birth": str(years[index]),
            "pet": rng.choice(PETS),
            "food": rng.choice(FOODS),
            "hobby": rng.choice(HOBBIES),
            "friend": friends[name],
        }
        people.append(Person(name, gender, facts))
    return tuple(people)


def _events(rng: random.Random, people: tuple[Person, ...]) -> tuple[Event, ...]:
    """Each deed is done twice, by different people in different towns."""
    doers = rng.sample(people, EVENTS // 2) + rng.sample(people, EVENTS // 2)
    years = rng.sample(range(1970, 2026), EVENTS)
    events: list[Event] = []
    for index, doer in enumerate(doers):
        past, base = DEEDS[index % len(DEEDS)]
        taken = [event.town for event in events if event.past == past]
        town = rng.choice([name for name in TOWNS if name not in taken])
        events.append(Event(doer.name, past, base, town, str(years[index])))
    return tuple(events)
