"""The training mixture: which share of the documents is of which kind."""

from __future__ import annotations

import random
from collections.abc import Callable

from zoo.arithmetic import Style, chain, total
from zoo.calculator import calculator
from zoo.closed_book import closed_book
from zoo.prose import biography, town_portrait
from zoo.reading import grounded, triples
from zoo.stories import requested_story, story
from zoo.text import Document, count, join
from zoo.world import World

Kind = Callable[[random.Random, World], Document]


def _closed_book(rng: random.Random, world: World) -> Document:
    return join([closed_book(rng, world) for _ in range(count(rng, 4))])


def _chains(rng: random.Random, world: World) -> Document:
    """One style per document, so that an example in the prompt decides the style."""
    style: Style = rng.choice(("direct", "scratchpad"))
    return join([chain(rng, world, rng.randint(1, 4), style) for _ in range(count(rng, 3))])


def _totals(rng: random.Random, world: World) -> Document:
    style: Style = rng.choice(("direct", "scratchpad"))
    return join([total(rng, world, rng.randint(1, 4), style) for _ in range(count(rng, 3))])


def _hard_chain(rng: random.Random, world: World) -> Document:
    style: Style = "scratchpad" if rng.random() < 0.8 else "direct"
    return join([chain(rng, world, rng.randint(4, 6), style)])


def _calculator(rng: random.Random, world: World) -> Document:
    direct = rng.random() < 0.1
    return join([calculator(rng, direct) for _ in range(count(rng, 3))])


def _grounded(rng: random.Random, world: World) -> Document:
    texts = 2 if rng.random() < 0.2 else 1
    return join([each for _ in range(texts) for each in grounded(rng, world, 0.25, count(rng, 3, 0.4))])


def _triples(rng: random.Random, world: World) -> Document:
    return join([triples(rng, world, rng.randint(1, 2)) for _ in range(count(rng, 3))])


def _hard_triples(rng: random.Random, world: World) -> Document:
    return join([triples(rng, world, rng.randint(3, 4))])


MIXTURE: tuple[tuple[str, float, Kind], ...] = (
    ("biographies", 0.12, biography),
    ("towns", 0.04, town_portrait),
    ("stories", 0.10, story),
    ("requested stories", 0.02, requested_story),
    ("closed-book questions", 0.08, _closed_book),
    ("word problems, 1-4 steps", 0.15, _chains),
    ("totals, 1-4 steps", 0.04, _totals),
    ("calculator", 0.05, _calculator),
    ("reading", 0.24, _grounded),
    ("triples, 1-2 facts", 0.08, _triples),
    ("word problems, 4-6 steps", 0.04, _hard_chain),
    ("triples, 3-4 facts", 0.04, _hard_triples),
)


def document(rng: random.Random, world: World) -> Document:
    """One training document, of a kind drawn from the mixture."""
    kinds = [kind for _, _, kind in MIXTURE]
    shares = [share for _, share, _ in MIXTURE]
    return rng.choices(kinds, shares)[0](rng, world)
