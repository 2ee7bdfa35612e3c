"""Directions as recipes: what they are is said in few words (seed, norm, checkpoints); they are made when needed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch

from palmette.core.checkpoint import open_checkpoint
from palmette.core.errors import BadParameter, MismatchedModels
from palmette.weights.landscape.space import Part, Space

__all__ = ["Between", "Direction", "Gradient", "Norm", "OneD", "Quantised", "Random", "cosine", "normalised"]

Norm = Literal["filter", "layer", "element", "none"]
OneD = Literal["zero", "rms", "abs"]


class Direction:
    """Makes a flat float32 vector in a space. `spec` says all there is to it."""

    def spec(self) -> dict[str, Any]:
        """As JSON."""
        return {"kind": type(self).__name__.lower(), **asdict(self)}  # type: ignore[call-overload]

    def make(self, space: Space, metric: Any = None) -> Any:
        """The vector, float32[space.size]."""
        raise NotImplementedError


@dataclass(frozen=True)
class Random(Direction):
    """Gaussian numbers, brought to the size of the weights.

    Li et al. 2018, Visualizing the loss landscape of neural nets (arXiv 1712.09913), section 4; element-wise: Kwon et
    al. 2021, ASAM (arXiv 2102.11600).

    Args:
        seed: every parameter draws by (seed, its name), so a selection does not change the others.
        norm: "filter" (each unit's weights), "layer" (each tensor), "element" (|w| each), "none".
        one_d: what 1-D parameters (norms, biases) get: "zero", "rms" (the vector is one unit), "abs" (|w| each).
        select: only parameters whose names hold this text; zero elsewhere (noise on one layer).
    """

    seed: int = 0
    norm: Norm = "filter"
    one_d: OneD = "zero"
    select: str = ""

    def make(self, space: Space, metric: Any = None) -> Any:
        """See Direction."""
        flat = torch.zeros(space.size)
        for part in space.parts:
            if self.select in part.name:
                key = hashlib.sha256(f"{self.seed}/{part.name}".encode()).digest()
                draw = torch.Generator().manual_seed(int.from_bytes(key[:7], "big"))
                space.view(flat, part).normal_(generator=draw)
        return normalised(flat.to(space.device), space, self.norm, self.one_d)


@dataclass(frozen=True)
class Between(Direction):
    """From the model to another checkpoint: 1 is that checkpoint.

    Args:
        folder: its folder.
    """

    folder: str

    def make(self, space: Space, metric: Any = None) -> Any:
        """See Direction.

        Raises:
            MismatchedModels: for a checkpoint with other tensors.
        """
        other = open_checkpoint(_path(self.folder))
        flat = torch.empty(space.size)
        for part in space.parts:
            flat[part.start : part.start + part.size] = torch.from_numpy(
                np.array(_tensor(other, part, self.folder), np.float32)
            ).reshape(-1)
        return flat.to(space.device).sub_(space.origin)


@dataclass(frozen=True)
class Quantised(Direction):
    """The error of rounding the matrices to few bits, symmetrically for each unit: 1 is the quantised model.

    Args:
        bits: of each weight, 2 to 8.
        select: only parameters whose names hold this text.
    """

    bits: int = 4
    select: str = ""

    def make(self, space: Space, metric: Any = None) -> Any:
        """See Direction."""
        if not 2 <= self.bits <= 8:
            raise BadParameter(f"bits should be between 2 and 8, not {self.bits!r}")
        flat = torch.zeros_like(space.origin)
        most = 2 ** (self.bits - 1) - 1
        for part in space.parts:
            if len(part.shape) > 1 and self.select in part.name:
                w, error = space.view(space.origin, part), space.view(flat, part)
                step = w.abs().amax(dim=-2 if part.units_last else -1, keepdim=True) / most
                step[step == 0] = 1
                error.copy_((w / step).round().clamp(-most, most) * step - w)
        return flat


@dataclass(frozen=True)
class Gradient(Direction):
    """The gradient of the loss, brought to the length of a random direction with the same `norm` (steepest ascent)."""

    norm: Norm = "filter"

    def make(self, space: Space, metric: Any = None) -> Any:
        """See Direction."""
        if metric is None:
            raise BadParameter("the gradient needs the data: hand the metric over")
        slope = metric.gradient(space)
        typical = Random(0, self.norm).make(space).norm()
        length = slope.norm()
        if not length > 0:
            raise BadParameter("the gradient is zero everywhere")
        return slope * (typical / length)


def normalised(flat: Any, space: Space, norm: Norm, one_d: OneD = "zero") -> Any:
    """The same vector with every unit's length that of the model's; units of zeros get zeros. In place."""
    if norm not in ("filter", "layer", "element", "none") or one_d not in ("zero", "rms", "abs"):
        raise BadParameter(
            f"norm is filter, layer, element or none and one_d zero, rms or abs, not {norm!r}, {one_d!r}"
        )
    for part in space.parts:
        d, w = space.view(flat, part), space.view(space.origin, part)
        if len(part.shape) < 2:
            if one_d == "zero":
                d.zero_()
            elif one_d == "abs":
                d.mul_(w.abs())
            else:
                _to_length(d, w, None)
        elif norm == "element":
            d.mul_(w.abs())
        elif norm != "none":
            axis = None if norm == "layer" else -2 if part.units_last else -1
            _to_length(d, w, axis)
    return flat


def cosine(one: Any, two: Any) -> float:
    """Of the angle between two directions, computed in float64."""
    a, b = one.double(), two.double()
    lengths = float(a.norm() * b.norm())
    return float(a @ b) / lengths if lengths else 0.0


def _to_length(d: Any, w: Any, axis: int | None) -> None:
    """Units of `d` get the lengths of `w`'s; a unit is what lies along `axis`, or everything."""
    if axis is None:
        mine, wanted = d.norm(), w.norm()
    else:
        mine, wanted = d.norm(dim=axis, keepdim=True), w.norm(dim=axis, keepdim=True)
    d.mul_(torch.where(mine > 0, wanted / mine.clamp_min(1e-30), torch.zeros_like(mine)))


def _tensor(other: Mapping[str, Any], part: Part, folder: str) -> Any:
    """A parameter in a checkpoint, whose names may lack or have the model's own prefix."""
    bare = part.name.partition(".")[2]
    name = next((n for n in (part.name, bare, f"model.{part.name}", f"transformer.{part.name}") if n in other), None)
    if name is None:
        raise MismatchedModels(f"{folder}: no tensor {part.name!r}; is it another architecture?")
    found = other[name]
    if found.shape != part.shape:
        raise MismatchedModels(f"{folder}: {name!r} has the shape {list(found.shape)}, the model {list(part.shape)}")
    return found


def _path(folder: str) -> Any:
    from pathlib import Path

    return Path(folder).expanduser()
