"""Randomness as a value: every draw is a pure function of a seed and a place.

A place is the 64-bit key of a prefix (see `Node.key`) plus labels. So adding a branch never changes another branch,
a batch draws what its rows would draw alone, and a run can be resumed in the middle.
The mixer is SplitMix64 (Steele, Lea & Flood 2014).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rng", "mix", "mix_array"]

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def mix(a: int, b: int) -> int:
    """Hash two integers to 64 bits. Order matters.

    >>> mix(1, 2) != mix(2, 1)
    True
    """
    z = ((a ^ (b * 0xD1342543DE82EF95 & _MASK)) + _GOLDEN) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def mix_array(a: int, b: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """`mix(a, x)` for every x of an array, elementwise; uint64[n] -> uint64[n]."""
    with np.errstate(over="ignore"):
        z = (np.uint64(a & _MASK) ^ (b * np.uint64(0xD1342543DE82EF95))) + np.uint64(_GOLDEN)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


@dataclass(frozen=True)
class Rng:
    """A seed from which independent draws are made by place.

    >>> rng = Rng(0)
    >>> rng.uniform(7) == rng.uniform(7), rng.uniform(7) == rng.uniform(8)
    (True, False)
    """

    seed: int = 0

    def fork(self, label: int | str) -> Rng:
        """An independent generator for a sub-task, named by `label`."""
        number = label if isinstance(label, int) else int.from_bytes(label.encode(), "little")
        while number > _MASK:
            number = (number & _MASK) ^ mix(number >> 64 & _MASK, 1) ^ (number >> 128)
        return Rng(mix(self.seed & _MASK, number & _MASK))

    def uniform(self, key: int, index: int = 0) -> float:
        """A float in the open interval (0, 1) for place `key`; `index` numbers several draws there."""
        bits = mix(mix(self.seed & _MASK, key), index) >> 11
        return (bits + 0.5) * 2.0**-53

    def uniforms(self, key: int, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """One float in (0, 1) for each token id at place `key`; int64[n] -> float64[n]."""
        bits = mix_array(mix(self.seed & _MASK, key), ids.astype(np.uint64)) >> np.uint64(11)
        return (bits.astype(np.float64) + 0.5) * 2.0**-53

    def gumbels(self, key: int, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """One standard Gumbel variable for each token id at place `key`; int64[n] -> float64[n]."""
        return -np.log(-np.log(self.uniforms(key, ids)))
