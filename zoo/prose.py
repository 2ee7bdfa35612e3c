"""Plain prose about the world: lives of people and descriptions of towns, always true."""

from __future__ import annotations

import random

from zoo.facts import tell, with_article
from zoo.names import some_relations
from zoo.text import Document, prose
from zoo.world import Event, Person, Town, World

DEEDS = (
    "In {year} {who} {past} in {town}.",
    "{who} {past} in {town} in {year}.",
    "It was in {year} that {who} {past} in {town}.",
)
RIVER = (
    "The river {river} flows through {name}.",
    "{name} lies on the river {river}.",
    "The river of {name} is the {river}.",
)
PRODUCT = (
    "{name} is known for its {product}.",
    "The people of {name} make {product}.",
    "On the market of {name} people sell {product}.",
)
FOUNDED = (
    "{name} was founded in {founded}.",
    "The town of {name} dates from {founded}.",
    "People have lived in {name} since {founded}.",
)
RESIDENT = (
    "{who} the {job} lives in {town}.",
    "{who}, {a_job}, is at home in {town}.",
    "One of the people of {town} is {who}, who works as {a_job}.",
)


def deed(rng: random.Random, event: Event) -> str:
    """One sentence that tells an event."""
    return rng.choice(DEEDS).format(who=event.person, past=event.past, town=event.town, year=event.year)


def biography(rng: random.Random, world: World) -> Document:
    """Three to seven facts about one person, sometimes an event or a word on the friend."""
    person = rng.choice(world.people)
    sentences = tell(rng, person, some_relations(rng, rng.randint(3, 7)))
    for event in world.events:
        if event.person == person.name and rng.random() < 0.6:
            sentences.append(deed(rng, event))
    if rng.random() < 0.25:
        friend = world.person(person.facts["friend"])
        sentences += tell(rng, friend, some_relations(rng, rng.randint(1, 3)))
    return prose(sentences)


def _resident(rng: random.Random, person: Person) -> str:
    job = person.facts["job"]
    return rng.choice(RESIDENT).format(who=person.name, job=job, a_job=with_article(job), town=person.facts["town"])


def _about(rng: random.Random, template: tuple[str, ...], town: Town) -> str:
    return rng.choice(template).format(name=town.name, river=town.river, product=town.product, founded=town.founded)


def town_portrait(rng: random.Random, world: World) -> Document:
    """River, product and founding of one town, some of its people and events."""
    town = rng.choice(world.towns)
    sentences = [_about(rng, kind, town) for kind in (RIVER, PRODUCT, FOUNDED)]
    residents = [each for each in world.people if each.facts["town"] == town.name]
    sentences += [_resident(rng, each) for each in rng.sample(residents, rng.randint(0, 3))]
    events = [each for each in world.events if each.town == town.name]
    sentences += [deed(rng, each) for each in rng.sample(events, min(len(events), 2))]
    rng.shuffle(sentences)
    return prose(sentences[: rng.randint(3, len(sentences))])
