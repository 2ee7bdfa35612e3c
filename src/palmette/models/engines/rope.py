"""Rotary position embeddings (Su et al. 2021) with the scalings that change their frequencies, in numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import ConfigMismatch, UnsupportedArchitecture

__all__ = ["frequencies", "rotate", "tables"]

Floats = NDArray[np.float32]
LLAMA3 = {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}
SETTINGS: dict[str, set[str]] = {"default": set(), "linear": {"factor"}, "llama3": LLAMA3}
COMMON = {"rope_theta", "rope_type", "type", "partial_rotary_factor"}


def frequencies(config: dict[str, Any], size: int) -> NDArray[np.float64]:
    """Inverse frequencies θ_i = base^(−2i/size), scaled as the config says; float64[size / 2].

    Reads `rope_parameters` (transformers 5) or `rope_theta` and `rope_scaling` (4). Known kinds: default, linear
    (positions are divided) and llama3 (Llama 3.1: low frequencies divided, a smooth passage between).
    """
    scaling = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    base = float(scaling.get("rope_theta") or config.get("rope_theta") or 10_000.0)
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    _refuse_unknown(kind, scaling)
    partial = float(scaling.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0)))
    if partial != 1.0:
        raise UnsupportedArchitecture(f"partial_rotary_factor={partial} is not known to the numpy engine")
    inverse = base ** (-np.arange(0, size, 2, dtype=np.float64) / size)
    if kind == "default":
        return inverse
    if kind == "linear":
        return inverse / float(scaling["factor"])  # Chen et al. 2023, position interpolation
    return _llama3(inverse, scaling)


def _refuse_unknown(kind: Any, scaling: dict[str, Any]) -> None:
    if kind not in SETTINGS:
        known = ", ".join(SETTINGS)
        raise UnsupportedArchitecture(f"rope_type {kind!r} is not known to the numpy engine ({known} are)")
    lacking = sorted(SETTINGS[kind] - set(scaling))
    if lacking:
        raise ConfigMismatch(f"config.json: rope_type {kind!r} needs {lacking[0]!r}")
    other = sorted(k for k in scaling if k not in COMMON and k not in LLAMA3 and scaling[k] is not None)
    if other:
        raise UnsupportedArchitecture(f"the rotary setting {other[0]}={scaling[other[0]]!r} is not known here")


def _llama3(inverse: NDArray[np.float64], scaling: dict[str, Any]) -> NDArray[np.float64]:
    factor, low, high = (float(scaling[k]) for k in ("factor", "low_freq_factor", "high_freq_factor"))
    old = float(scaling["original_max_position_embeddings"])
    wavelength = 2 * math.pi / inverse
    smooth = np.clip((old / wavelength - low) / (high - low), 0.0, 1.0)
    scaled: NDArray[np.float64] = (1 - smooth) * inverse / factor + smooth * inverse
    return scaled


def tables(inverse: NDArray[np.float64], count: int) -> tuple[Floats, Floats]:
    """cos and sin of every position below `count`, float32[count, size] each (both halves alike)."""
    angles = np.arange(count)[:, None] * inverse[None, :]
    both = np.concatenate([angles, angles], axis=1)
    return np.cos(both).astype(np.float32), np.sin(both).astype(np.float32)


def rotate(x: Floats, cos: Floats, sin: Floats) -> Floats:
    """Rotate pairs (i, i + size/2) by their angles: x float32[P, heads, size], cos and sin float32[P, 1, size]."""
    half = x.shape[-1] // 2
    turned = np.concatenate([-x[..., half:], x[..., :half]], axis=-1)
    return np.asarray(x * cos + turned * sin, np.float32)
