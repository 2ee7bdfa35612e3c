"""What a merge reads: GGUF files, PyTorch's zip files without running them, 8-bit floats with their scales."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from merging import CONFIG, model, recipe
from safetensors.numpy import load_file

from palmette.core.checkpoint import open_checkpoint
from palmette.core.errors import ConfigMismatch, ModelError, PalmetteError, UnsafeCheckpoint, Unsupported
from palmette.core.gguf import open_gguf
from palmette.core.gguf_types import FORMATS, WRITTEN
from palmette.core.gguf_write import U32, Planned, write_gguf
from palmette.models.resolve import open_engine
from palmette.weights.gguf.convert import convert
from palmette.weights.inputs.open import open_model
from palmette.weights.inputs.pickled import read_pickled
from palmette.weights.merge import merge
from palmette.weights.recipe.schema import Reference


def through(name: str, out: Path) -> Any:
    """A model passed through a merge."""
    said = {"merge_method": "passthrough", "models": [{"model": name}]}
    return open_checkpoint(merge(said).save(out, block=300))


# -- GGUF ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama", "qwen2", "gpt2"])
def test_a_gguf_file_is_the_folder_it_was_made_of(name: str, tmp_path: Path) -> None:
    folder = tiny.folder(name)
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "m.gguf"
    convert(folder, path, "f32")
    found, wanted = through(str(path), tmp_path / "out"), open_checkpoint(folder)
    assert {k.removeprefix("transformer.") for k in wanted} - {"lm_head.weight"} == set(found) - {"lm_head.weight"}
    for key in wanted:
        plain = key.removeprefix("transformer.")
        if plain in found:
            np.testing.assert_array_equal(found[plain], wanted[key], err_msg=key)
    said, had = (json.loads((p / "config.json").read_text()) for p in (tmp_path / "out", folder))
    for key in (
        "hidden_size",
        "num_hidden_layers",
        "num_key_value_heads",
        "head_dim",
        "vocab_size",
        "n_embd",
        "n_head",
    ):
        assert key not in had or had[key] is None or said.get(key, had[key]) == had[key], key


def test_gguf_merges_with_a_folder_and_q8_is_near(tmp_path: Path) -> None:
    folder = tiny.folder("llama")
    path = tmp_path / "m.gguf"
    convert(folder, path, "q8_0")
    found, wanted = through(str(path), tmp_path / "out"), open_checkpoint(folder)
    for key in wanted:
        assert np.abs(found[key] - wanted[key]).max() <= np.abs(wanted[key]).max() / 100, key
    both = open_checkpoint(merge(recipe("linear", str(folder), str(path))).save(tmp_path / "both"))
    key = "model.layers.1.self_attn.q_proj.weight"
    np.testing.assert_allclose(both[key], (found[key] + wanted[key]) / 2, rtol=1e-6, atol=1e-7)


def quantised(folder: Path, path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A GGUF file with its matrices in this format, by ggml's own quantiser."""
    library = ctypes.CDLL(pytest.importorskip("xllamacpp.xllamacpp", reason="the extra gguf is missing").__file__)
    number, (_, block, each) = next((n, f) for n, f in FORMATS.items() if f[0] == kind)
    library.ggml_quantize_chunk.restype = ctypes.c_size_t

    def pack(rows: Any) -> Any:
        rows = np.ascontiguousarray(rows, np.float32)
        made = np.zeros((len(rows), rows.shape[1] // block * each), np.uint8)
        pointers = (array.ctypes.data_as(ctypes.c_void_p) for array in (rows, made))
        whole = (ctypes.c_int64(n) for n in (0, *rows.shape))
        assert library.ggml_quantize_chunk(number, *pointers, *whole, None) == made.size
        return made

    convert(folder, path, "f32")
    plain = open_gguf(path)
    monkeypatch.setitem(WRITTEN, kind, pack)
    planned = {
        name: Planned(t.shape, kind if len(t.shape) == 2 else "F32", partial(plain.rows, name))
        for name, t in plain.tensors.items()
    }
    metadata = {k: U32(v) if type(v) is int else v for k, v in plain.metadata.items()}  # what reading forgets
    return write_gguf(path.with_name(f"{kind}.gguf"), metadata, planned)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose rows are whole blocks of 256 numbers."""
    folder = tmp_path_factory.mktemp("wide") / "llama"
    tiny.build("llama", hidden_size=256, intermediate_size=512).save_pretrained(folder)
    tiny.byte_level(folder)
    return folder


@pytest.mark.parametrize(
    ("kind", "coarse"), [("Q2_K", 0.4), ("Q3_K", 0.2), ("Q4_K", 0.1), ("Q5_K", 0.05), ("Q6_K", 0.03)]
)
def test_k_quants_are_merged(kind: str, coarse: float, wide: Path, tmp_path: Path, monkeypatch: Any) -> None:
    path = quantised(wide, tmp_path / "plain.gguf", kind, monkeypatch)
    assert {t.kind for t in open_gguf(path).tensors.values()} == {kind, "F32"}
    assert any("tokenizer.json beside it" in w for w in merge(recipe("passthrough", str(path))).plan.warnings)
    shutil.copy(wide / "tokenizer.json", tmp_path)
    found, wanted = through(str(path), tmp_path / "out"), open_checkpoint(wide)
    assert set(found) == set(wanted)
    for key in wanted:
        apart = np.abs(found[key] - wanted[key]).max()
        assert (apart > 0 or wanted[key].ndim == 1) and apart <= coarse * np.abs(wanted[key]).max(), key
    both = open_checkpoint(merge(recipe("linear", str(wide), str(path))).save(tmp_path / "both"))
    key = "model.layers.1.self_attn.q_proj.weight"
    np.testing.assert_allclose(both[key], (found[key] + wanted[key]) / 2, rtol=1e-6, atol=1e-7)
    prompt = [5, 99, 7, 30, 200, 41]
    theirs, ours = (open_engine(str(p)).prefill([prompt])[0].logits for p in (path, tmp_path / "out"))
    assert np.corrcoef(theirs, ours)[0, 1] > 0.99  # llama.cpp also rounds what the matrices are multiplied with


def test_a_format_that_is_not_read_is_named_before_anything_is_written(
    wide: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    path = quantised(wide, tmp_path / "plain.gguf", "IQ4_NL", monkeypatch)
    with pytest.raises(Unsupported, match=r"the tensor '.*weight' is IQ4_NL, which is not read; .*Q6_K are"):
        merge(recipe("linear", str(wide), str(path)))


# -- PyTorch's zip files ---------------------------------------------------------------------------------------


def pickled(folder: Path, seed: int, **more: Any) -> str:
    """A folder whose weights are a PyTorch file."""
    torch = pytest.importorskip("torch")
    model(folder, seed)
    held = {k: torch.from_numpy(v) for k, v in load_file(folder / "model.safetensors").items()}
    (folder / "model.safetensors").unlink()
    torch.save({**held, **more}, folder / "pytorch_model.bin")
    return str(folder)


def test_a_pytorch_file_is_read_from_where_its_numbers_lie(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    plain = open_checkpoint(Path(model(tmp_path / "plain", 1)))
    shared = torch.arange(12, dtype=torch.bfloat16)
    name = pickled(tmp_path / "bin", 1, **{"model.extra.weight": shared[4:].reshape(2, 4)})
    found = through(name, tmp_path / "out")
    for key in plain:
        np.testing.assert_array_equal(found[key], plain[key])
    np.testing.assert_array_equal(found["model.extra.weight"], np.arange(4, 12).reshape(2, 4))
    assert found.tensors["model.extra.weight"].dtype == "BF16"


class Evil:
    """What runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path: Path) -> None:
    name = pickled(tmp_path / "bin", 1, evil=Evil(tmp_path / "ran"))
    with pytest.raises(UnsafeCheckpoint, match=r"asks for 'posix.system'.*not run"):
        open_model(Reference(name))
    assert not (tmp_path / "ran").exists()


def test_views_and_old_files_are_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    name = pickled(tmp_path / "view", 1, **{"model.view.weight": torch.zeros(3, 4).T})
    with pytest.raises(Unsupported, match="is a view of another"):
        open_model(Reference(name))
    old = Path(pickled(tmp_path / "old", 1)) / "pytorch_model.bin"
    torch.save({"w": torch.zeros(2)}, old, _use_new_zipfile_serialization=False)
    with pytest.raises(Unsupported, match="no zip file"):
        open_model(Reference(str(old.parent)))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_pytorch_file_raises_only_our_errors(data: st.DataObject) -> None:
    torch = pytest.importorskip("torch")
    path = tiny.home() / "damaged.bin"
    torch.save({"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(4, dtype=torch.int64)}, path)
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(raw[: data.draw(st.integers(len(raw) // 2, len(raw)))]))
    try:
        found = read_pickled(path)
    except PalmetteError:
        return
    assert all(0 <= info.start <= info.end <= path.stat().st_size for info in found.values())


# -- 8-bit floats ----------------------------------------------------------------------------------------------


def eight_bits(folder: Path, layout: str) -> dict[str, np.ndarray[Any, Any]]:
    """A folder with its matrices in 8 bits and scales; returns what they stand for."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    folder.mkdir()
    rng, held, wanted = np.random.default_rng(0), {}, {}
    for name, shape in (("model.layers.0.up.weight", (200, 300)), ("model.norm.weight", (300,))):
        values = torch.from_numpy(rng.standard_normal(shape).astype(np.float32))
        if len(shape) == 1:
            held[name] = values.bfloat16()
            wanted[name] = held[name].float().numpy()
            continue
        if layout == "blocks":
            grid = torch.rand(2, 3) + 0.5
            wide = grid.repeat_interleave(128, 0)[:200].repeat_interleave(128, 1)[:, :300]
            held[f"{name}_scale_inv"] = grid
        else:
            grid = torch.rand(200, 1) + 0.5 if layout == "rows" else torch.tensor(0.75)
            wide = grid
            held[f"{name}_scale"] = grid
            held[name.replace("weight", "input_scale")] = torch.tensor(1.0)
        held[name] = values.to(torch.float8_e4m3fn)
        wanted[name] = (held[name].float() * wide).bfloat16().float().numpy()
    save_file(held, folder / "model.safetensors")
    quantised = {"quant_method": "fp8" if layout == "blocks" else "compressed-tensors"}
    (folder / "config.json").write_text(json.dumps({"model_type": "toy", "quantization_config": quantised}))
    return wanted


@pytest.mark.parametrize("layout", ["blocks", "rows", "one"])
def test_eight_bit_weights_are_multiplied_by_their_scales(layout: str, tmp_path: Path) -> None:
    wanted = eight_bits(tmp_path / "m", layout)
    found = through(str(tmp_path / "m"), tmp_path / "out")
    assert set(found) == set(wanted) and {info.dtype for info in found.tensors.values()} == {"BF16"}
    for key, array in wanted.items():
        np.testing.assert_array_equal(found[key], array, err_msg=key)
    assert "quantization_config" not in json.loads((tmp_path / "out" / "config.json").read_text())


def test_other_quantised_weights_are_refused(tmp_path: Path) -> None:
    name = model(tmp_path / "q", 0, {**CONFIG, "quantization_config": {"quant_method": "gptq"}})
    with pytest.raises(Unsupported, match="quantised \\(gptq\\)"):
        open_model(Reference(name))
    eight_bits(tmp_path / "m", "blocks")
    from safetensors.torch import load_file as load
    from safetensors.torch import save_file

    held = load(tmp_path / "m" / "model.safetensors")
    held["model.layers.0.up.weight_scale_inv"] = held["model.layers.0.up.weight_scale_inv"][:1].contiguous()
    save_file(held, tmp_path / "m" / "model.safetensors")
    with pytest.raises(ConfigMismatch, match="the scales of"):
        through(str(tmp_path / "m"), tmp_path / "out")
    shutil.rmtree(tmp_path / "m")
    with pytest.raises(ModelError):
        open_model(Reference(str(tmp_path / "m")))
