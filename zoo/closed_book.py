"""Questions about the world, answered from memory. People of ``world.held_out`` are asked
about in measurements only, never in training.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from zoo.facts import answer, question
from zoo.text import Item, item
from zoo.world import RELATIONS, Event, Person, Relation, Town, World


def about_person(rng: random.Random, person: Person, relation: Relation | None = None) -> Item:
    """A question about one fact of one person."""
    chosen: Relation = relation if relation else rng.choice(RELATIONS)
    return item(f"Q: {question(rng, person.name, chosen)}\nA:", answer(person, chosen))


def about_town(rng: random.Random, town: Town) -> Item:
    """A question about a town's river, product or founding."""
    asked, answered = rng.choice(
        (
            (f"Which river flows through {town.name}?", f"the {town.river}."),
            (f"What is {town.name} known for?", f"{town.product}."),
            (f"When was {town.name} founded?", f"{town.founded}."),
        )
    )
    return item(f"Q: {asked}\nA:", answered)


def about_event(rng: random.Random, event: Event) -> Item:
    """A question about who did something, where or when."""
    asked, answered = rng.choice(
        (
            (f"When did {event.person} {event.base}?", f"{event.year}."),
            (f"Where did {event.person} {event.base}?", f"{event.town}."),
            (f"Who {event.past} in {event.town}?", f"{event.person}."),
        )
    )
    return item(f"Q: {asked}\nA:", answered)


def closed_book(rng: random.Random, world: World) -> Item:
    """A question of the trained kind: people asked about, towns and events."""
    kind = rng.random()
    if kind < 0.65:
        return about_person(rng, rng.choice(world.asked))
    if kind < 0.8:
        return about_town(rng, rng.choice(world.towns))
    return about_event(rng, rng.choice(world.events))


def held_out_questions(rng: random.Random, people: Sequence[Person]) -> list[Item]:
    """Every relation of every given person once, in random wordings and order."""
    items = [about_person(rng, each, relation) for each in people for relation in RELATIONS]
    rng.shuffle(items)
    return items
