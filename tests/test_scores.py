"""`Scores`: the fast paths agree with a full sort."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmette.core.errors import ModelError
from palmette.core.scores import Scores, reference_order


def row(seed: int, size: int, kind: str) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == "ties":
        return rng.integers(-3, 3, size).astype(np.float32)
    if kind == "flat":
        return np.zeros(size, np.float32)
    values = (rng.standard_normal(size) * 4).astype(np.float32)
    if kind == "masked":
        values[rng.random(size) < 0.9] = -np.inf
        values[rng.integers(size)] = 1.0
    return values


rows = st.builds(
    row,
    st.integers(0, 2**31),
    st.sampled_from([1, 2, 7, 255, 256, 257, 1000, 20_000]),
    st.sampled_from(["normal", "ties", "flat", "masked"]),
)


@given(rows, st.sampled_from([1, 2, 50, 256, 300, 5000]))
@settings(max_examples=150, deadline=None)
def test_head_is_the_beginning_of_a_full_sort(values: np.ndarray, count: int) -> None:
    ids, best = Scores(values).head(count)
    expected = reference_order(values)[:count]
    assert ids.tolist() == expected.tolist()
    assert best.tolist() == values[expected].astype(float).tolist()


@given(rows, st.floats(0.01, 0.999))
@settings(max_examples=100, deadline=None)
def test_heaviest_is_the_smallest_prefix_that_holds_the_mass(values: np.ndarray, mass: float) -> None:
    ids, _, cumulated = Scores(values).heaviest(mass)
    order = reference_order(values)
    p = np.exp(values[order].astype(float))
    p /= p.sum()
    size = int(np.searchsorted(p.cumsum(), mass)) + 1
    assert abs(ids.size - min(size, order.size)) <= (0 if min(abs(p.cumsum() - mass)) > 1e-5 else p.size)
    assert cumulated[-1] >= mass - 1e-5


@given(rows)
@settings(max_examples=100, deadline=None)
def test_dense_and_listed_forms_agree(values: np.ndarray) -> None:
    dense = Scores(values)
    listed = Scores.listed(np.arange(values.size), values, values.size)
    assert listed.count == dense.count
    assert listed.best == dense.best
    assert listed.log_normalizer == pytest.approx(dense.log_normalizer, abs=1e-5)
    assert listed.entropy == pytest.approx(dense.entropy, abs=1e-3)
    assert (listed.dense() == dense.dense()).all()
    token = dense.best
    assert listed.rank(token) == dense.rank(token) == 1
    assert listed.logprob(token) == pytest.approx(dense.logprob(token), abs=1e-5)
    threshold = float(np.median(values[values > -np.inf]))
    assert sorted(listed.at_least(threshold).support()) == sorted(dense.at_least(threshold).support())
    assert listed.scaled(0.5).best == dense.scaled(0.5).best


@pytest.mark.parametrize("size", [3, 300, 20_000])
@pytest.mark.parametrize("listed", [False, True])
def test_draws_follow_the_distribution(size: int, listed: bool) -> None:
    values = row(1, size, "normal")
    scores = Scores.listed(np.arange(size), values, size) if listed else Scores(values)
    grid = (np.arange(4000) + 0.5) / 4000  # stratified: the counts are exact up to one
    counts = np.bincount([scores.draw(float(u)) for u in grid], minlength=size)
    p = np.exp(scores.logprobs())
    assert np.abs(counts - 4000 * p).max() <= 1.5


def test_draw_at_the_ends_stays_inside() -> None:
    scores = Scores(np.array([0.0, -np.inf, 1.0], np.float32))
    assert scores.draw(1e-17) == 2
    assert scores.draw(1 - 1e-17) in (0, 2)


def test_broken_scores_are_refused() -> None:
    for wrong in (np.nan, np.inf):
        with pytest.raises(ModelError):
            _ = Scores(np.array([0.0, wrong], np.float32)).log_normalizer


def test_excluded_tokens_have_no_probability() -> None:
    scores = Scores(np.log(np.array([0.5, 0.25, 0.25], np.float32))).only(np.array([0, 2]))
    assert scores.logprob(1) == -np.inf
    assert scores.at(np.array([1, 2, 0])).tolist() == [-np.inf, pytest.approx(np.log(0.25)), pytest.approx(np.log(0.5))]
    assert scores.count == 2


@pytest.mark.parametrize("size", [31, 32, 1000, 5000])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
def test_a_mask_keeps_exactly_the_tokens_of_its_bits(size: int, share: float) -> None:
    rng = np.random.default_rng(size)
    values = rng.normal(size=size).astype(np.float32)
    values[rng.random(size) < 0.1] = -np.inf
    for words_size in (size, size - 7, size + 40):
        bits = rng.random(words_size) < share
        words = np.packbits(np.pad(bits, (0, -words_size % 32)), bitorder="little").view(np.uint32)
        allowed = np.pad(bits, (0, max(0, size - words_size)))[:size]
        if words_size < size:
            allowed[words_size:] = False
        for scores in (Scores(values), Scores(values).prefix(500)):
            kept = scores.masked(words)
            expected = np.where(allowed, scores.dense(), -np.inf)
            assert np.array_equal(kept.dense(), expected)
            assert kept.count == np.count_nonzero(expected > -np.inf)
