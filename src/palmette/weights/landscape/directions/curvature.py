"""The Hessian of the loss: products with vectors, largest eigenvalues by Lanczos, the learning rate that they allow.

Products are exact (the derivative of the gradient along a vector: Pearlmutter 1994), with eager attention, since fused
attention has no second derivative on the CPU; where a model has none at all, by differences of two gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from palmette.core.errors import BadParameter
from palmette.weights.landscape.space import Space

__all__ = ["Curvature", "Spectrum", "lanczos"]

Vector = Any  # a flat tensor
Product = Callable[[Vector], Vector]
_BYTES = 4 << 30  # of the vectors that Lanczos' method holds, where twice the eigenvalues take no more
_PIECE = 1 << 20  # numbers of every vector that are turned at once


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues from the largest down, their vectors, and how well they are known.

    Args:
        values: float64[k].
        vectors: as rows, [k, size].
        residuals: ‖Hv − λv‖ / |λ₁| of each.
        products: how many products with the Hessian it took.
        exact: False for differences of gradients.
    """

    values: NDArray[np.float64]
    vectors: Any
    residuals: NDArray[np.float64]
    products: int
    exact: bool = True

    @property
    def learning_rate(self) -> float:
        """2 / λ_max: gradient descent with a larger one leaves this minimum (Cohen et al. 2021, arXiv 2103.00065)."""
        return 2 / float(self.values[0]) if self.values[0] > 0 else float("inf")


class Curvature:
    """Gradients and products with the Hessian of the mean loss at the origin of a space.

    Args:
        space: the parameters; its dtype is the precision of the products (float64 for small models).
        metric: a TokenLoss, or anything whose `total()` gives functions that compute shares of the loss.
    """

    def __init__(self, space: Space, metric: Any) -> None:
        self.space = space
        self.metric = metric
        self.exact = True
        self.products = 0

    def gradient(self) -> Vector:
        """float32 or float64 [space.size]."""
        with self._ready() as params:
            return self._slope(params)

    @contextmanager
    def ready(self) -> Iterator[Product]:
        """Inside, the product with the Hessian as a function."""
        with self._ready() as params:
            yield lambda v: self._product(params, v)

    def spectrum(self, count: int = 5, tolerance: float = 1e-7, most: int = 100, seed: int = 0,
                 progress: Callable[[int, int], None] | None = None) -> Spectrum:  # fmt: skip
        """The `count` largest eigenvalues.

        Args:
            count: how many.
            tolerance: residuals allowed, as a share of the largest.
            most: products at most; what has not converged by then says so in its residual.
            seed: of the first vector.
            progress: called with products done, and at most to do.

        Raises:
            BadParameter: if the space is smaller than `count`.
        """
        if not 1 <= count <= self.space.size:
            raise BadParameter(f"{count} eigenvalues of a matrix of {self.space.size}")
        kind = torch.float64 if self.space.dtype == torch.float64 else torch.float32
        room = _BYTES // (self.space.size * kind.itemsize)
        draw = torch.Generator().manual_seed(seed)
        start = torch.randn(self.space.size, generator=draw, dtype=torch.float64).to(self.space.device, kind)
        with self.ready() as multiply:

            def product(v: Vector) -> Vector:
                made = multiply(v)
                if progress is not None:
                    progress(self.products, most)
                return made

            values, vectors, residuals = lanczos(product, start, count, tolerance, most, room)
        return Spectrum(values, vectors, residuals, self.products, self.exact)

    @contextmanager
    def _ready(self) -> Iterator[list[Any]]:
        """The model at the origin, in the space's precision, with attention that can be differentiated twice."""
        space = self.space
        with space, _eager(space.model):
            zero = torch.zeros((), device=space.device).expand(space.size)
            space.move([0.0], [zero])
            asked = [(p, p.requires_grad) for p in space.model.parameters()]
            moved = {id(p) for p in space.moved}
            for p, _ in asked:
                p.requires_grad_(id(p) in moved)
            try:
                yield list(space.moved)
            finally:
                for p, before in asked:
                    p.requires_grad_(before)

    def _slope(self, params: list[Any]) -> Vector:
        whole = None
        with torch.enable_grad():
            for share in self.metric.total():
                part = self._flat(torch.autograd.grad(share(), params, allow_unused=True))
                whole = part if whole is None else whole.add_(part)
        return whole

    def _product(self, params: list[Any], v: Vector) -> Vector:
        self.products += 1
        if self.exact:
            try:
                return self._exact(params, v)
            except (NotImplementedError, RuntimeError) as error:
                if "not implemented" not in str(error) and "derivative" not in str(error):
                    raise
                self.exact = False
        return self._difference(params, v)

    def _exact(self, params: list[Any], v: Vector) -> Vector:
        along = [self.space.view(v, part).to(p.dtype) for part, p in zip(self.space.parts, params, strict=True)]
        whole = None
        with torch.enable_grad():
            for share in self.metric.total():
                slope = torch.autograd.grad(share(), params, create_graph=True, allow_unused=True)
                used = [(g * a).sum() for g, a in zip(slope, along, strict=True) if g is not None]
                part = self._flat(torch.autograd.grad(torch.stack(used).sum(), params, allow_unused=True))
                whole = part if whole is None else whole.add_(part)
        return whole

    def _difference(self, params: list[Any], v: Vector) -> Vector:
        """(∇L(θ + εv) − ∇L(θ − εv)) / 2ε, with ε for half the digits."""
        space = self.space
        digits = torch.finfo(params[0].dtype).eps
        step = float(digits ** (1 / 3) * space.origin.double().norm() / max(float(v.double().norm()), 1e-300))
        slopes = []
        for side in (step, -step, 0.0):
            for part, p in zip(space.parts, params, strict=True):
                p.data.copy_(space.view(space.origin, part).to(p.dtype) + side * space.view(v, part).to(p.dtype))
            if side:
                slopes.append(self._slope(params))
        return (slopes[0] - slopes[1]) / (2 * step)

    def _flat(self, parts: Any) -> Vector:
        made = torch.zeros(self.space.size, dtype=self.space.dtype, device=self.space.device)
        for part, slope in zip(self.space.parts, parts, strict=True):
            if slope is not None:
                self.space.view(made, part).copy_(slope)
        return made


def lanczos(
    product: Product, start: Vector, count: int, tolerance: float = 1e-7, most: int = 100, room: int = 100
) -> tuple[NDArray[np.float64], Vector, NDArray[np.float64]]:
    """The largest eigenvalues of a symmetric matrix by Lanczos' method, every vector made orthogonal to all before.

    Where the vectors fill the room that they have, the best half of the space that they span is kept (Wu, Simon 2000,
    Thick-restart Lanczos method for large symmetric eigenvalue problems).

    Args:
        product: the matrix times a vector.
        start: a vector, float[n].
        count: how many eigenvalues.
        tolerance: residuals allowed, as a share of the largest value.
        most: products at most.
        room: vectors held at once, at least 2 · count + 2.

    Returns:
        Values float64[count] from the largest down, vectors as rows in start's precision, residuals / largest.

    >>> matrix = torch.diag(torch.arange(1.0, 9.0, dtype=torch.float64))
    >>> lanczos(lambda v: matrix @ v, torch.ones(8, dtype=torch.float64), 2)[0].round(6)
    array([8., 7.])
    """
    most = min(max(most, count), len(start))
    room = min(most, max(room, 2 * count + 2))
    basis = [start / start.norm()]
    matrix = np.zeros((room, room))
    for done in range(1, most + 1):
        w = product(basis[-1]).to(start.dtype, copy=True)
        size, along = len(basis), np.zeros(len(basis))
        for _ in range(2):  # twice is enough (Giraud et al. 2005)
            for i, q in enumerate(basis):
                share = float(q @ w)
                w.sub_(q, alpha=share)
                along[i] += share
        matrix[:size, size - 1] = matrix[size - 1, :size] = along
        length = float(w.norm())
        values, rotated = (x[..., ::-1] for x in np.linalg.eigh(matrix[:size, :size]))
        reach = max(float(np.abs(values).max()), 1e-300)
        residual = length * np.abs(rotated[-1, : min(count, size)]) / reach
        stuck = length <= 1e-12 * reach  # the basis spans all that the start can reach
        if done >= most or (size >= count and (stuck or (residual <= tolerance).all())):
            break
        if stuck:
            w, length = _apart(basis), 1.0
        if size == room:
            kept = count + (room - count) // 2
            _rotate(basis, rotated[:, :kept])
            matrix = np.diag(np.append(values[:kept], np.zeros(room - kept)))
        basis.append(w / length)
    _rotate(basis, rotated[:, : min(count, size)])
    return values[:count].copy(), torch.stack(basis), residual[:count]


def _apart(basis: list[Vector]) -> Vector:
    """A vector of length 1 that is orthogonal to all of a basis, by chance any of them."""
    draw = torch.Generator().manual_seed(len(basis))
    w = torch.randn(len(basis[0]), generator=draw, dtype=torch.float64).to(basis[0])
    for _ in range(2):
        for q in basis:
            w.sub_(q, alpha=float(q @ w))
    return w / w.norm()


def _rotate(basis: list[Vector], by: NDArray[np.float64]) -> None:
    """Put so many vectors of the space that a basis spans in its place, a piece of all of them at a time."""
    turn = torch.from_numpy(by.T.copy()).to(basis[0])
    for start in range(0, len(basis[0]), _PIECE):
        piece = turn @ torch.stack([q[start : start + _PIECE] for q in basis])
        for q, made in zip(basis, piece, strict=False):
            q[start : start + _PIECE] = made
    del basis[len(turn) :]


@contextmanager
def _eager(model: Any) -> Iterator[None]:
    """Attention as plain products, and as it was afterwards."""
    before = getattr(getattr(model, "config", None), "_attn_implementation", None)
    if before in (None, "eager") or not hasattr(model, "set_attn_implementation"):
        yield
        return
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)
