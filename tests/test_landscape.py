"""Laws of the landscape: positions, norms, losses, error bars, surrogates, stores."""

from __future__ import annotations

import copy
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from numpy.polynomial import chebyshev
from palmette.weights.landscape.direction import Between, Gradient, Quantised, Random, cosine

import palmette
from palmette.core.errors import BadParameter, MismatchedModels, OutputError
from palmette.weights.landscape.landscape import measure, plateau
from palmette.weights.landscape.metric import TokenLoss, difference, estimate, windows
from palmette.weights.landscape.space import Space
from palmette.weights.landscape.store import Store
from palmette.weights.landscape.surrogate import Surrogate, lobatto

IDS = np.random.default_rng(0).integers(1, 60, (6, 12))


def model(name: str = "gpt2") -> Any:
    torch.manual_seed(0)
    return tiny.build(name).eval()


class Squares:
    """Least squares, a loss whose landscape is known in closed form; every row is a sequence of one token."""

    vocabulary, tokens = 1000, 40

    def __init__(self) -> None:
        draw = np.random.default_rng(1)
        self.x, self.y = draw.standard_normal((40, 7)), draw.standard_normal(40)
        self.model = torch.nn.Linear(7, 1, bias=False)
        self.counts = np.ones(40)

    def sums(self) -> Any:
        return (self.x @ self.model.weight.detach().double().numpy()[0] - self.y) ** 2


# -- positions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_model_is_put_back_bit_for_bit_also_after_an_error(dtype: Any) -> None:
    net = model()
    before, places = copy.deepcopy(net.state_dict()), [p.data_ptr() for p in net.parameters()]
    space = Space(net, dtype=dtype)
    metric = TokenLoss(net, IDS)

    def fail() -> None:
        with space:
            space.move([3.0], [Random().make(space)])
            assert next(net.parameters()).dtype == dtype
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [p.data_ptr() for p in net.parameters()] == places
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    with pytest.raises(BadParameter, match="inside"):
        space.move([0.0], [Random().make(space)])
    assert np.array_equal(metric.sums(), metric.sums())


def test_a_point_has_the_same_bits_after_four_hundred_others() -> None:
    net = model()
    space, metric = Space(net), TokenLoss(net, IDS)
    d = [Random(0).make(space), Random(1).make(space)]
    draw = np.random.default_rng(0)
    with space:
        space.move([0.3, -0.2], d)
        first = metric.sums()
        for _ in range(400):
            space.move(draw.normal(size=2).tolist(), d)
        space.move([0.3, -0.2], d)
        assert np.array_equal(first, metric.sums())


def test_tied_weights_move_once_and_positions_are_those_of_plain_arithmetic() -> None:
    net = model()
    space = Space(net)
    assert space.size == sum(p.numel() for p in net.parameters()) < sum(t.numel() for t in net.state_dict().values())
    d = [Random(0).make(space), Random(1).make(space)]
    other = copy.deepcopy(net)
    with torch.no_grad():
        for part, p in zip(space.parts, other.parameters(), strict=True):
            p += 0.2 * space.view(d[0], part) - 0.1 * space.view(d[1], part)
    ids = torch.from_numpy(IDS)
    wanted = other(input_ids=ids, labels=ids).loss.item()
    with space:
        space.move([0.2, -0.1], d)
        found = estimate(TokenLoss(net, IDS).sums(), TokenLoss(net, IDS).counts).value
    assert found == pytest.approx(wanted, abs=1e-5)


def test_a_selection_moves_nothing_else_and_draws_the_same() -> None:
    net = model()
    whole, part = Space(net), Space(net, r"\.0\.mlp")
    some = Random(3).make(part)
    everything = Random(3).make(whole)
    for p in part.parts:
        same = next(q for q in whole.parts if q.name == p.name)
        assert torch.equal(part.view(some, p), whole.view(everything, same))
    with pytest.raises(BadParameter, match="no parameter's name"):
        Space(net, "nothing like it")


# -- directions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpt2", "llama", "mixtral"])
def test_filter_norm_gives_every_unit_the_length_of_its_weights(name: str) -> None:
    space = Space(model(name))
    d = Random(5).make(space)
    seen = set()
    for part in space.parts:
        one, w = space.view(d, part), space.view(space.origin, part)
        if len(part.shape) < 2:
            assert not one.any()
            continue
        axis = -2 if part.units_last else -1
        seen.add(part.units_last)
        torch.testing.assert_close(one.norm(dim=axis), w.norm(dim=axis), rtol=1e-4, atol=1e-6)
    assert (True in seen) == (name == "gpt2")


def test_units_of_zeros_stay_and_biases_follow_their_policy() -> None:
    net = model()
    with torch.no_grad():
        net.transformer.wte.weight[0] = 0
        net.transformer.h[0].mlp.c_fc.bias.zero_()
        net.transformer.ln_f.bias.fill_(0.5)
    space = Space(net)
    for policy in ("zero", "rms", "abs"):
        d = Random(0, one_d=policy).make(space)  # type: ignore[arg-type]
        assert torch.isfinite(d).all()
        at = {part.name: space.view(d, part) for part in space.parts}
        assert not at["transformer.wte.weight"][0].any() and not at["transformer.h.0.mlp.c_fc.bias"].any()
        assert bool(at["transformer.ln_f.bias"].any()) == (policy != "zero")


@pytest.mark.parametrize(("norm", "limit"), [("element", 1e-5), ("none", None)])
def test_element_norm_does_not_see_rescalings_that_keep_the_function(norm: Any, limit: float | None) -> None:
    one = model("llama")
    two = copy.deepcopy(one)
    factors = torch.linspace(0.5, 2, two.model.layers[0].mlp.up_proj.weight.shape[0])
    with torch.no_grad():
        for layer in two.model.layers:
            layer.mlp.up_proj.weight *= factors[:, None]
            layer.mlp.down_proj.weight /= factors
            heads = layer.self_attn.v_proj.weight.shape[0]
            layer.self_attn.q_proj.weight *= 4
            layer.self_attn.k_proj.weight /= 4
            assert heads
    found = []
    for net in (one, two):
        space, metric = Space(net), TokenLoss(net, IDS)
        d = Random(0, norm).make(space)
        with space:
            space.move([0.5], [d])
            found.append(float(metric.sums().sum()) / metric.tokens)
    apart = abs(found[0] - found[1])
    assert apart <= limit if limit else apart > 1e-4


def test_directions_to_a_checkpoint_reach_it(tmp_path: Path) -> None:
    net, other = model("llama"), tiny.build("llama")
    other.save_pretrained(tmp_path / "other")
    space = Space(net)
    d = Between(str(tmp_path / "other")).make(space)
    with space:
        space.move([1.0], [d])
        found = TokenLoss(net, IDS).sums()
    np.testing.assert_allclose(found, TokenLoss(other.eval(), IDS).sums(), rtol=1e-5)
    with pytest.raises(MismatchedModels, match="another architecture"):
        Between(str(tmp_path / "other")).make(Space(model("gpt2")))


def test_the_gradient_is_uphill_and_the_quantised_model_has_few_values() -> None:
    net = model("llama")
    space, metric = Space(net), TokenLoss(net, IDS)
    up, coarse = Gradient().make(space, metric), Quantised(3).make(space)
    with space:
        losses = []
        for t in (-1e-3, 0.0, 1e-3):
            space.move([t], [up])
            losses.append(float(metric.sums().sum()))
    assert losses[0] < losses[1] < losses[2]
    assert all(p.grad is None for p in net.parameters())
    part = next(p for p in space.parts if len(p.shape) == 2)
    assert all(len(row.unique()) <= 7 for row in space.view(space.origin + coarse, part).round(decimals=6))
    with pytest.raises(BadParameter, match="between 2 and 8"):
        Quantised(1).make(space)


def test_independent_directions_are_nearly_orthogonal() -> None:
    space = Space(model("llama"))
    assert abs(cosine(Random(0).make(space), Random(1).make(space))) < 0.05
    assert cosine(Random(0).make(space), Random(0).make(space)) == pytest.approx(1)


# -- the loss ----------------------------------------------------------------------------------------------------------


def test_padding_changes_nothing() -> None:
    net = model("llama")
    whole = TokenLoss(net, IDS[:1]).sums()
    padded = np.zeros((2, 16), np.int64)
    real = np.zeros((2, 16), bool)
    padded[0, :12], real[0, :12] = IDS[0], True
    padded[1], real[1] = np.resize(IDS[1], 16), True
    found = TokenLoss(net, padded, real)
    assert found.sums()[0] == pytest.approx(whole[0], rel=1e-5) and found.counts.tolist() == [11, 15]


def test_windows_cut_documents_and_stop_at_the_tokens_asked_for() -> None:
    ids, real = windows([list(range(1, 11)), [7], [8, 9]], 4, 7)
    assert real.sum() - len(real) == 7 and ids[0].tolist() == [1, 2, 3, 4]
    with pytest.raises(BadParameter, match="no two tokens"):
        windows([[1], []], 8, 100)
    with pytest.raises(BadParameter, match="the model has"):
        TokenLoss(model(), np.full((1, 4), 10**6))


def test_intervals_cover_what_they_say() -> None:
    draw = np.random.default_rng(0)
    hits, paired = 0, 0
    for _ in range(2000):
        sizes = draw.integers(20, 60, 40).astype(float)
        own = draw.normal(3, 0.5, 40)  # a sequence's own difficulty: its tokens are not independent
        before = own * sizes + draw.normal(0, 1, 40) * np.sqrt(sizes)
        after = before + 0.1 * sizes + draw.normal(0, 0.02, 40) * sizes
        found, change = estimate(before, sizes), difference(after, before, sizes)
        hits += abs(found.value - 3) <= 1.96 * found.error
        paired += abs(change.value - 0.1) <= 1.96 * change.error
        assert change.error < found.error / 3
    assert 0.92 <= hits / 2000 <= 0.98 and 0.92 <= paired / 2000 <= 0.98


# -- the surrogate -----------------------------------------------------------------------------------------------------


def test_chebyshev_points_hold_those_of_the_grid_before() -> None:
    for n in (5, 9, 17):
        assert set(lobatto(n).tolist()) <= set(lobatto(2 * n - 1).tolist())


@pytest.mark.parametrize("kind", ["chebyshev", "spline"])
def test_a_surrogate_is_the_function_it_went_through(kind: str) -> None:
    x = (lobatto(17) + 1) * 1.5 - 1
    f = lambda a, b: np.exp(-a) + np.sin(2 * b) + a * b  # noqa: E731
    made = Surrogate((-1.0, -1.0), (2.0, 2.0), f(*np.meshgrid(x, x, indexing="ij")), kind)
    spots = np.random.default_rng(0).uniform(-1, 2, (2, 300))
    limit = 1e-7 if kind == "chebyshev" else 2e-2
    assert np.abs(made(*spots) - f(*spots)).max() < limit
    assert np.abs(made(*spots[:, :9]) - made(*spots)[:9]).max() < 1e-12
    slope = made.gradient(0.5, 0.25)
    assert slope == pytest.approx([-np.exp(-0.5) + 0.25, 2 * np.cos(0.5) + 0.5], abs=2e-2)


def test_minimum_barrier_and_basin_of_known_functions() -> None:
    x = lobatto(17) * 2
    a, b = np.meshgrid(x, x, indexing="ij")
    bowl = Surrogate((-2.0, -2.0), (2.0, 2.0), (a - 0.5) ** 2 + 4 * (b + 0.25) ** 2 + 1)
    at, value = bowl.argmin()
    assert at == pytest.approx((0.5, -0.25), abs=1e-3) and value == pytest.approx(1, abs=1e-6)
    assert bowl.barrier((-1, 0), (1, 0)) == pytest.approx(0, abs=1e-9)
    hill = Surrogate((-2.0,), (2.0,), 1 - x**2 / 4)
    assert hill.barrier((-1,), (1,)) == pytest.approx(0.25, abs=1e-6)
    radii = bowl.basin_radius(1.0, angles=4, centre=(0.5, -0.25))
    assert radii == pytest.approx([1, 0.5, 1, 0.5], abs=0.02)
    assert np.isinf(bowl.basin_radius(1e9)).all()


# -- measuring ---------------------------------------------------------------------------------------------------------


def test_a_quadratic_plane_is_its_closed_form() -> None:
    metric = Squares()
    space = Space(metric.model)
    d = [Random(0, "none").make(space), Random(1, "none").make(space)]
    made = measure(space, metric, d, span=(-1, 1))  # type: ignore[arg-type]
    w, u, v = (t.double().numpy() for t in (space.origin, *d))
    for a, b in np.random.default_rng(2).uniform(-1, 1, (50, 2)):
        wanted = np.mean((metric.x @ (w + a * u + b * v) - metric.y) ** 2)
        assert float(made(a, b)) == pytest.approx(wanted, rel=1e-6)
    assert made.held_out[0] < 1e-5 and len(made.points) <= 102


def test_the_plateau_is_found() -> None:
    assert plateau(lambda r: 1 + min(6.0, 40 * r * r), 1000) == (-0.25, 0.25)
    assert plateau(lambda r: 1.0, 1000) == (-1.0, 1.0)
    assert plateau(lambda r: 1.0 if r == 0 else 9.0, 1000) == (-0.0625, 0.0625)


def test_losses_that_are_not_finite_are_kept_and_flagged() -> None:
    class Broken(Squares):
        def sums(self) -> Any:
            found = super().sums()
            return np.where(self.model.weight.detach().numpy()[0, 0] > 1.2, np.nan, 1.0) * found

    metric = Broken()
    space = Space(metric.model)
    d = torch.zeros(7)
    d[0] = 1.0
    made = measure(space, metric, [d], span=(-2, 2), most=9)  # type: ignore[arg-type]
    assert any("no finite loss" in flag for flag in made.flags)
    assert any(np.isnan(loss.value) for loss, _ in made.points.values())


def test_a_store_is_taken_up_and_gives_the_same_file(tmp_path: Path) -> None:
    metric = Squares()
    start = metric.model.weight.detach().clone()

    def run(path: Path) -> Any:
        with torch.no_grad():
            metric.model.weight.copy_(start)
        space = Space(metric.model)
        d = [Random(0, "none").make(space), Random(1, "none").make(space)]
        store = Store(path, {"what": 1})
        try:
            return measure(space, metric, d, span=(-1, 1), store=store)  # type: ignore[arg-type]
        finally:
            store.close()

    whole = run(tmp_path / "whole")
    lines = (tmp_path / "whole").read_bytes().splitlines(keepends=True)
    for kept in (1, 7, 40):
        (tmp_path / "cut").write_bytes(b"".join(lines[:kept]) + lines[kept][: len(lines[kept]) // 2])
        again = run(tmp_path / "cut")
        assert (tmp_path / "cut").read_bytes() == (tmp_path / "whole").read_bytes()
        assert np.array_equal(again.surrogate.values, whole.surrogate.values)
    with pytest.raises(OutputError, match=r"another measurement \(what: 1, now 2\)"):
        Store(tmp_path / "whole", {"what": 2})
    (tmp_path / "other").write_text("hello\n")
    with pytest.raises(OutputError, match="holds no points"):
        Store(tmp_path / "other", {})


def test_chebyshev_error_falls_geometrically() -> None:
    f = lambda x: 1 / (1 + 4 * x * x)  # noqa: E731
    t = np.linspace(-1, 1, 999)
    off = [np.abs(Surrogate((-1.0,), (1.0,), f(lobatto(n)))(t) - f(t)).max() for n in (5, 9, 17, 33)]
    assert all(b < a**1.5 for a, b in itertools.pairwise(off)), off
    assert chebyshev.chebval(0.3, [1, 2]) == pytest.approx(1.6)


# -- whole -------------------------------------------------------------------------------------------------------------

TEXT = ["One day Runa went to the park. She was very happy. The dog ran to her and they played all day."] * 6


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_line_of_the_embedded_model(dtype: Any, tmp_path: Path) -> None:
    made = palmette.landscape("zoo:seedling", TEXT, line=True, tokens=120, length=20, dtype=dtype, store=tmp_path / "p")
    assert made.origin.value < np.log(1024) and made.held_out[0] < 1
    assert float(made(made.surrogate.high[0])) > made.origin.value
    assert len((tmp_path / "p").read_text().splitlines()) == len(made.points) + 1
    assert any("120 tokens" in flag or "only" in flag for flag in made.flags) and dtype in made.caption
    inside, spread = made.basin_radius(0.01)
    assert inside > 0 and spread >= 0
    again = palmette.landscape(
        "zoo:seedling", TEXT, line=True, tokens=120, length=20, dtype=dtype, store=tmp_path / "p"
    )
    assert again.points == made.points


def test_planes_that_are_none_are_refused(tmp_path: Path) -> None:
    for plane, reason in (("rndom", "no folder 'rndom'"), ("quant:int9", "2 to 8 bits"), ("a,b,c", "no folder 'a'")):
        with pytest.raises(BadParameter, match=reason):
            palmette.landscape("zoo:seedling", TEXT, plane=plane)
    with pytest.raises(BadParameter, match="no two tokens"):
        palmette.landscape("zoo:seedling", [""])
    with pytest.raises(BadParameter, match="should rise"):
        palmette.landscape("zoo:seedling", TEXT, span=(1.0, -1.0))
    palmette.landscape("zoo:seedling", TEXT, line=True, tokens=40, store=tmp_path / "p")
    with pytest.raises(OutputError, match="another measurement"):
        palmette.landscape("zoo:seedling", TEXT, line=True, tokens=40, seed=1, store=tmp_path / "p")
    assert json.loads((tmp_path / "p").read_text().splitlines()[0])["spec"]["directions"][0]["kind"] == "random"
