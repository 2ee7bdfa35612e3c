"""Names as tokens: spelled once for each tokenizer, kept on disk, and arranged in tries whose masks are slices.

A trie is three arrays: a node's children lie side by side, ascending by token, so a mask is one slice and a step one
binary search, with a hundred thousand names as with ten.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palmette.core.engine import Engine, Tokenizer
from palmette.knowledge.cache import cache_folder, keep, kept

__all__ = ["Trie", "spellings", "tokenizer_hash", "trie_of"]

Ints = NDArray[np.int32]
_SMALL = 64  # sequences for which arrays are not worth their while
_KEPT_FROM = 2000  # fewer names are spelled faster than a file is read
_hashes: weakref.WeakKeyDictionary[Tokenizer, str] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Trie:
    """A trie over token sequences. Node 0 is the root; `row[n]` is the sequence that ends at node n, or -1."""

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


def trie_of(sequences: Sequence[Sequence[int]]) -> Trie:
    """A trie over sequences, none of them empty; of equal ones the first is the one that ends there.

    >>> trie = trie_of([[5, 7], [5]])
    >>> trie.children(0).tolist(), trie.row.tolist()
    ([5], [-1, 1, 0])
    """
    return _small(sequences) if len(sequences) <= _SMALL else _large(sequences)


def _small(sequences: Sequence[Sequence[int]]) -> Trie:
    """Node by node, in the order of a search by breadth: the numbering that `_large` finds with arrays."""
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


def _large(sequences: Sequence[Sequence[int]]) -> Trie:
    """Level by level over a sorted table."""
    count = len(sequences)
    lengths = np.fromiter(map(len, sequences), np.int64, count)
    width = int(lengths.max(initial=0))
    table = np.full((count, width), -1, np.int32)
    flat = np.fromiter((t for s in sequences for t in s), np.int32, int(lengths.sum()))
    table[np.arange(width) < lengths[:, None]] = flat
    columns: list[NDArray[Any]] = [np.arange(count), *(table[:, c] for c in reversed(range(width)))]
    order = np.lexsort(tuple(columns))
    table, lengths = table[order], lengths[order]
    # `node[i]` is the node that row i has reached; a level's nodes are numbered in the order of their rows, which is
    # ascending by parent and then by token: children of one node lie side by side.
    node = np.zeros(count, np.int64)
    tokens, rows, parents = [np.array([-1], np.int32)], [np.array([-1], np.int64)], []
    total = 1
    for depth in range(width):
        alive = np.flatnonzero(lengths > depth)
        pair = np.stack([node[alive], table[alive, depth]], 1)
        fresh = np.ones(len(alive), bool)
        fresh[1:] = (pair[1:] != pair[:-1]).any(1)
        number = np.cumsum(fresh) - 1
        node[alive] = total + number
        ends = np.full(int(fresh.sum()), -1, np.int64)
        done = lengths[alive] == depth + 1
        ends[number[done][::-1]] = order[alive[done]][::-1]  # the first of equal ones is written last
        tokens.append(pair[fresh, 1].astype(np.int32))
        parents.append(pair[fresh, 0])
        rows.append(ends)
        total += len(ends)
    parent = np.concatenate(parents) if parents else np.zeros(0, np.int64)
    first = 1 + np.searchsorted(parent, np.arange(total), "left")
    end = 1 + np.searchsorted(parent, np.arange(total), "right")
    return Trie(
        np.concatenate(tokens), first.astype(np.int32), end.astype(np.int32), np.concatenate(rows).astype(np.int32)
    )


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
