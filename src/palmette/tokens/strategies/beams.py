"""What all beam searches share: candidates, the pool of finished hypotheses, and when to stop.

Scores are Σ log p of the generated tokens, an end-of-sequence token included, the prompt excluded. A finished
hypothesis is ranked by Σ log p / length^α.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from palmette.core.engine import Budget, Edge, Engine, Hypothesis, Node, root_of
from palmette.core.errors import BadParameter, EmptySupport
from palmette.core.scores import Floats, Ids
from palmette.tokens.strategies.frontier import Branch

__all__ = ["Candidate", "Early", "Group", "Measure", "best_candidates", "best_first", "common_depth", "continuations"]

Early = Literal["never"] | bool
Measure = Literal["view", "model"]


@dataclass(frozen=True)
class Candidate:
    """`token` after a live branch. `logprob` is the cumulated log-probability, `rank` what the selection sorts by."""

    parent: Node
    token: int
    logprob: float
    rank: float

    def edge(self, kept: bool) -> Edge:
        """The choice as the trace records it."""
        return Edge(self.parent, self.token, self.logprob, kept)


def continuations(node: Node, count: int, measure: Measure) -> tuple[Ids, Floats]:
    """The best `count` next tokens and their log-probabilities, best first.

    "view" measures after the views, renormalised; "model" by the model itself, among the tokens that the views left.
    """
    scores = node.scores
    if measure == "view":
        ids, values = scores.head(count)
        return ids, values - scores.log_normalizer
    bottom = node
    while bottom.inner is not None:
        bottom = bottom.inner
    ids, values = bottom.scores.only(scores.support()).head(count)
    return ids, values - bottom.scores.log_normalizer


def best_candidates(live: Sequence[Branch], count: int, measure: Measure) -> list[Candidate]:
    """The best `count` continuations over all live branches, ties by branch order, then by lower id."""
    found: list[Candidate] = []
    dead_end: EmptySupport | None = None
    for branch in live:
        try:
            ids, logprobs = continuations(branch.node, count, measure)
        except EmptySupport as error:  # this branch alone cannot go on
            dead_end = error
            continue
        totals = branch.logprob + logprobs
        found += [Candidate(branch.node, int(t), float(lp), float(lp)) for t, lp in zip(ids, totals, strict=True)]
    if dead_end is not None and not found:
        raise dead_end
    return best_first(found)[:count]


def best_first(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Sorted by rank, ties as they stood."""
    return sorted(candidates, key=lambda c: -c.rank)


@dataclass
class Group:
    """One beam of `width` live branches with its pool of finished hypotheses."""

    width: int
    budget: Budget
    length_penalty: float = 1.0
    early_stopping: Early = False
    live: list[Branch] = field(default_factory=list)
    done: list[Hypothesis] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.width < 1:
            raise BadParameter(f"a beam needs a width of at least 1, not {self.width!r}")
        if self.early_stopping not in (True, False, "never"):
            raise BadParameter(f"early_stopping must be true, false or 'never', not {self.early_stopping!r}")

    def fanout(self, engine: Engine) -> int:
        """How many candidates fill the beam even if every end-of-sequence token ranks first; at least twice the width,
        so that the trace shows the runners-up."""
        return max(2, 1 + len(engine.eos)) * self.width

    def candidates(self, engine: Engine, measure: Measure = "view") -> list[Candidate]:
        """The best continuations of the live branches; none if all are dead ends and something is finished."""
        try:
            return best_candidates(self.live, self.fanout(engine), measure)
        except EmptySupport:
            if not self.done:
                raise
            return []

    def settle(self, engine: Engine, ranked: Sequence[Candidate]) -> tuple[list[Candidate], list[Edge]]:
        """Take `ranked` candidates, best first: end some, keep `width` others, note the rest as pruned.

        A candidate that ends is accepted only if it ranks within the width (so does transformers).
        """
        kept: list[Candidate] = []
        edges: list[Edge] = []
        for place, candidate in enumerate(ranked):
            finish = self.budget.finish(engine, candidate.parent, candidate.token)
            within = place < self.width
            if finish is not None and within:
                self._finish(candidate, finish)
            elif finish is None and len(kept) < self.width:
                kept.append(candidate)
                within = True
            else:
                within = False
            edges.append(candidate.edge(within))
        return kept, edges

    def _finish(self, candidate: Candidate, finish: Literal["eos", "stop", "length"]) -> None:
        length = candidate.parent.depth + 1 - len(root_of(candidate.parent).prompt)
        score = self.normalised(candidate.logprob, length)
        self.done.append(Hypothesis(candidate.parent, candidate.token, score, candidate.logprob, finish))
        self.done.sort(key=lambda h: -h.score)
        del self.done[self.width :]

    def normalised(self, logprob: float, length: int) -> float:
        """Σ log p / length^α."""
        return float(logprob / length**self.length_penalty)

    def over(self) -> bool:
        """True when no live branch can or (by `early_stopping`) may still change the answer."""
        if not self.live:
            return True
        if len(self.done) < self.width:
            return False
        if self.early_stopping is True:
            return True
        best = max(branch.logprob for branch in self.live)
        node = self.live[0].node
        length = node.depth - len(root_of(node).prompt)
        if self.early_stopping == "never" and self.length_penalty > 0:
            length = self.budget.max_tokens  # the kindest length a negative sum can be divided by
        return self.normalised(best, length) <= self.done[-1].score


def common_depth(branches: Sequence[Branch]) -> int:
    """The depth of the deepest prefix that all branches (of equal depth) share."""
    nodes = {id(b.node): b.node for b in branches}
    while len(nodes) > 1:
        nodes = {id(n.parent): n.parent for n in nodes.values() if n.parent is not None}
    return next(iter(nodes.values())).depth if nodes else 0
