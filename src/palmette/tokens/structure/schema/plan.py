"""Plans: short token lists that complete a document, found by best-first search over closings.

A plan is what keeps two promises: that a document ends within its budget, and that a token is offered only where a
valid end is in sight. Most plans are built (closing.py); where none can be, the search goes on token by token: closing
what is open, short values, and tokens that have just become possible (which is how a regular expression is walked to
its end), until one can. It is bounded.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from palmette.core.engine import BitMask, Tokenizer
from palmette.core.masks import packed
from palmette.core.scores import unpacked
from palmette.tokens.structure.schema.stream import KEY_TEXT, NUMBER, STRING, Frame, Text, rest_of_character

__all__ = ["Plan", "Planner", "Position", "Vocabulary"]

_STRUCTURE = frozenset(b'"{}[],:')
_SHORT = [b"0", b'""', b"null", b"true", b"false", b"[]", b"{}", b"1", b"-1", b'"', b"[", b"{", b"-", b"t", b"f", b"n"]


class Position(Protocol):
    """What the search reads of a state."""

    @property
    def text(self) -> Text | None: ...


@dataclass(frozen=True)
class Plan:
    """Tokens that complete the document; None if none was found, `dead` if there are none at all."""

    tokens: tuple[int, ...] | None
    dead: bool = False


class Vocabulary:
    """The tokens that matter to JSON's structure, by their bytes."""

    def __init__(self, tokenizer: Tokenizer, size: int, eos: frozenset[int]) -> None:
        count = min(size, tokenizer.size)
        self.size = size
        self.bytes = [tokenizer.token_bytes(t) for t in range(count)] + [b""] * (size - count)
        pieces = [(t, piece) for t, piece in enumerate(self.bytes) if piece and t not in eos]
        self.closers = self._bits(t for t, p in pieces if any(c in p for c in b'",}]'))
        self.quoted = self._bits(t for t, p in pieces if p.count(b'"') > 1)
        self.quotes = self._bits(t for t, p in pieces if b'"' in p)
        self.openers = self._bits(t for t, p in pieces if any(c in p for c in b"[{:,"))
        self.several = self._bits(t for t, p in pieces if sum(map(p.count, (b'"', b",", b"}", b"]"))) > 2)
        self.heads: dict[bytes, list[int]] = {}  # tokens with a quotation mark, by what is before it
        for t, p in pieces:
            head, mark, _ = p.partition(b'"')
            if mark and b"\\" not in head:
                self.heads.setdefault(head, []).append(t)
        self.exponents = self._bits(
            t for t, p in pieces if (b"e" in p or b"E" in p) and p.strip(b"0123456789+-.eE") == b""
        )
        closing = [(p, t) for t, p in pieces if len(p) <= 8 and _STRUCTURE.issuperset(p)]
        closing.sort(key=lambda piece: (-_closed(piece[0]), len(piece[0]), piece[1]))
        self.structure = np.array([t for _, t in closing], np.int64)
        by_bytes: dict[bytes, int] = {}
        for t, p in pieces:
            by_bytes.setdefault(p, t)
        self.single = {piece[0]: t for piece, t in by_bytes.items() if len(piece) == 1}
        cut = [(len(rest_of_character(p)), t) for t, p in pieces if p[-1] >= 0x80]
        self.cut = np.array([t for missing, t in sorted(cut, reverse=True) if missing], np.int64)
        leads: tuple[list[bytes], ...] = ([], [b","], [b'"'], [b'"', b","], [b"]"], [b"}"], [b"]", b","], [b"}", b","])
        self.leads = [tuple(by_bytes[p] for p in lead) for lead in leads if all(p in by_bytes for p in lead)]
        self.short = np.array([by_bytes[p] for p in _SHORT if p in by_bytes], np.int64)

    def _bits(self, tokens: Iterable[int]) -> BitMask:
        return packed(tokens, self.size)


class Planner:
    """Searches from a state of a constraint.

    Args:
        vocabulary: the tokens.
        step: the next state after a token.
        allowed: the tokens that the grammar allows, before any look-ahead.
        ending: tokens that complete the document from a state, built without a search; None where there are none.
        mark: what tells an open container from others, and whether that is all there is to it.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        step: Callable[[Any, int], Any],
        allowed: Callable[[Any], BitMask],
        ending: Callable[[Any], tuple[int, ...] | None],
        mark: Callable[[Frame], tuple[object, bool]],
    ) -> None:
        self.vocabulary = vocabulary
        self._step = step
        self._allowed = allowed
        self._ending = ending
        self._mark = mark

    def search(self, state: Any, most: int, longest: int = 1 << 30) -> Plan:
        """A short completion that `most` looked-at states show, of at most `longest` tokens."""
        serial, complete = 0, True
        heap: list[tuple[float, int, tuple[int, ...], Any, BitMask | None]] = [(0.0, 0, (), state, None)]
        seen: set[Any] = set()
        while heap and most > 0:
            cost, _, path, at, before = heapq.heappop(heap)
            ending = self._ending(at)
            if ending is not None and len(path) + len(ending) <= longest:
                return Plan(path + ending)
            words = self._allowed(at)
            mark, exact = self._signature(at.text, words)
            if mark in seen:
                complete = complete and exact
                continue
            seen.add(mark)
            most -= 1
            moves, all_of_them = self._moves(at, words, before)
            complete = complete and all_of_them and ending is None
            for penalty, token in moves:
                reached = self._step(at, token)
                if reached.text is None:
                    continue
                if len(path) >= longest:
                    complete = False
                    continue
                serial += 1
                heapq.heappush(heap, (cost + 1 + penalty, -serial, (*path, token), reached, words))
        return Plan(None, dead=complete and not heap)

    def _signature(self, text: Text, words: BitMask) -> tuple[Any, bool]:
        """States that look the same here are searched once: what is open and seen, and what may follow."""
        watched = text.frame is None or text.frame.cases is not None
        parts: list[Any] = [words.tobytes(), text.mode, len(text.raw), text.raw if watched else b""]
        exact, frame = True, text.frame
        while frame is not None:
            mark, same = self._mark(frame)
            parts.append((frame.kind, frame.count, mark))
            exact, frame = exact and same, frame.above
        return tuple(parts), exact

    def _moves(self, state: Any, words: BitMask, before: BitMask | None) -> tuple[list[tuple[float, int]], bool]:
        """Tokens worth trying, each with what is held against it; and whether these are all."""
        bits = unpacked(words, self.vocabulary.size)
        count = int(np.bitwise_count(words).sum())
        text: Text = state.text
        within = text.mode in (STRING, KEY_TEXT)
        lengthens = within or text.mode == NUMBER
        order: list[int] = _first(self.vocabulary.structure[bits[self.vocabulary.structure]], 5)
        order += [t for t in _first(self.vocabulary.short[bits[self.vocabulary.short]], 6) if t not in order]
        if before is not None:
            fresh = np.flatnonzero(unpacked(words & ~before, self.vocabulary.size))
            order += [t for t in _first(fresh, 3) if t not in order]
        rest = np.flatnonzero(bits)
        order += [t for t in (_first(rest, 16) if count <= 16 else _spread(rest, 3)) if t not in order]
        moves = [(0.3 * place + (2.0 if lengthens and place else 0.0), token) for place, token in enumerate(order)]
        return moves, len(order) >= count


def _first(ids: NDArray[np.int64], count: int) -> list[int]:
    return [int(t) for t in ids[:count]]


def _spread(ids: NDArray[np.int64], count: int) -> list[int]:
    return [int(ids[k * (ids.size - 1) // max(1, count - 1)]) for k in range(count)] if ids.size else []


def _closed(piece: bytes) -> int:
    """How many containers and strings a piece of structure closes, less what it opens."""
    closed = sum(c in b"}]" for c in piece) - sum(c in b"{[" for c in piece)
    return 2 * closed - piece.count(b",") - (1 if piece.count(b'"') > 1 else 0)
