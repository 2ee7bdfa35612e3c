"""LoRA adapters as inputs: x + s · B A, computed where a block is read, so that no full model is written first.

Hu et al. 2021 (arXiv 2106.09685); the file format is PEFT's. Products are made in fixed groups of rows, so that the
block size does not change a bit of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from palmette.core.checkpoint import Checkpoint, read_header, read_json
from palmette.core.errors import ConfigMismatch, ModelNotFound, UnsafeCheckpoint, Unsupported
from palmette.weights.dtypes import Array, Raw, decode

__all__ = ["Adapted", "Adapter", "Change", "open_adapter"]

GROUP = 64  # rows


class Stored(Protocol):
    """A source (see blocks)."""

    @property
    def dtype(self) -> str:
        """As stored."""

    def read(self, start: int, stop: int) -> Raw:
        """Elements as stored."""


@dataclass(frozen=True)
class Change:
    """A low-rank change of one matrix: scale · up @ down, transposed where the model stores its matrices so."""

    up: Array  # (rows, rank)
    down: Array  # (rank, width)
    scale: float

    def rows(self, first: int, last: int) -> Array:
        """Rows [first, last) of the change."""
        begin = first // GROUP * GROUP
        parts = []
        for at in range(begin, last, GROUP):
            parts.append(self.up[at : at + GROUP] @ self.down)  # noqa: PERF401
        made: Array = np.concatenate(parts)[first - begin : last - begin] * np.float32(self.scale)
        return made


@dataclass(frozen=True)
class Adapted:
    """A source with a change added; float32."""

    plain: Stored
    change: Change
    dtype: str = "F32"

    def read(self, start: int, stop: int) -> Raw:
        """See Source."""
        width = self.change.down.shape[1]
        first, last = start // width, -(-stop // width)
        delta = self.change.rows(first, last).reshape(-1)[start - first * width : stop - first * width]
        made: Raw = decode(self.plain.read(start, stop), self.plain.dtype) + delta
        return made


@dataclass(frozen=True)
class Adapter:
    """An adapter folder: which tensors it changes, and how."""

    folder: Path
    config: Mapping[str, Any]
    weights: Checkpoint
    pairs: Mapping[str, tuple[str, str]]  # tensor of the model -> names of A and B

    def change(self, name: str, shape: tuple[int, ...]) -> Change | None:
        """What is added to a tensor of this shape, or None.

        Raises:
            ConfigMismatch: if the factors do not fit the tensor.
        """
        if name not in self.pairs:
            return None
        down, up = (np.ascontiguousarray(self.weights[part], np.float32) for part in self.pairs[name])
        if self.config.get("fan_in_fan_out"):
            up, down = np.ascontiguousarray(down.T), np.ascontiguousarray(up.T)
        if (up.shape[0], down.shape[1]) != shape:
            raise ConfigMismatch(
                f"{self.folder}: LoRA makes {(up.shape[0], down.shape[1])} of {name!r}, which is {shape}"
            )
        rank = int(self.config.get("r", min(up.shape[1], down.shape[0])))
        alpha = float(self.config.get("lora_alpha", rank))
        return Change(up, down, alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank))


def open_adapter(folder: Path, tensors: Collection[str]) -> Adapter:
    """Read a PEFT adapter and place each of its pairs on a tensor of the model.

    Raises:
        ModelNotFound: if the folder holds no adapter.
        Unsupported: for what is no plain LoRA.
        ConfigMismatch: if a tensor of the adapter has no place in the model.
    """
    if not (folder / "adapter_config.json").is_file():
        raise ModelNotFound(f"{folder} has no adapter_config.json, so it is no LoRA adapter")
    config = read_json(folder / "adapter_config.json")
    path = folder / "adapter_model.safetensors"
    if not path.is_file():
        raise UnsafeCheckpoint(f"{folder} has no adapter_model.safetensors (pickled adapters are never loaded)")
    if config.get("peft_type", "LORA") != "LORA" or config.get("use_dora"):
        raise Unsupported(f"{folder}: only plain LoRA is merged, not {config.get('peft_type')} / DoRA")
    for key in ("rank_pattern", "alpha_pattern", "modules_to_save", "target_parameters"):
        if config.get(key):
            raise Unsupported(f"{folder}: {key} of adapter_config.json is not supported")
    weights = Checkpoint(folder, read_header(path))
    found: dict[str, dict[str, str]] = {}
    for name in weights:
        match = re.fullmatch(r"(?:base_model\.model\.)?(.+)\.lora_([AB])(?:\.default)?\.weight", name)
        if not match:
            raise Unsupported(f"{folder}: the tensor {name!r} belongs to no plain LoRA")
        found.setdefault(f"{match[1]}.weight", {})[match[2]] = name
    pairs = {}
    for name, sides in found.items():
        place = next((n for n in (name, f"model.{name}", name.removeprefix("model.")) if n in tensors), None)
        if place is None or set(sides) != {"A", "B"}:
            raise ConfigMismatch(f"{folder}: the adapter's {name!r} has no place in the model, or lacks a factor")
        pairs[place] = (sides["A"], sides["B"])
    return Adapter(folder, config, weights, pairs)
