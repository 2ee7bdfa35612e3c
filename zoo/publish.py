"""Export, measure and describe: ``python -m zoo.publish --work FOLDER``.

Fails, and says which figure is missing, when the build does not reach ``REQUIRED``.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from operator import eq
from pathlib import Path
from typing import Any

import torch

from zoo.arithmetic import THINK, total
from zoo.card import card, examples
from zoo.engine import Engine
from zoo.export import export
from zoo.measure import (
    REQUIRED,
    Figure,
    as_rows,
    drawn,
    everything,
    figure,
    first_answer,
    last_number,
    true_to_the_world,
)
from zoo.train import Recipe
from zoo.world import build_world

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "src" / "palmette" / "models" / "zoo" / "seedling"
FIGURES = ROOT / "zoo" / "figures.json"
ONCE = "Once upon a time"
TEMPERATURE = 0.7
VOTES = 9


def stories(engine: Engine, seed: int, n: int) -> tuple[list[Figure], list[str]]:
    """How many sampled stories end by themselves and stay true, and the first three."""
    (told,) = engine.sample([ONCE], n, 250, TEMPERATURE, seed)
    texts = [ONCE + text for text, _ in told]
    world = build_world()
    figures = [
        Figure("stories that end by themselves", sum(ended for _, ended in told) / n, n),
        Figure(
            "stories whose jobs and towns are true",
            sum(true_to_the_world(world, text) for text in texts) / n,
            n,
        ),
    ]
    return figures, texts[:3]


def self_consistency(engine: Engine, seed: int, n: int, steps: int) -> list[Figure]:
    """One sampled derivation against the majority of nine (arXiv 2203.11171)."""
    rng, world = drawn(seed, f"votes {steps}"), build_world()
    items = [total(rng, world, steps, "direct") for _ in range(n)]
    prompts = [f"{each.prompt} {THINK}" for each in items]
    length = 24 + 20 * steps
    wanted = [last_number(each.answer) for each in items]
    votes = [
        [first_answer(text) for text, _ in texts] for texts in engine.sample(prompts, VOTES, length, TEMPERATURE, seed)
    ]
    greedy = [first_answer(text) for text in engine(prompts, length, "\n")]
    single = sum(v == w for vs, w in zip(votes, wanted, strict=True) for v in vs) / n / VOTES
    voted = [Counter(vs).most_common(1)[0][0] == w for vs, w in zip(votes, wanted, strict=True)]
    name = f"total of {steps} steps, temperature {TEMPERATURE}"
    return [
        figure(f"total of {steps} steps, greedy", [*map(eq, greedy, wanted)]),
        Figure(f"{name}, one sample", single, n),
        figure(f"{name}, majority of {VOTES}", voted),
    ]


def publish(work: Path, folder: Path, seed: int, n: int) -> dict[str, Any]:
    """Export to ``folder``, measure that folder; returns the report that becomes the card."""
    parameters = export(work, folder)
    state = torch.load(work / "checkpoint.pt", weights_only=True)
    engine, world, recipe = Engine(folder), build_world(), Recipe()
    told, samples = stories(engine, seed, n)
    voted = [each for steps in (3, 4) for each in self_consistency(engine, seed, n, steps)]
    return {
        "parameters": parameters,
        "bytes": (folder / "model.safetensors").stat().st_size,
        "training": {
            "seed": recipe.seed,
            "steps": state["step"],
            "tokens": state["step"] * recipe.rows * recipe.time,
            "cpu_minutes": round(state["cpu_seconds"] / 60, 1),
            "loss": round(state["loss"], 3),
        },
        "measured": {
            "seed": seed,
            "figures": as_rows([*everything(engine, world, seed, n), *voted, *told]),
        },
        "examples": examples(engine, world, random.Random(f"card:{seed}")),
        "stories": samples,
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of the checkpoints")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the model goes")
    parser.add_argument("--figures", type=Path, default=FIGURES, help="where the figures go")
    parser.add_argument("--seed", type=int, default=1, help="seed of the measured items")
    parser.add_argument("--n", type=int, default=200, help="items per figure")
    chosen = parser.parse_args()
    report = publish(chosen.work, chosen.folder, chosen.seed, chosen.n)
    chosen.figures.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (chosen.folder / "README.md").write_text(card(report), encoding="utf-8")
    got = {row["name"]: row["value"] for row in report["measured"]["figures"]}
    missed = [f"{name}: {got[name]:.2f} < {least}" for name, least in REQUIRED.items() if got[name] < least]
    if missed:
        raise SystemExit("The build falls short: " + "; ".join(missed))


if __name__ == "__main__":
    main()
