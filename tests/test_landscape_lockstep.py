"""Points that go through a model together: what each of them gives is what it gives alone, and by the other way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import tiny
from transformers import GPT2Config, GPT2LMHeadModel

from palmette.core.errors import BadParameter
from palmette.models.landscapes.subject import Job
from palmette.models.landscapes.workers import Pool, shares
from palmette.weights.fast.native import loop
from palmette.weights.landscape import lockstep
from palmette.weights.landscape import space as space_module
from palmette.weights.landscape.directions.base import Random
from palmette.weights.landscape.evaluate import Local, Probe, groups, quiet
from palmette.weights.landscape.lockstep import Lockstep, suits
from palmette.weights.landscape.losses import Losses, Misses
from palmette.weights.landscape.metric import TokenLoss
from palmette.weights.landscape.space import Space
from palmette.weights.landscape.steps import Product, drive_all
from palmette.weights.landscape.store import Store

IDS = np.random.default_rng(0).integers(1, 60, (6, 12))
SPOTS = [(0.3, -0.2), (0.3, 0.4), (0.0, 0.0), (-1.0, 0.7), (0.2, 0.2), (0.9, -0.9), (0.1, 0.0)]
BF16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported() if hasattr(torch.ops.mkldnn, "_linear_pointwise") else True,
    reason="this processor has no products in bfloat16",
)


def model(**settings: Any) -> Any:
    torch.manual_seed(0)
    net = tiny.build("gpt2", **settings).eval()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.02 * torch.randn_like(p))  # no vector is all zeros or ones
    return net


@pytest.fixture(autouse=True)
def _small_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small models are taken, too, and their weights cut into several pieces."""
    monkeypatch.setattr(lockstep, "LEAST", 1)
    monkeypatch.setattr(lockstep, "PIECE", 1500)
    monkeypatch.setattr(lockstep, "COLUMNS", 8)


def both(net: Any, metric: TokenLoss, spots: Any, axes: int = 2, select: str = "", dtype: Any = torch.float32) -> Any:
    """The sums in lockstep, and by moving the model from point to point."""
    space = Space(net, select, dtype)
    d = [Random(i, one_d="rms").make(space) for i in range(axes)]
    assert suits(metric, space)
    with space:
        together = Lockstep(space, metric)
        together.aim(d)
        found = np.stack(together(spots))
        moved = []
        for at in spots:
            space.move(at, d)
            moved.append(metric.sums())
    return found, np.stack(moved)


# -- the numbers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"tie_word_embeddings": False}])
@pytest.mark.parametrize("select", ["", r"h\.0\.", r"attn|wte|wpe", r"bias$"])
def test_points_together_have_the_losses_that_the_moved_model_has(settings: Any, select: str) -> None:
    net = model(**settings)
    found, moved = both(net, TokenLoss(net, IDS), SPOTS, select=select)
    np.testing.assert_allclose(found, moved, rtol=1e-5)
    assert len({tuple(row) for row in found.tolist()}) == len(SPOTS)


def test_a_line_padded_texts_and_errors_are_measured_alike() -> None:
    net = model()
    found, moved = both(net, TokenLoss(net, IDS), [(0.5,), (-0.5,)], axes=1)
    np.testing.assert_allclose(found, moved, rtol=1e-5)
    real = np.arange(12) < np.array([12, 3, 12, 7, 2, 5])[:, None]
    found, moved = both(net, TokenLoss(net, IDS * real, real, batch=2), SPOTS)
    np.testing.assert_allclose(found, moved, rtol=1e-5)
    found, moved = both(net, TokenLoss(net, IDS, kind="error"), SPOTS)
    assert found.tolist() == moved.tolist()
    assert 0 < found.sum() < found.size * 11


@BF16
def test_in_bfloat16_a_weight_is_rounded_once_and_the_loss_is_near() -> None:
    net = model()
    plain, _ = both(net, TokenLoss(net, IDS), SPOTS)
    found, moved = both(net, TokenLoss(net, IDS), SPOTS, dtype=torch.bfloat16)
    np.testing.assert_allclose(found, moved, rtol=2e-3)
    np.testing.assert_allclose(found, plain, rtol=2e-2)


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.bfloat16, marks=BF16)])
def test_a_point_has_the_same_bits_alone_as_among_others(dtype: Any) -> None:
    net = model()
    space, metric = Space(net, dtype=dtype), TokenLoss(net, IDS)
    d = [Random(0).make(space), Random(1).make(space)]
    with space:
        run = Lockstep(space, metric)
        run.aim(d)
        all_of_them = run(SPOTS)
        alone = [run([at])[0] for at in reversed(SPOTS)][::-1]
    assert np.array_equal(np.stack(all_of_them), np.stack(alone))


def test_other_directions_are_taken_at_once() -> None:
    net = model()
    space, metric = Space(net), TokenLoss(net, IDS)
    one, two = Random(0).make(space), Random(1).make(space)
    with Local(space, metric) as run:
        run.aim([one, two])
        first = np.stack(list(run([(0.5, 0.0), (0.0, 0.5)])))
        run.aim([two, one])
        turned = np.stack(list(run([(0.0, 0.5), (0.5, 0.0)])))
        run.aim([one])
        line = next(iter(run([(0.5,)])))
    np.testing.assert_allclose(first, turned, rtol=1e-6)
    np.testing.assert_allclose(first[0], line, rtol=1e-6)


def test_the_model_is_as_it_was() -> None:
    net = model().train()
    before = {name: (p.data_ptr(), p.clone()) for name, p in net.named_parameters()}
    space = Space(net)
    with Local(space, TokenLoss(net, IDS)) as run:
        assert run.together > 1
        run.aim([Random(0).make(space)])
        list(run([(float(i),) for i in range(9)]))
    assert net.training
    for name, p in net.named_parameters():
        assert p.data_ptr() == before[name][0] and torch.equal(p, before[name][1])


def test_after_an_interruption_the_points_before_are_kept_and_the_model_is_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = model()
    before = {name: p.clone() for name, p in net.named_parameters()}
    space, metric = Space(net), TokenLoss(net, IDS)
    store, made = Store(None, {}), Lockstep._pieces_of

    def interrupted(self: Lockstep, *given: Any) -> Any:
        if len(store) == 8 and given[0].name.endswith("h.1.mlp.c_proj.weight"):
            raise KeyboardInterrupt
        return made(self, *given)

    monkeypatch.setattr(Lockstep, "_pieces_of", interrupted)
    spots = [(float(i),) for i in range(16)]
    with Local(space, metric) as run:
        run.aim([Random(0).make(space)])
        with pytest.raises(KeyboardInterrupt):
            Probe(run, metric, store, 1, quiet).measure(spots)
    assert [*store.keys()] == spots[:8]
    assert all(torch.equal(p, before[name]) for name, p in net.named_parameters())


# -- who goes this way -------------------------------------------------------------------------------------------------


def test_it_is_gone_where_it_pays_and_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    net = model()
    space, metric = Space(net), TokenLoss(net, IDS)
    assert suits(metric, space)
    assert not suits(metric, Space(net, dtype=torch.float64))
    assert not suits(TokenLoss(net, np.tile(IDS, (4, 1))), space)  # 288 tokens
    llama = tiny.build("llama").eval()
    assert not suits(TokenLoss(llama, IDS), Space(llama))
    with monkeypatch.context() as without:
        without.setattr(lockstep, "compiled", lambda dtype: None)
        assert not suits(metric, space)
        assert Local(space, metric).together == 1
    monkeypatch.setattr(lockstep, "LEAST", space.size + 1)
    assert not suits(metric, space)


def test_points_of_another_number_of_coordinates_are_refused() -> None:
    net = model()
    space, metric = Space(net), TokenLoss(net, IDS)
    run = Lockstep(space, metric)
    with space, pytest.raises(BadParameter, match="a direction for each coordinate"):
        run([(0.0,)])
    run.aim([Random(0).make(space)])
    with space, pytest.raises(BadParameter, match=r"points \[\(0.0, 1.0\)\]"):
        run([(0.0, 1.0)])
    with pytest.raises(BadParameter, match="0 directions"):
        run.aim([])


@given(st.integers(0, 60), st.integers(1, 9), st.integers(1, 5))
def test_groups_hold_every_point_once_and_leave_no_worker_idle(count: int, together: int, workers: int) -> None:
    spots = [(float(i),) for i in range(count)]
    for made in (groups(spots, together), shares(spots, together, workers)):
        assert [at for group in made for at in group] == spots
        sizes = [len(group) for group in made]
        assert not sizes or (max(sizes) <= together and max(sizes) - min(sizes) <= 1)
    dealt = [sum(len(group) for group in made[i::workers]) for i in range(workers)]  # made are the shares
    assert max(dealt) <= -(-count // workers) + -(-count // (workers * together))


def test_worker_processes_give_the_bits_of_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # they know nothing of the smaller pieces
    torch.manual_seed(0)
    net = GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=128, n_head=2, vocab_size=80_000, n_positions=32))
    net.save_pretrained(tmp_path)
    ids = np.random.default_rng(0).integers(1, 80_000, (2, 12))
    threads = torch.get_num_threads()
    job = Job(str(tmp_path), ids, np.ones(ids.shape, bool), np.arange(2))
    try:
        space, metric = job.open()
        d = [Random(0).make(space), Random(1).make(space)]
        with Local(space, metric) as one, Pool(job, 2) as two:
            assert one.together == 8
            one.aim(d)
            two.aim(d)
            assert np.array_equal(np.stack(list(one(SPOTS))), np.stack(list(two(SPOTS))))
    finally:
        torch.set_num_threads(threads)


# -- its parts ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() == "DEFAULT", reason="torch rounds twice here")
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_compiled_move_has_the_bits_of_torch(dtype: Any, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    net, states = model(), []
    for many in (1, 10**9):
        monkeypatch.setattr(space_module, "MANY", many)
        space = Space(net, dtype=dtype)
        d = [Random(0, one_d="rms").make(space), Random(1).make(space).double()]
        with space:
            for at, along in (((0.3, -1.7), d), ((0.2,), d[:1]), ((0.2,), d[1:])):
                space.move(at, along)
                states.append([p.detach().clone() for p in net.parameters()])
    for found, want in zip(states[:3], states[3:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(found, want, strict=True))
    assert not torch.equal(states[0][0], states[1][0])


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() == "DEFAULT", reason="torch rounds twice here")
@pytest.mark.parametrize(("name", "dtype", "bits"), [("fill", torch.float32, None), ("fill_short", torch.bfloat16, 16)])
def test_the_compiled_loops_have_the_bits_of_torch(name: str, dtype: Any, bits: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = [torch.randn(3001, generator=generator) * 10.0 ** torch.randint(-9, 9, (3001,)) for _ in range(3)]
    vectors[0][:4] = torch.tensor([torch.nan, torch.inf, -torch.inf, 3.4e38])
    vectors[0].view(torch.int32)[4] = 0x7FFFFFFF  # no number, whose bits overflow when rounded as if it were one
    a, b = np.array([0.0, 0.3, -1.7], np.float32), np.array([1.0, -0.2, 0.0], np.float32)
    made = torch.empty(3, 3001, dtype=dtype)
    loop(name)(*(v.numpy() for v in vectors), a, b, (made.view(torch.uint16) if bits else made).numpy())
    for i in range(3):
        once = torch.add(vectors[0], vectors[1], alpha=float(a[i]))
        want = torch.add(once, vectors[2], alpha=float(b[i])).to(dtype)
        assert torch.equal(made[i].isnan(), want.isnan())
        assert torch.equal(made[i].nan_to_num(), want.nan_to_num())


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 700), st.booleans(), st.booleans())
def test_scores_some_at_a_time_say_what_all_of_them_say(seed: int, width: int, ties: bool, cut: bool) -> None:
    draw = torch.Generator().manual_seed(seed)
    scores = 5 * torch.randn(7, 1500, generator=draw)
    if ties:
        scores = scores.round()
    if cut:
        scores[:, 200:1200] = -torch.inf
    targets = torch.randint(0, 1500, (7,), generator=draw)
    for kind in (Losses, Misses):
        fold = kind(targets)
        for first, some in zip(range(0, 1500, width), scores.split(width, dim=1), strict=True):
            fold.add(some, first)
        torch.testing.assert_close(fold.made(), kind(targets).whole(scores), rtol=1e-6, atol=2e-6)


def test_the_first_score_that_is_no_number_is_the_likeliest_as_in_argmax() -> None:
    scores = torch.zeros(3, 8)
    scores[0, 1] = scores[1, 5] = scores[2, 1] = scores[2, 6] = torch.nan
    scores[:, 7] = 9
    for target in range(8):
        fold = Misses(torch.full((3,), target))
        for first, some in zip(range(0, 8, 2), scores.split(2, dim=1), strict=True):
            fold.add(some, first)
        assert torch.equal(fold.made(), fold.whole(scores))


def test_computations_side_by_side_are_answered_together() -> None:
    def steps(x: int) -> Any:
        y = yield Product(x, None)
        return (yield Product(y, None)) + x

    seen: list[list[int]] = []

    def answer(asked: list[Product]) -> list[int]:
        seen.append([one.x for one in asked])
        return [one.x * 10 for one in asked]

    assert drive_all([steps(1), steps(2)], answer) == [101, 202]
    assert seen == [[1, 2], [10, 20]]
    assert drive_all([], answer) == []
