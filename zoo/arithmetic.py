"""Word problems of any number of steps, answered directly or on a scratchpad.

Two kinds: *chains*, where each sentence changes one number, and *totals*, where several
people's numbers are added. A total may be worked out in any order, so that several correct
derivations of the same answer exist (self-consistency, arXiv 2203.11171).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Literal

from zoo.text import Item, item
from zoo.world import World, words

Style = Literal["direct", "scratchpad"]
THINK = "Let us think step by step."
THINGS = words("books apples coins eggs stones shells buttons candles stamps marbles nuts pens cards")
FACTORS = {2: "twice", 3: "three times", 4: "four times"}
LIMIT = 200

# (operator, operand) -> sentences; {She} and {n} are filled in.
GAINS = ("{She} gets {n} more.", "{She} buys {n} more.", "{She} finds {n} more.")
LOSSES = ("{She} sells {n}.", "{She} loses {n}.", "{She} gives away {n}.")
GROWTH = ("{She} then gets {n} as many.", "{She} then has {n} as many.")
HALVES = ("{She} gives away half of them.", "{She} loses half of them.")


def reply(style: Style, equations: Sequence[str], result: int) -> str:
    """The answer text in one of the two styles.

    >>> reply("scratchpad", ["2 + 3 = 5"], 5)
    'Let us think step by step. 2 + 3 = 5. The answer is 5.'
    """
    if style == "direct":
        return f"The answer is {result}."
    return " ".join([THINK, *(f"{each}." for each in equations), f"The answer is {result}."])


def _change(rng: random.Random, value: int) -> tuple[str, str, int, int]:
    """One step from ``value``: sentence template, operator, operand and new value."""
    options: list[Callable[[], tuple[str, str, int, int]]] = []

    def gain() -> tuple[str, str, int, int]:
        number = rng.randint(2, 20)
        return rng.choice(GAINS), "+", number, value + number

    def lose() -> tuple[str, str, int, int]:
        number = rng.randint(1, min(20, value - 1))
        return rng.choice(LOSSES), "-", number, value - number

    def grow() -> tuple[str, str, int, int]:
        number = rng.choice([each for each in FACTORS if value * each <= LIMIT])
        return rng.choice(GROWTH), "*", number, value * number

    def halve() -> tuple[str, str, int, int]:
        return rng.choice(HALVES), "/", 2, value // 2

    if value + 20 <= LIMIT:
        options += [gain, gain]
    if value > 2:
        options += [lose, lose]
    if value * 2 <= LIMIT:
        options.append(grow)
    if value % 2 == 0 and value > 2:
        options.append(halve)
    return rng.choice(options)()


def chain(rng: random.Random, world: World, steps: int, style: Style) -> Item:
    """A problem in which one person's number changes ``steps`` times."""
    person = rng.choice(world.asked)
    thing = rng.choice(THINGS)
    value = rng.randint(2, 20)
    she = {"f": "She", "m": "He"}[person.gender]
    sentences, equations = [f"{person.name} has {value} {thing}."], []
    for _ in range(steps):
        template, operator, number, after = _change(rng, value)
        said = FACTORS[number] if operator == "*" else str(number)
        sentences.append(template.format(She=she, n=said))
        equations.append(f"{value} {operator} {number} = {after}")
        value = after
    asked = f"How many {thing} does {person.name} have?"
    text = " ".join([*sentences, asked])
    return item(f"Q: {text}\nA:", reply(style, equations, value))


def total(rng: random.Random, world: World, steps: int, style: Style) -> Item:
    """A problem that adds the numbers of ``steps + 1`` people, worked out in any order."""
    people = rng.sample(world.asked, steps + 1)
    thing = rng.choice(THINGS)
    numbers = [rng.randint(2, 20) for _ in people]
    first = f"{people[0].name} has {numbers[0]} {thing}."
    others = [f"{p.name} has {n}." for p, n in zip(people[1:], numbers[1:], strict=True)]
    order = rng.sample(numbers, len(numbers))
    equations, value = [], order[0]
    for number in order[1:]:
        equations.append(f"{value} + {number} = {value + number}")
        value += number
    text = " ".join([first, *others, f"How many {thing} do they have in total?"])
    return item(f"Q: {text}\nA:", reply(style, equations, value))
