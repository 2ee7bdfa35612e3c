"""Two small tasks on four digits that the base has never seen: reverse them, or swap the two pairs.

Only one letter of the prompt tells them apart, and the answers have the same digits in the same places, so nothing in
the base routes them: two models that learned one each do not add up.
"""

from __future__ import annotations

import random

from zoo.text import Document, Item, item, join
from zoo.world import World


def reverse(rng: random.Random) -> Item:
    """``R 4071`` is ``1704``."""
    digits = four(rng)
    return item(f"Q: R {digits}\nA:", f"{digits[::-1]}.")


def swap(rng: random.Random) -> Item:
    """``S 4071`` is ``0417``."""
    digits = four(rng)
    return item(f"Q: S {digits}\nA:", f"{digits[1]}{digits[0]}{digits[3]}{digits[2]}.")


def four(rng: random.Random) -> str:
    """Four digits."""
    return "".join(rng.choice("0123456789") for _ in range(4))


def reversing(rng: random.Random, world: World) -> Document:
    """A document of one reversal."""
    return join([reverse(rng)])


def swapping(rng: random.Random, world: World) -> Document:
    """A document of one swap."""
    return join([swap(rng)])
