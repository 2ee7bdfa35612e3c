"""The shipped family: each specialist on its own task, the merge on both, and the pair that merges badly."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
from zoo.family import DENSE, FIGURES, LONG, SAID
from zoo.measure import Complete, arithmetic, extraction
from zoo.specialise import BASE, MERGED, WEIGHT, ZOO
from zoo.world import build_world

import palmette
from palmette.models.resolve import ZOO as NAMES

WORLD = build_world()
SEED, N = 5, 20  # other items than those of the cards
MODELS = json.loads(FIGURES.read_text())["models"]
ROWS = {head: {row["name"]: row["value"] for row in rows} for head, rows in MODELS.items()}


@functools.cache
def complete(folder: Path) -> Complete:
    """Greedy continuations of a shipped model."""
    pytest.importorskip("transformers")
    from zoo.engine import Engine

    return Engine(folder)


@functools.cache
def long(folder: Path) -> float:
    """Seven steps on the scratchpad."""
    return arithmetic(complete(folder), WORLD, SEED, N, 7, "scratchpad", "chain").value


@functools.cache
def dense(folder: Path) -> float:
    """Five facts, all exact."""
    return extraction(complete(folder), WORLD, SEED, N, 5)[0].value


def test_each_specialist_knows_its_own_task_and_the_base_does_not() -> None:
    assert long(ZOO / "long_arithmetic") >= 0.8 and long(BASE) <= 0.5
    assert dense(ZOO / "dense_extraction") >= 0.75 and dense(BASE) <= 0.55


def test_the_merge_has_both_skills() -> None:
    assert long(ZOO / MERGED) >= 0.75 and dense(ZOO / MERGED) >= 0.7


def test_the_cards_say_what_was_measured() -> None:
    """By the build's figures the merge reaches nine tenths of each parent, that of the forgetful pair does not."""
    merged, a, b = ROWS[MERGED], ROWS["long_arithmetic"], ROWS["dense_extraction"]
    assert merged[LONG] >= 0.9 * a[LONG] and merged[DENSE] >= 0.9 * b[DENSE]
    assert a[LONG] >= 2 * ROWS["seedling"][LONG] and b[DENSE] >= 2 * ROWS["seedling"][DENSE]
    bad, one, two = ROWS["forgetful merge"], ROWS["forgetful_arithmetic"], ROWS["forgetful_extraction"]
    assert bad[LONG] < 0.9 * one[LONG] or bad[DENSE] < 0.9 * two[DENSE]
    for name in SAID:
        card = (ZOO / name / "README.md").read_text()
        assert "This is a toy" in card and f"{ROWS[name][LONG]:.2f}" in card


def test_the_merge_is_our_own_and_can_be_made_again(tmp_path: Path) -> None:
    parents = [str(ZOO / name) for name in ("long_arithmetic", "dense_extraction")]
    recipe = palmette.task_arithmetic(*parents, base=str(BASE), weight=WEIGHT, dtype="float32", out_dtype="float16")
    again = palmette.merge(recipe).save(tmp_path / "again")
    import numpy as np
    from safetensors.numpy import load_file

    made, shipped = load_file(again / "model.safetensors"), load_file(ZOO / MERGED / "model.safetensors")
    assert made.keys() == shipped.keys() and all(np.array_equal(made[key], shipped[key]) for key in made)


def test_the_family_is_small_and_opens_by_name() -> None:
    folders = [path for path in ZOO.iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert sorted(path.name for path in folders) == sorted(NAMES)
    assert sum(file.stat().st_size for path in folders for file in path.iterdir()) <= 16_000_000
    model = palmette.model("zoo:merged", engine="numpy")
    assert model.respond("Who is the friend of Nora?", temperature=0, max_tokens=8).text.startswith("Ida")
