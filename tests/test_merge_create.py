"""Models made of models: adapters extracted, experts assembled, layers stacked; each against what it is defined by."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import yaml
from merging import CONFIG, SHAPES, digest, model
from safetensors.numpy import load_file, save_file

from palmette.cli.main import main
from palmette.core.checkpoint import open_checkpoint
from palmette.core.errors import BadParameter, MismatchedModels, OutputError, RecipeError, UnsupportedArchitecture
from palmette.weights.create.extract import decompose, extract
from palmette.weights.create.moe import build, read_mixture
from palmette.weights.create.regmean import regmean, solve
from palmette.weights.create.stack import shuffled, stacked
from palmette.weights.merge import merge


def changed(folder: Path, other: Path, names: str = "", rank: int = 3, seed: int = 0) -> Path:
    """A copy with a change of low rank to every matrix whose name holds `names`."""
    shutil.copytree(folder, other)
    rng, made = np.random.default_rng(seed), {}
    for name, array in load_file(folder / "model.safetensors").items():
        made[name] = array
        if array.ndim == 2 and re.search(names, name) and not re.search("embed|wte|wpe|lm_head", name):
            up, down = rng.standard_normal((array.shape[0], rank)), rng.standard_normal((rank, array.shape[1]))
            made[name] = (array + 0.1 * up @ down).astype(np.float32)
    save_file(made, other / "model.safetensors", metadata={"format": "pt"})
    return other


# -- adapters --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_an_adapter_of_enough_rank_turns_the_base_into_the_tuned_model(name: str, tmp_path: Path) -> None:
    base = tiny.folder(name)
    tuned = changed(base, tmp_path / "tuned")
    made = extract(str(base), str(tuned), tmp_path / "adapter", rank=3)
    assert min(made.kept.values()) > 0.9999 and not made.left_out
    out = merge({"merge_method": "passthrough", "models": [{"model": f"{base}+{made.folder}"}]}).save(tmp_path / "out")
    found, wanted = open_checkpoint(out), open_checkpoint(tuned)
    for key in wanted:
        np.testing.assert_allclose(found[key], wanted[key], atol=2e-6, err_msg=key)


def test_an_adapter_of_less_rank_is_the_best_there_is(tmp_path: Path) -> None:
    base = tiny.folder("llama")
    tuned = changed(base, tmp_path / "tuned", "mlp", rank=8)
    made = extract(str(base), str(tuned), tmp_path / "adapter", rank=4, include="mlp", dtype="bfloat16")
    key = "model.layers.0.mlp.up_proj.weight"
    change = open_checkpoint(tuned)[key] - open_checkpoint(base)[key]
    values = np.linalg.svd(change, compute_uv=False)
    assert made.kept[key] == pytest.approx((values[:4] ** 2).sum() / (values**2).sum(), rel=1e-4)  # Eckart–Young
    config = json.loads((made.folder / "adapter_config.json").read_text())
    assert config["r"] == 4 and key.removesuffix(".weight") in config["target_modules"]
    assert {i.dtype for i in open_checkpoint_of(made.folder).values()} == {"BF16"}


def open_checkpoint_of(folder: Path) -> dict[str, Any]:
    from palmette.core.checkpoint import read_header

    return read_header(folder / "adapter_model.safetensors")


def test_the_quick_decomposition_equals_the_whole_one() -> None:
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((n, 600)))[0] for n in (800, 700))
    matrix = ((left * 0.95 ** np.arange(600)) @ right.T).astype(np.float32)
    u, s, v = decompose(matrix, 20, 1)
    np.testing.assert_allclose(s, 0.95 ** np.arange(20), rtol=1e-3)
    best = np.sqrt((0.95 ** (2 * np.arange(20, 600))).sum())
    assert np.linalg.norm(matrix - (u * s) @ v.T) < 1.001 * best


def test_what_no_adapter_can_hold_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = model(tmp_path / "base", 0)
    tuned = model(tmp_path / "tuned", 1)
    assert main(["merge", "extract", base, tuned, str(tmp_path / "a"), "--rank", "2", "-q"]) == 0
    said = capsys.readouterr()
    assert "6 matrices of rank 2" in said.out and "not in the adapter: 6 changed tensors" in said.err
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]
    with pytest.raises(OutputError, match="exists already"):
        extract(base, tuned, tmp_path / "a")
    with pytest.raises(BadParameter, match="no matrix is left"):
        extract(base, tuned, tmp_path / "b", include="nothing")
    other = model(tmp_path / "other", 1, **{"model.norm.weight": None})
    with pytest.raises(MismatchedModels, match=r"'model.norm.weight' is in one of"):
        extract(base, other, tmp_path / "b")


def test_an_extraction_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    base, tuned = model(tmp_path / "base", 0), model(tmp_path / "tuned", 1)
    whole = extract(base, tuned, tmp_path / "whole", rank=2)

    def stop(done: int, of: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(base, tuned, tmp_path / "out", rank=2, progress=stop)
    assert len(list(tmp_path.glob(".out.parts-*/*.npz"))) == 3
    made = extract(base, tuned, tmp_path / "out", rank=2)
    one, two = (p.folder / "adapter_model.safetensors" for p in (whole, made))
    assert one.read_bytes() == two.read_bytes()


# -- mixtures of experts ---------------------------------------------------------------------------------------


def mixture(base: Path, *experts: Path, gate: str = "random", **more: Any) -> dict[str, Any]:
    rows = [{"source_model": str(e), "positive_prompts": [f"prompt {i}"]} for i, e in enumerate(experts)]
    return {"base_model": str(base), "gate_mode": gate, "experts": rows, "experts_per_token": 2, **more}


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen3", "qwen2"])
def test_a_mixture_of_the_same_expert_is_the_dense_model(name: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    base = tiny.folder(name)
    more = {"shared_experts": [{"source_model": str(base)}]} if name == "qwen2" else {}
    made = build(read_mixture(mixture(base, base, base, base, **more), ""), tmp_path / "out", shard_size=50_000)
    loaded, info = AutoModelForCausalLM.from_pretrained(made, output_loading_info=True, dtype=torch.float32)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    if name != "qwen2":  # its shared expert is added on top
        dense = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        ids = torch.tensor([[5, 6, 7, 8, 9]])
        with torch.no_grad():
            torch.testing.assert_close(loaded(ids).logits, dense(ids).logits, rtol=1e-4, atol=1e-5)


def test_gates_point_to_what_an_expert_is_for(tmp_path: Path) -> None:
    """A gate set by the states of a prompt prefers that prompt's expert, layer by layer."""
    from palmette.models.moe import states_of
    from palmette.models.resolve import folder_of, parse_reference

    base = folder_of(parse_reference("zoo:seedling"))
    said = mixture(base, base, base, gate="hidden", experts_per_token=1)
    prompts = ["Once upon a time there was a girl", "12 + 30 = 42 and 7"]
    for row, prompt in zip(said["experts"], prompts, strict=True):
        row["positive_prompts"] = [prompt]
    states = states_of(base)
    made = open_checkpoint(build(read_mixture(said, ""), tmp_path / "out", states=states))
    for number, prompt in enumerate(prompts):
        for layer, state in enumerate(states([prompt])[0]):
            scores = made[f"model.layers.{layer}.block_sparse_moe.gate.weight"] @ state
            assert int(scores.argmax()) == number
    cheap = open_checkpoint(build(read_mixture({**said, "gate_mode": "cheap_embed"}, ""), tmp_path / "cheap"))
    rows = [cheap[f"model.layers.{layer}.block_sparse_moe.gate.weight"] for layer in range(2)]
    np.testing.assert_array_equal(rows[0], rows[1])
    np.testing.assert_allclose(np.linalg.norm(rows[0], axis=1), 1, rtol=1e-3)


def test_random_gates_are_the_seeds_and_experts_are_not_lost(tmp_path: Path) -> None:
    base = tiny.folder("llama")
    other = changed(base, tmp_path / "other")
    said = mixture(base, base, other)
    (tmp_path / "r.yml").write_text(yaml.safe_dump(said))
    command = ["merge", "moe", str(tmp_path / "r.yml")]
    for name, seed in (("one", "1"), ("again", "1"), ("two", "2")):
        assert main([*command, str(tmp_path / name), "--seed", seed, "-q"]) == 0
    assert digest(tmp_path / "one") == digest(tmp_path / "again") != digest(tmp_path / "two")
    found, wanted = open_checkpoint(tmp_path / "one"), open_checkpoint(other)
    np.testing.assert_array_equal(
        found["model.layers.1.block_sparse_moe.experts.1.w2.weight"], wanted["model.layers.1.mlp.down_proj.weight"]
    )


def test_mixtures_that_cannot_be_are_refused(tmp_path: Path) -> None:
    base = tiny.folder("llama")
    with pytest.raises(RecipeError, match="Did you mean 'gate_mode'"):
        read_mixture({**mixture(base, base, base), "gatemode": "hidden"}, "")
    with pytest.raises(RecipeError, match="needs prompts"):
        read_mixture({"base_model": "a", "gate_mode": "hidden", "experts": [{"source_model": "b"}]}, "")
    with pytest.raises(RecipeError, match="should be 1 to 2, the number of experts, not 3"):
        read_mixture(mixture(base, base, base, experts_per_token=3), "")
    with pytest.raises(UnsupportedArchitecture, match="not of 'gpt2'"):
        build(read_mixture(mixture(tiny.folder("gpt2"), base, base), ""), tmp_path / "x")
    shared = {"shared_experts": [{"source_model": str(base)}]}
    with pytest.raises(RecipeError, match="no shared experts"):
        build(read_mixture(mixture(base, base, base, **shared), ""), tmp_path / "x")
    narrow = model(tmp_path / "narrow", 0)
    with pytest.raises(MismatchedModels, match="the expert"):
        build(read_mixture(mixture(base, base, Path(narrow)), ""), tmp_path / "x")
    assert not (tmp_path / "x").exists()


# -- stacks ----------------------------------------------------------------------------------------------------


def test_pieces_are_stacked_in_their_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = model(tmp_path / "a", 1), model(tmp_path / "b", 2)
    assert main(["merge", "stack", str(tmp_path / "out"), f"{a}:0-2", b, "-q"]) == 0
    found, one, two = (open_checkpoint(Path(f)) for f in (tmp_path / "out", a, b))
    name = "model.layers.{}.mlp.up_proj.weight"
    for at, (source, layer) in enumerate([(one, 0), (one, 1), (two, 0), (two, 1), (two, 2)]):
        np.testing.assert_array_equal(found[name.format(at)], source[name.format(layer)])
    np.testing.assert_array_equal(found["lm_head.weight"], two["lm_head.weight"])
    assert json.loads((tmp_path / "out" / "config.json").read_text())["num_hidden_layers"] == 5
    assert main(["merge", "stack", "-", f"{a}:1-2", "--dry-run"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["slices"][0]["sources"][0]["layer_range"] == [1, 2]
    with pytest.raises(BadParameter, match="has the layers 0 to 2"):
        stacked([f"{a}:0-9"])


def test_a_shuffle_draws_by_the_seed_alone(tmp_path: Path) -> None:
    a, b = model(tmp_path / "a", 1), model(tmp_path / "b", 2)
    one, again = (shuffled([a, b], seed) for seed in (1, 1))
    assert one == again and any(shuffled([a, b], seed) != one for seed in range(2, 12))
    assert [s["sources"][0]["layer_range"][0] for s in one["slices"]] == [0, 1, 2]
    assert len(merge(shuffled([a], 3, anywhere=True)).plan.tasks) == 12
    with pytest.raises(BadParameter, match="needs two models"):
        shuffled([a], 1)
    gone = {name: None for name in SHAPES if re.search(r"layers\.[12]", name)}
    deep = model(tmp_path / "deep", 1, {**CONFIG, "num_hidden_layers": 1}, **gone)
    with pytest.raises(BadParameter, match="of one depth"):
        shuffled([a, deep], 1)


# -- RegMean -----------------------------------------------------------------------------------------------------------


def test_regmean_is_the_least_squares_solution() -> None:
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((50, 6)) * rng.uniform(0.1, 3, 6) for _ in range(3)]
    weights = [rng.standard_normal((4, 6)) for _ in range(3)]
    found = solve(weights, [x.T @ x for x in inputs], alpha=1.0)
    stacked = np.vstack(inputs), np.vstack([x @ w.T for x, w in zip(inputs, weights, strict=True)])
    wanted = np.linalg.lstsq(*stacked, rcond=None)[0].T
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    same = solve([weights[0]] * 3, [x.T @ x for x in inputs])
    np.testing.assert_allclose(same, weights[0], rtol=1e-9)
    dead = solve(weights[:2], [np.zeros((6, 6))] * 2)  # no input at all: the average
    np.testing.assert_allclose(dead, (weights[0] + weights[1]) / 2, rtol=1e-6)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_regmean_keeps_a_layers_outputs_better_than_the_average(name: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from palmette.models.grams import measure_grams
    from palmette.models.measure import Example

    base = tiny.folder(name)
    other = changed(base, tmp_path / "other")
    texts = {base: ["abc abc abc", "hello there"], other: ["12 34 56 78", "xyz zyx"]}
    grams = []
    for i, (folder, said) in enumerate(texts.items()):
        (tmp_path / str(i)).mkdir()
        grams.append(measure_grams(folder, [Example("", text) for text in said], tmp_path / str(i)))
    made = regmean([str(base), str(other)], grams, "x", alpha=1.0, turned=name == "gpt2")
    out = open_checkpoint(made.save(tmp_path / "out", block=100))
    one, two = open_checkpoint(base), open_checkpoint(other)
    assert {t.name for t in made.plan.tasks if t.method == "passthrough"} == set(grams[0])

    def loss(key: str, weight: Any) -> float:
        total = 0.0
        for gram, model_ in zip(grams, (one, two), strict=True):
            apart = (weight - model_[key]).astype(np.float64)
            apart = apart if name == "gpt2" else apart.T  # (in, out)
            total += float(np.sum(apart * (gram[key] @ apart)))
        return total

    for key in grams[0]:
        assert loss(key, out[key]) <= loss(key, (one[key] + two[key]) / 2) * (1 + 1e-6), key
    command = ["merge", "regmean", str(base), str(other), "--data", str(tmp_path / "t.txt"), "-q"]
    (tmp_path / "t.txt").write_text("a few words to look at")
    assert main([*command, "--out", str(tmp_path / "cli")]) == 0
    assert set(open_checkpoint(tmp_path / "cli")) == set(out)
