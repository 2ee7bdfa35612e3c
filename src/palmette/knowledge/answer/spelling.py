"""Names as tokens: spelled once for each tokenizer, kept on disk, and arranged in tries.

Few names are a trie of arrays. Many are rows of a sorted table, of which any choice is a trie as it stands: what begins
alike lies side by side, so a mask is the next column of some rows and a step a binary search in it.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from palmette.core.engine import Engine, Tokenizer
from palmette.knowledge.cache import cache_folder, keep, kept

__all__ = ["Rows", "Table", "Tree", "Trie", "spellings", "tokenizer_hash", "trie_of"]

Ints = NDArray[np.int32]
_SMALL = 64  # sequences for which a table is not worth its while
_WIDE = 256  # rows whose next tokens are kept
_BITS = 25  # of a number of rows
_ONES = (1 << _BITS) - 1
_KEPT_FROM = 2000  # fewer names are spelled faster than a file is read
_hashes: weakref.WeakKeyDictionary[Tokenizer, str] = weakref.WeakKeyDictionary()


class Tree(Protocol):
    """Token sequences as a trie; node 0 is the root."""

    def children(self, node: int) -> Ints:
        """The tokens that may follow, ascending."""
        ...

    def step(self, node: int, token: int) -> int:
        """The child by a token, or -1."""
        ...

    def ending(self, node: int) -> int:
        """The sequence that ends at a node, of equal ones the first, or -1."""
        ...


@dataclass(frozen=True, eq=False)
class Trie:
    """A trie of few sequences, node by node; `row[n]` is the sequence that ends at node n, or -1."""

    token: Ints
    first: Ints
    end: Ints
    row: Ints

    def children(self, node: int) -> Ints:
        """The tokens that may follow, ascending."""
        return self.token[self.first[node] : self.end[node]]

    def step(self, node: int, token: int) -> int:
        """The child by a token, or -1."""
        first, end = int(self.first[node]), int(self.end[node])
        place = first + int(np.searchsorted(self.token[first:end], token))
        return place if place < end and self.token[place] == token else -1

    def ending(self, node: int) -> int:
        """The sequence that ends at a node, or -1."""
        return int(self.row[node])


@dataclass(frozen=True, eq=False)
class Table:
    """Sequences in order: row r is `flat[start[r] : end[r]]` and was sequence `of[r]`; sequence i is row `rank[i]`."""

    flat: Ints
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    of: Ints
    rank: Ints

    @classmethod
    def of_sequences(cls, sequences: Sequence[Sequence[int]]) -> Table:
        """The table of these."""
        order = sorted(range(len(sequences)), key=lambda i: tuple(sequences[i]))
        length = np.fromiter((len(sequences[i]) for i in order), np.int64, len(order))
        flat = np.fromiter((token for i in order for token in sequences[i]), np.int32, int(length.sum()))
        of, end = np.array(order, np.int32), np.cumsum(length)
        return cls(flat, end - length, end, of, np.argsort(of).astype(np.int32))


class Rows:
    """Some rows of a table as a trie that is never built: a node is so many tokens of some rows that begin alike.

    Args:
        table: the sequences.
        rows: which of its rows, ascending; none of them empty.
    """

    def __init__(self, table: Table, rows: Ints) -> None:
        self._table, self._rows, self._count = table, rows, len(rows)
        self._wide: dict[int, tuple[int, Ints, Ints]] = {}

    def _node(self, depth: int, first: int, end: int) -> int:
        return ((depth << _BITS) + first << _BITS) + self._count - end

    def _span(self, node: int) -> tuple[int, int, int]:
        """Depth, first row and end."""
        rest = node >> _BITS
        return rest >> _BITS, rest & _ONES, self._count - (node & _ONES)

    def _next(self, node: int) -> tuple[int, Ints, Ints]:
        """The first row that goes on after a node, the next token of each row from there, the different ones."""
        if node in self._wide:
            return self._wide[node]
        depth, first, end = self._span(node)
        rows = self._rows[first:end]
        places = self._table.start[rows] + depth
        ended = int(np.count_nonzero(places == self._table.end[rows]))  # they come first
        tokens = self._table.flat[places[ended:]]
        fresh = np.ones(len(tokens), bool)
        np.not_equal(tokens[1:], tokens[:-1], out=fresh[1:])
        found = first + ended, tokens, tokens[fresh]
        if end - first > _WIDE:
            self._wide[node] = found
        return found

    def children(self, node: int) -> Ints:
        """The tokens that may follow, ascending."""
        depth, first, end = self._span(node)
        if end - first == 1:
            row = self._rows[first]
            place = self._table.start[row] + depth
            return self._table.flat[place : min(place + 1, self._table.end[row])]
        return self._next(node)[2]

    def step(self, node: int, token: int) -> int:
        """The child by a token, or -1."""
        depth, first, end = self._span(node)
        if end - first == 1:
            row = self._rows[first]
            place = self._table.start[row] + depth
            fits = place < self._table.end[row] and self._table.flat[place] == token
            return self._node(depth + 1, first, end) if fits else -1
        first, tokens, _ = self._next(node)
        left = int(np.searchsorted(tokens, token))
        right = int(np.searchsorted(tokens, token, "right"))
        return self._node(depth + 1, first + left, first + right) if left < right else -1

    def ending(self, node: int) -> int:
        """The sequence that ends at a node, of equal ones the first, or -1."""
        depth, first, end = self._span(node)
        if first == end:
            return -1
        row = self._rows[first]
        return int(self._table.of[row]) if self._table.start[row] + depth == self._table.end[row] else -1


def trie_of(sequences: Sequence[Sequence[int]]) -> Tree:
    """A trie over sequences, none of them empty; of equal ones the first is the one that ends there.

    >>> trie = trie_of([[5, 7], [5]])
    >>> trie.children(0).tolist(), trie.ending(0), trie.ending(trie.step(0, 5))
    ([5], -1, 1)
    """
    if len(sequences) <= _SMALL:
        return _small(sequences)
    return Rows(Table.of_sequences(sequences), np.arange(len(sequences), dtype=np.int32))


def _small(sequences: Sequence[Sequence[int]]) -> Trie:
    """Node by node, in the order of a search by breadth: a node's children lie side by side, ascending by token."""
    below: list[dict[int, int]] = [{}]
    row = [-1]
    for number, sequence in enumerate(sequences):
        node = 0
        for token in sequence:
            child = below[node].setdefault(token, len(below))
            if child == len(below):
                below.append({})
                row.append(-1)
            node = child
        if row[node] < 0:
            row[node] = number
    order, tokens, first, end = [0], [-1], [], []
    for node in order:
        children = sorted(below[node].items())
        first.append(len(order))
        order += [child for _, child in children]
        tokens += [token for token, _ in children]
        end.append(len(order))
    return Trie(*(np.array(a, np.int32) for a in (tokens, first, end, [row[node] for node in order])))


def spellings(engine: Engine, texts: Sequence[str], *, folder: Path | None = None) -> list[list[int]]:
    """Each text as the tokens of a text that goes on; many are kept on disk, by the tokenizer's hash and the texts'.

    Args:
        engine: whose tokenizer spells.
        texts: what.
        folder: where they are kept; see `cache_folder`.
    """
    spell = engine.tokenizer.encode_continuation
    if len(texts) < _KEPT_FROM:
        return [spell(text) for text in texts]
    name = hashlib.blake2b("\x1f".join(texts).encode(), digest_size=12).hexdigest()
    path = (folder or cache_folder()) / f"{tokenizer_hash(engine.tokenizer)}-{name}.npz"
    found = _kept(path, len(texts))
    if found is None:
        found = [spell(text) for text in texts]
        _keep(path, found)
    return found


def tokenizer_hash(tokenizer: Tokenizer) -> str:
    """Twenty-four hexadecimal digits of a vocabulary and of how it spells a few texts."""
    if tokenizer not in _hashes:
        made = hashlib.blake2b(digest_size=12)
        for token in range(tokenizer.size):
            data = tokenizer.token_bytes(token)
            made.update(len(data).to_bytes(4, "little") + data)
        for probe in (" The quick brown fox, 1984", " naïve — 東京 🙂\n", "  x\tY"):
            made.update(repr(tokenizer.encode_continuation(probe)).encode())
        _hashes[tokenizer] = made.hexdigest()
    return _hashes[tokenizer]


def _kept(path: Path, count: int) -> list[list[int]] | None:
    held = kept(path, "tokens", "ends")
    if held is None or len(held["ends"]) != count or (count and held["ends"][-1] != len(held["tokens"])):
        return None
    tokens, ends = held["tokens"].tolist(), held["ends"].tolist()
    return [tokens[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def _keep(path: Path, spelled: Sequence[Sequence[int]]) -> None:
    lengths = np.fromiter(map(len, spelled), np.int64, len(spelled))
    flat = np.fromiter((t for s in spelled for t in s), np.int32, int(lengths.sum()))
    keep(path, {"tokens": flat, "ends": np.cumsum(lengths)})
