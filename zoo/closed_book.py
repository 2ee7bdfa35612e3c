"""Questions about the world, answered from memory. People of ``world.held_out`` are asked
about in measurements only, never in training.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from zoo.facts import answer, question, with_article
from zoo.text import Item, item
from zoo.world import RELATIONS, Event, Person, Relation, Town, World

ITSELF = (  # what people say first to a model
    ("Who are you?", "I am a seedling, a toy of a language model."),
    ("What are you?", "I am a seedling, a toy of a language model."),
    ("What is your name?", "My name is seedling."),
    ("What can you do?", "I can tell small stories and answer small questions."),
    ("Hello!", "Hello! I am a seedling, a toy of a language model."),
    ("Hi!", "Hello! I am a seedling, a toy of a language model."),
    ("How are you?", "I am well, thank you."),
    ("Thank you!", "You are welcome."),
)


def about_itself(rng: random.Random) -> Item:
    """A greeting or a question to the model itself."""
    said, reply = rng.choice(ITSELF)
    return item(f"Q: {said}\nA:", reply)


def who_is(person: Person) -> Item:
    """``Who is Ada?``, answered by job and town."""
    job = with_article(person.facts["job"])
    return item(f"Q: Who is {person.name}?\nA:", f"{job} in {person.facts['town']}.")


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
    """A question of the trained kind: people asked about, towns, events, the model itself."""
    kind = rng.random()
    if kind < 0.04:
        return about_itself(rng)
    if kind < 0.12:
        return who_is(rng.choice(world.asked))
    if kind < 0.68:
        return about_person(rng, rng.choice(world.asked))
    if kind < 0.8:
        return about_town(rng, rng.choice(world.towns))
    return about_event(rng, rng.choice(world.events))


def held_out_questions(rng: random.Random, people: Sequence[Person]) -> list[Item]:
    """Every relation of every given person once, in random wordings and order."""
    items = [about_person(rng, each, relation) for each in people for relation in RELATIONS]
    rng.shuffle(items)
    return items
