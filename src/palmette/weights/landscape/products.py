"""A matrix product and what follows it in one call, where oneDNN is at hand (x86 and ARM builds of torch): torch.mm is
MKL's, which on processors that are not Intel's is the slower one by a fifth, and by half for a tall head; and the
activation or the residual is added while the product is still in registers. On Intel's, MKL is the faster one in
float32, by a tenth to a half. Elsewhere, the same in torch's own words.

oneDNN, developer guide: matmul primitive, post-ops (eltwise_gelu_tanh, binary_add).
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

__all__ = ["MKL", "ONE", "PLAIN", "Linear", "Products", "products_for"]


@dataclass(frozen=True)
class Products:
    """Ways to compute; weights are [in, out], x is [tokens, in].

    Args:
        name: whose they are; the bits of a loss depend on it.
        linear: (x, weight, bias or None) to x · weight + bias.
        gelu: the same, through the tanh form of GELU (Hendrycks, Gimpel 2016, arXiv 1606.08415).
        onto: (h, x, weight, bias) to h + x · weight + bias; h may be overwritten.
    """

    name: str
    linear: Callable[[Any, Any, Any], Any]
    gelu: Callable[[Any, Any, Any], Any]
    onto: Callable[[Any, Any, Any, Any], Any]


def _linear(x: Any, weight: Any, bias: Any) -> Any:
    return torch.mm(x, weight) if bias is None else torch.addmm(bias, x, weight)


PLAIN = Products(
    "torch",
    _linear,
    lambda x, weight, bias: F.gelu(_linear(x, weight, bias), approximate="tanh"),
    lambda h, x, weight, bias: h.addmm_(x, weight).add_(bias),
)


def _one(x: Any, weight: Any, bias: Any, after: str = "none", kind: str = "") -> Any:
    return torch.ops.mkldnn._linear_pointwise.default(x, weight.t(), bias, after, [], kind)


ONE = Products(
    "onednn",
    _one,
    lambda x, weight, bias: _one(x, weight, bias, "gelu", "tanh"),
    lambda h, x, weight, bias: torch.ops.mkldnn._linear_pointwise.binary(x, h, weight.t(), bias, "add"),
)

FUSED = 256  # rows from which on oneDNN's product with an activation is faster than MKL's with one after it

MKL = Products(
    "mkl",
    PLAIN.linear,
    lambda x, weight, bias: (ONE if len(x) >= FUSED else PLAIN).gelu(x, weight, bias),
    PLAIN.onto,
)


def products_for(x: Any) -> Products:
    """The fastest products of tensors like this one: oneDNN's for float32 and bfloat16 on the CPU, if torch has it.

    >>> products_for(torch.zeros(1, dtype=torch.float64)) is PLAIN
    True
    """
    if x.device.type != "cpu" or not _there(x.dtype):
        return PLAIN
    return MKL if x.dtype == torch.float32 and torch.backends.mkl.is_available() and _by_intel() else ONE


@cache
def _by_intel() -> bool:
    """Whether MKL is at home on this processor."""
    try:
        said = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        said = platform.processor()
    return "GenuineIntel" in said


def _there(dtype: Any) -> bool:
    ops = torch.ops.mkldnn
    if not (
        torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled and hasattr(ops, "_linear_pointwise")
    ):
        return False
    if dtype == torch.bfloat16:
        return bool(ops._is_mkldnn_bf16_supported())
    return bool(dtype == torch.float32)


class Linear(TorchFunctionMode):  # type: ignore[misc]  # torch gives it no type
    """While this is entered, linear maps in float32 are oneDNN's, whoever computes them."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.linear and not kwargs and _plain(args[0]):
            x, weight, bias = (*args, None)[:3]
            return ONE.linear(x, weight.t(), bias)
        return func(*args, **(kwargs or {}))


def _plain(x: Any) -> bool:
    """Rows of numbers, and any at all: an expert of a mixture may get none."""
    return bool(x.dtype == torch.float32 and x.dim() > 1 and x.numel() and products_for(x) is ONE)
