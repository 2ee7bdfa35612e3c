"""Greedy decoding, ancestral sampling and its usual truncated forms: one token at a time, each row on its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from palmette.core.engine import Budget, Engine, Node, Step, Strategy, View
from palmette.core.errors import BadParameter
from palmette.core.rng import Rng
from palmette.tokens.strategies.named import named
from palmette.tokens.strategies.rows import walk
from palmette.tokens.views.truncate import top_k, top_p

__all__ = ["greedy", "nucleus", "sample", "topk"]


@named
def greedy() -> Strategy:
    """The likeliest token at every step, ties by lower id."""

    def run(engine: Engine, prompt: Sequence[int], budget: Budget, rng: Rng) -> Iterator[Step]:
        def choose(node: Node, state: None, row: int) -> tuple[int, None]:
            return node.scores.best, None

        return walk(engine, prompt, budget, choose, [None])

    return run


@named
def sample(n: int = 1) -> Strategy:
    """Ancestral sampling: draw every token from the model's distribution after the views.

    Draws are keyed by seed, row and prefix: the k-th of n samples is the same whatever n is.

    Args:
        n: how many independent samples; they are answered in drawing order.
    """
    if n < 1:
        raise BadParameter(f"sample needs n >= 1, not {n!r}")

    def run(engine: Engine, prompt: Sequence[int], budget: Budget, rng: Rng) -> Iterator[Step]:
        def choose(node: Node, own: Rng, row: int) -> tuple[int, Rng]:
            return node.scores.draw(own.uniform(node.key)), own

        return walk(engine, prompt, budget, choose, [rng.fork(row) for row in range(n)])

    return run


@named
def nucleus(p: float = 0.9, n: int = 1) -> Strategy:
    """Nucleus sampling (Holtzman et al. 2020): `sample` through the view `top_p`, which stands after all other views.

    Args:
        p: probability mass to keep, 0 … 1.
        n: how many independent samples.
    """
    return _through(top_p(p), sample(n))


@named
def topk(k: int = 40, n: int = 1) -> Strategy:
    """Top-k sampling (Fan et al. 2018): `sample` through the view `top_k`, which stands after all other views.

    Args:
        k: how many candidates to keep.
        n: how many independent samples.
    """
    return _through(top_k(k), sample(n))


def _through(view: View, strategy: Strategy) -> Strategy:
    def run(engine: Engine, prompt: Sequence[int], budget: Budget, rng: Rng) -> Iterator[Step]:
        return strategy(view(engine), prompt, budget, rng)

    return run
