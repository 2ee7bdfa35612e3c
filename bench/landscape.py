"""A point of a landscape beside the matrix products it needs, the loop that people write, and loss-landscapes 3.0.6.

    python bench/landscape.py [--points N] [--model FOLDER] [--device cuda]

One thread, CPU seconds (on a GPU, seconds by the clock), medians, all in one run, by turns, each in its own process. As
many points are measured "at once" as pay, and their time is divided by their number. "limit" is the time of the model's
matrix products alone, by the fastest that this machine has, torch's or oneDNN's. loss-landscapes is timed where it is
installed (pip install --no-deps loss-landscapes==3.0.6). With a folder made by landscape_model.py: what a whole picture
costs, and how far it is from the truth.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import GPT2Config, GPT2LMHeadModel

from palmette.models.landscapes.subject import Subject
from palmette.weights.landscape.directions.base import Random
from palmette.weights.landscape.directions.checkpoints import Principal
from palmette.weights.landscape.evaluate import Local
from palmette.weights.landscape.forward import slow
from palmette.weights.landscape.landscape import Landscape
from palmette.weights.landscape.measure import measure
from palmette.weights.landscape.metric import TokenLoss
from palmette.weights.landscape.plan import Plan
from palmette.weights.landscape.products import ONE
from palmette.weights.landscape.space import Space

try:
    import loss_landscapes
except ImportError:
    loss_landscapes = None

SIZES = {
    "12 M, 1,024 tokens": ({"n_layer": 6, "n_embd": 384, "n_head": 6, "vocab_size": 4096, "n_positions": 256}, 8, 128),
    "124 M, 64 tokens": ({"n_layer": 12, "n_embd": 768, "n_head": 12, "vocab_size": 50257, "n_positions": 1024}, 1, 64),
}
LARGE = {"124 M, 8,192 tokens": (SIZES["124 M, 64 tokens"][0], 16, 512)}
GRID = 51  # points an axis of the plot that people draw


def limit(
    config: Any, sequences: int, length: int, dtype: Any, device: str = "cpu", count: int = 5
) -> Callable[[int], Any]:
    """The matrix products of one forward pass, each with its own operands as in the model: linear maps by the faster of
    torch.mm and oneDNN, attention's two (without its mask) by torch.bmm.
    """
    width, tokens, heads = config.n_embd, sequences * length, sequences * config.n_head
    shapes = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)] * config.n_layer
    how = {"dtype": dtype, "device": device}
    pairs = [(torch.randn(tokens, rows, **how), torch.randn(rows, columns, **how)) for rows, columns in shapes]
    pairs.append((torch.randn(tokens, width, **how), torch.randn(config.vocab_size, width, **how).T))
    q = torch.randn(heads, length, width // config.n_head, **how)
    scores = torch.randn(heads, length, length, **how)
    ways = {"torch": torch.mm} | ({"onednn": lambda a, b: ONE.linear(a, b, None)} if device == "cpu" else {})
    best: dict[Any, Any] = {}
    for a, b in pairs:
        if b.shape not in best:
            works = {name: timed(lambda _, way=way: way(a, b)) for name, way in ways.items()}  # noqa: B023
            took = together(works, count)
            best[b.shape] = ways[min(took, key=lambda name: took[name])]

    def products(_: int) -> None:
        for a, b in pairs:
            best[b.shape](a, b)
        for _ in range(config.n_layer):
            torch.bmm(q, q.transpose(1, 2))
            torch.bmm(scores, q)

    return products


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


def peer(model: Any, ids: Any, norm: str) -> tuple[Callable[[int], Any], float]:
    """(one inner step of loss-landscapes' random_plane, the seconds that it takes before its first)."""
    from loss_landscapes.model_interface.model_parameters import orthogonal_to, rand_u_like
    from loss_landscapes.model_interface.model_wrapper import wrap_model

    other = copy.deepcopy(model)
    with torch.no_grad():
        for p in other.parameters():
            if not p.any():
                p.add_(1e-6)  # it divides by the norm of every bias
    began = time.process_time()
    point = wrap_model(other).get_module_parameters()
    one = rand_u_like(point)
    two = orthogonal_to(one)
    for direction in (one, two):
        getattr(direction, f"{norm}_normalize_")(point)
        direction.mul_(1e-3)
    setup = time.process_time() - began

    def step(_: int) -> float:
        point.add_(two)
        with torch.no_grad():
            return float(other(input_ids=ids, labels=ids).loss)

    return step, setup


def now() -> float:
    """CPU seconds; with a GPU at work, the clock's once it is idle."""
    if not torch.cuda.is_initialized():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def timed(work: Callable[[int], Any], share: int = 1) -> Callable[[int], float]:
    """The same work, saying how long it took, or a share of it."""

    def took(i: int) -> float:
        began = now()
        work(i)
        return (now() - began) / share

    return took


def together(works: dict[str, Callable[[int], float]], count: int) -> dict[str, float]:
    """Medians of seconds, the works taking turns, so that a busy machine slows all of them alike."""
    spent = [{name: work(i) for name, work in works.items()} for i in range(count + 1)][1:]
    return {name: statistics.median(turn[name] for turn in spent) for name in works}


def spots(i: int, count: int) -> list[tuple[float, float]]:
    """So many points of a plane, no two in a row or column."""
    return [(0.02 + 0.001 * j, 0.01 * i + 0.001 * j) for j in range(count)]


class Contestant:
    """A work in a process of its own, so that nobody computes in memory that another has warmed or worn."""

    def __init__(self, *what: str) -> None:
        here = get_context("spawn")
        self._pipe, far = here.Pipe()
        self._process = here.Process(target=contest, args=(far, *what), daemon=True)
        self._process.start()
        self.said = self._pipe.recv()

    def __call__(self, i: int) -> float:
        self._pipe.send(i)
        seconds: float = self._pipe.recv()
        return seconds

    def end(self) -> None:
        """Give its memory back."""
        self._process.kill()
        self._process.join()


def contest(pipe: Any, which: str, size: str, kind: str, device: str) -> None:
    """Say what there is to say beforehand, then how long each turn took."""
    quietly()
    settings, sequences, length = (SIZES | LARGE)[size]
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(**settings, bos_token_id=0, eos_token_id=0)).eval().to(device)
    ids = np.random.default_rng(0).integers(0, settings["vocab_size"], (sequences, length))
    there, dtype = torch.from_numpy(ids).to(device), getattr(torch, kind)
    said: float = 0
    if which == "limit":
        work = timed(limit(model.config, sequences, length, dtype, device))
    elif which == "peer":
        norm = "filter" if settings["n_embd"] < 500 else "layer"  # its filter norm takes minutes there
        step, said = peer(model, there, norm)
        work = timed(step)
    else:
        space = Space(model, dtype=dtype if which == "ours" else torch.float32)
        d = [Random(0).make(space), Random(1).make(space)]
        if which == "loop":
            work = timed(naive(model, there, d, space))
        else:
            run = Local(space, TokenLoss(model, ids)).__enter__()
            run.aim(d)
            said = run.together
            work = timed(lambda i: list(run(spots(i, run.together))), run.together)
    pipe.send(said)
    while True:
        pipe.send(work(pipe.recv()))


def points(count: int, device: str) -> None:
    """Print a row for each size and precision."""
    titles = f"{'size':<20} {'dtype':<9} {'at once':>7} {'point s':>8} {'limit s':>8} {'share':>6}"
    print(f"{titles} {'loop s':>8} {'':>6} {'peer s':>8}")
    for size in SIZES if device == "cpu" else SIZES | LARGE:
        for kind in ("float32", "bfloat16"):
            if kind == "bfloat16" and slow(device):
                print(f"{size:<20} {kind:<9} this processor has no products in bfloat16")
                continue
            names = ["ours", "limit", "loop"]
            if loss_landscapes is not None and kind == "float32" and device == "cpu":  # its own fails elsewhere
                names.append("peer")
            works = {name: Contestant(name, size, kind, device) for name in names}
            took = together(dict(works), count)
            ours = took["ours"]
            row = f"{size:<20} {kind:<9} {works['ours'].said:>7} {ours:>8.4f} {took['limit']:>8.4f} "
            row += f"{took['limit'] / ours:>6.0%} {took['loop']:>8.4f} {took['loop'] / ours:>5.1f}×"
            if "peer" in took:
                row += f" {took['peer']:>8.4f} {took['peer'] / ours:>5.1f}×, "
                row += f"{works['peer'].said:.1f} s before its first point"
            print(row, flush=True)
            for one in works.values():
                one.end()


def picture(folder: Path, plane: str, most: int, fresh: int, dtype: str = "float32") -> None:
    """What a whole picture cost, and how far the surrogate is from the truth at points that it has not seen."""
    how = {"select": "", "tokens": 508, "length": 128, "dtype": dtype, "device": "cpu", "threads": 1}
    subject = Subject.open(folder, folder / "test.txt", "loss", **how)
    space, metric = subject.space, subject.metric
    if plane == "random":
        recipes: list[Any] = [Random(0), Random(1)]
        plan = Plan(exact=True, most=most)
    else:
        checkpoints = tuple(sorted(str(path) for path in (folder / "checkpoints").iterdir()))
        recipes = [Principal(checkpoints, i) for i in (0, 1)]
        plan = Plan(span=(-1.3, 1.3), exact=True, most=most)
    d = [recipe.make(space, metric) for recipe in recipes]
    began = time.process_time()
    made = measure(space, metric, d, plan)
    spent = time.process_time() - began
    box = np.array([made.surrogate.low, made.surrogate.high])
    inside = [v.value for at, (v, _) in made.points.items() if (box[0] <= at).all() and (at <= box[1]).all()]
    reach = max(inside) - min(inside)
    print(f"{plane}, {dtype}: {len(made.points)} evaluations in {spent:.1f} CPU s, {made.surrogate.kind}; "
          f"±{made.surrogate.high[0]:g}, loss {min(inside):.2f} to {max(inside):.2f}")  # fmt: skip
    off, drawn = _errors(made, metric, d, fresh)
    print(f"  at {fresh} fresh points: largest error {off.max() / reach:.3%} of the range, "
          f"root mean square {np.sqrt(np.mean(off**2)) / reach:.3%}; estimated below {made.within / reach:.3%}, "
          f"held out {made.held_out[0] / reach:.3%}")  # fmt: skip
    print(f"  a drawn {GRID} × {GRID} grid at the same points: {drawn.max() / reach:.3%}, "
          f"{np.sqrt(np.mean(drawn**2)) / reach:.3%}")  # fmt: skip
    if loss_landscapes is not None:
        _whole(subject, d, len(made.points), spent)


def _errors(made: Landscape, metric: Any, d: Sequence[Any], fresh: int) -> tuple[Any, Any]:
    """How far the surrogate is from the loss in float32, at fresh points; and a straight-sided surface over a grid."""
    low, high = np.array(made.surrogate.low), np.array(made.surrogate.high)
    spots = low + (high - low) * np.random.default_rng(9).uniform(0, 1, (fresh, 2))
    width = (high - low) / (GRID - 1)
    cell = np.floor((spots - low) / width)
    corners = [low + width * (cell + corner) for corner in ((0, 0), (0, 1), (1, 0), (1, 1))]
    with Local(Space(metric.model), metric) as run:
        run.aim(d)
        at = [tuple(spot) for group in (spots, *corners) for spot in group.tolist()]
        found = np.array([sums.sum() / metric.tokens for sums in run(at)]).reshape(5, fresh)
    x, y = ((spots - low) / width - cell).T
    flat = (1 - x) * ((1 - y) * found[1] + y * found[2]) + x * ((1 - y) * found[3] + y * found[4])
    return np.abs(made(*spots.T) - found[0]), np.abs(flat - found[0])


def _whole(subject: Subject, d: Sequence[Any], count: int, spent: float) -> None:
    """Our whole picture beside theirs, both from the seconds of a point measured in turns."""
    ids = subject.job.ids[subject.job.real.all(axis=1)]
    step, setup = peer(subject.metric.model, torch.from_numpy(ids), "filter")
    with Local(subject.space, subject.metric) as run:
        run.aim(d)
        ours = timed(lambda i: list(run([(0.01 * i, 0.02 + 0.001 * i)])))
        took = together({"peer": timed(step), "ours": ours}, 15)
    each, every = took["peer"], took["ours"] * count
    whole = setup + GRID * GRID * each
    print(
        f"  loss-landscapes: {each:.4f} s a point, {whole:.0f} CPU s for {GRID} × {GRID}: {whole / every:.0f} times "
        f"our {count} points of {took['ours']:.4f} s, {whole / spent:.0f} times the {spent:.1f} s with all else"
    )


def quietly() -> None:
    """One thread, and no words but ours."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    transformers.utils.logging.set_verbosity_error()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=7)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--device", default="cpu", help="of the table of points; pictures are timed on the CPU")
    parser.add_argument("--fresh", type=int, default=60)
    given = parser.parse_args()
    quietly()
    if given.points:
        points(given.points, given.device)
    if given.model is not None:
        for dtype in ["float32"] + ["bfloat16"] * (not slow("cpu")):
            picture(given.model, "random", 101, given.fresh, dtype)
            for most in (101, 150, 250):
                picture(given.model, "trajectory", most, given.fresh, dtype)


if __name__ == "__main__":
    main()
