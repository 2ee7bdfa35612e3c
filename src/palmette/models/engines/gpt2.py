"""GPT-2 in numpy (Radford et al. 2019): learned positions, layer norms before each block, GELU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palmette.core.checkpoint import Checkpoint, positive
from palmette.core.errors import UnsupportedArchitecture
from palmette.models.engines.attention import attend
from palmette.models.engines.batch import Batch

__all__ = ["GPT2"]

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Affine:
    """x · weight + bias, weight [in, out] (GPT-2's Conv1D layout)."""

    weight: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        return np.asarray(x @ self.weight + self.bias, np.float32)


@dataclass(frozen=True)
class Norm:
    """Layer norm (Ba et al. 2016)."""

    weight: Floats
    bias: Floats
    eps: float

    def __call__(self, x: Floats) -> Floats:
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = (centred * centred).mean(axis=-1, keepdims=True)
        return np.asarray(centred / np.sqrt(variance + np.float32(self.eps)) * self.weight + self.bias, np.float32)


@dataclass(frozen=True)
class Block:
    """One layer."""

    norm_1: Norm
    qkv: Affine
    out: Affine
    norm_2: Norm
    up: Affine
    down: Affine


class GPT2:
    """Weights and arithmetic of one model."""

    def __init__(self, config: dict[str, Any], weights: Checkpoint) -> None:
        self.width, self.layers = positive(config, "n_embd"), positive(config, "n_layer")
        self.heads = self.kv_heads = positive(config, "n_head")
        self.head_size = self.width // self.heads
        self.vocabulary, self.context_length = positive(config, "vocab_size"), positive(config, "n_positions")
        self.inner = int(config.get("n_inner") or 4 * self.width)
        self.eps = float(config.get("layer_norm_epsilon", 1e-5))
        _refuse_unknown(config)
        self._weights = weights
        self._prefix = "transformer." if "transformer.wte.weight" in weights else ""
        self.tokens = self._tensor("wte.weight", self.vocabulary, self.width)
        self.positions = self._tensor("wpe.weight", self.context_length, self.width)
        self.blocks = [self._block(f"h.{i}.") for i in range(self.layers)]
        self.final_norm = self._norm("ln_f")
        self.out_head = weights.head(self.tokens, config.get("tie_word_embeddings") is not False).T
        weights.refuse_unread(r"attn\.(masked_)?bias$")
        self.scale = self.head_size**-0.5 if config.get("scale_attn_weights", True) else 1.0

    def _tensor(self, name: str, *shape: int) -> Floats:
        return self._weights.expect(self._prefix + name, shape)

    def _affine(self, name: str, width: int, out: int) -> Affine:
        return Affine(self._tensor(name + ".weight", width, out), self._tensor(name + ".bias", out))

    def _norm(self, name: str) -> Norm:
        return Norm(self._tensor(name + ".weight", self.width), self._tensor(name + ".bias", self.width), self.eps)

    def _block(self, name: str) -> Block:
        return Block(
            self._norm(name + "ln_1"),
            self._affine(name + "attn.c_attn", self.width, 3 * self.width),
            self._affine(name + "attn.c_proj", self.width, self.width),
            self._norm(name + "ln_2"),
            self._affine(name + "mlp.c_fc", self.width, self.inner),
            self._affine(name + "mlp.c_proj", self.inner, self.width),
        )

    def run(self, batch: Batch, keys: list[Floats], values: list[Floats]) -> list[Floats]:
        """All states, float32[P, width] each: embeddings, after each block (the last one after the final norm)."""
        mask = None if batch.full else batch.mask()
        x = self.tokens[batch.tokens] + self.positions[batch.positions]
        states = [x]
        for block, k, v in zip(self.blocks, keys, values, strict=True):
            q, key, value = np.split(block.qkv(block.norm_1(x)), 3, axis=-1)
            k[:, batch.slots] = self._heads(key).transpose(1, 0, 2)
            v[:, batch.slots] = self._heads(value).transpose(1, 0, 2)
            seen = slice(batch.first, batch.extent)
            x = x + block.out(attend(self._heads(q), k[:, seen], v[:, seen], mask, self.scale))
            x = x + block.down(_gelu(block.up(block.norm_2(x))))
            states.append(x)
        states[-1] = self.final_norm(x)
        return states

    def _heads(self, x: Floats) -> Floats:
        return x.reshape(len(x), self.heads, self.head_size)

    def head(self, states: Floats) -> Floats:
        """Output scores, float32[n, vocabulary]."""
        return states @ self.out_head


def _gelu(x: Floats) -> Floats:
    """GELU, the tanh form (Hendrycks & Gimpel 2016), called gelu_new in configs."""
    return np.asarray(0.5 * x * (1 + np.tanh(np.float32(0.7978845608028654) * (x + 0.044715 * x**3))), np.float32)


def _refuse_unknown(config: dict[str, Any]) -> None:
    if config.get("activation_function", "gelu_new") not in ("gelu_new", "gelu_pytorch_tanh"):
        raise UnsupportedArchitecture(
            f"activation_function {config['activation_function']!r} is not known to the numpy engine (gelu_new is)"
        )
    for key in ("scale_attn_by_inverse_layer_idx", "add_cross_attention", "quantization_config"):
        if config.get(key):
            raise UnsupportedArchitecture(f"{key}={config[key]!r} is not known to the numpy engine")
