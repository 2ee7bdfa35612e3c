"""Directions as recipes: what they are is said in few words (seed, norm, bits); they are made when needed."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from palmette.core.errors import BadParameter
from palmette.weights.landscape.space import Space

__all__ = ["Direction", "Like", "Norm", "OneD", "Quantised", "Random", "Scaled", "cosine", "normalised"]

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

    def __str__(self) -> str:
        kind, *rest = self.spec().items()  # what is given, and not what is empty
        return f"{kind[1]}({', '.join(f'{key}={value}' for key, value in rest if value not in ('', ()))})"


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
                _draw(space.view(flat, part), self.seed, part.name)
        return normalised(flat.to(space.device), space, self.norm, self.one_d)


@dataclass(frozen=True)
class Like(Direction):
    """Gaussian numbers, every unit with the length that it has in another direction: a typical one beside a special.

    Args:
        of: the other direction.
        seed: of the numbers.
    """

    of: Direction
    seed: int = 0

    def spec(self) -> dict[str, Any]:
        """See Direction."""
        return {"kind": "like", "of": self.of.spec(), "seed": self.seed}

    def __str__(self) -> str:
        return f"random, unit by unit as long as {self.of} (seed={self.seed})"

    def make(self, space: Space, metric: Any = None) -> Any:
        """See Direction."""
        model, flat = self.of.make(space, metric), torch.zeros(space.size)
        for part in space.parts:
            _draw(space.view(flat, part), self.seed, part.name)
        return normalised(flat.to(space.device), space, "filter", "rms", model)


@dataclass(frozen=True)
class Quantised(Direction):
    """The error of rounding the matrices to few bits, symmetrically for each unit: 1 is the quantised model.

    Args:
        bits: of each weight, 2 to 8.
        select: only parameters whose names hold this text.
    """

    bits: int = 4
    select: str = ""

    def __str__(self) -> str:
        return f"rounded to {self.bits} bits{f' ({self.select})' if self.select else ''}"

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
class Scaled(Direction):
    """Another direction, times a number."""

    of: Direction
    size: float

    def spec(self) -> dict[str, Any]:
        """See Direction."""
        return {"kind": "scaled", "of": self.of.spec(), "size": self.size}

    def __str__(self) -> str:
        return f"{self.size:g} × {self.of}"

    def make(self, space: Space, metric: Any = None) -> Any:
        """See Direction."""
        return self.of.make(space, metric).mul_(self.size)


def normalised(flat: Any, space: Space, norm: Norm, one_d: OneD = "zero", like: Any = None) -> Any:
    """The same vector with every unit's length that of the model's (or of `like`); units of zeros get zeros. In place.

    Raises:
        BadParameter: for a norm or policy that is none.
    """
    if norm not in ("filter", "layer", "element", "none") or one_d not in ("zero", "rms", "abs"):
        raise BadParameter(
            f"norm is filter, layer, element or none and one_d zero, rms or abs, not {norm!r}, {one_d!r}"
        )
    sizes = space.origin if like is None else like
    for part in space.parts:
        d, w = space.view(flat, part), space.view(sizes, part)
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


def _draw(view: Any, seed: int, name: str) -> None:
    """Gaussian numbers that depend on the seed and the parameter's name only."""
    key = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    view.normal_(generator=torch.Generator().manual_seed(int.from_bytes(key[:7], "big")))


def _to_length(d: Any, w: Any, axis: int | None) -> None:
    """Units of `d` get the lengths of `w`'s; a unit is what lies along `axis`, or everything."""
    if axis is None:
        mine, wanted = d.norm(), w.norm()
    else:
        mine, wanted = d.norm(dim=axis, keepdim=True), w.norm(dim=axis, keepdim=True)
    d.mul_(torch.where(mine > 0, wanted / mine.clamp_min(1e-30), torch.zeros_like(mine)))
