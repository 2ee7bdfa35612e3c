"""Opening a model for a merge, whatever its file format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from palmette.core.checkpoint import TensorInfo, open_checkpoint, read_config
from palmette.core.errors import ModelNotFound, Unsupported
from palmette.weights.folder import Fetch, Files, Model, local
from palmette.weights.inputs.fp8 import open_fp8, scales_of
from palmette.weights.inputs.gguf import open_gguf_model
from palmette.weights.inputs.pickled import read_pickled
from palmette.weights.lora import open_adapter
from palmette.weights.recipe.schema import Reference

__all__ = ["open_model"]


def open_model(reference: Reference, fetch: Fetch = local) -> Model:
    """Read a model's configuration and headers; no weights yet.

    Raises:
        ModelError: for a folder or file that is no safe, sound model.
        Unsupported: for weights in a format that is not read.
    """
    here = Path(reference.path).expanduser()
    folder = here if here.exists() else fetch(reference.path, reference.revision)
    if folder.is_file():
        return _file(reference, folder)
    alone = sorted(folder.glob("*.gguf"))
    if len(alone) == 1 and not any(folder.glob("*.safetensors")):
        return _file(reference, alone[0])
    config = read_config(folder)
    tensors = _tensors(folder)
    scales = scales_of(reference, config, tensors)
    adapter = None
    if reference.lora:
        there = Path(reference.lora).expanduser()
        adapter = open_adapter(there if there.is_dir() else fetch(reference.lora, reference.lora_revision), tensors)
    if scales is not None:
        return open_fp8(reference, folder, config, tensors, scales, adapter)
    return Model(reference, folder, config, tensors, Files(), adapter)


def _tensors(folder: Path) -> dict[str, TensorInfo]:
    """Of safetensors, or else of PyTorch's zip files."""
    if not any(folder.glob("*.safetensors*")) and (pickled := sorted(folder.glob("pytorch_model*.bin"))):
        found: dict[str, TensorInfo] = {}
        for path in pickled:
            found |= read_pickled(path)
        return found
    return dict(open_checkpoint(folder).tensors)


def _file(reference: Reference, path: Path) -> Model:
    if path.suffix != ".gguf":
        raise ModelNotFound(f"{path} is no folder and no .gguf file")
    if reference.lora:
        raise Unsupported(f"{reference}: an adapter is applied to a folder, not to a GGUF file")
    made: Any = open_gguf_model(reference, path)
    assert isinstance(made, Model)
    return made
