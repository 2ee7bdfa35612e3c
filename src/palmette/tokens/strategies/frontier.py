"""What strategies share: a branch, one extension for many, and the last word."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from palmette.core.engine import Budget, Edge, Engine, Hypothesis, Node, Step

__all__ = ["Branch", "chain_of", "conclude", "grow"]


@dataclass(frozen=True)
class Branch:
    """A prefix that may grow, with Σ log p of its generated tokens after the views."""

    node: Node
    logprob: float = 0.0

    def end(self, engine: Engine, budget: Budget, token: int, logprob: float) -> Hypothesis | None:
        """The hypothesis that ends with `token`, scored by its log-probability, or None if it goes on."""
        finish = budget.finish(engine, self.node, token)
        return None if finish is None else Hypothesis(self.node, token, logprob, logprob, finish)


def grow(engine: Engine, chosen: Sequence[tuple[Node, int, float]]) -> list[Branch]:
    """Branches for (parent, token, logprob) triples, extended together."""
    nodes = engine.extend([node for node, _, _ in chosen], [[token] for _, token, _ in chosen]) if chosen else []
    return [Branch(node, logprob) for node, (_, _, logprob) in zip(nodes, chosen, strict=True)]


def chain_of(leaf: Node, count: int) -> list[Node]:
    """The last `count` nodes of the prefix down to `leaf`, in order."""
    chain: list[Node] = []
    above: Node | None = leaf
    while len(chain) < count and above is not None:
        chain.append(above)
        above = above.parent
    return chain[::-1]


def conclude(answers: Sequence[Hypothesis], committed: int = 0, edges: Iterable[Edge] = ()) -> Step:
    """The last step: all answers, best first, and the tokens of the best one beyond the `committed` ones."""
    return Step(edges=tuple(edges), committed=answers[0].tokens[committed:], answers=tuple(answers))
