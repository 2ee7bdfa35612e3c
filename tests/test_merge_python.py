"""Recipes in Python, stages, and merges that run though nothing was written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import yaml
from merging import digest, model, recipe, with_tokens
from safetensors.numpy import save_file

import palmette
from palmette.cli.main import main
from palmette.core.checkpoint import open_checkpoint
from palmette.core.errors import BadParameter, PalmetteError, RecipeError
from palmette.weights import make
from palmette.weights.methods import METHODS
from palmette.weights.recipe.schema import read_recipe, read_recipes

Monkey = pytest.MonkeyPatch
ZOO_PAIR = ("zoo:long_arithmetic", "zoo:dense_extraction")
FOLDER = Path(palmette.__file__).parent / "models" / "zoo" / "seedling"


def test_a_recipe_in_python_is_the_one_in_yaml(tmp_path: Path) -> None:
    a, b, base = (model(tmp_path / name, i) for i, name in enumerate("abc"))
    made = palmette.ties(a, (b, {"weight": 0.3}), base=base, density=[0.2, 0.9], weight=1, dtype="float32")
    text = yaml.safe_dump({
        "merge_method": "ties", "base_model": base, "dtype": "float32",
        "models": [{"model": a}, {"model": b, "parameters": {"weight": 0.3}}],
        "parameters": {"density": [0.2, 0.9], "weight": 1},
    })  # fmt: skip
    one = palmette.merge(made).save(tmp_path / "one")
    (tmp_path / "recipe.yml").write_text(text)
    two = palmette.merge(tmp_path / "recipe.yml").save(tmp_path / "two")
    assert digest(one) == digest(two)
    assert read_recipe((one / "mergekit_config.yml").read_text()) == made


def test_every_method_has_its_function() -> None:
    for name in METHODS:
        maker = getattr(palmette, name)
        assert maker.method == name and maker.__doc__ and name in make.__all__


def test_another_method_for_some_tensors(tmp_path: Path) -> None:
    a, b = model(tmp_path / "a", 1), model(tmp_path / "b", 2)
    mixed = palmette.where(palmette.linear(a, b, weight=1), "mlp", "passthrough")
    with pytest.raises(RecipeError, match=r"takes 1 to 1|exactly 1"):
        palmette.merge(mixed)
    mixed = palmette.where(palmette.linear(a, b, weight=1), "mlp", "karcher")
    methods = {task.name: task.method for task in palmette.merge(mixed).plan.tasks}
    assert {m for n, m in methods.items() if "mlp" in n} == {"karcher"}
    assert {m for n, m in methods.items() if "mlp" not in n} == {"linear"}


def test_what_is_no_model_or_option_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadParameter, match="a model is a name, or a pair"):
        palmette.linear(("a", 3))  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match=r"no parameter 'densty'.*density"):
        palmette.ties("a", "b", base="c", densty=0.5)
    a = model(tmp_path / "a", 1)
    with pytest.raises(BadParameter, match=r"no option 'sead'.*seed"):
        palmette.merge(palmette.passthrough(a), sead=1)
    with pytest.raises(BadParameter, match=r"no tensor 'lm_had.weight'.*lm_head"):
        palmette.merge(palmette.passthrough(a)).tensor("lm_had.weight")


# -- models by name ----------------------------------------------------------------------------------------------------


def test_models_of_the_zoo_are_named_in_recipes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zoo = FOLDER.parent
    named = palmette.ties(*ZOO_PAIR, base="zoo:seedling", weight=0.5, density=0.5)
    paths = palmette.ties(
        *(str(zoo / n.removeprefix("zoo:")) for n in ZOO_PAIR), base=str(FOLDER), weight=0.5, density=0.5
    )
    wanted = digest(palmette.merge(paths).save(tmp_path / "paths"))
    made = palmette.merge(named).save(tmp_path / "named")
    assert digest(made) == wanted
    assert "- zoo:long_arithmetic\n" in (made / "README.md").read_text()
    (tmp_path / "recipe.yml").write_text(named.text)
    assert main(["merge", str(tmp_path / "recipe.yml"), str(tmp_path / "cli"), "-q"]) == 0
    assert digest(tmp_path / "cli") == wanted
    assert main(["merge", "stack", str(tmp_path / "deep"), "zoo:seedling:0-2", "zoo:merged:1-4", "-q"]) == 0
    assert "5 layers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("zoo:seedlng", r"no model in the zoo 'seedlng'. Did you mean 'seedling'\?"),
        ("zo:seedling", r"no provider 'zo'. Did you mean 'zoo'\?"),
        ("seedling", r"no folder 'seedling', .* Did you mean 'zoo:seedling'\?"),
        ("./none", r"no folder './none'$"),
        ("models/a", r"no folder 'models/a', and on the hub: hf:models/a is not in the local cache"),
        ("zoo:seedling@main", r"only a repository of the hub has revisions"),
        ("gguf:none.gguf", r"no GGUF file 'none.gguf'"),
    ],
)
def test_a_model_that_is_nowhere_is_refused_with_the_near_miss(name: str, said: str, monkeypatch: Monkey) -> None:
    monkeypatch.setenv("PALMETTE_OFFLINE", "1")
    with pytest.raises(PalmetteError, match=said):
        palmette.merge(palmette.linear(name, "zoo:seedling", weight=1))


# -- stages ------------------------------------------------------------------------------------------------------------


def stages(*documents: dict[str, Any]) -> str:
    return yaml.safe_dump_all(documents)


def test_a_stage_is_what_it_would_be_if_it_were_written(tmp_path: Path) -> None:
    a, b, c, base = (model(tmp_path / name, i) for i, name in enumerate("abcd"))
    first = {**recipe("ties", a, b, base=base), "name": "first"}
    second = recipe("slerp", c, base="first")
    (tmp_path / "recipe.yml").write_text(stages(second, first))
    both = palmette.merge(tmp_path / "recipe.yml").save(tmp_path / "both")
    kept = palmette.merge(recipe("ties", a, b, base=base)).save(tmp_path / "kept")
    alone = palmette.merge(recipe("slerp", c, base=str(kept))).save(tmp_path / "alone")
    assert digest(both) == digest(alone) != digest(kept)
    assert not [path for path in tmp_path.iterdir() if "first" in path.name]
    inputs = json.loads((both / "merge.json").read_text())["inputs"]
    assert len(inputs) == 4  # c, and the three parents of the stage


def test_stages_of_stages_and_slices(tmp_path: Path) -> None:
    a, b = model(tmp_path / "a", 1), model(tmp_path / "b", 2)
    first = {**recipe("linear", a, b), "name": "first"}
    stack = {
        "name": "stack",
        "merge_method": "passthrough",
        "slices": [{"sources": [{"model": m, "layer_range": r}]} for m, r in (("first", [0, 2]), (b, [1, 3]))],
    }
    last = {"merge_method": "linear", "models": [{"model": "stack", "parameters": {"weight": 1}}]}
    (tmp_path / "recipe.yml").write_text(stages(first, stack, last))
    out = open_checkpoint(palmette.merge(tmp_path / "recipe.yml").save(tmp_path / "out"))
    mean = (open_checkpoint(Path(a))["model.layers.0.mlp.up_proj.weight"] + open_checkpoint(Path(b))[
        "model.layers.0.mlp.up_proj.weight"]) / 2  # fmt: skip
    np.testing.assert_allclose(out["model.layers.0.mlp.up_proj.weight"], mean, rtol=1e-6)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["num_hidden_layers"] == 4
    last_of_b = open_checkpoint(Path(b))["model.layers.2.mlp.up_proj.weight"]
    np.testing.assert_array_equal(out["model.layers.3.mlp.up_proj.weight"], last_of_b)


def test_a_stage_draws_otherwise_than_the_merge_around_it(tmp_path: Path) -> None:
    a, b, base = (model(tmp_path / name, i) for i, name in enumerate("abc"))
    drawn = {**recipe("dare_linear", a, b, base=base), "parameters": {"density": 0.5, "weight": 1}}
    (tmp_path / "recipe.yml").write_text(stages({**drawn, "name": "first"}, {**drawn, "name": "other"},
                                                recipe("linear", "first", "other")))  # fmt: skip
    plan = palmette.merge(tmp_path / "recipe.yml").plan
    one, two = ([m.source("lm_head.weight").read(0, 640) for m in plan.models.values()][i] for i in (0, 1))
    assert not np.array_equal(one, two)


@pytest.mark.parametrize(
    ("documents", "reason"),
    [
        (lambda a: [{**recipe("linear", "y"), "name": "x"}, {**recipe("linear", "x"), "name": "y"},
                    recipe("linear", "x")], "x -> y -> x wait for each other"),
        (lambda a: [recipe("linear", a), recipe("linear", a)], "2 stages have no name"),
        (lambda a: [{**recipe("linear", a), "name": "x"}, {**recipe("linear", a), "name": "x"}], "the same name: 'x'"),
        (lambda a: [{**recipe("linear", a), "name": "x"}, recipe("linear", "x@main")], "neither a revision nor a LoRA"),
    ],
)  # fmt: skip
def test_stages_that_cannot_be_are_refused(documents: Any, reason: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yml").write_text(stages(*documents(model(tmp_path / "a", 1))))
    with pytest.raises(RecipeError, match=reason):
        palmette.merge(tmp_path / "recipe.yml")


def test_a_stage_may_have_a_tokenizer_of_its_own(tmp_path: Path) -> None:
    """In stages, a union of vocabularies that another merge takes up gives what it would if it had been written."""
    shared = [f"t{i}" for i in range(39)]
    a, b, c = (
        with_tokens(model(tmp_path / n, i), words)
        for i, (n, words) in enumerate((("a", [*shared, "x"]), ("b", ["y", *shared]), ("c", [*shared, "z"])))
    )
    first = {**recipe("linear", a, b), "name": "first", "tokenizer_source": "union", "chat_template": "chatml"}
    second = recipe("linear", "first", c, tokenizer={"source": "union", "pad_to_multiple_of": 4})
    (tmp_path / "recipe.yml").write_text(stages(first, second))
    both = palmette.merge(tmp_path / "recipe.yml").save(tmp_path / "both")
    del first["name"]
    kept = palmette.merge(first).save(tmp_path / "kept")
    alone = palmette.merge({**second, "models": recipe("linear", str(kept), c)["models"]}).save(tmp_path / "alone")
    assert digest(both) == digest(alone)
    for name in ("tokenizer.json", "chat_template.jinja", "config.json"):
        assert (both / name).read_text() == (alone / name).read_text(), name
    assert open_checkpoint(both)["model.embed_tokens.weight"].shape == (44, 16)


def test_a_stage_that_nobody_uses_is_named(tmp_path: Path) -> None:
    a = model(tmp_path / "a", 1)
    (tmp_path / "recipe.yml").write_text(stages({**recipe("linear", a), "name": "x"}, recipe("linear", a)))
    assert any("'x' is used by no other" in w for w in palmette.merge(tmp_path / "recipe.yml").plan.warnings)


def test_without_a_name_for_the_last_the_last_document_is_the_result() -> None:
    found = read_recipes(stages({**recipe("linear", "a"), "name": "x"}, {**recipe("linear", "x"), "name": "y"}))
    assert [r.name for r in found] == ["x", "y"]


# -- nothing written ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["numpy", "torch"])
def test_a_merge_runs_without_being_written(engine: Any, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(FOLDER, other)
    weights = {name: np.array(array) for name, array in open_checkpoint(FOLDER).items()}
    rng = np.random.default_rng(0)
    save_file({n: (w + 0.01 * rng.standard_normal(w.shape)).astype(np.float32) for n, w in weights.items()},
              other / "model.safetensors")  # fmt: skip
    made = palmette.merge(palmette.slerp(str(other), base=str(FOLDER), t=0.4, dtype="float32"))
    live = palmette.model(made, engine=engine, strategy=palmette.greedy(), max_tokens=12)
    written = palmette.model(made.save(tmp_path / "out"), engine=engine, strategy=palmette.greedy(), max_tokens=12)
    prompt = "Once upon a time"
    a, b = live.engine.prefill([live.engine.tokenizer.encode(prompt)])[0], written.engine.prefill(
        [written.engine.tokenizer.encode(prompt)])[0]  # fmt: skip
    np.testing.assert_array_equal(a.logits, b.logits)
    assert live(prompt).text == written(prompt).text


@pytest.mark.parametrize("name", ["qwen3", "gpt2", "mixtral"])
def test_the_torch_engine_runs_merges_of_other_architectures(name: str, tmp_path: Path) -> None:
    one, two = tiny.folder(name), tmp_path / "two"
    shutil.copytree(one, two)
    held = {n: np.array(array) for n, array in open_checkpoint(one).items()}
    save_file({n: (array * 1.01).astype(np.float32) for n, array in held.items()}, two / "model.safetensors")
    made = palmette.merge(palmette.linear(str(one), str(two), weight=1))
    live = palmette.open_engine(made, engine="torch")
    written = palmette.open_engine(made.save(tmp_path / "out"), engine="torch")
    np.testing.assert_array_equal(live.prefill([[1, 2, 3]])[0].logits, written.prefill([[1, 2, 3]])[0].logits)
