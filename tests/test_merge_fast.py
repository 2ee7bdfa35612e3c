"""The compiled loops: bit for bit the reference, kept between runs, compiled anew when what is kept is not whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from merging import SHAPES, digest, model, usual
from safetensors.numpy import load_file

from palmette.core.errors import NotFinite
from palmette.weights.dtypes import encode
from palmette.weights.kernels import Mixture, NumpyKernels
from palmette.weights.merge import merge

pytest.importorskip("numba")
METHODS = ["linear", "slerp", "nuslerp", "multislerp", "karcher", "task_arithmetic", "model_stock", "passthrough",
           "ties", "della", "sce", "breadcrumbs_ties", "dare_ties"]  # fmt: skip


def halves(home: Path) -> None:
    """Turn the folders in `home` into bfloat16."""
    from palmette.weights.write import layout

    for path in home.glob("*/model.safetensors"):
        held = load_file(path)
        (shard,), spots, _ = layout([(name, "BF16", array.shape) for name, array in held.items()], 1 << 40)
        with path.open("wb") as file:
            file.write(shard.header)
            for name, array in held.items():
                file.seek(spots[name].start)
                file.write(encode(np.ascontiguousarray(array).reshape(-1), "BF16").tobytes())


@pytest.mark.parametrize("method", METHODS)
def test_bfloat16_merges_have_the_same_bytes_with_both_kernels(method: str, tmp_path: Path) -> None:
    made = usual(method, tmp_path)
    halves(tmp_path)
    one = merge(made).save(tmp_path / "one", speed="numpy", block=700)
    two = merge(made).save(tmp_path / "two", speed="numba", threads=3)
    assert digest(one) == digest(two)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_mixture_in_one_go_is_the_mixture_in_steps(data: st.DataObject) -> None:
    from palmette.weights.fast.kernels import FastKernels

    count, size = data.draw(st.integers(1, 4)), data.draw(st.sampled_from([1, 7, 4096, 4097, 9000]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    raws = encode(rng.standard_normal(count * size).astype(np.float32), "BF16").reshape(count, size)
    base = encode(rng.standard_normal(size).astype(np.float32), "BF16") if data.draw(st.booleans()) else None
    numbers = st.floats(-2, 2, width=32)
    differences = base is not None and data.draw(st.booleans())
    mixture = Mixture(
        tuple(data.draw(numbers) for _ in range(count)), not differences and data.draw(st.booleans()), differences,
        data.draw(st.sampled_from([1.0, 3.0, 0.7])), data.draw(numbers), data.draw(st.sampled_from([0.0, 1.0, 0.25])),
    )  # fmt: skip
    slow, fast = NumpyKernels(), FastKernels()
    below = None if base is None else slow.decode(base, "BF16", "F32")
    wanted = slow.encode(slow.mixture([slow.decode(r, "BF16", "F32") for r in raws], below, mixture), "BF16")
    found = fast.mix(raws, base, mixture)
    assert found is not None and found[1]
    np.testing.assert_array_equal(found[0], wanted)
    raws[-1, -1] = 0x7F80
    assert fast.mix(raws, base, mixture)[1] is False  # type: ignore[index]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_products_in_one_go_are_the_products_in_steps(data: st.DataObject) -> None:
    from palmette.weights.fast.kernels import FastKernels

    count, size = data.draw(st.integers(1, 4)), data.draw(st.sampled_from([1, 255, 257, 16384, 40000]))
    leaf, differences = data.draw(st.sampled_from([16384, 300, 7])), data.draw(st.booleans())
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    rows = encode(rng.standard_normal((count + 1) * size).astype(np.float32), "BF16").reshape(count + 1, size)
    slow = NumpyKernels()
    base, *models = [slow.decode(row, "BF16", "F32") for row in rows]
    arrays = [model - base for model in models] if differences else models
    wanted = [slow.dots(arrays[i], arrays[j], leaf) for i in range(count) for j in range(i, count)]
    found = FastKernels().products(np.ascontiguousarray(rows[1:]), rows[0], leaf, differences)
    np.testing.assert_array_equal(found, np.array(wanted))


def test_a_nan_in_bfloat16_is_named(tmp_path: Path) -> None:
    made = usual("linear", tmp_path)
    broken = np.ones(SHAPES["model.norm.weight"], np.float32)
    broken[3] = np.nan
    model(tmp_path / "b", 2, **{"model.norm.weight": broken})
    halves(tmp_path)
    with pytest.raises(NotFinite, match=r"'model.norm.weight' of .*/b holds NaN"):
        merge(made).save(tmp_path / "out", speed="numba")
    assert not (tmp_path / "out").exists()


def used(cache: Path, *more: str) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys, numpy as np; from palmette.weights.fast.native import loop\n"
        "made = np.empty(3, np.uint32); loop('widen')(np.array([1, 2, 3], np.uint16), made)\n"
        "assert (made >> 16).tolist() == [1, 2, 3]; print('numba' in sys.modules)"
    )
    env: dict[str, Any] = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)


def test_machine_code_is_kept_and_what_is_damaged_is_made_anew(tmp_path: Path) -> None:
    assert used(tmp_path).stdout.strip() == "True"  # compiled
    assert used(tmp_path).stdout.strip() == "False"  # loaded, without numba
    (kept,) = (tmp_path / "palmette" / "loops").glob("widen-*.o")
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert used(tmp_path).stdout.strip() == "True" and kept.read_bytes() == whole
    kept.chmod(0o666)  # anybody could have written it
    assert used(tmp_path).stdout.strip() == "True"
    (tmp_path / "none").write_text("a file where the folder should be")
    assert used(tmp_path / "none").stdout.strip() == "True"  # nowhere to keep it
