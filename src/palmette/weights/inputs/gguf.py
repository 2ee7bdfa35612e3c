"""GGUF files as models of a merge: tensors under their Hugging Face names, brought to float32 as they are read.

The inverse of `palmette.weights.gguf.families`: what llama.cpp lays out for rotation, or transposes, is laid back. What
a GGUF file does not say exactly is not guessed: config.json beside the file counts, if there is one.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palmette.core.checkpoint import TensorInfo, read_json
from palmette.core.errors import ConfigMismatch, Unsupported, UnsupportedArchitecture
from palmette.core.gguf import GGUF, open_gguf
from palmette.core.gguf_types import READ
from palmette.weights.blocks import Source
from palmette.weights.dtypes import Raw
from palmette.weights.folder import Model
from palmette.weights.gguf.families import FAMILIES, Family, Place, places, rotary_rows
from palmette.weights.recipe.schema import Reference

__all__ = ["GgufModel", "open_gguf_model"]

_PLAIN = {"F16": "<u2", "BF16": "<u2", "F32": "<u4"}  # read as they are stored
_SETTINGS = {
    "hidden_size": "embedding_length", "num_hidden_layers": "block_count", "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count", "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length", "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "rope_theta": "rope.freq_base", "max_position_embeddings": "context_length",
}  # fmt: skip
_GPT2 = {"n_embd": "embedding_length", "n_layer": "block_count", "n_head": "attention.head_count",
         "n_positions": "context_length", "layer_norm_epsilon": "attention.layer_norm_epsilon"}  # fmt: skip
_CLASSES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gpt2": "GPT2LMHeadModel",
}


@dataclass(frozen=True)
class GgufTensor:
    """A source in a GGUF file, in the layout of the folder that the file was made of."""

    file: GGUF
    name: str
    place: Place
    dtype: str
    held: dict[str, NDArray[Any]]
    lock: threading.Lock

    def read(self, start: int, stop: int) -> Raw:
        """See Source."""
        shape = self.file.tensors[self.name].shape
        if self.place.how == "transposed":
            with self.lock:
                if self.name not in self.held:
                    self.held.clear()  # one at a time
                    self.held[self.name] = np.ascontiguousarray(self.file[self.name].T)
                return self.held[self.name].reshape(-1)[start:stop]
        width = shape[-1]
        first, last = start // width, -(-stop // width)
        if self.place.how == "rotary":
            size = shape[0] // self.place.heads  # rows of a head
            low, high = first // size * size, -(-last // size) * size
            order = np.argsort(rotary_rows(size, 1))  # row of the file of each row of the folder
            rows = self._rows(low, high).reshape(-1, size, width)[:, order].reshape(-1, width)[first - low : last - low]
        else:
            rows = self._rows(first, last)
        return rows.reshape(-1)[start - first * width : stop - first * width]

    def _rows(self, first: int, last: int) -> NDArray[Any]:
        info = self.file.tensors[self.name]
        if self.dtype == "F32":
            return self.file.rows(self.name, first, last)
        width = info.shape[-1]
        raw = self.file.raw(self.name)[first * width * 2 : last * width * 2]
        return np.frombuffer(raw.tobytes(), "<f2" if self.dtype == "F16" else "<u2").reshape(-1, width)


@dataclass(frozen=True)
class GgufModel(Model):
    """A GGUF file as a model."""

    file: GGUF | None = None
    spots: Mapping[str, tuple[str, Place]] = field(default_factory=dict)
    held: dict[str, NDArray[Any]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def source(self, name: str) -> Source:
        """See Model."""
        assert self.file is not None
        spot, place = self.spots[name]
        return GgufTensor(self.file, spot, place, self.tensors[name].dtype, self.held, self.lock)


def open_gguf_model(reference: Reference, path: Path) -> Model:
    """Read a GGUF file's table.

    Raises:
        UnsupportedArchitecture: for one that is not converted here.
        ConfigMismatch: for a tensor that the architecture does not have.
        Unsupported: for a number format that is not read, or for what a GGUF file says too little of.
    """
    file = open_gguf(path)
    kind = str(file.metadata.get("general.architecture"))
    family = FAMILIES.get(kind)
    if family is None:
        raise UnsupportedArchitecture(f"{path}: GGUF files of {', '.join(_CLASSES)} are merged, not of {kind!r}")
    names = _names(path, file, family)
    beside = path.parent / "config.json"
    config = read_json(beside) if beside.is_file() else _config(path, file, kind, names)
    tensors = {}
    for name, spot in names.items():
        info = file.tensors[spot]
        if info.kind not in READ:
            raise Unsupported(f"{path}: the tensor {spot!r} is {info.kind}, which is not read; {', '.join(READ)} are")
        shape = info.shape[::-1] if family.transposed and _turned(name, info.shape) else info.shape
        dtype = info.kind if info.kind in ("F16", "BF16") and shape == info.shape else "F32"
        tensors[name] = TensorInfo(path, dtype, shape, info.start, info.end)
    spots = places(family, config, tensors)
    by_source = {place.source: (spot, place) for spot, place in spots.items()}
    return GgufModel(reference, path.parent, config, tensors, file=file, spots=by_source)


def _names(path: Path, file: GGUF, family: Family) -> dict[str, str]:
    """Hugging Face name -> the file's, for every tensor of it."""
    back = {theirs: ours for ours, theirs in family.names.items()}
    made = {}
    for spot in file.tensors:
        stem, _, kind = spot.rpartition(".")
        layer = re.match(r"blk\.(\d+)\.", stem)
        known = back.get(re.sub(r"^blk\.\d+\.", "blk.{}.", stem))
        if spot == "rope_freqs.weight":
            if not (path.parent / "config.json").is_file():
                raise Unsupported(f"{path} scales its positions by a table; put its config.json beside it")
            continue
        if known is None or kind not in ("weight", "bias"):
            raise ConfigMismatch(f"{path}: the tensor {spot!r} is none of the architecture {family.name!r}")
        made[f"{known.replace('{}', layer[1] if layer else '')}.{kind}"] = spot
    return made


def _turned(name: str, shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 and name.endswith(".weight") and name.startswith("h.")


def _config(path: Path, file: GGUF, kind: str, names: Mapping[str, str]) -> dict[str, Any]:
    """config.json of a file that has none beside it."""
    scaling = file.metadata.get(f"{kind}.rope.scaling.type", "none")
    if scaling not in ("none", "", None):
        raise Unsupported(f"{path} scales its positions ({scaling}); put its config.json beside it")
    table = _GPT2 if kind == "gpt2" else _SETTINGS
    said = {key: file.metadata[f"{kind}.{spot}"] for key, spot in table.items() if f"{kind}.{spot}" in file.metadata}
    made: dict[str, Any] = {
        "architectures": [_CLASSES[kind]], "model_type": kind, "vocab_size": file.tensors["token_embd.weight"].shape[0],
        "tie_word_embeddings": "lm_head.weight" not in names,
    }  # fmt: skip
    for key, spot in (("bos_token_id", "bos_token_id"), ("eos_token_id", "eos_token_id")):
        if f"tokenizer.ggml.{spot}" in file.metadata:
            made[key] = int(file.metadata[f"tokenizer.ggml.{spot}"])
    return made | {key: value.item() if hasattr(value, "item") else value for key, value in said.items()}
