"""`Gather`: an engine that waits. Extensions asked of it are run together, in one forward pass, when a score is read.

So strategies that take turns (`yield` after they asked, before they read) share every forward pass, in one thread and
without knowing of each other; and an extension whose scores nobody reads (the last token of an answer) is never run.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from palmette.core.engine import Engine, Node, Tokenizer, Trunk
from palmette.core.scores import Scores

__all__ = ["Gather"]


class Pending(Trunk):
    """A node whose forward pass may not have run yet."""

    def __init__(self, gather: Gather, parent: Pending | None, token: int, prompt: tuple[int, ...] = ()) -> None:
        super().__init__(parent, token, prompt)
        self._gather = gather
        self._real: Node | None = None
        self.wants_hidden = False
        self._children: dict[int, weakref.ref[Pending]] = {}

    def child(self, token: int) -> tuple[Pending, bool]:
        """The node after `token`, and whether it is new: equal prefixes are one node while someone holds it."""
        ref = self._children.get(token)
        known = ref() if ref is not None else None
        if known is not None:
            return known, False
        made = Pending(self._gather, self, token)
        self._children[token] = weakref.ref(made)
        return made, True

    def real(self) -> Node:
        """The engine's own node; runs everything that waits if this one still does."""
        if self._real is None:
            self._gather.flush(self)
        assert self._real is not None
        return self._real

    @property
    def ready(self) -> bool:
        """Whether reading the scores costs nothing any more."""
        return self._real is not None

    @property
    def inner(self) -> Node | None:
        """The engine may itself be a view."""
        return self.real().inner

    @property
    def label(self) -> str:
        """The label of the engine's node."""
        return self.real().label

    @property
    def scores(self) -> Scores:
        """The next token's scores, from the engine."""
        return self.real().scores

    @property
    def hidden(self) -> NDArray[np.float32]:
        """Hidden states of the new positions, from the engine."""
        return self.real().hidden

    @property
    def layers(self) -> NDArray[np.float32]:
        """Hidden states of every layer at the last position, from the engine."""
        return self.real().layers


class Gather:
    """Engine in, engine out: see the module's text.

    `passes` counts the forward passes that were run (a prefill of several prompts counts one).
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.passes = 0
        self._roots: weakref.WeakValueDictionary[tuple[tuple[int, ...], bool], Pending] = weakref.WeakValueDictionary()
        self._waiting_roots: list[weakref.ref[Pending]] = []
        self._waiting: list[weakref.ref[Pending]] = []

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
        """Roots for the prompts; a prompt that is still in use is not run again."""
        return [self._root(tuple(prompt), hidden) for prompt in prompts]

    def _root(self, prompt: tuple[int, ...], hidden: bool) -> Pending:
        known = self._roots.get((prompt, hidden))
        if known is None:
            known = Pending(self, None, prompt[-1] if prompt else -1, prompt)
            known.wants_hidden = hidden
            self._roots[prompt, hidden] = known
            self._waiting_roots.append(weakref.ref(known))
        return known

    def install(self, prompt: Sequence[int], real: Node) -> Node:
        """A root for a prompt that the engine has read already; it is known as long as somebody holds it."""
        root = Pending(self, None, prompt[-1], tuple(prompt))
        root._real = real
        self._roots[root.prompt, False] = root
        return root

    def extend(self, nodes: Sequence[Node], tokens: Sequence[Sequence[int]]) -> list[Node]:
        """Queue the extensions; nothing runs before a score is read."""
        leaves: list[Node] = []
        for node, new in zip(nodes, tokens, strict=True):
            assert isinstance(node, Pending)
            for token in new:
                node, fresh = node.child(int(token))
                if fresh:
                    self._waiting.append(weakref.ref(node))
            leaves.append(node)
        return leaves

    def flush(self, wanted: Pending) -> None:
        """Run what waits: one prefill and one forward pass (more only where a waiting node stands on a waiting one)."""
        self._flush_roots()
        waiting = [node for ref in self._waiting if (node := ref()) is not None and node._real is None]
        self._waiting = [weakref.ref(node) for node in waiting]
        jobs = _chains(waiting)
        while jobs:
            ready = [(top, chain) for top, chain in jobs if top._real is not None]
            jobs = [(top, chain) for top, chain in jobs if top._real is None]
            self._run(ready)
        self._waiting = []  # only now: an interrupted pass is run again when a score is next read
        assert wanted._real is not None

    def _flush_roots(self) -> None:
        roots = [node for ref in self._waiting_roots if (node := ref()) is not None and node._real is None]
        for hidden in (False, True):
            group = [node for node in roots if node.wants_hidden is hidden]
            if group:
                reals = self.engine.prefill([node.prompt for node in group], hidden=hidden)
                self.passes += 1
                for node, real in zip(group, reals, strict=True):
                    node._real = real
        self._waiting_roots = []

    def _run(self, jobs: list[tuple[Pending, list[Pending]]]) -> None:
        reals = self.engine.extend([top.real() for top, _ in jobs], [[n.token for n in chain] for _, chain in jobs])
        self.passes += 1
        for (_, chain), leaf in zip(jobs, reals, strict=True):
            above: Node | None = leaf
            for node in reversed(chain):
                node._real = above
                above = above.parent if above is not None else None


def _chains(waiting: list[Pending]) -> list[tuple[Pending, list[Pending]]]:
    """Group waiting nodes into runs of single descent: (the node the run stands on, the run)."""
    members = {id(node) for node in waiting}
    children: dict[int, int] = {}
    for node in waiting:
        children[id(node.parent)] = children.get(id(node.parent), 0) + 1
    chains: dict[int, tuple[Pending, list[Pending]]] = {}
    for node in waiting:  # parents come before children
        parent = node.parent
        assert isinstance(parent, Pending)
        if id(parent) in members and children[id(parent)] == 1:
            top, chain = chains.pop(id(parent))
            chain.append(node)
            chains[id(node)] = (top, chain)
        else:
            chains[id(node)] = (parent, [node])
    return list(chains.values())
