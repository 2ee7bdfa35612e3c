"""Laws of the merge methods: any block size, the compiled kernels and the whole-tensor reference give the same bits."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from palmette.core.errors import BadParameter
from palmette.core.rng import Rng
from palmette.weights.blocks import Inputs, Memory
from palmette.weights.dtypes import decode, encode, promote
from palmette.weights.kernels import Kernels, NumpyKernels, draws
from palmette.weights.methods import METHODS
from palmette.weights.methods import settings as settings_of
from palmette.weights.methods.drop import dare_linear, della
from palmette.weights.methods.task import ties

Array = NDArray[Any]
NUMBERS = {
    "weight": st.floats(0.125, 2), "density": st.floats(0, 1), "gamma": st.floats(0, 0.3), "epsilon": st.floats(0, 0.2),
    "t": st.floats(0.01, 1), "lambda": st.floats(-1, 2), "select_topk": st.floats(0, 1), "r": st.floats(0, 1),
    "alpha": st.floats(0, 1), "scale": st.floats(-2, 2), "tol": st.just(1e-5), "eps": st.just(1e-8),
    "tall": st.floats(0, 1), "rank": st.floats(0, 1), "common": st.floats(0, 1),
}  # fmt: skip


def fast() -> Kernels:
    pytest.importorskip("numba")
    from palmette.weights.fast.kernels import FastKernels

    return FastKernels()


def tensors(seed: int, shape: tuple[int, ...], count: int, dtype: Any = np.float32) -> list[Array]:
    """Models that differ from each other in most places, with equal magnitudes and equal elements among them."""
    rng = np.random.default_rng(seed)
    base = rng.standard_normal(shape)
    made = [base.astype(dtype)]
    for _ in range(count):
        change = np.round(rng.standard_normal(shape), 1) * 0.25 * (rng.random(shape) < 0.7)
        made.append((base + change).astype(dtype))
    return made


def inputs(method: str, arrays: list[Array], parameters: dict[str, Any], **more: Any) -> Inputs:
    row = METHODS[method]
    dtype = "F64" if arrays[0].dtype == np.float64 else "F32"
    sources = [Memory(array, dtype) for array in arrays]
    base = sources[0] if row.base in ("required", "optional") else None
    models = sources[:2] if row.base == "first" else sources[1:]
    models = models[: row.most] if row.most and row.base != "first" else models
    return Inputs(arrays[0].shape, models, base, row.rows(parameters), rng=Rng(3), arithmetic=dtype, **more)


def run(method: str, made: Inputs, parameters: dict[str, Any]) -> Array:
    combine = METHODS[method].function(made, **parameters)
    parts = [combine(made.load(span)) for span in made.spans()]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


@st.composite
def chosen(draw: st.DrawFn, method: str) -> dict[str, Any]:
    """Random parameters of a method."""
    made: dict[str, Any] = {}
    for setting in settings_of(METHODS[method]).values():
        if setting.kind is bool:
            made[setting.keyword] = draw(st.booleans())
        elif setting.kind is int:
            made[setting.keyword] = draw(st.integers(0, 3 if setting.name in ("task", "agree") else 12))
        elif setting.required or draw(st.booleans()):
            made[setting.keyword] = draw(NUMBERS[setting.name])
    return made


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_blocks_of_any_size_equal_the_whole_tensor(method: str, data: st.DataObject) -> None:
    parameters = data.draw(chosen(method))
    shape = data.draw(st.sampled_from([(1,), (7,), (5, 3), (300, 150), (2, 1), (33, 1000)]))
    dtype = data.draw(st.sampled_from([np.float32, np.float32, np.float64]))
    rounded = data.draw(st.sampled_from([None, "BF16", "F16"])) if dtype == np.float32 else None
    arrays = tensors(data.draw(st.integers(0, 9)), shape, 3, dtype)
    with np.errstate(all="ignore"):
        whole = run(method, inputs(method, arrays, parameters, block=1 << 30, rounded=rounded), parameters)
        for block in (1, 20_000):
            split = run(method, inputs(method, arrays, parameters, block=block, rounded=rounded), parameters)
            np.testing.assert_array_equal(whole.view(np.uint8), split.view(np.uint8))
        more = {"block": 40_000, "kernels": fast(), "rounded": rounded}
        compiled = run(method, inputs(method, arrays, parameters, **more), parameters)
        np.testing.assert_array_equal(whole.view(np.uint8), compiled.view(np.uint8))


@pytest.mark.parametrize("method", METHODS)
def test_identical_models_make_that_model_up_to_rounding_even_without_the_shortcut(method: str) -> None:
    array = tensors(0, (40, 30), 0)[0]
    required = {s.keyword: 0.5 for s in settings_of(METHODS[method]).values() if s.required}
    with np.errstate(all="ignore"):
        made = run(method, inputs(method, [array] * 4, required), required)
    np.testing.assert_allclose(made, array.reshape(-1), rtol=3e-7)
    short = decode(encode(array, "BF16"), "BF16")
    with np.errstate(all="ignore"):
        made = run(method, inputs(method, [short] * 4, required, rounded="BF16"), required)
    np.testing.assert_allclose(made, short.reshape(-1), rtol=0.02)


def test_ties_by_its_definition() -> None:
    """Algorithm 1 of the paper, with a sort in place of histograms."""
    base, *models = tensors(5, (60, 50), 3)
    weights, density = [0.5, 1.0, 1.5], 0.4
    kept = []
    for model in models:
        delta = (model - base).reshape(-1)
        order = np.argsort(-np.abs(delta), kind="stable")
        delta[order[int(density * delta.size) :]] = 0
        kept.append(delta)
    weighted = np.stack([np.float32(w) * d for w, d in zip(weights, kept, strict=True)])
    sign = np.where((weighted[0] + weighted[1]) + weighted[2] >= 0, 1, -1)
    agree = np.sign(weighted) == sign
    share = np.where(agree, np.array(weights, np.float32)[:, None], 0).sum(axis=0)
    wanted = base.reshape(-1) + np.where(agree, weighted, 0).sum(axis=0) / np.where(share == 0, 1, share)
    found = run("ties", inputs("ties", [base, *models], {}), {"weight": weights, "density": density})
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 99), st.integers(1, 2000), st.floats(0, 1), st.sampled_from([np.float32, np.float64]))
def test_a_cut_keeps_exactly_as_many_as_a_stable_sort(seed: int, count: int, share: float, dtype: Any) -> None:
    values = np.round(np.random.default_rng(seed).standard_normal(count), 1).astype(dtype)
    made = Inputs((count,), [Memory(values, "F64" if dtype == np.float64 else "F32")],
                  arithmetic="F64" if dtype == np.float64 else "F32")  # fmt: skip
    rank = int(share * count)
    (cut,) = made.cuts(lambda block: block.models, [[rank]])[0]
    kept = values.copy()
    NumpyKernels().keep(kept, cut, 0, True)
    wanted = np.zeros_like(values)
    best = np.argsort(-np.abs(values), kind="stable")[:rank]
    wanted[best] = values[best]
    np.testing.assert_array_equal(kept, wanted)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.integers(2, 500))
def test_the_smallest_of_any_place(seed: int, count: int) -> None:
    values = np.abs(np.random.default_rng(seed).standard_normal(count)).astype(np.float32)
    made = Inputs((count,), [Memory(values)])
    places = [0, count // 3, count - 1]
    assert made.smallest(lambda block: block.models, places) == [float(np.sort(values)[p]) for p in places]


# -- methods by their definitions -------------------------------------------------------------------------------------


def changes(seed: int, shape: tuple[int, ...], count: int) -> tuple[list[Array], list[Array]]:
    """Models on a base of zeros, and their task matrices in float64."""
    made = [np.random.default_rng([seed, i]).standard_normal(shape).astype(np.float32) for i in range(count)]
    return [np.zeros(shape, np.float32), *made], [m.astype(np.float64) for m in made]


@pytest.mark.parametrize("shape", [(30, 20), (20, 30), (12, 12)])
def test_spectral_methods_by_numpys_own_decomposition(shape: tuple[int, int]) -> None:
    arrays, matrices = changes(1, shape, 3)
    total = np.sum(matrices, axis=0)
    u, s, vt = np.linalg.svd(total, full_matrices=False)
    found = run("iso_c", inputs("iso_c", arrays, {}), {}).reshape(shape)
    np.testing.assert_allclose(found, s.mean() * u @ vt, atol=1e-5)
    values = np.linalg.svd(found, compute_uv=False)
    np.testing.assert_allclose(values, s.mean(), rtol=1e-4)  # isotropic

    kept = min(shape) // 3
    parts = [np.linalg.svd(m, full_matrices=False) for m in matrices]
    sides = []
    for stacked in (np.hstack([p[0][:, :kept] for p in parts]), np.hstack([p[2][:kept].T for p in parts])):
        left, _, right = np.linalg.svd(stacked, full_matrices=False)
        sides.append(left @ right)
    wanted = (sides[0] * np.concatenate([p[1][:kept] for p in parts])) @ sides[1].T
    found = run("tsv", inputs("tsv", arrays, {}), {}).reshape(shape)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    one = run("tsv", inputs("tsv", arrays[:2], {}), {"rank": 1.0}).reshape(shape)
    np.testing.assert_allclose(one, matrices[0], atol=1e-5)  # one task, all its directions: that task

    found = run("iso_cts", inputs("iso_cts", arrays, {}), {"common": 1.0}).reshape(shape)
    np.testing.assert_allclose(found, s.mean() * u @ vt, atol=1e-5)  # nothing specific: Iso-C
    mixed = run("iso_cts", inputs("iso_cts", arrays, {}), {"common": 0.5}).reshape(shape)
    values = np.linalg.svd(mixed, compute_uv=False)
    np.testing.assert_allclose(values, values[0], rtol=1e-4)

    found = run("knots", inputs("knots", arrays, {}), {"weight": 1.0, "density": 1.0}).reshape(shape)
    u, s, vt = np.linalg.svd(np.hstack(matrices), full_matrices=False)
    shared = [s[:, None] * vt[:, i * shape[1] : (i + 1) * shape[1]] for i in range(3)]
    agree = [np.sign(part) == np.where(np.sum(shared, axis=0) >= 0, 1, -1) for part in shared]
    merged = np.sum([p * a for p, a in zip(shared, agree, strict=True)], axis=0) / np.maximum(np.sum(agree, axis=0), 1)
    np.testing.assert_allclose(np.linalg.norm(found), np.linalg.norm(u @ merged), rtol=1e-4)


def test_what_is_no_matrix_is_averaged_by_spectral_methods() -> None:
    arrays, vectors = changes(2, (50,), 3)
    for method in ("tsv", "iso_c", "iso_cts"):
        np.testing.assert_allclose(run(method, inputs(method, arrays, {}), {}), np.mean(vectors, axis=0), atol=1e-6)


def test_mask_methods_by_their_definitions() -> None:
    arrays, found = changes(3, (400,), 3)
    stacked = np.array(found)
    largest = stacked[np.abs(stacked).argmax(axis=0), np.arange(400)]
    np.testing.assert_allclose(run("magmax", inputs("magmax", arrays, {}), {}), largest, rtol=1e-6)
    total = stacked.sum(axis=0)
    masks = np.abs(stacked) >= 0.4 * np.abs(total - stacked)
    wanted = np.where(masks.sum(axis=0) >= 2, total, 0)
    np.testing.assert_allclose(run("consensus", inputs("consensus", arrays, {}), {}), wanted, rtol=1e-4, atol=1e-6)
    plain = run("task_arithmetic", inputs("task_arithmetic", arrays, {}), {"weight": 1.0})
    np.testing.assert_array_equal(run("consensus", inputs("consensus", arrays, {}), {"agree": 0}), plain)
    sign = np.where(total >= 0, 1, -1)
    unified = sign * np.where(np.sign(stacked) == sign, np.abs(stacked), 0).max(axis=0)
    np.testing.assert_allclose(run("emr", inputs("emr", arrays, {}), {}), unified, rtol=1e-6)
    own = np.where(stacked[1] * unified > 0, unified, 0)
    own *= np.abs(stacked[1]).sum() / np.abs(own).sum()
    np.testing.assert_allclose(run("emr", inputs("emr", arrays, {}), {"task": 2}), own, rtol=1e-5)
    assert np.linalg.norm(own - stacked[1]) < np.linalg.norm(unified - stacked[1])


# -- laws of single methods --------------------------------------------------------------------------------------------


def test_weights_of_one_and_zero_give_one_parent() -> None:
    arrays = tensors(1, (30, 20), 3)
    for method in ("linear", "nuslerp", "multislerp"):
        count = 2 if method == "nuslerp" else 3
        made = inputs(method, arrays[: count + 1], {})
        made = Inputs(made.shape, made.models)
        weight = [1.0] + [0.0] * (count - 1)
        np.testing.assert_allclose(run(method, made, {"weight": weight}), arrays[1].reshape(-1), rtol=1e-5, atol=1e-7)


def test_normalised_weights_matter_only_by_their_ratio() -> None:
    arrays = tensors(1, (30, 20), 3)
    for method in ("linear", "ties", "nuslerp", "multislerp", "della"):
        used = arrays[:3] if method == "nuslerp" else arrays
        one, two = (run(method, inputs(method, used, {}), {"weight": [w * f for w in (1.0, 0.5, 2.0)[: len(used) - 1]]})
                    for f in (1, 4))  # fmt: skip
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-7)


def test_task_arithmetic_is_linear_in_lambda_and_weight() -> None:
    arrays = tensors(2, (30, 20), 3)
    base = arrays[0].reshape(-1)
    one = run("task_arithmetic", inputs("task_arithmetic", arrays, {}), {"weight": 1.0})
    two = run("task_arithmetic", inputs("task_arithmetic", arrays, {}), {"weight": 0.5, "lambda_": 2.0})
    half = run("task_arithmetic", inputs("task_arithmetic", arrays, {}), {"weight": 0.5})
    np.testing.assert_array_equal(one, two)
    np.testing.assert_allclose(half - base, (one - base) / 2, atol=1e-6)


def test_slerp_backwards_is_slerp() -> None:
    a, b = tensors(3, (30, 20), 1)
    there = run("slerp", Inputs(a.shape, [Memory(a), Memory(b)]), {"t": 0.3})
    back = run("slerp", Inputs(a.shape, [Memory(b), Memory(a)]), {"t": 0.7})
    np.testing.assert_allclose(there, back, rtol=1e-6, atol=1e-7)


def test_the_order_of_models_does_not_matter_where_the_formula_is_symmetric() -> None:
    base, *models = tensors(4, (30, 20), 3)
    for method in ("linear", "karcher", "task_arithmetic", "ties", "sce", "ram", "model_stock", "multislerp"):
        parameters = {"weight": 1.0} if "weight" in settings_of(METHODS[method]) else {}
        one = run(method, inputs(method, [base, *models], {}), parameters)
        two = run(method, inputs(method, [base, *models[::-1]], {}), parameters)
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


def test_dare_keeps_as_many_as_a_coin_would_and_is_unbiased() -> None:
    count, density = 200_000, 0.3
    ones = Inputs((count,), [Memory(np.ones(count, np.float32))], Memory(np.zeros(count, np.float32)))
    plain = dare_linear(ones, weight=1.0, density=density, rescale=False)(ones.load((0, count)))
    kept = int((plain != 0).sum())
    assert abs(kept - density * count) < 5 * (count * density * (1 - density)) ** 0.5
    scaled = dare_linear(ones, weight=1.0, density=density)
    total = sum(float(scaled(ones.load(span)).astype(np.float64).sum()) for span in ones.spans())
    assert total == pytest.approx(count, rel=1e-6)


def test_della_keeps_large_magnitudes_more_often() -> None:
    rows, width = 4000, 50
    values = np.tile(np.arange(1, width + 1, dtype=np.float32), (rows, 1))
    made = Inputs(values.shape, [Memory(values)], Memory(np.zeros_like(values)), rows=True)
    combine = della(made, weight=1.0, density=0.5, epsilon=0.2, rescale=False)
    kept = np.concatenate([combine(made.load(span)) for span in made.spans()]).reshape(values.shape) != 0
    wanted = 0.3 + 0.4 * np.arange(width) / (width - 1)
    assert np.abs(kept.mean(axis=0) - wanted).max() < 5 * 0.5 / rows**0.5


def test_draws_are_uniform_and_differ_between_models_and_tensors() -> None:
    one, two = (draws(Rng(0).fork("w").fork(label).seed, np.arange(100_000)) for label in "ab")
    assert abs(one.mean() / 2**32 - 0.5) < 0.005
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.02
    assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < 0.02
    assert draws(7, np.array([1])) != draws(7, np.array([1 + (1 << 32)]))


# -- numbers -----------------------------------------------------------------------------------------------------------


def test_bfloat16_rounds_to_nearest_even_and_keeps_nan() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    bits = np.concatenate(
        [rng.integers(0, 2**32, 100_000, np.uint32), np.arange(0x7F800000 - 70_000, 0x7F800001, 1, np.uint32)]
    )
    values = bits.view(np.float32)
    wanted = torch.from_numpy(values).to(torch.bfloat16).view(torch.uint16).numpy()
    found = encode(values, "BF16")
    broken = np.isnan(values)
    np.testing.assert_array_equal(found[~broken], wanted[~broken])
    assert np.isnan(decode(found[broken], "BF16")).all()
    np.testing.assert_array_equal(fast().encode(values, "BF16"), found)


@pytest.mark.parametrize(("ours", "theirs"), [("F8_E4M3", "float8_e4m3fn"), ("F8_E5M2", "float8_e5m2")])
def test_eight_bit_floats_are_torchs(ours: str, theirs: str) -> None:
    torch = pytest.importorskip("torch")
    codes = np.arange(256, dtype=np.uint8)
    wanted = torch.from_numpy(codes).view(getattr(torch, theirs)).float().numpy()
    np.testing.assert_array_equal(decode(codes, ours), wanted)
    values = np.linspace(-400, 400, 9999, dtype=np.float32)
    rounded = torch.from_numpy(values).to(getattr(torch, theirs)).float().numpy()
    np.testing.assert_array_equal(decode(encode(values, ours), ours), rounded)


def test_types_that_meet_are_promoted() -> None:
    assert promote(["BF16", "F32"]) == "F32"


def test_parameters_that_cannot_be_are_refused() -> None:
    arrays = tensors(0, (4,), 2)
    with pytest.raises(BadParameter, match="sum to zero"):
        run("linear", inputs("linear", arrays, {}), {"weight": [1.0, -1.0]})
    with pytest.raises(BadParameter, match="sum to zero"):
        run("task_arithmetic", inputs("task_arithmetic", arrays, {}), {"weight": [1.0, -1.0], "normalize": True})
    with pytest.raises(BadParameter, match="3 values for 2 models"):
        ties(inputs("ties", arrays, {}), weight=[1, 2, 3])


@pytest.mark.parametrize("method", METHODS)
def test_every_method_says_where_it_comes_from(method: str) -> None:
    text = inspect.getdoc(METHODS[method].function) or ""
    assert ">>>" in text and (method == "passthrough" or "Paper:" in text or "Source:" in text)
    for setting in settings_of(METHODS[method]).values():
        assert f"{setting.keyword}:" in text or setting.keyword in text
