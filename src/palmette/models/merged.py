"""A merge as a model that runs, though it was never written to disk: each tensor is computed when it is loaded."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from palmette.core.checkpoint import Checkpoint
from palmette.core.engine import Engine
from palmette.core.errors import BadParameter
from palmette.weights.card import write_card
from palmette.weights.merge import Merge

__all__ = ["open_merge"]


class MergedCheckpoint(Checkpoint):
    """The tensors of a merge, computed when they are asked for."""

    def __init__(self, folder: Path, merge: Merge) -> None:
        super().__init__(folder, merge.tensors)
        self._merge = merge

    def __contains__(self, name: object) -> bool:
        return name in self.tensors

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._merge.tensor(name)


def open_merge(merge: Merge, engine: Literal["numpy", "torch"], dtype: str = "float32", device: str = "cpu") -> Engine:
    """Load the merged model.

    Args:
        merge: what `palmette.merge` returns.
        engine: "numpy" or "torch".
        dtype: precision of the torch engine.
        device: device of the torch engine.
    """
    with tempfile.TemporaryDirectory(prefix="palmette-merge-") as home:
        folder = Path(home)
        write_card(merge.plan, folder, {}, None)  # config.json and the tokenizer; a few kilobytes, no weights
        weights = MergedCheckpoint(folder, merge)
        if engine == "numpy":
            if dtype not in ("float32", "auto") or device != "cpu":
                raise BadParameter(f"the numpy engine has float32 on the cpu, not {dtype} on {device}; use torch")
            from palmette.models.engines import numpy_engine

            return numpy_engine.load(folder, weights)
        from palmette.models.engines import torch_engine

        return torch_engine.load(folder, dtype=dtype, device=device, weights=weights)
