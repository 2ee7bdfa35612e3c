"""Beams drawn at random: stochastic beam search (without replacement) and beam sampling. Both use Gumbel top-k."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from palmette.core.engine import Budget, Edge, Engine, Finish, Hypothesis, Node, Step, Strategy
from palmette.core.errors import BadParameter
from palmette.core.rng import Rng
from palmette.core.scores import Floats
from palmette.tokens.strategies.beams import Candidate, Early, Group, best_first
from palmette.tokens.strategies.frontier import Branch, conclude, grow
from palmette.tokens.strategies.named import named

__all__ = ["beam_sample", "stochastic_beam"]


@dataclass(frozen=True)
class Leaf:
    """A prefix, or a finished sequence, with φ = log p and its perturbed log-probability G."""

    node: Node  # of a finished sequence: the node before its last token
    phi: float
    perturbed: float
    token: int = -1
    finish: Finish | None = None


@named
def stochastic_beam(width: int = 4) -> Strategy:
    """Stochastic beam search (Kool et al. 2019): `width` different sequences, an exact sample without replacement.

    Every sequence carries its perturbed log-probability G = φ + Gumbel; the beam keeps the largest. Finished sequences
    stay in the race. Answers come by descending G, so the first one is distributed like one ancestral sample, and
    `score` is G (with φ in `logprob`: what the estimators of the paper need).

    Args:
        width: k, how many sequences.
    """
    if width < 1:
        raise BadParameter(f"stochastic_beam needs a width of at least 1, not {width!r}")

    def run(engine: Engine, prompt: Sequence[int], budget: Budget, rng: Rng) -> Iterator[Step]:
        beam = [Leaf(engine.prefill([prompt])[0], 0.0, 0.0)]
        while True:
            children = [child for leaf in beam if leaf.finish is None for child in _children(leaf, width, rng)]
            race = [leaf for leaf in beam if leaf.finish is not None] + children
            race.sort(key=lambda leaf: -leaf.perturbed)
            edges = [
                Edge(leaf.node, leaf.token, leaf.perturbed, place < width)
                for place, leaf in enumerate(race[: 2 * width])
                if leaf.finish is None
            ]
            beam = _settle(engine, budget, race[:width])
            if all(leaf.finish is not None for leaf in beam):
                answers = [Hypothesis(x.node, x.token, x.perturbed, x.phi, x.finish) for x in beam if x.finish]
                yield conclude(answers, 0, edges)
                return
            yield Step(edges=tuple(edges))

    return run


def _children(leaf: Leaf, width: int, rng: Rng) -> list[Leaf]:
    """The best `width` children by G, their maximum conditioned to equal the parent's G (algorithm 1 of the paper)."""
    scores = leaf.node.scores
    ids = scores.support()
    phi = leaf.phi + scores.at(ids) - scores.log_normalizer
    free = phi + rng.gumbels(leaf.node.key, ids)
    perturbed = _conditioned(free, leaf.perturbed)
    order = np.lexsort((ids, -perturbed))[: 2 * width]
    return [Leaf(leaf.node, float(phi[i]), float(perturbed[i]), int(ids[i])) for i in order]


def _conditioned(free: Floats, target: float) -> Floats:
    """Gumbels `free` given that their maximum is `target`; appendix B.3 of the paper, stable for any magnitude.

    v = T − G + log(1 − exp(G − Z)); at the arg-max v is −∞ and the result exactly T.
    """
    top = float(free.max())
    with np.errstate(divide="ignore"):
        v = target - free + np.log1p(-np.exp(free - top))
    return target - np.maximum(v, 0.0) - np.log1p(np.exp(-np.abs(v)))


def _settle(engine: Engine, budget: Budget, chosen: list[Leaf]) -> list[Leaf]:
    """Mark the children that end, extend the others, all in their order."""
    marked = [
        leaf
        if leaf.finish is not None
        else Leaf(leaf.node, leaf.phi, leaf.perturbed, leaf.token, budget.finish(engine, leaf.node, leaf.token))
        for leaf in chosen
    ]
    live = [leaf for leaf in marked if leaf.finish is None]
    grown = iter(grow(engine, [(leaf.node, leaf.token, leaf.phi) for leaf in live]))
    return [leaf if leaf.finish is not None else Leaf(next(grown).node, leaf.phi, leaf.perturbed) for leaf in marked]


@named
def beam_sample(width: int = 4, length_penalty: float = 1.0, early_stopping: Early = False) -> Strategy:
    """Beam sampling: candidates are drawn, without replacement, from all continuations of all beams, then ranked.

    The draw is by softmax of the cumulated log-probability, as many candidates as `beam` looks at; what was drawn is
    sorted by score and settled as in beam search (transformers' beam search with sampling).

    Args:
        width: b, the number of beams.
        length_penalty: α of the final ranking, as in `beam`.
        early_stopping: as in `beam`.
    """
    Group(width, Budget(), early_stopping=early_stopping)

    def run(engine: Engine, prompt: Sequence[int], budget: Budget, rng: Rng) -> Iterator[Step]:
        group = Group(width, budget, length_penalty, early_stopping)
        group.live = [Branch(engine.prefill([prompt])[0])]
        while True:
            kept, edges = group.settle(engine, _drawn(group.live, group.fanout(engine), rng))
            group.live = grow(engine, [(c.parent, c.token, c.logprob) for c in kept])
            if group.over():
                yield conclude(group.done, 0, edges)
                return
            yield Step(edges=tuple(edges))

    return run


def _drawn(live: Sequence[Branch], count: int, rng: Rng) -> list[Candidate]:
    found: list[tuple[float, Candidate]] = []
    for branch in live:
        scores = branch.node.scores
        ids = scores.support()
        totals = branch.logprob + scores.at(ids) - scores.log_normalizer
        keys = totals + rng.gumbels(branch.node.key, ids)
        for i in np.argsort(-keys, kind="stable")[:count]:
            total = float(totals[i])
            found.append((float(keys[i]), Candidate(branch.node, int(ids[i]), total, total)))
    found.sort(key=lambda pair: -pair[0])
    return best_first([candidate for key, candidate in found[:count] if key > -math.inf])
