"""The loops themselves, in the part of Python that numba compiles: the same operations in the same order as
`palmette.weights.kernels`.

No fused multiply-add and no reassociation (fastmath off), so every result equals the numpy reference bit for bit.
Nothing is allocated here: scratch memory is an argument, so the machine code needs no run-time library.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

__all__ = ["LOOPS"]

_compile = numba.njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


@_compile
def _short(b: Any) -> Any:
    """The upper half of a float32's bits, rounded to nearest even: a bfloat16."""
    return np.uint16((b + (np.uint32(0x7FFF) + ((b >> np.uint32(16)) & np.uint32(1)))) >> np.uint32(16))


@_compile
def widen(raw: Any, made: Any) -> None:
    """bfloat16 to float32, as bits."""
    for i in range(len(raw)):
        made[i] = np.uint32(raw[i]) << np.uint32(16)


@_compile
def narrow(bits: Any, made: Any) -> None:
    """float32 to bfloat16, to nearest even; NaN stays NaN."""
    broken = np.uint32(0)
    for i in range(len(bits)):
        made[i] = _short(bits[i])
        broken = max(broken, bits[i] & np.uint32(0x7FFFFFFF))
    if broken > np.uint32(0x7F800000):
        for i in range(len(bits)):
            if bits[i] & np.uint32(0x7FFFFFFF) > np.uint32(0x7F800000):
                made[i] = np.uint16(bits[i] >> np.uint32(16)) | np.uint16(0x40)


@_compile
def largest(raw: Any, mask: Any, made: Any) -> None:
    """The largest magnitude of floats, as bits; the mask takes the sign away."""
    found = raw[0] & mask
    for i in range(len(raw)):
        found = max(found, raw[i] & mask)
    made[0] = found


@_compile
def scale(array: Any, weight: Any, made: Any) -> None:
    """w x."""
    for i in range(len(array)):
        made[i] = array[i] * weight


@_compile
def add(array: Any, weight: Any, made: Any) -> None:
    """… + w x."""
    for i in range(len(array)):
        made[i] += array[i] * weight


@_compile
def blend(array: Any, weight: Any, made: Any) -> None:
    """… + w x, rounded once."""
    for i in range(len(array)):
        made[i] = np.float32(np.float64(array[i]) * weight + np.float64(made[i]))


@_compile
def mix(
    raws: Any, base: Any, weights: Any, once: Any, differences: Any, divisor: Any, factor: Any, anchor: Any,
    made: Any, acc: Any, low: Any, worst: Any,
) -> None:  # fmt: skip
    """A linear combination of bfloat16 arrays, from stored numbers to stored numbers (see `Kernels.mix`)."""
    models, n = raws.shape
    few = len(acc)
    largest = np.uint16(0)
    sums, floor = acc.view(np.float32), low.view(np.float32)
    for begin in range(0, n, few):
        size = min(few, n - begin)
        if len(base):
            row = base[begin : begin + size]
            for i in range(size):
                low[i] = np.uint32(row[i]) << np.uint32(16)
                largest = max(largest, row[i] & np.uint16(0x7FFF))
        for m in range(models):
            row, weight, wide = raws[m, begin : begin + size], weights[m], np.float64(weights[m])
            for i in range(size):
                largest = max(largest, row[i] & np.uint16(0x7FFF))
            if m == 0 and differences:
                for i in range(size):
                    sums[i] = (_float(row[i]) - floor[i]) * weight
            elif m == 0:
                for i in range(size):
                    sums[i] = _float(row[i]) * weight
            elif differences:
                for i in range(size):
                    sums[i] += (_float(row[i]) - floor[i]) * weight
            elif once:
                for i in range(size):
                    sums[i] = np.float32(np.float64(_float(row[i])) * wide + np.float64(sums[i]))
            else:
                for i in range(size):
                    sums[i] += _float(row[i]) * weight
        if divisor != np.float32(1):
            for i in range(size):
                sums[i] /= divisor
        if factor != np.float32(1):
            for i in range(size):
                sums[i] *= factor
        if len(base) and anchor != np.float32(0):
            for i in range(size):
                sums[i] += floor[i] * anchor
        part = made[begin : begin + size]
        for i in range(size):
            part[i] = _short(acc[i])
    worst[0] = largest


@numba.extending.intrinsic  # type: ignore[misc,unused-ignore]
def _reinterpret(typing: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(numba.types.float32))

    return numba.types.float32(numba.types.uint32), generate


@_compile
def _float(raw: Any) -> Any:
    """The float32 of a bfloat16's bits."""
    return _reinterpret(np.uint32(np.uint32(raw) << np.uint32(16)))


@_compile
def _added(lanes: Any) -> Any:
    """A leaf's lanes, one after another."""
    found = 0.0
    for lane in range(len(lanes)):
        found += lanes[lane]
    return found


@_compile
def dots(left: Any, right: Any, leaf: int, made: Any, lanes: Any) -> None:
    """Partial dot products; lane l of a leaf adds its elements l, l + LANES, …"""
    for part in range(len(made)):
        lanes[:] = 0.0
        end = min(len(left), (part + 1) * leaf)
        for at in range(part * leaf, end, len(lanes)):
            size = min(len(lanes), end - at)
            p, q = left[at : at + size], right[at : at + size]
            for lane in range(size):
                lanes[lane] += np.float64(p[lane]) * np.float64(q[lane])
        made[part] = _added(lanes)


@_compile
def products(raws: Any, base: Any, differences: Any, leaf: int, made: Any, rows: Any, lanes: Any) -> None:
    """Partial dot products of all pairs of bfloat16 arrays, or of their differences from a base; as `dots`."""
    models, n = raws.shape
    width = rows.shape[1]
    for part in range(made.shape[1]):
        end = min(n, (part + 1) * leaf)
        lanes[:] = 0.0
        for at in range(part * leaf, end, width):
            size = min(width, end - at)
            for m in range(models):
                raw, row = raws[m, at : at + size], rows[m]
                if differences:
                    below = base[at : at + size]
                    for k in range(size):
                        row[k] = np.float64(np.float32(_float(raw[k]) - _float(below[k])))
                else:
                    for k in range(size):
                        row[k] = np.float64(_float(raw[k]))
            pair = 0
            for i in range(models):
                for j in range(i, models):
                    one, other, total = rows[i], rows[j], lanes[pair]
                    for k in range(size):
                        total[k] += one[k] * other[k]
                    pair += 1
        for pair in range(len(made)):
            made[pair, part] = _added(lanes[pair])


@_compile
def sizes(values: Any, leaf: int, made: Any, lanes: Any) -> None:
    """Partial sums of absolute values."""
    for part in range(len(made)):
        lanes[:] = 0.0
        end = min(len(values), (part + 1) * leaf)
        for at in range(part * leaf, end, len(lanes)):
            size = min(len(lanes), end - at)
            p = values[at : at + size]
            for lane in range(size):
                lanes[lane] += np.float64(abs(p[lane]))
        made[part] = _added(lanes)


@_compile
def count(bits: Any, shift: Any, mask: Any, into: Any) -> None:
    """A histogram of some bits of magnitudes."""
    for i in range(len(bits)):
        into[((bits[i] & np.uint32(0x7FFFFFFF)) >> shift) & mask] += 1


@_compile
def count_under(bits: Any, shift: Any, mask: Any, low: Any, width: Any, into: Any) -> None:
    """The same, of magnitudes from `low` on."""
    for i in range(len(bits)):
        key = bits[i] & np.uint32(0x7FFFFFFF)
        if np.uint32(key - low) < width:
            into[(key >> shift) & mask] += 1


@_compile
def keep(bits: Any, least: Any, above: Any) -> None:
    """Zero what is below `least`, or what is not."""
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
def drop(values: Any, low: Any, high: Any, start: int, limit: Any) -> None:
    """Zero where the draw is not below `limit`."""
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
def pack(bits: Any, packed: Any) -> None:
    """Magnitude and position in one integer, row by row."""
    rows, width = packed.shape
    for row in range(rows):
        for i in range(width):
            key = np.uint64(bits[row * width + i] & np.uint32(0x7FFFFFFF))
            packed[row, i] = (key << np.uint64(32)) | np.uint64(i)


@_compile
def drop_ranked(values: Any, packed: Any, low: Any, high: Any, start: int, limits: Any, own: Any) -> None:
    """Zero where the draw is not below the limit of its rank; `own` has room for the limits of a row by position."""
    rows, width = packed.shape
    for row in range(rows):
        for rank in range(width):
            own[np.int64(packed[row, rank] & np.uint64(0xFFFFFFFF))] = limits[rank]
        begin = start + row * width
        part = values[row * width : (row + 1) * width]
        if begin >> 32 == (begin + width) >> 32:  # 32-bit arithmetic only, which fills a vector register
            first = np.uint32(begin & 0xFFFFFFFF)
            far = np.uint32(high ^ np.uint32(np.uint32(begin >> 32) * np.uint32(0x9E3779B1)))
            for i in range(width):
                draw = _mixed(np.uint32(_mixed(np.uint32(np.uint32(first + np.uint32(i)) ^ low)) ^ far))
                part[i] = part[i] if np.int64(draw) < own[i] else np.float32(0)
        else:
            for i in range(width):
                part[i] = part[i] if np.int64(_draw(low, high, begin + i)) < own[i] else np.float32(0)


@_compile
def variance(deltas: Any, made: Any, mean: Any, sums: Any) -> None:
    """Over the models."""
    models, n = deltas.shape
    count, few = np.float64(models), len(mean)
    for begin in range(0, n, few):
        size = min(few, n - begin)
        mean[:] = 0.0
        sums[:] = 0.0
        for m in range(models):
            row = deltas[m, begin : begin + size]
            for i in range(size):
                mean[i] += np.float64(row[i])
        for i in range(size):
            mean[i] /= count
        for m in range(models):
            row = deltas[m, begin : begin + size]
            for i in range(size):
                apart = np.float64(row[i]) - mean[i]
                sums[i] += apart * apart
        part = made[begin : begin + size]
        for i in range(size):
            part[i] = np.float32(sums[i] / count)


@_compile
def erase(row: Any, unless: Any) -> None:
    """Zero where the other is zero."""
    for i in range(len(row)):
        row[i] = row[i] if unless[i] != np.float32(0) else np.float32(0)


@_compile
def _sum_rows(rows: Any, begin: int, made: Any) -> None:
    """Columns from `begin` on, each added up over the rows in order."""
    for i in range(len(made)):
        made[i] = rows[0, begin + i]
    for m in range(1, len(rows)):
        for i in range(len(made)):
            made[i] += rows[m, begin + i]


@_compile
def _agrees(delta: Any, elected: Any) -> Any:
    """True if a delta has the elected sum's sign; a sum of zero elects plus, and zero never agrees."""
    zero = np.float32(0)
    return ((elected >= zero) & (delta > zero)) | ((elected < zero) & (delta < zero))


@_compile
def fuse(deltas: Any, weights: Any, made: Any, elected: Any, shares: Any) -> None:
    """Weighted mean of what agrees with the sum's sign."""
    models, n = deltas.shape
    few, zero, least = len(elected), np.float32(0), np.float32(1e-6)
    for begin in range(0, n, few):
        size = min(few, n - begin)
        _sum_rows(deltas, begin, elected[:size])
        part = made[begin : begin + size]
        part[:] = zero
        shares[:] = zero
        for m in range(models):
            row, weight = deltas[m, begin : begin + size], weights[m]
            for i in range(size):
                agrees = _agrees(row[i], elected[i])
                part[i] += row[i] * weight if agrees else zero
                shares[i] += weight if agrees else zero
        for i in range(size):
            part[i] /= shares[i] if shares[i] > least else least


@_compile
def elect(deltas: Any, weights: Any, normalize: Any, made: Any, elected: Any, shares: Any) -> None:
    """TIES' election and merge."""
    models, n = deltas.shape
    few, zero, one = len(elected), np.float32(0), np.float32(1)
    for begin in range(0, n, few):
        size = min(few, n - begin)
        _sum_rows(deltas, begin, elected[:size])
        part = made[begin : begin + size]
        part[:] = zero
        shares[:] = zero
        for m in range(models):
            row, weight = deltas[m, begin : begin + size], weights[m]
            for i in range(size):
                agrees = _agrees(row[i], elected[i])
                part[i] += row[i] if agrees else zero
                shares[i] += weight if agrees else zero
        if normalize:
            for i in range(size):
                part[i] /= shares[i] if shares[i] != zero else one


LOOPS = {
    "widen": widen, "narrow": narrow, "largest16": largest, "largest32": largest, "scale": scale, "add": add,
    "blend": blend, "mix": mix, "products": products, "dots": dots, "sizes": sizes, "count": count,
    "count_under": count_under, "keep": keep, "drop": drop, "pack": pack, "drop_ranked": drop_ranked,
    "variance": variance, "erase": erase, "fuse": fuse, "elect": elect,
}  # fmt: skip
