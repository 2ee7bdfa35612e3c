"""Landscapes of models by name: planes, merges, several texts, processes, interruptions, and the command."""

from __future__ import annotations

import copy
import json
import os
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
import torch

import palmette
from palmette.cli.main import main
from palmette.core.errors import BadParameter, MismatchedModels, MissingExtra, ModelNotFound, OutputError, UsageError
from palmette.models.landscape import landscape_shard
from palmette.models.landscapes.planes import plane_of
from palmette.models.landscapes.subject import Job
from palmette.models.landscapes.workers import Pool

TEXT = ["One day Runa went to the park. She was very happy. The dog ran to her and they played all day."] * 6
FEW: dict[str, Any] = {"tokens": 60, "length": 20, "threads": 1}


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """base, math and code: models beside each other, with a tokenizer."""
    home = tmp_path_factory.mktemp("family")
    base = tiny.build("llama")
    for seed, name in enumerate(("base", "math", "code", "more")):
        net = copy.deepcopy(base)
        if seed:
            draw = torch.Generator().manual_seed(seed)
            with torch.no_grad():
                for p in net.parameters():
                    p += 0.03 * torch.randn(p.shape, generator=draw)
        net.save_pretrained(home / name)
        tiny.byte_level(home / name)
    return home


# -- the embedded model ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_line_of_the_embedded_model(dtype: Any, tmp_path: Path) -> None:
    made = palmette.landscape("zoo:seedling", TEXT, line=True, tokens=60, length=20, dtype=dtype, store=tmp_path / "p")
    assert made.origin.value < np.log(1024) and made.held_out[0] < 1
    assert float(made(made.surrogate.high[0])) > made.origin.value
    assert any("only 60 tokens" in flag for flag in made.flags) and dtype in made.caption
    assert ("checked" in made.facts) == (dtype == "bfloat16")
    inside, spread = made.basin_radius(0.01)
    assert inside > 0 and spread >= 0
    again = palmette.landscape("zoo:seedling", TEXT, line=True, tokens=60, length=20, dtype=dtype, store=tmp_path / "p")
    assert again.points == made.points and again.caption == made.caption and again.marks == made.marks


def test_planes_that_are_none_are_refused(tmp_path: Path, family: Path) -> None:
    for plane, reason in (
        ("rndom", "Did you mean 'random'"), ("quant:int9", "2 to 8 bits"), ("a,b,c", "no folder 'a'"),
        ("pca:only", "at least two checkpoints"), ("a,b,c,d", "write task-vectors:"),
        (f"{family}/base+x", "no folder 'x'"),
    ):  # fmt: skip
        with pytest.raises(BadParameter, match=reason):
            palmette.landscape("zoo:seedling", TEXT, plane=plane)
    with pytest.raises(BadParameter, match="no two tokens"):
        palmette.landscape("zoo:seedling", [""])
    with pytest.raises(BadParameter, match="numbers that rise"):
        palmette.landscape("zoo:seedling", TEXT, span=(1.0, -1.0), **FEW)
    with pytest.raises(BadParameter, match=r"no setting 'tokns'\. Did you mean 'tokens'"):
        palmette.landscape("zoo:seedling", TEXT, tokns=3)
    with pytest.raises(BadParameter, match="there is no model"):
        palmette.landscape(None, TEXT)
    with pytest.raises(BadParameter, match="no device 'gpu'"):
        palmette.landscape("zoo:seedling", TEXT, device="gpu")
    (tmp_path / "bad.jsonl").write_text('{"txt": "a"}\n')
    with pytest.raises(UsageError, match='a "text"'):
        palmette.landscape("zoo:seedling", tmp_path / "bad.jsonl")


def test_a_store_of_another_measurement_is_refused(tmp_path: Path, family: Path) -> None:
    at: dict[str, Any] = {"line": True, "span": (-0.1, 0.1), "store": tmp_path / "p", **FEW}
    palmette.landscape(family / "base", TEXT, **at)
    for other, what in (({"seed": 1}, "directions"), ({"tokens": 59}, "data"), ({"metric": "error"}, "metric")):
        with pytest.raises(OutputError, match=rf"another measurement \({what}"):
            palmette.landscape(family / "base", TEXT, **{**at, **other})
    with pytest.raises(OutputError, match=r"another measurement \(model"):
        palmette.landscape(family / "math", TEXT, **at)
    assert json.loads((tmp_path / "p").read_text().splitlines()[0])["spec"]["directions"][0]["kind"] == "random"


def test_documents_of_a_file_are_what_is_independent(tmp_path: Path, family: Path) -> None:
    file = tmp_path / "many.jsonl"
    file.write_text("".join(json.dumps({"text": f"{i} {TEXT[0]}"}) + "\n" for i in range(12)))
    found = palmette.landscape(family / "base", file, line=True, span=(-0.1, 0.1), tokens=900, length=10)
    assert found.facts["sequences"] == 12 and found.facts["tokens"] > 600
    one = palmette.landscape(family / "base", [TEXT[0] * 12], line=True, span=(-0.1, 0.1), tokens=600, length=10)
    assert one.facts["sequences"] > 50


# -- checkpoints and merges --------------------------------------------------------------------------------------------


def test_a_plane_of_task_vectors_ends_in_its_models_and_finds_a_merge(family: Path, tmp_path: Path) -> None:
    found = palmette.landscape(family / "base", {"one": TEXT, "two": [*TEXT[:3], "Zwölf Boxkämpfer jagen Viktor."]},
                               plane=f"{family / 'math'},{family / 'code'}", **FEW)  # fmt: skip
    for name, at in (("math", (1.0, 0.0)), ("code", (0.0, 1.0)), ("the model", (0.0, 0.0))):
        assert found.marks[name].at == pytest.approx(at, abs=1e-5) and found.marks[name].off < 1e-4
    alone = palmette.landscape(family / "math", {"one": TEXT, "two": [*TEXT[:3], "Zwölf Boxkämpfer jagen Viktor."]},
                               line=True, span=(-0.1, 0.1), **FEW)  # fmt: skip
    assert float(found(1.0, 0.0)) == pytest.approx(alone.origin.value, abs=2e-2)
    assert set(found.tasks) == {"one", "two"}
    at, value = found.argmin()
    both = [float(found.task(name)(*at)) for name in found.tasks]
    assert value == pytest.approx(np.mean(both)) and found.marks["lowest"].loss is not None
    assert found.argmin({"one": 1.0})[1] == pytest.approx(found.task("one").argmin()[1], abs=1e-6)
    with pytest.raises(UsageError, match="no text 'three'"):
        found.task("three")


def test_a_base_without_a_tokenizer_takes_that_of_another_in_the_picture(family: Path, tmp_path: Path) -> None:
    where = {name: tmp_path / name for name in ("base", "math", "code")}
    for name, folder in where.items():
        shutil.copytree(family / name, folder)
    plane = ",".join(str(where[name]) for name in ("base", "math", "code"))
    small: dict[str, Any] = {"grid": 4, "tokens": 20, "length": 20, "threads": 1}
    whole = palmette.landscape(where["math"], TEXT, plane=plane, **small)
    (where["base"] / "tokenizer.json").unlink()
    assert palmette.landscape(where["math"], TEXT, plane=plane, **small).points == whole.points
    tasks = palmette.landscape(where["base"], TEXT, plane=f"task-vectors:{where['math']},{where['code']}", **small)
    assert tasks.origin == whole.origin
    words = json.loads((where["code"] / "tokenizer.json").read_text())
    words["added_tokens"][0]["content"] = "<|chat|>"  # what was added may differ
    (where["code"] / "tokenizer.json").write_text(json.dumps(words))
    assert palmette.landscape(where["math"], TEXT, plane=plane, **small).points == whole.points
    vocabulary = words["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (where["code"] / "tokenizer.json").write_text(json.dumps(words))
    with pytest.raises(MismatchedModels, match=r"math and .*code have different vocabularies: token \d+ is '[ab]' in"):
        palmette.landscape(where["math"], TEXT, plane=plane, **small)
    for name in ("math", "code"):
        (where[name] / "tokenizer.json").unlink()
    with pytest.raises(ModelNotFound, match=r"no tokenizer\.json in any folder .*base, .*math, .*code\); put"):
        palmette.landscape(where["math"], TEXT, plane=plane, **small)


def test_a_merge_is_drawn_with_its_parents(family: Path) -> None:
    sources = [(str(family / "math"), {"weight": 0.5}), (str(family / "code"), {"weight": 0.5})]
    recipe = palmette.task_arithmetic(*sources, base=str(family / "base"), normalize=False)
    sparse = palmette.ties(*sources, base=str(family / "base"), density=0.2)
    found = palmette.landscape(data=TEXT, merges=[palmette.merge(recipe), sparse], **FEW)
    assert set(found.marks) == {"base", "lowest", "math", "code", "task_arithmetic", "ties 2"}
    assert found.marks["task_arithmetic"].at == pytest.approx((0.5, 0.5), abs=1e-4)
    off = found.marks["ties 2"]
    assert off.off > 1e-3 and off.loss is not None and np.isfinite(off.loss.value)
    assert found.facts["checkpoints"]["base"] == str(family / "base")
    three = palmette.linear(*(str(family / name) for name in ("base", "math", "code", "more")), weight=1.0)
    many = palmette.landscape(data=TEXT, merges=[three], line=False, **FEW)
    assert {"math", "code", "more", "linear"} <= set(many.marks) and "explained" in many.caption
    with pytest.raises(BadParameter, match="names one model only"):
        palmette.landscape(data=TEXT, merges=[palmette.linear(str(family / "base"), weight=1.0)])


def test_a_trajectory_is_marked_step_by_step(family: Path) -> None:
    for text in (f"pca:{family}", f"pca:{family / 'base'},{family / 'code'},{family / 'math'},{family / 'more'}"):
        named = plane_of(text, 0, "filter")
        assert list(named.marks) == ["base", "code", "math", "more"] and named.trajectory
    found = palmette.landscape(family / "more", TEXT, plane=f"pca:{family}", **FEW)
    assert found.facts["trajectory"] and "explained" in found.caption
    assert found.marks["more"].at == pytest.approx((0, 0), abs=1e-6)
    far = max(abs(x) for name, mark in found.marks.items() if name != "lowest" for x in mark.at)
    assert far == pytest.approx(1, abs=1e-4)


def test_a_line_between_models_has_a_barrier_with_an_error(family: Path) -> None:
    net = tiny.build("llama")
    turned = copy.deepcopy(net)
    order = torch.randperm(48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():  # the same function, its hidden units in another order
        for layer in turned.model.layers:
            for part in (layer.mlp.up_proj, layer.mlp.gate_proj):
                part.weight.copy_(part.weight[order])
            layer.mlp.down_proj.weight.copy_(layer.mlp.down_proj.weight[:, order])
            layer.mlp.down_proj.weight *= 3
    with torch.no_grad():
        for layer in net.model.layers:
            layer.mlp.down_proj.weight *= 3
    for name, one in (("plain", net), ("turned", turned)):
        one.save_pretrained(family / "pair" / name)
        tiny.byte_level(family / "pair" / name)
    found = palmette.landscape(family / "pair" / "plain", TEXT, plane=str(family / "pair" / "turned"), line=True, **FEW)
    ends = [float(found(x)) for x in (0.0, 1.0)]
    assert ends[0] == pytest.approx(ends[1], abs=2e-2)
    barrier = found.barrier((0.0,), (1.0,))
    assert np.isfinite(barrier.error) and barrier.error > 0
    other = palmette.landscape(
        family / "more", TEXT, plane=f"{family / 'pair' / 'plain'},{family / 'math'},{family / 'code'}", **FEW
    )
    assert other.marks["the model"].off > 0 and other.origin.value == pytest.approx(found.origin.value, abs=1e-5)


def test_noise_is_compared_with_other_noise(family: Path) -> None:
    rows = palmette.robustness(family / "base", TEXT, "noise:0.5", tokens=60, length=20).rows
    assert all(one.value != other.value and 0 < size < 0.501 for _, one, other, size in rows)


def test_quantisation_is_compared_with_noise_of_its_size(family: Path) -> None:
    found = palmette.landscape(family / "base", TEXT, plane="quant:int4", **FEW)
    assert found.radii[0] == pytest.approx(found.radii[1], rel=1e-3) and "rounded to 4 bits" in found.caption
    rows = {row[0]: row for row in palmette.robustness(family / "base", TEXT, "noise:0.1", **FEW).rows}
    assert {"model.layers.0.", "model.layers.1.", "model.embed_tokens.weight", "lm_head.weight"} == set(rows)
    assert rows["lm_head.weight"][3] == pytest.approx(0.1, rel=1e-4)  # a layer's norms and biases stay
    with pytest.raises(BadParameter, match=r"write noise:0\.1"):
        palmette.robustness(family / "base", TEXT, "noise:much")
    with pytest.raises(BadParameter, match="write quant:int4"):
        palmette.robustness(family / "base", TEXT, "prune:0.1")


def test_the_sharpest_direction_is_sharper_than_a_random_one(family: Path) -> None:
    sharp = palmette.sharpness(family / "base", TEXT, count=2, **FEW)
    assert sharp.values[0] > sharp.values[1] > 0 and sharp.learning_rate == pytest.approx(2 / sharp.values[0])
    assert sharp.error > 0 and max(sharp.residuals) < 1e-5 and "learning rate below" in str(sharp)
    found = palmette.landscape(family / "base", TEXT, plane="hessian", line=True, span=(-0.05, 0.05), **FEW)
    typical = palmette.landscape(family / "base", TEXT, line=True, span=(-0.05, 0.05), **FEW)
    bend = [float(f(0.05) + f(-0.05) - 2 * f(0.0)) for f in (found, typical)]
    assert bend[0] > 3 * abs(bend[1]) and "eigenvalues" in found.caption


def test_eigenvalues_that_have_not_converged_are_flagged(family: Path) -> None:
    rough = palmette.sharpness(family / "base", TEXT, count=3, most=4, **FEW)
    assert rough.products == 4 and rough.converged == [r <= 1e-6 for r in rough.residuals] and not rough.converged[2]
    (flag,) = [flag for flag in rough.flags if "have not converged" in flag]
    assert "after 4 products" in flag and f"{rough.values[2]:.4g} (residual" in flag and "allow more products" in flag
    assert f"{rough.values[2]:.4g} (not converged)" in str(rough)
    fine = palmette.sharpness(family / "base", TEXT, count=1, **FEW)
    assert fine.converged == [True] and not any("converged" in flag for flag in fine.flags)
    assert "converged" not in str(fine) and "further" not in str(fine)
    loose = palmette.sharpness(family / "base", TEXT, count=3, most=4, tolerance=1.0, **FEW)
    assert loose.converged == [True] * 3 and not any("converged" in flag for flag in loose.flags)
    with pytest.raises(BadParameter, match="should be positive, not 0 and 100"):
        palmette.sharpness(family / "base", TEXT, tolerance=0, **FEW)


def test_a_function_of_the_model_is_a_metric(family: Path) -> None:
    """Here: whether the text that it writes is a list of integers."""

    def invalid(model: palmette.LocalModel) -> list[float]:
        texts = [model(prompt, max_tokens=4, strategy=None).text for prompt in ("[1, ", "[2, ")]
        return [0.0 if palmette.constraint({"type": "array"}).accepts(f"[{text}]") else 1.0 for text in texts]

    found = palmette.landscape(family / "base", metric=invalid, line=True, span=(-0.2, 0.2))
    assert found.unit == "invalid" and found.facts["tokens"] == 2
    with pytest.raises(BadParameter, match="computes in float32"):
        palmette.landscape(family / "base", metric=invalid, line=True, dtype="bfloat16")
    with pytest.raises(BadParameter, match="stays in this process"):
        palmette.landscape(family / "base", metric=invalid, line=True, workers=2)


# -- processes and interruptions ---------------------------------------------------------------------------------------


def test_two_processes_measure_what_one_does_bit_for_bit(family: Path, tmp_path: Path) -> None:
    for name, more in (("one", {}), ("two", {"workers": 2})):
        palmette.landscape(family / "base", TEXT, line=True, store=tmp_path / name, **FEW, **more)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with pytest.raises(BadParameter, match="at least 1"):
        Pool(Job("", *[np.zeros((1, 1), int)] * 3), 0)  # type: ignore[arg-type]


def test_a_process_refuses_another_model_than_the_one_that_was_asked(family: Path) -> None:
    from palmette.core.errors import MismatchedModels
    from palmette.models.landscapes.subject import Subject

    how: dict[str, Any] = {"select": "", "tokens": 40, "length": 20, "dtype": "float32", "device": "cpu", "threads": 1}
    job = Subject.open(family / "base", TEXT, "loss", **how).job
    assert job is not None and Job.from_json(job.as_json()).as_json() == job.as_json()
    space, _ = job.open()
    assert space.size > 0
    with pytest.raises(MismatchedModels, match="other weights here"):
        Job.from_json(job.as_json().replace(str(family / "base"), str(family / "math"))).open()


def test_shards_together_are_the_whole(family: Path, tmp_path: Path) -> None:
    at: dict[str, Any] = {"line": True, "span": (-0.3, 0.3), **FEW}
    palmette.landscape(family / "base", TEXT, store=tmp_path / "whole", **at)
    counts = [landscape_shard((i, 2), family / "base", TEXT, store=tmp_path / "parts", **at) for i in (1, 2)]
    assert min(counts) > 5 and not (tmp_path / "parts").exists()
    palmette.landscape(family / "base", TEXT, store=tmp_path / "parts", **at)
    assert (tmp_path / "parts").read_bytes() == (tmp_path / "whole").read_bytes()
    with pytest.raises(BadParameter, match="write 1/2 to 2/2"):
        landscape_shard((3, 2), family / "base", TEXT, store=tmp_path / "parts", **at)
    (tmp_path / "parts.shard9").write_text("no\n")
    with pytest.raises(OutputError, match="holds no points"):
        palmette.landscape(family / "base", TEXT, store=tmp_path / "parts", **at)


@pytest.mark.skipif(os.name != "posix", reason="needs kill -9")
def test_a_killed_measurement_goes_on_to_the_same_file(family: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(" ".join(TEXT))

    def call(name: str) -> list[str]:
        return [sys.executable, "-m", "palmette", "landscape", str(family / "base"), "--data", str(text), "--out",
                str(tmp_path / f"{name}.svg"), "--tokens", "60", "--length", "20", "--threads", "1", "-q"]  # fmt: skip

    killed = subprocess.Popen(call("killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    points = tmp_path / "killed.svg.points"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and (not points.exists() or points.read_bytes().count(b"\n") < 8):
        time.sleep(0.005)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    before = points.read_bytes()
    assert not (tmp_path / "killed.svg").exists()
    with points.open("ab") as file:
        file.write(b'{"at": [0.1, 0.')  # as if it had been killed in the middle of a line
    for name in ("killed", "whole"):
        assert main(call(name)[3:]) == 0
    after = points.read_bytes()
    assert after.startswith(before) and len(after) > len(before)
    assert after == (tmp_path / "whole.svg.points").read_bytes()
    assert (tmp_path / "killed.svg").read_bytes() == (tmp_path / "whole.svg").read_bytes()


def test_ray_is_an_extra(family: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"palmette\[ray\]"):
        palmette.landscape(family / "base", TEXT, line=True, ray=True, **FEW)


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def ask(family: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    text = tmp_path / "text.txt"
    text.write_text(" ".join(TEXT))
    small = ["--tokens", "60", "--length", "20"]

    def run(*words: str) -> tuple[int, str, str]:
        code = main(["landscape", *[w.replace("@", f"{family}/").replace("%", f"{tmp_path}/") for w in words], *small])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_the_command_for_a_merge(ask: Any, tmp_path: Path, family: Path) -> None:
    (tmp_path / "two.txt").write_text("The dog was happy. " * 9)
    code, out, _ = ask("@base", "--plane", "@math,@code", "--data", "%text.txt", "--data", "other=%two.txt",
                       "--out", "%plane.svg", "--best", "%best.yml")  # fmt: skip
    assert code == 0 and "lowest:" in out and "× math" in out and "measured there" in out and "  other:" in out
    recipe = palmette.merge(tmp_path / "best.yml")
    code, out, _ = ask("--merge", "%best.yml", "--data", "%text.txt", "--out", "%merge.svg")
    assert code == 0 and "barrier on the way to best" in out
    merged = recipe.save(tmp_path / "merged")
    code, out, _ = ask("@base", "--plane", str(merged), "--line", "--data", "%text.txt", "--out", "%line.png")
    assert code == 0 and "barrier on the way to merged" in out
    code, out, _ = ask("@base", "--plane", "@math", "--line", "--data", "%text.txt", "--out", "%edge.png", "--html",
                       "%edge.html", "--span", "-0.1:-0.05")  # fmt: skip
    assert code == 0 and "at the edge, and may be lower outside" in out and (tmp_path / "edge.html").exists()


def test_the_command_for_a_basin_for_layers_and_for_sharpness(ask: Any, tmp_path: Path) -> None:
    code, out, _ = ask("zoo:seedling", "--profile", "3", "--data", "%text.txt", "--out", "%basin.html", "--csv",
                       "%basin.csv", "--span", "-0.5:0.5", "--rise", "0.1")  # fmt: skip
    assert code == 0 and "basin: up to a relative radius of" in out and "3 directions" in out
    assert len((tmp_path / "basin.csv").read_text().splitlines()) == 28
    code, out, _ = ask(
        "@base", "--layers", "quant:int3", "--data", "%text.txt", "--out", "%layers.html", "--png", "%l.png"
    )
    assert code == 0 and "model.layers.0." in out and "noise of the same size" in out
    code, out, _ = ask("@base", "--sharpness", "--data", "%text.txt", "--out", "%sharp.json")
    held = json.loads((tmp_path / "sharp.json").read_text())
    assert code == 0 and "λ_max" in out and held["learning_rate"] == pytest.approx(2 / held["eigenvalues"][0])
    assert held["converged"] == [True] * 5 and held["tolerance"] == 1e-6
    code, out, err = ask("@base", "--sharpness", "--data", "%text.txt", "--out", "%sharp.json", "--eigenvalues", "2",
                         "--products", "3", "--tolerance", "1e-9")  # fmt: skip
    held = json.loads((tmp_path / "sharp.json").read_text())
    assert code == 0 and held["converged"] == [False] * 2 and held["tolerance"] == 1e-9 and held["products"] == 3
    assert "(not converged)" in out and "2 of 2 eigenvalues have not converged" in err and held["flags"][-1] in err


def test_the_command_says_what_it_cannot_do(ask: Any, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "rows.jsonl").write_text('{"text": "One day"}\n{"words": 1}\n')
    for words, reason in (
        (["@base", "--data", "%text.txt", "--out", "%a.gif"], "should end in .html, .png or .svg"),
        (["@base", "--data", "%text.txt", "--out", "%a.png", "--png", "%b.svg"], "should end in .png"),
        (["@base", "--data", "%text.txt", "--out", "%a.png", "--span", "1"], "two numbers with a colon"),
        (["@base", "--data", "%text.txt", "--out", "%a.png", "--shard", "2"], "which share of how many"),
        (["--data", "%text.txt", "--out", "%a.png"], "there is no model"),
        (["@base", "--data", "%none.txt", "--out", "%a.png"], "cannot be read"),
        (["@base", "--data", "%empty.txt", "--out", "%a.png"], "is empty; name a file"),
        (["@base", "--data", "%bytes.txt", "--out", "%a.png"], "is no text in UTF-8"),
        (["@base", "--data", "%rows.jsonl", "--out", "%a.png"], "line 2: every line should be a JSON object"),
        (["@base", "--data", "%text.txt", "--out", "%none/a.png"], "create it first"),
        (["@base", "--data", "%text.txt", "--data", "text=%text.txt", "--out", "%a.png"], "two texts are named 'text'"),
        (["@base", "--data", "%text.txt", "--out", "%a.png", "--profile", "2", "--sharpness"], "one at a time"),
        (["@base", "--data", "%text.txt", "--out", "%a.png", "--line", "--stl", "%a.stl"], "no surface"),
        (["@base", "--data", "%text.txt", "--out", "%a.png", "--profile", "2", "--npz", "%a.npz"], "no surface"),
        (["@base", "--data", "%text.txt", "--out", "%a.png", "--profile", "2", "--shard", "1/2"], "one at a time"),
        (["@base", "--data", "%text.txt", "--out", "%a.png", "--profile", "2", "--span", "1:0"], "that rise, not (1.0"),
        (["@base", "--data", "%text.txt", "--out", "%a.json", "--sharpness", "--csv", "%a.csv"], "leave --csv out"),
        (["@base", "--data", "%text.txt", "--out", "%a.json", "--sharpness", "--metric", "error"], "take the loss"),
        (["@base", "--data", "%text.txt", "--out", "%a.csv"], "--csv a.csv writes one beside it"),
        (["@base", "--data", "%text.txt", "--out", "%a.json", "--sharpness", "--span", "0:1"], "--span says nothing"),
        (["@base", "--data", "%text.txt", "--out", "%a.png", "--layers", "quant:int4", "--tolerance", "0.1"],
         "only about a line or plane or --sharpness"),
        (["@base", "--data", "%text.txt", "--out", "%a.png", "--products", "9"], "only about --sharpness"),
        (["@base", "--data", "%text.txt", "--out", "%a.png", "--merge", "%r.yml"], "leave the model"),
        (["--data", "%text.txt", "--out", "%a.png", "--merge", "%r.yml", "--plane", "hessian"], "one at a time"),
        (["%", "--data", "%text.txt", "--out", "%a.png"], "has no config.json"),
        (["@base", "--data", "%text.txt", "--out", "%a.png", "--line", "--best", "%b.yml", "--span", "-0.1:0.1"],
         "through two checkpoints"),
    ):  # fmt: skip
        code, _, err = ask(*words)
        assert code in (1, 2) and reason in err, (words, err)


def test_ctrl_c_keeps_what_is_done(ask: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from palmette.weights.landscape.metric import TokenLoss

    real, calls = TokenLoss.sums, iter(range(5))

    def sums(self: TokenLoss) -> Any:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return real(self)

    with monkeypatch.context() as patch:
        patch.setattr(TokenLoss, "sums", sums)
        code, _, err = ask("@base", "--line", "--data", "%text.txt", "--out", "%line.png")
    assert code == 130 and "is kept in" in err and not (tmp_path / "line.png").exists()
    assert len((tmp_path / "line.png.points").read_text().splitlines()) == 6
    assert ask("@base", "--line", "--data", "%text.txt", "--out", "%line.png")[0] == 0
