"""A model of random weights with the seedling's tokenizer: whatever holds for it, its training did not bring about."""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

import palmette

SEEDLING = Path(palmette.__file__).parent / "models" / "zoo" / "seedling"


def write(path: Path, seed: int = 0, width: int = 32, layers: int = 1, context: int = 2048) -> Path:
    """A folder with a random Llama."""
    path.mkdir(parents=True, exist_ok=True)
    config = json.loads((SEEDLING / "config.json").read_text())
    changed = {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": layers,
               "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": width // 2,
               "max_position_embeddings": context, "torch_dtype": "float32"}  # fmt: skip
    (path / "config.json").write_text(json.dumps({**config, **changed}))
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(SEEDLING / name, path / name)
    rng = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> Any:
        return rng.normal(0, columns**-0.5, (rows, columns)).astype(np.float32)

    weights = {"model.embed_tokens.weight": matrix(config["vocab_size"], width) * 4,
               "model.norm.weight": np.ones(width, np.float32)}  # fmt: skip
    for layer in range(layers):
        at = f"model.layers.{layer}."
        for name in ("q", "k", "v", "o"):
            weights[f"{at}self_attn.{name}_proj.weight"] = matrix(width, width)
        weights[f"{at}mlp.gate_proj.weight"] = matrix(2 * width, width)
        weights[f"{at}mlp.up_proj.weight"] = matrix(2 * width, width)
        weights[f"{at}mlp.down_proj.weight"] = matrix(width, 2 * width)
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{at}{name}.weight"] = np.ones(width, np.float32)
    save_file(weights, path / "model.safetensors")
    return path


@functools.cache
def folder(seed: int = 0) -> Path:
    """One that lives as long as the session."""
    keep = tempfile.TemporaryDirectory(prefix="palmette-random-")
    _kept.append(keep)
    return write(Path(keep.name) / "model", seed)


_kept: list[tempfile.TemporaryDirectory[str]] = []
