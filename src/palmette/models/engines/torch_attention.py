"""Tree attention inside a transformers model: an attention function and a cache over one pool of slots.

transformers calls the attention function that a model's config names. Ours takes its mask from the packed row that is
running, not from the caller, so it serves every architecture that goes through the common attention interface.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.cache_utils import CacheLayerMixin

from palmette.core.errors import UnsupportedArchitecture
from palmette.models.engines.batch import Batch

__all__ = ["NAME", "PoolLayer", "Row", "running"]

NAME = "palmette_tree"
running: ContextVar[Row] = ContextVar("running")


class Row:
    """A packed row on its way through the model: where keys and values go, and the masks, built once for all layers."""

    def __init__(self, batch: Batch, device: torch.device, dtype: torch.dtype) -> None:
        self.batch = batch
        self.device = device
        self.dtype = dtype
        first, count = int(batch.slots[0]), len(batch.slots)
        self.run = first if np.array_equal(batch.slots, np.arange(first, first + count)) else None
        self.slots = None if self.run is not None else torch.from_numpy(batch.slots).to(device)
        self.windows: list[int | None] = []  # what the layers that called `tree_attention` said, in order
        self._masks: dict[tuple[int | None, int], torch.Tensor] = {}

    def mask(self, window: int | None, groups: int) -> torch.Tensor:
        """Additive mask for `groups` query heads packed onto one key head: (1, 1, groups · P, N)."""
        key = (window, groups)
        if key not in self._masks:
            table = torch.from_numpy(self.batch.mask(window)).to(self.device).clamp(min=torch.finfo(self.dtype).min)
            table = table.to(self.dtype)
            self._masks[key] = table.repeat(groups, 1)[None, None] if groups > 1 else table[None, None]
        return self._masks[key]

    def window(self, size: int | None) -> int | None:
        """The window if any token's path is longer than it."""
        return size if size is not None and int(self.batch.positions.max()) >= size else None


class PoolLayer(CacheLayerMixin):  # type: ignore[misc]
    """Keys and values of one layer for all slots: (1, heads, capacity, size), written in place, never reordered."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: Any  # None before the first update, which shows the shapes
        self.values: Any
        self.is_initialized: bool
        self.capacity = 0

    def reserve(self, capacity: int) -> None:
        """Make room; what is stored stays."""
        self.capacity = capacity
        if self.is_initialized:
            self.keys = _widened(self.keys, capacity)
            self.values = _widened(self.values, capacity)

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Allocate as the first keys and values show their shapes."""
        self.keys = key_states.new_zeros((1, key_states.shape[1], self.capacity, key_states.shape[3]))
        self.values = value_states.new_zeros((1, value_states.shape[1], self.capacity, value_states.shape[3]))
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new tokens' states; returns the pool up to its extent."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        row = running.get()
        if row.run is not None:
            end = row.run + key_states.shape[2]
            self.keys[:, :, row.run : end] = key_states
            self.values[:, :, row.run : end] = value_states
        else:
            self.keys.index_copy_(2, row.slots, key_states)
            self.values.index_copy_(2, row.slots, value_states)
        first, end = row.batch.first, row.batch.extent
        return self.keys[:, :, first:end], self.values[:, :, first:end]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Keys that a mask would cover, and where they start."""
        return len(running.get().batch.depth), 0

    def get_seq_length(self) -> int:
        """Slots before this row, as far as transformers needs to know."""
        row = running.get(None)
        return 0 if row is None else row.batch.extent - len(row.batch.tokens)

    def get_max_length(self) -> int:
        """No maximum."""
        return -1


def _widened(old: torch.Tensor, capacity: int) -> torch.Tensor:
    new = old.new_zeros((1, old.shape[1], capacity, old.shape[3]))
    new[:, :, : old.shape[2]] = old
    return new


def tree_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of the running row: query (1, heads, P, size), key and value (1, kv_heads, N, size) from the pool.

    Query heads that share a key head are packed onto it, so keys and values are never copied.
    """
    if kwargs.get("position_bias") is not None:
        raise UnsupportedArchitecture(f"{type(module).__name__} has a position bias")
    row = running.get()
    row.windows.append(sliding_window)
    heads, count, size = query.shape[1:]
    groups = heads // key.shape[1]
    window = row.window(sliding_window)
    plain = softcap is None and s_aux is None
    if plain and window is None and row.batch.causal and count > 1:
        out = scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling, enable_gqa=groups > 1)
        return out.transpose(1, 2).contiguous(), None
    packed = query.reshape(1, key.shape[1], groups * count, size)
    mask = None if window is None and row.batch.full else row.mask(window, groups)
    if plain:
        out = scaled_dot_product_attention(packed, key, value, attn_mask=mask, scale=scaling)
    else:
        sinks = None if s_aux is None else s_aux.reshape(1, key.shape[1], groups, 1).repeat_interleave(count, dim=2)
        out = _by_hand(packed, key, value, mask, size**-0.5 if scaling is None else scaling, softcap, sinks)
    return out.reshape(1, heads, count, -1).transpose(1, 2).contiguous(), None


def _by_hand(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float,
    softcap: float | None,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    """Attention with capped scores (Gemma 2) or a learned sink for each head that takes mass from all (gpt-oss)."""
    scores = query @ key.transpose(-1, -2) * scaling  # (1, kv_heads, groups · P, N)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if mask is not None:
        scores = scores + mask
    if sinks is not None:
        scores = torch.cat([scores, sinks.to(scores.dtype)], dim=-1)
    shares = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    return shares[..., : key.shape[2]] @ value


AttentionInterface.register(NAME, tree_attention)
