"""Merges of what does not fit together are refused, and nothing is left behind."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from merging import digest, model, recipe, usual

from palmette.core.errors import (
    CorruptCheckpoint,
    MismatchedModels,
    ModelNotFound,
    NotFinite,
    PalmetteError,
    RecipeError,
    UnsafeCheckpoint,
    Unsupported,
)
from palmette.weights.merge import merge

NAN = np.full((16,), np.nan, np.float32)
BAD: dict[str, tuple[dict[str, Any], type[PalmetteError], str]] = {
    "another shape": ({"model.norm.weight": np.ones(17, np.float32)}, MismatchedModels, "different shapes"),
    "another vocabulary": (
        {"model.embed_tokens.weight": np.ones((41, 16), np.float32)}, MismatchedModels, "tokenizer_source"),
    "a tensor less": ({"model.norm.weight": None}, MismatchedModels, "'model.norm.weight' is missing in .* --missing"),
    "a tensor more": ({"model.extra.weight": np.ones(1, np.float32)}, MismatchedModels, "'model.extra.weight' is missing"),  # noqa: E501
    "NaN": ({"model.norm.weight": NAN}, NotFinite, "'model.norm.weight' of .*b holds NaN or infinity"),
    "infinity": ({"model.norm.weight": np.full(16, np.inf, np.float32)}, NotFinite, "holds NaN"),
    "another architecture": ({"config": {"architectures": ["GPT2LMHeadModel"]}}, MismatchedModels, "--allow-crimes"),
    "quantised": ({"config": {"quantization_config": {"quant_method": "fp8"}}}, Unsupported, r"quantised \(fp8\)"),
    "a layer more": ({"model.layers.3.mlp.up_proj.weight": np.ones((24, 16), np.float32)}, MismatchedModels, "layers"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("method", ["linear", "ties"])
def test_models_that_do_not_fit_are_refused_and_nothing_is_written(kind: str, method: str, tmp_path: Path) -> None:
    changes, error, reason = BAD[kind]
    base, a, b = model(tmp_path / "base", 0), model(tmp_path / "a", 1), model(tmp_path / "b", 2, **changes)
    before = digest(Path(b))
    made = recipe(method, a, b, base=base if method == "ties" else None)
    with pytest.raises(error, match=reason):
        merge(made).save(tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "base"] and digest(Path(b)) == before


def test_recipes_that_ask_for_what_cannot_be_are_refused(tmp_path: Path) -> None:
    a, b = model(tmp_path / "a", 1), model(tmp_path / "b", 2)
    none = {"merge_method": "linear", "models": [{"model": a}, {"model": b}]}
    with pytest.raises(RecipeError, match=r"'linear' needs 'weight' for 'lm_head.weight'"):
        merge(none)
    with pytest.raises(RecipeError, match="needs a base_model"):
        merge(recipe("ties", a, b))
    with pytest.raises(RecipeError, match=r"takes 1 to 1|exactly 1"):
        merge(recipe("slerp", a, b, base=model(tmp_path / "c", 3)))
    with pytest.raises(RecipeError, match=r"between 0 and 1, not 1.5"):
        merge(recipe("ties", a, base=b, parameters={"density": 1.5}))
    with pytest.raises(PalmetteError, match="sum to zero"):  # noqa: PT012
        made = {
            "merge_method": "linear",
            "models": [{"model": m, "parameters": {"weight": w}} for m, w in ((a, 1), (b, -1))],
        }
        merge(made).save(tmp_path / "out")
    with pytest.raises(RecipeError, match="which has 3 layers"):
        merge({"merge_method": "passthrough", "slices": [{"sources": [{"model": a, "layer_range": [0, 9]}]}]})
    for weight in (float("inf"), [1, float("nan")], "inf"):
        with pytest.raises(RecipeError, match=r"should be a finite number, not (inf|nan)"):
            merge(recipe("linear", a, parameters={"weight": weight}))
    with pytest.raises(ModelNotFound, match=r"no folder '../../../nowhere'"):
        merge(recipe("passthrough", "../../../nowhere"))
    assert not (tmp_path / "out").exists()


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "exploded",))

    a, b = model(tmp_path / "a", 1), model(tmp_path / "b", 2)
    (tmp_path / "b" / "model.safetensors").unlink()
    (tmp_path / "b" / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(Unsupported, match="no zip file"):
        merge(recipe("linear", a, b))
    with zipfile.ZipFile(tmp_path / "b" / "pytorch_model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb()))
    with pytest.raises(UnsafeCheckpoint, match="it is not run"):
        merge(recipe("linear", a, b))
    assert not (tmp_path / "exploded").exists()


def test_a_file_that_may_not_grow_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps(usual("linear", tmp_path)))
    script = (
        "import resource, sys; from palmette.cli.main import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        f"sys.exit(main(['merge', {str(tmp_path / 'recipe.json')!r}, {str(tmp_path / 'out')!r}]))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 1 and "cannot be written" in run.stderr and "Traceback" not in run.stderr, run.stderr
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]


@pytest.mark.parametrize("size", ["12k", "28k"])  # too small for the weights; for what stands beside them
def test_a_full_disk_leaves_nothing_behind(size: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps(usual("linear", tmp_path)))
    (small := tmp_path / "small").mkdir()
    script = (
        f"mount -t tmpfs -o size={size} none {small} || exit 77\n"
        f"{sys.executable} -m palmette merge {tmp_path / 'recipe.json'} {small / 'out'}\n"
        f'test $? = 1 && test -z "$(ls -A {small})"'
    )
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here to mount a small disk with")
    run = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, check=False, timeout=120
    )
    if run.returncode == 77 or "unshare failed" in run.stderr:
        pytest.skip("this user may not mount a small disk")
    assert run.returncode == 0 and "small/out cannot be written: the disk is full" in run.stderr, run.stderr


def test_a_damaged_gguf_is_refused_as_a_folder_and_as_a_file(tmp_path: Path) -> None:
    a, folder = model(tmp_path / "a", 1), tmp_path / "quantised"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "weights.gguf").write_bytes(b"GGUF")
    for name in (folder, folder / "weights.gguf"):
        with pytest.raises(CorruptCheckpoint, match=r"weights.gguf: 4 bytes are declared"):
            merge(recipe("linear", a, str(name)))


# -- tensors that some models lack -------------------------------------------------------------------------------------


def test_a_tensor_that_some_models_lack_is_refused_or_settled_by_a_policy(tmp_path: Path) -> None:
    extra = {"model.layers.1.mlp.extra.weight": np.full((4, 16), 2.0, np.float32)}
    base, a, c = model(tmp_path / "base", 0), model(tmp_path / "a", 1, **extra), model(tmp_path / "c", 3, **extra)
    b = model(tmp_path / "b", 2)
    name = next(iter(extra))
    with pytest.raises(MismatchedModels, match="is missing in"):
        merge(recipe("linear", a, b, c))
    found = {policy: merge(recipe("linear", a, b, c), missing=policy) for policy in ("present", "skip")}
    np.testing.assert_array_equal(found["present"].tensor(name), extra[name])
    task = next(t for t in found["present"].plan.tasks if t.name == name)
    assert task.labels == (a, c) and len(task.parameters["weight"]) == 2
    assert name not in found["skip"].tensors and any(name in line for line in found["skip"].plan.left_out)
    alone = merge(
        recipe("ties", a, b, base=base), missing="present"
    )  # neither the base nor b has it: a's passes through
    assert next(t for t in alone.plan.tasks if t.name == name).method == "passthrough"
    with pytest.raises(MismatchedModels, match="no base model has it"):
        merge(recipe("ties", a, b, base=base), missing="base")
    with pytest.raises(MismatchedModels, match="without the base's there is no difference"):
        merge(recipe("ties", a, c, base=base), missing="present")
    kept = merge(recipe("ties", b, base=a), missing="base")
    np.testing.assert_array_equal(kept.tensor(name), extra[name])
    assert any("the base's is kept" in warning for warning in kept.plan.warnings)
