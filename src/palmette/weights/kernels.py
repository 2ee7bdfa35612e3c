"""The inner loops of merging, in numpy: the specification. `fast/` holds the same loops compiled, bit for bit equal.

Equality is by construction: sums run in a fixed order (models in the order of the recipe; elements in leaves of fixed
size, 256 lanes each, in float64), so neither block size, thread count nor the choice of kernels changes a byte.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from palmette.weights.dtypes import Array, Raw, decode, encode, finite

__all__ = [
    "LANES",
    "LEAF",
    "Cut",
    "Kernels",
    "Mixture",
    "NumpyKernels",
    "Rounding",
    "draws",
    "elect",
    "key_bits",
    "keys",
    "total",
]

LEAF = 16_384  # elements of one partial sum
LANES = 256


@dataclass(frozen=True)
class Mixture:
    """A linear combination: (Σ cᵢ xᵢ) / divisor · factor + anchor · base, with xᵢ − base for xᵢ if `differences`.

    Args:
        once: round each product and sum once (fused multiply-add).
    """

    coefficients: tuple[float, ...]
    once: bool = False
    differences: bool = False
    divisor: float = 1.0
    factor: float = 1.0
    anchor: float = 0.0


Rounding = Callable[[Array], Array]
Cut = tuple[int, int]  # a magnitude key, and the position of the last element of exactly that key that is above the cut


class Kernels(Protocol):
    """What the methods are built from; float32 unless a checkpoint holds float64."""

    def decode(self, raw: Raw, dtype: str, arithmetic: str) -> Array:
        """Stored numbers to the arithmetic's type."""

    def encode(self, values: Array, dtype: str) -> Raw:
        """Numbers to their stored form, rounded to nearest even."""

    def finite(self, raw: Raw, dtype: str) -> bool:
        """True if no stored number is infinite or NaN."""

    def combine(self, arrays: Sequence[Array], weights: Sequence[float]) -> Array:
        """w₁x₁ + w₂x₂ + …, added in that order."""

    def blend(self, arrays: Sequence[Array], weights: Sequence[float]) -> Array:
        """As `combine`, with each product and sum rounded once (fused multiply-add)."""

    def mixture(self, arrays: Sequence[Array], base: Array | None, mixture: Mixture) -> Array:
        """A linear combination."""

    def mix(self, raws: NDArray[np.uint16], base: Raw | None, mixture: Mixture) -> tuple[Raw, bool] | None:
        """The same from bfloat16[models, n] to bfloat16, and whether all inputs are finite; None if not in one go."""

    def products(
        self, raws: NDArray[np.uint16], base: Raw | None, leaf: int, differences: bool
    ) -> NDArray[np.float64] | None:
        """`dots` of all pairs i ≤ j of bfloat16[models, n], or of their differences from the base, in one go;
        float64[pairs, leaves], or None.
        """

    def dots(self, left: Array, right: Array, leaf: int) -> NDArray[np.float64]:
        """Partial dot products, one for each leaf of `leaf` elements."""

    def sizes(self, values: Array, leaf: int) -> NDArray[np.float64]:
        """Partial sums of absolute values, one for each leaf."""

    def histogram(self, values: Array, shift: int, bits: int, prefix: int, into: NDArray[np.int64]) -> None:
        """Count the next `bits` bits of the magnitude keys that begin with `prefix` (-1: all keys)."""

    def keep(self, values: Array, cut: Cut, start: int, above: bool) -> None:
        """Set to zero, in place, what is not above the cut (`above`), or what is."""

    def drop(self, values: Array, key: int, start: int, limit: int) -> None:
        """Set to zero, in place, the positions whose draw (see `draws`) is not below `limit`."""

    def drop_ranked(self, values: Array, key: int, start: int, limits: NDArray[np.int64]) -> None:
        """The same, with a limit for each rank of magnitude in rows of len(limits), the smallest first."""

    def variance(self, deltas: Array) -> Array:
        """Over the models, divided by their number, in float64 and rounded once; (models, n) -> (n,)."""

    def erase(self, deltas: Array, unless: Array) -> None:
        """Set to zero, in place, every model's delta where `unless` is zero."""

    def fuse(self, deltas: Array, weights: Sequence[float]) -> Array:
        """Σ w δ / Σ w over the models that agree with the sign of Σ δ; the divisor is at least 1e-6."""

    def elect(self, deltas: Array, weights: Sequence[float], normalize: bool) -> Array:
        """TIES' last two steps on deltas[models, n] that already carry their weights: elect signs, then merge."""


def keys(values: Array) -> NDArray[Any]:
    """Magnitudes as integers in the same order: the bits without the sign."""
    if values.dtype == np.float64:
        return values.view(np.uint64) & np.uint64(0x7FFFFFFFFFFFFFFF)
    return values.view(np.uint32) & np.uint32(0x7FFFFFFF)


def key_bits(values_dtype: str) -> int:
    """How many bits a magnitude key has."""
    return 63 if values_dtype == "F64" else 31


def draws(key: int, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """A uniform integer of 32 bits for each position: two rounds of the mixer lowbias32 with halves of the key between.

    The mixer is Wellons 2018, Prospecting for hash functions (nullprogram.com/blog/2018/07/31).
    """
    low = _mixed((positions & 0xFFFFFFFF).astype(np.uint32) ^ np.uint32(key & 0xFFFFFFFF))
    high = (positions >> 32).astype(np.uint32)
    return _mixed(low ^ np.uint32(key >> 32 & 0xFFFFFFFF) ^ (high * np.uint32(0x9E3779B1))).astype(np.int64)


def _mixed(x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def total(parts: NDArray[np.float64]) -> float:
    """Partial sums added exactly, so that their number and order do not matter."""
    return math.fsum(parts.tolist())


class NumpyKernels:
    """The reference."""

    def decode(self, raw: Raw, dtype: str, arithmetic: str) -> Array:
        """See Kernels."""
        return decode(raw, dtype, arithmetic)

    def encode(self, values: Array, dtype: str) -> Raw:
        """See Kernels."""
        return encode(values, dtype)

    def finite(self, raw: Raw, dtype: str) -> bool:
        """See Kernels."""
        return finite(raw, dtype)

    def combine(self, arrays: Sequence[Array], weights: Sequence[float]) -> Array:
        """See Kernels."""
        made: Array = arrays[0] * arrays[0].dtype.type(weights[0])
        for array, weight in zip(arrays[1:], weights[1:], strict=True):
            made += array * array.dtype.type(weight)
        return made

    def blend(self, arrays: Sequence[Array], weights: Sequence[float]) -> Array:
        """See Kernels."""
        kind = arrays[0].dtype.type
        made: Array = arrays[0] * kind(weights[0])
        for array, weight in zip(arrays[1:], weights[1:], strict=True):  # a product of float32 is exact in float64
            made = (array.astype(np.float64) * np.float64(kind(weight)) + made).astype(kind)
        return made

    def mixture(self, arrays: Sequence[Array], base: Array | None, mixture: Mixture) -> Array:
        """See Kernels."""
        kind = arrays[0].dtype.type
        terms = [array - base for array in arrays] if mixture.differences and base is not None else arrays
        made = (self.blend if mixture.once else self.combine)(terms, mixture.coefficients)
        if mixture.divisor != 1:
            made /= kind(mixture.divisor)
        if mixture.factor != 1:
            made *= kind(mixture.factor)
        if mixture.anchor and base is not None:
            made += base if mixture.anchor == 1 else base * kind(mixture.anchor)
        return made

    def mix(self, raws: NDArray[np.uint16], base: Raw | None, mixture: Mixture) -> tuple[Raw, bool] | None:
        """See Kernels."""
        return None

    def products(
        self, raws: NDArray[np.uint16], base: Raw | None, leaf: int, differences: bool
    ) -> NDArray[np.float64] | None:
        """See Kernels."""
        return None

    def dots(self, left: Array, right: Array, leaf: int) -> NDArray[np.float64]:
        """See Kernels."""
        return _leaves(left.astype(np.float64) * right, leaf)

    def sizes(self, values: Array, leaf: int) -> NDArray[np.float64]:
        """See Kernels."""
        return _leaves(np.abs(values).astype(np.float64), leaf)

    def histogram(self, values: Array, shift: int, bits: int, prefix: int, into: NDArray[np.int64]) -> None:
        """See Kernels."""
        found = keys(values)
        if prefix >= 0:
            found = found[(found >> (shift + bits)) == prefix]
        into += np.bincount(((found >> shift) & ((1 << bits) - 1)).astype(np.int64), minlength=1 << bits)

    def keep(self, values: Array, cut: Cut, start: int, above: bool) -> None:
        """See Kernels."""
        found, (key, last) = keys(values), cut
        inside = found > key
        tied = found == key
        tied[max(0, min(len(tied), last + 1 - start)) :] = False
        inside |= tied
        values[~inside if above else inside] = 0

    def drop(self, values: Array, key: int, start: int, limit: int) -> None:
        """See Kernels."""
        values[draws(key, np.arange(start, start + len(values))) >= limit] = 0

    def drop_ranked(self, values: Array, key: int, start: int, limits: NDArray[np.int64]) -> None:
        """See Kernels."""
        width = len(limits)
        order = np.argsort(keys(values).reshape(-1, width), axis=1, kind="stable")
        ranks = np.empty_like(order)
        np.put_along_axis(ranks, order, np.broadcast_to(np.arange(width), order.shape), axis=1)
        values[draws(key, np.arange(start, start + len(values))) >= limits[ranks.reshape(-1)]] = 0

    def variance(self, deltas: Array) -> Array:
        """See Kernels."""
        wide = deltas.astype(np.float64)
        made: Array = (_sum(np.square(wide - _sum(wide) / len(wide))) / len(wide)).astype(deltas.dtype)
        return made

    def erase(self, deltas: Array, unless: Array) -> None:
        """See Kernels."""
        deltas[:, unless == 0] = 0

    def fuse(self, deltas: Array, weights: Sequence[float]) -> Array:
        """See Kernels."""
        zero = deltas.dtype.type(0)
        shares = np.array(weights, deltas.dtype)[:, None]
        agree = np.where(_sum(deltas) >= 0, deltas > 0, deltas < 0)  # (models, n)
        merged = _sum(np.where(agree, deltas * shares, zero))
        divisor = _sum(np.where(agree, shares, zero))
        made: Array = merged / np.maximum(divisor, deltas.dtype.type(1e-6))
        return made

    def elect(self, deltas: Array, weights: Sequence[float], normalize: bool) -> Array:
        """See Kernels."""
        return elect(deltas, weights, normalize, lambda values: values)


def elect(deltas: Array, weights: Sequence[float], normalize: bool, q: Rounding) -> Array:
    """The sum of what agrees with the sign of the weighted sum; a sum of zero elects plus, and zero never agrees.

    Yadav et al. 2023, algorithm 1, steps 2 and 3. `q` rounds each operation's result (identity in float32).
    """
    election = q(_sum(deltas)) >= 0  # (n,)
    agree = np.where(election, deltas > 0, deltas < 0)  # (models, n)
    merged = q(_sum(np.where(agree, deltas, deltas.dtype.type(0))))
    if not normalize:
        return merged
    shares = np.array(weights, deltas.dtype)
    divisor = q(_sum(np.where(agree, shares[:, None], deltas.dtype.type(0))))
    divisor[divisor == 0] = 1
    return q(merged / divisor)


def _sum(rows: Array) -> Array:
    """Rows added in order; (models, n) -> (n,)."""
    made: Array = rows[0].copy()
    for row in rows[1:]:
        made += row
    return made


def _leaves(values: NDArray[np.float64], leaf: int) -> NDArray[np.float64]:
    """Sums of consecutive leaves in sixteen lanes; the last leaf may be short."""
    full = len(values) // leaf
    parts = [_lanes(values[: full * leaf].reshape(full, leaf))] if full else []
    if len(values) > full * leaf:
        parts.append(_lanes(values[full * leaf :].reshape(1, -1)))
    return np.concatenate(parts) if parts else np.zeros(0)


def _lanes(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """(leaves, n) -> (leaves,): lane l adds elements l, l + 16, …; then the lanes are added in order."""
    wide = rows.shape[1] // LANES * LANES
    lanes = np.zeros((len(rows), LANES))
    if wide:
        lanes += np.add.reduce(rows[:, :wide].reshape(len(rows), -1, LANES), axis=1)
    lanes[:, : rows.shape[1] - wide] += rows[:, wide:]
    made: NDArray[np.float64] = np.cumsum(lanes, axis=1)[:, -1]  # one after another
    return made
