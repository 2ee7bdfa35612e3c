"""`--compute mergekit` in short types: the formulas written out with PyTorch's own bfloat16 and float16 operations.

The formulas and their order were found by comparing with what mergekit 0.1.5 writes (bench/merge_fidelity.py does so);
that program is not needed here. Sums are PyTorch's, which depend on threads and vector width in the last place.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from palmette.core.rng import Rng
from palmette.weights.blocks import Inputs, Memory
from palmette.weights.dtypes import decode, encode
from palmette.weights.methods import METHODS

torch = pytest.importorskip("torch")
Tensor = Any
SHAPE = (70, 50)
WEIGHTS = (0.6, 0.3, 0.5)
TYPES = {"BF16": (torch.bfloat16, 7), "F16": (torch.float16, 10)}


def arrays(dtype: str, correlation: float) -> list[NDArray[np.float32]]:
    """A base and three models whose changes have a common part, as the type can hold them."""
    rng = np.random.default_rng(int(100 * correlation) + 200)
    common, base = rng.standard_normal(SHAPE), 0.02 * rng.standard_normal(SHAPE)
    made = [base]
    for size in (0.003, 0.002, 0.001):
        own = np.sqrt(1 - correlation**2) * rng.standard_normal(SHAPE)
        made.append(base + size * (correlation * common + own))
    return [decode(encode(x.astype(np.float32).reshape(-1), dtype), dtype).reshape(SHAPE) for x in made]


def ours(method: str, given: Sequence[NDArray[Any]], base: bool, dtype: str, **parameters: Any) -> NDArray[Any]:
    sources = [Memory(np.ascontiguousarray(x)) for x in given]
    row = METHODS[method]
    made = Inputs(SHAPE, sources[1:] if base else sources, sources[0] if base else None, row.rows(parameters),
                  rng=Rng(0), rounded=dtype, block=1000)  # fmt: skip
    with np.errstate(all="ignore"):
        combine = row.function(made, **parameters)
        whole = np.concatenate([combine(made.load(span)) for span in made.spans()])
    return decode(encode(whole.astype(np.float32), dtype), dtype)


def check(found: NDArray[Any], wanted: Tensor, given: Sequence[NDArray[Any]], dtype: str, share: float = 0.0) -> None:
    """At most two units in the last place apart, but for a share of positions."""
    theirs = wanted.float().numpy().reshape(-1)
    scale = np.max(np.abs([found, theirs, *(x.reshape(-1) for x in given)]), axis=0)
    unit = 2.0 ** (np.floor(np.log2(np.maximum(scale, 1e-30))) - TYPES[dtype][1])
    apart = np.abs(found.astype(np.float64) - theirs) / unit
    assert (apart > 2).mean() <= share, (apart.max(), (apart > 0).sum())


@pytest.fixture(params=[(d, c) for d in TYPES for c in (-0.5, 0.0, 0.6, 0.9, 0.9999)], ids=str)
def world(request: pytest.FixtureRequest) -> tuple[str, list[NDArray[np.float32]], list[Tensor]]:
    dtype, correlation = request.param
    held = arrays(dtype, correlation)
    return dtype, held, [torch.from_numpy(x).to(TYPES[dtype][0]) for x in held]


World = tuple[str, list[NDArray[np.float32]], list[Tensor]]


@pytest.mark.parametrize("based", [True, False])
@pytest.mark.parametrize("axis", [None, 1, 0])
def test_nuslerp(world: World, axis: int | None, based: bool) -> None:
    dtype, held, (base, a, b, _) = world
    t = 0.3 / (0.6 + 0.3)
    one, other = (a - base, b - base) if based else (a, b)
    if axis is None:
        one, other = one.flatten(), other.flatten()
    along = {"dim": -1 if axis is None else axis, "keepdim": True}
    cosine = (one / one.norm(**along) * (other / other.norm(**along))).sum(**along)
    angle = torch.acos(cosine.clamp(-1, 1))
    arc = (torch.sin((1 - t) * angle) * one + torch.sin(t * angle) * other) / torch.sin(angle)
    made = torch.where(cosine.abs() >= 1, (1 - t) * one + t * other, arc).reshape(SHAPE)
    lines = {} if axis is None else {"nuslerp_flatten": False, "nuslerp_row_wise": axis == 0}
    given = held[:3] if based else held[1:3]
    found = ours("nuslerp", given, based, dtype, weight=[0.6, 0.3], **lines)
    check(found, made + base if based else made, given, dtype, 0.0 if axis is None else 0.01)


@pytest.mark.parametrize("based", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
def test_multislerp(world: World, based: bool, normalize: bool) -> None:
    dtype, held, (base, *models) = world
    rows = torch.stack([m - base if based else m for m in models]).reshape(3, -1)
    weights = torch.tensor(WEIGHTS, dtype=rows.dtype)
    weights = (weights / weights.sum() if normalize else weights)[:, None]
    norms = rows.norm(dim=-1, keepdim=True)
    units = rows / (norms + 1e-8)
    mean = (units * weights).sum(0)
    mean = mean / mean.norm()
    tangent = ((units - (units * mean).sum(-1, keepdim=True) * mean) * weights).sum(0)
    arc = tangent.norm() + 1e-8
    made = ((mean * torch.cos(arc) + tangent * (torch.sin(arc) / arc)) * (norms * weights).sum()).reshape(SHAPE)
    given = held if based else held[1:]
    found = ours("multislerp", given, based, dtype, weight=list(WEIGHTS), normalize_weights=normalize)
    check(found, made + base if based else made, given, dtype)


def test_karcher(world: World) -> None:
    dtype, held, (_, *models) = world
    rows = [m.flatten() for m in models]
    norms = [torch.linalg.norm(row.float()) for row in rows]
    units = [row / norm for row, norm in zip(rows, norms, strict=True)]
    point = sum(1 / 3 * unit for unit in units)
    point = point / torch.linalg.norm(point.float())
    for _ in range(10):
        tangent = torch.zeros_like(point)
        for unit in units:
            cosine = torch.dot(point, unit).clamp(-1, 1)
            angle = torch.acos(cosine)
            if angle >= 1e-8:
                tangent = tangent + 1 / 3 * (angle / torch.sin(angle)) * (unit - cosine * point)
        size = torch.linalg.norm(tangent.float())
        if size < 1e-5:
            break
        point = torch.cos(size) * point + torch.sin(size) * (tangent / size)
        point = point / torch.linalg.norm(point.float())
    made = sum(norms) / 3 * point
    check(ours("karcher", held[1:], False, dtype), made, held, dtype, 0.001)


@pytest.mark.parametrize("filter_wise", [True, False])
def test_model_stock(world: World, filter_wise: bool) -> None:
    dtype, held, tensors = world
    base, *models = tensors if filter_wise else [x.flatten() for x in tensors]
    changes = [m - base for m in models]
    cosines = []
    for one, other in itertools.combinations(changes, 2):
        size = one.norm(dim=-1, keepdim=True) * other.norm(dim=-1, keepdim=True)
        cosines.append(((one * other).sum(-1, keepdim=True) / size).clamp(-1, 1))
    mean = torch.stack(cosines).mean(0)
    t = (3 * mean) / (1 + 2 * mean)
    made = t * (sum(models) / 3) + (1 - t) * base
    found = ours("model_stock", held, True, dtype, filter_wise=filter_wise)
    check(found, made, [*held, made.float().numpy()], dtype, 0.01 if filter_wise else 0.0)


@pytest.mark.parametrize("share", [1.0, 0.4])
def test_sce_up_to_ties(world: World, share: float) -> None:
    """Which of several equal variances are kept is arbitrary: a stable choice on both sides here."""
    dtype, held, (base, *models) = world
    changes = torch.stack([m - base for m in models]).reshape(3, -1)
    if share < 1:
        spread = torch.var(changes, dim=0, unbiased=False)
        order = torch.sort(spread, descending=True, stable=True).indices
        mask = torch.zeros_like(spread)
        mask[order[: int(int(torch.count_nonzero(spread)) * share)]] = 1
        changes = changes * mask
    energy = (changes**2).mean(dim=1)
    weights = (energy / energy.sum())[:, None]
    plus = changes.sum(0) >= 0
    agree = torch.where(plus, changes > 0, changes < 0)
    made = (changes * agree * weights).sum(0) / (agree * weights).sum(0).clamp(min=1e-6)
    check(ours("sce", held, True, dtype, select_topk=share), made + base.flatten(), held, dtype)


def test_arcee_fusion(world: World) -> None:
    dtype, held, (base, model, *_) = world
    p, q = (torch.softmax(x, dim=-1) + 1e-8 for x in (model, base))
    importance = (model - base).abs() * (p * torch.log(p / q)).sum(-1, keepdim=True)
    order = importance.flatten().sort().values
    low, middle, high = (order[int(share * (len(order) - 1))] for share in (0.25, 0.5, 0.75))
    chosen = importance >= middle + 1.5 * (high - low)
    made = base.float() + chosen * (model - base).float()
    found = ours("arcee_fusion", held[:2], False, dtype)
    check(found, made, held, dtype, 0.002)


def test_ramplus_tl(world: World) -> None:
    dtype, held, (base, *models) = world
    changes = torch.stack([m - base for m in models])
    moved = changes.abs() > 1e-5
    times = moved.sum(0)
    made = base.float()
    for change, own in zip(changes, moved, strict=True):
        shared = int((own & (times > 1)).sum())
        alone = int((own & (times == 1)).sum())
        factor = 1 + 0.1 * min(max(shared / alone if alone else 0.0, 0.0), 0.2)
        kept = change * own
        made = made + torch.where(times == 1, kept.float() * factor, (kept / times.clamp(min=1)).float())
    check(ours("ramplus_tl", held, True, dtype), made, held, dtype)
