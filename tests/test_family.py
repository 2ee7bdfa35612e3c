"""The shipped family: each specialist on its own task, the merge on both, and the pair that merges badly."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from zoo.digits import reverse, swap
from zoo.family import DENSE, FIGURES, LONG, SAID
from zoo.measure import Complete, arithmetic, drawn, exact, extraction
from zoo.specialise import BASE, MERGED, WEIGHT, ZOO
from zoo.world import build_world

import palmette
from palmette.models.resolve import ZOO as NAMES

WORLD = build_world()
SEED, N = 5, 20  # other items than those of the cards
FOUND = json.loads(FIGURES.read_text())
ROWS, PAIR = (
    {head: {row["name"]: row["value"] for row in rows} for head, rows in FOUND[part].items()}
    for part in ("models", "pair")
)


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


@functools.cache
def digits(folder: Path, task: str) -> float:
    """Four digits, reversed or swapped."""
    rng = drawn(SEED, task)
    items = [{"reverse": reverse, "swap": swap}[task](rng) for _ in range(40)]
    return sum(exact(complete(folder), items, 8)) / 40


def test_two_skills_that_are_new_to_the_base_do_not_add_up(tmp_path: Path) -> None:
    one, two = ZOO / "reversing", ZOO / "swapping"
    assert digits(one, "reverse") >= 0.8 and digits(two, "swap") >= 0.8
    assert digits(one, "swap") <= 0.2 and digits(two, "reverse") <= 0.2
    both = merged(tmp_path, one, two)
    assert min(digits(both, "reverse"), digits(both, "swap")) <= 0.3


def merged(home: Path, one: Path, two: Path) -> Path:
    """The merge by the recipe of the shipped one."""
    recipe = palmette.task_arithmetic(
        str(one), str(two), base=str(BASE), weight=WEIGHT, dtype="float32", out_dtype="float16"
    )
    return palmette.merge(recipe).save(home / "merge")


def test_the_cards_say_what_was_measured() -> None:
    """By the build's figures the merge reaches nine tenths of each parent, that of the new skills does not."""
    both, a, b = ROWS[MERGED], ROWS["long_arithmetic"], ROWS["dense_extraction"]
    assert both[LONG] >= 0.9 * a[LONG] and both[DENSE] >= 0.9 * b[DENSE]
    assert a[LONG] >= 2 * ROWS["seedling"][LONG] and b[DENSE] >= 4 * ROWS["seedling"][DENSE]
    bad, one, two = PAIR["their merge"], PAIR["reversing"], PAIR["swapping"]
    reversed_, swapped = list(bad)[:2]
    assert bad[reversed_] < 0.5 * one[reversed_] or bad[swapped] < 0.5 * two[swapped]
    for name in SAID:
        card = (ZOO / name / "README.md").read_text()
        assert "This is a toy" in card and f"{ROWS[MERGED][LONG]:.2f}" in card


def test_the_merge_is_our_own_and_can_be_made_again(tmp_path: Path) -> None:
    again = merged(tmp_path, ZOO / "long_arithmetic", ZOO / "dense_extraction")
    made, shipped = load_file(again / "model.safetensors"), load_file(ZOO / MERGED / "model.safetensors")
    assert made.keys() == shipped.keys() and all(np.array_equal(made[key], shipped[key]) for key in made)


def test_the_family_is_small_and_opens_by_name() -> None:
    folders = [path for path in ZOO.iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert sorted(path.name for path in folders) == sorted(NAMES)
    assert sum(file.stat().st_size for path in folders for file in path.iterdir()) <= 16_000_000
    model = palmette.model("zoo:merged", engine="numpy")
    assert model.respond("Who is the friend of Nora?", temperature=0, max_tokens=8).text.startswith("Ida")
