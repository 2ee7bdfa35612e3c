"""Arithmetic with a tool: the model writes ``[15*72=`` and the runtime writes the result and
the closing bracket (Toolformer, arXiv 2302.04761). What the tool writes has weight 0.
"""

from __future__ import annotations

import random
import re

from zoo.text import Item, Segment

DIRECT_WEIGHT = 0.3  # two-digit products in the head are beyond this model: not learnable
CALL = re.compile(r"\[(\d+)([*+-])(\d+)=$")


def evaluate(left: int, operator: str, right: int) -> int:
    """The value of one call.

    >>> evaluate(15, "*", 72)
    1080
    """
    if operator == "*":
        return left * right
    return left + right if operator == "+" else left - right


def tool(text: str) -> str | None:
    """The tool's reply to ``text`` if it ends in an open call, else None.

    >>> tool("[15*72=")
    '1080]'
    """
    match = CALL.search(text)
    if match is None:
        return None
    return f"{evaluate(int(match[1]), match[2], int(match[3]))}]"


def _calls(rng: random.Random) -> tuple[str, list[tuple[int, str, int]]]:
    """An expression and the calls that work it out, first things first."""
    a, b, c = rng.randint(11, 99), rng.randint(11, 99), rng.randint(11, 99)
    sign = rng.choice("+-")
    form = rng.random()
    if form < 0.15:
        return f"{a} * {b}", [(a, "*", b)]
    if form < 0.7:
        return f"{a} * {b} {sign} {c}", [(a, "*", b), (a * b, sign, c)]
    if form < 0.85:
        return f"{a} + {b} + {c}", [(a, "+", b), (a + b, "+", c)]
    return f"{c} + {a} * {b}", [(a, "*", b), (c, "+", a * b)]


def calculator(rng: random.Random, direct: bool = False) -> Item:
    """A question with its calls and answer; ``direct`` leaves the calls out."""
    expression, calls = _calls(rng)
    result = evaluate(*calls[-1])
    prompt = f"Q: What is {expression}?\nA:"
    if direct:
        return Item(prompt, (Segment(f" The answer is {result}.", DIRECT_WEIGHT),))
    segments: list[Segment] = []
    opening = " ["
    for left, operator, right in calls:
        segments.append(Segment(f"{opening}{left}{operator}{right}="))
        segments.append(Segment(f"{evaluate(left, operator, right)}]", 0.0))
        opening = " ["
    segments.append(Segment(f" The answer is {result}."))
    return Item(prompt, tuple(segments))
