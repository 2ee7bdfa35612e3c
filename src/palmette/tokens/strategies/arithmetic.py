"""Arithmetic sampling (Vilnis et al. 2023): n points spread over [0, 1) are decoded like arithmetic codes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from palmette.core.engine import Budget, Engine, Node, Step, Strategy, prompt_key
from palmette.core.errors import BadParameter
from palmette.core.rng import Rng
from palmette.core.scores import Scores
from palmette.tokens.strategies.named import named
from palmette.tokens.strategies.rows import walk

__all__ = ["arithmetic"]

FRESH = 2.0**-53  # the resolution of a new code
WORN = 2.0**-20  # a code known no finer than this gets new low-order bits


@dataclass(frozen=True)
class Code:
    """A point of the present interval, and how finely it is still known."""

    point: float
    resolution: float = FRESH


@named
def arithmetic(n: int = 4) -> Strategy:
    """n samples at once, each with the model's law, together more diverse than independent ones.

    Codes c_i = (i + u)/n with one common u; a token's interval is its probability in best-first order, and the code is
    rescaled to the interval it falls into. A double holds 53 bits and each step uses −log2 p of them; a code that runs
    low is refilled with bits drawn by place, so long answers keep the exact law.

    Args:
        n: the number of codes; answers come in the order of the codes.
    """
    if n < 1:
        raise BadParameter(f"arithmetic needs n >= 1, not {n!r}")

    def run(engine: Engine, prompt: Sequence[int], budget: Budget, rng: Rng) -> Iterator[Step]:
        def choose(node: Node, code: Code, row: int) -> tuple[int, Code]:
            return _decode(node.scores, _refilled(code, rng.fork(row).uniform(node.key)))

        shift = rng.uniform(prompt_key(prompt))
        return walk(engine, prompt, budget, choose, [Code((i + shift) / n) for i in range(n)])

    return run


def _refilled(code: Code, u: float) -> Code:
    if code.resolution <= WORN:
        return code
    return Code(min((math.floor(code.point / code.resolution) + u) * code.resolution, 1 - FRESH))


def _decode(scores: Scores, code: Code) -> tuple[int, Code]:
    """The token whose interval [low, low + width) holds the code, and the code within that interval."""
    ids, _, cumulated = scores.heaviest(min(1.0, code.point + 1e-9))
    place = min(int(np.searchsorted(cumulated, code.point, side="right")), ids.size - 1)
    low = float(cumulated[place - 1]) if place else 0.0
    width = max(float(cumulated[place]) - low, 1e-300)
    inside = min(max((code.point - low) / width, 0.0), 1 - FRESH)
    return int(ids[place]), Code(inside, code.resolution / width)
