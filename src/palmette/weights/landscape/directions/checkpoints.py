"""Directions to other checkpoints: differences, LoRA changes, principal directions of many; and where points lie.

Differences are read a parameter at a time, so that any number of checkpoints costs the memory of one tensor each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from palmette.core.checkpoint import open_checkpoint
from palmette.core.errors import BadParameter, MismatchedModels
from palmette.weights.landscape.directions.base import Direction
from palmette.weights.landscape.space import Part, Space
from palmette.weights.lora import open_adapter

__all__ = ["Between", "Place", "Principal", "Tensors", "differences", "project", "tensors_of"]

Tensors = Mapping[str, Any]  # name to array
_BUFFERS = (".attn.bias", ".attn.masked_bias", ".masked_bias", "rotary_emb.inv_freq", ".attention.bias")


@dataclass(frozen=True)
class Between(Direction):
    """From the model to another checkpoint: 1 is that checkpoint.

    Args:
        folder: its folder; FOLDER+ADAPTER with a LoRA adapter on it; or an adapter's folder alone, whose change
            ΔW = s · B A is added to the model (never A and B for themselves, which rescale each other).
    """

    folder: str

    def __str__(self) -> str:
        return f"to {'+'.join(Path(part).name for part in self.folder.split('+'))}"

    def make(self, space: Space, metric: Any = None) -> Any:
        """See Direction.

        Raises:
            MismatchedModels: for a checkpoint with other tensors.
        """
        flat = torch.empty_like(space.origin)
        for part, change in differences(space, tensors_of(self.folder, space), self.folder):
            space.view(flat, part).copy_(change)
        return flat


@dataclass(frozen=True)
class Principal(Direction):
    """A principal direction of the differences between the model and checkpoints, as long as the farthest of them.

    Li et al. 2018, section 7.2, take the last checkpoint as the model; with a base model and its fine-tuned children it
    is a direction of their task vectors (Ilharco et al. 2023, arXiv 2212.04089).

    Args:
        folders: the checkpoints (see Between).
        index: 0 for the direction that explains most, 1 for the next.
    """

    folders: tuple[str, ...]
    index: int = 0

    def __str__(self) -> str:
        return f"principal direction {self.index + 1} of {len(self.folders)} checkpoints"

    def make(self, space: Space, metric: Any = None) -> Any:
        """See Direction.

        Raises:
            BadParameter: for fewer different checkpoints than directions.
        """
        values, mixes, _ = self.spectrum(space)
        if self.index >= len(values) or values[self.index] <= 1e-12 * max(values[0], 1e-300):
            raise BadParameter(
                f"{len(self.folders)} checkpoints span no {self.index + 1} directions; name more of them"
            )
        flat = torch.zeros_like(space.origin)
        for folder, mix in zip(self.folders, mixes[self.index], strict=True):
            for part, change in differences(space, tensors_of(folder, space), folder):
                space.view(flat, part).add_(change, alpha=float(mix))
        return flat

    def spectrum(self, space: Space) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """(squared lengths along each direction, largest first; the mixtures that are directions; explained shares)."""
        key = ("principal", self.folders)
        if key not in space.kept:
            space.kept[key] = _spectrum(space, self.folders)
        found: tuple[Any, Any, Any] = space.kept[key]
        return found


@dataclass(frozen=True)
class Place:
    """Where a point of weight space lies seen from a plane: its coordinates, and how far it is off it.

    Args:
        at: coordinates of the nearest point of the plane.
        off: ‖what is left‖ / ‖θ‖.
        length: ‖the whole difference from the model‖ / ‖θ‖.
    """

    at: tuple[float, ...]
    off: float
    length: float


def project(space: Space, tensors: Tensors, directions: Sequence[Any], name: str) -> Place:
    """Least squares onto a plane, in float64.

    Args:
        space: the parameters.
        tensors: the point.
        directions: one or two vectors.
        name: of the point, for messages.
    """
    gram, along, length = _gram(space, directions), np.zeros(len(directions)), 0.0
    for part, change in differences(space, tensors, name):
        flat = change.reshape(-1).double()
        length += float(flat @ flat)
        along += [float(space.view(d, part).reshape(-1).double() @ flat) for d in directions]
    at = np.linalg.lstsq(gram, along, rcond=None)[0]
    left = max(length - float(at @ along), 0.0)
    left = 0.0 if left < 1e-11 * length else left  # what rounding leaves of a point that lies on the plane
    size = float(space.origin.double().norm()) or 1.0
    return Place(tuple(float(x) for x in at), float(np.sqrt(left)) / size, float(np.sqrt(length)) / size)


def differences(space: Space, tensors: Tensors, name: str) -> Iterator[tuple[Part, Any]]:
    """For each parameter, how much other tensors are off the model's, float32 on the space's device.

    Raises:
        MismatchedModels: for other names or shapes, or another architecture.
    """
    if isinstance(tensors, _Change):
        yield from ((part, tensors.of(part).to(space.device)) for part in space.parts)
        return
    places = {full: _name(tensors, full) for full in space.names}
    _refuse_others(space, tensors, places, name)
    for part in space.parts:
        place = places[part.name]
        if place is None:
            raise MismatchedModels(f"{name}: no tensor {part.name!r}; is it another architecture?")
        found = tensors[place]
        if tuple(found.shape) != part.shape:
            raise MismatchedModels(f"{name}: {place!r} has the shape {list(found.shape)}, the model {list(part.shape)}")
        there = torch.from_numpy(np.array(found, np.float32)).to(space.device)
        yield part, there - space.view(space.origin, part)


def tensors_of(folder: str, space: Space) -> Tensors:
    """The tensors of FOLDER or FOLDER+ADAPTER, or the change of an adapter."""
    base, _, adapter = folder.partition("+")
    path = Path(base).expanduser()
    if not adapter and (path / "adapter_config.json").is_file() and not (path / "config.json").is_file():
        return _Change(path, space)
    weights = open_checkpoint(path)
    return _Adapted(weights, _Change(Path(adapter).expanduser(), space)) if adapter else weights


class _Change(dict[str, Any]):
    """What a LoRA adapter adds to a model."""

    def __init__(self, folder: Path, space: Space) -> None:
        super().__init__()
        self._adapter = open_adapter(folder, space.names)

    def of(self, part: Part) -> Any:
        """ΔW, float32 of the parameter's shape."""
        change = self._adapter.change(part.name, part.shape) if len(part.shape) == 2 else None
        return torch.zeros(part.shape) if change is None else torch.from_numpy(change.rows(0, part.shape[0]))


class _Adapted(Mapping[str, Any]):
    """A checkpoint with an adapter's change added."""

    def __init__(self, weights: Tensors, change: _Change) -> None:
        self._weights, self._change = weights, change

    def __getitem__(self, name: str) -> Any:
        plain = np.array(self._weights[name], np.float32)
        full = next(
            (n for n in (name, f"model.{name}", f"transformer.{name}") if n in self._change._adapter.pairs), name
        )
        return plain + self._change.of(Part(full, 0, plain.shape, False)).numpy()

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)


def _name(tensors: Tensors, full: str) -> str | None:
    """A parameter's name in a checkpoint, which may lack or have the model's own prefix."""
    bare = full.partition(".")[2]
    return next((n for n in (full, bare, f"model.{full}", f"transformer.{full}") if n in tensors), None)


def _refuse_others(space: Space, tensors: Tensors, places: Mapping[str, str | None], name: str) -> None:
    """Refuse tensors that the model has not, and a head of its own where the model's is its embedding."""
    used = {place for place in places.values() if place is not None}
    for pair in space.tied:
        again, first = pair.split(" = ")
        other, own = _name(tensors, again), places.get(first)
        if other is not None and own is not None and other != own:
            if not np.array_equal(np.asarray(tensors[other]), np.asarray(tensors[own])):
                raise MismatchedModels(f"{name}: {other!r} is not tied to {own!r}, as it is in the model")
            used.add(other)
    strange = next((n for n in tensors if n not in used and not n.endswith(_BUFFERS)), None)
    if strange is not None:
        raise MismatchedModels(f"{name} holds a tensor {strange!r} that the model has not; is it another architecture?")


def _gram(space: Space, directions: Sequence[Any]) -> NDArray[np.float64]:
    made = np.zeros((len(directions), len(directions)))
    for part in space.parts:
        views = torch.stack([space.view(d, part).reshape(-1).double() for d in directions])
        made += (views @ views.T).cpu().numpy()
    return made


def _spectrum(space: Space, folders: Sequence[str]) -> tuple[Any, Any, Any]:
    """Principal directions from the inner products of the differences: a k × k matrix for k checkpoints."""
    gram = np.zeros((len(folders), len(folders)))
    streams = [differences(space, tensors_of(folder, space), folder) for folder in folders]
    for changes in zip(*streams, strict=True):
        flat = torch.stack([change.reshape(-1) for _, change in changes]).double()
        gram += (flat @ flat.T).cpu().numpy()
    values, mixes = np.linalg.eigh(gram)
    values, mixes = np.maximum(values[::-1], 0), mixes[:, ::-1].T
    shares = values / max(float(values.sum()), 1e-300)
    made = []
    for value, mix in zip(values, mixes, strict=True):
        unit = mix / np.sqrt(max(value, 1e-300))  # Σ mix_j δ_j / √λ has length 1
        reach = np.abs(gram @ unit).max()  # the farthest checkpoint along it
        sign = 1.0 if (gram @ unit)[int(np.argmax(np.abs(gram @ unit)))] >= 0 else -1.0
        made.append(unit * reach * sign)
    return values, np.array(made), shares
