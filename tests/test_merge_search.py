"""Searching merges: the search finds minima, every point is an ordinary recipe, and the account of it is honest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file

import palmette
from palmette.cli.main import main
from palmette.core.errors import BadParameter, UsageError
from palmette.models.measure import Example, Measure, read_examples
from palmette.models.resolve import open_engine
from palmette.weights.merge import Merge, merge
from palmette.weights.recipe.schema import recipe_of
from palmette.weights.search.cma import CMA
from palmette.weights.search.coordinates import Coordinates
from palmette.weights.search.search import cocktail, search

SEEDLING = Path(palmette.__file__).parent / "models" / "zoo" / "seedling"


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy, and two neighbours of it that noise has spoiled: `base` and `b`; `a` is the toy itself."""
    home = tmp_path_factory.mktemp("family")
    held = load_file(SEEDLING / "model.safetensors")
    for name, seed, noise in (("base", 1, 0.4), ("a", 2, 0.0), ("b", 3, 0.4)):
        shutil.copytree(SEEDLING, home / name)
        rng = np.random.default_rng(seed)
        made = {k: (v + noise * v.std() * rng.standard_normal(v.shape)).astype(v.dtype) for k, v in held.items()}
        save_file(made, home / name / "model.safetensors", metadata={"format": "pt"})
    return home


def recipe(home: Path, method: str = "task_arithmetic", weight: Any = 0.3) -> dict[str, Any]:
    models = [{"model": str(home / name), "parameters": {"weight": weight}} for name in ("a", "b")]
    return {"merge_method": method, "base_model": str(home / "base"), "models": models}


@pytest.mark.parametrize("seed", range(3))
def test_cma_finds_the_bottom_of_a_tilted_narrow_valley(seed: int) -> None:
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((5, 5)))[0]
    scales = np.array([1, 3, 10, 30, 100.0])
    bottom = np.array([0.3, 0.6, 0.5, 0.45, 0.7])
    engine = CMA([0.5] * 5, seed=seed)
    for _ in range(250):
        found = engine.ask()
        assert all(((x >= 0) & (x <= 1)).all() for x in found)
        engine.tell(found, [float(np.sum((scales * (turn @ (x - bottom))) ** 2)) for x in found])
    assert np.abs(engine.mean - bottom).max() < 1e-2


def test_cma_reaches_a_corner_and_survives_infinity() -> None:
    engine = CMA([0.5, 0.5], seed=0)
    for _ in range(60):
        found = engine.ask()
        engine.tell(found, [float("inf") if x[0] > 0.9 else float(x[1] - x[0]) for x in found])
    assert engine.mean[0] > 0.8 and engine.mean[1] < 0.1


def test_coordinates_are_places_in_an_ordinary_recipe(tmp_path: Path) -> None:
    said = recipe(tmp_path, "ties", [{"filter": "mlp", "value": 0.2}, {"value": 0.4}])
    moving = Coordinates.of([said], ["weight", "density"], groups=2)
    assert len(moving.rows) == 2 * 4 + 2 * 2  # two filters, then two ends of a gradient each; densities likewise
    assert moving.start[:4] == [0.2, 0.2, 0.4, 0.4] and set(moving.start[8:]) == {1.0}
    point = [round(0.1 + 0.05 * i, 4) for i in range(12)]
    made = moving.document(point)
    assert made["models"][0]["parameters"]["weight"][0] == {"filter": "mlp", "value": point[:2]}
    assert recipe_of(made, json.dumps(made)).method == "ties"
    assert said == recipe(tmp_path, "ties", [{"filter": "mlp", "value": 0.2}, {"value": 0.4}])  # untouched
    assert moving.point(moving.unit(point)) == pytest.approx(point)
    with pytest.raises(BadParameter, match="Did you mean 'density'"):
        Coordinates.of([said], ["densty"])
    with pytest.raises(BadParameter, match="no coefficient"):
        Coordinates.of([{"merge_method": "arcee_fusion", "base_model": "a", "models": [{"model": "b"}]}])


def distance(wanted: list[float]) -> Any:
    """A loss that knows the answer: how far the merge's weights are from the wanted ones; eight equal examples."""

    def loss(made: Merge) -> np.ndarray[Any, Any]:
        found = made.plan.tasks[0].parameters.get("weight") or [0.0]
        apart = float(np.sum((np.resize(found, len(wanted)) - np.array(wanted)) ** 2))
        return np.full(8, 1.0 + apart)

    return loss


def test_a_search_finds_the_coefficients_that_the_loss_asks_for_and_resumes(family: Path, tmp_path: Path) -> None:
    moving = Coordinates.of([recipe(family)])
    store = tmp_path / "points"
    one = search(moving, distance([0.8, 0.1]), np.ones(8), evaluations=80, seed=1, store=store)
    np.testing.assert_allclose(one.point, [0.8, 0.1], atol=0.05)
    store.write_text(store.read_text()[:-20])  # killed in the middle of a line
    calls: list[int] = []

    def counted(made: Merge) -> np.ndarray[Any, Any]:
        calls.append(1)
        found: np.ndarray[Any, Any] = distance([0.8, 0.1])(made)
        return found

    two = search(moving, counted, np.ones(8), evaluations=80, seed=1, store=store)
    assert two.point == one.point and len(calls) == 1 and two.rows == one.rows


def test_a_cocktail_weighs_models_by_their_own_losses(family: Path) -> None:
    """LM-Cocktail's formula; the better a model alone, the more it weighs."""
    said = recipe(family, "linear")
    del said["base_model"]
    moving = Coordinates.of([said])
    a, b = (str(family / name) for name in ("a", "b"))
    assert cocktail(moving, {a: 1.0, b: 1.0 + 0.2 * np.log(4)}, 0.2) == pytest.approx([0.8, 0.2])

    def loss(made: Merge) -> np.ndarray[Any, Any]:
        names = [str(model) for model in made.plan.models.values()]
        return np.full(8, 1.0 if names == [a] else 2.0 if names == [b] else 1.5)

    found = search(moving, loss, np.ones(8), by="cocktail")
    assert found.point == pytest.approx([1 / (1 + np.exp(-5)), np.exp(-5) / (1 + np.exp(-5))], rel=1e-4)
    assert len(found.history) == 1 and [row.name for row in found.rows] == [a, b, "recipe", "best"]
    with pytest.raises(BadParameter, match="one plain weight for each model"):
        search(Coordinates.of([recipe(family, "ties")], ["weight", "density"]), loss, np.ones(8), by="cocktail")


def test_a_surrogate_takes_the_bottom_of_the_surface_it_has_fitted(family: Path) -> None:
    pytest.importorskip("scipy")
    found = search(Coordinates.of([recipe(family)]), distance([0.8, 0.1]), np.ones(8), evaluations=30, by="surrogate")
    np.testing.assert_allclose(found.point, [0.8, 0.1], atol=1e-4)  # the loss is a polynomial
    assert len(found.history) == 26
    with pytest.raises(BadParameter, match="needs 10 evaluations, not 5"):
        search(Coordinates.of([recipe(family)]), distance([0.8, 0.1]), np.ones(8), evaluations=5, by="surrogate")
    with pytest.raises(BadParameter, match="one or two coordinates, not 4"):
        search(Coordinates.of([recipe(family)], groups=2), distance([0.8, 0.1]), np.ones(8), by="surrogate")


def test_the_command_measures_parents_and_candidates_and_writes_the_best(
    family: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r.yml").write_text(yaml.safe_dump(recipe(family)))
    toy = palmette.model("zoo:seedling", max_tokens=30)
    told = [{"prompt": "Once upon", "answer": f" a time{toy('Once upon a time', seed=i).text}"} for i in range(8)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, told)))
    command = ["merge", "search", str(tmp_path / "r.yml"), "--eval", str(tmp_path / "t.jsonl"), "--examples", "8",
               "--evaluations", "4", "--engine", "numpy", "--json", "-q"]  # fmt: skip
    assert main([*command, "--out", str(tmp_path / "best.yml")]) == 0
    best = yaml.safe_load((tmp_path / "best.yml").read_text())
    said = json.loads(capsys.readouterr().out)
    assert said["against"].endswith("/a") and len(said["rows"]) == 5  # base, a, b, the recipe, the best
    assert [entry["parameters"]["weight"] for entry in best["models"]] == said["point"]
    assert {row["verdict"] for row in said["rows"][:3] if "/a" not in row["name"]} == {"worse"}
    assert said["rows"][-1]["loss"] < said["rows"][0]["loss"] - 1
    assert merge(tmp_path / "best.yml").plan.recipe.method == "task_arithmetic"
    points = (tmp_path / "best.yml.points").read_text()
    assert main([*command, "--out", str(tmp_path / "best.yml")]) == 0  # measures nothing again
    assert (tmp_path / "best.yml.points").read_text() == points


def test_the_loss_is_the_engines_own_probabilities(tmp_path: Path) -> None:
    engine = open_engine("zoo:seedling", engine="numpy")
    measure = Measure([Example("", "Once upon a time"), Example("Runa is", " very happy")])
    sums = measure.sums(engine)
    ids = engine.tokenizer.encode("Runa is")
    answer = engine.tokenizer.encode_continuation(" very happy")
    node, wanted = engine.prefill([ids])[0], 0.0
    for token in answer:
        logits = node.logits.astype(np.float64)
        wanted -= float(logits[token] - np.log(np.exp(logits - logits.max()).sum()) - logits.max())
        node = engine.extend([node], [[token]])[0]
    assert sums[1] == pytest.approx(wanted, rel=1e-5)
    assert measure.counts(engine.tokenizer)[1] == len(answer)


def test_examples_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"prompt": "a", "answer": "b"}\n{"promt": "a"}\n')
    with pytest.raises(UsageError, match=r"x.jsonl:2: write"):
        read_examples(tmp_path / "x.jsonl")
    (tmp_path / "empty.txt").write_text(" \n")
    with pytest.raises(UsageError, match="holds no example"):
        read_examples(tmp_path / "empty.txt")
    with pytest.raises(UsageError, match="cannot be read"):
        read_examples(tmp_path / "none.txt")
