"""The budget: which tokens leave enough of it to complete the document."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from palmette.core.engine import BitMask
from palmette.core.masks import has, ids_of, packed, put
from palmette.tokens.structure.schema.compiled import Compiled
from palmette.tokens.structure.schema.endings import Endings, SchemaState
from palmette.tokens.structure.schema.stream import KEY_TEXT, STRING

__all__ = ["Budget"]

FIRST = 2_000  # states that one search may look at
NEXT = 60  # the same, for one of several tokens
TRIED = 400  # tokens of one mask that are tried one by one
SEARCHED = 16  # of them, those that are searched for; further ones need an ending at hand


class Budget:
    """Keeps the tokens after which a document can still be completed in time.

    A plan is looked for again only after as many tokens as could have used up the slack of the last one.

    Args:
        compiled: the schema.
        endings: finds plans.
        step: the state after a token.
        eos: tokens that end the text; they cost nothing.
        most: the tokens that a document may have.
    """

    def __init__(
        self,
        compiled: Compiled,
        endings: Endings,
        step: Callable[[SchemaState, int], SchemaState],
        eos: frozenset[int],
        most: int,
    ) -> None:
        self.most = most
        self._vocabulary = compiled.vocabulary
        self._reach = 8 + compiled.reach
        self._endings = endings
        self._step = step
        self._eos = eos

    def left(self, s: SchemaState) -> int:
        """Tokens that may still come."""
        return self.most - s.count

    def within(self, s: SchemaState, words: BitMask) -> BitMask:
        """Those of the allowed tokens after which the document can be completed."""
        left = self.left(s)
        if s.count < s.due:
            return words
        plan = self._endings.plan(s, FIRST, left).tokens
        if plan is None or len(plan) > left:
            plan = self._endings.searched(s, FIRST, left).tokens
        if plan is None:
            return np.zeros_like(words)
        slack = left - len(plan)
        if slack > self._reach:
            s.due = s.count + (slack - self._reach) // (self._reach + 1) + 1
            return words
        return self._affordable(s, words, plan, left)

    def _affordable(self, s: SchemaState, words: BitMask, plan: tuple[int, ...], left: int) -> BitMask:
        """The tokens that leave a plan short enough: one by one, the end of the text and plan[0] without looking."""
        out = words & packed(self._eos, self._vocabulary.size)
        if plan:
            put(out, plan[0])
        if left <= len(plan) and (not plan or left <= 1):
            return out
        loud = words & self._vocabulary.closers
        quiet = words & ~loud
        ids = ids_of(words)
        assert s.text is not None
        if ids.size > TRIED and s.text.mode in (STRING, KEY_TEXT):
            out |= self._free(s, quiet, left)
            ids = ids_of(loud)
        searches = SEARCHED
        structure = [token for token in self._vocabulary.structure.tolist() if has(words, token)]
        for token in list(dict.fromkeys([*structure, *ids[:TRIED].tolist()]))[:TRIED]:
            if has(out, token):
                continue
            after = self._step(s, token)
            if after.text is None:
                continue
            found = self._endings.plan(after, NEXT if searches > 0 else 0, left - 1)
            searches -= found.tokens is None
            if found.tokens is not None and len(found.tokens) <= left - 1:
                s.after[token] = after
                put(out, token)
        return out

    def _free(self, s: SchemaState, words: BitMask, left: int) -> BitMask:
        """All tokens that stay inside a string, if the longest and two more of them leave a plan short enough.

        Those that end within a character cost more: they are kept if the dearest of them does.
        """
        vocabulary = self._vocabulary
        ids: NDArray[np.int64] = ids_of(words)
        longest = max(ids.tolist(), key=lambda token: len(vocabulary.bytes[token]), default=None)
        if longest is None or not all(self._fits(s, token, left) for token in (longest, int(ids[0]), int(ids[-1]))):
            return np.zeros_like(words)
        dearest = next((token for token in vocabulary.cut.tolist() if has(words, token)), None)
        if dearest is not None and not self._fits(s, dearest, left):
            return words & ~packed(vocabulary.cut, vocabulary.size)
        return words

    def _fits(self, s: SchemaState, token: int, left: int) -> bool:
        found = self._endings.plan(self._step(s, token), 0)
        return found.tokens is not None and len(found.tokens) < left
