"""Scaled dot-product attention over the slot pool (Vaswani et al. 2017, equation 1; grouped: Ainslie et al. 2023)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["attend"]

Floats = NDArray[np.float32]


def attend(q: Floats, keys: Floats, values: Floats, mask: Floats | None, scale: float) -> Floats:
    """softmax(q kᵀ · scale + mask) v, each group of query heads sharing one key/value head.

    q float32[P, heads, size]; keys, values float32[kv_heads, N, size]; mask float32[P, N] or None -> [P, heads · size].
    """
    rows, heads, size = q.shape
    groups = heads // keys.shape[0]
    packed = q.reshape(rows, keys.shape[0], groups, size).transpose(1, 2, 0, 3)  # (kv, groups, P, size)
    flat = packed.reshape(keys.shape[0], groups * rows, size)
    scores = (flat @ keys.transpose(0, 2, 1)) * np.float32(scale)  # (kv, groups · P, N)
    if mask is not None:
        scores += np.tile(mask, (groups, 1)) if groups > 1 else mask
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    mixed = scores @ values  # (kv, groups · P, size)
    by_token = mixed.reshape(keys.shape[0], groups, rows, size).transpose(2, 0, 1, 3)
    return np.asarray(by_token.reshape(rows, heads * size), np.float32)
