"""Independent rows: every row walks down the tree by its own rule; rows that agree so far share their nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from palmette.core.engine import Budget, Edge, Engine, Hypothesis, Node, Step
from palmette.tokens.strategies.frontier import Branch, conclude, grow

__all__ = ["walk"]

S = TypeVar("S")
Choose = Callable[[Node, S, int], tuple[int, S]]


def walk(
    engine: Engine, prompt: Sequence[int], budget: Budget, choose: Choose[S], states: Sequence[S]
) -> Iterator[Step]:
    """Grow one row for each state until all end; row 0 is streamed, answers come in row order.

    `choose(node, state, row)` gives the row's next token after `node` and its next state.
    """
    root = Branch(engine.prefill([prompt])[0])
    rows = {row: (root, state) for row, state in enumerate(states)}
    done: dict[int, Hypothesis] = {}
    committed = 0
    while rows:
        edges: dict[tuple[int, int], Edge] = {}
        going: dict[int, tuple[tuple[int, int], S]] = {}
        for row, (branch, state) in rows.items():
            token, state = choose(branch.node, state, row)
            logprob = branch.logprob + branch.node.scores.logprob(token)
            place = (id(branch.node), token)
            edges[place] = Edge(branch.node, token, logprob)
            end = branch.end(engine, budget, token, logprob)
            if end is not None:
                done[row] = end
            else:
                going[row] = (place, state)
            if row == 0:
                streamed = (token,)
        first = streamed if 0 in rows else ()
        wanted = {place: edges[place] for place, _ in going.values()}
        grown = dict(zip(wanted, grow(engine, [(e.parent, e.token, e.score) for e in wanted.values()]), strict=True))
        rows = {row: (grown[place], state) for row, (place, state) in going.items()}
        if rows:
            committed += len(first)
            yield Step(edges=tuple(edges.values()), committed=first)
        else:
            yield conclude([done[row] for row in range(len(states))], committed, edges.values())
