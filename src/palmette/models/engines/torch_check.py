"""Is tree attention right for this model? By its config, and by comparing a branching tree with plain forwards.

A short comparison cannot see what happens far into a text, so everything that depends on length (sliding windows,
rotary scalings that change with it) is settled by rules; what no rule covers is refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palmette.core.engine import Engine
from palmette.core.errors import ModelError, UnsupportedArchitecture

__all__ = ["context_of", "first_line", "probes", "refuse", "refuse_windows", "self_check"]

Floats = NDArray[np.float32]
PLAIN_LAYERS = {"full_attention", "sliding_attention", "attention"}
STRETCHED = {"dynamic", "longrope"}  # their frequencies change with the length of the text
TOLERANCE = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 1e-1}  # root mean square, relative to the scores' spread


def refuse(model: Any) -> None:
    """Raise UnsupportedArchitecture for what the config alone rules out."""
    config = model.config.get_text_config()
    name = type(model).__name__
    if getattr(model, "_is_stateful", False):
        raise UnsupportedArchitecture(f"{name} keeps a recurrent state, which cannot be forked with the token tree")
    if getattr(model.config, "is_encoder_decoder", False):
        raise UnsupportedArchitecture(f"{name} is an encoder-decoder; only decoder-only language models are supported")
    other = sorted(set(getattr(config, "layer_types", None) or ()) - PLAIN_LAYERS)
    if other:
        raise UnsupportedArchitecture(f"{name} has layers of type {other[0]!r}, which tree attention cannot serve")
    if "position_ids" not in inspect.signature(model.forward).parameters:
        raise UnsupportedArchitecture(f"{name} takes no position ids, so a branch cannot tell where its tokens stand")


def context_of(config: Any) -> int:
    """How many tokens the model can hold.

    Rotary scalings that change every frequency once a text grows past the length of pretraining would contradict the
    keys that are stored already (and a short text would change when it is batched with a long one), so their models
    are used up to that length.
    """
    length = int(getattr(config, "max_position_embeddings", 0) or 1 << 20)
    for kind, settings in _rope_kinds(config):
        if kind in STRETCHED:
            before = settings.get("original_max_position_embeddings")
            length = min(length, int(before or getattr(config, "original_max_position_embeddings", 0) or length))
    return length


def _rope_kinds(config: Any) -> list[tuple[str, dict[str, Any]]]:
    """The kinds of rotary scaling with their settings: one, or one for each type of layer."""
    found = getattr(config, "rope_parameters", None) or {}
    nested = [value for value in found.values() if isinstance(value, dict)] if isinstance(found, dict) else []
    return [(str(each.get("rope_type", "default")), each) for each in (nested or [dict(found)])]


def refuse_windows(model: Any, context: int, seen: Sequence[int | None] | None) -> None:
    """Raise UnsupportedArchitecture unless every layer's sliding window is known.

    Args:
        seen: the windows with which the layers called attention, in order; None if they do not say.
    """
    config = model.config.get_text_config()
    name = type(model).__name__
    if seen is None:
        local = [k for k, v in config.to_dict().items() if v and ("window" in k or k == "attention_types")]
        if local:
            raise UnsupportedArchitecture(f"{name} has its own local attention ({local[0]}), which is not known here")
        return
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"] * config.num_hidden_layers
    expected = [window if kind == "sliding_attention" else None for kind in kinds]
    if any(size is not None and size < context for size in [*expected, *seen]) and list(seen) != expected:
        raise UnsupportedArchitecture(f"{name}: which layers have a sliding window of {window} tokens is not clear")


def probes(vocabulary: int) -> tuple[list[int], list[int]]:
    """The two token sequences whose plain scores `self_check` needs."""
    trunk, left, right = _twigs(vocabulary)
    return trunk + right + left[:3], trunk + left


def self_check(engine: Engine, plain: Sequence[Floats], name: str, dtype: str) -> None:
    """Raise UnsupportedArchitecture if a branching tree differs from plain forwards.

    The tree has branches that start together, and one that uses freed slots below those of its ancestors.

    Args:
        plain: the model's scores after each token of the `probes`, without tree attention, float32[n, vocabulary].
        name: what the model is called in the error.
        dtype: its precision.
    """
    trunk, left, right = _twigs(engine.vocabulary)
    long, other = plain
    try:
        root = engine.prefill([trunk])[0]
        first, second = engine.extend([root, root], [left, right])
        pairs = [(root.logits, long[3]), (first.logits, other[7]), (second.logits, long[7])]
        del first
        deeper, third = engine.extend([second, root], [left[:3], right[:2]])
        pairs += [(deeper.logits, long[10]), (third.logits, long[5])]
    except ModelError:
        raise
    except Exception as error:
        raise UnsupportedArchitecture(f"{name} does not run with tree attention: {first_line(error)}") from error
    for tree, wanted in pairs:
        off = float(np.sqrt(np.mean((tree - wanted) ** 2)) / max(float(wanted.std()), 1e-30))
        if not off <= TOLERANCE.get(dtype, TOLERANCE["bfloat16"]):
            raise UnsupportedArchitecture(
                f"{name}: tree attention gives scores that differ from plain forwards by {off:.2g} of their spread"
            )


def _twigs(vocabulary: int) -> tuple[list[int], list[int], list[int]]:
    tokens = [int(t) for t in np.linspace(0, vocabulary - 1, 12)]
    return tokens[4:8], tokens[:4], tokens[8:]


def first_line(error: Exception) -> str:
    """The first line of a foreign error's message, or its type."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
