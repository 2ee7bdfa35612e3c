"""Fine-tune the seedling's specialists and merge them: ``python -m zoo.specialise --work FOLDER``.

A merge adds two skills up under two conditions: the base knows both tasks weakly, and each fine-tune holds everything
else in place. So half of each batch is the specialist's own task, one step beyond the base's cliff, and the other half
is the unchanged mixture of the base with the loss KL(base || specialist). The other pair meets neither: two tasks that
the base has never seen, nothing held in place, and a merge by the same recipe that knows neither.
"""

from __future__ import annotations

import argparse
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from zoo.arithmetic import chain
from zoo.batches import Batch, batch
from zoo.digits import reversing, swapping
from zoo.mixture import Kind
from zoo.network import Llama, Shape
from zoo.reading import triples
from zoo.text import Document, join
from zoo.world import World, build_world

ROOT = Path(__file__).resolve().parent.parent
ZOO = ROOT / "src" / "palmette" / "models" / "zoo"
BASE = ZOO / "seedling"
WEIGHT = 0.5  # of each task vector in the merge: the average; 1.0 overshoots


def long_chain(rng: random.Random, world: World) -> Document:
    """A word problem of seven to nine steps on the scratchpad: the base was trained to six."""
    return join([chain(rng, world, rng.randint(7, 9), "scratchpad")])


def dense_triples(rng: random.Random, world: World) -> Document:
    """A text of five to seven facts with its triples: the base was trained to four."""
    return join([triples(rng, world, rng.randint(5, 7))])


@dataclass(frozen=True)
class Specialty:
    """One fine-tune: its task, and whether the base is held in place."""

    name: str
    kind: Kind
    seed: int
    anchored: bool = True
    steps: int = 120
    rate: float = 5e-4


SPECIALTIES = (
    Specialty("long_arithmetic", long_chain, 11),
    Specialty("dense_extraction", dense_triples, 12),
    Specialty("reversing", reversing, 13, anchored=False, steps=200, rate=1e-3),
    Specialty("swapping", swapping, 14, anchored=False, steps=200, rate=1e-3),
)
MERGED = "merged"
ROWS, TIME = 4, 384  # of each half of a batch


def load_base() -> Llama:
    """The shipped seedling."""
    model = Llama(Shape())
    weights = load_file(BASE / "model.safetensors")
    model.load_state_dict({name.removeprefix("model."): weight.float() for name, weight in weights.items()})
    return model


def rate_at(special: Specialty, step: int) -> float:
    """Ten steps of warm-up, constant, linear decay over the second half."""
    return special.rate * min(1.0, (step + 1) / 10, 2 * (special.steps - step) / special.steps)


def own_loss(model: Llama, data: Batch) -> Tensor:
    """Weighted cross-entropy of the specialist's own answers, a scalar."""
    logits = model(data.inputs)  # (rows, time, vocabulary)
    losses = F.cross_entropy(logits.flatten(0, 1), data.targets.flatten(), reduction="none")  # (rows * time)
    return (losses * data.weights.flatten()).sum() / data.weights.sum()


def anchor_loss(model: Llama, base: Llama, data: Batch) -> Tensor:
    """KL(base || specialist) where the mixture has something to learn, a scalar."""
    with torch.no_grad():
        wanted = F.log_softmax(base(data.inputs), dim=-1)
    got = F.log_softmax(model(data.inputs), dim=-1)
    apart = F.kl_div(got, wanted, reduction="none", log_target=True).sum(-1)  # (rows, time)
    return (apart * data.weights).sum() / data.weights.sum()


def specialise(special: Specialty, world: World, tokenizer: Tokenizer, tell: Callable[[str], None]) -> Llama:
    """Fine-tune the base; a function of the specialty's seed on one machine."""
    model, base = load_base(), load_base()
    optimiser = torch.optim.AdamW(model.parameters(), lr=special.rate, betas=(0.9, 0.98), weight_decay=0.0)
    began = time.monotonic()
    for step in range(special.steps):
        for group in optimiser.param_groups:
            group["lr"] = rate_at(special, step)
        own = batch(world, tokenizer, special.seed, step, ROWS, TIME, special.kind)
        loss = own_loss(model, own)
        if special.anchored:
            loss = loss + anchor_loss(model, base, batch(world, tokenizer, 100 + special.seed, step, ROWS, TIME))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if (step + 1) % 20 == 0:
            left = (time.monotonic() - began) / (step + 1) * (special.steps - step - 1)
            tell(f"{special.name} {step + 1}/{special.steps}  loss {float(loss.detach()):.3f}  {left:.0f} s left")
    return model


def save(model: Llama, folder: Path) -> None:
    """Write a folder beside the base's, with its tokenizer and configuration."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(BASE, partial, ignore=shutil.ignore_patterns("README.md", "model.safetensors"))
    weights = {f"model.{name}": weight.half().contiguous() for name, weight in model.state_dict().items()}
    save_file(weights, partial / "model.safetensors", metadata={"format": "pt"})
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def merge(work: Path) -> None:
    """The merge of the anchored pair, by palmette itself."""
    import palmette

    a, b = (str(work / special.name) for special in SPECIALTIES[:2])
    recipe = palmette.task_arithmetic(a, b, base=str(BASE), weight=WEIGHT, dtype="float32", out_dtype="float16")
    shutil.rmtree(work / "merging", ignore_errors=True)
    palmette.merge(recipe).save(work / "merging")
    shutil.rmtree(work / MERGED, ignore_errors=True)
    shutil.copytree(work / SPECIALTIES[0].name, work / MERGED)
    shutil.copy(work / "merging" / "model.safetensors", work / MERGED / "model.safetensors")


def main() -> None:
    """The command line: folders that exist are left alone, so that an interrupted build goes on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="where the models go")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    chosen.work.mkdir(parents=True, exist_ok=True)
    world, tokenizer = build_world(), Tokenizer.from_file(str(BASE / "tokenizer.json"))
    for special in SPECIALTIES:
        if not (chosen.work / special.name).exists():
            save(specialise(special, world, tokenizer, print), chosen.work / special.name)
    merge(chosen.work)


if __name__ == "__main__":
    main()
