"""A causal model's final hidden states and its output head, as two functions: the scores of all tokens are never held.

GPT-2 has a forward pass of its own here: activation and residual are part of the matrix products, and no mask is made
(text is padded on the right, where a causal model does not look). Any other model runs as transformers has it, with
faster linear maps. Either way is taken only if it gives the model's own scores on the first text; else the model's own
forward serves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from palmette.weights.landscape.products import Linear, products_for

__all__ = ["Forward", "forward_of", "slow"]

AGREE = 1e-3  # largest difference of scores, as a share of the largest score, from the model's own forward
Hidden = Callable[[Any], Any]
Head = Callable[[Any], Any]


class Forward:
    """How the scores of a text are computed: `hidden`, then `head` on any of its rows.

    Args:
        name: "gpt2", "decoder" or "whole": which way it is.
        hidden: token ids int64[n, length] to states, float[n, length, width] ("whole": to the scores themselves).
        head: states to scores, float[…, vocabulary].
    """

    def __init__(self, name: str, hidden: Hidden, head: Head) -> None:
        self.name = name
        self.hidden = hidden
        self.head = head

    def scores(self, ids: Any) -> Any:
        """All scores, float[n, length, vocabulary]."""
        return self.head(self.hidden(ids))


def forward_of(model: Any, ids: Any, real: Any) -> Forward:
    """The fastest way that gives the model's own scores on these tokens.

    Args:
        model: a causal language model in torch, in evaluation mode.
        ids: int64[n, length], a first text.
        real: bool[n, length], which of them are not padding.
    """
    ways = [_gpt2(model), _decoder(model)]
    with torch.inference_mode():
        own = model(input_ids=ids, attention_mask=real.long(), use_cache=False).logits[real].float()
        for way in ways:
            if way is not None and _agrees(way.scores(ids)[real].float(), own):
                return way
    return Forward("whole", lambda tokens: model(input_ids=tokens, use_cache=False).logits, lambda scores: scores)


def slow(device: str) -> bool:
    """Whether bfloat16 is emulated here, which is many times slower than float32."""
    if device != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return False
    found = torch.cpu.get_capabilities()
    return found.get("architecture") == "x86_64" and not (found.get("avx512_bf16") or found.get("amx_bf16"))


def _agrees(scores: Any, own: Any) -> bool:
    """Both finite and near, or not finite at the same places."""
    if scores.shape != own.shape:
        return False
    reach = own[own.isfinite()].abs().max() if own.isfinite().any() else torch.ones(())
    return bool(torch.allclose(scores, own, rtol=0, atol=AGREE * max(float(reach), 1e-6), equal_nan=True))


def _decoder(model: Any) -> Forward | None:
    """The model without its head, as transformers runs it."""
    head, body = model.get_output_embeddings(), getattr(model, "base_model", None)
    if head is None or body is None or body is model:
        return None

    def hidden(ids: Any) -> Any:
        with Linear():
            return body(input_ids=ids, use_cache=False).last_hidden_state

    def scores(states: Any) -> Any:
        with Linear():
            return head(states)

    return Forward("decoder", hidden, scores)


def _gpt2(model: Any) -> Forward | None:
    """GPT-2 (Radford et al. 2019), if this is one without the variants that its configuration allows."""
    config = model.config
    plain = (
        type(model).__name__ == "GPT2LMHeadModel"
        and config.activation_function in ("gelu_new", "gelu_pytorch_tanh")
        and config.scale_attn_weights
        and not (config.scale_attn_by_inverse_layer_idx or config.reorder_and_upcast_attn or config.add_cross_attention)
    )
    if not plain:
        return None
    body = model.transformer
    heads, eps = config.n_head, config.layer_norm_epsilon

    def hidden(ids: Any) -> Any:
        count, length = ids.shape
        width = body.wte.weight.shape[1]
        h = (F.embedding(ids, body.wte.weight) + body.wpe.weight[:length]).view(-1, width)  # (tokens, width)
        do = products_for(h)
        for block in body.h:
            attention, mlp = block.attn, block.mlp
            x = F.layer_norm(h, (width,), block.ln_1.weight, block.ln_1.bias, eps)
            x = do.linear(x, attention.c_attn.weight, attention.c_attn.bias)
            q, k, v = x.view(count, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
            x = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(-1, width)
            h = do.onto(h, x, attention.c_proj.weight, attention.c_proj.bias)
            x = F.layer_norm(h, (width,), block.ln_2.weight, block.ln_2.bias, eps)
            x = do.gelu(x, mlp.c_fc.weight, mlp.c_fc.bias)
            h = do.onto(h, x, mlp.c_proj.weight, mlp.c_proj.bias)
        h = F.layer_norm(h, (width,), body.ln_f.weight, body.ln_f.bias, eps)
        return h.view(count, length, width)

    return Forward("gpt2", hidden, lambda states: _head(states, model.lm_head.weight))


def _head(states: Any, weight: Any) -> Any:
    """Scores by a tied head [vocabulary, width]."""
    flat = states.reshape(-1, states.shape[-1])
    return products_for(flat).linear(flat, weight.t(), None).view(*states.shape[:-1], -1)
