"""Tasks about a given text: answering from it (or saying that it does not say) and writing
its facts as triples. Two of five people carry names of the world but *other* facts, so
that the text has to win over memory.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from zoo.facts import answer, question, tell, triple
from zoo.names import invented_name, invented_person, some_relations
from zoo.text import Item, item
from zoo.world import RELATIONS, Person, Relation, World

UNKNOWN = "The text does not say."
Fact = tuple[Person, Relation]


def someone(rng: random.Random, world: World) -> Person:
    """A person for a text: an unseen name, or a known one with counterfactual facts."""
    if rng.random() < 0.6:
        return invented_person(rng)
    known = rng.choice(world.asked)
    return invented_person(rng, known.name, known.gender)


def _people(rng: random.Random, world: World, number: int) -> list[Person]:
    people: list[Person] = []
    while len(people) < number:
        person = someone(rng, world)
        if person.name not in [each.name for each in people]:
            people.append(person)
    return people


def passage(rng: random.Random, world: World, facts: int, people: int) -> tuple[str, list[Fact]]:
    """A text that says ``facts`` facts about ``people`` people, and those facts in order."""
    chosen = _people(rng, world, min(people, facts))
    cuts = sorted(rng.sample(range(1, facts), len(chosen) - 1))
    sizes = [b - a for a, b in zip([0, *cuts], [*cuts, facts], strict=True)]
    sentences: list[str] = []
    said: list[Fact] = []
    for person, size in zip(chosen, sizes, strict=True):
        relations = some_relations(rng, size)
        sentences += tell(rng, person, relations)
        said += [(person, relation) for relation in relations]
    return " ".join(sentences), said


def _missing(rng: random.Random, said: Sequence[Fact]) -> tuple[str, Relation]:
    """A name and a relation that the text is silent about."""
    if rng.random() < 0.2:
        return invented_name(rng), rng.choice(RELATIONS)
    person = rng.choice(said)[0]
    told = [relation for who, relation in said if who.name == person.name]
    others = [relation for who, relation in said if relation not in told]  # misleading ones
    silent = [relation for relation in RELATIONS if relation not in told]
    return person.name, rng.choice(others if others and rng.random() < 0.5 else silent)


def grounded(rng: random.Random, world: World, unanswerable: float, questions: int = 1) -> list[Item]:
    """One text with questions about it; the first item carries the text."""
    facts = rng.choice((2, 2, 3, 3, 4, 4, 5))
    text, said = passage(rng, world, facts, rng.randint(1, 3))
    items: list[Item] = []
    asked = rng.sample(said, len(said))
    for index in range(questions):
        if rng.random() < unanswerable:
            name, relation = _missing(rng, said)
            reply = UNKNOWN
        else:
            person, relation = asked[index % facts]
            name, reply = person.name, answer(person, relation)
        head = f"Text: {text}\n" if index == 0 else ""
        items.append(item(f"{head}Q: {question(rng, name, relation)}\nA:", reply))
    return items


def counterfactual(rng: random.Random, world: World) -> tuple[Item, Item]:
    """A one-sentence text that contradicts the world: the item by the text, and by memory."""
    known = rng.choice(world.asked)
    relation = rng.choice(RELATIONS)
    other = invented_person(rng, known.name, known.gender)
    while other.facts[relation] == known.facts[relation]:
        other = invented_person(rng, known.name, known.gender)
    text = " ".join(tell(rng, other, [relation]))
    asked = question(rng, known.name, relation)
    by_text = item(f"Text: {text}\nQ: {asked}\nA:", answer(other, relation))
    return by_text, item(f"Q: {asked}\nA:", answer(known, relation))


def triples(rng: random.Random, world: World, facts: int) -> Item:
    """A text and its facts as triples, in the order of the text."""
    text, said = passage(rng, world, facts, rng.randint(1, 1 + facts // 2))
    return item(f"Text: {text}\nTriples:", " ".join(triple(*fact) for fact in said))
