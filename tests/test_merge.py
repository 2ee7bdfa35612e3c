"""Merging folders: same bytes under any circumstances, nothing lost, nothing half-written, bad input refused."""

from __future__ import annotations

import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import yaml
from merging import SHAPES, digest, model, recipe, usual, with_tokens
from safetensors.numpy import save_file

from palmette.cli.main import main
from palmette.core.checkpoint import open_checkpoint
from palmette.core.errors import (
    MismatchedModels,
    NotFinite,
    OutputError,
)
from palmette.weights.advice import advise
from palmette.weights.execute import merged
from palmette.weights.merge import merge, open_plan
from palmette.weights.methods import METHODS
from palmette.weights.recipe.schema import read_recipe
from palmette.weights.report import report

# -- same bytes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_merge_of_identical_parents_is_the_parent_bit_for_bit(method: str, dtype: Any, tmp_path: Path) -> None:
    held = {name: np.random.default_rng(0).standard_normal(shape).astype(dtype) for name, shape in SHAPES.items()}
    names = [model(tmp_path / n, 0, **held) for n in ("base", "a", "b", "c")]
    row = METHODS[method]
    made = recipe(method, *names[1 : 1 + min(row.most or 3, 3)], base=names[0] if row.base != "unused" else None)
    out = merge(made).save(tmp_path / "out")
    assert digest(out) == digest(tmp_path / "a")


@pytest.mark.parametrize("method", METHODS)
def test_the_same_bytes_for_any_threads_shards_and_blocks(method: str, tmp_path: Path) -> None:
    made = usual(method, tmp_path)
    one = merge(made).save(tmp_path / "one", threads=1)
    two = merge(made).save(tmp_path / "two", threads=5, shard_size=3000, block=100)
    assert digest(one) == digest(two)
    assert len(list(two.glob("*.safetensors"))) > 3 and set(open_checkpoint(two)) == set(SHAPES)
    task = merge(made).plan.tasks[2]
    assert merged(task, 0).tobytes() == np.ascontiguousarray(open_checkpoint(one)[task.name]).tobytes()


def test_the_seed_and_the_models_name_are_all_that_draws_depend_on(tmp_path: Path) -> None:
    made = usual("dare_ties", tmp_path)
    for entry in made["models"]:
        entry["parameters"]["density"] = 0.5
    one, again, other = (digest(merge(made, seed=s).save(tmp_path / f"out{i}")) for i, s in enumerate((1, 1, 2)))
    assert one == again != other


def test_the_same_bytes_under_any_hash_seed(tmp_path: Path) -> None:
    made = usual("dare_linear", tmp_path)
    (tmp_path / "r.yml").write_text(yaml.safe_dump(made))
    found = set()
    for seed in ("1", "2"):
        out = tmp_path / f"out{seed}"
        command = [sys.executable, "-m", "palmette", "merge", str(tmp_path / "r.yml"), str(out)]
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True)
        found.add((out / "model.safetensors").read_bytes())
    assert len(found) == 1


def test_twenty_kills_and_a_resume_give_the_same_bytes(tmp_path: Path) -> None:
    big = {"model.layers.0.mlp.up_proj.weight": (700, 700), "model.layers.1.mlp.up_proj.weight": (700, 700),
           "model.layers.2.mlp.up_proj.weight": (700, 700)}  # fmt: skip
    names = []
    for seed, name in enumerate(("base", "a", "b")):
        arrays = {n: np.random.default_rng(seed).standard_normal(s).astype(np.float32) for n, s in big.items()}
        names.append(model(tmp_path / name, seed, **arrays))
    made = recipe("della", *names[1:], base=names[0])
    for entry in made["models"]:
        entry["parameters"]["density"] = 0.5
    (tmp_path / "r.yml").write_text(yaml.safe_dump(made))
    wanted = digest(merge(tmp_path / "r.yml").save(tmp_path / "whole"))
    before = {name: digest(Path(name)) for name in names}
    out, rng, killed = tmp_path / "out", random.Random(0), 0
    run = (
        "import sys, signal; from palmette.weights.merge import merge\n"
        "made = merge(__import__('pathlib').Path(sys.argv[1])); print('ready', flush=True)\n"
        "made.save(sys.argv[2], threads=2, block=5000)"
    )
    for _ in range(20):
        child = subprocess.Popen([sys.executable, "-c", run, str(tmp_path / "r.yml"), str(out)], stdout=subprocess.PIPE)
        assert child.stdout is not None and child.stdout.readline()
        time.sleep(rng.random() * 0.15)
        assert not out.exists() or child.poll() is not None or digest(out) == wanted  # whole, or not there
        child.send_signal(signal.SIGKILL)
        killed += child.wait() == -signal.SIGKILL
        child.stdout.close()
        if rng.random() < 0.5 and out.exists():
            shutil.rmtree(out)
    assert killed >= 5
    assert digest(merge(tmp_path / "r.yml").save(out)) == wanted
    assert before == {name: digest(Path(name)) for name in names}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".out")]


def test_a_cluster_gives_the_same_bytes_and_names_what_is_wrong(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="RAY IS NOT INSTALLED: merging on a cluster was not tested (pip install ray)")
    made = usual("dare_ties", tmp_path)
    for entry in made["models"]:
        entry["parameters"]["density"] = 0.5
    (tmp_path / "r.yml").write_text(yaml.safe_dump(made))
    wanted = digest(merge(made, seed=3).save(tmp_path / "alone"))
    command = ["merge", str(tmp_path / "r.yml"), str(tmp_path / "out"), "--seed", "3", "--ray", "local", "-q"]
    assert main([*command, "--out-shard-size", "5K"]) == 0
    assert digest(tmp_path / "out") == wanted
    broken = np.full((16,), np.nan, np.float32)
    model(tmp_path / "a", 1, **{"model.norm.weight": broken})
    with pytest.raises(NotFinite, match=r"model.norm.weight"):
        merge(made).save(tmp_path / "other", ray="local")
    assert not [path for path in tmp_path.iterdir() if "other" in path.name]


def test_a_finished_merge_is_not_made_again_and_another_is_not_overwritten(tmp_path: Path) -> None:
    made = usual("linear", tmp_path)
    out = merge(made).save(tmp_path / "out")
    stamp = (out / "model.safetensors").stat().st_mtime_ns
    merge(made).save(out)
    assert (out / "model.safetensors").stat().st_mtime_ns == stamp
    with pytest.raises(OutputError, match="exists already"):
        merge({**made, "out_dtype": "float16"}).save(out)


# -- recipes carried out -------------------------------------------------------------------------------------


def test_gradients_filters_and_precedence_reach_the_tensors(tmp_path: Path) -> None:
    made = usual("slerp", tmp_path)
    made["parameters"] = {"t": [{"filter": "mlp", "value": [0, 0.5, 1]}, {"value": 0.25}]}
    plan = merge(made).plan
    found = {task.name: task.parameters["t"] for task in plan.tasks}
    assert [found[f"model.layers.{i}.mlp.up_proj.weight"] for i in range(3)] == [0, 0.5, 1]
    assert found["model.layers.2.self_attn.q_proj.weight"] == found["lm_head.weight"] == 0.25


def test_slices_stack_layers_and_take_the_ends_from_the_first_and_the_last(tmp_path: Path) -> None:
    a, b = model(tmp_path / "a", 1), model(tmp_path / "b", 2)
    slices = [{"sources": [{"model": a, "layer_range": [0, 2]}]}, {"sources": [{"model": b, "layer_range": [0, 3]}]},
              {"sources": [{"model": a, "layer_range": [3, 3]}]}]  # fmt: skip
    out = merge({"merge_method": "passthrough", "slices": slices}).save(tmp_path / "out")
    found, one, two = open_checkpoint(out), open_checkpoint(Path(a)), open_checkpoint(Path(b))
    assert json.loads((out / "config.json").read_text())["num_hidden_layers"] == 5
    name = "model.layers.{}.mlp.up_proj.weight"
    np.testing.assert_array_equal(found[name.format(1)], one[name.format(1)])
    np.testing.assert_array_equal(found[name.format(4)], two[name.format(2)])
    np.testing.assert_array_equal(found["lm_head.weight"], one["lm_head.weight"])
    assert len(found) == 3 + 5 * 3


def test_a_method_of_its_own_for_some_tensors(tmp_path: Path) -> None:
    made = usual("linear", tmp_path)
    made["base_model"] = str(tmp_path / "base")
    made["palmette"] = {"methods": [{"filter": "mlp", "merge_method": "ties", "parameters": {"density": 0.5}}]}
    methods = {task.name: task.method for task in merge(made).plan.tasks}
    assert methods["model.layers.0.mlp.up_proj.weight"] == "ties" and methods["lm_head.weight"] == "linear"


def test_modules_must_hold_every_tensor(tmp_path: Path) -> None:
    a, b = model(tmp_path / "a", 1), model(tmp_path / "b", 2)
    inner = {"models": [{"model": m, "parameters": {"weight": 1}} for m in (a, b)]}
    both = {"merge_method": "linear", "modules": {"mlp": inner, "default": inner}}
    assert len(merge(both).plan.tasks) == len(SHAPES)
    with pytest.raises(MismatchedModels, match="would be lost: no module"):
        merge({"merge_method": "linear", "modules": {"mlp": inner}})


def test_a_tied_head_and_one_of_its_own_make_one_of_its_own(tmp_path: Path) -> None:
    """mergekit 0.1.5 writes the merged head and leaves tie_word_embeddings true, so that loaders ignore it."""
    tied = model(tmp_path / "tied", 1, {"tie_word_embeddings": True}, **{"lm_head.weight": None})
    own = model(tmp_path / "own", 2)
    out = merge(recipe("linear", tied, own)).save(tmp_path / "out")
    found, one, two = open_checkpoint(out), open_checkpoint(Path(tied)), open_checkpoint(Path(own))
    wanted = (one["model.embed_tokens.weight"] + two["lm_head.weight"]) / 2
    np.testing.assert_allclose(found["lm_head.weight"], wanted, rtol=1e-5, atol=1e-7)
    assert json.loads((out / "config.json").read_text())["tie_word_embeddings"] is False
    both = merge(recipe("linear", tied, tied)).save(tmp_path / "both")
    assert "lm_head.weight" not in open_checkpoint(both)


def test_buffers_that_are_no_floats_are_kept_if_they_agree(tmp_path: Path) -> None:
    ids = {"model.ids": np.arange(4, dtype=np.int64)}
    a, b = model(tmp_path / "a", 1, **ids), model(tmp_path / "b", 2, **ids)
    out = merge(recipe("linear", a, b)).save(tmp_path / "out")
    np.testing.assert_array_equal(open_checkpoint(out)["model.ids"], np.arange(4))
    c = model(tmp_path / "c", 2, **{"model.ids": np.arange(1, 5, dtype=np.int64)})
    with pytest.raises(MismatchedModels, match=r"'model.ids' \(I64\) is no float tensor and differs"):
        merge(recipe("linear", a, c)).save(tmp_path / "other")


def test_types_are_those_the_recipe_says(tmp_path: Path) -> None:
    made = usual("linear", tmp_path, dtype="float32", out_dtype="bfloat16")
    out = merge(made).save(tmp_path / "out")
    assert {info.dtype for info in open_checkpoint(out).tensors.values()} == {"BF16"}
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"


def test_a_lora_is_applied_as_it_is_read(tmp_path: Path) -> None:
    a = model(tmp_path / "a", 1)
    rng, adapter = np.random.default_rng(0), tmp_path / "adapter"
    adapter.mkdir()
    down, up = rng.standard_normal((4, 16)).astype(np.float32), rng.standard_normal((24, 4)).astype(np.float32)
    stem = "base_model.model.model.layers.1.mlp.up_proj"
    save_file({f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up}, adapter / "adapter_model.safetensors")
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8}))
    made = {"merge_method": "passthrough", "models": [{"model": f"{a}+{adapter}"}]}
    found = open_checkpoint(merge(made).save(tmp_path / "out", block=32))
    name = "model.layers.1.mlp.up_proj.weight"
    np.testing.assert_allclose(found[name], open_checkpoint(Path(a))[name] + 2 * up @ down, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found["model.norm.weight"], open_checkpoint(Path(a))["model.norm.weight"])


# -- tokenizers ----------------------------------------------------------------------------------------------


def test_a_union_of_vocabularies_places_every_token(tmp_path: Path) -> None:
    shared = [f"t{i}" for i in range(38)]
    a = with_tokens(model(tmp_path / "a", 1), [*shared, "only a", "both"])
    b = with_tokens(model(tmp_path / "b", 2), [*shared[::-1], "both", "only b"])
    made = recipe("linear", a, b, tokenizer={"source": "union", "pad_to_multiple_of": 8})
    out = merge(made).save(tmp_path / "out", block=64)
    from tokenizers import Tokenizer

    ids = Tokenizer.from_file(str(out / "tokenizer.json"))
    name = "model.embed_tokens.weight"
    found, one, two = (open_checkpoint(Path(f))[name] for f in (out, a, b))
    assert found.shape == (48, 16) and json.loads((out / "config.json").read_text())["vocab_size"] == 48
    near = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    near(found[ids.token_to_id("t3")], (one[3] + two[34]) / 2)
    near(found[ids.token_to_id("both")], (one[39] + two[38]) / 2)
    near(found[ids.token_to_id("only a")], one[38])
    near(found[ids.token_to_id("only b")], two[39])
    assert not found[41:].any()


def test_a_token_may_come_from_a_model_or_be_zero(tmp_path: Path) -> None:
    words = [f"t{i}" for i in range(40)]
    a, b = (with_tokens(model(tmp_path / n, s), words) for n, s in (("a", 1), ("b", 2)))
    tokens = {"t1": {"source": {"kind": "zero"}, "force": True}, "t2": {"source": b, "force": True},
              "t3": {"source": {"kind": "model_token", "model": a, "token": "t9"}, "force": True}}  # fmt: skip
    out = merge(recipe("linear", a, b, tokenizer={"source": "base", "tokens": tokens})).save(tmp_path / "out")
    found, one, two = (open_checkpoint(Path(f))["model.embed_tokens.weight"] for f in (out, a, b))
    assert not found[1].any()
    np.testing.assert_allclose(found[2], two[2], rtol=1e-6)
    np.testing.assert_allclose(found[3], one[9], rtol=1e-6)


# -- real architectures, the command -------------------------------------------------------------------------

ARCHITECTURES = ["gpt2", "llama", "llama with biases, tied, llama3 scaling", "mistral", "qwen3", "gemma3_text", "gpt_oss",  # noqa: E501
                 "mixtral", "deepseek_v3"]  # fmt: skip


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_outputs_load_in_transformers_with_every_tensor(name: str, tmp_path: Path) -> None:
    """mergekit 0.1.5 loses all routed experts of a DeepSeek-V3-style model and says nothing."""
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    one = tiny.folder(name)
    other = tmp_path / "other"
    shutil.copytree(one, other)
    tensors = {n: np.array(a) * np.float32(1.5) for n, a in open_checkpoint(one).items()}
    save_file(tensors, other / "model.safetensors", metadata={"format": "pt"})
    out = merge(recipe("linear", str(one), str(other))).save(tmp_path / "out", shard_size=40_000)
    loaded, info = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True, dtype=torch.float32)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    first = AutoModelForCausalLM.from_pretrained(one, dtype=torch.float32)
    for (key, merged_tensor), parent in zip(loaded.state_dict().items(), first.state_dict().values(), strict=True):
        torch.testing.assert_close(merged_tensor, parent * 1.25, rtol=1e-5, atol=1e-6, msg=key)


def test_the_command_merges_plans_and_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "r.yml"
    path.write_text(yaml.safe_dump(usual("ties", tmp_path)))
    assert main(["merge", "plan", str(path), "--report"]) == 0
    text = capsys.readouterr().out
    assert "12 tensors" in text and "sign conflicts" in text
    assert main(["merge", "plan", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tensors"][0]["method"] == "ties"
    assert main(["merge", str(path), str(tmp_path / "out"), "--out-shard-size", "5K"]) == 0
    assert {"README.md", "merge.json", "mergekit_config.yml", "config.json"} <= {
        p.name for p in (tmp_path / "out").iterdir()
    }
    about = json.loads((tmp_path / "out" / "merge.json").read_text())
    assert about["seed"] == 0 and len(about["tensors"]) == 12 and len(about["inputs"]) == 4
    assert main(["merge", str(path)]) == 2
    assert main(["merge", str(path), str(tmp_path / "out"), "--seed", "1"]) == 1
    assert main(["merge", str(tmp_path / "none.yml"), "x"]) == 2
    path.write_text("merge_method: tise\nmodels: [{model: a}]")
    assert main(["merge", str(path), "x"]) == 2
    assert "Did you mean 'ties'" in capsys.readouterr().err


def test_the_report_finds_orthogonal_task_vectors(tmp_path: Path) -> None:
    plan = open_plan(read_recipe(json.dumps(usual("ties", tmp_path))))
    rows = report(plan, measure=True)["task_vectors"]
    assert len(rows) == 4 and all(abs(row["cosines"][0][1]) < 0.3 for row in rows)
    assert all(0.5 < row["sign_conflicts"] < 1 for row in rows)  # three random signs agree one time in four
    assert all(0.1 < row["overlap"] < 0.35 for row in rows)  # a fifth by chance
    advice = report(plan, measure=True)["advice"]
    assert advice["method"] == "task_arithmetic" and all(0.6 < w < 1.4 for w in advice["weights"])


def test_suggested_weights_keep_every_task_vector_whole() -> None:
    vectors = np.random.default_rng(0).standard_normal((3, 500)) * [[1], [2], [0.5]] + 0.3
    found = advise(vectors @ vectors.T, 0.5, 0.2)
    assert found is not None
    merged = np.array(found.weights) @ vectors
    np.testing.assert_allclose(vectors @ merged / np.square(vectors).sum(axis=1), 1, atol=0.01)
    average = vectors.mean(axis=0)
    np.testing.assert_allclose(found.kept, vectors @ average / np.square(vectors).sum(axis=1))
    along = np.array(found.kept)[:, None] * vectors
    wanted = np.linalg.norm(average - along, axis=1) / np.linalg.norm(vectors, axis=1)
    np.testing.assert_allclose(found.noise, wanted)
    assert advise(np.zeros((2, 2)), 0, 0) is None and advise(np.ones((1, 1)), 0, 0) is None
