"""An engine whose scores are given row by row, whatever the tokens are: what a processor of one step is tested on."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from palmette.core.engine import Node, Trunk, View
from palmette.core.scores import Scores
from palmette.tokens.matrix import MatrixEngine
from palmette.tokens.views import compose


class RowNode(Trunk):
    """A prefix with the row of its depth."""

    def __init__(self, rows: NDArray[np.float32], parent: Node | None, token: int, prompt: tuple[int, ...], at: int):
        super().__init__(parent, token, prompt)
        self.rows, self.at = rows, at

    @property
    def scores(self) -> Scores:
        return Scores(self.rows[min(self.at, len(self.rows) - 1)])


class RowEngine(MatrixEngine):
    """Row i are the scores after i generated tokens; the last row stays."""

    def __init__(self, rows: ArrayLike, eos: int | Collection[int] = ()) -> None:
        self.rows = np.atleast_2d(np.asarray(rows, np.float32))
        super().__init__(np.ones((self.rows.shape[1],) * 2), eos)

    def prefill(self, prompts: Sequence[Sequence[int]], *, hidden: bool = False) -> list[Node]:
        return [RowNode(self.rows, None, prompt[-1], tuple(prompt), 0) for prompt in prompts]

    def extend(self, nodes: Sequence[Node], tokens: Sequence[Sequence[int]]) -> list[Node]:
        leaves = []
        for node, new in zip(nodes, tokens, strict=True):
            for token in new:
                assert isinstance(node, RowNode)
                node = RowNode(self.rows, node, token, (), node.at + 1)
            leaves.append(node)
        return leaves


def seen_through(
    views: Sequence[View],
    row: ArrayLike,
    prompt: Sequence[int] = (0,),
    answer: Sequence[int] = (),
    eos: int | Collection[int] = (),
) -> NDArray[np.float64]:
    """The distribution that views make of one row after a prompt and an answer, float64[tokens]."""
    engine = compose(RowEngine(row, eos), views)
    node = engine.prefill([list(prompt)])[0]
    if answer:
        node = engine.extend([node], [list(answer)])[0]
    return np.exp(node.scores.logprobs())
