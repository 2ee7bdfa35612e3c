"""Landscapes where something is odd: axes of two lengths, spans beside the origin, losses that are not finite."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from palmette.core.errors import BadParameter, OutputError
from palmette.weights.landscape.directions.base import Random
from palmette.weights.landscape.directions.curvature import lanczos
from palmette.weights.landscape.landscape import Landscape
from palmette.weights.landscape.measure import measure
from palmette.weights.landscape.metric import Scored, difference
from palmette.weights.landscape.pictures.plot import plot
from palmette.weights.landscape.pictures.tables import as_json
from palmette.weights.landscape.plan import Plan
from palmette.weights.landscape.profile import measure_profile
from palmette.weights.landscape.refine import Refinement
from palmette.weights.landscape.space import Space
from palmette.weights.landscape.store import Store
from palmette.weights.landscape.surrogate import Surrogate

START = np.array([3.0, 4.0])  # of length 5


class Height:
    """A function of two weights, the same for every example but for a slope of its own."""

    vocabulary, unit = None, "height"
    tasks: ClassVar[dict[str, Any]] = {}

    def __init__(self, function: Any, examples: int = 1) -> None:
        self.function = function
        self.counts = np.ones(examples)
        self.slopes = np.random.default_rng(0).normal(size=(examples, 2))
        self.model = torch.nn.Linear(2, 1, bias=False).eval()
        with torch.no_grad():
            self.model.weight.copy_(torch.from_numpy(START))

    def sums(self) -> Any:
        gone = self.model.weight.detach().double().numpy()[0] - START
        own = self.slopes @ gone if len(self.slopes) > 1 else np.zeros(1)
        return np.full(len(self.counts), float(self.function(*gone))) + own


def plane(metric: Height, axes: Any = ((1.0, 0.0), (0.0, 1.0)), **plan: Any) -> Landscape:
    made: Any = metric
    return measure(Space(metric.model), made, [torch.tensor(axis) for axis in axes], Plan(**{"span": (-1, 1)} | plan))


def bowl(a: float, b: float) -> float:
    return a * a + 3 * b * b + 1


@pytest.mark.parametrize("axes", [((2.0, 0.0), (0.0, 0.5)), ((1.0, 0.0), (1.0, 1.5)), ((-1.0, 2.0), (0.5, 0.3))])
def test_a_basins_radius_does_not_depend_on_the_axes(axes: Any) -> None:
    wide: Any = (-8, 8)
    mean, spread = plane(Height(bowl)).basin_radius(0.2)
    other = plane(Height(bowl), axes, span=wide).basin_radius(0.2)
    turn = np.linspace(0, 2 * np.pi, 10_000)
    exact = np.sqrt(0.2 / (np.cos(turn) ** 2 + 3 * np.sin(turn) ** 2)) / 5
    assert mean == pytest.approx(exact.mean(), rel=1e-3) and spread == pytest.approx(exact.std(), rel=1e-2)
    assert other == pytest.approx((mean, spread), rel=0.02)


def test_the_border_of_what_is_as_good_is_where_the_rise_is_two_standard_errors() -> None:
    metric = Height(bowl, 12)
    made = plane(metric)
    (border,) = made.as_good()
    for at in border:
        change = difference(made.sums(*at), made.start, metric.counts)  # type: ignore[misc,arg-type]
        assert change.value == pytest.approx(2 * change.error, abs=2e-3)
    assert plane(Height(bowl)).as_good() == []  # one example has no error bar


def test_the_border_costs_no_more_where_there_are_many_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    made, few, asked = plane(Height(bowl, 3000)), plane(Height(bowl, 12)), list[int]()
    real = Surrogate.__call__

    def call(self: Surrogate, *at: Any) -> Any:
        asked.append(self.values[0].size)
        return real(self, *at)

    monkeypatch.setattr(Surrogate, "__call__", call)
    (border,) = made.as_good()
    assert max(asked) <= len(made.surrogate.points) < 3000
    asked.clear()
    assert few.as_good() and max(asked) == 12
    monkeypatch.undo()
    change = difference(made.sums(*border[0]), made.start, made.counts)  # type: ignore[misc,arg-type]
    assert change.value == pytest.approx(max(2 * change.error, made.within), abs=3e-4)


def test_no_points_are_looked_for_that_would_not_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    real, given = Refinement.more, list[int]()

    def more(self: Refinement, *known: Any) -> Any:
        given.append(len(found := real(self, *known)))
        return found

    monkeypatch.setattr(Refinement, "more", more)
    made = plane(Height(lambda a, b: abs(a - 0.3) + abs(b + 0.1)), most=55, tolerance=1e-9)
    assert len(made.surrogate.points) == 55 and sum(given[:-1]) < 55 - 41 <= sum(given)


def test_nothing_is_said_of_what_is_outside_of_the_span() -> None:
    made = plane(Height(bowl, 3), span=(0.5, 1.0))
    assert np.isnan(made(0.0, 0.0)) and np.isnan(made([0.7, 1.1], 0.7)).tolist() == [False, True]
    loss, change = made.estimate(0.75, 0.5)
    assert change.value == pytest.approx(loss.value - made.origin.value, abs=1e-5)  # not a guess at the origin's
    assert np.isnan(made.barrier((0.0, 0.0), (1.0, 1.0)).value) and made.basin_radius(0.1)[0] == float("inf")
    assert made.gradient(0.5, 1.0) == pytest.approx(
        np.array([1.0, 6.0]) + Height(bowl, 3).slopes.mean(axis=0), abs=1e-2
    )


def test_a_flat_loss_needs_few_points() -> None:
    made = plane(Height(lambda a, b: 3.0))
    assert len(made.points) <= 101 and not any("may be off" in flag for flag in made.flags)
    line = plane(Height(lambda a, b: 3.0), [(1.0, 0.0)])
    assert len(line.points) <= 22 and not any("may be off" in flag for flag in line.flags)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("axes", [[(1.0, 0.0)], [(1.0, 0.0), (0.0, 1.0)]])
def test_where_no_loss_is_finite_nothing_is_drawn(value: float, axes: Any) -> None:
    with pytest.raises(BadParameter, match=r"0 of .* finite numbers"):
        plane(Height(lambda a, b: value), axes)
    with pytest.raises(BadParameter, match=r"1 of .* finite numbers"):
        plane(Height(lambda a, b: value if a or b else 1.0), [(1.0, 0.0), (0.0, 1.0)])
    made = plane(Height(lambda a, b: value if a > 0.5 else bowl(a, b), 3), axes)
    assert any("no finite loss" in flag for flag in made.flags) and plot(made, "png")
    assert "Infinity" not in as_json(made).decode() and "NaN" not in as_json(made).decode()


def test_a_model_with_nan_says_where() -> None:
    metric = Height(bowl)
    with torch.no_grad():
        metric.model.weight[0, 1] = float("nan")
    with pytest.raises(BadParameter, match="the model holds NaN or infinity in 'weight'"):
        plane(metric)


@pytest.mark.parametrize("span", [(1.0, 1.0), (0.5, -0.5), (float("nan"), 1.0), (-float("inf"), 1.0)])
def test_a_span_is_two_finite_numbers_that_rise(span: Any) -> None:
    metric: Any = Height(bowl)
    with pytest.raises(BadParameter, match="two finite numbers that rise, not"):
        plane(metric, span=span)
    with pytest.raises(BadParameter, match="two finite numbers that rise, not"):
        measure_profile(Space(metric.model), metric, [Random()], span)


def test_a_line_meets_a_level_on_a_tick_once() -> None:
    x = np.linspace(-1, 1, 9)
    line = Surrogate((-1.0,), (1.0,), x[:, None], x**3 + x, "chebyshev", 8)
    (only,) = line.contour(0.0)
    assert only == pytest.approx(np.zeros((1, 1)), abs=1e-9)


def test_a_file_of_another_program_is_left_as_it_is(tmp_path: Path) -> None:
    for text in ("precious words", "two\nlines without an end", '{"other": 1}\n'):
        (tmp_path / "p").write_text(text)
        with pytest.raises(OutputError, match="holds no points of a landscape"):
            Store(tmp_path / "p", {"a": 1})
        assert (tmp_path / "p").read_text() == text


def test_a_store_without_a_point_is_no_obstacle(tmp_path: Path) -> None:
    Store(tmp_path / "p", {"a": 1}).close()
    new = Store(tmp_path / "p", {"a": 2})
    new.add((0.5,), np.array([1.0]))
    new.close()
    assert json.loads((tmp_path / "p").read_text().splitlines()[0])["spec"] == {"a": 2}
    with pytest.raises(OutputError, match="another measurement"):
        Store(tmp_path / "p", {"a": 1})
    assert Store(tmp_path / "p", {"a": 2}).has((0.5,))


def test_lanczos_goes_on_where_its_start_reaches_no_further() -> None:
    exact = torch.tensor([5.0, 3.0, 2.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    start = torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)  # an eigenvector
    values, vectors, _ = lanczos(lambda v: exact * v, start, 3)
    assert values == pytest.approx([5, 3, 2], abs=1e-6) and vectors @ vectors.T == pytest.approx(np.eye(3), abs=1e-9)


def test_examples_of_a_function_are_not_called_tokens() -> None:
    net = torch.nn.Linear(2, 1, bias=False).eval()
    scored = Scored(net, lambda: [float(net.weight.detach().double().square().sum()) + i for i in range(40)])
    made = measure(Space(net), scored, [torch.tensor([1.0, 0.0])], Plan(span=(-1, 1)))
    assert "40 examples" in made.caption and "token" not in made.caption
    assert any("only 40 examples" in flag for flag in made.flags)
