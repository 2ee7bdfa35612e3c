"""What a training document is made of: segments of text, each with its weight in the loss.

Segments are encoded one by one and every answer begins with a space, so that a prompt
ending in ``A:`` has the same tokens in training and in use.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

PROMPT_WEIGHT = 0.1


@dataclass(frozen=True)
class Segment:
    """A piece of text and its weight in the loss (1 = learned, 0 = only read)."""

    text: str
    weight: float = 1.0


Document = tuple[Segment, ...]


@dataclass(frozen=True)
class Item:
    """One question of a task: ``prompt`` ends in a colon, the answer begins with a space."""

    prompt: str
    reply: Document

    @property
    def answer(self) -> str:
        """The whole reply as text, without the leading space."""
        return "".join(segment.text for segment in self.reply).strip()


def item(prompt: str, answer: str) -> Item:
    """An item whose answer is one plain segment.

    >>> item("Q: Who?\\nA:", "Ada.").answer
    'Ada.'
    """
    return Item(prompt, (Segment(" " + answer),))


def join(items: Sequence[Item]) -> Document:
    """A document of several items, one below the other."""
    segments: list[Segment] = []
    for index, each in enumerate(items):
        segments.append(Segment("\n" * (index > 0) + each.prompt, PROMPT_WEIGHT))
        segments += each.reply
    return tuple(segments)


def prose(sentences: Sequence[str]) -> Document:
    """A document of plain sentences."""
    return (Segment(" ".join(sentences)),)


def count(rng: random.Random, most: int, alone: float = 0.6) -> int:
    """How many items a document holds: one with probability ``alone``, else 2..``most``."""
    return 1 if most == 1 or rng.random() < alone else rng.randint(2, most)
