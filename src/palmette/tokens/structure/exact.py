"""Sampling from p(x | x is valid). Masking alone does not: it decides token by token, blind to what comes later.

Both strategies take the constraint themselves and see the model through any other views; the law they aim at is that of
the viewed model given that its text satisfies the constraint and ends within the budget. `exact` has that law exactly;
`smc` approaches it as its particles grow, at a cost that is known beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from palmette.core.engine import Budget, Constraint, Edge, Engine, Hypothesis, Node, Step, Strategy
from palmette.core.errors import BadParameter, EmptySupport
from palmette.core.rng import Rng
from palmette.core.scores import Floats, Ids
from palmette.tokens.strategies.frontier import conclude
from palmette.tokens.strategies.named import named

__all__ = ["exact", "smc"]


@named
def exact(rule: Constraint[Any], n: int = 1, attempts: int = 10_000) -> Strategy:
    """Adaptive rejection sampling: independent draws with exactly the law p(x | valid).

    Every prefix has an upper bound on the probability that it can be completed. A draw follows p · bound and is
    rejected as often as the bounds turn out too high; what was learnt lowers them, so that rejections become rare.
    After Mansinghka et al. 2009 ("Exact and approximate sampling by systematic stochastic search"); the score of an
    answer is log p.

    Args:
        rule: the constraint.
        n: how many draws.
        attempts: give up after so many rejected walks for one draw.

    Raises:
        EmptySupport: if no draw succeeds within the attempts; the message says how small P(valid) must be.
    """
    if n < 1 or attempts < 1:
        raise BadParameter(f"exact needs n >= 1 and attempts >= 1, not {n!r} and {attempts!r}")

    def run(engine: Engine, prompt: Sequence[int], budget: Budget, rng: Rng) -> Iterator[Step]:
        root = _Prefix(engine.prefill([prompt])[0], rule, rule.start(), 0.0)
        answers: list[Hypothesis] = []
        walk = 0
        for _ in range(n):
            for _ in range(attempts):
                found, edges = _walk(engine, budget, root, rng.fork(walk))
                walk += 1
                if found is not None:
                    answers.append(found)
                    break
                yield Step(edges=tuple(edges))
            else:
                raise EmptySupport(
                    f"no text that satisfies {rule!r} within {budget.max_tokens} tokens was drawn in {attempts} "
                    f"attempts; P(valid) is at most {root.bound:.3g}. Allow more tokens or attempts, or use smc"
                )
        yield conclude(answers, 0, edges)

    return run


class _Prefix:
    """A prefix with the tokens that may follow, their probabilities, and bounds on what can become of each."""

    def __init__(self, node: Node, rule: Constraint[Any], state: Any, logprob: float) -> None:
        self.node, self.rule, self.state, self.logprob = node, rule, state, logprob
        self.bound = 1.0
        self.children: dict[int, _Prefix] = {}
        self._ids: Ids | None = None

    def open(self) -> float:
        """Read the scores on the first visit; the bound that follows from those of the children."""
        if self._ids is None:
            self._ids, self.p = _allowed(self.node, self.rule, self.state)
            self.bounds = np.ones(len(self.p))
        return float(self.p @ self.bounds)

    def draw(self, u: float) -> int:
        """A place among the tokens, by probability times bound."""
        weights = np.cumsum(self.p * self.bounds)
        return min(int(np.searchsorted(weights, u * weights[-1], side="right")), len(weights) - 1)

    def token(self, place: int) -> int:
        """The token at a place."""
        assert self._ids is not None
        return int(self._ids[place])


def _allowed(node: Node, rule: Constraint[Any], state: Any) -> tuple[Ids, Floats]:
    """The tokens that the rule allows, and the model's probability of each."""
    scores = node.scores
    ids = scores.masked(rule.mask(state)).support()
    return ids, np.exp(scores.at(ids) - scores.log_normalizer)


def _walk(engine: Engine, budget: Budget, root: _Prefix, rng: Rng) -> tuple[Hypothesis | None, list[Edge]]:
    """One attempt: an accepted text or None; the bounds on its way are brought up to date."""
    way: list[tuple[_Prefix, int]] = []
    edges: list[Edge] = []
    here, found = root, None
    while True:
        after = here.open()
        kept = rng.uniform(2 * len(way)) * here.bound < after
        here.bound = after
        if not kept:
            break
        place = here.draw(rng.uniform(2 * len(way) + 1))
        token = here.token(place)
        logprob = here.logprob + math.log(here.p[place])
        edges.append(Edge(here.node, token, logprob))
        way.append((here, place))
        finish = budget.finish(engine, here.node, token)
        if finish == "eos":
            found = Hypothesis(here.node, token, logprob, logprob, "eos")
            break
        if finish is not None:  # not at its end when the budget is
            here.bounds[place] = 0.0
            break
        if token not in here.children:
            node = engine.extend([here.node], [[token]])[0]
            here.children[token] = _Prefix(node, here.rule, here.rule.step(here.state, token), logprob)
        here = here.children[token]
    for above, place in reversed(way):
        child = above.children.get(above.token(place))
        if child is not None:
            above.bounds[place] = child.bound
        above.bound = float(above.p @ above.bounds)
    return found, edges


@named
def smc(rule: Constraint[Any], particles: int = 16) -> Strategy:
    """Sequential Monte Carlo: particles that are masked, weighted by the mass the mask left them, and resampled.

    The first answer is drawn by weight; the others follow, best weight first. The score of an answer is its log
    weight, so that logsumexp(scores) − ln(particles) estimates log P(valid and ended within the budget) without bias in
    P, and (Σw)² / Σw² is the effective sample size. Resampling is systematic, whenever that falls below half of the
    particles.
    After Lew et al. 2023 ("Sequential Monte Carlo steering of large language models").

    Args:
        rule: the constraint.
        particles: how many.

    Raises:
        EmptySupport: if no particle ends within the budget.
    """
    if particles < 1:
        raise BadParameter(f"smc needs particles >= 1, not {particles!r}")

    def run(engine: Engine, prompt: Sequence[int], budget: Budget, rng: Rng) -> Iterator[Step]:
        root = engine.prefill([prompt])[0]
        live = [_Particle(root, rule.start(), 0.0, 0.0) for _ in range(particles)]
        for step in range(budget.max_tokens):
            edges = [p.move(engine, rule, budget, rng.fork("move").fork(i), step) for i, p in enumerate(live)]
            live = _resampled(live, rng.fork("resample").uniform(step))
            growing = [p for p in live if p.growing]
            ends = [p for p in live if p.ended is not None]
            if not growing:
                if not ends:
                    break
                yield conclude(_ranked(ends, rng.fork("choose").uniform(0)), 0, [e for e in edges if e])
                return
            places = {(id(p.node), p.token): (p.node, p.token) for p in growing}
            nodes = engine.extend([n for n, _ in places.values()], [[t] for _, t in places.values()])
            after = dict(zip(places, nodes, strict=True))
            for p in growing:
                p.node = after[id(p.node), p.token]
            yield Step(edges=tuple(e for e in edges if e))
        raise EmptySupport(f"none of {particles} particles satisfied {rule!r} within {budget.max_tokens} tokens")

    return run


class _Particle:
    """A text in the making with its log weight; `weight` is −inf once nothing can follow."""

    def __init__(self, node: Node, state: Any, logprob: float, weight: float) -> None:
        self.node, self.state, self.logprob, self.weight = node, state, logprob, weight
        self.token = -1
        self.ended: Hypothesis | None = None

    @property
    def growing(self) -> bool:
        """Whether it goes on."""
        return self.ended is None and self.weight > -math.inf

    def copy(self, weight: float) -> _Particle:
        """The same text with another weight."""
        made = _Particle(self.node, self.state, self.logprob, weight)
        made.token, made.ended = self.token, self.ended
        return made

    def move(self, engine: Engine, rule: Constraint[Any], budget: Budget, rng: Rng, step: int) -> Edge | None:
        """Draw the next token under the mask, and take the mass that the mask left into the weight."""
        if not self.growing:
            return None
        ids, p = _allowed(self.node, rule, self.state)
        mass = float(p.sum())
        if mass <= 0.0:
            self.weight = -math.inf
            return None
        cumulated = np.cumsum(p)
        place = min(int(np.searchsorted(cumulated, rng.uniform(step) * mass, side="right")), len(p) - 1)
        self.token = int(ids[place])
        self.weight += math.log(mass)
        self.logprob += math.log(p[place])
        finish = budget.finish(engine, self.node, self.token)
        if finish == "eos":
            self.ended = Hypothesis(self.node, self.token, self.logprob, self.logprob, "eos")
        elif finish is not None:
            self.weight = -math.inf
        else:
            self.state = rule.step(self.state, self.token)
        return Edge(self.node, self.token, self.logprob)


def _resampled(live: list[_Particle], u: float) -> list[_Particle]:
    """Systematic resampling when the effective sample size is below half; the mean weight is kept."""
    logs = np.array([p.weight for p in live])
    if not np.isfinite(logs).any():
        return live
    weights = np.exp(logs - logs.max())
    if weights.sum() ** 2 / (weights**2).sum() >= len(live) / 2:
        return live
    mean = float(logs.max() + math.log(weights.mean()))
    places = np.searchsorted(np.cumsum(weights / weights.sum()), (np.arange(len(live)) + u) / len(live), side="right")
    return [live[min(int(i), len(live) - 1)].copy(mean) for i in places]


def _ranked(ends: list[_Particle], u: float) -> list[Hypothesis]:
    """One drawn by weight first, the others by weight."""
    logs = np.array([p.weight for p in ends])
    weights = np.exp(logs - logs.max())
    first = min(int(np.searchsorted(np.cumsum(weights), u * weights.sum(), side="right")), len(ends) - 1)
    rest = sorted((i for i in range(len(ends)) if i != first), key=lambda i: -logs[i])
    found = []
    for i in (first, *rest):
        h = ends[i].ended
        assert h is not None
        found.append(Hypothesis(h.parent, h.token, float(logs[i]), h.logprob, h.finish))
    return found
