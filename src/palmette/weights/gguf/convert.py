"""A model folder as one GGUF file, which llama.cpp and all that stand on it read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palmette.core.checkpoint import TensorInfo, open_checkpoint, read_config
from palmette.core.errors import BadParameter, ConfigMismatch, UnsupportedArchitecture
from palmette.core.gguf_types import FORMATS, to_float32
from palmette.core.gguf_write import U32, Planned, write_gguf
from palmette.weights.gguf.families import FAMILIES, Place, frequency_factors, places, rotary_rows, settings
from palmette.weights.gguf.vocabulary import vocabulary

__all__ = ["DTYPES", "Converted", "convert"]

# What a user writes -> the format of matrices, and general.file_type.
DTYPES: dict[str, tuple[str, int]] = {"f32": ("F32", 0), "bf16": ("BF16", 32), "f16": ("F16", 1), "q8_0": ("Q8_0", 7)}
LARGEST_F16 = 65504.0
_BLOCK = {label: block for label, block, _ in FORMATS.values()}


@dataclass(frozen=True)
class Converted:
    """What was written, and what was done otherwise than one might think."""

    path: Path
    bytes: int
    notes: tuple[str, ...]


def convert(
    folder: str | Path,
    out: str | Path,
    dtype: str = "f16",
    *,
    name: str = "",
    progress: Callable[[int, int], None] = lambda done, whole: None,
) -> Converted:
    """Write a model folder (Llama, Mistral, Qwen2, Qwen3, GPT-2) as a GGUF file.

    Args:
        folder: config.json, safetensors and tokenizer.json.
        out: the file, which appears when it is whole.
        dtype: of the matrices: f32, bf16, f16 or q8_0. Norms, biases and positions are float32. f16 says every bf16
            number from 8e-6 to 65504 exactly and smaller ones to within 3e-8, and llama.cpp computes with it several
            times faster where it was built without bf16 instructions, as in most wheels; a matrix with larger numbers
            becomes bf16, with a note.
        name: general.name; the folder's unless given.
        progress: called with the bytes written, and all there are.

    Raises:
        UnsupportedArchitecture: for a model or tokenizer that llama.cpp would read differently.

    >>> import tempfile, palmette
    >>> from palmette.models.resolve import folder_of, parse_reference
    >>> out = Path(tempfile.mkdtemp()) / "seedling.gguf"
    >>> palmette.convert(folder_of(parse_reference("zoo:seedling")), out, "q8_0").path == out
    True
    """
    folder, out = Path(folder), Path(out)
    if dtype not in DTYPES:
        raise BadParameter(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")
    notes: list[str] = []
    metadata, planned = _plan(folder, dtype, name or folder.resolve().name, notes)
    whole, done = sum(tensor.bytes for tensor in planned.values()), [0]

    def tell(count: int) -> None:
        done[0] += count
        progress(done[0], whole)

    write_gguf(out, metadata, planned, progress=tell)
    return Converted(out, out.stat().st_size, tuple(notes))


def _plan(folder: Path, dtype: str, name: str, notes: list[str]) -> tuple[dict[str, Any], dict[str, Planned]]:
    """The file's metadata, and its tensors as they are to be written."""
    config = read_config(folder)
    kind = config.get("model_type")
    if kind not in FAMILIES:
        raise UnsupportedArchitecture(f"{folder}: {', '.join(FAMILIES)} are converted, not the architecture {kind!r}")
    family = FAMILIES[kind]
    checkpoint = open_checkpoint(folder)
    found = places(family, config, checkpoint.tensors)
    if "token_embd.weight" not in found:
        raise ConfigMismatch(f"{folder}: the weights hold no embedding")
    rows = checkpoint.tensors[found["token_embd.weight"].source].shape[0]
    label, file_type = DTYPES[dtype]
    metadata: dict[str, Any] = {
        "general.architecture": family.name, "general.name": name, "general.file_type": U32(file_type),
        "general.quantization_version": U32(2),
    }  # fmt: skip
    metadata |= settings(family, config) | vocabulary(folder, rows, config)
    planned = {n: _planned(n, p, checkpoint.tensors[p.source], label, notes) for n, p in found.items()}
    factors = frequency_factors(config)
    if factors is not None:
        planned["rope_freqs.weight"] = Planned(factors.shape, "F32", lambda start, stop: factors[None][start:stop])
    context, length = metadata[f"{family.name}.context_length"], config.get("max_position_embeddings")
    if isinstance(length, int) and context < length:
        notes.append(f"the context ends at {context} tokens, the sliding window, which llama.cpp's {family.name} lacks")
    return metadata, planned


def _planned(name: str, place: Place, info: TensorInfo, label: str, notes: list[str]) -> Planned:
    """A tensor of the file: its shape there, its format, and how its rows are read."""
    if info.dtype not in ("F32", "F16", "BF16", "F64"):
        raise ConfigMismatch(
            f"{info.file.name}: tensor {place.source!r} has dtype {info.dtype}; take the unquantised model"
        )
    shape = info.shape[::-1] if place.how == "transposed" else info.shape
    kind = label if len(shape) == 2 and not name.startswith("position_embd") else "F32"
    if shape and shape[-1] % _BLOCK[kind]:
        notes.append(f"{name} is F16: its rows of {shape[-1]} numbers are no multiple of {_BLOCK[kind]}")
        kind = "F16"
    rows = _reader(place, info)
    if kind == "F16" and info.dtype != "F16" and _largest(rows, shape[0]) > LARGEST_F16:
        notes.append(f"{name} is BF16: it holds numbers beyond {LARGEST_F16:g}, which F16 has not")
        kind = "BF16"
    return Planned(shape, kind, rows)


def _largest(rows: Callable[[int, int], NDArray[np.float32]], count: int, step: int = 1024) -> float:
    """The largest finite magnitude of a tensor, read some rows at a time."""
    tops = (rows(start, min(start + step, count)) for start in range(0, count, step))
    return max((float(np.abs(part[np.isfinite(part)]).max(initial=0)) for part in tops), default=0.0)


def _reader(place: Place, info: TensorInfo) -> Callable[[int, int], NDArray[np.float32]]:
    """What gives rows (start, stop) of the file's tensor, in float32, from the mapped folder."""
    size = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}[info.dtype]
    matrix = len(info.shape) == 2
    count, width = info.shape if matrix else (1, info.shape[0])
    raw = np.memmap(info.file, np.uint8, "r", info.start, (count, width * size))  # (rows, bytes)

    def floats(taken: NDArray[np.uint8]) -> NDArray[np.float32]:
        flat = np.ascontiguousarray(taken)
        return to_float32(info.dtype, flat.ravel()).reshape(flat.shape[0], -1)

    if place.how == "transposed":  # rows of the file are columns here
        return lambda start, stop: floats(raw[:, start * size : stop * size]).T
    if place.how == "rotary":
        order = rotary_rows(count if matrix else width, place.heads)
        if matrix:
            return lambda start, stop: floats(raw[order[start:stop]])
        return lambda start, stop: floats(raw)[:, order]
    return lambda start, stop: floats(raw[start:stop])
