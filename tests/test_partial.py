"""Partial JSON values: a beginning of the whole at every cut, and the whole at the end."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmette.core.errors import ConstraintError
from palmette.tokens.structure.partial import PartialJson, is_beginning, partial_values

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, st.booleans(), st.sampled_from([None, 1]), st.data())
@settings(max_examples=300, deadline=None)
def test_every_cut_is_a_beginning_and_the_end_is_the_whole(
    value: object, ascii_only: bool, indent: int | None, data: st.DataObject
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    before: object = None
    reader = PartialJson()
    for piece in pieces:
        reader.push(piece)
        now = copy.deepcopy(reader.value)
        assert is_beginning(now, value), (now, value)
        assert is_beginning(before, now)
        before = now
    assert json.dumps(reader.close()) == json.dumps(value)


def test_numbers_and_literals_wait_for_their_end() -> None:
    seen = [copy.deepcopy(v) for v in partial_values(list('{"a":12,"b":true,"c":"hi"}'))]
    assert {1, 12} & {v.get("a") for v in seen if v} == {12}
    assert next(v for v in seen if v and "c" in v)["c"] == ""
    assert seen[-1] == {"a": 12, "b": True, "c": "hi"}


@pytest.mark.parametrize(
    "text",
    ['{"a" 1}', "[1,,2]", '{"a":1,"a":2}', "[1}", "nope", '"\\x"', "[01]", "{1:2}", "[1]]", '{"a":}', "tru", "["],
)
def test_what_is_no_json_is_an_error(text: str) -> None:
    def read() -> None:
        reader = PartialJson()
        reader.push(text)
        reader.close()

    with pytest.raises(ConstraintError):
        read()
