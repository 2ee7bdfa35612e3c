"""A point of a landscape beside the matrix products it needs and the loop that people write; and a whole picture.

    python bench/landscape.py [--points N]

One thread, CPU seconds, medians. "limit" is the time of the model's matrix products alone, measured on this machine.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from palmette.weights.landscape.direction import Random
from transformers import GPT2Config, GPT2LMHeadModel

from palmette.weights.landscape.landscape import measure
from palmette.weights.landscape.metric import TokenLoss
from palmette.weights.landscape.space import Space

SIZES = {
    "12 M, 1,024 tokens": ({"n_layer": 6, "n_embd": 384, "n_head": 6, "vocab_size": 4096, "n_positions": 256}, 4, 256),
    "124 M, 64 tokens": ({"n_layer": 12, "n_embd": 768, "n_head": 12, "vocab_size": 50257, "n_positions": 1024}, 1, 64),
}


def median(work: Callable[[int], Any], count: int) -> float:
    """CPU seconds of one call."""
    work(0)
    spent = []
    for i in range(count):
        began = time.process_time()
        work(i + 1)
        spent.append(time.process_time() - began)
    return statistics.median(spent)


def limit(config: Any, tokens: int, dtype: Any, count: int) -> float:
    """The matrix products of one forward pass, by shape."""
    width, whole = config.n_embd, 0.0
    shapes = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]
    for (rows, columns), times in [*((s, config.n_layer) for s in shapes), ((width, config.vocab_size), 1)]:
        a, b = torch.randn(tokens, rows).to(dtype), torch.randn(rows, columns).to(dtype)
        whole += times * median(lambda _, a=a, b=b: a @ b, count * 3)
    return whole


def naive(model: Any, ids: Any, d: list[Any], space: Space) -> Callable[[int], Any]:
    """Copy the state, add the directions, load it, take the model's own loss."""
    state = copy.deepcopy(model.state_dict())
    names = {part.name: part for part in space.parts}
    other = copy.deepcopy(model)

    def point(i: int) -> float:
        moved = copy.deepcopy(state)
        for name, part in names.items():
            moved[name] += 0.01 * i * space.view(d[0], part) + 0.02 * space.view(d[1], part)
        other.load_state_dict(moved)
        with torch.no_grad():
            return float(other(input_ids=ids, labels=ids).loss)

    return point


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'size':<20} {'dtype':<9} {'point s':>8} {'limit s':>8} {'share':>6}  {'loop s':>7} {'faster':>7}")
    for name, (settings, sequences, length) in SIZES.items():
        torch.manual_seed(0)
        model = GPT2LMHeadModel(GPT2Config(**settings)).eval()
        ids = np.random.default_rng(0).integers(0, settings["vocab_size"], (sequences, length))
        for dtype in (torch.float32, torch.bfloat16):
            space, metric = Space(model, dtype=dtype), TokenLoss(model, ids)
            d = [Random(0).make(space), Random(1).make(space)]
            with space:

                def point(i: int, space: Space = space, d: Any = d, metric: TokenLoss = metric) -> Any:
                    space.move([0.02, 0.01 * i], d)
                    return metric.sums()

                ours = median(point, given.points)
            floor = limit(model.config, sequences * length, dtype, given.points)
            loop = median(naive(model, torch.from_numpy(ids), d, Space(model)), given.points)
            said = str(dtype).removeprefix("torch.")
            row = f"{name:<20} {said:<9} {ours:>8.3f} {floor:>8.3f} {floor / ours:>6.0%}"
            print(f"{row}  {loop:>7.3f} {loop / ours:>6.1f}×")
    picture()


def picture() -> None:
    """How far the surrogate is from the truth at points it has not seen, and what it cost."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(n_layer=2, n_embd=64, n_head=4, vocab_size=512, n_positions=64)).eval()
    ids = np.random.default_rng(0).integers(0, 64, (16, 64))
    optimiser = torch.optim.AdamW(model.train().parameters(), 3e-3)
    for _ in range(120):  # on the very text, so that there is a valley to look at
        optimiser.zero_grad()
        tensor = torch.from_numpy(ids)
        model(input_ids=tensor, labels=tensor).loss.backward()
        optimiser.step()
    model.eval()
    space, metric = Space(model), TokenLoss(model, ids)
    d = [Random(0).make(space), Random(1).make(space)]
    made = measure(space, metric, d, span=(-1, 1), most=9)
    spots = np.random.default_rng(9).uniform(-1, 1, (60, 2))
    with space:
        off = []
        for spot in spots.tolist():
            space.move(spot, d)
            off.append(abs(float(made(*spot)) - float(metric.sums().sum()) / metric.tokens))
    values = [loss.value for loss, _ in made.points.values()]
    reach = max(values) - min(values)
    worst, mean = max(off), float(np.sqrt(np.mean(np.square(off))))
    print(f"picture: {len(made.points)} evaluations; at 60 fresh points the largest error is {worst:.2g} of a range of")
    print(f"         {reach:.3g} ({worst / reach:.2%}), the root mean square {mean:.2g}")


if __name__ == "__main__":
    main()
