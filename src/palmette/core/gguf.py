"""Reading GGUF files safely: metadata, the table of tensors, and tensors in float32, memory-mapped.

Every size and count that a file declares is checked against the bytes it has before anything is made of it; texts in
arrays are turned into Python texts only when they are asked for. The format: magic, version, counts, key-value pairs,
tensor table, padding, data (the public GGUF specification, versions 2 and 3).
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import CorruptCheckpoint, ModelNotFound, Unsupported
from palmette.core.gguf_types import FILE_TYPES, FORMATS, READ, to_float32

__all__ = ["GGUF", "GGUFTensor", "Header", "Texts", "open_gguf", "read_gguf_header"]

MAGIC = b"GGUF"
KEY_LIMIT = 65_535  # bytes of a key (specification)
NAME_LIMIT = 64  # bytes of a tensor's name, as ggml has it
DIMENSIONS = 4  # of a tensor, as ggml has it
TEXT_LIMIT = 1 << 24  # bytes of a text: a chat template has a few thousand
TEXTS_LIMIT = 1 << 22  # texts in all arrays: the largest vocabularies with their merges have a million
ENTRIES_LIMIT = 1 << 16  # key-value pairs
TENSORS_LIMIT = 1 << 20

# Number in the file -> numpy's name of it; 7 is a bool, 8 a text, 9 an array.
NUMBERS = {0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 10: "<u8", 11: "<i8", 12: "<f8"}
BOOL, TEXT, ARRAY = 7, 8, 9
_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True)
class GGUFTensor:
    """Where a tensor lies: its format, its shape as numpy has it (rows first), its bytes [start, end) of the file."""

    kind: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Header:
    """What a list of models says of a file, without a tensor being read."""

    path: Path
    architecture: str
    name: str
    parameters: int
    quantisation: str
    context_length: int
    bytes: int
    chat_template: bool


class Texts(Sequence[str]):
    """An array of texts that lies in the file until it is asked for; what is no UTF-8 becomes U+FFFD."""

    def __init__(self, data: mmap.mmap, start: int, count: int) -> None:
        self._data, self._start, self._count = data, start, count
        self._made: list[str] | None = None

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        return self._texts()[index]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts())

    def _texts(self) -> list[str]:
        if self._made is None:
            self._made = [raw.decode("utf-8", errors="replace") for raw in self.raw()]
        return self._made

    def raw(self) -> Iterator[bytes]:
        """The bytes of each text."""
        at = self._start
        for _ in range(self._count):
            end = at + 8 + _LENGTH.unpack_from(self._data, at)[0]
            yield self._data[at + 8 : end]
            at = end


class GGUF(Mapping[str, NDArray[np.float32]]):
    """The tensors of a file in float32, by name; `metadata` and `tensors` say what else it holds.

    >>> import tempfile; from palmette.core.gguf_write import write_gguf
    >>> path = Path(tempfile.mkdtemp()) / "x.gguf"
    >>> _ = write_gguf(path, {"general.architecture": "toy"}, {"w": np.ones((2, 32))}, "F16")
    >>> file = open_gguf(path)
    >>> file.metadata["general.architecture"], file.tensors["w"].kind, float(file["w"].sum())
    ('toy', 'F16', 64.0)
    """

    def __init__(self, path: Path, metadata: dict[str, Any], tensors: dict[str, GGUFTensor], data: mmap.mmap) -> None:
        self.path = path
        self.metadata = metadata
        self.tensors = tensors
        self._data = np.frombuffer(data, np.uint8)

    def __len__(self) -> int:
        return len(self.tensors)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __contains__(self, name: object) -> bool:
        return name in self.tensors

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        return self.rows(name).reshape(self.tensors[name].shape)

    def raw(self, name: str) -> NDArray[np.uint8]:
        """The bytes of a tensor as they lie in the file, mapped."""
        info = self.tensors[name]
        return self._data[info.start : info.end]

    def rows(self, name: str, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Some rows of a tensor, all leading dimensions taken as one: float32[rows, width]. F32 is not copied.

        Raises:
            Unsupported: for a format that is not read here (`gguf_types.READ` are).
        """
        info = self.tensors[name]
        width = info.shape[-1] if info.shape else 1
        count = info.size // max(width, 1)
        first, last, _ = slice(start, stop).indices(count)
        if last <= first or not width:
            return np.zeros((max(last - first, 0), width), np.float32)
        each = (info.end - info.start) // count
        if info.kind not in READ:
            raise Unsupported(
                f"{self.path}: tensor {name!r} has the format {info.kind}; {', '.join(READ)} are read here"
            )
        return to_float32(info.kind, self.raw(name)[first * each : last * each]).reshape(-1, width)

    @property
    def header(self) -> Header:
        """What the file is, in short."""
        architecture = _known(self.metadata, "general.architecture", str, "")
        length = _known(self.metadata, f"{architecture}.context_length", int, 0)
        return Header(
            self.path, architecture, _known(self.metadata, "general.name", str, ""),
            sum(info.size for info in self.tensors.values()), self._quantisation(), length,
            self.path.stat().st_size, "tokenizer.chat_template" in self.metadata,
        )  # fmt: skip

    def _quantisation(self) -> str:
        """The name of the mixture, else the format that most bytes have."""
        named = FILE_TYPES.get(_known(self.metadata, "general.file_type", int, -1))
        bytes_of: dict[str, int] = {}
        for info in self.tensors.values():
            bytes_of[info.kind] = bytes_of.get(info.kind, 0) + info.end - info.start
        return named or max(bytes_of, key=lambda kind: bytes_of[kind], default="")


def _known(metadata: Mapping[str, Any], key: str, kind: type, default: Any) -> Any:
    value = metadata.get(key)
    return value if isinstance(value, kind) and not isinstance(value, bool) else default


def read_gguf_header(path: str | Path) -> Header:
    """What a GGUF file is: architecture, parameters, quantisation, context length, size. Reads no tensor."""
    return open_gguf(path).header


def open_gguf(path: str | Path) -> GGUF:
    """Open a GGUF file.

    Raises:
        ModelNotFound: if there is no such file.
        CorruptCheckpoint: for a file that contradicts itself.
        Unsupported: for a version or byte order that is not read here.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            if len(file.read(1)) < 1:
                raise CorruptCheckpoint(f"{path} is empty")
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise ModelNotFound(f"no file {str(path)!r} that can be read: {error}") from error
    cursor = _Cursor(path, data)
    tensors_count, entries_count = cursor.opening()
    metadata: dict[str, Any] = {}
    for _ in range(entries_count):
        key, value = cursor.entry()
        if key in metadata:
            raise cursor.corrupt(f"the key {key!r} occurs twice")
        metadata[key] = value
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20 or alignment & (alignment - 1):
        raise cursor.corrupt(f"general.alignment is {alignment!r}, not a power of two")
    found: dict[str, tuple[str, tuple[int, ...], int, int]] = {}
    for _ in range(tensors_count):
        name, entry = cursor.tensor()
        if name in found:
            raise cursor.corrupt(f"the tensor {name!r} occurs twice")
        found[name] = entry
    base = -(-cursor.at // alignment) * alignment
    return GGUF(path, metadata, _placed(cursor, found, base, alignment), data)


def _placed(
    cursor: _Cursor, found: dict[str, tuple[str, tuple[int, ...], int, int]], base: int, alignment: int
) -> dict[str, GGUFTensor]:
    """The tensors with their places: aligned, inside the file, none over another."""
    end = base
    for name, (_, _, offset, size) in sorted(found.items(), key=lambda item: (item[1][2], item[1][3])):
        start = base + offset
        if offset % alignment:
            raise cursor.corrupt(f"tensor {name!r} begins at {offset}, which is no multiple of {alignment}")
        if start < end:
            raise cursor.corrupt(f"tensor {name!r} overlaps its neighbour (byte {start}, expected {end})")
        end = start + size
        if end > cursor.size:
            raise cursor.corrupt(f"tensor {name!r} ends at byte {end}, the file has {cursor.size}")
    return {n: GGUFTensor(k, s, base + offset, base + offset + size) for n, (k, s, offset, size) in found.items()}


class _Cursor:
    """A place in the file that never leaves it."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path, self.data, self.size, self.at = path, data, len(data), 0
        self.texts = 0

    def corrupt(self, what: str) -> CorruptCheckpoint:
        return CorruptCheckpoint(f"{self.path}: {what}")

    def take(self, count: int) -> int:
        """Go on by `count` bytes; where they begin."""
        start = self.at
        if count > self.size - start:
            raise self.corrupt(f"{count} bytes are declared at byte {start}, the file has {self.size}")
        self.at = start + count
        return start

    def u32(self) -> int:
        return int.from_bytes(self.data[(at := self.take(4)) : at + 4], "little")

    def u64(self) -> int:
        return int.from_bytes(self.data[(at := self.take(8)) : at + 8], "little")

    def opening(self) -> tuple[int, int]:
        """Magic and version; how many tensors and entries follow."""
        if self.data[:4] != MAGIC:
            raise self.corrupt(f"it begins with {bytes(self.data[:4])!r}, so it is no GGUF file")
        self.take(4)
        version = self.u32()
        if version not in (2, 3):
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
            what = "is big-endian" if swapped in (1, 2, 3) else f"has GGUF version {version}"
            raise Unsupported(f"{self.path} {what}; little-endian files of version 2 and 3 are read")
        tensors, entries = self.u64(), self.u64()
        left = self.size - self.at
        if tensors > TENSORS_LIMIT or entries > ENTRIES_LIMIT or tensors * 24 + entries * 13 > left:
            raise self.corrupt(f"{tensors} tensors and {entries} entries are declared in {left} bytes")
        return tensors, entries

    def text(self, limit: int, what: str) -> bytes:
        length = self.u64()
        if length > limit:
            raise self.corrupt(f"{what} of {length} bytes is declared at byte {self.at}; at most {limit} are read")
        start = self.take(length)
        return self.data[start : self.at]

    def label(self, limit: int, what: str) -> str:
        """A key or a name: UTF-8 without exception."""
        raw = self.text(limit, what)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self.corrupt(f"{what} is not UTF-8: {raw[:40]!r}") from None

    def entry(self) -> tuple[str, Any]:
        """One key with its value."""
        key = self.label(KEY_LIMIT, "a key")
        kind = self.u32()
        if kind == ARRAY:
            return key, self.array(key)
        if kind == TEXT:
            return key, self.text(TEXT_LIMIT, f"the text of {key!r}").decode("utf-8", errors="replace")
        return key, self.numbers(key, kind, 1)[0].item()

    def array(self, key: str) -> Any:
        """An array of numbers (mapped) or of texts (not yet read); arrays of arrays are refused, as llama.cpp does."""
        kind, count = self.u32(), self.u64()
        if kind == ARRAY:
            raise self.corrupt(f"{key!r} is an array of arrays")
        if kind != TEXT:
            return self.numbers(key, kind, count)
        self.texts += count
        if count * 8 > self.size - self.at or self.texts >= TEXTS_LIMIT:
            raise self.corrupt(f"{key!r} declares {count} texts in {self.size - self.at} bytes; at most {TEXTS_LIMIT}")
        start = at = self.at
        data, size, unpack = self.data, self.size, _LENGTH.unpack_from
        for _ in range(count):
            if at > size - 8:
                break
            at += 8 + unpack(data, at)[0]
        if at > size:
            raise self.corrupt(f"the texts of {key!r} end behind the file")
        self.at = at
        return Texts(data, start, count)

    def numbers(self, key: str, kind: int, count: int) -> NDArray[Any]:
        """So many numbers of a kind, mapped."""
        if kind == BOOL:
            found = self.numbers(key, 0, count)
            if count and found.max() > 1:
                raise self.corrupt(f"{key!r} holds a truth value {found.max()}")
            return found.view(np.bool_)
        if kind not in NUMBERS:
            raise self.corrupt(f"{key!r} has the unknown type {kind}")
        dtype = np.dtype(NUMBERS[kind])
        return np.frombuffer(self.data, dtype, count, self.take(count * dtype.itemsize))

    def tensor(self) -> tuple[str, tuple[str, tuple[int, ...], int, int]]:
        """One row of the table: name, then format, shape, offset and bytes."""
        name = self.label(NAME_LIMIT, "a tensor's name")
        dimensions = self.u32()
        if dimensions > DIMENSIONS:
            raise self.corrupt(f"tensor {name!r} has {dimensions} dimensions; at most {DIMENSIONS} are possible")
        shape = tuple(self.u64() for _ in range(dimensions))[::-1]
        kind, offset = self.u32(), self.u64()
        if kind not in FORMATS:
            raise self.corrupt(f"tensor {name!r} has the unknown format {kind}")
        label, block, each = FORMATS[kind]
        count = math.prod(shape)
        if count >= 1 << 62 or (shape[-1] if shape else 1) % block:
            raise self.corrupt(f"tensor {name!r} of shape {shape} cannot be {label}, whose blocks hold {block} numbers")
        return name, (label, shape, offset, count // block * each)
