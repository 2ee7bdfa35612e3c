"""Reading a model folder safely: every declared size is checked against the file before anything is allocated.

Only safetensors are read (header: 8 bytes little-endian length, then JSON; tensors follow without holes or overlaps).
Pickled weights and folders that need remote code are refused; there is no fallback to a less safe loader.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import ConfigMismatch, CorruptCheckpoint, ModelNotFound, UnsafeCheckpoint, Unsupported

__all__ = ["Checkpoint", "TensorInfo", "open_checkpoint", "positive", "read_config", "read_header", "read_json",
           "refuse_remote_code"]  # fmt: skip

HEADER_LIMIT = 100_000_000  # bytes, as in the safetensors library
DTYPES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
          "U16": 2, "U32": 4, "U64": 8, "F8_E4M3": 1, "F8_E5M2": 1}  # fmt: skip
FLOATS = ("F64", "F32", "F16", "BF16")
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
    """The tensors of a folder, memory-mapped; float16 and bfloat16 come out as float32.

    >>> import tempfile; from safetensors.numpy import save_file
    >>> folder = Path(tempfile.mkdtemp())
    >>> save_file({"x": np.ones((2, 3), np.float16)}, folder / "model.safetensors")
    >>> open_checkpoint(folder).expect("x", (2, 3)).sum()
    np.float32(6.0)
    """

    def __init__(self, folder: Path, tensors: dict[str, TensorInfo]) -> None:
        self.folder = folder
        self.tensors = tensors
        self.read: set[str] = set()  # names that were asked for by `expect`

    def __len__(self) -> int:
        return len(self.tensors)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __getitem__(self, name: str) -> NDArray[Any]:
        info = self.tensors[name]
        if info.end == info.start:  # nothing that could be mapped
            return np.zeros(info.shape, np.float32)
        raw = np.memmap(info.file, np.uint8, "r", info.start, (info.end - info.start,))
        if info.dtype == "BF16":  # the upper half of a float32
            wide = raw.view(np.uint16).astype(np.uint32) << np.uint32(16)
            return wide.view(np.float32).reshape(info.shape)
        kinds = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32}
        if info.dtype not in kinds:
            raise ConfigMismatch(f"{info.file.name}: tensor {name!r} has dtype {info.dtype}, which is not read here")
        array: NDArray[Any] = raw.view(kinds[info.dtype]).reshape(info.shape)
        return array.astype(np.float32) if info.dtype == "F16" else array

    def expect(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """The tensor in float32, or ConfigMismatch if it is missing or of another shape than config.json says."""
        self.read.add(name)
        if name not in self.tensors:
            raise ConfigMismatch(f"{self.folder}: config.json describes a tensor {name!r} that the weights do not hold")
        if self.tensors[name].shape != shape:
            raise ConfigMismatch(
                f"{self.folder}: tensor {name!r} has the shape {self.tensors[name].shape}, config.json says {shape}"
            )
        if self.tensors[name].dtype not in FLOATS:
            raise ConfigMismatch(
                f"{self.folder}: tensor {name!r} has dtype {self.tensors[name].dtype}; {', '.join(FLOATS)} are read "
                "(take the unquantised original of a quantised checkpoint)"
            )
        return np.ascontiguousarray(self[name], np.float32)

    def head(self, embedding: NDArray[np.float32], tied: bool) -> NDArray[np.float32]:
        """The output head, float32[vocabulary, width]: the embedding itself where config.json ties them."""
        if not tied:
            return self.expect("lm_head.weight", embedding.shape)
        if "lm_head.weight" in self and not np.array_equal(self.expect("lm_head.weight", embedding.shape), embedding):
            raise ConfigMismatch(f"{self.folder}: config.json ties 'lm_head.weight' to the embedding, but they differ")
        return embedding

    def refuse_unread(self, ignored: str) -> None:
        """Raise ConfigMismatch for a tensor that `expect` was not asked for: the model is more than was understood.

        Args:
            ignored: a regular expression of names that carry no weights (buffers of older files).
        """
        unread = sorted(name for name in self.tensors if name not in self.read and not re.search(ignored, name))
        if unread:
            raise ConfigMismatch(
                f"{self.folder}: the weights hold a tensor {unread[0]!r} that config.json does not describe"
            )


def read_config(folder: Path) -> dict[str, Any]:
    """config.json as a dict; refuses what is no model folder."""
    if not folder.is_dir():
        raise ModelNotFound(f"no folder {str(folder)!r}")
    path = folder / "config.json"
    if not path.is_file():
        raise ModelNotFound(f"{folder} has no config.json, so it is no model in Hugging Face format")
    return read_json(path)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CorruptCheckpoint(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise CorruptCheckpoint(f"{path} holds a {type(found).__name__}, not an object")
    return found


def positive(config: Mapping[str, Any], key: str) -> int:
    """A whole number above zero from config.json, or ConfigMismatch."""
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigMismatch(f"config.json: {key} should be a positive whole number, not {value!r}")
    return value


def refuse_remote_code(folder: Path, config: Mapping[str, Any], known: Collection[str]) -> None:
    """Raise UnsafeCheckpoint if the model needs code from its own folder: `auto_map`, and no `known` architecture."""
    if config.get("auto_map") and config.get("model_type") not in known:
        raise UnsafeCheckpoint(
            f"{folder}: the architecture {config.get('model_type')!r} brings its own code (auto_map in config.json), "
            "which is never executed here; use a model in a standard architecture"
        )


def open_checkpoint(folder: Path) -> Checkpoint:
    """All tensors of a folder: model.safetensors, else the shards of model.safetensors.index.json."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return Checkpoint(folder, read_header(single))
    if index.is_file():
        return _open_shards(folder, index)
    files = sorted(path.name for path in folder.glob("*.safetensors"))
    if files:
        raise CorruptCheckpoint(f"{folder} holds {files[0]} but neither {single.name} nor {index.name}")
    pickled = sorted(p.name for pattern in PICKLES for p in folder.glob(pattern))
    if pickled:
        raise UnsafeCheckpoint(
            f"{folder} holds only pickled weights ({pickled[0]}), which can run code when loaded; "
            "convert them to safetensors"
        )
    quantised = sorted(p.name for p in folder.glob("*.gguf"))
    if quantised:
        raise Unsupported(
            f"{folder} holds only GGUF weights ({quantised[0]}): open gguf:{folder / quantised[0]}, "
            "or take the model's original in safetensors"
        )
    raise ModelNotFound(f"{folder} holds no *.safetensors weights")


def _open_shards(folder: Path, index: Path) -> Checkpoint:
    try:
        places = {str(name): str(file) for name, file in read_json(index)["weight_map"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptCheckpoint(f"{index} is no index of shards: {error!r}") from error
    tensors: dict[str, TensorInfo] = {}
    for file in sorted(set(places.values())):
        if Path(file).name != file or not file.endswith(".safetensors"):
            raise UnsafeCheckpoint(f"{index.name} points to {file!r}, outside the folder or no safetensors file")
        path = folder / file
        if not path.is_file():
            raise CorruptCheckpoint(f"{folder}: the shard {file!r} named by {index.name} is missing")
        held = read_header(path)
        stray = sorted(name for name in held if places.get(name) != file)
        if stray:
            raise CorruptCheckpoint(f"{folder}: {file} holds {stray[0]!r}, which {index.name} does not place there")
        tensors |= held
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
    if not isinstance(dtype, str) or dtype not in DTYPES:
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
