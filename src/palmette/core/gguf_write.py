"""Writing GGUF files: streamed a few rows at a time, and atomic: the file has its name when it is whole.

The format is that of the public GGUF specification, version 3; `core/gguf.py` reads it.
"""

from __future__ import annotations

import math
import os
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import BadParameter, OutputError
from palmette.core.gguf_types import FORMATS, WRITTEN, from_float32

__all__ = ["Planned", "U32", "write_gguf"]

ALIGNMENT = 32
BLOCK = 1 << 22  # numbers that are converted at once
_KINDS = {np.dtype(f"<{code}"): kind for code, kind in {
    "u1": 0, "i1": 1, "u2": 2, "i2": 3, "u4": 4, "i4": 5, "f4": 6, "u8": 10, "i8": 11, "f8": 12}.items()}  # fmt: skip
_NUMBER_OF = {label: number for number, (label, _, _) in FORMATS.items()}


class U32(int):
    """A number that is written with 32 bits and no sign, which readers expect of sizes and token ids."""


@dataclass(frozen=True)
class Planned:
    """A tensor that is to be written: its shape as numpy has it, its format, and what gives some of its rows.

    Args:
        shape: rows first.
        kind: one of `gguf_types.WRITTEN`.
        rows: called with (start, stop), gives float32[stop − start, width]; leading dimensions are taken as one.
    """

    shape: tuple[int, ...]
    kind: str
    rows: Callable[[int, int], NDArray[Any]]

    @property
    def bytes(self) -> int:
        """Bytes in the file."""
        _, block, each = FORMATS[_NUMBER_OF[self.kind]]
        return math.prod(self.shape) // block * each

    def blocks(self) -> Iterator[NDArray[np.uint8]]:
        """Its bytes, some rows at a time."""
        width = self.shape[-1] if self.shape else 1
        count = math.prod(self.shape) // max(width, 1)
        step = max(1, BLOCK // max(width, 1))
        for start in range(0, count, step):
            yield from_float32(self.kind, self.rows(start, min(start + step, count)))


def write_gguf(
    path: str | Path,
    metadata: Mapping[str, Any],
    tensors: Mapping[str, NDArray[Any] | Planned],
    kind: str = "F32",
    progress: Callable[[int], None] = lambda count: None,
) -> Path:
    """Write a GGUF file.

    Args:
        path: the file; one that exists is replaced when the new one is whole.
        metadata: bool, int (`U32`, else 64 bits), float (32 bits), str, list of str, or numpy arrays of numbers.
        tensors: arrays, or `Planned` ones that are read while they are written.
        kind: the format of tensors that are given as arrays: F32, F16, BF16 or Q8_0.
        progress: called with the bytes of tensors written since the last call.

    Raises:
        OutputError: if it cannot be written.
    """
    path = Path(path)
    planned = {name: t if isinstance(t, Planned) else _given(t, kind) for name, t in tensors.items()}
    for name, tensor in planned.items():
        _check(name, tensor)
    try:
        handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                _write(file, metadata, planned, progress)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(partial, 0o666 & ~_umask())
            os.replace(partial, path)
        except BaseException:
            os.unlink(partial)
            raise
    except OSError as error:
        raise OutputError(f"{str(path)!r} cannot be written: {error.strerror or error}") from error
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _given(array: NDArray[Any], kind: str) -> Planned:
    flat = np.asarray(array, np.float32).reshape(-1, array.shape[-1] if array.ndim else 1)
    return Planned(array.shape, kind, lambda start, stop: flat[start:stop])


def _check(name: str, tensor: Planned) -> None:
    if tensor.kind not in WRITTEN:
        raise BadParameter(f"tensor {name!r}: the format {tensor.kind!r} is not written; {', '.join(WRITTEN)} are")
    block = FORMATS[_NUMBER_OF[tensor.kind]][1]
    if (tensor.shape[-1] if tensor.shape else 1) % block or len(tensor.shape) > 4 or len(name.encode()) > 63:
        raise BadParameter(f"tensor {name!r} of shape {tensor.shape} cannot be written as {tensor.kind}")


def _write(
    file: BinaryIO, metadata: Mapping[str, Any], tensors: Mapping[str, Planned], progress: Callable[[int], None]
) -> None:
    file.write(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)))
    for key, value in metadata.items():
        file.write(_text(key) + _value(key, value))
    offset = 0
    for name, tensor in tensors.items():
        dimensions = tensor.shape[::-1]
        file.write(_text(name) + struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions))
        file.write(struct.pack("<IQ", _NUMBER_OF[tensor.kind], offset))
        offset += _padded(tensor.bytes)
    file.write(bytes(_padded(file.tell()) - file.tell()))
    for tensor in tensors.values():
        for block in tensor.blocks():
            file.write(np.ascontiguousarray(block).data)
            progress(block.size)
        file.write(bytes(_padded(tensor.bytes) - tensor.bytes))


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _text(text: str) -> bytes:
    raw = text.encode("utf-8")
    return struct.pack("<Q", len(raw)) + raw


def _value(key: str, value: Any) -> bytes:
    """A value with its type before it."""
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, U32):
        return struct.pack("<II", 4, value)
    if isinstance(value, int):
        return struct.pack("<IQ", 10, value) if value >= 0 else struct.pack("<Iq", 11, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    if isinstance(value, np.ndarray):
        little = value.astype(value.dtype.newbyteorder("<"))
        kind = 7 if value.dtype == np.bool_ else _KINDS.get(little.dtype)
        if kind is not None and value.ndim == 1:
            return struct.pack("<IIQ", 9, kind, len(value)) + little.tobytes()
    if isinstance(value, Sequence) and all(isinstance(each, str) for each in value):
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(_text, value))
    raise BadParameter(f"{key!r}: {value!r} is no value that GGUF has")
