"""Every kind of broken or dangerous model folder is refused with its reason, before memory is taken for it."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from palmette.core.checkpoint import open_checkpoint, read_config, read_header, refuse_remote_code
from palmette.core.errors import ConfigMismatch, CorruptCheckpoint, ModelNotFound, UnsafeCheckpoint
from palmette.models.engines import numpy_engine

Entry = dict[str, Any]


def raw(path: Path, header: Entry | bytes, data: bytes = b"", length: int | None = None) -> Path:
    """A safetensors file written by hand: whatever header, whatever length it declares."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def raw_bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def entry(start: int, end: int, shape: list[int] | None = None, dtype: str = "F32") -> Entry:
    return {"dtype": dtype, "shape": [(end - start) // 4] if shape is None else shape, "data_offsets": [start, end]}


# -- one file ----------------------------------------------------------------------------------------------------------

BROKEN: dict[str, tuple[Callable[[Path], Path], str]] = {
    "empty": (lambda p: raw_bytes(p, b""), "truncated: 0 bytes"),
    "a few bytes": (lambda p: raw_bytes(p, b"\1\2\3"), "truncated: 3 bytes"),
    "header longer than the file": (lambda p: raw(p, {}, length=50), "declares a header of 50 bytes"),
    "header of an exabyte": (lambda p: raw(p, {}, length=1 << 60), "declares a header of"),
    "header over the limit": (lambda p: raw(p, {}, length=100_000_001), "declares a header of 100000001 bytes"),
    "header is no JSON": (lambda p: raw(p, b"\x80\x04K\x01."), "not JSON"),
    "header is nested without end": (lambda p: raw(p, b"[" * 200_000), "not JSON"),
    "header is a list": (lambda p: raw(p, b"[]"), "is a list"),
    "a name twice": (
        lambda p: raw(p, b'{"a":%b,"a":%b}' % ((json.dumps(entry(0, 4)).encode(),) * 2), bytes(4)),
        "a name occurs twice",
    ),
    "truncated data": (lambda p: raw(p, {"a": entry(0, 8)}, bytes(7)), "truncated"),
    "data after the last tensor": (lambda p: raw(p, {"a": entry(0, 8)}, bytes(9)), "longer than its tensors"),
    "a hole": (lambda p: raw(p, {"a": entry(0, 4), "b": entry(8, 12)}, bytes(12)), "'b' leaves a hole"),
    "an overlap": (lambda p: raw(p, {"a": entry(0, 8), "b": entry(4, 12)}, bytes(12)), "'b' overlaps"),
    "data that begins late": (lambda p: raw(p, {"a": entry(4, 8)}, bytes(8)), "'a' leaves a hole"),
    "shape larger than its bytes": (lambda p: raw(p, {"a": entry(0, 8, [3])}, bytes(8)), r"shape \[3\]"),
    "a shape that overflows": (
        lambda p: raw(p, {"a": entry(0, 8, [1 << 62, 1 << 62])}, bytes(8)),
        "cannot fill the bytes 0 to 8",
    ),
    "a negative dimension": (lambda p: raw(p, {"a": entry(0, 8, [-1, -2])}, bytes(8)), "cannot fill"),
    "a fractional dimension": (lambda p: raw(p, {"a": {**entry(0, 8), "shape": [2.0]}}, bytes(8)), "cannot fill"),
    "a true dimension": (lambda p: raw(p, {"a": {**entry(0, 4), "shape": [True]}}, bytes(4)), "cannot fill"),
    "offsets backwards": (lambda p: raw(p, {"a": entry(8, 0, [2])}, bytes(8)), "cannot fill the bytes 8 to 0"),
    "unknown dtype": (lambda p: raw(p, {"a": entry(0, 8, dtype="Q9")}, bytes(8)), "unknown dtype 'Q9'"),
    "a dtype that is no text": (lambda p: raw(p, {"a": {**entry(0, 8), "dtype": []}}, bytes(8)), "unknown dtype"),
    "no shape": (lambda p: raw(p, {"a": {"dtype": "F32", "data_offsets": [0, 4]}}, bytes(4)), "'a' is malformed"),
    "no entry": (lambda p: raw(p, {"a": 7}), "'a' is malformed"),
    "three offsets": (lambda p: raw(p, {"a": {**entry(0, 4), "data_offsets": [0, 4, 8]}}, bytes(4)), "malformed"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_that_contradicts_itself_is_refused(kind: str, tmp_path: Path) -> None:
    make, reason = BROKEN[kind]
    with pytest.raises(CorruptCheckpoint, match=reason):
        read_header(make(tmp_path / "model.safetensors"))


def test_tensors_come_out_as_they_went_in(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wanted = {
        "a": rng.normal(size=(3, 4)).astype(np.float32),
        "b": rng.normal(size=(5,)).astype(np.float16),
        "scalar": np.array(2.5, np.float32),
        "none": np.zeros((0, 7), np.float32),
        "ids": np.arange(4, dtype=np.int64),
    }
    save_file(wanted, tmp_path / "model.safetensors", metadata={"format": "np"})
    found = open_checkpoint(tmp_path)
    assert set(found) == set(wanted) and len(found) == 5
    for name, array in wanted.items():
        assert found[name].shape == array.shape
        np.testing.assert_array_equal(found[name], array)
    assert isinstance(found["a"].base, np.memmap) or isinstance(found["a"], np.memmap)  # not read before it is used


def test_bfloat16_is_the_upper_half_of_float32(tmp_path: Path) -> None:
    values = np.array([1.0, -2.5, 3.140625, 1e-30, -0.0, np.inf], np.float32)
    halves = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    raw(tmp_path / "model.safetensors", {"x": entry(0, 12, [6], "BF16")}, halves)
    found = open_checkpoint(tmp_path)["x"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.view(np.uint32), values.view(np.uint32) & 0xFFFF0000)


def test_a_tensor_of_another_shape_or_kind_is_named(tmp_path: Path) -> None:
    save_file({"w": np.ones((2, 3), np.float32), "q": np.ones(4, np.int8)}, tmp_path / "model.safetensors")
    found = open_checkpoint(tmp_path)
    with pytest.raises(ConfigMismatch, match=r"'w' has the shape \(2, 3\), config.json says \(3, 2\)"):
        found.expect("w", (3, 2))
    with pytest.raises(ConfigMismatch, match="describes a tensor 'v'"):
        found.expect("v", (2, 3))
    found.read.add("w")
    with pytest.raises(ConfigMismatch, match=r"tensor 'q' that config.json does not describe"):
        found.refuse_unread("^v$")
    found.refuse_unread("^[vq]$")
    with pytest.raises(ConfigMismatch, match="'q' has dtype I8"):
        found.expect("q", (4,))


# -- folders -----------------------------------------------------------------------------------------------------------


def shards(folder: Path, places: dict[str, str], **held: list[str]) -> Path:
    """A sharded folder: an index with these places, and files that hold these tensors."""
    for stem, names in held.items():
        save_file({name: np.full(2, i, np.float32) for i, name in enumerate(names)}, folder / f"{stem}.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return folder


def test_shards_make_one_checkpoint(tmp_path: Path) -> None:
    one, two = "one.safetensors", "two.safetensors"
    shards(tmp_path, {"a": one, "b": one, "c": two}, one=["a", "b"], two=["c"])
    found = open_checkpoint(tmp_path)
    assert set(found) == {"a", "b", "c"}
    np.testing.assert_array_equal(found["b"], [1, 1])


@pytest.mark.parametrize(
    ("places", "reason"),
    [
        ({"a": "one.safetensors", "c": "two.safetensors"}, "the shard 'two.safetensors' .* is missing"),
        ({"a": "one.safetensors", "x": "one.safetensors"}, "places 'x' in 'one.safetensors', which lacks it"),
        ({}, None),
        ({"a": 7}, "points to '7'"),
    ],
)
def test_an_index_that_disagrees_with_its_shards_is_refused(
    places: dict[str, Any], reason: str | None, tmp_path: Path
) -> None:
    shards(tmp_path, places, one=["a"])
    if reason is None:
        assert len(open_checkpoint(tmp_path)) == 0
    else:
        with pytest.raises((CorruptCheckpoint, UnsafeCheckpoint), match=reason):
            open_checkpoint(tmp_path)


def test_a_tensor_that_the_index_does_not_know_is_refused(tmp_path: Path) -> None:
    shards(tmp_path, {"a": "one.safetensors"}, one=["a", "stowaway"])
    with pytest.raises(CorruptCheckpoint, match=r"one.safetensors holds 'stowaway'"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("file", ["../one.safetensors", "/etc/one.safetensors", "sub/one.safetensors", "one.bin", ".."])
def test_an_index_that_points_elsewhere_is_refused(file: str, tmp_path: Path) -> None:
    shards(tmp_path, {"a": file}, one=["a"])
    with pytest.raises(UnsafeCheckpoint, match="outside the folder or no safetensors"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("text", ["[]", "{}", '{"weight_map": 3}', "{", '{"weight_map": ["a"]}'])
def test_an_index_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(CorruptCheckpoint):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "model.ckpt", "model.pkl"])
def test_pickles_are_refused_and_never_opened(name: str, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "exploded",))

    (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UnsafeCheckpoint, match=rf"only pickled weights \({name}\).*convert them"):
        open_checkpoint(tmp_path)
    assert not (tmp_path / "exploded").exists()


def test_safetensors_beside_a_pickle_are_read(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    save_file({"a": np.ones(1, np.float32)}, tmp_path / "model.safetensors")
    assert set(open_checkpoint(tmp_path)) == {"a"}


def test_weights_under_another_name_are_not_taken_for_the_model(tmp_path: Path) -> None:
    save_file({"a": np.ones(1, np.float32)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(CorruptCheckpoint, match=r"holds adapter_model.safetensors but neither"):
        open_checkpoint(tmp_path)


def test_what_is_checked_is_what_would_be_loaded(tmp_path: Path) -> None:
    """transformers prefers model.safetensors over an index; checking the other of the two would check nothing."""
    shards(tmp_path, {"a": "one.safetensors"}, one=["a"])
    raw(tmp_path / "model.safetensors", {"a": entry(0, 8)}, bytes(7))
    with pytest.raises(CorruptCheckpoint, match="truncated"):
        open_checkpoint(tmp_path)


def test_folders_that_hold_no_model_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"no folder .*nowhere"):
        read_config(tmp_path / "nowhere")
    with pytest.raises(ModelNotFound, match=r"no config.json"):
        read_config(tmp_path)
    with pytest.raises(ModelNotFound, match=r"no \*.safetensors"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 200_000])
def test_a_config_that_is_none_is_refused(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(text)
    with pytest.raises(CorruptCheckpoint, match=r"config.json"):
        read_config(tmp_path)


def test_remote_code_is_refused_unless_it_is_not_needed(tmp_path: Path) -> None:
    config = {"model_type": "phi-secret", "auto_map": {"AutoModelForCausalLM": "modeling_secret.Secret"}}
    with pytest.raises(UnsafeCheckpoint, match="'phi-secret' brings its own code"):
        refuse_remote_code(tmp_path, config, ["llama"])
    refuse_remote_code(tmp_path, {**config, "model_type": "llama"}, ["llama"])
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsafeCheckpoint, match="never executed here"):
        numpy_engine.load(tmp_path)


def test_the_torch_engine_checks_the_same_before_it_loads(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from palmette.models.engines import torch_engine

    (tmp_path / "modeling_secret.py").write_text("raise SystemExit('executed')")
    config = {"model_type": "phi-secret", "auto_map": {"AutoConfig": "modeling_secret.Secret"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsafeCheckpoint, match="never executed"):
        torch_engine.load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(UnsafeCheckpoint, match="pickled"):
        torch_engine.load(tmp_path)
    raw(tmp_path / "model.safetensors", {"a": entry(0, 8)}, bytes(7))
    with pytest.raises(CorruptCheckpoint, match="truncated"):
        torch_engine.load(tmp_path)
