"""The architectures that are converted to GGUF: what llama.cpp calls their tensors and settings, and what it turns.

llama.cpp rotates neighbouring pairs of numbers in its Llama, where Hugging Face rotates a number with the one half a
head further on; so the rows of Llama's query and key are laid out again. Its Qwen rotates as Hugging Face does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from palmette.core.checkpoint import TensorInfo, positive
from palmette.core.errors import ConfigMismatch, UnsupportedArchitecture
from palmette.core.gguf_write import U32

__all__ = ["FAMILIES", "Family", "Place", "frequency_factors", "places", "rotary_rows", "settings"]

How = Literal["as it is", "rotary", "transposed"]

LLAMA = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "model.layers.{}.input_layernorm": "blk.{}.attn_norm", "model.layers.{}.self_attn.q_proj": "blk.{}.attn_q",
    "model.layers.{}.self_attn.k_proj": "blk.{}.attn_k", "model.layers.{}.self_attn.v_proj": "blk.{}.attn_v",
    "model.layers.{}.self_attn.o_proj": "blk.{}.attn_output", "model.layers.{}.self_attn.q_norm": "blk.{}.attn_q_norm",
    "model.layers.{}.self_attn.k_norm": "blk.{}.attn_k_norm",
    "model.layers.{}.post_attention_layernorm": "blk.{}.ffn_norm", "model.layers.{}.mlp.gate_proj": "blk.{}.ffn_gate",
    "model.layers.{}.mlp.up_proj": "blk.{}.ffn_up", "model.layers.{}.mlp.down_proj": "blk.{}.ffn_down",
}  # fmt: skip
GPT2 = {
    "wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm", "lm_head": "output",
    "h.{}.ln_1": "blk.{}.attn_norm", "h.{}.attn.c_attn": "blk.{}.attn_qkv", "h.{}.attn.c_proj": "blk.{}.attn_output",
    "h.{}.ln_2": "blk.{}.ffn_norm", "h.{}.mlp.c_fc": "blk.{}.ffn_up", "h.{}.mlp.c_proj": "blk.{}.ffn_down",
}  # fmt: skip


@dataclass(frozen=True)
class Family:
    """An architecture: llama.cpp's name of it, and its tensors' names there (layers as {}, without .weight, .bias)."""

    name: str
    names: Mapping[str, str]
    rotary: bool = False  # query and key laid out for pairs of neighbours
    transposed: bool = False  # matrices lie as [in, out] in the folder


FAMILIES: dict[str, Family] = {
    "llama": Family("llama", LLAMA, rotary=True),
    "mistral": Family("llama", LLAMA, rotary=True),
    "qwen2": Family("qwen2", LLAMA),
    "qwen3": Family("qwen3", LLAMA),
    "gpt2": Family("gpt2", GPT2, transposed=True),
}


@dataclass(frozen=True)
class Place:
    """Where a tensor of the file comes from: its name in the folder, and what is done to its rows."""

    source: str
    how: How = "as it is"
    heads: int = 0


def places(family: Family, config: Mapping[str, Any], tensors: Mapping[str, TensorInfo]) -> dict[str, Place]:
    """GGUF name -> where it comes from, for every tensor of the folder.

    Raises:
        ConfigMismatch: for a tensor that this architecture does not have.
    """
    found: dict[str, Place] = {}
    tied = bool(config.get("tie_word_embeddings", family.transposed))
    for name in tensors:
        if re.search(r"rotary_emb\.inv_freq$|\.attn\.(masked_)?bias$", name) or (tied and name == "lm_head.weight"):
            continue
        plain = name.removeprefix("transformer.") if family.transposed else name
        stem, _, kind = plain.rpartition(".")
        layer = re.search(r"\.(\d+)\.", stem) or re.match(r"h\.(\d+)\.", stem)
        number = layer[1] if layer else ""
        known = family.names.get(re.sub(r"(?<=\.)\d+(?=\.)", "{}", stem, count=1))
        if known is None or kind not in ("weight", "bias"):
            raise ConfigMismatch(f"the weights hold a tensor {name!r}, which {config.get('model_type')} does not have")
        made = known.replace("{}", number)
        how: How = "as it is"
        heads = 0
        if family.rotary and known in ("blk.{}.attn_q", "blk.{}.attn_k"):
            how = "rotary"
            heads = positive(config, "num_attention_heads")
            heads = int(config.get("num_key_value_heads") or heads) if known == "blk.{}.attn_k" else heads
        elif family.transposed and kind == "weight" and len(tensors[name].shape) == 2 and layer:
            how = "transposed"
        found[f"{made}.{kind}"] = Place(name, how, heads)
    return found


def rotary_rows(count: int, heads: int) -> NDArray[np.int64]:
    """The row of the folder's matrix that each row of the file's is: (half, pair) of a head become (pair, half)."""
    size = count // heads
    return np.arange(count).reshape(heads, 2, size // 2).swapaxes(1, 2).ravel()


def settings(family: Family, config: Mapping[str, Any]) -> dict[str, Any]:
    """The file's metadata about the architecture."""
    if family.transposed:
        width = positive(config, "n_embd")
        _refuse_gpt2(config)
        found: dict[str, Any] = {
            "context_length": U32(positive(config, "n_positions")), "embedding_length": U32(width),
            "block_count": U32(positive(config, "n_layer")),
            "feed_forward_length": U32(int(config.get("n_inner") or 4 * width)),
            "attention.head_count": U32(positive(config, "n_head")),
            "attention.layer_norm_epsilon": float(config.get("layer_norm_epsilon", 1e-5)),
        }  # fmt: skip
        return {f"gpt2.{key}": value for key, value in found.items()}
    width, heads = positive(config, "hidden_size"), positive(config, "num_attention_heads")
    size = int(config.get("head_dim") or width // heads)
    _refuse_llama(config)
    scaling = _scaling(config)
    found = {
        "vocab_size": U32(positive(config, "vocab_size")), "context_length": U32(_context(config)),
        "embedding_length": U32(width), "block_count": U32(positive(config, "num_hidden_layers")),
        "feed_forward_length": U32(positive(config, "intermediate_size")), "attention.head_count": U32(heads),
        "attention.head_count_kv": U32(int(config.get("num_key_value_heads") or heads)),
        "attention.key_length": U32(size), "attention.value_length": U32(size),
        "attention.layer_norm_rms_epsilon": float(config.get("rms_norm_eps", 1e-6)),
        "rope.dimension_count": U32(size),
        "rope.freq_base": float(scaling.get("rope_theta") or config.get("rope_theta") or 10_000.0),
    }  # fmt: skip
    if _kind(scaling) == "linear":
        found |= {"rope.scaling.type": "linear", "rope.scaling.factor": float(scaling["factor"])}
    return {f"{family.name}.{key}": value for key, value in found.items()}


def _scaling(config: Mapping[str, Any]) -> dict[str, Any]:
    return dict(config.get("rope_parameters") or config.get("rope_scaling") or {})


def _kind(scaling: Mapping[str, Any]) -> str:
    return str(scaling.get("rope_type", scaling.get("type", "default")))


def frequency_factors(config: Mapping[str, Any]) -> NDArray[np.float32] | None:
    """By what llama.cpp divides the rotary frequencies, float32[size / 2], or None: Llama 3.1's scaling."""
    scaling = _scaling(config)
    if _kind(scaling) != "llama3":
        return None
    size = int(config.get("head_dim") or positive(config, "hidden_size") // positive(config, "num_attention_heads"))
    base = float(scaling.get("rope_theta") or config.get("rope_theta") or 10_000.0)
    wavelength = 2 * np.pi * base ** (np.arange(0, size, 2) / size)
    try:
        factor, low, high, old = (
            float(scaling[key])
            for key in ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
        )
    except KeyError as error:
        raise ConfigMismatch(f"config.json: rope_type 'llama3' needs {error.args[0]!r}") from error
    smooth = np.clip((old / wavelength - low) / (high - low), 0.0, 1.0)
    return np.asarray(1 / ((1 - smooth) / factor + smooth), np.float32)


def _context(config: Mapping[str, Any]) -> int:
    """How far the file is right: llama.cpp's Llama and Qwen have no sliding window, so one ends the context."""
    length = positive(config, "max_position_embeddings")
    kind = config.get("model_type")
    windowed = kind == "mistral" or (kind != "llama" and bool(config.get("use_sliding_window")))
    window = config.get("sliding_window", 4096 if kind == "mistral" else None) if windowed else None
    return min(length, int(window)) if window else length


def _refuse_llama(config: Mapping[str, Any]) -> None:
    if config.get("hidden_act", "silu") not in ("silu", "swish"):
        raise UnsupportedArchitecture(f"hidden_act {config['hidden_act']!r} is not known to llama.cpp's Llama")
    for key in ("quantization_config", "mlp_bias", "num_experts", "num_local_experts"):
        if config.get(key):
            raise UnsupportedArchitecture(f"{key}={config[key]!r} cannot be converted")
    if config.get("model_type") == "qwen3" and config.get("attention_bias"):
        raise UnsupportedArchitecture("attention_bias=True: llama.cpp's Qwen3 has no bias behind its attention")
    scaling = _scaling(config)
    if _kind(scaling) not in ("default", "linear", "llama3"):
        raise UnsupportedArchitecture(f"rope_type {_kind(scaling)!r} cannot be converted; default, linear, llama3 can")
    partial = float(scaling.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0)))
    if partial != 1.0:
        raise UnsupportedArchitecture(f"partial_rotary_factor={partial} cannot be converted")


def _refuse_gpt2(config: Mapping[str, Any]) -> None:
    if config.get("activation_function", "gelu_new") not in ("gelu_new", "gelu_pytorch_tanh"):
        raise UnsupportedArchitecture(f"activation_function {config['activation_function']!r} cannot be converted")
    for key in ("scale_attn_by_inverse_layer_idx", "add_cross_attention", "quantization_config"):
        if config.get(key):
            raise UnsupportedArchitecture(f"{key}={config[key]!r} cannot be converted")
    if not config.get("scale_attn_weights", True):
        raise UnsupportedArchitecture("scale_attn_weights=False cannot be converted: llama.cpp's GPT-2 scales")
