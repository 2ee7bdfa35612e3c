"""Rotary position embeddings (Su et al. 2021) with the scalings that change their frequencies, in numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import UnsupportedArchitecture

__all__ = ["frequencies", "rotate", "tables"]

Floats = NDArray[np.float32]


def frequencies(config: dict[str, Any], size: int) -> NDArray[np.float64]:
    """Inverse frequencies θ_i = base^(−2i/size), scaled as the config says; float64[size / 2].

    Reads `rope_parameters` (transformers 5) or `rope_theta` and `rope_scaling` (4). Known kinds: default, linear
    (positions are divided) and llama3 (Llama 3.1: low frequencies divided, a smooth passage between).
    """
    scaling = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    base = float(scaling.get("rope_theta") or config.get("rope_theta") or 10_000.0)
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    partial = float(scaling.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0)))
    if partial != 1.0:
        raise UnsupportedArchitecture(f"partial_rotary_factor={partial} is not known to the numpy engine")
    inverse = base ** (-np.arange(0, size, 2, dtype=np.float64) / size)
    if kind == "default":
        return inverse
    if kind == "linear":
        return inverse / float(scaling["factor"])
    if kind == "llama3":
        return _llama3(inverse, scaling)
    raise UnsupportedArchitecture(f"rope_type {kind!r} is not known to the numpy engine (default, linear, llama3 are)")


def _llama3(inverse: NDArray[np.float64], scaling: dict[str, Any]) -> NDArray[np.float64]:
    factor, low, high = (float(scaling[k]) for k in ("factor", "low_freq_factor", "high_freq_factor"))
    old = float(scaling["original_max_position_embeddings"])
    wavelength = 2 * math.pi / inverse
    smooth = np.clip((old / wavelength - low) / (high - low), 0.0, 1.0)
    return (1 - smooth) * inverse / factor + smooth * inverse


def tables(inverse: NDArray[np.float64], count: int) -> tuple[Floats, Floats]:
    """cos and sin of every position below `count`, float32[count, size] each (both halves alike)."""
    angles = np.arange(count)[:, None] * inverse[None, :]
    both = np.concatenate([angles, angles], axis=1)
    return np.cos(both).astype(np.float32), np.sin(both).astype(np.float32)


def rotate(x: Floats, cos: Floats, sin: Floats) -> Floats:
    """Rotate pairs (i, i + size/2) by their angles: x float32[P, heads, size], cos and sin float32[P, 1, size]."""
    half = x.shape[-1] // 2
    turned = np.concatenate([-x[..., half:], x[..., :half]], axis=-1)
    return x * cos + turned * sin
