"""Checkpoints in 8-bit floats with scales: each tensor is multiplied out as it is read, and counts as bfloat16.

Two layouts: one scale for each block of 128 × 128 (`weight_scale_inv`, DeepSeek-V3 technical report, arXiv 2412.19437,
section 3.3), and one for a tensor or for each row (`weight_scale`, compressed-tensors and FBGEMM).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palmette.core.checkpoint import TensorInfo
from palmette.core.errors import ConfigMismatch, Unsupported
from palmette.weights.blocks import Source
from palmette.weights.dtypes import Raw, decode, encode
from palmette.weights.folder import Files, FileTensor, Model
from palmette.weights.lora import Adapted, Adapter
from palmette.weights.recipe.schema import Reference

__all__ = ["Fp8Model", "Scaled", "open_fp8", "scales_of"]

_METHODS = ("fp8", "fbgemm_fp8", "compressed-tensors")
_EIGHT = ("F8_E4M3", "F8_E5M2")
_EXTRA = (".weight_scale_inv", ".weight_scale", ".input_scale", ".activation_scale", ".input_scale_ub")


def scales_of(
    reference: Reference, config: Mapping[str, Any], tensors: Mapping[str, TensorInfo]
) -> dict[str, str] | None:
    """For an 8-bit checkpoint the scale's name of each tensor; None for a plain one.

    Raises:
        Unsupported: for weights that are quantised otherwise.
    """
    said = config.get("quantization_config") or config.get("compression_config")
    found: dict[str, str] = {}
    for name, info in tensors.items():
        scale = next((name + s for s in ("_scale_inv", "_scale") if name + s in tensors), None)
        if info.dtype in _EIGHT and scale:
            found[name] = scale
    if not said:
        return found or None
    kind = said.get("quant_method", "?") if isinstance(said, dict) else "?"
    packed = any(name.endswith(("weight_packed", "qweight", "weight_shape")) for name in tensors)
    if kind not in _METHODS or packed or not found:
        raise Unsupported(f"{reference}: the weights are quantised ({kind}); merge the unquantised original")
    return found


def open_fp8(
    reference: Reference,
    folder: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, TensorInfo],
    scales: Mapping[str, str],
    adapter: Adapter | None,
) -> Model:
    """The model as if it had been stored in bfloat16."""
    extra = {name for name in tensors if name.endswith(_EXTRA) and name.rsplit("_scale", 1)[0] in tensors}
    extra |= {n for n in tensors if n.endswith(_EXTRA) and f"{n.rsplit('.', 1)[0]}.weight" in scales}
    plain = {
        name: TensorInfo(info.file, "BF16", info.shape, info.start, info.end) if name in scales else info
        for name, info in tensors.items()
        if name not in extra
    }
    said = {k: v for k, v in config.items() if k not in ("quantization_config", "compression_config")}
    return Fp8Model(reference, folder, said, plain, Files(), adapter, stored=dict(tensors), scales=dict(scales))


@dataclass(frozen=True)
class Scaled:
    """A source in 8 bits times its scales, as bfloat16.

    >>> from palmette.weights.blocks import Memory
    >>> plain = Memory(np.full(4, 0x38, np.uint8), "F8_E4M3")  # ones
    >>> decode(Scaled(plain, np.array([[2.0], [3.0]], np.float32), (2, 2), (1, 2)).read(1, 4), "BF16").tolist()
    [2.0, 3.0, 3.0]
    """

    plain: Source
    scales: NDArray[np.float32]  # (blocks of rows, blocks of columns)
    shape: tuple[int, int]
    block: tuple[int, int]
    dtype: str = "BF16"

    def read(self, start: int, stop: int) -> Raw:
        """See Source."""
        width = self.shape[1]
        first, last = start // width, -(-stop // width)
        values = decode(self.plain.read(first * width, last * width), self.plain.dtype).reshape(-1, width)
        rows = self.scales[np.arange(first, last) // self.block[0]]  # (rows, blocks of columns)
        made = values * np.repeat(rows, self.block[1], axis=1)[:, :width]
        return encode(made.reshape(-1)[start - first * width : stop - first * width], "BF16")


@dataclass(frozen=True)
class Fp8Model(Model):
    """A checkpoint in 8-bit floats with scales."""

    stored: Mapping[str, TensorInfo] = field(default_factory=dict)
    scales: Mapping[str, str] = field(default_factory=dict)

    def source(self, name: str) -> Source:
        """See Model.

        Raises:
            ConfigMismatch: for scales that do not fit their tensor.
        """
        if name not in self.scales:
            return super().source(name)
        info, about = self.stored[name], self.stored[self.scales[name]]
        held = FileTensor(about, self.files)
        count = int(np.prod(about.shape, dtype=np.int64))
        values = decode(held.read(0, count), about.dtype).astype(np.float32)
        rows, width = info.shape[0], int(np.prod(info.shape[1:], dtype=np.int64))
        block, grid = self._blocks(name, (rows, width), about.shape)
        plain: Source = Scaled(FileTensor(info, self.files), values.reshape(grid), (rows, width), block)
        change = self.adapter.change(name, info.shape) if self.adapter else None
        return plain if change is None else Adapted(plain, change)

    def _blocks(
        self, name: str, shape: tuple[int, int], given: tuple[int, ...]
    ) -> tuple[tuple[int, int], tuple[int, int]]:
        """(rows and columns of a block, how many blocks) from the shape of the scales."""
        rows, width = shape
        if self.scales[name].endswith("_inv") and len(given) == 2:
            side = 128
            if (-(-rows // side), -(-width // side)) == given:
                return (side, side), (given[0], given[1])
        elif given in ((), (1,)):
            return (rows, width), (1, 1)
        elif given in ((rows,), (rows, 1)):
            return (1, width), (rows, 1)
        raise ConfigMismatch(
            f"{self}: the scales of {name!r} have the shape {list(given)}, the tensor has {list(shape)}"
        )
