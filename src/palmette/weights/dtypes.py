"""Numbers as checkpoints store them: bfloat16, float16, float32, float64 and 8-bit floats to arrays and back.

bfloat16 is the upper half of a float32; rounding is to nearest even and keeps NaN, as IEEE 754 and every framework do.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["ALIASES", "FLOATS", "SIZES", "Array", "Raw", "decode", "encode", "finite", "promote", "storage"]

Array = NDArray[Any]  # float32 or float64, what arithmetic is done in
Raw = NDArray[Any]  # as stored: bfloat16 is uint16
Arithmetic = Literal["F32", "F64"]

SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I32": 4, "I16": 2, "I8": 1,
         "U8": 1, "BOOL": 1, "U16": 2, "U32": 4, "U64": 8}  # fmt: skip
FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
ALIASES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32", "float64": "F64", "int64": "I64"}
_STORAGE = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "F8_E4M3": "u1", "F8_E5M2": "u1", "I64": "<i8",
            "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "u1", "U16": "<u2", "U32": "<u4",
            "U64": "<u8"}  # fmt: skip


def storage(dtype: str) -> np.dtype[Any]:
    """The numpy dtype whose bytes a safetensors dtype has."""
    return np.dtype(_STORAGE[dtype])


def _float8(mantissa: int, bias: int) -> NDArray[np.float32]:
    """All 256 values of an 8-bit float (E4M3 without infinities, E5M2 with them; OCP 8-bit specification)."""
    code = np.arange(256)
    exponent, fraction = (code & 0x7F) >> mantissa, code & ((1 << mantissa) - 1)
    scale = np.where(exponent == 0, 2.0 ** (1 - bias), 2.0 ** (exponent - bias))
    values = scale * (np.where(exponent == 0, 0.0, 1.0) + fraction / (1 << mantissa))
    if mantissa == 3:
        values[(code & 0x7F) == 0x7F] = np.nan
    else:
        values[exponent == 31] = np.where(fraction[exponent == 31] == 0, np.inf, np.nan)
    return (values * np.where(code & 0x80, -1.0, 1.0)).astype(np.float32)


_FLOAT8 = {"F8_E4M3": _float8(3, 7), "F8_E5M2": _float8(2, 15)}


def decode(raw: Raw, dtype: str, arithmetic: str = "F32") -> Array:
    """Stored numbers as float32 (or float64); exact except from float64 to float32.

    >>> decode(np.array([0x3FC0], np.uint16), "BF16")
    array([1.5], dtype=float32)
    """
    if dtype == "BF16":
        values: Array = (raw.astype(np.uint32) << np.uint32(16)).view(np.float32)
    elif dtype in _FLOAT8:
        values = _FLOAT8[dtype][raw]
    else:
        values = raw
    return values.astype(np.float64 if arithmetic == "F64" else np.float32, copy=False)


def encode(values: Array, dtype: str) -> Raw:
    """Numbers as they are stored in `dtype`, rounded to nearest even.

    >>> encode(np.array([1.00390625, 1.01171875], np.float32), "BF16").tolist()  # both lie halfway
    [16256, 16258]
    """
    if dtype == "BF16":
        return _to_bfloat16(np.ascontiguousarray(values, np.float32))
    if dtype in _FLOAT8:
        return _to_float8(values, dtype)
    with np.errstate(over="ignore"):
        return values.astype(storage(dtype))


def _to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    bits = values.view(np.uint32)
    rounded = ((bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))) >> np.uint32(16)).astype(
        np.uint16
    )
    broken = (bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)
    if broken.any():
        rounded[broken] = (bits[broken] >> np.uint32(16)).astype(np.uint16) | np.uint16(0x40)
    return rounded


def _to_float8(values: Array, dtype: str) -> Raw:
    table = _FLOAT8[dtype][:128]
    grid = table[np.isfinite(table)].astype(np.float64)
    middle = (grid[1:] + grid[:-1]) / 2
    size = np.abs(values.astype(np.float64))
    code = np.searchsorted(middle, size, side="left")
    tied = (code < len(middle)) & (middle[np.minimum(code, len(middle) - 1)] == size)
    code = np.where(tied & (code % 2 == 1), code + 1, code)
    code = np.where(np.isnan(size), 127, code)
    return (code | np.where(np.signbit(values), 128, 0)).astype(np.uint8)


def finite(raw: Raw, dtype: str) -> bool:
    """True if no stored number is infinite or NaN."""
    if dtype == "BF16":
        return not len(raw) or int((raw & np.uint16(0x7FFF)).max()) < 0x7F80
    if dtype in _FLOAT8:
        return bool(np.isfinite(_FLOAT8[dtype][raw]).all())
    return dtype not in FLOATS or bool(np.isfinite(raw).all())


def promote(dtypes: list[str]) -> str:
    """The smallest float type that holds all of these: bfloat16 with float16 makes float32.

    >>> promote(["BF16", "F16"]), promote(["BF16", "BF16"]), promote(["F16", "F64"])
    ('F32', 'BF16', 'F64')
    """
    kinds = set(dtypes)
    if len(kinds) == 1:
        return dtypes[0]
    return "F64" if "F64" in kinds else "F32"
