"""Views that look back: penalties on tokens that were used, n-gram blocks, DRY, a least length.

Every penalty acts on scores before any normalisation and identically under every strategy. (transformers applies its
processors to log-probabilities inside beam search; the repetition penalty is not shift-invariant, so there one beam and
greedy search differ. Here they agree.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from palmette.core.engine import Engine, Node
from palmette.core.errors import BadParameter
from palmette.core.scores import Ids, Scores
from palmette.tokens.views.base import PointView
from palmette.tokens.views.change import remove, replace

__all__ = ["History", "dry", "min_length", "no_repeat_ngram", "penalty", "repetition_penalty"]

Scope = Literal["all", "output"]


@dataclass(frozen=True)
class History:
    """The tokens of a prefix as an array that children extend in place: appending is O(1), a fork copies once."""

    buffer: list[int]
    size: int
    prompt: int  # how many of them are the prompt

    @staticmethod
    def start(prompt: tuple[int, ...], engine: Engine | None = None) -> History:
        """The history of a root."""
        return History(list(prompt), len(prompt), len(prompt))

    def append(self, token: int, parent: Node | None = None) -> History:
        """The history after one more token."""
        buffer = self.buffer if len(self.buffer) == self.size else self.buffer[: self.size]
        buffer.append(token)
        return History(buffer, self.size + 1, self.prompt)

    def last(self, window: int, scope: Scope = "all") -> Ids:
        """The last `window` tokens (0: all of them) in `scope`, int64[n], oldest first."""
        start = self.prompt if scope == "output" else 0
        if window:
            start = max(start, self.size - window)
        return np.array(self.buffer[start : self.size], np.int64)


def _remember(name: str, apply: object, **settings: object) -> PointView:
    return PointView(
        name,
        settings,
        apply,  # type: ignore[arg-type]
        start=History.start,
        advance=lambda history, token, parent: history.append(token, parent),
    )


def repetition_penalty(penalty: float = 1.1, scope: Scope = "all", window: int = 0) -> PointView:
    """Seen tokens: ℓ > 0 becomes ℓ / θ, ℓ ≤ 0 becomes ℓ · θ (Keskar et al. 2019, CTRL).

    Args:
        penalty: θ; 1 is off, larger discourages.
        scope: "all" counts prompt and output (transformers, vLLM); "output" the output alone.
        window: only the last so many tokens (llama.cpp: 64); 0 is all.
    """
    if penalty <= 0:
        raise BadParameter(f"repetition_penalty must be positive, not {penalty!r}")
    _check_scope("repetition_penalty", scope, window)

    def apply(scores: Scores, history: History, node: Node) -> Scores:
        seen = np.unique(history.last(window, scope))
        if penalty == 1.0 or not seen.size:
            return scores
        old = scores.at(seen)
        return replace(scores, seen, np.where(old > 0, old / penalty, old * penalty))

    return _remember("repetition_penalty", apply, penalty=penalty, scope=scope, window=window)


def penalty(presence: float = 0.0, frequency: float = 0.0, scope: Scope = "output", window: int = 0) -> PointView:
    """ℓ − α·[count > 0] − β·count (OpenAI's presence and frequency penalties).

    Args:
        presence: α, subtracted once from a token that occurred.
        frequency: β, subtracted for every occurrence.
        scope: "output" (OpenAI, vLLM) or "all" (llama.cpp).
        window: only the last so many tokens (llama.cpp: 64); 0 is all.
    """
    _check_scope("penalty", scope, window)

    def apply(scores: Scores, history: History, node: Node) -> Scores:
        seen, counts = np.unique(history.last(window, scope), return_counts=True)
        if not seen.size or presence == frequency == 0.0:
            return scores
        return replace(scores, seen, scores.at(seen) - presence - frequency * counts)

    return _remember("penalty", apply, presence=presence, frequency=frequency, scope=scope, window=window)


def no_repeat_ngram(n: int = 3, scope: Scope = "all") -> PointView:
    """No n-gram occurs twice (Paulus et al. 2017): the tokens that would complete a seen n-gram are removed."""
    if n < 1:
        raise BadParameter(f"no_repeat_ngram needs n >= 1, not {n!r}")
    _check_scope("no_repeat_ngram", scope, 0)

    def apply(scores: Scores, history: History, node: Node) -> Scores:
        tokens = history.last(0, scope)
        starts = tokens.size - n + 1
        if starts < 1:
            return scores
        same = np.ones(starts, bool)
        for i in range(n - 1):
            same &= tokens[i : i + starts] == tokens[tokens.size - n + 1 + i]
        return remove(scores, tokens[n - 1 :][same])

    return _remember("no_repeat_ngram", apply, n=n, scope=scope)


def dry(
    multiplier: float = 0.8,
    base: float = 1.75,
    allowed: int = 2,
    breakers: Sequence[str] = ("\n", ":", '"', "*"),
    window: int = 0,
) -> PointView:
    """Don't repeat yourself (p-e-w 2024): ℓ − m · b^(L − a) for a token that would extend a repeated suffix.

    L is the length of the longest suffix of the text that occurred before, followed by that token; nothing is taken
    while L < a. A token whose text contains a breaker ends every match and is never penalised across.

    Args:
        multiplier: m; 0 is off.
        base: b.
        allowed: a, the longest repetition that costs nothing, plus one.
        breakers: texts over which no repetition is counted.
        window: only the last so many tokens; 0 is all.
    """
    if multiplier < 0 or base < 1 or allowed < 1:
        raise BadParameter(
            f"dry needs multiplier >= 0, base >= 1, allowed >= 1, not {multiplier!r}, {base!r}, {allowed!r}"
        )
    cuts = [text.encode() for text in breakers]

    def start(prompt: tuple[int, ...], engine: Engine) -> tuple[History, Engine]:
        return History.start(prompt), engine

    def advance(state: tuple[History, Engine], token: int, parent: Node) -> tuple[History, Engine]:
        return state[0].append(token), state[1]

    def apply(scores: Scores, state: tuple[History, Engine], node: Node) -> Scores:
        tokens = state[0].last(window)
        if multiplier == 0 or tokens.size < 2:
            return scores
        unique = np.unique(tokens)
        pieces = {int(t): state[1].tokenizer.token_bytes(int(t)) for t in unique}
        breaking = np.array([t for t in unique if any(c in pieces[int(t)] for c in cuts)], np.int64)
        follow, length = _repeats(tokens, np.isin(tokens, breaking))
        hit = (length >= allowed) & ~np.isin(follow, breaking)
        if not hit.any():
            return scores
        longest: dict[int, int] = {}
        for token, size in zip(follow[hit], length[hit], strict=True):
            longest[int(token)] = max(int(size), longest.get(int(token), 0))
        ids = np.array(sorted(longest), np.int64)
        exponent = np.array([longest[int(i)] - allowed for i in ids], np.float64)
        limit = math.log(1e30) / math.log(base) if base > 1 else math.inf  # b^x must stay finite
        return replace(scores, ids, scores.at(ids) - multiplier * base ** np.minimum(exponent, limit))

    settings = {
        "multiplier": multiplier,
        "base": base,
        "allowed": allowed,
        "breakers": tuple(breakers),
        "window": window,
    }
    return PointView("dry", settings, apply, start=start, advance=advance)


def _repeats(tokens: Ids, cut: NDArray[np.bool_]) -> tuple[Ids, Ids]:
    """For each earlier position: the token that followed it, and how long a suffix of `tokens` ends at it.

    tokens int64[n], cut bool[n] -> (int64[n-1], int64[n-1]). Matches grow backwards together, so the cost is
    n times the longest repetition, in array operations.
    """
    n = tokens.size
    ends = np.arange(n - 1)
    length = np.zeros(n - 1, np.int64)
    alive = ends
    for back in range(n):
        if cut[n - 1 - back]:
            break
        alive = alive[alive >= back]
        alive = alive[tokens[alive - back] == tokens[n - 1 - back]]
        if not alive.size:
            break
        length[alive] = back + 1
    return tokens[1:], length


def min_length(n: int = 1) -> PointView:
    """No end-of-sequence token before `n` tokens were generated."""
    if n < 0:
        raise BadParameter(f"min_length must be 0 or positive, not {n!r}")

    def start(prompt: tuple[int, ...], engine: Engine) -> tuple[Ids, int]:
        return np.array(sorted(engine.eos), np.int64), 0

    def advance(state: tuple[Ids, int], token: int, parent: Node) -> tuple[Ids, int]:
        return state[0], state[1] + 1

    def apply(scores: Scores, state: tuple[Ids, int], node: Node) -> Scores:
        eos, count = state
        return remove(scores, eos) if count < n and eos.size else scores

    return PointView("min_length", {"n": n}, apply, start=start, advance=advance)


def _check_scope(name: str, scope: str, window: int) -> None:
    if scope not in ("all", "output"):
        raise BadParameter(f"{name}'s scope must be 'all' or 'output', not {scope!r}")
    if window < 0:
        raise BadParameter(f"{name}'s window must be 0 (all) or positive, not {window!r}")
