"""Bit masks over the vocabulary: uint32 words, bit t of word t // 32 for token t."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from palmette.core.engine import BitMask

__all__ = ["drop", "has", "ids_of", "packed", "put"]


def packed(ids: Iterable[int] | NDArray[np.integer], size: int) -> BitMask:
    """A mask over a vocabulary of `size` tokens with the bits of some tokens set: uint32[ceil(size / 32)].

    >>> packed([0, 33], 40).tolist()
    [1, 2]
    """
    places = ids.astype(np.int64) if isinstance(ids, np.ndarray) else np.fromiter(ids, np.int64)
    if 128 * len(places) > size:  # a byte for each token is faster than a bit for each of these
        flags = np.zeros((size + 31) // 32 * 32, bool)
        flags[places] = True
        return np.packbits(flags, bitorder="little").view(np.uint32)
    out = np.zeros((size + 31) // 32, np.uint32)
    np.bitwise_or.at(out, places >> 5, np.uint32(1) << (places & 31).astype(np.uint32))
    return out


def ids_of(words: BitMask) -> NDArray[np.int64]:
    """The tokens of a mask, ascending.

    >>> ids_of(packed([33, 0], 40)).tolist()
    [0, 33]
    """
    return np.flatnonzero(np.unpackbits(words.view(np.uint8), bitorder="little"))


def has(words: BitMask, token: int) -> bool:
    """Whether a token's bit is set."""
    return bool(words[token >> 5] >> np.uint32(token & 31) & 1)


def put(words: BitMask, token: int) -> None:
    """Set a token's bit."""
    words[token >> 5] |= np.uint32(1 << (token & 31))


def drop(words: BitMask, token: int) -> None:
    """Clear a token's bit."""
    words[token >> 5] &= ~np.uint32(1 << (token & 31))
