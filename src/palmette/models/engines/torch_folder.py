"""A model folder into transformers, with nothing left to chance: no code, no network, no tensor invented or dropped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from palmette.core.checkpoint import Checkpoint
from palmette.core.errors import ConfigMismatch, ModelError, UnsupportedArchitecture
from palmette.models.engines.torch_check import first_line

__all__ = ["read_model"]


def read_model(folder: Path, weights: Checkpoint, dtype: str, given: bool = False) -> Any:
    """The causal language model of a folder whose files were checked.

    Args:
        folder: a folder in Hugging Face format.
        weights: its checkpoint, opened: shapes are compared before memory is taken.
        dtype: "float32", "bfloat16", "float16", or "auto" for the checkpoint's own.
        given: whether the weights are those of `weights`, not those in the folder.
    """
    held = {name: torch.from_numpy(np.array(weights[name])) for name in weights} if given else None
    try:
        with _quiet():
            config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            _compare_shapes(folder, config, weights)
            family = type(_skeleton(config)) if given else transformers.AutoModelForCausalLM
            model, report = family.from_pretrained(
                None if given else folder,
                **({"config": config, "state_dict": held} if given else {}),
                dtype=dtype if dtype == "auto" else getattr(torch, dtype),
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
    except ModelError:
        raise
    except (RuntimeError, KeyError, TypeError) as error:
        raise ConfigMismatch(f"{folder}: config.json and the weights disagree: {first_line(error)}") from error
    except (ValueError, OSError, ImportError) as error:
        raise UnsupportedArchitecture(f"{folder}: transformers cannot open it: {first_line(error)}") from error
    _refuse_leftovers(folder, model, report)
    return model


def _refuse_leftovers(folder: Path, model: Any, report: dict[str, Any]) -> None:
    """Refuse what transformers only warns of: tensors that it had to invent, or that it found no use for."""
    missing, wrong = sorted(report["missing_keys"]), sorted(report.get("mismatched_keys") or [])
    if missing or wrong:
        what = f"lack {missing[0]!r}" if missing else f"hold {wrong[0][0]!r} in another shape"
        raise ConfigMismatch(f"{folder}: the weights {what}, which config.json describes")
    modules = {name for name, _ in model.named_modules()} - {""}
    for name in sorted(report["unexpected_keys"]):
        if name.rpartition(".")[0] in modules:  # not of another tower, but of a module that this model runs
            raise ConfigMismatch(f"{folder}: the weights hold a tensor {name!r} that config.json does not describe")


@contextmanager
def _quiet() -> Iterator[None]:
    """No tables and progress bars from transformers while inside: what they say is an error here."""
    talk = transformers.utils.logging
    level, bars = talk.get_verbosity(), talk.is_progress_bar_enabled()
    talk.set_verbosity_error()
    talk.disable_progress_bar()
    try:
        yield
    finally:
        talk.set_verbosity(level)
        if bars:
            talk.enable_progress_bar()


def _compare_shapes(folder: Path, config: Any, weights: Checkpoint) -> None:
    """Refuse a config.json that describes other tensors, before memory is taken for what it describes."""
    layers = int(getattr(config.get_text_config(), "num_hidden_layers", 0) or 0)
    if layers > len(weights):
        raise ConfigMismatch(f"{folder}: config.json describes {layers} layers, the weights are {len(weights)} tensors")
    skeleton = _skeleton(config)
    for name, parameter in skeleton.state_dict().items():
        held = weights.tensors.get(name) or weights.tensors.get(name.removeprefix(skeleton.base_model_prefix + "."))
        if held is not None and held.shape != tuple(parameter.shape):
            raise ConfigMismatch(
                f"{folder}: tensor {name!r} has the shape {held.shape}, config.json says {tuple(parameter.shape)}"
            )


def _skeleton(config: Any) -> Any:
    """The model that a configuration describes, without memory for its weights."""
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=False)
