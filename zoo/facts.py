"""How a fact is said, asked, answered and written as a triple: the templates of the seven
relations, shared by prose, closed-book questions, reading and extraction.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from zoo.world import Person, Relation

# Verb phrases: "{S} lives in Tolby." {a} is the value with its article, {v} without.
PREDICATES: dict[Relation, tuple[str, ...]] = {
    "town": ("lives in {v}", "has a house in {v}", "is at home in {v}"),
    "job": ("works as {a}", "is {a}", "earns a living as {a}"),
    "birth": ("was born in {v}", "was born in the year {v}"),
    "pet": ("has {a}", "owns {a}", "keeps {a}"),
    "food": ("often eats {v}", "likes to eat {v}", "loves {v} for dinner"),
    "hobby": ("enjoys {v}", "is fond of {v}", "spends the evenings with {v}"),
    "friend": ("is a friend of {v}", "is friends with {v}"),
}
# Whole sentences: {S} subject, {G} genitive ("Lena's" or "Her"), {N} always the name.
SENTENCES: dict[Relation, tuple[str, ...]] = {
    "town": ("{G} home is in {v}.", "The home of {N} is in {v}."),
    "job": ("{G} job is that of {a}.", "The job of {N} is {a}."),
    "birth": ("{G} year of birth is {v}.", "{N} was born in {v}."),
    "pet": ("{G} pet is {a}.", "The pet of {N} is {a}."),
    "food": ("{G} favourite food is {v}.", "The favourite food of {N} is {v}."),
    "hobby": ("{G} hobby is {v}.", "The hobby of {N} is {v}."),
    "friend": ("{S} and {v} are friends.", "{G} friend is {v}."),
}
QUESTIONS: dict[Relation, tuple[str, ...]] = {
    "town": ("Where does {N} live?", "In which town does {N} live?"),
    "job": ("What does {N} do for a living?", "What is the job of {N}?"),
    "birth": ("When was {N} born?", "In which year was {N} born?"),
    "pet": ("Which animal does {N} have?", "What is the pet of {N}?"),
    "food": ("What does {N} often eat?", "What is the favourite food of {N}?"),
    "hobby": ("What is the hobby of {N}?", "What does {N} enjoy?"),
    "friend": ("Who is the friend of {N}?", "Who is {N} friends with?"),
}
LABELS: dict[Relation, str] = {
    "town": "lives in",
    "job": "works as",
    "birth": "born in",
    "pet": "has",
    "food": "eats",
    "hobby": "enjoys",
    "friend": "friend of",
}


def with_article(noun: str) -> str:
    """The noun with "a" or "an".

    >>> with_article("goat"), with_article("oak")
    ('a goat', 'an oak')
    """
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def answer(person: Person, relation: Relation) -> str:
    """The answer to a question about a fact: ``a baker.``, ``Tolby.``"""
    value = person.facts[relation]
    return (with_article(value) if relation in ("job", "pet") else value) + "."


def question(rng: random.Random, name: str, relation: Relation) -> str:
    """A question about a relation in one of its wordings."""
    return rng.choice(QUESTIONS[relation]).format(N=name)


def triple(person: Person, relation: Relation) -> str:
    """The fact as ``(subject | relation | object)``."""
    return f"({person.name} | {LABELS[relation]} | {person.facts[relation]})"


def predicate(rng: random.Random, person: Person, relation: Relation) -> str:
    """A verb phrase that says the fact, without subject or full stop."""
    return _fill(rng.choice(PREDICATES[relation]), person, relation)


def _fill(template: str, person: Person, relation: Relation, pronoun: bool = False) -> str:
    value = person.facts[relation]
    she, her = ("She", "Her") if person.gender == "f" else ("He", "His")
    return template.format(
        S=she if pronoun else person.name,
        G=her if pronoun else person.name + "'s",
        N=person.name,
        v=value,
        a=with_article(value),
    )


def sentence(rng: random.Random, person: Person, relation: Relation, pronoun: bool) -> str:
    """One sentence for one fact; ``pronoun`` lets the subject be She or He."""
    if rng.random() < 0.4:
        return _fill(rng.choice(SENTENCES[relation]), person, relation, pronoun)
    return _fill("{S} ", person, relation, pronoun) + predicate(rng, person, relation) + "."


def pair_sentence(rng: random.Random, person: Person, first: Relation, second: Relation, pronoun: bool) -> str:
    """One sentence for two facts: ``Siten, who owns a turtle, lives in Tekesel.``"""
    one, two = predicate(rng, person, first), predicate(rng, person, second)
    if pronoun:
        return _fill("{S} ", person, first, True) + f"{one} and {two}."
    if rng.random() < 0.5:
        return f"{person.name}, who {one}, {two}."
    return f"{person.name} {one} and {two}."


def tell(rng: random.Random, person: Person, relations: Sequence[Relation]) -> list[str]:
    """Sentences that say these facts of one person in this order, the first by name."""
    sentences: list[str] = []
    rest = list(relations)
    while rest:
        pronoun = bool(sentences) and rng.random() < 0.7
        if len(rest) >= 2 and rng.random() < 0.3:
            sentences.append(pair_sentence(rng, person, rest[0], rest[1], pronoun))
            rest = rest[2:]
        else:
            sentences.append(sentence(rng, person, rest[0], pronoun))
            rest = rest[1:]
    return sentences
