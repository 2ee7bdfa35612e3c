"""Small checkpoints and recipes for the tests of merging."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from palmette.core.checkpoint import open_checkpoint
from palmette.weights.methods import METHODS
from palmette.weights.methods import settings as settings_of

__all__ = ["CONFIG", "SHAPES", "digest", "model", "recipe", "usual", "with_tokens"]

SHAPES = {
    "model.embed_tokens.weight": (40, 16), "model.norm.weight": (16,), "lm_head.weight": (40, 16),
    **{f"model.layers.{i}.{part}.weight": shape for i in range(3)
       for part, shape in (("mlp.up_proj", (24, 16)), ("self_attn.q_proj", (16, 16)), ("input_layernorm", (16,)))},
}  # fmt: skip
CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 3, "vocab_size": 40,
          "tie_word_embeddings": False}  # fmt: skip


def model(folder: Path, seed: int, config: dict[str, Any] | None = None, **changes: Any) -> str:
    """A folder of random tensors; changes replace some (None takes one out)."""
    folder.mkdir(parents=True, exist_ok=True)
    base, rng = np.random.default_rng(0), np.random.default_rng(seed)
    tensors = {}
    for name, shape in SHAPES.items():
        tensors[name] = (base.standard_normal(shape) + (0.1 if seed else 0) * rng.standard_normal(shape)).astype(
            np.float32
        )
    tensors = {name: array for name, array in {**tensors, **changes}.items() if array is not None}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({**CONFIG, **(config or {})}))
    return str(folder)


def recipe(method: str, *models: str, base: str | None = None, **more: Any) -> dict[str, Any]:
    each = {s.name: 0.5 for s in settings_of(METHODS[method]).values() if s.each and s.required}
    shared = {s.name: 0.5 for s in settings_of(METHODS[method]).values() if not s.each and s.required}
    made = {"merge_method": method, "models": [{"model": m, "parameters": each} for m in models], "parameters": shared}
    return {**made, **({"base_model": base} if base else {}), **more}


def usual(method: str, home: Path, **more: Any) -> dict[str, Any]:
    """A recipe with as many models as the method takes."""
    row = METHODS[method]
    names = [model(home / name, seed) for seed, name in enumerate(("base", "a", "b", "c"))]
    base = names[0] if row.base != "unused" else None
    return recipe(method, *names[1 : 1 + min(row.most or 3, 3)], base=base, **more)


def digest(folder: Path) -> str:
    """Of all tensors, however they are divided over files."""
    found = open_checkpoint(folder)
    made = hashlib.sha256()
    for name in sorted(found):
        made.update(name.encode() + found.tensors[name].dtype.encode() + np.ascontiguousarray(found[name]).tobytes())
    return made.hexdigest()


def with_tokens(folder: str, tokens: list[str]) -> str:
    """Give a folder a tokenizer of whole words."""
    vocabulary = {token: i for i, token in enumerate(tokens)}
    made = {
        "version": "1.0",
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": tokens[0]},
        "added_tokens": [],
    }
    (Path(folder) / "tokenizer.json").write_text(json.dumps(made))
    return folder
