"""Speculative decoding (Leviathan et al. 2023; Chen et al. 2023): guess several tokens, check them in one pass.

The output has exactly the law of sampling from the target after its views, whatever the guesses are: a guess x drawn
from q is accepted with probability min(1, p(x)/q(x)), and a refused one is replaced by a draw from max(p − q, 0).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from palmette.core.engine import Budget, Edge, Engine, Hypothesis, Node, Step, Strategy, generated, root_of
from palmette.core.errors import BadParameter
from palmette.core.rng import Rng
from palmette.core.scores import Scores
from palmette.tokens.gather import Gather
from palmette.tokens.strategies.frontier import Branch, chain_of, grow
from palmette.tokens.strategies.named import named
from palmette.tokens.views.reshape import temperature

__all__ = ["prompt_lookup", "speculative"]


class Guess(Protocol):
    """Proposes tokens after a prefix, each with the distribution it was drawn from (None: it was certain)."""

    def __call__(self, node: Node, count: int) -> list[tuple[int, Scores | None]]: ...


@named
def speculative(draft: Engine, gamma: int = 4, draft_temperature: float = 1.0) -> Strategy:
    """Sample from the target; a smaller model with the same vocabulary drafts γ tokens ahead.

    Args:
        draft: the draft model's engine.
        gamma: γ, tokens drafted in each round.
        draft_temperature: temperature of the draft; 0 drafts greedily (best when the target decodes greedily, with the
            view `temperature:0`). Any value leaves the law of the output unchanged.
    """
    _check_gamma(gamma)

    def run(engine: Engine, prompt: Sequence[int], budget: Budget, rng: Rng) -> Iterator[Step]:
        if draft.vocabulary != engine.vocabulary:
            raise BadParameter(
                f"speculative needs one vocabulary: the target has {engine.vocabulary} tokens, "
                f"the draft {draft.vocabulary}"
            )
        return _rounds(
            engine, prompt, budget, rng, _Drafter(draft, prompt, draft_temperature, rng.fork("draft")), gamma
        )

    return run


@named
def prompt_lookup(ngram: int = 3, gamma: int = 10) -> Strategy:
    """Sample from the target; guesses are what followed the last n-gram when it occurred before (Saxena 2023).

    Args:
        ngram: the longest n-gram to look for; shorter ones are tried after it.
        gamma: at most so many tokens are guessed in each round.
    """
    _check_gamma(gamma)
    if ngram < 1:
        raise BadParameter(f"prompt_lookup needs ngram >= 1, not {ngram!r}")

    def guess(node: Node, count: int) -> list[tuple[int, Scores | None]]:
        tokens = np.array([*root_of(node).prompt, *generated(node)], np.int64)
        return [(int(t), None) for t in _continued(tokens, ngram)[:count]]

    def run(engine: Engine, prompt: Sequence[int], budget: Budget, rng: Rng) -> Iterator[Step]:
        return _rounds(engine, prompt, budget, rng, guess, gamma)

    return run


def _check_gamma(gamma: int) -> None:
    if gamma < 1:
        raise BadParameter(f"gamma must be at least 1, not {gamma!r}")


class _Drafter:
    """A draft model that follows the target down its path and returns to what was accepted."""

    def __init__(self, engine: Engine, prompt: Sequence[int], heat: float, rng: Rng) -> None:
        self.engine = temperature(heat)(Gather(engine))
        self.rng = rng
        self.path: list[Node] = self.engine.prefill([prompt])  # path[i] has i generated tokens

    def __call__(self, node: Node, count: int) -> list[tuple[int, Scores | None]]:
        tokens = generated(node)
        self._follow(tokens)
        guesses: list[tuple[int, Scores | None]] = []
        while len(guesses) < count and self.path[-1].depth < self.engine.context_length:
            here = self.path[-1]
            scores = here.scores
            token = scores.draw(self.rng.uniform(here.key))
            guesses.append((token, scores))
            if token in self.engine.eos:
                break
            self.path.append(self.engine.extend([here], [[token]])[0])
        return guesses

    def _follow(self, tokens: list[int]) -> None:
        """Make `path` the path of `tokens`: keep what agrees, extend by the rest."""
        agree = next((i for i, n in enumerate(self.path[1:]) if i >= len(tokens) or n.token != tokens[i]), None)
        if agree is not None:
            del self.path[agree + 1 :]
        missing = tokens[len(self.path) - 1 :]
        if missing:
            leaf = self.engine.extend([self.path[-1]], [missing])[0]
            self.path += chain_of(leaf, len(missing))


def _rounds(
    engine: Engine, prompt: Sequence[int], budget: Budget, rng: Rng, guess: Guess, gamma: int
) -> Iterator[Step]:
    branch = Branch(engine.prefill([prompt])[0])
    while True:
        room = len(prompt) + budget.max_tokens - branch.node.depth - 1
        guesses = (
            guess(branch.node, min(gamma, room, engine.context_length - branch.node.depth - 1)) if room > 0 else []
        )
        nodes = [branch.node]
        if guesses:
            leaf = engine.extend([branch.node], [[token for token, _ in guesses]])[0]
            nodes += chain_of(leaf, len(guesses))
        edges, committed = [], []
        end: Hypothesis | None = None
        for node, proposal in zip(nodes, [*guesses, None], strict=True):
            token, accepted = _verify(node, proposal, rng)
            if proposal is not None and not accepted:
                edges.append(Edge(node, proposal[0], branch.logprob + node.scores.logprob(proposal[0]), kept=False))
            logprob = branch.logprob + node.scores.logprob(token)
            edges.append(Edge(node, token, logprob))
            committed.append(token)
            end = Branch(node, branch.logprob).end(engine, budget, token, logprob)
            branch = Branch(node, logprob)
            if end is not None or not accepted:
                break
        if end is not None:
            yield Step(edges=tuple(edges), committed=tuple(committed), answers=(end,))
            return
        branch = grow(engine, [(branch.node, committed[-1], branch.logprob)])[0]
        yield Step(edges=tuple(edges), committed=tuple(committed))


def _verify(node: Node, proposal: tuple[int, Scores | None] | None, rng: Rng) -> tuple[int, bool]:
    """(token, True) when the guess stands, else (the token that replaces it, False)."""
    scores = node.scores
    if proposal is None:
        return scores.draw(rng.uniform(node.key)), False
    token, drawn_from = proposal
    p = math.exp(scores.logprob(token))
    q = 1.0 if drawn_from is None else math.exp(drawn_from.logprob(token))
    if rng.fork("accept").uniform(node.key) * q < p:
        return token, True
    return _residual(scores, token, drawn_from).draw(rng.fork("residual").uniform(node.key)), False


def _residual(scores: Scores, token: int, drawn_from: Scores | None) -> Scores:
    """max(p − q, 0) as scores; falls back to p where rounding leaves nothing."""
    ids = scores.support()
    p = np.exp(scores.at(ids) - scores.log_normalizer)
    q = (
        (ids == token).astype(np.float64)
        if drawn_from is None
        else np.exp(drawn_from.at(ids) - drawn_from.log_normalizer)
    )
    with np.errstate(divide="ignore"):
        rest = Scores.listed(ids, np.log(np.maximum(p - q, 0.0)), scores.size)
    return scores if rest.empty else rest


def _continued(tokens: np.ndarray[tuple[int], np.dtype[np.int64]], ngram: int) -> list[int]:
    """What followed the latest earlier occurrence of the longest suffix of at most `ngram` tokens."""
    size = tokens.size
    for n in range(min(ngram, size - 1), 0, -1):
        starts = size - n
        same = np.ones(starts, bool)
        for i in range(n):
            same &= tokens[i : i + starts] == tokens[starts + i]
        hits = np.flatnonzero(same)
        if hits.size:
            return [int(t) for t in tokens[hits[-1] + n :]]
    return []
