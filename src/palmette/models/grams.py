"""Statistics of a model's activations: XᵀX of the inputs of every linear layer, from forward passes only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palmette.core.checkpoint import open_checkpoint
from palmette.core.errors import MissingExtra
from palmette.models.engines.tokenizer import FileTokenizer
from palmette.models.measure import Example

try:
    import torch

    from palmette.models.engines.torch_folder import read_model
except ImportError as error:
    raise MissingExtra("statistics of activations", "torch") from error

__all__ = ["GramFiles", "measure_grams"]


class GramFiles(Mapping[str, NDArray[np.float32]]):
    """Gram matrices as files in a folder, mapped when they are asked for."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._paths = {name: folder / f"{i}.npy" for i, name in enumerate(names)}

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        made: NDArray[np.float32] = np.load(self._paths[name], mmap_mode="r")
        return made

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


def measure_grams(folder: Path, examples: Sequence[Example], into: Path, length: int = 256) -> GramFiles:
    """Run a model over texts and write XᵀX of each linear layer's inputs.

    Args:
        folder: of the model.
        examples: texts; prompt and answer count alike.
        into: an empty folder for the matrices.
        length: tokens of each text at most.
    """
    model, tokenizer = read_model(folder, open_checkpoint(folder), "float32"), FileTokenizer(folder)
    found: dict[str, Any] = {}
    hooks = [
        module.register_forward_pre_hook(_adds(f"{name}.weight", found))
        for name, module in model.named_modules()
        if type(module).__name__ in ("Linear", "Conv1D") and not name.endswith("lm_head")
    ]
    try:
        with torch.inference_mode():
            for example in examples:
                ids = list(tokenizer.encode(example.prompt + example.answer))[:length]
                if ids:
                    model(input_ids=torch.tensor([ids]), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    for i, name in enumerate(found):
        np.save(into / f"{i}.npy", found[name].numpy())
    return GramFiles(into, list(found))


def _adds(name: str, found: dict[str, Any]) -> Callable[[Any, Any], None]:
    def add(_: Any, given: Any) -> None:
        rows = given[0].reshape(-1, given[0].shape[-1]).float()
        product = rows.T @ rows
        found[name] = found[name] + product if name in found else product

    return add
