"""Specs: text to calls, from signatures alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import pytest

from palmette.core.errors import BadParameter, UnknownName
from palmette.core.signature import build, parameters, parse_spec, summary
from palmette.tokens.strategies import STRATEGIES
from palmette.tokens.views import VIEWS


def thing(
    size: int = 1,
    ratio: float = 0.5,
    mode: Literal["a", "never"] | bool = "a",
    ids: Sequence[int] = (),
    bias: Mapping[int, float] | None = None,
    text: str = "",
    seed: int = 7,
) -> dict[str, object]:
    """A thing.

    Args:
        size: how large.
        ratio: how much, on
            two lines.
    """
    return dict(locals())


TABLE = {"thing": thing}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("thing", {}),
        ("thing:3", {"size": 3}),
        ("thing:3,.25", {"size": 3, "ratio": 0.25}),
        ("thing:ratio=1e-3", {"ratio": 0.001}),
        ("thing:mode=never", {"mode": "never"}),
        ("thing:mode=true", {"mode": True}),
        ("thing:ids=5+7", {"ids": [5, 7]}),
        ("thing:bias=5=-1.5+6=2", {"bias": {5: -1.5, 6: 2.0}}),
        ('thing:text="a, b=c"', {"text": "a, b=c"}),
        ("thing:text='line\\nbreak é'", {"text": "line\nbreak é"}),
        ("thing:text=a:b", {"text": "a:b"}),
    ],
)
def test_specs_become_values(spec: str, expected: dict[str, object]) -> None:
    assert build(TABLE, spec, "thing") == {**thing(), **expected}


def test_seeds_are_filled_in_unless_given() -> None:
    assert build(TABLE, "thing", "thing", fill={"seed": 3})["seed"] == 3
    assert build(TABLE, "thing:seed=5", "thing", fill={"seed": 3})["seed"] == 5


@pytest.mark.parametrize(
    ("spec", "error", "says"),
    [
        ("thnig", UnknownName, "Did you mean 'thing'"),
        ("thing:x", BadParameter, "whole number, not 'x'"),
        ("thing:sise=3", UnknownName, "Did you mean 'size'"),
        ("thing:1,size=2", BadParameter, "twice"),
        ("thing:size=2,3", BadParameter, "after a named one"),
        ("thing:1,2,a,4,5,6,7,8", BadParameter, "gives more"),
        ("thing:text='open", BadParameter, "not closed"),
        ("thing:mode=x", BadParameter, "one of a, never or true or false"),
    ],
)
def test_bad_specs_say_what_is_wrong(spec: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        build(TABLE, spec, "thing")


def test_help_comes_from_the_docstring() -> None:
    assert summary(thing) == "A thing."
    assert [p.help for p in parameters(thing)][:2] == ["how large.", "how much, on two lines."]
    assert parse_spec("a") == ("a", [], {})


@pytest.mark.parametrize("name", [*STRATEGIES, *VIEWS])
def test_every_row_of_the_tables_is_documented(name: str) -> None:
    function = {**STRATEGIES, **VIEWS}[name]
    assert summary(function).strip()
    documented = function.__doc__ or ""
    for parameter in parameters(function):
        assert parameter.help or parameter.name in documented or "(" in documented, (name, parameter.name)
