"""The trace: the token tree as a value. It holds no engine nodes, so keeping it keeps no model memory alive.

Log-probabilities are natural. `logprob` of a node or candidate is the model's own, before any view; a `Visit` carries
the one after the views of its run. Everything here round-trips through JSON.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from palmette.core.engine import Finish

__all__ = ["Answer", "Candidate", "Expansion", "Look", "Run", "Stage", "Trace", "TraceNode", "Visit"]


@dataclass(frozen=True)
class Candidate:
    """One of the likeliest next tokens, as the model alone sees it."""

    token: int
    bytes: bytes
    name: str
    logprob: float


@dataclass(frozen=True)
class Stage:
    """What one view did to the distribution: candidates it left, probability mass it removed, candidates it cut.

    `removed` are places in the expansion's candidate list.
    """

    view: str
    kept: int
    removed_mass: float
    removed: tuple[int, ...]


@dataclass(frozen=True)
class Look:
    """One run at a node: its views in order, and the candidates' log-probabilities after them (None: removed)."""

    run: int
    entropy: float
    stages: tuple[Stage, ...]
    logprobs: tuple[float | None, ...]


@dataclass(frozen=True)
class Expansion:
    """The distribution after a node: entropy in nats, the likeliest candidates, the mass of all others."""

    entropy: float
    candidates: tuple[Candidate, ...]
    rest: float
    looks: tuple[Look, ...]


@dataclass(frozen=True)
class Visit:
    """That run `run` weighed this node in its step `step`; `kept` is False if it dropped it at once.

    `logprob` is the token's after the views, None if they removed it; `score` is the strategy's own figure.
    """

    run: int
    step: int
    logprob: float | None
    score: float
    kept: bool


@dataclass(frozen=True)
class TraceNode:
    """One prefix. `id` is its place in `Trace.nodes`; the root is 0 and stands for the prompt."""

    id: int
    parent: int
    token: int
    bytes: bytes
    name: str
    depth: int
    logprob: float
    rank: int
    visits: tuple[Visit, ...] = ()
    expansion: Expansion | None = None


@dataclass(frozen=True)
class Answer:
    """A finished continuation: its last node, text, score and why it ended."""

    node: int
    text: str
    score: float
    logprob: float
    finish: Finish


@dataclass(frozen=True)
class Run:
    """One strategy with its views and, when it has ended, its answers, best first."""

    label: str
    views: tuple[str, ...]
    seed: int
    answers: tuple[Answer, ...] = ()


@dataclass(frozen=True)
class Trace:
    """Several runs on one tree."""

    model: str
    prompt: str
    tokens: tuple[int, ...]
    runs: tuple[Run, ...]
    nodes: tuple[TraceNode, ...] = field(repr=False)

    def children(self, node: int) -> list[TraceNode]:
        """The children of a node, in the order in which they were found."""
        return self._index.get(node, [])

    @property
    def _index(self) -> dict[int, list[TraceNode]]:
        cached: dict[int, list[TraceNode]] | None = self.__dict__.get("_children")
        if cached is None:
            cached = {}
            for node in self.nodes[1:]:
                cached.setdefault(node.parent, []).append(node)
            object.__setattr__(self, "_children", cached)
        return cached

    def path(self, node: int) -> list[TraceNode]:
        """The generated nodes down to `node`, in order, without the root."""
        found: list[TraceNode] = []
        while node > 0:
            found.append(self.nodes[node])
            node = self.nodes[node].parent
        return found[::-1]

    def answer_nodes(self, run: int) -> set[int]:
        """All nodes on the way to some answer of a run."""
        return {n.id for answer in self.runs[run].answers for n in self.path(answer.node)}

    def parting(self, first: int, second: int) -> int:
        """The last node that the best answers of two runs share."""
        shared = 0
        ours, theirs = (self.path(self.runs[r].answers[0].node) for r in (first, second))
        for a, b in zip(ours, theirs, strict=False):
            if a.id != b.id:
                break
            shared = a.id
        return shared

    def walk(self) -> Iterator[TraceNode]:
        """All nodes, depth first, children in order."""
        stack = [0]
        while stack:
            node = stack.pop()
            yield self.nodes[node]
            stack += [child.id for child in reversed(self.children(node))]
