"""The inner loops of merging, compiled by numba (extra `fast`): the same operations in the same order as `kernels.py`.

No fused multiply-add and no reassociation (fastmath off), so every result equals the numpy reference bit for bit. The
loops release the interpreter lock and are compiled once per machine, then read from a cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from palmette.weights.dtypes import Array, Raw
from palmette.weights.kernels import LANES, Cut, NumpyKernels

__all__ = ["FastKernels"]

_compile = numba.njit(nogil=True, cache=True, error_model="numpy")
_WORD = 0xFFFFFFFF
_FEW = 4096  # elements of the innermost chunk: temporaries stay in the first-level cache


class FastKernels(NumpyKernels):
    """Compiled loops for float32; whatever is rare (float64, float16) stays with the reference."""

    def decode(self, raw: Raw, dtype: str, arithmetic: str) -> Array:
        """See Kernels."""
        if dtype == "BF16" and arithmetic == "F32":
            made = np.empty(len(raw), np.float32)
            _widen(raw, made.view(np.uint32))
            return made
        return super().decode(raw, dtype, arithmetic)

    def encode(self, values: Array, dtype: str) -> Raw:
        """See Kernels."""
        if dtype == "BF16" and values.dtype == np.float32:
            made = np.empty(len(values), np.uint16)
            _narrow(np.ascontiguousarray(values).view(np.uint32), made)
            return made
        return super().encode(values, dtype)

    def finite(self, raw: Raw, dtype: str) -> bool:
        """See Kernels."""
        if dtype == "BF16":
            return bool(_below(raw, np.uint16(0x7FFF), np.uint16(0x7F80)))
        if dtype == "F32":
            return bool(_below(raw.view(np.uint32), np.uint32(0x7FFFFFFF), np.uint32(0x7F800000)))
        return super().finite(raw, dtype)

    def combine(self, arrays: Sequence[Array], weights: Sequence[float]) -> Array:
        """See Kernels."""
        if arrays[0].dtype != np.float32:
            return super().combine(arrays, weights)
        made = np.empty_like(arrays[0])
        _scale(arrays[0], np.float32(weights[0]), made)
        for array, weight in zip(arrays[1:], weights[1:], strict=True):
            _add(array, np.float32(weight), made)
        return made

    def blend(self, arrays: Sequence[Array], weights: Sequence[float]) -> Array:
        """See Kernels."""
        if arrays[0].dtype != np.float32:
            return super().blend(arrays, weights)
        made = np.empty_like(arrays[0])
        _scale(arrays[0], np.float32(weights[0]), made)
        for array, weight in zip(arrays[1:], weights[1:], strict=True):
            _blend(array, np.float64(np.float32(weight)), made)
        return made

    def dots(self, left: Array, right: Array, leaf: int) -> NDArray[np.float64]:
        """See Kernels."""
        made = np.empty(-(-len(left) // leaf))
        _dots(left, right, leaf, made)
        return made

    def sizes(self, values: Array, leaf: int) -> NDArray[np.float64]:
        """See Kernels."""
        made = np.empty(-(-len(values) // leaf))
        _sizes(values, leaf, made)
        return made

    def histogram(self, values: Array, shift: int, bits: int, prefix: int, into: NDArray[np.int64]) -> None:
        """See Kernels."""
        if values.dtype != np.float32:
            return super().histogram(values, shift, bits, prefix, into)
        if prefix < 0:
            _count(values.view(np.uint32), np.uint32(shift), np.uint32((1 << bits) - 1), into)
        else:
            low, mask = np.uint32(prefix << (shift + bits)), np.uint32((1 << bits) - 1)
            _count_under(values.view(np.uint32), np.uint32(shift), mask, low, np.uint32(1 << (shift + bits)), into)
        return None

    def keep(self, values: Array, cut: Cut, start: int, above: bool) -> None:
        """See Kernels."""
        key, last = cut
        if values.dtype != np.float32 or key < 0 or key >= 1 << 31:
            return super().keep(values, cut, start, above)
        if start <= last < start + len(values) - 1:  # equals run out inside this block
            border = last + 1 - start
            _keep(values[:border].view(np.int32), np.int32(key), above)
            _keep(values[border:].view(np.int32), np.int32(key + 1), above)
        else:
            _keep(values.view(np.int32), np.int32(key if last >= start else key + 1), above)
        return None

    def drop(self, values: Array, key: int, start: int, limit: int) -> None:
        """See Kernels."""
        if values.dtype != np.float32 or limit >= 1 << 32:
            return super().drop(values, key, start, limit)
        _drop(values, np.uint32(key & _WORD), np.uint32(key >> 32 & _WORD), start, np.uint32(max(0, limit)))
        return None

    def drop_ranked(self, values: Array, key: int, start: int, limits: NDArray[np.int64]) -> None:
        """See Kernels."""
        if values.dtype != np.float32:
            return super().drop_ranked(values, key, start, limits)
        packed = np.empty((len(values) // len(limits), len(limits)), np.uint64)
        _pack(values.view(np.uint32), packed)
        packed.sort(axis=1)  # key and position in one integer: distinct, so an unstable sort is as good as a stable one
        _drop_ranked(values, packed, np.uint32(key & _WORD), np.uint32(key >> 32 & _WORD), start, limits)
        return None

    def variance(self, deltas: Array) -> Array:
        """See Kernels."""
        if deltas.dtype != np.float32:
            return super().variance(deltas)
        made = np.empty_like(deltas[0])
        _variance(deltas, made)
        return made

    def erase(self, deltas: Array, unless: Array) -> None:
        """See Kernels."""
        if deltas.dtype != np.float32:
            return super().erase(deltas, unless)
        for row in deltas:
            _erase(row, unless)
        return None

    def fuse(self, deltas: Array, weights: Sequence[float]) -> Array:
        """See Kernels."""
        if deltas.dtype != np.float32:
            return super().fuse(deltas, weights)
        made = np.empty_like(deltas[0])
        _fuse(deltas, np.array(weights, np.float32), made)
        return made

    def elect(self, deltas: Array, weights: Sequence[float], normalize: bool) -> Array:
        """See Kernels."""
        if deltas.dtype != np.float32:
            return super().elect(deltas, weights, normalize)
        made = np.empty_like(deltas[0])
        _elect(deltas, np.array(weights, np.float32), normalize, made)
        return made


@_compile
def _widen(raw: Any, made: Any) -> None:
    for i in range(len(raw)):
        made[i] = np.uint32(raw[i]) << np.uint32(16)


@_compile
def _narrow(bits: Any, made: Any) -> None:
    broken = np.uint32(0)
    for i in range(len(bits)):
        b = bits[i]
        made[i] = np.uint16((b + (np.uint32(0x7FFF) + ((b >> np.uint32(16)) & np.uint32(1)))) >> np.uint32(16))
        broken = max(broken, b & np.uint32(0x7FFFFFFF))
    if broken > np.uint32(0x7F800000):
        for i in range(len(bits)):
            if bits[i] & np.uint32(0x7FFFFFFF) > np.uint32(0x7F800000):
                made[i] = np.uint16(bits[i] >> np.uint32(16)) | np.uint16(0x40)


@_compile
def _below(raw: Any, mask: Any, limit: Any) -> bool:
    largest = raw.dtype.type(0)
    for i in range(len(raw)):
        largest = max(largest, raw[i] & mask)
    return bool(largest < limit)


@_compile
def _scale(array: Any, weight: Any, made: Any) -> None:
    for i in range(len(array)):
        made[i] = array[i] * weight


@_compile
def _add(array: Any, weight: Any, made: Any) -> None:
    for i in range(len(array)):
        made[i] += array[i] * weight


@_compile
def _blend(array: Any, weight: Any, made: Any) -> None:
    for i in range(len(array)):
        made[i] = np.float32(np.float64(array[i]) * weight + np.float64(made[i]))


@_compile
def _dots(left: Any, right: Any, leaf: int, made: Any) -> None:
    lanes = np.empty(LANES)
    for part in range(len(made)):
        begin, end = part * leaf, min(len(left), (part + 1) * leaf)
        wide = begin + (end - begin) // LANES * LANES
        lanes[:] = 0.0
        for i in range(begin, wide, LANES):
            for lane in range(LANES):
                lanes[lane] += np.float64(left[i + lane]) * np.float64(right[i + lane])
        for i in range(wide, end):
            lanes[i - wide] += np.float64(left[i]) * np.float64(right[i])
        made[part] = lanes[0]
        for lane in range(1, LANES):
            made[part] += lanes[lane]


@_compile
def _sizes(values: Any, leaf: int, made: Any) -> None:
    lanes = np.empty(LANES)
    for part in range(len(made)):
        begin, end = part * leaf, min(len(values), (part + 1) * leaf)
        wide = begin + (end - begin) // LANES * LANES
        lanes[:] = 0.0
        for i in range(begin, wide, LANES):
            for lane in range(LANES):
                lanes[lane] += np.float64(abs(values[i + lane]))
        for i in range(wide, end):
            lanes[i - wide] += np.float64(abs(values[i]))
        made[part] = lanes[0]
        for lane in range(1, LANES):
            made[part] += lanes[lane]


@_compile
def _count(bits: Any, shift: Any, mask: Any, into: Any) -> None:
    for i in range(len(bits)):
        into[((bits[i] & np.uint32(0x7FFFFFFF)) >> shift) & mask] += 1


@_compile
def _count_under(bits: Any, shift: Any, mask: Any, low: Any, width: Any, into: Any) -> None:
    for i in range(len(bits)):
        key = bits[i] & np.uint32(0x7FFFFFFF)
        if np.uint32(key - low) < width:
            into[(key >> shift) & mask] += 1


@_compile
def _keep(bits: Any, least: Any, above: bool) -> None:
    if above:
        for i in range(len(bits)):
            bits[i] = bits[i] if (bits[i] & np.int32(0x7FFFFFFF)) >= least else np.int32(0)
    else:
        for i in range(len(bits)):
            bits[i] = bits[i] if (bits[i] & np.int32(0x7FFFFFFF)) < least else np.int32(0)


@_compile
def _mixed(x: Any) -> Any:  # numba widens every sum and product to 64 bits: cut them back
    x = np.uint32(np.uint32(x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D))
    x = np.uint32(np.uint32(x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B))
    return np.uint32(x ^ (x >> np.uint32(16)))


@_compile
def _draw(low: Any, high: Any, position: int) -> Any:
    """`palmette.weights.kernels.draws`."""
    far = np.uint32(np.uint32(position >> 32) * np.uint32(0x9E3779B1))
    return _mixed(np.uint32(_mixed(np.uint32(np.uint32(position & 0xFFFFFFFF) ^ low)) ^ np.uint32(high ^ far)))


@_compile
def _drop(values: Any, low: Any, high: Any, start: int, limit: Any) -> None:
    if start >> 32 == (start + len(values)) >> 32:  # 32-bit arithmetic only, which fills a vector register
        first = np.uint32(start & 0xFFFFFFFF)
        far = np.uint32(high ^ np.uint32(np.uint32(start >> 32) * np.uint32(0x9E3779B1)))
        for i in range(len(values)):
            draw = _mixed(np.uint32(_mixed(np.uint32(np.uint32(first + np.uint32(i)) ^ low)) ^ far))
            values[i] = values[i] if draw < limit else np.float32(0)
    else:
        for i in range(len(values)):
            values[i] = values[i] if _draw(low, high, start + i) < limit else np.float32(0)


@_compile
def _pack(bits: Any, packed: Any) -> None:
    rows, width = packed.shape
    for row in range(rows):
        for i in range(width):
            key = np.uint64(bits[row * width + i] & np.uint32(0x7FFFFFFF))
            packed[row, i] = (key << np.uint64(32)) | np.uint64(i)


@_compile
def _drop_ranked(values: Any, packed: Any, low: Any, high: Any, start: int, limits: Any) -> None:
    rows, width = packed.shape
    for row in range(rows):
        for rank in range(width):
            at = row * width + np.int64(packed[row, rank] & np.uint64(0xFFFFFFFF))
            values[at] = values[at] if np.int64(_draw(low, high, start + at)) < limits[rank] else np.float32(0)


@_compile
def _variance(deltas: Any, made: Any) -> None:
    models, n = deltas.shape
    count = np.float32(models)
    mean = np.empty(_FEW, np.float32)
    for begin in range(0, n, _FEW):
        size = min(_FEW, n - begin)
        for i in range(size):
            mean[i] = deltas[0, begin + i]
        for m in range(1, models):
            for i in range(size):
                mean[i] += deltas[m, begin + i]
        for i in range(size):
            mean[i] /= count
        part = made[begin : begin + size]
        part[:] = np.float32(0)
        for m in range(models):
            row = deltas[m, begin : begin + size]
            for i in range(size):
                apart = row[i] - mean[i]
                part[i] += apart * apart
        for i in range(size):
            part[i] /= count


@_compile
def _erase(row: Any, unless: Any) -> None:
    for i in range(len(row)):
        row[i] = row[i] if unless[i] != np.float32(0) else np.float32(0)


@_compile
def _fuse(deltas: Any, weights: Any, made: Any) -> None:
    models, n = deltas.shape
    zero, least = np.float32(0), np.float32(1e-6)
    elected, shares = np.empty(_FEW, np.float32), np.empty(_FEW, np.float32)
    for begin in range(0, n, _FEW):
        size = min(_FEW, n - begin)
        for i in range(size):
            elected[i] = deltas[0, begin + i]
        for m in range(1, models):
            for i in range(size):
                elected[i] += deltas[m, begin + i]
        part = made[begin : begin + size]
        part[:] = zero
        shares[:] = zero
        for m in range(models):
            row, weight = deltas[m, begin : begin + size], weights[m]
            for i in range(size):
                delta = row[i]
                agrees = ((elected[i] >= zero) & (delta > zero)) | ((elected[i] < zero) & (delta < zero))
                part[i] += delta * weight if agrees else zero
                shares[i] += weight if agrees else zero
        for i in range(size):
            part[i] /= shares[i] if shares[i] > least else least


@_compile
def _elect(deltas: Any, weights: Any, normalize: bool, made: Any) -> None:
    models, n = deltas.shape
    zero, one = np.float32(0), np.float32(1)
    elected, shares = np.empty(_FEW, np.float32), np.empty(_FEW, np.float32)
    for begin in range(0, n, _FEW):
        size = min(_FEW, n - begin)
        for i in range(size):
            elected[i] = deltas[0, begin + i]
        for m in range(1, models):
            for i in range(size):
                elected[i] += deltas[m, begin + i]
        part = made[begin : begin + size]
        part[:] = zero
        shares[:] = zero
        for m in range(models):
            row, weight = deltas[m, begin : begin + size], weights[m]
            for i in range(size):
                delta = row[i]
                agrees = ((elected[i] >= zero) & (delta > zero)) | ((elected[i] < zero) & (delta < zero))
                part[i] += delta if agrees else zero
                shares[i] += weight if agrees else zero
        if normalize:
            for i in range(size):
                part[i] /= shares[i] if shares[i] != zero else one
