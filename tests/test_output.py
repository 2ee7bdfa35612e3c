"""Schemas and types at the surface: palmette.constraint, output=, --json-schema, partial values, every strategy."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import enum
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import pytest

import palmette
from palmette.core.errors import BudgetTooSmall, ConstraintError, SchemaError, Unsatisfiable, UsageError
from palmette.tokens.strategies import STRATEGIES
from palmette.tokens.structure.partial import is_beginning
from palmette.tokens.structure.template import Program

ENGINE = palmette.open_engine("zoo:seedling")


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


@dataclasses.dataclass
class Item:
    name: Annotated[str, {"maxLength": 8}]
    count: Annotated[int, {"minimum": 1, "maximum": 9}]


@dataclasses.dataclass
class Order:
    """An order."""

    day: datetime.date
    items: Annotated[list[Item], {"minItems": 1, "maxItems": 2}]
    mood: Mood
    paid: bool = False


class Point(TypedDict):
    x: int
    y: float


class Pair(NamedTuple):
    left: str
    right: int | None


TYPES: list[Any] = [
    *(Order, Point, Pair, Mood, bool, int, float, datetime.date, range(1, 7), Literal["a", 3], list[bool]),
    *(tuple[int, str], set[Literal[1, 2, 3]], dict[str, bool], int | None, str),
]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"b": {"type": "integer"}, "a": {"type": "array", "items": {"enum": [1, 2]}, "uniqueItems": True}},
    "required": ["b"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("kind", TYPES, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_an_answer_is_a_value_of_its_type(kind: Any, seed: int) -> None:
    done = palmette.model(ENGINE, output=kind, max_tokens=80)("The answer is ", seed=seed)
    assert palmette.constraint(kind).accepts(done.text, exactly=True)
    plain = isinstance(kind, type) and not isinstance(kind, (type(Point), enum.EnumMeta)) and kind is not Pair
    if kind is float:
        assert isinstance(done.value, float)
    elif plain and not hasattr(kind, "__origin__"):
        assert isinstance(done.value, kind)
    if kind is Mood:
        assert done.value in list(Mood)
    if isinstance(kind, range):
        assert done.value in kind
    if kind == set[Literal[1, 2, 3]]:
        assert isinstance(done.value, set) and len(done.value) == len(json.loads(done.text))


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_writes_valid_documents_within_the_budget(name: str) -> None:
    strategy = STRATEGIES[name](ENGINE) if name == "speculative" else STRATEGIES[name]()
    rule = palmette.constraint(SCHEMA)
    for most in (10, 24):
        decoding = palmette.decode(ENGINE, "Once ", strategy, views=[rule], max_tokens=most, seed=1).run()
        for text, answer in zip(decoding.answer_texts(), decoding.answers, strict=True):
            assert len(answer.tokens) <= most
            if answer is decoding.answers[0] or answer.finish == "eos":
                assert rule.accepts(text, exactly=True), (text, answer)
                assert rule.complete(ENGINE, answer.tokens)


@pytest.mark.parametrize("width", [2, 4, 8, 16])
@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"enum": [1, 2]}, "uniqueItems": True, "minItems": 1},
        {"enum": ["one", "two", "three", 4, None]},
        {
            "type": "object",
            "properties": {"a": {"type": "boolean"}, "b": {"const": "x"}},
            "additionalProperties": False,
        },
    ],
    ids=["list", "enum", "object"],
)
def test_beams_are_valid_and_equal_brute_force(schema: Any, width: int) -> None:
    rule = palmette.constraint(schema)
    seen = rule(ENGINE)
    every: dict[tuple[int, ...], float] = {}
    todo: list[tuple[Any, tuple[int, ...], float]] = [(seen.prefill([ENGINE.tokenizer.encode("Say ")])[0], (), 0.0)]
    while todo:
        node, path, total = todo.pop()
        assert len(every) < 500
        for token in node.scores.support().tolist():
            longer = total + node.scores.logprob(token)
            if token in ENGINE.eos:
                every[(*path, token)] = longer
            else:
                todo.append((seen.extend([node], [[token]])[0], (*path, token), longer))
    decoding = palmette.decode(
        ENGINE, "Say ", palmette.beam(width, length_penalty=0.0), views=[rule], max_tokens=40
    ).run()
    assert all(rule.accepts(text, exactly=True) for text in decoding.answer_texts())
    best = decoding.answers[0]
    assert best.logprob == pytest.approx(every[best.tokens], abs=1e-5)
    if width >= len(every):
        assert best.logprob == pytest.approx(max(every.values()), abs=1e-5)


def test_acceptance_is_of_the_value_unless_exactly() -> None:
    rule = palmette.constraint(SCHEMA)
    for text in ('{"b":1,"a":[2,1]}', '{"b": 1, "a": [2, 1]}', '{"a":[2.0],"b":1.0}', '{"\\u0062":1}', ' {"b":10}\n'):
        assert rule.accepts(text), text
    assert rule.accepts('{"b":1,"a":[2,1]}', exactly=True)
    for text in ('{"b": 1}', '{"a":[],"b":1}', '{"b":1.0}'):
        assert not rule.accepts(text, exactly=True), text
    for text in ('{"b":1,"b":1}', '{"b":1.5}', '{"b":1,"a":[1,1]}', "{}", "", "{", '{"b":NaN}', '{"b":1}}', "[1"):
        assert not rule.accepts(text), text
    assert not rule.accepts("\ud800") and not rule.accepts('"\\ud800"')


def test_other_constraints_judge_without_a_model_too() -> None:
    assert palmette.regex("[a-z]+é").accepts("abé") and not palmette.regex("[a-z]+").accepts("aB")
    assert palmette.grammar('start: "(" start ")" | "x"').accepts("((x))")
    assert not palmette.grammar('start: "(" start ")" | "x"').accepts("((x)")


def test_the_report_says_who_enforces_what() -> None:
    report = palmette.constraint(SCHEMA).report
    assert "/properties/a/uniqueItems" in report.by("validator")
    assert "/properties/b/type" in report.by("mask")


def test_partial_values_are_beginnings_and_closed_parts_have_their_type() -> None:
    toy = palmette.model(ENGINE, output=Order, max_tokens=80)
    for seed in range(3):
        whole = json.loads(toy("One: ", seed=seed).text)
        plain = palmette.model(ENGINE, output=palmette.constraint(Order).schema, max_tokens=80)
        parts = [copy.deepcopy(part) for part in plain.partials("One: ", seed=seed)]
        assert parts[-1] == json.loads(plain("One: ", seed=seed).text)
        assert all(is_beginning(part, later) for part, later in itertools.pairwise(parts))
        typed = list(toy.partials("One: ", seed=seed))
        assert typed[-1] == toy("One: ", seed=seed).value
        days = [part["day"] for part in typed[:-1] if len(part) > 1]
        assert days and all(day == datetime.date.fromisoformat(whole["day"]) for day in days)


def test_a_budget_too_small_is_said_before_the_first_token_and_the_needed_one_is_enough() -> None:
    toy = palmette.model(ENGINE, output=Order)
    with pytest.raises(BudgetTooSmall) as caught:
        toy("One: ", max_tokens=5)
    for seed in range(3):
        assert isinstance(toy("One: ", max_tokens=caught.value.needs, seed=seed).value, Order)


def test_what_has_no_document_or_is_no_type_is_refused_before_a_model_is_asked() -> None:
    with pytest.raises(Unsatisfiable):
        palmette.constraint({"type": "string", "enum": [1]})
    with pytest.raises(SchemaError):
        palmette.constraint({"type": "strin"})
    with pytest.raises(UsageError, match="JSON form"):
        palmette.constraint(complex)
    with pytest.raises(UsageError, match="output="):
        _ = palmette.model(ENGINE)("x", max_tokens=2).value
    with pytest.raises(UsageError, match="output="):
        next(palmette.model(ENGINE).partials("x"))


def test_a_type_with_a_validator_of_its_own_may_refuse() -> None:
    class Picky:
        @staticmethod
        def model_json_schema() -> dict[str, Any]:
            return {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}

        @staticmethod
        def model_validate(value: Any) -> Any:
            raise ValueError("never")

    done = palmette.model(ENGINE, output=Picky, max_tokens=12)("n ")
    with pytest.raises(ConstraintError, match="never"):
        _ = done.value
    assert json.loads(done.text)["n"] is not None


def test_programs_ask_for_values() -> None:
    done = Program.begin(ENGINE, "Her age: ").ask("age", range(10, 20)).say(" years, ").ask("glad", bool)
    assert done["age"] in range(10, 20) and isinstance(done["glad"], bool)
    assert done.text.startswith(f"Her age: {done['age']} years, ")


# -- the command line --------------------------------------------------------------------------------------------------


def call(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "palmette", "run", "Once upon a time", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env={**os.environ})


def test_json_schema_on_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "s.json"
    file.write_text(json.dumps(SCHEMA))
    for strategy in ("greedy", "beam:4", "sample"):
        done = call("--json-schema", str(file), "--max-tokens", "12", "--strategy", strategy)
        assert done.returncode == 0, done.stderr
        assert palmette.constraint(SCHEMA).accepts(done.stdout.removesuffix("\n"), exactly=True)
        assert done.stderr == ""
    small = call("--json-schema", str(file), "--max-tokens", "3")
    assert small.returncode != 0 and "needs" in small.stderr and not small.stdout
    cut = call("--json-schema", str(file), "--stop", "b")
    assert cut.returncode != 0 and "--stop" in cut.stderr


def test_bad_schema_files_are_refused(tmp_path: Path) -> None:
    texts = {
        "not json": "{",
        "no schema": '{"type": "strin"}',
        "nothing fits": '{"minimum": 2, "maximum": 1, "type": "integer"}',
    }
    for name, text in texts.items():
        file = tmp_path / f"{name}.json"
        file.write_text(text)
        done = call("--json-schema", str(file))
        assert done.returncode == 2 and "schema" in done.stderr and "Traceback" not in done.stderr, name
    assert "cannot read" in call("--json-schema", str(tmp_path / "none.json")).stderr
    assert "one of them" in call("--json-schema", "x", "--regex", "a").stderr
