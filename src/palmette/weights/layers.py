"""Names of tensors: which belong to a layer, which come before the layers and which after. Learned from the checkpoint.

The first number in a name is its layer: `model.layers.7.mlp.experts.3.up.weight` is expert 3 of layer 7.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from palmette.core.errors import MismatchedModels

__all__ = ["Layout", "Place", "layout_of", "main_of", "place"]

_LAYER = re.compile(r"^((?:[^.\d][^.]*\.)*)(\d+)\.(.+)$")
_BEFORE = re.compile(r"embed|wte|wpe|tok_embeddings")
_COUNTS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
VISION = re.compile(r"vis|image|audio|speech")


@dataclass(frozen=True)
class Place:
    """A name taken apart: the layers' prefix, the layer's number, the rest."""

    prefix: str
    index: int
    rest: str


def place(name: str) -> Place | None:
    """Where a tensor lies, or None outside the layers.

    >>> place("model.layers.7.mlp.experts.3.up.weight")
    Place(prefix='model.layers.', index=7, rest='mlp.experts.3.up.weight')
    """
    match = _LAYER.match(name)
    return Place(match[1], int(match[2]), match[3]) if match else None


@dataclass(frozen=True)
class Layout:
    """The families of layers of a model: prefix -> how many; and the one that slices cut."""

    counts: Mapping[str, int]
    main: str | None

    def t(self, name: str) -> float:
        """A layer's place from 0 to 1 (a single layer stands at 1), and 0 outside the layers."""
        found = place(name)
        if found is None:
            return 0.0
        count = self.counts[found.prefix]
        return found.index / (count - 1) if count > 1 else 1.0

    @staticmethod
    def before(name: str) -> bool:
        """True for what comes before the layers (embeddings)."""
        return bool(_BEFORE.search(name))


def layout_of(names: Iterable[str], config: Mapping[str, Any]) -> Layout:
    """The layers of a checkpoint."""
    counts: dict[str, int] = {}
    for name in names:
        found = place(name)
        if found:
            counts[found.prefix] = max(counts.get(found.prefix, 0), found.index + 1)
    wanted = next((config[key] for key in _COUNTS if isinstance(config.get(key), int)), None)
    fitting = sorted((p for p, n in counts.items() if n == wanted), key=lambda p: (bool(VISION.search(p)), len(p), p))
    return Layout(counts, fitting[0] if fitting else None)


def main_of(layout: Layout, model: object) -> tuple[str, int]:
    """The prefix and number of the layers that slices cut.

    Raises:
        MismatchedModels: if config.json's number of layers is not found among the tensors.
    """
    if layout.main is None:
        raise MismatchedModels(f"{model}: no family of layers has as many as config.json says, so slices cannot be cut")
    return layout.main, layout.counts[layout.main]
