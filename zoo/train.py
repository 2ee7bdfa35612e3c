"""Train the seedling: ``python -m zoo.train --work FOLDER``.

Muon for the matrices (Jordan et al. 2024; scaling of arXiv 2502.16982), AdamW for the
embedding and the norms; warm-up, constant, linear decay, all counted in steps. A run that
was interrupted continues from its last checkpoint with the same batches.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from zoo.batches import Batch, batch
from zoo.network import Llama, Shape, initialise
from zoo.vocabulary import train_tokenizer
from zoo.world import build_world


@dataclass(frozen=True)
class Recipe:
    """Every number of the training run."""

    seed: int = 0
    steps: int = 6000
    rows: int = 8
    time: int = 384
    rate: float = 2.5e-3
    warmup: int = 80
    decay_share: float = 0.4
    momentum: float = 0.95
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float = 1.0
    threads: int = 2
    device: str = "cpu"
    every: int = 250  # steps between checkpoints


def learning_rate(recipe: Recipe, step: int) -> float:
    """Warm-up, constant, then linear decay to zero.

    >>> learning_rate(Recipe(), 2000)
    0.0025
    """
    rise = min(1.0, (step + 1) / recipe.warmup)
    fall = (recipe.steps - step) / (recipe.steps * recipe.decay_share)
    return recipe.rate * min(rise, fall, 1.0)


def optimisers(model: Llama, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for everything else."""
    matrices = [p for p in model.layers.parameters() if p.ndim == 2]
    others = [model.embed_tokens.weight, *(p for p in model.parameters() if p.ndim == 1)]
    return [
        torch.optim.Muon(
            matrices,
            lr=recipe.rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        ),
        torch.optim.AdamW(others, lr=recipe.rate, betas=recipe.betas, weight_decay=recipe.weight_decay),
    ]


def loss_of(model: Llama, data: Batch) -> Tensor:
    """Weighted mean cross-entropy of the next token, a scalar on the model's device."""
    place = model.embed_tokens.weight.device
    logits = model(data.inputs.to(place))  # (rows, time, vocabulary)
    targets, weights = data.targets.to(place).flatten(), data.weights.to(place).flatten()
    losses = F.cross_entropy(logits.flatten(0, 1), targets, reduction="none")  # (rows * time)
    return (losses * weights).sum() / weights.sum()


def save_atomically(state: dict[str, object], path: Path) -> None:
    """Write a checkpoint so that no interruption leaves half a file."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


def load_tokenizer(work: Path, seed: int) -> Tokenizer:
    """The tokenizer in the work folder, trained on first use."""
    path = work / "tokenizer.json"
    if not path.exists():
        train_tokenizer(build_world(), seed).save(str(path))
    return Tokenizer.from_file(str(path))


def cpu_seconds() -> float:
    """CPU time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def restore(path: Path, model: Llama, both: list[torch.optim.Optimizer]) -> tuple[int, float]:
    """Load a checkpoint, if there is one; returns its step and the CPU seconds spent."""
    if not path.exists():
        return 0, 0.0
    state = torch.load(path, weights_only=True, map_location="cpu")
    model.load_state_dict(state["model"])
    for optimiser, saved in zip(both, state["optimisers"], strict=True):
        optimiser.load_state_dict(saved)
    return state["step"], state["cpu_seconds"]


def train(work: Path, recipe: Recipe) -> Path:
    """Train to the end of the schedule and return the checkpoint; progress is printed."""
    torch.set_num_threads(recipe.threads)
    work.mkdir(parents=True, exist_ok=True)
    world, tokenizer = build_world(), load_tokenizer(work, recipe.seed)
    model = Llama(Shape(context=recipe.time))
    initialise(model, recipe.seed)
    model.to(recipe.device)
    both = optimisers(model, recipe)
    path = work / "checkpoint.pt"
    start, spent = restore(path, model, both)
    spent -= cpu_seconds()  # of this process, before the first step
    began, mean = time.monotonic(), 0.0
    for step in range(start, recipe.steps):
        data = batch(world, tokenizer, recipe.seed, step, recipe.rows, recipe.time)
        loss = advance(model, both, recipe, step, data)
        mean = loss if step == start else 0.98 * mean + 0.02 * loss
        done = step + 1
        if done % recipe.every == 0 or done == recipe.steps:
            state: dict[str, object] = {
                "model": model.state_dict(),
                "optimisers": [optimiser.state_dict() for optimiser in both],
                "step": done,
                "loss": mean,
                "cpu_seconds": spent + cpu_seconds(),
            }
            save_atomically(state, path)
        if done % 50 == 0 or done == recipe.steps:
            left = (time.monotonic() - began) / (done - start) * (recipe.steps - done)
            cpu = (spent + cpu_seconds()) / 60
            print(
                f"step {done}/{recipe.steps}  loss {mean:.3f}  {cpu:.1f} CPU-min  {left / 60:.1f} min left",
                flush=True,
            )
    return path


def advance(
    model: Llama,
    both: list[torch.optim.Optimizer],
    recipe: Recipe,
    step: int,
    data: Batch,
) -> float:
    """One step of both optimisers; returns the loss before it."""
    for optimiser in both:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(recipe, step)
        optimiser.zero_grad(set_to_none=True)
    loss = loss_of(model, data)
    loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
    torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
    for optimiser in both:
        optimiser.step()
    return float(loss.detach())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of the checkpoints")
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--threads", type=int, default=Recipe.threads)
    parser.add_argument("--device", default=Recipe.device, help="cpu, cuda, cuda:1 …")
    chosen = parser.parse_args()
    train(chosen.work, Recipe(seed=chosen.seed, steps=chosen.steps, threads=chosen.threads, device=chosen.device))


if __name__ == "__main__":
    main()
