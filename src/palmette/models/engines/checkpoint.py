"""Reading a model folder safely: every declared size is checked against the file before anything is allocated.

Only safetensors are read (header: 8 bytes little-endian length, then JSON; tensors follow without holes or overlaps).
Pickled weights and folders that need remote code are refused; there is no fallback to a less safe loader.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import ConfigMismatch, CorruptCheckpoint, ModelNotFound, UnsafeCheckpoint

__all__ = ["Checkpoint", "TensorInfo", "open_checkpoint", "read_config", "read_header"]

HEADER_LIMIT = 100_000_000  # bytes, as in the safetensors library
DTYPES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
          "U16": 2, "U32": 4, "U64": 8, "F8_E4M3": 1, "F8_E5M2": 1}  # fmt: skip
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor lies: file, dtype name, shape, and its bytes [start, end) in the file."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


class Checkpoint(Mapping[str, NDArray[Any]]):
    """The tensors of a folder, memory-mapped; float16 and bfloat16 come out as float32."""

    def __init__(self, folder: Path, tensors: dict[str, TensorInfo]) -> None:
        self.folder = folder
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __getitem__(self, name: str) -> NDArray[Any]:
        info = self.tensors[name]
        raw = np.memmap(info.file, np.uint8, "r", info.start, (info.end - info.start,)) if info.end > info.start else None
        if raw is None:
            return np.zeros(info.shape, np.float32)
        if info.dtype == "BF16":  # the upper half of a float32
            wide = raw.view(np.uint16).astype(np.uint32) << np.uint32(16)
            return wide.view(np.float32).reshape(info.shape)
        kinds = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32}
        if info.dtype not in kinds:
            raise ConfigMismatch(f"{info.file.name}: tensor {name!r} has dtype {info.dtype}, which is not supported here")
        array: NDArray[Any] = raw.view(kinds[info.dtype]).reshape(info.shape)
        return array.astype(np.float32) if info.dtype == "F16" else array

    def expect(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """The tensor in float32, or ConfigMismatch if it is missing or of another shape than config.json says."""
        if name not in self.tensors:
            raise ConfigMismatch(f"{self.folder}: config.json describes a tensor {name!r} that the weights do not hold")
        if self.tensors[name].shape != shape:
            raise ConfigMismatch(
                f"{self.folder}: tensor {name!r} has the shape {self.tensors[name].shape}, config.json says {shape}"
            )
        return np.ascontiguousarray(self[name], np.float32)


def read_config(folder: Path) -> dict[str, Any]:
    """config.json as a dict; refuses a folder that is none, and one whose architecture lives in its own code."""
    path = folder / "config.json"
    if not folder.is_dir():
        raise ModelNotFound(f"no folder {str(folder)!r}")
    if not path.is_file():
        raise ModelNotFound(f"{folder} has no config.json, so it is no model in Hugging Face format")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CorruptCheckpoint(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise CorruptCheckpoint(f"{path} holds a {type(config).__name__}, not an object")
    if config.get("auto_map"):
        raise UnsafeCheckpoint(
            f"{folder} brings its own code (auto_map in config.json), which is never executed here; "
            "use a revision in a standard architecture"
        )
    return config


def open_checkpoint(folder: Path) -> Checkpoint:
    """All tensors of a folder, single file or shards with an index."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        return _open_shards(folder, index)
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickled = sorted(p.name for pattern in PICKLES for p in folder.glob(pattern))
        if pickled:
            raise UnsafeCheckpoint(
                f"{folder} holds only pickled weights ({pickled[0]}), which can run code when loaded; "
                "convert them to safetensors"
            )
        raise ModelNotFound(f"{folder} holds no *.safetensors weights")
    single = folder / "model.safetensors"
    if len(files) > 1 and single not in files:
        raise CorruptCheckpoint(f"{folder} holds {len(files)} shards but no model.safetensors.index.json")
    chosen = single if single in files else files[0]
    return Checkpoint(folder, read_header(chosen))


def _open_shards(folder: Path, index: Path) -> Checkpoint:
    try:
        table = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        places = {str(name): str(file) for name, file in table.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptCheckpoint(f"{index} is no index of shards: {error!r}") from error
    tensors: dict[str, TensorInfo] = {}
    for file in sorted(set(places.values())):
        if Path(file).name != file or not file.endswith(".safetensors"):
            raise UnsafeCheckpoint(f"{index.name} points to {file!r}, outside the folder or no safetensors file")
        path = folder / file
        if not path.is_file():
            raise CorruptCheckpoint(f"{folder}: the shard {file!r} named by {index.name} is missing")
        tensors |= {n: i for n, i in read_header(path).items() if places.get(n) == file}
    lost = sorted(set(places) - set(tensors))
    if lost:
        raise CorruptCheckpoint(f"{folder}: {index.name} places {lost[0]!r} in {places[lost[0]]!r}, which lacks it")
    return Checkpoint(folder, tensors)


def read_header(path: Path) -> dict[str, TensorInfo]:
    """The tensors that a safetensors file declares, checked against its size."""
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(8)
        if len(first) < 8:
            raise CorruptCheckpoint(f"{path} is truncated: {size} bytes are no safetensors file")
        (length,) = struct.unpack("<Q", first)
        if length > HEADER_LIMIT or 8 + length > size:
            raise CorruptCheckpoint(f"{path} declares a header of {length} bytes, the file has {size}")
        text = file.read(length)
    try:
        header = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise CorruptCheckpoint(f"{path}: the header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise CorruptCheckpoint(f"{path}: the header is a {type(header).__name__}, not an object")
    header.pop("__metadata__", None)
    base = 8 + length
    found = {name: _info(path, name, entry, base) for name, entry in header.items()}
    _check_layout(path, found, base, size)
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name occurs twice")
    return made


def _info(path: Path, name: str, entry: Any, base: int) -> TensorInfo:
    try:
        dtype, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        plain = [*shape, start, end]
        good = all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 2**63 for n in plain)
    except (TypeError, KeyError, ValueError) as error:
        raise CorruptCheckpoint(f"{path}: the entry of tensor {name!r} is malformed: {entry!r}") from error
    if dtype not in DTYPES:
        raise CorruptCheckpoint(f"{path}: tensor {name!r} has the unknown dtype {dtype!r}")
    if not good or end - start != math.prod(shape) * DTYPES[dtype]:
        raise CorruptCheckpoint(
            f"{path}: tensor {name!r} of shape {shape} and dtype {dtype} cannot fill the bytes {start} to {end}"
        )
    return TensorInfo(path, dtype, tuple(shape), base + start, base + end)


def _check_layout(path: Path, tensors: dict[str, TensorInfo], base: int, size: int) -> None:
    """Tensors follow each other to the end of the file without overlap or hole."""
    at = base
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if info.start != at:
            what = "overlaps its neighbour" if info.start < at else "leaves a hole before it"
            raise CorruptCheckpoint(f"{path}: tensor {name!r} {what} (byte {info.start}, expected {at})")
        at = info.end
    if at != size:
        what = "truncated" if at > size else "longer than its tensors"
        raise CorruptCheckpoint(f"{path} is {what}: tensors end at byte {at}, the file has {size}")
