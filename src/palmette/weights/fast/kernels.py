"""Compiled loops behind the kernels' names: float32 and bfloat16; whatever is rarer stays with the numpy reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from palmette.weights.dtypes import Array, Raw
from palmette.weights.fast.native import loop
from palmette.weights.kernels import LANES, Cut, Mixture, NumpyKernels

__all__ = ["FastKernels"]

_WORD = 0xFFFFFFFF
_FEW = 4096  # elements of the innermost chunk: temporaries stay in the first-level cache
_SIGNLESS = {"BF16": (np.uint16, "largest16", 0x7FFF, 0x7F80), "F32": (np.uint32, "largest32", 0x7FFFFFFF, 0x7F800000)}


class FastKernels(NumpyKernels):
    """Compiled loops for float32; whatever is rare (float64, float16) stays with the reference."""

    def decode(self, raw: Raw, dtype: str, arithmetic: str) -> Array:
        """See Kernels."""
        if dtype == "BF16" and arithmetic == "F32":
            made = np.empty(len(raw), np.float32)
            loop("widen")(raw, made.view(np.uint32))
            return made
        return super().decode(raw, dtype, arithmetic)

    def encode(self, values: Array, dtype: str) -> Raw:
        """See Kernels."""
        if dtype == "BF16" and values.dtype == np.float32:
            made = np.empty(len(values), np.uint16)
            loop("narrow")(np.ascontiguousarray(values).view(np.uint32), made)
            return made
        return super().encode(values, dtype)

    def finite(self, raw: Raw, dtype: str) -> bool:
        """See Kernels."""
        if dtype not in _SIGNLESS or not len(raw):
            return super().finite(raw, dtype)
        kind, name, mask, infinity = _SIGNLESS[dtype]
        made = np.empty(1, kind)
        loop(name)(np.ascontiguousarray(raw).view(kind), mask, made)
        return int(made[0]) < infinity

    def combine(self, arrays: Sequence[Array], weights: Sequence[float]) -> Array:
        """See Kernels."""
        if arrays[0].dtype != np.float32:
            return super().combine(arrays, weights)
        made = np.empty_like(arrays[0])
        loop("scale")(arrays[0], float(np.float32(weights[0])), made)
        for array, weight in zip(arrays[1:], weights[1:], strict=True):
            loop("add")(array, float(np.float32(weight)), made)
        return made

    def blend(self, arrays: Sequence[Array], weights: Sequence[float]) -> Array:
        """See Kernels."""
        if arrays[0].dtype != np.float32:
            return super().blend(arrays, weights)
        made = np.empty_like(arrays[0])
        loop("scale")(arrays[0], float(np.float32(weights[0])), made)
        for array, weight in zip(arrays[1:], weights[1:], strict=True):
            loop("blend")(array, float(np.float32(weight)), made)
        return made

    def mix(self, raws: NDArray[np.uint16], base: Raw | None, mixture: Mixture) -> tuple[Raw, bool] | None:
        """See Kernels."""
        made, worst = np.empty(raws.shape[1], np.uint16), np.empty(1, np.uint16)
        below = np.empty(0, np.uint16) if base is None else base
        weights = np.array(mixture.coefficients, np.float32)
        scratch = np.empty((2, _FEW), np.uint32)
        loop("mix")(raws, below, weights, mixture.once, mixture.differences, mixture.divisor, mixture.factor,
                    mixture.anchor, made, *scratch, worst)  # fmt: skip
        return made, int(worst[0]) < 0x7F80

    def products(
        self, raws: NDArray[np.uint16], base: Raw | None, leaf: int, differences: bool
    ) -> NDArray[np.float64] | None:
        """See Kernels."""
        count, size = raws.shape
        pairs = count * (count + 1) // 2
        made = np.empty((pairs, -(-size // leaf)))
        below = np.empty(0, np.uint16) if base is None else base
        loop("products")(raws, below, differences, leaf, made, np.empty((count, LANES)), np.empty((pairs, LANES)))
        return made

    def dots(self, left: Array, right: Array, leaf: int) -> NDArray[np.float64]:
        """See Kernels."""
        if left.dtype != np.float32:
            return super().dots(left, right, leaf)
        made = np.empty(-(-len(left) // leaf))
        loop("dots")(left, right, leaf, made, np.empty(LANES))
        return made

    def sizes(self, values: Array, leaf: int) -> NDArray[np.float64]:
        """See Kernels."""
        if values.dtype != np.float32:
            return super().sizes(values, leaf)
        made = np.empty(-(-len(values) // leaf))
        loop("sizes")(values, leaf, made, np.empty(LANES))
        return made

    def histogram(self, values: Array, shift: int, bits: int, prefix: int, into: NDArray[np.int64]) -> None:
        """See Kernels."""
        if values.dtype != np.float32:
            return super().histogram(values, shift, bits, prefix, into)
        if prefix < 0:
            loop("count")(values.view(np.uint32), shift, (1 << bits) - 1, into)
        else:
            low, mask = prefix << (shift + bits), (1 << bits) - 1
            loop("count_under")(values.view(np.uint32), shift, mask, low, 1 << (shift + bits), into)
        return None

    def keep(self, values: Array, cut: Cut, start: int, above: bool) -> None:
        """See Kernels."""
        key, last = cut
        if values.dtype != np.float32 or key < 0 or key >= 1 << 31:
            return super().keep(values, cut, start, above)
        if start <= last < start + len(values) - 1:  # equals run out inside this block
            border = last + 1 - start
            loop("keep")(values[:border].view(np.int32), key, above)
            loop("keep")(values[border:].view(np.int32), key + 1, above)
        else:
            loop("keep")(values.view(np.int32), key if last >= start else key + 1, above)
        return None

    def drop(self, values: Array, key: int, start: int, limit: int) -> None:
        """See Kernels."""
        if values.dtype != np.float32 or limit >= 1 << 32:
            return super().drop(values, key, start, limit)
        loop("drop")(values, key & _WORD, key >> 32 & _WORD, start, max(0, limit))
        return None

    def drop_ranked(self, values: Array, key: int, start: int, limits: NDArray[np.int64]) -> None:
        """See Kernels."""
        if values.dtype != np.float32:
            return super().drop_ranked(values, key, start, limits)
        packed = np.empty((len(values) // len(limits), len(limits)), np.uint64)
        loop("pack")(values.view(np.uint32), packed)
        packed.sort(axis=1)  # key and position in one integer: distinct, so an unstable sort is as good as a stable one
        own = np.empty(len(limits), np.int64)
        loop("drop_ranked")(values, packed, key & _WORD, key >> 32 & _WORD, start, limits, own)
        return None

    def variance(self, deltas: Array) -> Array:
        """See Kernels."""
        if deltas.dtype != np.float32:
            return super().variance(deltas)
        made = np.empty_like(deltas[0])
        loop("variance")(deltas, made, *np.empty((2, _FEW)))
        return made

    def erase(self, deltas: Array, unless: Array) -> None:
        """See Kernels."""
        if deltas.dtype != np.float32:
            return super().erase(deltas, unless)
        for row in deltas:
            loop("erase")(row, unless)
        return None

    def fuse(self, deltas: Array, weights: Sequence[float]) -> Array:
        """See Kernels."""
        if deltas.dtype != np.float32:
            return super().fuse(deltas, weights)
        made = np.empty_like(deltas[0])
        loop("fuse")(deltas, np.array(weights, np.float32), made, *np.empty((2, _FEW), np.float32))
        return made

    def elect(self, deltas: Array, weights: Sequence[float], normalize: bool) -> Array:
        """See Kernels."""
        if deltas.dtype != np.float32:
            return super().elect(deltas, weights, normalize)
        made = np.empty_like(deltas[0])
        loop("elect")(deltas, np.array(weights, np.float32), normalize, made, *np.empty((2, _FEW), np.float32))
        return made
