"""Small stories about people of the world, with the same job, town, pet and friend from the
first sentence to the last: what a newcomer reads first.
"""

from __future__ import annotations

import random

from zoo.plots import ENDINGS, FRIEND, ONCE, OPENINGS, PET, PLACES, PLOTS, TRAITS
from zoo.text import PROMPT_WEIGHT, Document, Segment
from zoo.world import Person, World

ONCE_SHARE = 0.6


def fields(world: World, person: Person) -> dict[str, str]:
    """The fields of the story tables for one person."""
    facts = person.facts
    friend, town = world.person(facts["friend"]), world.town(facts["town"])
    place, goods = PLACES[facts["job"]]
    she, her, whom = ("She", "Her", "her") if person.gender == "f" else ("He", "His", "him")
    return {
        "N": person.name,
        "S": she,
        "s": she.lower(),
        "G": her,
        "g": her.lower(),
        "o": whom,
        "job": facts["job"],
        "pet": facts["pet"],
        "food": facts["food"],
        "hobby": facts["hobby"],
        "town": town.name,
        "river": town.river,
        "product": town.product,
        "place": place,
        "goods": goods,
        "F": friend.name,
        "fjob": friend.facts["job"],
        "ftown": friend.facts["town"],
        "fhobby": friend.facts["hobby"],
    }


def story_text(rng: random.Random, world: World, person: Person, once: float) -> str:
    """A story of six to ten sentences; it begins "Once upon a time" with probability ``once``."""
    opening = rng.choice(ONCE if rng.random() < once else OPENINGS)
    tale = [rng.choice(slot) for slot in rng.choice(PLOTS)]
    if rng.random() < 0.85:
        tale.append(rng.choice(ENDINGS))
    traits = rng.sample(TRAITS, rng.randint(0, 1))
    for field, introduction in (("{pet}", PET), ("{F}", FRIEND)):
        if any(field in wording for wording in tale) or rng.random() < 0.2:
            traits.append(rng.choice(introduction))
    rng.shuffle(traits)
    values = fields(world, person)
    return " ".join(wording.format(**values) for wording in (opening, *traits, *tale))


def story(rng: random.Random, world: World) -> Document:
    """A story about anyone; three of five begin with "Once upon a time"."""
    return (Segment(story_text(rng, world, rng.choice(world.people), ONCE_SHARE)),)


def requested_story(rng: random.Random, world: World) -> Document:
    """A story that was asked for, half of the time about a certain person."""
    person = rng.choice(world.asked)
    about = f" about {person.name}" if rng.random() < 0.5 else ""
    prompt = f"Q: Tell me a story{about}.\nA:"
    text = " " + story_text(rng, world, person, 1.0)
    return (Segment(prompt, PROMPT_WEIGHT), Segment(text))
