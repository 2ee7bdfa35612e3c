"""The number formats of GGUF: how many bytes a block takes, and back to float32.

A quantised row is a run of blocks of 32 or 256 numbers that share one or more scales; the layouts are those of the ggml
library, which defines them. `to_float32` reads blocks, `from_float32` writes the formats that `palmette convert` makes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import Unsupported

__all__ = ["FILE_TYPES", "FORMATS", "READ", "WRITTEN", "from_float32", "to_float32"]

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

# The number in the file -> name, numbers in a block, bytes of a block.
FORMATS: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 36), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18), 42: ("Q2_0", 64, 18),
}  # fmt: skip

# general.file_type -> what people call the mixture of formats.
FILE_TYPES: dict[int, str] = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4",
}  # fmt: skip


def to_float32(kind: str, data: Bytes) -> Floats:
    """Bytes of whole blocks as float32, in order.

    >>> to_float32("BF16", np.array([0x80, 0x3F, 0x00, 0xC0], np.uint8))
    array([ 1., -2.], dtype=float32)
    """
    if kind not in READ:
        raise Unsupported(f"the GGUF format {kind} is not read here; {', '.join(READ)} are")
    return READ[kind](data)


def from_float32(kind: str, rows: Floats) -> Bytes:
    """float32[rows, n] as the bytes of a format that is written here, uint8[rows, bytes]."""
    if kind not in WRITTEN:
        raise Unsupported(f"the GGUF format {kind} is not written here; {', '.join(WRITTEN)} are")
    return WRITTEN[kind](np.ascontiguousarray(rows, np.float32))


def _blocks(data: Bytes, size: int) -> Bytes:
    return data.reshape(-1, size)


def _flat(numbers: NDArray[Any]) -> Floats:
    return np.asarray(numbers, np.float32).ravel()


def _half(column: Bytes) -> Floats:
    """Two bytes of each block as a float16: uint8[blocks, 2] -> float32[blocks, 1]."""
    return np.ascontiguousarray(column).view(np.float16).astype(np.float32)


def _nibbles(packed: Bytes) -> Bytes:
    """Low halves, then high halves: uint8[…, n] -> uint8[…, 2n]."""
    return np.concatenate([packed & 15, packed >> 4], axis=-1)


def _bf16(data: Bytes) -> Floats:
    wide = data.view(np.uint16).astype(np.uint32) << np.uint32(16)
    return wide.view(np.float32)


def _q4_0(data: Bytes) -> Floats:
    b = _blocks(data, 18)
    return _flat((_nibbles(b[:, 2:]).astype(np.int8) - 8) * _half(b[:, :2]))


def _q4_1(data: Bytes) -> Floats:
    b = _blocks(data, 20)
    return _flat(_nibbles(b[:, 4:]) * _half(b[:, :2]) + _half(b[:, 2:4]))


def _fifth_bits(four: Bytes) -> Bytes:
    """Bit i of a block's 32-bit word, as 16 for number i: uint8[blocks, 4] -> uint8[blocks, 32]."""
    return (np.unpackbits(np.ascontiguousarray(four), axis=1, bitorder="little") << 4).astype(np.uint8)


def _q5_0(data: Bytes) -> Floats:
    b = _blocks(data, 22)
    q = (_nibbles(b[:, 6:]) | _fifth_bits(b[:, 2:6])).astype(np.int8) - 16
    return _flat(q * _half(b[:, :2]))


def _q5_1(data: Bytes) -> Floats:
    b = _blocks(data, 24)
    q = _nibbles(b[:, 8:]) | _fifth_bits(b[:, 4:8])
    return _flat(q * _half(b[:, :2]) + _half(b[:, 2:4]))


def _q8_0(data: Bytes) -> Floats:
    b = _blocks(data, 34)
    return _flat(np.ascontiguousarray(b[:, 2:]).view(np.int8) * _half(b[:, :2]))


def _q2_k(data: Bytes) -> Floats:
    b = _blocks(data, 84)
    scales, packed, d, low = b[:, :16], b[:, 16:80], _half(b[:, 80:82]), _half(b[:, 82:84])
    q = np.stack([(packed.reshape(-1, 2, 32) >> shift) & 3 for shift in (0, 2, 4, 6)], axis=2)  # (n, 2, 4, 32)
    q = q.reshape(-1, 16, 16)
    return _flat(q * (d * (scales & 15))[..., None] - (low * (scales >> 4))[..., None])


def _q3_k(data: Bytes) -> Floats:
    b = _blocks(data, 110)
    high, packed, s, d = b[:, :32], b[:, 32:96], b[:, 96:108], _half(b[:, 108:110])
    top = np.stack([(s[:, 8:12] >> shift) & 3 for shift in (0, 2, 4, 6)], axis=1)  # (n, 4, 4)
    low = np.stack([s[:, 0:4] & 15, s[:, 4:8] & 15, s[:, 0:4] >> 4, s[:, 4:8] >> 4], axis=1)
    scales = (low | (top << 4)).reshape(-1, 16).astype(np.int8) - 32
    q = np.stack([(packed.reshape(-1, 2, 32) >> shift) & 3 for shift in (0, 2, 4, 6)], axis=2).reshape(-1, 8, 32)
    bit = np.stack([(high >> i) & 1 for i in range(8)], axis=1)  # (n, 8, 32)
    signed = (q.astype(np.int8) - np.where(bit == 1, 0, 4).astype(np.int8)).reshape(-1, 16, 16)
    return _flat(signed * (d * scales)[..., None])


def _k_scales(s: Bytes) -> tuple[Bytes, Bytes]:
    """Eight 6-bit scales and eight 6-bit minima from twelve bytes: uint8[blocks, 8] each."""
    scales = np.concatenate([s[:, 0:4] & 63, (s[:, 8:12] & 15) | ((s[:, 0:4] >> 6) << 4)], axis=1)
    minima = np.concatenate([s[:, 4:8] & 63, (s[:, 8:12] >> 4) | ((s[:, 4:8] >> 6) << 4)], axis=1)
    return scales, minima


def _q4_k(data: Bytes) -> Floats:
    b = _blocks(data, 144)
    d, low = _half(b[:, :2]), _half(b[:, 2:4])
    scales, minima = _k_scales(b[:, 4:16])
    q = _nibbles(b[:, 16:].reshape(-1, 4, 32)).reshape(-1, 8, 32)
    return _flat(q * (d * scales)[..., None] - (low * minima)[..., None])


def _q5_k(data: Bytes) -> Floats:
    b = _blocks(data, 176)
    d, low = _half(b[:, :2]), _half(b[:, 2:4])
    scales, minima = _k_scales(b[:, 4:16])
    fifth = np.stack([(b[:, 16:48] >> i) & 1 for i in range(8)], axis=1) << 4  # (n, 8, 32)
    q = _nibbles(b[:, 48:].reshape(-1, 4, 32)).reshape(-1, 8, 32) | fifth
    return _flat(q * (d * scales)[..., None] - (low * minima)[..., None])


def _q6_k(data: Bytes) -> Floats:
    b = _blocks(data, 210)
    low, high = b[:, :128].reshape(-1, 2, 64), b[:, 128:192].reshape(-1, 2, 32)
    scales = np.ascontiguousarray(b[:, 192:208]).view(np.int8)
    top = np.stack([(high >> shift) & 3 for shift in (0, 2, 4, 6)], axis=2) << 4  # (n, 2, 4, 32)
    q = (_nibbles(low).reshape(-1, 2, 4, 32) | top).reshape(-1, 16, 16).astype(np.int8) - 32
    return _flat(q * (_half(b[:, 208:210]) * scales)[..., None])


READ: dict[str, Callable[[Bytes], Floats]] = {
    "F32": lambda data: data.view(np.float32),
    "F16": lambda data: data.view(np.float16).astype(np.float32),
    "BF16": _bf16,
    "F64": lambda data: data.view(np.float64).astype(np.float32),
    "Q8_0": _q8_0, "Q4_0": _q4_0, "Q4_1": _q4_1, "Q5_0": _q5_0, "Q5_1": _q5_1,
    "Q2_K": _q2_k, "Q3_K": _q3_k, "Q4_K": _q4_k, "Q5_K": _q5_k, "Q6_K": _q6_k,
}  # fmt: skip


def _to_bf16(rows: Floats) -> Bytes:
    """Rounded to nearest, ties to even; a NaN stays one."""
    bits = rows.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    quiet = (bits >> np.uint32(16)) | np.uint32(64)
    halves = np.where(np.isnan(rows), quiet, rounded).astype(np.uint16)
    return halves.view(np.uint8)


def _to_q8_0(rows: Floats) -> Bytes:
    """32 numbers share a scale, the largest magnitude over 127; halves are rounded away from zero."""
    blocks = rows.reshape(-1, 32)
    scale = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(127)
    inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale > 0)
    scaled = blocks * inverse
    q = np.trunc(scaled + np.copysign(np.float32(0.5), scaled)).astype(np.int8)
    made = np.concatenate([scale.astype(np.float16).view(np.uint8), q.view(np.uint8)], axis=1)
    return made.reshape(len(rows), -1)


WRITTEN: dict[str, Callable[[Floats], Bytes]] = {
    "F32": lambda rows: rows.view(np.uint8),
    "F16": lambda rows: rows.astype(np.float16).view(np.uint8),
    "BF16": _to_bf16,
    "Q8_0": _to_q8_0,
}
