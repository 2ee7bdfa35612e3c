"""How sharp a minimum is, with an error bar, and the learning rate that it allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from palmette.core.errors import BadParameter
from palmette.weights.landscape.directions.slope import differentiable, spectrum
from palmette.weights.landscape.evaluate import Local, Progress, quiet
from palmette.weights.landscape.metric import Estimate, TokenLoss, amount, counted, estimate, few
from palmette.weights.landscape.space import Space

__all__ = ["Sharpness", "measure_sharpness"]


@dataclass(frozen=True)
class Sharpness:
    """How sharp a minimum is.

    Args:
        values: the largest eigenvalues of the Hessian, from the largest down.
        residuals: how far each is from being one, as a share of the largest.
        products: products with the Hessian that it took.
        error: standard error of the largest, over the examples: other text would give another.
        origin: the loss.
        exact: False where gradients' differences had to serve.
        facts: what was measured.
        tolerance: the residual up to which one has converged.
    """

    values: list[float]
    residuals: list[float]
    products: int
    error: float
    origin: Estimate
    exact: bool
    facts: dict[str, Any]
    tolerance: float = 1e-6

    @property
    def learning_rate(self) -> float:
        """2 / λ_max: gradient descent with a larger one leaves the minimum (arXiv 2103.00065)."""
        return 2 / self.values[0] if self.values[0] > 0 else float("inf")

    @property
    def converged(self) -> list[bool]:
        """Of each eigenvalue, whether its residual is within the tolerance."""
        return [residual <= self.tolerance for residual in self.residuals]

    @property
    def flags(self) -> list[str]:
        """What is doubtful about it, and what to do."""
        return few(self.facts, self.origin) + self._unsure()

    def _unsure(self) -> list[str]:
        """The eigenvalues that have not converged, as a flag."""
        known = zip(self.values, self.residuals, self.converged, strict=True)
        short = [f"{value:.4g} (residual {residual:.1g})" for value, residual, done in known if not done]
        if not short:
            return []
        larger = "λ_max may be larger, and the learning rate has to be smaller; " if not self.converged[0] else ""
        return [
            f"{len(short)} of {len(self.values)} eigenvalues have not converged to {self.tolerance:.1g} of the largest "
            f"after {self.products} products with the Hessian: {', '.join(short)}; {larger}allow more products (most, "
            "--products), ask for fewer eigenvalues (count, --eigenvalues), or take a larger tolerance"
        ]

    def __str__(self) -> str:
        facts = self.facts
        error = f" ± {self.error:.2g}" if np.isfinite(self.error) else " (no error bar)"
        sure = ["" if done else " (not converged)" for done in self.converged]
        others = [f"{value:.4g}{word}" for value, word in zip(self.values[1:], sure[1:], strict=True)]
        further = f"further eigenvalues {', '.join(others)}; " if others else ""
        way = "" if self.exact else " (differences of gradients)"
        return (
            f"λ_max {self.values[0]:.5g}{error}{sure[0]}; plain gradient descent needs a learning rate below "
            f"{self.learning_rate:.3g}; {further}{self.products} products with the Hessian{way}; loss "
            f"{self.origin.value:.4f}; {amount(facts)}; {facts['dtype']}"
        )


def measure_sharpness(
    space: Space, metric: TokenLoss, count: int = 5, tolerance: float = 1e-6, progress: Progress = quiet,
    most: int = 100,
) -> Sharpness:  # fmt: skip
    """The largest eigenvalues of the Hessian, by Lanczos; the error bar from second differences of each example's loss.

    Args:
        space: the parameters.
        metric: the loss.
        count: eigenvalues.
        tolerance: their residuals, as a share of the largest.
        progress: called with products with the Hessian done, and at most to do.
        most: products at most; what has not converged by then is flagged.

    Raises:
        BadParameter: for another metric than the token loss, and numbers that are not positive.
    """
    if not (tolerance > 0 and most >= 1):
        raise BadParameter(f"the tolerance and the products should be positive, not {tolerance!r} and {most!r}")
    differentiable(metric, "the Hessian")
    found = spectrum(space, metric, count, tolerance, most, progress)
    sharp, largest = found.vectors[0].float(), max(abs(float(found.values[0])), 1e-12)
    step = (0.02 / largest) ** 0.5  # the loss changes by about 0.01
    with Local(space, metric) as run:
        run.aim([sharp])
        down, here, up = run([(-step,), (0.0,), (step,)])
    error = estimate((up - 2 * here + down) / step**2, metric.counts).error
    kind = str(found.vectors.dtype).removeprefix("torch.")
    facts = counted(metric) | {"dtype": kind}
    return Sharpness(found.values.tolist(), found.residuals.tolist(), found.products, error,
                     estimate(here, metric.counts), found.exact, facts, tolerance)  # fmt: skip
