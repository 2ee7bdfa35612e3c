"""Strategies: which nodes of the token tree to grow. `STRATEGIES` is the table of all that can be named."""

from collections.abc import Callable, Mapping

from palmette.core.engine import Strategy
from palmette.tokens.strategies.arithmetic import arithmetic
from palmette.tokens.strategies.beam import beam, diverse_beam
from palmette.tokens.strategies.contrastive import contrastive
from palmette.tokens.strategies.rerank import best_of, chrf, mbr, token_f1
from palmette.tokens.strategies.sampling import greedy, nucleus, sample, topk
from palmette.tokens.strategies.speculative import prompt_lookup, speculative
from palmette.tokens.strategies.stochastic import beam_sample, stochastic_beam

__all__ = [
    "STRATEGIES",
    "arithmetic",
    "beam",
    "beam_sample",
    "best_of",
    "chrf",
    "contrastive",
    "diverse_beam",
    "greedy",
    "mbr",
    "nucleus",
    "prompt_lookup",
    "sample",
    "speculative",
    "stochastic_beam",
    "token_f1",
    "topk",
]

STRATEGIES: Mapping[str, Callable[..., Strategy]] = {
    "greedy": greedy,
    "sample": sample,
    "nucleus": nucleus,
    "topk": topk,
    "beam": beam,
    "diverse_beam": diverse_beam,
    "beam_sample": beam_sample,
    "stochastic_beam": stochastic_beam,
    "contrastive": contrastive,
    "arithmetic": arithmetic,
    "best_of": best_of,
    "mbr": mbr,
    "speculative": speculative,
    "prompt_lookup": prompt_lookup,
}
