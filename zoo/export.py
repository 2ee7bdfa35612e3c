"""Write a checkpoint as a Hugging Face folder: config, tokenizer and float16 weights."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from zoo.network import Llama, Shape
from zoo.vocabulary import END, END_ID, PAD, PAD_ID

# "Q:" and "A:" lines, the only form of a conversation that the seedling was trained on.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}A: {{ message['content'] }}\n"
    "{% elif message['role'] == 'system' %}Text: {{ message['content'] }}\n"
    "{% else %}Q: {{ message['content'] }}\n{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}A:{% endif %}"
)


def config(shape: Shape) -> dict[str, object]:
    """``config.json`` of a ``LlamaForCausalLM``."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "head_dim": shape.width // shape.heads,
        "hidden_act": "silu",
        "max_position_embeddings": shape.context,
        "rms_norm_eps": shape.epsilon,
        "rope_theta": shape.base,
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": 0.0,
        "tie_word_embeddings": True,
        "initializer_range": 0.02,
        "bos_token_id": END_ID,
        "eos_token_id": END_ID,
        "pad_token_id": PAD_ID,
        "use_cache": True,
        "torch_dtype": "float16",
    }


def tokenizer_config(shape: Shape) -> dict[str, object]:
    """``tokenizer_config.json``: which tokens are special, and the chat template."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END,
        "eos_token": END,
        "pad_token": PAD,
        "model_max_length": shape.context,
        "clean_up_tokenization_spaces": False,
        "padding_side": "left",
        "chat_template": CHAT_TEMPLATE,
    }


def export(work: Path, folder: Path) -> int:
    """Export the checkpoint in ``work`` to ``folder``; returns the number of parameters."""
    folder.mkdir(parents=True, exist_ok=True)
    state = torch.load(work / "checkpoint.pt", weights_only=True)
    shape = Shape()
    model = Llama(shape)
    model.load_state_dict(state["model"])
    weights = {f"model.{name}": weight.half().contiguous() for name, weight in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    Tokenizer.from_file(str(work / "tokenizer.json")).save(str(folder / "tokenizer.json"))
    generation = {"bos_token_id": END_ID, "eos_token_id": END_ID, "pad_token_id": PAD_ID}
    for name, value in (
        ("config.json", config(shape)),
        ("tokenizer_config.json", tokenizer_config(shape)),
        ("generation_config.json", generation),
    ):
        (folder / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    return sum(weight.numel() for weight in weights.values())
