"""PyTorch's zip files (`pytorch_model.bin`) as tables of tensors, read without running anything.

A pickle is a program for a stack machine that may call any function. Here its instructions are looked at one by one:
the few that a table of tensors needs are followed on plain values, a call is only noted, and anything else is refused.
The numbers lie uncompressed in the zip file, so they are read from where they are, like safetensors.
"""

from __future__ import annotations

import math
import pickletools
import struct
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

from palmette.core.checkpoint import TensorInfo
from palmette.core.errors import CorruptCheckpoint, UnsafeCheckpoint, Unsupported
from palmette.weights.dtypes import SIZES

__all__ = ["read_pickled"]

LARGEST = 64_000_000  # bytes of the table: a model of 100,000 tensors has 20 MB
_STORAGES = {"FloatStorage": "F32", "DoubleStorage": "F64", "HalfStorage": "F16", "BFloat16Storage": "BF16",
             "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8",
             "BoolStorage": "BOOL"}  # fmt: skip
_VALUES = ("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT")
_ALLOWED = {"collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter",
            *(f"torch {name}" for name in _STORAGES)}  # fmt: skip


class _Mark:
    """Where a tuple or dict begins on the stack."""


class _Name(NamedTuple):
    """A function or class, by name only."""

    name: str


class _Tensor(NamedTuple):
    storage: tuple[Any, ...]
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def read_pickled(path: Path) -> dict[str, TensorInfo]:
    """The tensors of a file and where their numbers lie.

    Raises:
        UnsafeCheckpoint: for a pickle that calls anything but what makes tensors.
        CorruptCheckpoint: for a file that contradicts itself.
        Unsupported: for the format from before 2020, big-endian numbers, or tensors that are views.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {info.filename: info for info in archive.infolist()}
            tables = [name for name in entries if name.endswith("/data.pkl")]
            if len(tables) != 1 or len(entries) != len(archive.infolist()):
                raise CorruptCheckpoint(f"{path} holds {len(tables)} tables of tensors, or a name twice")
            root = tables[0].removesuffix("data.pkl")
            if entries[tables[0]].file_size > LARGEST:
                raise CorruptCheckpoint(f"{path}: its table of {entries[tables[0]].file_size} bytes is too large")
            table = archive.read(tables[0])
            order = f"{root}byteorder"
            if order in entries and entries[order].file_size < 20 and archive.read(order) != b"little":
                raise Unsupported(f"{path} holds big-endian numbers; save it again on a usual machine")
    except zipfile.BadZipFile as error:
        raise Unsupported(
            f"{path} is no zip file: it was written by PyTorch before 1.6 or is damaged; convert it to safetensors"
        ) from error
    return _placed(path, root, entries, _followed(path, table))


def _followed(path: Path, table: bytes) -> dict[str, _Tensor]:
    """The table that a pickle would make, from its instructions."""
    machine = _Machine(path)
    try:
        for instruction, argument, _ in pickletools.genops(table):
            machine.step(instruction.name, argument)
        found = machine.stack[-1]
    except UnsafeCheckpoint:
        raise
    except Exception as error:
        raise CorruptCheckpoint(f"{path}: its table of tensors cannot be followed: {error!r}") from error
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(isinstance(k, str) and isinstance(v, _Tensor) for k, v in found.items()):
        raise UnsafeCheckpoint(f"{path} holds more than named tensors; convert it to safetensors")
    return found


class _Machine:
    """The pickle machine on plain values; a call makes a tensor's description or a dict, and nothing else."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Follow one instruction.

        Raises:
            UnsafeCheckpoint: for one that a table of tensors does not need.
        """
        stack = self.stack
        if name in ("PROTO", "STOP", "FRAME"):
            return
        if name in (
            "BINUNICODE",
            "SHORT_BINUNICODE",
            "BINUNICODE8",
            "BININT",
            "BININT1",
            "BININT2",
            "LONG1",
            "BINFLOAT",
        ):
            stack.append(argument)
        elif name in ("NONE", "NEWTRUE", "NEWFALSE"):
            stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
        elif name in ("EMPTY_TUPLE", "EMPTY_DICT", "EMPTY_LIST", "MARK"):
            stack.append({"EMPTY_TUPLE": (), "EMPTY_DICT": {}, "EMPTY_LIST": [], "MARK": _Mark()}[name])
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[int(argument)] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memo[int(argument)])
        elif name == "GLOBAL":
            stack.append(self._named(argument))
        elif name == "STACK_GLOBAL":
            last = stack.pop()
            stack.append(self._named(f"{stack.pop()} {last}"))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif name == "TUPLE":
            stack.append(tuple(self._since_mark()))
        else:
            self._compound(name)

    def _compound(self, name: str) -> None:
        stack = self.stack
        if name == "BINPERSID":  # a storage: ("storage", its type, its file, where it was, how many)
            kind, storage, key, _, count = stack.pop()
            if kind != "storage" or not isinstance(storage, _Name) or not isinstance(key, str):
                raise ValueError("a storage that is none")
            stack.append(("storage", storage.name.split()[-1], key, count))
        elif name == "REDUCE":
            given, function = stack.pop(), stack.pop()
            stack.append(self._called(function, given))
        elif name in ("SETITEMS", "SETITEM"):
            rows = self._since_mark() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
            stack[-1].update(zip(rows[::2], rows[1::2], strict=True))
        elif name == "BUILD":  # attributes of an OrderedDict (_metadata): of no use
            stack.pop()
        else:
            raise UnsafeCheckpoint(
                f"{self.path}: its pickle does {name}, which no table of tensors needs; it is not run"
            )

    def _since_mark(self) -> list[Any]:
        at = max(i for i, value in enumerate(self.stack) if isinstance(value, _Mark))
        rows = self.stack[at + 1 :]
        del self.stack[at:]
        return rows

    def _named(self, name: str) -> _Name:
        if name not in _ALLOWED:
            raise UnsafeCheckpoint(
                f"{self.path}: its pickle asks for {name.replace(' ', '.')!r}, which would run code; it is not run. "
                "Take the model in safetensors"
            )
        return _Name(name)

    def _called(self, function: Any, given: Any) -> Any:
        called = function.name if isinstance(function, _Name) else ""
        if called == "collections OrderedDict":
            return dict(given[0]) if given else {}
        if called == "torch._utils _rebuild_parameter":
            return given[0]
        if called == "torch._utils _rebuild_tensor_v2":
            storage, offset, shape, stride = given[:4]
            return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, stride)))
        raise UnsafeCheckpoint(f"{self.path}: its pickle calls {function!r}; it is not run")


def _placed(
    path: Path, root: str, entries: dict[str, zipfile.ZipInfo], tensors: dict[str, _Tensor]
) -> dict[str, TensorInfo]:
    """Where each tensor's bytes are in the file, checked against the zip's own sizes."""
    made, size = {}, path.stat().st_size
    with path.open("rb") as file:
        for name, tensor in tensors.items():
            _, storage, key, _ = tensor.storage
            entry = entries.get(f"{root}data/{key}")
            if entry is None or entry.compress_type != zipfile.ZIP_STORED:
                raise CorruptCheckpoint(f"{path}: the numbers of {name!r} are missing or compressed")
            if tensor.stride != _packed(tensor.shape) and math.prod(tensor.shape) > 1:
                raise Unsupported(f"{path}: the tensor {name!r} is a view of another; convert the file to safetensors")
            file.seek(entry.header_offset)
            header = file.read(30)
            if len(header) < 30 or header[:4] != b"PK\x03\x04":
                raise CorruptCheckpoint(f"{path}: the numbers of {name!r} have no header")
            first = entry.header_offset + 30 + sum(struct.unpack("<HH", header[26:30]))
            dtype = _STORAGES[storage]
            start = first + tensor.offset * SIZES[dtype]
            end = start + math.prod(tensor.shape) * SIZES[dtype]
            if tensor.offset < 0 or min((*tensor.shape, 0)) < 0 or end > min(first + entry.file_size, size):
                raise CorruptCheckpoint(f"{path}: the numbers of {name!r} end beyond their part of the file")
            made[name] = TensorInfo(path, dtype, tensor.shape, start, end)
    return made


def _packed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of an array without gaps."""
    made, step = [], 1
    for n in reversed(shape):
        made.append(step)
        step *= n
    return tuple(reversed(made))
