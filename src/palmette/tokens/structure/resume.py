"""An engine that goes on where a text already stands: a prompt that begins with known tokens costs only the rest.

To a strategy the whole text is a prompt, as if it had been given at once; the keys and values of its beginning are
those of the tree it grew in.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from palmette.core.engine import Engine, Node, Tokenizer, Trunk
from palmette.core.errors import UsageError
from palmette.core.scores import Scores

__all__ = ["Resume", "ResumedNode"]


class ResumedNode(Trunk):
    """A node of the engine below, in a tree that begins later."""

    def __init__(self, owner: Resume, parent: ResumedNode | None, below: Node, prompt: tuple[int, ...] = ()) -> None:
        super().__init__(parent, below.token, prompt)
        self.owner = owner
        self.below = below

    @property
    def inner(self) -> Node | None:
        """The engine below may itself be a view."""
        return self.below.inner

    @property
    def label(self) -> str:
        """The label of the node below."""
        return self.below.label

    @property
    def scores(self) -> Scores:
        """The next token's scores."""
        return self.below.scores

    @property
    def hidden(self) -> NDArray[np.float32]:
        """Hidden states of the new positions."""
        return self.below.hidden

    @property
    def layers(self) -> NDArray[np.float32]:
        """Hidden states of every layer at the last position."""
        return self.below.layers


class Resume:
    """An engine whose prompts may begin with `tokens`, which stand at `node` already.

    Args:
        engine: the engine that `node` belongs to.
        node: the last node of the known beginning.
        tokens: the tokens from the beginning to `node`.
    """

    def __init__(self, engine: Engine, node: Node, tokens: tuple[int, ...]) -> None:
        self.engine = engine
        self.node = node
        self.tokens = tokens

    @property
    def tokenizer(self) -> Tokenizer:
        """The engine's tokenizer."""
        return self.engine.tokenizer

    @property
    def eos(self) -> frozenset[int]:
        """The engine's end-of-sequence tokens."""
        return self.engine.eos

    @property
    def context_length(self) -> int:
        """The engine's context length in tokens."""
        return self.engine.context_length

    @property
    def vocabulary(self) -> int:
        """The engine's vocabulary size."""
        return self.engine.vocabulary

    def project(self, hidden: NDArray[np.float32]) -> NDArray[np.float32]:
        """Hidden states through the engine's output head."""
        return self.engine.project(hidden)

    def prefill(self, prompts: Sequence[Sequence[int]], *, hidden: bool = False) -> list[Node]:
        """Roots; a prompt that begins with the known tokens goes on from there."""
        return [self._root(tuple(int(t) for t in prompt), hidden) for prompt in prompts]

    def _root(self, prompt: tuple[int, ...], hidden: bool) -> Node:
        known = len(self.tokens)
        if hidden or prompt[:known] != self.tokens:
            below = self.engine.prefill([prompt], hidden=hidden)[0]
        elif len(prompt) == known:
            below = self.node
        else:
            below = self.engine.extend([self.node], [prompt[known:]])[0]
        return ResumedNode(self, None, below, prompt)

    def extend(self, nodes: Sequence[Node], tokens: Sequence[Sequence[int]]) -> list[Node]:
        """Extend below in one pass and wrap every new node."""
        below = []
        for node in nodes:
            if not isinstance(node, ResumedNode) or node.owner is not self:
                raise UsageError("a node of another engine was given to this one")
            below.append(node.below)
        leaves = self.engine.extend(below, tokens)
        return [self._carry(node, leaf, len(new)) for node, leaf, new in zip(nodes, leaves, tokens, strict=True)]

    def _carry(self, node: Node, leaf: Node, count: int) -> Node:
        chain: list[Node] = []
        above: Node | None = leaf
        for _ in range(count):
            assert above is not None
            chain.append(above)
            above = above.parent
        assert isinstance(node, ResumedNode)
        for inner in reversed(chain):
            node = ResumedNode(self, node, inner)
        return node
