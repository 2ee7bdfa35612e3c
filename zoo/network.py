"""A small Llama in plain torch, with the parameter names of Hugging Face's
``LlamaForCausalLM``, so that the state dict is the export.

RMSNorm, rotary positions (half-split), SwiGLU, tied embeddings, no biases
(arXiv 2302.13971).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """The sizes of the network."""

    vocabulary: int = 1024
    width: int = 128
    layers: int = 4
    heads: int = 4
    inner: int = 352
    context: int = 384
    base: float = 10_000.0
    epsilon: float = 1e-5


class Attention(nn.Module):
    """Causal self-attention with rotary positions."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.q_proj = nn.Linear(shape.width, shape.width, bias=False)
        self.k_proj = nn.Linear(shape.width, shape.width, bias=False)
        self.v_proj = nn.Linear(shape.width, shape.width, bias=False)
        self.o_proj = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """x (rows, time, width) -> (rows, time, width)."""
        rows, time, width = x.shape
        q, k, v = (
            layer(x).view(rows, time, self.heads, -1).transpose(1, 2)  # (rows, heads, time, size)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        out: Tensor = self.o_proj(mixed.transpose(1, 2).reshape(rows, time, width))
        return out


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.inner, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.inner, bias=False)
        self.down_proj = nn.Linear(shape.inner, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (rows, time, width) -> (rows, time, width)."""
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Block(nn.Module):
    """One layer: attention and feed-forward, each normalised before and added after."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(shape.width, eps=shape.epsilon)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = nn.RMSNorm(shape.width, eps=shape.epsilon)
        self.mlp = FeedForward(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """x (rows, time, width) -> (rows, time, width)."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Llama(nn.Module):
    """Token ids in, logits out."""

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, eps=shape.epsilon)
        cos, sin = rotary_tables(shape)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (rows, time) -> logits (rows, time, vocabulary)."""
        time = tokens.shape[1]
        x = self.embed_tokens(tokens)
        for block in self.layers:
            x = block(x, self.cos[:time], self.sin[:time])
        logits: Tensor = self.norm(x) @ self.embed_tokens.weight.T
        return logits


def rotary_tables(shape: Shape) -> tuple[Tensor, Tensor]:
    """Cosine and sine of every position and frequency, each (context, head size)."""
    size = shape.width // shape.heads
    frequency = shape.base ** (-torch.arange(0, size, 2).float() / size)
    angle = torch.outer(torch.arange(shape.context).float(), frequency)
    angle = torch.cat([angle, angle], dim=-1)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the two halves of each head by its position's angles (arXiv 2104.09864)."""
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-right, left], dim=-1) * sin


def initialise(model: Llama, seed: int) -> None:
    """Normal weights: .02 for embeddings, fan-in^-.5 for matrices, outputs smaller by depth."""
    generator = torch.Generator().manual_seed(seed)
    depth = (2 * model.shape.layers) ** -0.5
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name == "embed_tokens.weight":
                weight.normal_(0.0, 0.02, generator=generator)
            elif weight.ndim == 2:
                scale = weight.shape[1] ** -0.5
                if name.endswith(("o_proj.weight", "down_proj.weight")):
                    scale *= depth
                weight.normal_(0.0, scale, generator=generator)
