"""Schemas in the words of providers: what is sent admits every document, and what comes back is checked."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Mapping
from typing import Any, Literal

import jsonschema_rs
import pytest
from llguidance.gbnf_to_lark import gbnf_to_lark

from palmette.core.errors import ConstraintError, SchemaError, UnknownName, Unsatisfiable
from palmette.tokens.structure.as_views import grammar
from palmette.tokens.structure.remote import Remote, answered, remote
from palmette.tokens.structure.remote.dialects import DIALECTS
from palmette.tokens.structure.schema.values import spelled


@dataclasses.dataclass
class Person:
    name: str
    born: datetime.date
    mood: Literal["good", "bad"] = "good"


TREE: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"n": {"type": "integer"}, "below": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
            "required": ["n"],
            "additionalProperties": False,
        }
    },
}
# name: schema, documents in the schema's order of properties, what is none
CASES: dict[str, tuple[Any, list[Any], list[Any]]] = {
    "closed": (
        {
            "type": "object",
            "properties": {"a": {"type": "integer", "minimum": 0}, "b": {"enum": ["x", None]}, "c": {"const": 1}},
            "required": ["a"],
            "additionalProperties": False,
        },
        [{"a": 1}, {"a": 1, "b": None}, {"a": 0, "b": "x", "c": 1}, {"a": 2, "c": 1}],
        [{}, {"a": -1}, {"a": 1, "d": 2}],
    ),
    "tree": (TREE, [{"name": "r"}, {"name": "r", "children": [{"n": 1, "below": [{"n": 2}]}]}], [{"children": []}]),
    "list": ({"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": 3}, [[], ["a", "é"]], [[""]]),
    "unique": ({"type": "array", "uniqueItems": True, "items": {"type": "integer"}}, [[], [1, 2]], [[1, 1]]),
    "tuple": (
        {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "boolean"}], "items": False, "minItems": 1},
        [[1], [1, True]],
        [[], [True], [1, True, 2]],
    ),
    "choice": ({"enum": ["red", "green", 3]}, ["red", 3], ["blue"]),
    "number": ({"type": "number", "multipleOf": 0.5, "maximum": 4}, [0, 1.5], [4.5, 0.3]),
    "union": ({"oneOf": [{"type": "integer"}, {"type": "string", "pattern": "^a+$"}]}, [3, "aa"], ["b", None]),
    "if": (
        {
            "type": "object",
            "properties": {"k": {"enum": ["n", "t"]}, "v": {}},
            "required": ["k", "v"],
            "if": {"properties": {"k": {"const": "n"}}},
            "then": {"properties": {"v": {"type": "number"}}},
            "else": {"properties": {"v": {"type": "string"}}},
        },
        [{"k": "n", "v": 1}, {"k": "t", "v": "x"}],
        [{"k": "n", "v": "x"}],
    ),
    "map": ({"type": "object", "additionalProperties": {"type": "integer"}}, [{}, {"a": 1, "b": 2}], [{"a": "x"}]),
    "nested": (
        {"allOf": [{"type": "object", "properties": {"p": {"type": "boolean"}}}, {"required": ["p"]}]},
        [{"p": True}, {"p": False, "q": [1, {"r": None}]}],
        [{}, {"p": 1}],
    ),
    "any": (True, [1, "x", [None], {"a": {}}], []),
}
SCHEMA_DIALECTS = sorted(name for name, dialect in DIALECTS.items() if dialect.keywords)


def sent(made: Remote) -> Any:
    """The schema in a request, wherever the provider wants it."""
    if made.dialect == "ollama":
        return made.body["format"]
    todo: list[Any] = [made.body]
    while todo:
        part = todo.pop()
        if isinstance(part, Mapping):
            for key, value in part.items():
                if key in ("schema", "responseJsonSchema"):
                    return value
                todo.append(value)
        elif isinstance(part, list):
            todo += part
    raise AssertionError(made.body)


def filled(part: Any, value: Any, root: Any) -> Any:
    """A document as a closed dialect wants it: what is absent is null."""
    if isinstance(part, dict) and "$ref" in part:
        return filled(root["$defs"][part["$ref"].rpartition("/")[2]], value, root)
    if isinstance(value, dict):
        known = part.get("properties", {}) if isinstance(part, dict) else {}
        return {k: filled(p, value.get(k), root) for k, p in known.items()} if known else value
    if isinstance(value, list) and isinstance(part, dict) and "anyOf" not in part:
        return [filled(part.get("items", {}), item, root) for item in value]
    if isinstance(value, list) and isinstance(part, dict):
        return filled(part["anyOf"][0], value, root)
    return value


def lean(value: Any) -> Any:
    """Without members that are null: where null is a value too, a closed dialect cannot tell it from absence."""
    if isinstance(value, list):
        return [lean(inner) for inner in value]
    return {k: lean(v) for k, v in value.items() if v is not None} if isinstance(value, dict) else value


@pytest.mark.parametrize("dialect", SCHEMA_DIALECTS)
@pytest.mark.parametrize("case", CASES)
def test_what_is_sent_admits_every_document_and_reads_it_back(case: str, dialect: str) -> None:
    schema, documents, wrong = CASES[case]
    made = remote(dialect, schema)
    if made.question:
        assert dialect == "anthropic" and not made.strict  # a map, which only the question can say there
        return
    said = sent(made)
    judge = jsonschema_rs.validator_for(said)
    for document in documents:
        answer = {"value": document} if made.wrapped else document
        if DIALECTS[dialect].closed and made.strict:
            answer = filled(said, answer, said)
            if case in ("if", "nested", "any"):
                continue  # values of any form are closed objects there: fewer documents, all of them valid
        assert judge.is_valid(answer), (document, said)
        assert lean(made.read(json.dumps(answer))) == lean(document)
    for document in wrong:
        with pytest.raises(ConstraintError, match="does not fit"):
            made.read(json.dumps({"value": document} if made.wrapped else document))


@pytest.mark.parametrize("dialect", SCHEMA_DIALECTS)
@pytest.mark.parametrize("case", CASES)
def test_only_words_of_the_dialect_are_sent(case: str, dialect: str) -> None:
    made = remote(dialect, CASES[case][0])
    if not made.strict:
        return  # the whole schema, as a hint
    known = DIALECTS[dialect].keywords

    def check(part: Any) -> None:
        if not isinstance(part, dict):
            return
        assert set(part) <= known, part
        for key, value in part.items():
            if key in ("properties", "$defs", "definitions", "patternProperties"):
                for inner in value.values():
                    check(inner)
            elif key in ("anyOf", "oneOf", "allOf", "prefixItems"):
                for inner in value:
                    check(inner)
            elif key in ("items", "additionalProperties"):
                check(value)

    check(sent(made))


@pytest.mark.parametrize("case", CASES)
def test_the_grammar_of_llama_cpp_takes_every_document(case: str) -> None:
    schema, documents, wrong = CASES[case]
    made = remote("llama.cpp", schema)
    view = grammar(gbnf_to_lark(made.body["grammar"]))
    for document in documents:
        assert view.accepts(spelled(document)), made.body["grammar"]
        assert made.read(spelled(document)) == document
    for document in wrong:  # what the grammar lets pass, the validator does not; what it drops is listed
        assert made.dropped or not view.accepts(spelled(document)), (document, made.body["grammar"])
        with pytest.raises(ConstraintError):
            made.read(spelled(document))


def test_grammars_refuse_what_they_can_say() -> None:
    view = grammar(gbnf_to_lark(remote("llama.cpp", CASES["closed"][0]).body["grammar"]))
    assert not any(
        map(view.accepts, ['{"b":"x"}', '{"a":1,"c":2}', '{"a":1,"a":1}', '{"c":1,"a":1}', "[]", '{"a":1}x'])
    )


def test_a_type_comes_back_as_its_value() -> None:
    made = remote("openai", Person)
    found = made.read('{"name": "Runa", "born": "2020-02-29", "mood": null}')
    assert found == Person("Runa", datetime.date(2020, 2, 29))
    with pytest.raises(ConstraintError, match="/born"):
        made.read('{"name": "Runa", "born": "2021-02-30", "mood": "bad"}')


def test_what_is_left_to_the_validator_is_listed_by_its_place() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "minLength": 3}}, "minProperties": 1}
    assert set(remote("openai", schema).dropped) == {"/properties/a/minLength", "/minProperties"}
    listed = {"type": "object", "properties": {"n": {"enum": [1, [2]]}}, "additionalProperties": False}
    assert remote("gemini", listed).dropped == remote("anthropic", listed).dropped == ("/properties/n/enum",)
    assert remote("cohere", listed).dropped == ()
    assert remote("openai", CASES["closed"][0]).dropped == ()


def test_values_that_an_enumeration_may_not_have_are_types() -> None:
    made = sent(remote("gemini", {"enum": ["x", None, True, False, 2]}))
    assert made == {"anyOf": [{"enum": ["x", 2]}, {"type": "boolean"}, {"type": "null"}]}
    assert sent(remote("gemini", {"enum": [None]})) == {"type": "null"}
    assert remote("gemini", {"enum": ["x", True]}).dropped == ("/enum",)


def test_what_no_body_can_say_the_question_says() -> None:
    made = remote("json-object", {"type": "array", "items": {"type": "integer"}})
    assert made.body == {"response_format": {"type": "json_object"}} and not made.strict
    assert json.loads(made.question)["required"] == ["value"] and made.read('{"value": [1]}') == [1]
    assert remote("openai", CASES["closed"][0]).question == ""


def test_objects_are_sealed_where_that_must_be_said() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"$ref": "#/$defs/b"}}, "required": ["a"],
              "$defs": {"b": {"type": "object", "properties": {"c": {"type": "string"}}}}}  # fmt: skip
    made = sent(remote("anthropic", schema))
    assert made["additionalProperties"] is False and made["$defs"]["b"]["additionalProperties"] is False
    assert made["required"] == ["a"]  # the others need not be there
    assert remote("anthropic", {"type": "object", "additionalProperties": {"type": "integer"}}).question


def test_a_map_is_not_strict_where_objects_must_be_closed() -> None:
    made = remote("openai", CASES["map"][0])
    assert not made.strict and made.body["response_format"]["json_schema"]["strict"] is False


def test_re_asking_is_bounded_and_says_what_was_wrong() -> None:
    made = remote("ollama", {"type": "array", "items": {"type": "integer"}, "uniqueItems": True})
    heard: list[str | None] = []

    def ask(complaint: str | None) -> str:
        heard.append(complaint)
        return "[2, 2]"

    with pytest.raises(ConstraintError, match="no answer of 3 fits"):
        answered(made, ask)
    assert heard[0] is None and len(heard) == 3 and "non-unique" in str(heard[1])


@pytest.mark.parametrize("text", ["", "{", "[1,", "NaN", '"a', "nothing"])
def test_what_is_not_json_is_a_complaint(text: str) -> None:
    with pytest.raises(ConstraintError):
        remote("ollama", {"type": "array"}).read(text)


def test_bad_schemas_and_names_are_refused_before_anything_is_sent() -> None:
    with pytest.raises(Unsatisfiable):
        remote("openai", {"type": "integer", "minimum": 2, "maximum": 1})
    with pytest.raises(SchemaError):
        remote("openai", {"type": "intger"})
    with pytest.raises(UnknownName, match="openai"):
        remote("opnai", True)
