"""Tiny random models of real architectures, and tokenizers trained in place: seeded, made once per test session."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from palmette.models.engines.tokenizer import FileTokenizer

VOCABULARY = 300
TEXT = ["the cat sat on the mat and the dog sat on the log", "zwölf Boxkämpfer jagen Viktor"] * 4
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
BOTH_KINDS = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128},
    "llama": {},
    "llama with biases, tied, llama3 scaling": {
        "model_type": "llama",
        "attention_bias": True,
        "tie_word_embeddings": True,
        "rope_parameters": {
            "rope_type": "llama3", "rope_theta": 1000.0, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 32,
        },
    },
    "llama with linear scaling": {
        "model_type": "llama",
        "num_key_value_heads": 4,
        "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 500.0},
    },
    "mistral": {"sliding_window": 8, "head_dim": 16},
    "qwen2": {"use_sliding_window": True, "max_window_layers": 1, "sliding_window": 8},
    "qwen3": {"head_dim": 16, "attention_bias": True},
    "qwen3 without biases": {"model_type": "qwen3", "head_dim": 16, "tie_word_embeddings": True},
    "phi3": {"sliding_window": 8},
    "gemma2": {"head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 16, "attn_logit_softcapping": 3.0},
    "gemma3_text": {"head_dim": 16, "query_pre_attn_scalar": 16, **BOTH_KINDS},
    "gpt_oss": {"head_dim": 16, "num_local_experts": 4, **BOTH_KINDS},
    "gpt_neox": {},
    "gptj": {"rotary_dim": 8, "n_head": 4, "n_embd": 32, "n_layer": 2, "n_positions": 128},
    "mixtral": {"num_local_experts": 4},
    "olmo2": {},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "deepseek_v3": {
        "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 16,
        "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1,
        "moe_intermediate_size": 32, "num_key_value_heads": 4,
    },
}  # fmt: skip
NUMPY = [n for n in ARCHITECTURES if n.split()[0] in ("gpt2", "llama", "mistral", "qwen2", "qwen3")]


def build(name: str, **changes: Any) -> Any:
    """A random model, float32; every weight is disturbed, so no bias is zero and no norm is one."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    settings = {**COMMON, **ARCHITECTURES.get(name, {}), **changes}
    kind = settings.pop("model_type", name)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@functools.cache
def home() -> Path:
    """A temporary folder that lives as long as the session."""
    keep = tempfile.TemporaryDirectory(prefix="palmette-tiny-")
    _kept.append(keep)
    return Path(keep.name)


_kept: list[tempfile.TemporaryDirectory[str]] = []


@functools.cache
def gguf_file(name: str, dtype: str = "f32") -> Path:
    """The same model as a GGUF file; skips the test where the extra is missing."""
    import pytest

    from palmette.weights.gguf.convert import convert

    pytest.importorskip("xllamacpp", reason="the extra gguf is not installed: pip install 'palmette[gguf]'")
    made = home() / f"{folder(name).name}-{dtype}.gguf"
    convert(folder(name), made, dtype)
    return made


@functools.cache
def folder(name: str) -> Path:
    """A model folder as transformers writes it, with a byte-level tokenizer."""
    path = home() / name.replace(" ", "-").replace(",", "")
    build(name).save_pretrained(path)
    byte_level(path)
    return path


def byte_level(path: Path) -> FileTokenizer:
    """Write and open a small byte-level BPE tokenizer in GPT-2's manner; <|end|> has id 2."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    rust = Tokenizer(models.BPE())
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    rust.train_from_iterator(TEXT, trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<|pad|>", "<|begin|>", "<|end|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    ))  # fmt: skip
    return written(path, rust)


def sentencepiece(path: Path, unigram: bool = False) -> FileTokenizer:
    """Write and open a tokenizer in Llama's manner: ▁ for a space, one before every text, bytes as needed, <s> first.

    Its vocabulary spells the special tokens too, and (as BPE) has merges that lead to </s>.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

    special = ["<unk>", "<s>", "</s>"]
    pieces = [*special, *BYTES, *"▁abcdefghijklmnopqrstuvwxyz</>", "</", "s>", "▁t", "he"]
    if unigram:
        scores = [(p, 0.0 if p in special else -20.0 if p.startswith("<0x") else -2.0 - 1 / len(p)) for p in pieces]
        rust = Tokenizer(models.Unigram(scores, unk_id=0, byte_fallback=True))
    else:
        merges = [("<", "/"), ("s", ">"), ("</", "s>"), ("▁", "t"), ("h", "e")]
        vocabulary = {p: i for i, p in enumerate(pieces)}
        rust = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    rust.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    rust.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    rust.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in special])
    rust.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair=None, special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return written(path, rust)


def written(path: Path, rust: Any) -> FileTokenizer:
    """Save a tokenizer into a folder and open it as a model folder's."""
    path.mkdir(parents=True, exist_ok=True)
    rust.save(str(path / "tokenizer.json"))
    return FileTokenizer(path)


def tokens(rng: np.random.Generator, count: int) -> list[int]:
    """Random token ids."""
    return [int(t) for t in rng.integers(3, VOCABULARY, count)]


def rewrite(path: Path, **changes: Any) -> None:
    """Change keys of a folder's config.json; None takes a key out."""
    file = path / "config.json"
    config = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
