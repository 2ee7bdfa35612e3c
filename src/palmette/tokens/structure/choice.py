"""The distribution over a set of answers, exactly: every answer is scored in one forward pass, none is sampled.

Masking alone does not give it: a masked model decides token by token without knowing what comes later (Park et al.
2024, "Grammar-aligned decoding").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from palmette.core.engine import Engine, Node
from palmette.core.errors import BadParameter, EmptyPrompt
from palmette.tokens.structure.finite import spelled

__all__ = ["Choice", "choose"]


@dataclass(frozen=True)
class Choice:
    """The options with p(option | prompt, one of the options); `logprobs` are log p(option | prompt)."""

    options: tuple[str, ...]
    probabilities: tuple[float, ...]
    logprobs: tuple[float, ...]

    @property
    def best(self) -> str:
        """The likeliest option, the first of equals."""
        return self.options[int(np.argmax(self.probabilities))]

    @property
    def entropy(self) -> float:
        """In nats; 0 when one option is certain."""
        return -sum(p * math.log(p) for p in self.probabilities if p > 0)

    def __str__(self) -> str:
        return self.best

    def __getitem__(self, option: str) -> float:
        return self.probabilities[self.options.index(option)]


def choose(
    engine: Engine, prompt: Sequence[int], options: Sequence[str], *, end: bool = False, mean: bool = False
) -> Choice:
    """The exact distribution over `options` after a prompt, from one forward pass.

    Args:
        engine: the model, seen through any views.
        prompt: token ids.
        options: the answers, each spelled as the tokenizer spells it.
        end: whether an option must also end the text. Without it, an option stands for all texts that begin with its
            tokens; options that begin one another then overlap and are refused.
        mean: compare mean log-probabilities per token instead of sums, which favours long options less little.

    Raises:
        BadParameter: for no options, an empty or repeated one, or options that overlap.

    >>> from palmette.tokens.matrix import MatrixEngine
    >>> engine = MatrixEngine([[0.2, 0.5, 0.3], [0.6, 0.2, 0.2], [0.1, 0.1, 0.8]])
    >>> [round(p, 4) for p in choose(engine, [0], ["b", "ca"]).probabilities]
    [0.9434, 0.0566]
    """
    if not prompt:
        raise EmptyPrompt("the prompt is empty; give at least one character to continue")
    ways = _ways(engine, options, end)
    root = engine.prefill([prompt])[0]
    long = [i for i, way in enumerate(ways) if len(way) > 1]
    leaves = engine.extend([root] * len(long), [ways[i][:-1] for i in long]) if long else []
    above = dict(zip(long, leaves, strict=True))
    logprobs = [_sum(above.get(i, root), way, engine.eos if end else None) for i, way in enumerate(ways)]
    weights = np.array([lp / len(way) for lp, way in zip(logprobs, ways, strict=True)] if mean else logprobs)
    if not np.isfinite(weights).any():
        raise BadParameter("the model gives none of the options any probability; are the views too strict?")
    shares = np.exp(weights - weights.max())
    return Choice(tuple(options), tuple((shares / shares.sum()).tolist()), tuple(logprobs))


def _sum(node: Node, way: tuple[int, ...], ends: frozenset[int] | None) -> float:
    """Σ log p of a way whose last token stands after `node`; where that is the end, any end token will do."""
    last = node.scores
    total = last.logprob(way[-1]) if ends is None else math.log(sum(last.probability(t) for t in ends) or 5e-324)
    for token in reversed(way[:-1]):
        assert node.parent is not None
        node = node.parent
        total += node.scores.logprob(token)
    return total


def _ways(engine: Engine, options: Sequence[str], end: bool) -> list[tuple[int, ...]]:
    """The options as tokens, checked."""
    if not options:
        raise BadParameter("a choice needs at least one option")
    for option in options:
        if not option:
            raise BadParameter("an option is empty; every option needs at least one character")
    if len(set(options)) < len(options):
        twice = next(o for i, o in enumerate(options) if o in options[:i])
        raise BadParameter(f"the option {twice!r} is given twice")
    if end and not engine.eos:
        raise BadParameter("end=True needs an engine with an end-of-sequence token")
    ways = [spelled(engine, option) + ((min(engine.eos),) if end else ()) for option in options]
    ranked = sorted(zip(ways, options, strict=True))
    for (short, a), (longer, b) in pairwise(ranked):
        if longer[: len(short)] == short:
            raise BadParameter(
                f"the option {a!r} begins the option {b!r}, so they overlap; say end=True to tell them apart"
            )
    return ways
