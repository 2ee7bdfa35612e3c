"""Python types as schemas: what fits the schema becomes a value of the type."""

from __future__ import annotations

import datetime
import decimal
import enum
import json
import typing
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict

import jsonschema_rs
import pytest

from palmette.core.errors import BadParameter, ConstraintError
from palmette.core.types import schema_of, value_of


class Mood(enum.Enum):
    happy = "happy"
    sad = 2


@dataclass
class Item:
    """Something to buy."""

    name: Annotated[str, {"minLength": 1}]
    price: decimal.Decimal
    count: int = 1
    tags: list[str] = field(default_factory=list, metadata={"description": "free words"})


@dataclass
class Tree:
    value: int
    children: list[Tree]


class Person(TypedDict):
    name: str
    born: NotRequired[datetime.date]


class Point(NamedTuple):
    x: float
    y: float = 0.0


@dataclass
class Order:
    id: uuid.UUID
    items: list[Item]
    mood: Mood | None
    where: Point
    who: Person
    kind: Literal["new", "old", 3]


ITEM = {"name": "tea", "price": "2.50"}
CASES: list[tuple[Any, list[Any], list[Any]]] = [
    (bool, [True], [1, "true", None]),
    (int, [3, -1], [3.5, "3", True]),
    (float, [3, 2.5], ["x", None, True]),
    (str, ["", "x"], [1]),
    (None.__class__, [None], [0]),
    (Literal["a", 1], ["a", 1], ["b", 2]),
    (Mood, ["happy", 2], ["sad"]),
    (datetime.date, ["2026-02-03"], [20260203]),
    (uuid.UUID, ["6f9619ff-8b86-d011-b42d-00cf4fc964ff"], [1]),
    (decimal.Decimal, ["1.50"], [1.5, "1e5", "x"]),
    (list[int], [[], [1, 2]], [[1, "2"], {}, 1]),
    (Sequence[str], [["a"]], ["a"]),
    (set[int], [[1, 2]], [[1, 1]]),
    (tuple[int, str], [[1, "a"]], [[1], [1, "a", 2], ["a", 1]]),
    (tuple[int, ...], [[], [1, 2, 3]], [["a"]]),
    (dict[str, int], [{}, {"a": 1}], [{"a": "b"}, []]),
    (Mapping[str, list[bool]], [{"a": [True]}], [{"a": True}]),
    (int | None, [1, None], ["a"]),
    (Annotated[int, {"minimum": 3}], [3], [2]),
    (range(11), [0, 10], [11, -1, 2.5]),
    (range(0, 10, 5), [5], [4]),
    (Item, [ITEM, {**ITEM, "count": 3, "tags": ["a"]}], [{}, {**ITEM, "x": 1}, {**ITEM, "name": ""}, {"name": "tea"}]),
    (Tree, [{"value": 1, "children": [{"value": 2, "children": []}]}], [{"value": 1, "children": [{}]}, {"value": 1}]),
    (Person, [{"name": "a"}, {"name": "a", "born": "2000-01-01"}], [{"born": "2000-01-01"}, {"name": 1}]),
    (Point, [{"x": 1.5}, {"x": 1, "y": 2}], [{"y": 2}]),
]


@pytest.mark.parametrize(("kind", "good", "bad"), CASES, ids=lambda case: str(case)[:30])
def test_the_schema_takes_what_the_type_can_hold(kind: Any, good: list[Any], bad: list[Any]) -> None:
    schema = schema_of(kind)
    check = jsonschema_rs.Draft202012Validator(json.loads(json.dumps(schema)))
    for value in good:
        assert check.is_valid(value), value
        value_of(kind, value)
    for value in bad:
        assert not check.is_valid(value), value


@pytest.mark.parametrize(("kind", "good", "bad"), CASES, ids=lambda case: str(case)[:30])
def test_what_does_not_fit_the_structure_is_refused_with_its_path(kind: Any, good: list[Any], bad: list[Any]) -> None:
    for value in bad:
        if kind in (Item, set[int], decimal.Decimal) or typing.get_origin(kind) is Annotated:
            continue  # bounds of Annotated, formats of text and uniqueness are the schema's business
        with pytest.raises(ConstraintError, match="at /0"):
            value_of(list[kind], [value])


def test_values_are_of_their_types() -> None:
    order = {
        "id": "6f9619ff-8b86-d011-b42d-00cf4fc964ff",
        "items": [ITEM],
        "mood": 2,
        "where": {"x": 1},
        "who": {"name": "a", "born": "2000-01-01"},
        "kind": 3,
    }
    assert jsonschema_rs.Draft202012Validator(schema_of(Order)).is_valid(order)
    read = value_of(Order, order)
    assert read.items == [Item("tea", decimal.Decimal("2.50"))]
    assert read.mood is Mood.sad
    assert read.where == Point(1.0, 0.0)
    assert read.who == {"name": "a", "born": datetime.date(2000, 1, 1)}
    assert isinstance(read.id, uuid.UUID)


def test_descriptions_and_definitions() -> None:
    schema = schema_of(Item)
    assert schema["$ref"] == "#/$defs/Item"
    item = schema["$defs"]["Item"]
    assert item["description"] == "Something to buy."
    assert item["properties"]["tags"]["description"] == "free words"
    assert item["required"] == ["name", "price"]
    assert list(item["properties"]) == ["name", "price", "count", "tags"], "order is the type's"
    assert len(schema_of(Tree)["$defs"]) == 1


def test_a_schema_is_a_type_too() -> None:
    schema = {"type": "integer", "minimum": 2}
    assert schema_of(schema) is schema
    assert value_of(schema, 5) == 5


@pytest.mark.parametrize("kind", [complex, dict[int, str], lambda: 0, Literal[b"x"], range(0)])
def test_types_without_a_json_form_are_refused(kind: Any) -> None:
    with pytest.raises(BadParameter):
        schema_of(kind)


def test_pydantic_s_protocol_is_enough() -> None:
    class Model:
        def __init__(self, **values: Any) -> None:
            self.values = values

        @classmethod
        def model_json_schema(cls) -> dict[str, Any]:
            shape = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "required": ["a"]}
            return {**shape, "$defs": {"A": {"type": "integer"}}}

        @classmethod
        def model_validate(cls, value: Any) -> Model:
            return cls(**value)

    schema = schema_of(list[Model])
    assert jsonschema_rs.Draft202012Validator(schema).is_valid([{"a": 1}])
    assert not jsonschema_rs.Draft202012Validator(schema).is_valid([{"a": 1, "b": 2}])
    assert value_of(list[Model], [{"a": 1}])[0].values == {"a": 1}
