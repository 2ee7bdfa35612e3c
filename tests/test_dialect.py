"""Dialects: every program × every setting, chains against plain formulas, exact translations, and the command line."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from numpy.typing import NDArray
from rows import seen_through

import palmette
from palmette.cli.main import main
from palmette.core.errors import BadParameter, UnknownName, UsageError
from palmette.tokens.dialect import (
    DIALECTS,
    SETTINGS,
    Dialect,
    chain,
    check_strategy,
    dialect,
    explain,
    parse_settings,
    read_settings,
    translate,
)
from palmette.tokens.dialect.settings import spell
from palmette.tokens.dialect.stages import RULES
from palmette.tokens.strategies import beam, greedy, sample
from palmette.tokens.views import show

Row = NDArray[np.float64]
ACTIVE: dict[str, Any] = {
    "temperature": 0.6, "dynatemp_range": 0.3, "dynatemp_exponent": 2.0, "top_k": 3, "top_p": 0.6, "min_p": 0.3,
    "typical_p": 0.5, "epsilon_cutoff": 0.15, "eta_cutoff": 0.3, "top_n_sigma": 0.8, "xtc_probability": 1.0,
    "xtc_threshold": 0.05, "repetition_penalty": 1.4, "presence_penalty": 0.7, "frequency_penalty": 0.4,
    "penalty_last_n": 2, "no_repeat_ngram_size": 2, "dry_multiplier": 0.9, "dry_base": 1.5, "dry_allowed_length": 1,
    "dry_penalty_last_n": 5, "dry_sequence_breakers": ("a",), "mirostat": 2, "mirostat_tau": 1.0, "mirostat_eta": 0.2,
    "min_new_tokens": 9, "logit_bias": {1: 1.5}, "ban": (0,), "allow": (0, 1), "do_sample": False,
    "samplers": ("temperature", "top_k"),
}  # fmt: skip
BESIDE: dict[str, dict[str, Any]] = {  # what a parameter needs beside it to have an effect
    "dynatemp_exponent": {"dynatemp_range": 0.3}, "xtc_threshold": {"xtc_probability": 1.0},
    "penalty_last_n": {"repetition_penalty": 1.4},
    "mirostat_tau": {"mirostat": 2}, "mirostat": {"mirostat_tau": 1.0}, "mirostat_eta": {"mirostat": 2},
    "samplers": {"top_p": 1.0},
    **{f"dry_{name}": {"dry_multiplier": 0.9, "dry_allowed_length": 1}
       for name in ("base", "allowed_length", "penalty_last_n", "sequence_breakers")},
}  # fmt: skip
ROW = np.array([2.0, 1.4, 1.1, 0.3, -0.2, -1.0])


def softmax(scores: Row) -> Row:
    e = np.exp(scores - scores.max())
    result: Row = e / e.sum()
    return result


# -- every dialect × every setting -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("d", DIALECTS.values(), ids=lambda d: d.name)
def test_a_setting_acts_or_is_refused_in_every_dialect(d: Dialect, name: str) -> None:
    given_ = {**BESIDE.get(name, {}), name: ACTIVE[name]}
    if name not in d.names:
        with pytest.raises(BadParameter, match=f"{d.name} has no"):
            chain(d.name, given_)
        assert chain(d.name, {name: SETTINGS[name].default}) == chain(d.name), "a setting that is off asks for nothing"
        return
    without = {k: v for k, v in given_.items() if k != name}
    views, plain = chain(d.name, given_), chain(d.name, without)
    assert [show(v) for v in views] != [show(v) for v in plain]
    if name != "mirostat_eta":  # that one acts on the step after
        prompt, answer = [0, 1, 0, 1, 2], [0, 1]
        before = seen_through(plain, ROW, prompt, answer, eos=2)
        assert np.abs(seen_through(views, ROW, prompt, answer, eos=2) - before).max() > 1e-6


@pytest.mark.parametrize("d", DIALECTS.values(), ids=lambda d: d.name)
def test_every_name_a_dialect_uses_is_understood(d: Dialect) -> None:
    for name, spelled in d.names.items():
        assert read_settings({spelled: ACTIVE[name]}) == {name: ACTIVE[name]}
    for row in SETTINGS.values():
        for alias in row.aliases:
            assert list(read_settings({alias: ACTIVE[row.name]})) == [row.name]
    assert set(d.order) <= set(RULES) and set(d.lacks) & set(d.names) == set()
    read = {setting for stage in d.order for setting in RULES[stage].reads}
    assert set(d.names) - {"do_sample", "samplers", "mirostat", "mirostat_tau", "mirostat_eta"} <= read


def test_texts_with_line_breaks_and_quotes_are_quoted() -> None:
    default = SETTINGS["dry_sequence_breakers"].default
    assert parse_settings([f"dry_sequence_breakers={spell(default)}"]) == {"dry_sequence_breakers": default}
    assert "\n" not in str(explain({"dry_sequence_breakers": default}, "paper")).splitlines()[0]
    assert spell(default) == r"""'\n;:;";*'"""


@pytest.mark.parametrize("name", SETTINGS)
def test_a_value_survives_being_written_and_read(name: str) -> None:
    value = ACTIVE[name]
    assert parse_settings([f"{name}={spell(value)}"]) == read_settings({name: value}) == {name: value}


def test_silent_defaults_are_those_of_the_programs() -> None:
    from transformers import GenerationConfig

    assert chain("paper") == chain("vllm") == []
    assert [show(v) for v in chain("hf")] == ["top_k(k=50, ties='keep')"]
    assert DIALECTS["hf"].defaults["top_k"] == GenerationConfig._get_default_generation_params()["top_k"]
    assert [show(v) for v in chain("llama.cpp")] == [
        "top_k(k=40, ties='drop')", "top_p(p=0.95, tail='smallest')", "min_p(p=0.05)", "temperature(t=0.8)",
    ]  # fmt: skip


# -- chains against plain formulas -------------------------------------------------------------------------------------


def plain_penalties(row: Row, all_: list[int], counted: list[int], theta: float, alpha: float, beta: float) -> Row:
    out = row.copy()
    for token in set(all_):
        out[token] = out[token] / theta if out[token] > 0 else out[token] * theta
    for token in set(counted):
        out[token] -= alpha + beta * counted.count(token)
    return out


def keep_top_p(scores: Row, p: float) -> Row:
    order = np.argsort(-scores, kind="stable")
    n = int(np.searchsorted(np.cumsum(softmax(scores)[order]), p)) + 1
    out = np.full_like(scores, -np.inf)
    out[order[:n]] = scores[order[:n]]
    return out


def keep_top_k(scores: Row, k: int) -> Row:
    return np.where(scores >= np.sort(scores)[-k], scores, -np.inf)


def keep_min_p(scores: Row, p: float) -> Row:
    q = softmax(scores)
    return np.where(q >= p * q.max(), scores, -np.inf)


ROWS = st.integers(0, 10**6).map(lambda seed: np.random.default_rng(seed).normal(size=90).astype(np.float32) * 2.0)
HISTORIES = st.lists(st.integers(0, 12), min_size=1, max_size=90)
WARMTH = st.floats(0.2, 2.5)
P = st.floats(0.05, 0.98)


@given(ROWS, HISTORIES, st.integers(1, 90), WARMTH, P, P, st.integers(1, 60))
@effort(max_examples=60, deadline=None)
def test_the_llama_cpp_chain_is_penalties_top_k_top_p_min_p_then_temperature(
    row: Row, tokens: list[int], cut: int, t: float, p: float, m: float, k: int
) -> None:
    asked = {"temp": t, "top_p": p, "min_p": m, "top_k": k, "repeat_penalty": 1.3, "presence_penalty": 0.4}
    found = seen_through(chain("llama.cpp", asked), row, tokens[:cut], tokens[cut:])
    window = tokens[-64:]
    scores = plain_penalties(row.astype(float), window, window, 1.3, 0.4, 0.0)
    expected = softmax(keep_min_p(keep_top_p(keep_top_k(scores, k), p), m) / t)
    assert found == pytest.approx(expected, abs=1e-5)


@given(ROWS, HISTORIES, st.integers(1, 90), WARMTH, P, P, st.integers(1, 60))
@effort(max_examples=60, deadline=None)
def test_the_vllm_chain_is_penalties_temperature_min_p_top_k_then_top_p(
    row: Row, tokens: list[int], cut: int, t: float, p: float, m: float, k: int
) -> None:
    asked = {"temperature": t, "top_p": p, "min_p": m, "top_k": k, "repetition_penalty": 1.3}
    asked |= {"presence_penalty": 0.4, "frequency_penalty": 0.2}
    found = seen_through(chain("vllm", asked), row, tokens[:cut], tokens[cut:])
    scores = plain_penalties(row.astype(float), tokens, tokens[cut:], 1.3, 0.4, 0.2)
    expected = softmax(keep_top_p(keep_top_k(keep_min_p(scores / t, m), k), p))
    assert found == pytest.approx(expected, abs=1e-5)


def test_penalties_count_what_each_program_counts() -> None:
    row, prompt, answer = [1.0, 1.0, 1.0, 1.0], [0, *[3] * 70, 1], [2, 2]
    found = {
        name: seen_through(chain(name, {"presence_penalty": 0.5}), row, prompt, answer)
        for name in ("paper", "llama.cpp", "vllm")
    }
    lowered = {name: np.flatnonzero(q < 0.7 * q.max()).tolist() for name, q in found.items()}
    assert lowered == {"paper": [2], "llama.cpp": [1, 2, 3], "vllm": [2]}


def test_the_programs_differ_on_the_example_of_the_docs() -> None:
    kept = {
        name: np.flatnonzero(seen_through(chain(name, {"temperature": 0.5, "top_p": 0.7}), [2, 1.2, 0])).tolist()
        for name in DIALECTS
    }
    assert kept == {"paper": [0], "hf": [0], "llama.cpp": [0, 1], "vllm": [0]}


def test_temperature_zero_is_greedy_where_it_is_allowed() -> None:
    for name in ("paper", "llama.cpp", "vllm"):
        assert seen_through(chain(name, {"temperature": 0}), ROW)[0] == 1.0
    assert seen_through(chain("llama.cpp", {"temperature": -1}), ROW)[0] == 1.0
    assert seen_through(chain("hf", {"do_sample": False}), ROW)[0] == 1.0
    with pytest.raises(BadParameter, match="do_sample=false"):
        chain("hf", {"temperature": 0})
    assert show(chain("vllm", {"temperature": 0.001})[0]) == "temperature(t=0.01)"
    with pytest.raises(BadParameter, match="beam"):
        check_strategy(chain("paper", {"temperature": 0}), beam(4))
    check_strategy(chain("paper", {"temperature": 0}), sample())
    check_strategy(chain("paper", {"temperature": 0}), greedy())
    check_strategy(chain("paper", {"temperature": 0.1}), beam(4))


# -- translation -------------------------------------------------------------------------------------------------------

VALUES = {
    "temperature": st.sampled_from([0.0, 0.4, 0.8, 1.0, 1.7]), "top_k": st.sampled_from([0, 2, 5, 40]),
    "top_p": st.sampled_from([0.35, 0.8, 1.0]), "min_p": st.sampled_from([0.0, 0.07, 0.3]),
    "typical_p": st.sampled_from([0.4, 1.0]), "epsilon_cutoff": st.sampled_from([0.0, 0.04]),
    "eta_cutoff": st.sampled_from([0.0, 0.2]), "top_n_sigma": st.sampled_from([0.0, 1.1]),
    "repetition_penalty": st.sampled_from([1.0, 1.3]), "presence_penalty": st.sampled_from([0.0, 0.6]),
    "frequency_penalty": st.sampled_from([0.0, 0.3, 3.0]), "penalty_last_n": st.sampled_from([-1, 0, 3]),
    "no_repeat_ngram_size": st.sampled_from([0, 2]), "dry_multiplier": st.sampled_from([0.0, 0.9]),
    "min_new_tokens": st.sampled_from([0, 50]), "logit_bias": st.sampled_from([{}, {1: 1.5, 4: -2.0}]),
    "ban": st.sampled_from([(), (3,)]), "mirostat": st.sampled_from([0, 0, 2]), "do_sample": st.booleans(),
    "xtc_probability": st.sampled_from([0.0, 0.7]), "dynatemp_range": st.sampled_from([0.0, 0.2]),
    "samplers": st.sampled_from([(), ("penalties", "temperature", "top_p", "top_k"), ("min_p", "temperature")]),
}  # fmt: skip


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, dict[str, Any]]:
    source, target = draw(st.sampled_from(list(DIALECTS))), draw(st.sampled_from(list(DIALECTS)))
    names = draw(st.lists(st.sampled_from([n for n in VALUES if n in DIALECTS[source].names]), unique=True, max_size=5))
    return source, target, {name: draw(VALUES[name]) for name in names}


@given(requests(), st.integers(0, 10**6), st.lists(st.integers(0, 9), min_size=1, max_size=40))
@effort(max_examples=500, deadline=None)
def test_a_translation_is_exact_where_it_says_so(
    request_: tuple[str, str, dict[str, Any]], seed: int, tokens: list[int]
) -> None:
    source, target, asked = request_
    try:
        views = chain(source, asked)
    except BadParameter:
        return
    done = translate(asked, source, target)
    translated = chain(target, done.settings)  # whatever it says, the target takes it
    if done.exact:
        row = np.random.default_rng(seed).normal(size=70) * 2
        cut = 1 + seed % len(tokens)
        ours = seen_through(views, row, tokens[:cut], tokens[cut:], eos=9)
        theirs = seen_through(translated, row, tokens[:cut], tokens[cut:], eos=9)
        assert theirs == pytest.approx(ours, abs=1e-5), done


@pytest.mark.parametrize(
    ("asked", "source", "target", "exact", "expected"),
    [
        ({"temperature": 0.5, "min_p": 0.1}, "llama.cpp", "vllm", False, {"min_p": 0.01}),
        ({"temperature": 0.5, "min_p": 0.1, "top_p": 1, "top_k": 0}, "llama.cpp", "vllm", True, {"min_p": 0.01}),
        ({"temperature": 0.5, "min_p": 0.25}, "vllm", "llama.cpp", True, {"min_p": 0.5, "top_k": 0, "top_p": 1.0}),
        ({"temperature": 0.5}, "paper", "hf", True, {"top_k": 0}),
        (
            {"temperature": 0.4, "dynatemp_range": 0.2, "top_k": 2},
            "paper",
            "llama.cpp",
            True,
            {"samplers": ("temperature", "top_k")},
        ),
        ({}, "vllm", "llama.cpp", True, {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}),
        ({"temperature": 0.5, "top_p": 0.7}, "hf", "llama.cpp", True, {"samplers": ("temperature", "top_k", "top_p")}),
        ({"temperature": 0.5, "top_p": 0.7}, "llama.cpp", "hf", False, {"top_p": 0.7}),
        ({"temperature": 0}, "vllm", "hf", True, {"do_sample": False}),
        ({"do_sample": False}, "hf", "llama.cpp", True, {"temperature": 0.0}),
        ({"repetition_penalty": 1.2}, "hf", "llama.cpp", True, {"repeat_penalty": 1.2, "repeat_last_n": -1}),
        ({"repetition_penalty": 1.2}, "llama.cpp", "hf", False, {"repetition_penalty": 1.2}),
        (
            {"repetition_penalty": 1.2, "temperature": 1, "top_p": 1, "min_p": 0},
            "llama.cpp",
            "hf",
            False,
            {"top_k": 40},
        ),
        ({"temperature": 0, "typical_p": 0.4}, "llama.cpp", "hf", False, {"do_sample": False}),
        ({"temperature": 0, "typical_p": 0.4}, "llama.cpp", "paper", False, {"temperature": 0.0}),
        ({"temperature": 0, "typical_p": 0.4}, "paper", "hf", True, {"do_sample": False}),
        ({"top_p": 0.8, "min_p": 0.1}, "vllm", "hf", False, {"top_p": 0.8, "min_p": 0.1}),
        ({"top_k": 7, "min_p": 0.1}, "vllm", "hf", True, {"top_k": 7, "min_p": 0.1}),
        ({"presence_penalty": 1.0}, "vllm", "llama.cpp", False, {"presence_penalty": 1.0}),
        ({"frequency_penalty": 5.0}, "paper", "vllm", False, {"frequency_penalty": 2.0}),
        ({"dry_multiplier": 1.0}, "llama.cpp", "vllm", False, {}),
        ({"min_tokens": 4}, "vllm", "hf", True, {"min_new_tokens": 4, "top_k": 0}),
        ({"temperature": 0.001}, "hf", "vllm", False, {"temperature": 0.01}),
    ],
)
def test_translations_that_people_ask_for(
    asked: dict[str, Any], source: str, target: str, exact: bool, expected: dict[str, Any]
) -> None:
    done = translate(asked, source, target)
    assert done.exact == exact, done
    for name, value in expected.items():
        assert done.settings[name] == (pytest.approx(value) if isinstance(value, float) else value)
    assert exact or any(note.kind == "lost" for note in done.notes)
    assert json.loads(json.dumps(done.to_dict()))["exact"] == exact
    assert parse_settings([f"{k}={spell(v)}" for k, v in done.settings.items()]) == read_settings(done.settings)


# -- explanation -------------------------------------------------------------------------------------------------------


def test_an_explanation_says_what_differs_and_shows_it() -> None:
    said = explain({"temperature": 0.5, "top_p": 0.7})
    assert "order: llama.cpp applies top_p before temperature; paper, hf, vllm after it" in said.differences
    assert "silent defaults: hf adds top_k=50" in said.differences
    assert said.example is not None and said.example.differ
    kept = said.to_dict()["example"]["kept"]
    assert {name: [cell["token"] for cell in row] for name, row in kept.items()} == {
        "paper": [0], "hf": [0], "llama.cpp": [0, 1], "vllm": [0],
    }  # fmt: skip
    assert json.loads(json.dumps(said.to_dict())) == said.to_dict()


def test_an_explanation_covers_scope_ties_refusals_and_floors() -> None:
    penalties = explain({"repetition_penalty": 1.3, "presence_penalty": 0.5})
    assert any(d.startswith("scope: repetition_penalty") and "last 64 tokens" in d for d in penalties.differences)
    assert any("the answer in paper, vllm" in d for d in penalties.differences)
    assert "hf        refused: hf has no presence_penalty" in str(penalties)
    assert penalties.example is not None and penalties.example.case.answer
    ties = explain({"top_k": 2, "top_p": 1, "min_p": 0, "temperature": 1})
    assert any(d.startswith("ties:") for d in ties.differences)
    assert ties.example is not None and ties.example.differ
    assert any("raises 0.001 to 0.01" in d for d in explain({"temperature": 0.001}).differences)


def test_an_explanation_says_so_when_nothing_differs() -> None:
    said = explain({"temperature": 1, "top_k": 0, "top_p": 1, "min_p": 0})
    assert said.differences == ()
    assert "no difference shows on any example row" in str(said)
    alone = explain({"temperature": 0.5}, "hf")
    assert [r.dialect.name for r in alone.readings] == ["hf"] and "vllm" not in str(alone)


@given(st.fixed_dictionaries({}, optional={n: v for n, v in VALUES.items() if n not in ("do_sample", "samplers")}))
@effort(max_examples=60, deadline=None)
def test_every_explanation_can_be_printed_and_sent(asked: dict[str, Any]) -> None:
    said = explain(asked)
    assert str(said).count("\n") > 3
    assert json.loads(json.dumps(said.to_dict())) == said.to_dict()


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "asked", "says"),
    [
        ("vlm", {}, "Did you mean 'vllm'"),
        ("hf", {"temprature": 1}, "Did you mean 'temperature'"),
        ("hf", {"temperature": "warm"}, "temperature should be a finite number, not 'warm'"),
        ("hf", {"temperature": float("inf")}, "finite number, not inf"),
        ("hf", {"top_k": 2.5}, "whole number, not 2.5"),
        ("paper", {"top_k": -1}, "-1"),
        ("vllm", {"top_p": 1.5}, "1.5"),
        ("vllm", {"presence_penalty": 3}, "between -2 and 2, not 3"),
        ("vllm", {"dry_multiplier": 1}, "vllm has no dry_multiplier"),
        ("hf", {"frequency_penalty": 1}, "only penalty"),
        ("llama.cpp", {"no_repeat_ngram_size": 2}, "dry is its guard"),
        ("llama.cpp", {"tfs_z": 0.9}, "removed"),
        ("paper", {"num_beams": 4}, "beam:4"),
        ("hf", {"min_length": 4}, "min_new_tokens"),
        ("llama.cpp", {"temp": 1, "temperature": 1}, "the same setting"),
        ("llama.cpp", {"mirostat": 2, "top_k": 5}, "leaves top_k=5 out"),
        ("llama.cpp", {"mirostat": 1}, "not 1"),
        ("llama.cpp", {"samplers": "top_p;temp"}, "temperature"),
        ("llama.cpp", {"samplers": "top_p", "min_p": 0.2}, "leaves min_p=0.2 out"),
        ("llama.cpp", {"penalty_last_n": -2, "repeat_penalty": 2}, "-2"),
        ("llama.cpp", {"dynatemp_range": 0.9}, "smaller than the temperature 0.8"),
        ("hf", {"do_sample": False, "top_p": 0.5}, "leaves top_p=0.5 out"),
        ("hf", {"do_sample": "maybe"}, "true or false, not 'maybe'"),
        ("hf", {"logit_bias": "x"}, "ID=BIAS"),
    ],
)
def test_what_a_program_does_not_take_is_refused_with_the_reason(name: str, asked: dict[str, Any], says: str) -> None:
    with pytest.raises((BadParameter, UnknownName)) as caught:
        dialect(name, **asked)
    assert says in str(caught.value)
    assert isinstance(caught.value, UsageError)


# -- Python and the command line ---------------------------------------------------------------------------------------


def test_a_dialect_goes_with_a_model_and_brings_plain_sampling() -> None:
    views = palmette.dialect("llama.cpp", temperature=0.7)
    model = palmette.model("zoo:seedling", dialect="llama.cpp", settings={"temperature": 0.7}, max_tokens=12)
    by_hand = palmette.model("zoo:seedling", strategy=palmette.sample(), views=views, max_tokens=12)
    assert model("Once upon").text == by_hand("Once upon").text
    assert [show(v) for v in model.views] == [show(v) for v in views]
    with pytest.raises(BadParameter, match="nothing to choose"):
        palmette.model("zoo:seedling", dialect="vllm", settings={"temperature": 0}, strategy=palmette.beam(3))


def said(*args: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(args)
    found = capsys.readouterr()
    return code, found.out, found.err


def test_run_reads_settings_in_a_dialect(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = said("run", "Once", "--max-tokens", "4", "--view", "ban:5", "--dialect", "hf", "--set",
                     "temperature=0.7,top_k=0", "--set", "top_p=0.9", "--json", capsys=capsys)  # fmt: skip
    report = json.loads(out)
    assert report["strategy"] == "sample"
    assert report["views"] == ["ban(tokens=[5])", "temperature(t=0.7)", "top_p(p=0.9, tail='hf')"]
    _, cold, _ = said("run", "Once", "--max-tokens", "9", "--set", "temperature=0", capsys=capsys)
    _, best, _ = said("run", "Once", "--max-tokens", "9", "--strategy", "greedy", capsys=capsys)
    assert cold == best


def test_explain_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("explain", "--set", "temperature=0.5,top_p=0.7")
    code, out, err = said(*asked, capsys=capsys)
    assert (code, err) == (0, "") and out == f"{explain({'temperature': 0.5, 'top_p': 0.7})}\n"
    assert json.loads(said(*asked, "--json", capsys=capsys)[1])["dialects"]["hf"]["refused"] is None
    assert "vllm" not in said(*asked, "--dialect", "hf", capsys=capsys)[1]
    assert "do_sample=false" in said("explain", "--set", "temp=0", "--from", "vllm", "--to", "hf", capsys=capsys)[1]
    listed = said("explain", "--list", capsys=capsys)[1]
    assert all(f"{name}  " in listed for name in SETTINGS)
    assert set(json.loads(said("explain", "--list", "--json", capsys=capsys)[1])) == set(SETTINGS)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["explain", "--set", "top_q=1"], "Did you mean 'top_p'"),
        (["explain", "--set", "top_p"], "NAME=VALUE"),
        (["explain", "--set", "top_p=1.5"], "1.5"),
        (["explain", "--set", "top_p=0.5", "--set", "top_p=0.6"], "given twice"),
        (["explain", "--dialect", "lama.cpp"], "Did you mean 'llama.cpp'"),
        (["explain", "--dialect", "hf", "--set", "dry_multiplier=1"], "hf has no dry_multiplier"),
        (["explain", "--from", "hf"], "belong together"),
        (["explain", "--from", "hf", "--to", "vlm"], "Did you mean 'vllm'"),
        (["run", "x", "--dialect", "hf", "--set", "temperature=0"], "do_sample=false"),
        (["run", "x", "--set", "temperature=0", "--strategy", "beam:4"], "nothing to choose"),
        (["run", "x", "--dialect", "vllm", "--set", "typical_p=0.5"], "vllm has no typical_p"),
    ],
)
def test_bad_settings_are_one_clear_line(args: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = said(*args, capsys=capsys)
    assert (code, out) == (2, "")
    assert says in err and err.count("\n") == 1


def test_the_help_says_where_a_dialects_views_stand() -> None:
    from palmette.cli.run import command

    shown = " ".join(CliRunner().invoke(command, ["--help"]).output.split())
    assert "Its views stand after those of --view and before a strategy's own" in shown
