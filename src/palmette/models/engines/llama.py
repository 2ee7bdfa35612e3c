"""The Llama family in numpy (Touvron et al. 2023): RMSNorm, rotary positions, SwiGLU; also Mistral, Qwen 2 and 3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palmette.core.checkpoint import Checkpoint, positive
from palmette.core.errors import UnsupportedArchitecture
from palmette.models.engines.attention import attend
from palmette.models.engines.batch import Batch
from palmette.models.engines.rope import frequencies, rotate, tables

__all__ = ["Llama"]

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Block:
    """One layer's weights, matrices as [in, out]; optional ones are None."""

    attention_norm: Floats
    qkv: Floats  # (width, (heads + 2 kv_heads) · size)
    qkv_bias: Floats | None
    q_norm: Floats | None
    k_norm: Floats | None
    out: Floats
    out_bias: Floats | None
    mlp_norm: Floats
    gate_up: Floats  # (width, 2 · inner)
    down: Floats
    window: int | None


class Llama:
    """Weights and arithmetic of one model."""

    def __init__(self, config: dict[str, Any], weights: Checkpoint) -> None:
        self.width = positive(config, "hidden_size")
        self.layers = positive(config, "num_hidden_layers")
        self.heads = positive(config, "num_attention_heads")
        self.kv_heads = int(config.get("num_key_value_heads") or self.heads)
        self.head_size = int(config.get("head_dim") or self.width // self.heads)
        self.inner = positive(config, "intermediate_size")
        self.vocabulary = positive(config, "vocab_size")
        self.context_length = positive(config, "max_position_embeddings")
        self.eps = float(config.get("rms_norm_eps", 1e-6))
        _refuse_unknown(config)
        self.embedding = weights.expect("model.embed_tokens.weight", (self.vocabulary, self.width))
        self.blocks = [self._block(i, config, weights) for i in range(self.layers)]
        self.final_norm = weights.expect("model.norm.weight", (self.width,))
        tied = bool(config.get("tie_word_embeddings", False))
        self.out_head = weights.head(self.embedding, tied).T
        weights.refuse_unread(r"rotary_emb\.inv_freq$")
        inverse = frequencies(config, self.head_size)
        self._inverse = inverse
        self._cos, self._sin = tables(inverse, min(self.context_length, 1024))

    def _block(self, i: int, config: dict[str, Any], weights: Checkpoint) -> Block:
        name = f"model.layers.{i}."
        q, kv = self.heads * self.head_size, self.kv_heads * self.head_size
        attention = name + "self_attn."
        kind = config["model_type"]
        all_biased = kind in ("llama", "qwen3") and bool(config.get("attention_bias", False))
        biased = all_biased or kind == "qwen2"

        def matrix(part: str, out: int, width: int) -> Floats:
            return weights.expect(part + ".weight", (out, width)).T

        def stacked(parts: list[tuple[str, int]]) -> Floats:
            return np.ascontiguousarray(np.concatenate([matrix(p, n, self.width) for p, n in parts], axis=1))

        sizes = [(attention + "q_proj", q), (attention + "k_proj", kv), (attention + "v_proj", kv)]
        bias = np.concatenate([weights.expect(p + ".bias", (n,)) for p, n in sizes]) if biased else None
        own_norms = kind == "qwen3"
        return Block(
            weights.expect(name + "input_layernorm.weight", (self.width,)),
            stacked(sizes),
            bias,
            weights.expect(attention + "q_norm.weight", (self.head_size,)) if own_norms else None,
            weights.expect(attention + "k_norm.weight", (self.head_size,)) if own_norms else None,
            np.ascontiguousarray(matrix(attention + "o_proj", self.width, q)),
            weights.expect(attention + "o_proj.bias", (self.width,)) if all_biased else None,
            weights.expect(name + "post_attention_layernorm.weight", (self.width,)),
            stacked([(name + "mlp.gate_proj", self.inner), (name + "mlp.up_proj", self.inner)]),
            np.ascontiguousarray(matrix(name + "mlp.down_proj", self.width, self.inner)),
            _window(config, i),
        )

    def run(self, batch: Batch, keys: list[Floats], values: list[Floats]) -> list[Floats]:
        """All states, float32[P, width] each: embeddings, after each block (the last one after the final norm)."""
        positions = batch.positions
        while len(self._cos) <= positions.max():
            self._cos, self._sin = tables(self._inverse, 2 * len(self._cos))
        cos, sin = self._cos[positions][:, None], self._sin[positions][:, None]  # (P, 1, size)
        masks: dict[int | None, Floats | None] = {}
        x = self.embedding[batch.tokens]
        states = [x]
        for block, k, v in zip(self.blocks, keys, values, strict=True):
            window = block.window if block.window is not None and positions.max() >= block.window else None
            if window not in masks:
                masks[window] = None if window is None and batch.full else batch.mask(window)
            normed = _rms(x, block.attention_norm, self.eps)
            x = x + self._attention(block, normed, batch, cos, sin, masks[window], k, v)
            x = x + self._mlp(block, _rms(x, block.mlp_norm, self.eps))
            states.append(x)
        states[-1] = _rms(x, self.final_norm, self.eps)
        return states

    def _attention(
        self, block: Block, x: Floats, batch: Batch, cos: Floats, sin: Floats, mask: Floats | None, k: Floats, v: Floats
    ) -> Floats:
        mixed = x @ block.qkv
        if block.qkv_bias is not None:
            mixed += block.qkv_bias
        heads = mixed.reshape(len(x), self.heads + 2 * self.kv_heads, self.head_size)
        query, key = heads[:, : self.heads], heads[:, self.heads : self.heads + self.kv_heads]
        if block.q_norm is not None and block.k_norm is not None:
            query, key = _rms(query, block.q_norm, self.eps), _rms(key, block.k_norm, self.eps)
        k[:, batch.slots] = rotate(key, cos, sin).transpose(1, 0, 2)
        v[:, batch.slots] = heads[:, self.heads + self.kv_heads :].transpose(1, 0, 2)
        seen = slice(batch.first, batch.extent)
        out = attend(rotate(query, cos, sin), k[:, seen], v[:, seen], mask, self.head_size**-0.5) @ block.out
        return out if block.out_bias is None else out + block.out_bias

    def _mlp(self, block: Block, x: Floats) -> Floats:
        both = x @ block.gate_up  # (P, 2 · inner)
        gate, up = both[:, : self.inner], both[:, self.inner :]
        with np.errstate(over="ignore"):
            return np.asarray((gate / (1 + np.exp(-gate)) * up) @ block.down, np.float32)  # SwiGLU (Shazeer 2020)

    def head(self, states: Floats) -> Floats:
        """Output scores, float32[n, vocabulary]."""
        return states @ self.out_head


def _rms(x: Floats, weight: Floats, eps: float) -> Floats:
    """Root-mean-square norm (Zhang & Sennrich 2019)."""
    return np.asarray(x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(eps)) * weight, np.float32)


def _window(config: dict[str, Any], layer: int) -> int | None:
    """The sliding window of a layer: Mistral has it in all layers, Llama in none, Qwen where its config says."""
    kind = config["model_type"]
    if kind == "mistral":
        window = config.get("sliding_window", 4096)  # what transformers assumes when the key is absent
        return None if window is None else int(window)
    if kind == "llama" or not config.get("use_sliding_window", False):
        return None
    kinds = config.get("layer_types")
    local = kinds[layer] == "sliding_attention" if kinds else layer >= positive(config, "max_window_layers")
    return positive(config, "sliding_window") if local else None


def _refuse_unknown(config: dict[str, Any]) -> None:
    """Settings that change the arithmetic and are not implemented are errors, never silence."""
    if config.get("hidden_act", "silu") not in ("silu", "swish"):
        raise UnsupportedArchitecture(f"hidden_act {config['hidden_act']!r} is not known to the numpy engine (silu is)")
    for key in ("quantization_config", "mlp_bias", "num_experts", "num_local_experts", "sliding_window_pattern"):
        if config.get(key):
            raise UnsupportedArchitecture(f"{key}={config[key]!r} is not known to the numpy engine")
    known = {"full_attention", "sliding_attention"} if config["model_type"] != "llama" else {"full_attention"}
    kinds = sorted(set(config.get("layer_types") or []) - known)
    if kinds:
        raise UnsupportedArchitecture(f"layers of type {kinds[0]!r} are not known to the numpy engine")
    scaled = sorted(key for key in config if config[key] and key.endswith(("_multiplier", "_scaling", "_softcapping")))
    if [key for key in scaled if key != "rope_scaling"]:
        raise UnsupportedArchitecture(f"{scaled[0]}={config[scaled[0]]!r} is not known to the numpy engine")
