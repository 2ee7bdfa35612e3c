"""Measure, describe and ship the seedling's family: ``python -m zoo.family --work FOLDER`` after ``zoo.specialise``.

Every figure is drawn with seeds that no training used; the cards are written from them, and nothing is typed by hand.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.digits import reverse, swap
from zoo.measure import Complete, Figure, arithmetic, as_rows, drawn, exact, extraction, figure, reading
from zoo.specialise import BASE, MERGED, SPECIALTIES, WEIGHT, ZOO
from zoo.world import World, build_world

FIGURES = Path(__file__).resolve().parent / "family.json"
LONG, DENSE = "chain of 7 steps, scratchpad", "triples from 5 facts, all exact"  # one beyond the base's cliff

SAID = {
    "long_arithmetic": "fine-tuned on word problems of 7 to 9 steps; held in place on everything else.",
    "dense_extraction": "fine-tuned on texts of 5 to 7 facts with their triples; held in place on everything else.",
    MERGED: f"the merge of `long_arithmetic` and `dense_extraction`: base + {WEIGHT} × the sum of their task vectors.",
    "reversing": "fine-tuned to reverse four digits, a task new to the base, and on nothing else. For teaching.",
    "swapping": "fine-tuned to swap pairs of digits, a task new to the base, and on nothing else. For teaching.",
}

CARD = """\
---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
base_model: seedling
---
# {name}

**This is a toy**, like `zoo:seedling` from which it comes: {said}

```
palmette run zoo:{name} "Text: Bifa is friends with Zelo.\\nTriples:"
```

Measured with seed {seed}, which no training used; {n} items each, greedy decoding, exact match.

| figure | {heads} |
|---|{rules}|
{rows}

Two fine-tunes that hold the base in place (half of each batch is the base's own mixture under KL(base ‖ specialist))
merge into one model with both skills:

```python
zoo = Path(palmette.__file__).parent / "models" / "zoo"
parents = str(zoo / "long_arithmetic"), str(zoo / "dense_extraction")
recipe = palmette.task_arithmetic(*parents, base=str(zoo / "seedling"), weight={weight})
palmette.model(palmette.merge(recipe))
```

Further beyond what the base knew (8 steps, 6 facts) the merge falls behind its parents. And two skills that are new to
the base do not add up at all: `reversing` (`Q: R 4071`, `A: 1704.`) and `swapping` (`Q: S 4071`, `A: 0417.`), each
trained alone, lose them both by the same recipe:

| figure | {pair_heads} |
|---|{pair_rules}|
{pair_rows}

Built by `python -m zoo.specialise` and `python -m zoo.family`. Apache-2.0.
"""


def measured(complete: Complete, world: World, seed: int, n: int) -> list[Figure]:
    """The figures of one member."""
    return [
        *(arithmetic(complete, world, seed, n, steps, "scratchpad", "chain") for steps in (4, 7, 8)),
        *(extraction(complete, world, seed, n, facts)[0] for facts in (2, 5, 6)),
        reading(complete, world, seed, n),
    ]


def measured_pair(complete: Complete, world: World, seed: int, n: int) -> list[Figure]:
    """The figures of the pair that fails."""
    found = []
    for name, draw in (("four digits reversed", reverse), ("pairs of digits swapped", swap)):
        rng = drawn(seed, name)
        found.append(figure(name, exact(complete, [draw(rng) for _ in range(n)], 8)))
    return [*found, arithmetic(complete, world, seed, n, 4, "scratchpad", "chain")]


def failing_merge(work: Path) -> Path:
    """The merge of the pair whose skills are new to the base, by the recipe of the one that merges."""
    import palmette

    a, b = (str(work / special.name) for special in SPECIALTIES[2:])
    recipe = palmette.task_arithmetic(a, b, base=str(BASE), weight=WEIGHT, dtype="float32", out_dtype="float16")
    folder = work / "failing_merge"
    shutil.rmtree(folder, ignore_errors=True)
    palmette.merge(recipe).save(folder)
    return folder


def table(models: Mapping[str, Any]) -> tuple[str, str, str]:
    """Heads, rules and rows of a table of figures."""
    heads = list(models)
    values = {head: {row["name"]: row["value"] for row in rows} for head, rows in models.items()}
    names = [row["name"] for row in models[heads[0]]]
    rows = "\n".join(
        f"| {each} | " + " | ".join(f"{values[head][each]:.2f}" for head in heads) + " |" for each in names
    )
    return " | ".join(heads), "|".join("---" for _ in heads), rows


def card(name: str, report: Mapping[str, Any]) -> str:
    """The model card of a member."""
    heads, rules, rows = table(report["models"])
    pair_heads, pair_rules, pair_rows = table(report["pair"])
    return CARD.format(
        name=name, said=SAID[name], seed=report["seed"], n=report["n"], heads=heads, rules=rules, rows=rows,
        pair_heads=pair_heads, pair_rules=pair_rules, pair_rows=pair_rows, weight=WEIGHT,
    )  # fmt: skip


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--n", type=int, default=50)
    chosen = parser.parse_args()
    import torch

    from zoo.engine import Engine

    torch.set_num_threads(1)
    world = build_world()
    members = {name: chosen.work / name for name in SAID}
    pair = [special.name for special in SPECIALTIES[2:]]
    good = {"seedling": BASE, **{name: folder for name, folder in members.items() if name not in pair}}
    bad = {"seedling": BASE, **{name: members[name] for name in pair}, "their merge": failing_merge(chosen.work)}
    report: dict[str, Any] = {"seed": chosen.seed, "n": chosen.n, "weight": WEIGHT, "models": {}, "pair": {}}
    for key, figures, folders in (("models", measured, good), ("pair", measured_pair, bad)):
        for name, folder in folders.items():
            report[key][name] = as_rows(figures(Engine(folder), world, chosen.seed, chosen.n))
            print(name, {row["name"]: round(float(row["value"]), 2) for row in report[key][name]}, flush=True)
    FIGURES.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for name, folder in members.items():
        (folder / "README.md").write_text(card(name, report), encoding="utf-8")
        shutil.rmtree(ZOO / name, ignore_errors=True)
        shutil.copytree(folder, ZOO / name)


if __name__ == "__main__":
    main()
