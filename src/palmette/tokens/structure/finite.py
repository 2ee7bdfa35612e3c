"""Finite sets of texts as a constraint: a trie over their tokens, whose states are numbers.

Built for sets that no grammar engine takes (100,000 names). Every text is spelled as the tokenizer spells it, so a set
of texts is a set of token sequences, each closed by an end-of-sequence token.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from palmette.core.engine import BitMask, Engine
from palmette.core.errors import BadParameter, UsageError

__all__ = ["FiniteConstraint", "spelled"]

DEAD = -1


class FiniteConstraint:
    """Exactly the given texts.

    The state is a node of the trie; `forced` gives the whole way to the next real choice.

    Args:
        engine: whose tokens the texts are spelled in.
        texts: at least one text; the same text twice counts once.

    Raises:
        BadParameter: for an empty set.
        UsageError: if the engine has no end-of-sequence token.

    >>> import palmette
    >>> rule = FiniteConstraint(palmette.open_engine("zoo:seedling"), ["happy", "sad"])
    >>> rule.accepts(rule.start())
    False
    """

    def __init__(self, engine: Engine, texts: Iterable[str]) -> None:
        if not engine.eos:
            raise UsageError(
                "a set of texts needs an engine with an end-of-sequence token, to say when one is complete"
            )
        sequences = sorted({(*spelled(engine, text), min(engine.eos)) for text in texts})
        if not sequences:
            raise BadParameter("a choice needs at least one text")
        self._count = len(sequences)
        self._words = (engine.vocabulary + 31) // 32
        self._tokens, self._first, self._end = _trie(sequences)

    def __repr__(self) -> str:
        return f"choice of {self._count} texts"

    def start(self) -> int:
        """Nothing is said yet."""
        return 0

    def mask(self, s: int) -> BitMask:
        """The tokens that lead on to some text."""
        words = np.zeros(self._words, np.uint32)
        if s != DEAD:
            ids = self._tokens[self._first[s] : self._end[s]]
            np.bitwise_or.at(words, ids >> 5, np.left_shift(np.uint32(1), (ids & 31).astype(np.uint32)))
        return words

    def step(self, s: int, token: int) -> int:
        """The node below by this token; a token that leads nowhere leads to a state without successors."""
        if s == DEAD:
            return DEAD
        first, end = int(self._first[s]), int(self._end[s])
        place = first + int(np.searchsorted(self._tokens[first:end], token))
        return place if place < end and self._tokens[place] == token else DEAD

    def forced(self, s: int) -> tuple[int, ...]:
        """The tokens up to the next real choice, the end included."""
        way = []
        while s != DEAD and self._end[s] - self._first[s] == 1:
            s = int(self._first[s])
            way.append(int(self._tokens[s]))
        return tuple(way)

    def accepts(self, s: int) -> bool:
        """Whether a text is complete here: the end may follow, or has."""
        return s != DEAD and (self._end[s] == self._first[s] or bool(self._ends[s]))

    @property
    def _ends(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """For each node whether the end-of-sequence token is one of its children."""
        known: np.ndarray[tuple[int], np.dtype[np.bool_]] | None = self.__dict__.get("_ends_table")
        if known is None:
            leaf = self._first == self._end
            known = np.zeros(len(leaf), bool)
            parents = np.repeat(np.arange(len(leaf)), self._end - self._first)
            known[parents[leaf[1:]]] = True
            self.__dict__["_ends_table"] = known
        return known


def spelled(engine: Engine, text: str) -> tuple[int, ...]:
    """The tokens of a text that continues other text."""
    return tuple(engine.tokenizer.encode_continuation(text))


def _trie(
    sequences: Sequence[tuple[int, ...]],
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], ...]:
    """Breadth-first arrays of a trie over sorted sequences: each node's token, and where its children begin and end.

    Node 0 is the root; the children of a node lie side by side, ascending by token.
    """
    tokens, first, end = [-1], [0], [0]
    level = [(0, 0, len(sequences), 0)]  # (node, from, to, depth): the sequences that pass through the node
    while level:
        below = []
        for node, start, stop, depth in level:
            first[node] = len(tokens)
            if len(sequences[start]) == depth:  # complete; being sorted and closed by the end, it is alone
                end[node] = len(tokens)
                continue
            cuts = [start, *(i for i in range(start + 1, stop) if sequences[i][depth] != sequences[i - 1][depth]), stop]
            for a, b in pairwise(cuts):
                below.append((len(tokens), a, b, depth + 1))
                tokens.append(sequences[a][depth])
                first.append(0)
                end.append(0)
            end[node] = len(tokens)
        level = below
    return np.array(tokens, np.int64), np.array(first, np.int64), np.array(end, np.int64)
