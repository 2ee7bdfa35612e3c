"""A causal model's final hidden states and its output head, as two functions: the scores of all tokens are never held.

GPT-2 has a forward pass of its own here: activation and residual are part of the matrix products, and no mask is made
(text is padded on the right, where a causal model does not look). Any other model runs as transformers has it, with
faster linear maps. Either way is taken only if it gives the model's own scores on the first text; else the model's own
forward serves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F

from palmette.weights.landscape.products import Linear
from palmette.weights.landscape.steps import OWN, Fold, Given, Product, Steps, computed, drive

__all__ = ["Forward", "forward_of", "slow"]

AGREE = 1e-3  # largest difference of scores, as a share of the largest score, from the model's own forward


class Forward:
    """How the scores of a text are computed: `hidden`, then `head` on any of its rows.

    Args:
        name: "gpt2", "decoder" or "whole": which way it is.
        hidden: token ids int64[n, length], and parameters, to states, float[n, length, width] ("whole": to the scores).
        head: states to scores, float[rows, width] to float[rows, vocabulary], or to what is wanted of them.
        asks: whether these ask for every product, and use no parameter but those given them.
    """

    def __init__(
        self,
        name: str,
        hidden: Callable[[Any, Given], Steps[Any]],
        head: Callable[[Any, Fold | None], Steps[Any]],
        asks: bool,
    ) -> None:
        self.name = name
        self.hidden = hidden
        self.head = head
        self.asks = asks

    def scores(self, ids: Any) -> Any:
        """All scores with the parameters as they are, float[n, length, vocabulary]."""
        states = drive(self.hidden(ids, OWN), computed)
        flat = drive(self.head(states.reshape(-1, states.shape[-1]), None), computed)
        return flat.view(*states.shape[:-1], -1)


def forward_of(model: Any, ids: Any, real: Any) -> Forward:
    """The fastest way that gives the model's own scores on these tokens.

    Args:
        model: a causal language model in torch, in evaluation mode.
        ids: int64[n, length], a first text.
        real: bool[n, length], which of them are not padding.
    """
    with torch.inference_mode():
        own = model(input_ids=ids, attention_mask=real.long(), use_cache=False).logits[real].float()
        for way in (_gpt2(model), _decoder(model)):
            if way is not None and _agrees(way.scores(ids)[real].float(), own):
                return way
    return _simple("whole", lambda tokens: model(input_ids=tokens, use_cache=False).logits, lambda scores: scores)


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


def _simple(name: str, hidden: Callable[[Any], Any], head: Callable[[Any], Any]) -> Forward:
    """Two functions that compute everything themselves."""
    nothing: Iterator[Product] = iter(())

    def states(ids: Any, _: Given) -> Steps[Any]:
        yield from nothing
        return hidden(ids)

    def scores(rows: Any, fold: Fold | None) -> Steps[Any]:
        yield from nothing
        return head(rows) if fold is None else fold.whole(head(rows))

    return Forward(name, states, scores, False)


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

    return _simple("decoder", hidden, scores)


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
    body, heads = model.transformer, config.n_head

    def norm(h: Any, layer: Any, given: Given) -> Any:
        return F.layer_norm(h, h.shape[-1:], given(layer.weight), given(layer.bias), config.layer_norm_epsilon)

    def hidden(ids: Any, given: Given) -> Steps[Any]:
        count, length = ids.shape
        places = torch.arange(length, device=ids.device)
        h = given.rows(body.wte.weight, ids) + given.rows(body.wpe.weight, places)
        width = h.shape[-1]
        h = h.view(-1, width)  # (tokens, width)
        for block in body.h:
            attention, mlp = block.attn, block.mlp
            into, out = attention.c_attn, attention.c_proj
            x = yield Product(norm(h, block.ln_1, given), into.weight, given(into.bias))
            q, k, v = x.view(count, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
            x = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(-1, width)
            h = yield Product(x, out.weight, given(out.bias), "onto", h)
            into, out = mlp.c_fc, mlp.c_proj
            x = yield Product(norm(h, block.ln_2, given), into.weight, given(into.bias), "gelu")
            h = yield Product(x, out.weight, given(out.bias), "onto", h)
        return norm(h, body.ln_f, given).view(count, length, width)

    def head(states: Any, fold: Fold | None) -> Steps[Any]:
        return (yield Product(states, model.lm_head.weight, turned=True, fold=fold))

    return Forward("gpt2", hidden, head, True)
