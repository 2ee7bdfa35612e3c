"""Beam search and diverse beam search: the b best prefixes are grown together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from palmette.core.engine import Budget, Edge, Engine, Step, Strategy, generated
from palmette.core.errors import BadParameter
from palmette.core.rng import Rng
from palmette.tokens.strategies.beams import (
    Candidate,
    Early,
    Group,
    Measure,
    best_candidates,
    best_first,
    common_depth,
)
from palmette.tokens.strategies.frontier import Branch, conclude, grow
from palmette.tokens.strategies.named import named

__all__ = ["beam", "diverse_beam"]


@named
def beam(
    width: int = 4,
    length_penalty: float = 1.0,
    early_stopping: Early = False,
    measure: Measure = "view",
) -> Strategy:
    """Beam search: keep the `width` likeliest prefixes, rank finished ones by Σ log p / length^α.

    With width ≥ V^L it is exact. Tokens that all live beams share are streamed before the search ends.

    Args:
        width: b, the number of beams.
        length_penalty: α; 0 ranks by the sum, 1 by the mean log-probability, more favours longer answers.
        early_stopping: when `width` hypotheses are finished: true stops at once (may miss better ones); false stops
            when the best live beam, at its present length, is no better than the worst finished one (transformers'
            default; a heuristic for α > 0); "never" stops only when no live beam can become better at any length.
        measure: "view" scores by log p after the views (transformers), "model" by the model's own log p, with the
            views deciding only what may follow.
    """

    def run(engine: Engine, prompt: Sequence[int], budget: Budget, rng: Rng) -> Iterator[Step]:
        group = Group(width, budget, length_penalty, early_stopping)
        group.live = [Branch(engine.prefill([prompt])[0])]
        committed = 0
        while True:
            kept, edges = group.settle(engine, group.candidates(engine, measure))
            group.live = grow(engine, [(c.parent, c.token, c.logprob) for c in kept])
            if group.over():
                yield conclude(group.done, committed, edges)
                return
            shared: tuple[int, ...] = ()
            if not group.done:
                depth = common_depth(group.live) - len(prompt)
                if depth > committed:
                    shared = tuple(generated(group.live[0].node)[committed:depth])
                    committed = depth
            yield Step(edges=tuple(edges), committed=shared)

    _check(width, early_stopping, measure)
    return run


@named
def diverse_beam(
    width: int = 4,
    groups: int = 2,
    diversity: float = 0.5,
    length_penalty: float = 1.0,
    early_stopping: Early = False,
) -> Strategy:
    """Diverse beam search (Vijayakumar et al. 2016) with Hamming diversity.

    The beams form groups that choose one after another; a group's candidates lose λ for every beam of earlier groups
    that chose the same token at this step. λ steers the choice only: scores remain log-probabilities.

    Args:
        width: b, all beams together.
        groups: G, which divides b.
        diversity: λ; 0 makes all groups alike.
        length_penalty: α of the final ranking, as in `beam`.
        early_stopping: as in `beam`, for each group.
    """
    _check(width, early_stopping, "view")
    if groups < 1 or width % groups:
        raise BadParameter(f"diverse_beam's width must be a multiple of groups, not {width!r} and {groups!r}")

    def run(engine: Engine, prompt: Sequence[int], budget: Budget, rng: Rng) -> Iterator[Step]:
        root = Branch(engine.prefill([prompt])[0])
        teams = [Group(width // groups, budget, length_penalty, early_stopping, live=[root]) for _ in range(groups)]
        while True:
            chosen: Counter[int] = Counter()
            edges: list[Edge] = []
            kept: list[list[Candidate]] = []
            for team in teams:
                ranked = _penalised(team, engine, chosen, diversity) if not team.over() else []
                mine, noted = team.settle(engine, ranked)
                chosen.update(candidate.token for candidate in mine)
                kept.append(mine)
                edges += noted
            grown = iter(grow(engine, [(c.parent, c.token, c.logprob) for mine in kept for c in mine]))
            for team, mine in zip(teams, kept, strict=True):
                team.live = [next(grown) for _ in mine]
            if all(team.over() for team in teams):
                answers = sorted((h for team in teams for h in team.done), key=lambda h: -h.score)
                yield conclude(answers, 0, edges)
                return
            yield Step(edges=tuple(edges))

    return run


def _penalised(team: Group, engine: Engine, chosen: Counter[int], diversity: float) -> list[Candidate]:
    """A group's candidates, best first after the penalty; earlier groups' tokens can push down at most their number."""
    wide = team.fanout(engine) + len(chosen)
    found = [
        Candidate(c.parent, c.token, c.logprob, c.logprob - diversity * chosen[c.token])
        for branch in team.live
        for c in best_candidates([branch], wide, "view")
    ]
    return best_first(found)[: team.fanout(engine)]


def _check(width: int, early_stopping: Early, measure: Measure) -> None:
    Group(width, Budget(), early_stopping=early_stopping)
    if measure not in ("view", "model"):
        raise BadParameter(f"measure must be 'view' or 'model', not {measure!r}")
