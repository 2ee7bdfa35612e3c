"""The sampling chain against transformers' processors: temperature, top-k, top-p, min-p and a draw, one row at a time.

Both sides get the same random logits (a Zipf-like row, as a trained model gives), take turns, and are reported as
medians with their ratio. Run: python bench/sampling.py [--rounds N]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from palmette.core.engine import Engine
from palmette.tokens.matrix import MatrixEngine
from palmette.tokens.views import compose, min_p, temperature, top_k, top_p

CHAINS = {
    "T .8, k 50, p .95, min-p .05": ([temperature(0.8), top_k(50), top_p(0.95), min_p(0.05)], [0.8, 50, 0.95, 0.05]),
    "T .8, p .95": ([temperature(0.8), top_p(0.95)], [0.8, None, 0.95, None]),
    "T .8, k 50": ([temperature(0.8), top_k(50)], [0.8, 50, None, None]),
    "T .8, min-p .05": ([temperature(0.8), min_p(0.05)], [0.8, None, None, 0.05]),
    "T .8 alone": ([temperature(0.8)], [0.8, None, None, None]),
}


class Rows(MatrixEngine):
    """An engine whose scores are given rows, one for each token."""

    def __init__(self, logits: np.ndarray) -> None:
        super().__init__(np.ones((1, 1)), labels=["a"])
        self.logits = logits
        self.vocabulary = logits.shape[1]


def rows(count: int, size: int, seed: int) -> np.ndarray:
    """float32[count, size]: log of a Zipf law with noise, shuffled, as flat as a trained model's rows."""
    rng = np.random.default_rng(seed)
    zipf = -1.3 * np.log(np.arange(1, size + 1))
    noisy = zipf + rng.standard_normal((count, size)) * 0.7
    return np.stack([row[rng.permutation(size)] for row in noisy]).astype(np.float32)


def processors(settings: list[float | None]) -> LogitsProcessorList:
    """transformers' warpers in the order in which it applies them."""
    t, k, p, m = settings
    chain = LogitsProcessorList([TemperatureLogitsWarper(t)])
    if k:
        chain.append(TopKLogitsWarper(int(k)))
    if p:
        chain.append(TopPLogitsWarper(p))
    if m:
        chain.append(MinPLogitsWarper(m))
    return chain


def timed(action: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter()
    action()
    return (time.perf_counter() - start) * 1e3


def measure(label: str, size: int, rounds: int) -> tuple[float, float, float]:
    """Median ms of ours and theirs, and the largest difference of the kept distributions."""
    views, settings = CHAINS[label]
    logits = rows(min(rounds, 64), size, seed=1)
    engine: Engine = compose(Rows(logits), views)
    chain = processors(settings)
    generator = torch.Generator().manual_seed(0)
    rng = np.random.default_rng(0)

    def ours(i: int) -> int:
        return engine.prefill([[i]])[0].scores.draw(float(rng.random()))

    def theirs(i: int) -> object:
        scores = chain(torch.empty((1, 0), dtype=torch.long), torch.from_numpy(logits[i : i + 1]))
        return torch.multinomial(torch.softmax(scores, dim=-1), 1, generator=generator)

    ours(0), theirs(0)
    a, b = [], []
    for r in range(rounds):
        i = r % len(logits)
        a.append(timed(lambda i=i: ours(i)))
        b.append(timed(lambda i=i: theirs(i)))
    node = engine.prefill([[0]])[0]
    other = chain(torch.empty((1, 0), dtype=torch.long), torch.from_numpy(logits[:1]))
    difference = float(np.abs(np.exp(node.scores.logprobs()) - torch.softmax(other, -1)[0].numpy()).max())
    return statistics.median(a), statistics.median(b), difference


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    args = parser.parse_args()
    torch.set_num_threads(2)
    print(f"{'chain':32} {'V':>8} {'palmette ms':>12} {'transformers ms':>16} {'ratio':>7} {'max |Δp|':>10}")
    for size in (32_000, 128_256):
        for label in CHAINS:
            a, b, difference = measure(label, size, args.rounds)
            print(f"{label:32} {size:8} {a:12.3f} {b:16.3f} {b / a:7.1f} {difference:10.1e}")


if __name__ == "__main__":
    main()
