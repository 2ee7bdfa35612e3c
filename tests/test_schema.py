"""Laws of schema constraints: what is accepted, what is generated, what a budget promises, what is refused."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import palmette
from palmette.core.engine import Engine, Strategy
from palmette.core.errors import BadParameter, BudgetTooSmall, EmptySupport, SchemaError, Unsatisfiable
from palmette.core.scores import unpacked
from palmette.tokens.decode import decode
from palmette.tokens.matrix import MatrixEngine
from palmette.tokens.strategies import beam, greedy, sample
from palmette.tokens.structure.schema import SchemaConstraint, schema_constraint
from palmette.tokens.structure.schema.pattern import carried
from palmette.tokens.structure.schema.stream import EMPTY, ended, feed
from palmette.tokens.views import temperature
from palmette.tokens.views.constrain import constrain

ENGINE = palmette.open_engine("zoo:seedling")

SCHEMAS: dict[str, Any] = {
    "closed object": {
        "type": "object",
        "properties": {"z": {"type": "string"}, "a": {"type": "integer", "minimum": 3, "maximum": 40}},
        "required": ["z", "a"],
        "additionalProperties": False,
    },
    "open object": {"type": "object", "properties": {"k": {"type": "boolean"}}, "maxProperties": 3},
    "unique items": {"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True, "minItems": 3},
    "contains": {"type": "array", "items": {"type": "integer"}, "contains": {"const": 5}},
    "contains twice": {"type": "array", "contains": {"type": "null"}, "minContains": 2, "maxItems": 9},
    "some of three": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "string"}, "c": {"type": "null"}},
        "minProperties": 2,
        "additionalProperties": False,
    },
    "one of": {
        "oneOf": [
            {"properties": {"k": {"const": "a"}, "x": {"type": "integer"}}, "required": ["k", "x"]},
            {"properties": {"k": {"const": "b"}, "y": {"type": "null"}}, "required": ["k", "y"]},
        ],
        "type": "object",
    },
    "not a prefix": {"type": "string", "pattern": "^(?!foo)[a-z]+$", "maxLength": 6},
    "not a value": {"type": "integer", "minimum": 0, "maximum": 20, "not": {"multipleOf": 3}},
    "if then else": {
        "type": "object",
        "properties": {"kind": {"enum": ["card", "cash"]}, "number": {"type": "integer"}},
        "required": ["kind"],
        "if": {"properties": {"kind": {"const": "card"}}},
        "then": {"required": ["number"]},
        "else": {"properties": {"number": False}},
    },
    "dependent": {"type": "object", "dependentRequired": {"a": ["b"]}, "propertyNames": {"enum": ["a", "b", "c"]}},
    "unevaluated": {
        "allOf": [{"properties": {"a": {"type": "integer"}}}],
        "anyOf": [{"properties": {"b": True}, "required": ["b"]}, True],
        "type": "object",
        "unevaluatedProperties": False,
    },
    "recursive": {
        "$defs": {
            "tree": {
                "type": "object",
                "properties": {"v": {"type": "integer"}, "kids": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
                "required": ["v"],
                "additionalProperties": False,
            }
        },
        "$ref": "#/$defs/tree",
    },
    "overlapping patterns": {
        "type": "object",
        "patternProperties": {"^a": {"type": "integer"}, "b$": {"minimum": 3}},
        "minProperties": 1,
    },
    "pattern": {"type": "string", "pattern": "^[a-c]{2}-[0-9]{3}$"},
    "anything": True,
}


def valid(schema: Any, text: str) -> bool:
    return jsonschema_rs.validator_for(schema, validate_formats=False).is_valid(json.loads(text))


def run(schema: Any, strategy: Strategy, max_tokens: int, seed: int = 0, heat: float = 1.0) -> str:
    rule = schema_constraint(ENGINE, schema, max_tokens=max_tokens)
    views = [constrain(rule), temperature(heat)]
    return decode(ENGINE, "Once", strategy, views=views, max_tokens=max_tokens, seed=seed, trace=False).run().text


# -- what is generated -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", [greedy(), sample(), beam(4)], ids=["greedy", "sample", "beam"])
@pytest.mark.parametrize("name", SCHEMAS)
def test_what_is_generated_is_valid_at_any_budget_that_is_not_refused(name: str, strategy: Strategy) -> None:
    schema = SCHEMAS[name]
    needs = schema_constraint(ENGINE, schema).needs
    for max_tokens in (needs, needs + 1, needs + 7, 48):
        text = run(schema, strategy, max(needs, max_tokens), max_tokens, heat=2.0)
        assert valid(schema, text), text
    if needs > 1:
        with pytest.raises(BudgetTooSmall, match=f"needs {needs}"):
            schema_constraint(ENGINE, schema, max_tokens=needs - 1)


@pytest.mark.parametrize("name", SCHEMAS)
def test_random_scores_lead_to_valid_documents(name: str) -> None:
    schema, draw = SCHEMAS[name], np.random.default_rng(5)
    for _ in range(4):
        rule = schema_constraint(ENGINE, schema, max_tokens=40)
        state, tokens = rule.start(), []
        while not (rule.accepts(state) and (len(tokens) == 40 or draw.random() < 0.3)):
            choices = np.flatnonzero(unpacked(rule.mask(state), ENGINE.vocabulary))
            assert choices.size, ENGINE.tokenizer.decode(tokens)
            token = int(draw.choice(choices))
            if token in ENGINE.eos:
                break
            tokens.append(token)
            state = rule.step(state, token)
        assert len(tokens) <= 40
        assert valid(schema, ENGINE.tokenizer.decode(tokens))


def test_a_mask_without_look_ahead_would_be_invalid() -> None:
    """The same grammar alone lets a repeated item through: the layer, not luck, keeps it out."""
    rule = schema_constraint(ENGINE, SCHEMAS["unique items"])
    grammar = rule.compiled.grammar
    state = grammar.start()
    for token in ENGINE.tokenizer.encode_continuation("[1,1,1]"):
        state = grammar.step(state, token)
    assert grammar.accepts(state)
    assert not rule.accepts_text("[1,1,1]")


# -- what is accepted: brute force -------------------------------------------------------------------------------------


def words(alphabet: str, most: int) -> Iterator[str]:
    for count in range(1, most + 1):
        yield from map("".join, itertools.product(alphabet, repeat=count))


class Letters:
    """A vocabulary of single characters and an end."""

    def __init__(self, alphabet: str) -> None:
        self.alphabet = alphabet
        self.size = len(alphabet) + 1
        self.special = frozenset({len(alphabet)})

    def encode(self, text: str) -> list[int]:
        return [self.alphabet.index(c) for c in text]

    def encode_continuation(self, text: str) -> list[int]:
        return self.encode(text) if set(text) <= set(self.alphabet) else []

    def decode(self, ids: list[int]) -> str:
        return "".join(self.alphabet[i] for i in ids if i < len(self.alphabet))

    def token_bytes(self, token: int) -> bytes:
        return self.alphabet[token].encode() if token < len(self.alphabet) else b""

    def token_name(self, token: int) -> str:
        return self.alphabet[token] if token < len(self.alphabet) else "</s>"


def letters(alphabet: str) -> Engine:
    engine = MatrixEngine(np.full((len(alphabet) + 1,) * 2, 1 / (len(alphabet) + 1)), eos=len(alphabet))
    engine.tokenizer = Letters(alphabet)  # type: ignore[assignment]
    return engine


def walked(rule: SchemaConstraint, size: int, most: int) -> set[tuple[int, ...]]:
    """Every token sequence that the masks offer and that may end."""
    found, todo = set(), [((), rule.start())]
    while todo:
        tokens, state = todo.pop()
        if rule.accepts(state):
            found.add(tokens)
        if len(tokens) < most:
            ids = np.flatnonzero(unpacked(rule.mask(state), size))
            todo += [((*tokens, int(t)), rule.step(state, int(t))) for t in ids if t < size - 1]
    return found


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "uniqueItems": True, "items": {"type": "integer"}},
        {"type": "array", "contains": {"const": 2}, "items": {"type": "integer"}},
        {"type": "array", "items": {"not": {"const": 1}}},
        {"type": ["integer", "array"], "not": {"multipleOf": 2}, "maxItems": 1},
        {"oneOf": [{"type": "integer"}, {"minimum": 12}], "not": {"type": "array"}},
        {"prefixItems": [{"const": 1}], "minItems": 1, "type": "array", "unevaluatedItems": False},
        {"enum": [1, 12, [2], []]},
        {"type": "integer", "multipleOf": 7},
        {"if": {"type": "array"}, "then": {"minItems": 2}, "else": {"maximum": 11}},
    ],
    ids=json.dumps,
)
def test_the_masks_offer_exactly_the_valid_documents(schema: Any) -> None:
    alphabet, most = "[],12", 5
    rule = schema_constraint(letters(alphabet), schema)
    found = {letters(alphabet).tokenizer.decode(tokens) for tokens in walked(rule, len(alphabet) + 1, most)}
    expected = set()
    for text in words(alphabet, most):
        try:
            if valid(schema, text):
                expected.add(text)
        except ValueError:
            continue
    assert found == expected


def test_keys_are_in_the_order_of_the_schema_and_never_repeat() -> None:
    rule = schema_constraint(ENGINE, {"type": "object", "properties": {"z": {"minimum": 0}, "a": {"minimum": 0}}})
    assert rule.accepts_text('{"z":1,"a":2}')
    assert not rule.accepts_text('{"a":1,"z":2}')
    assert rule.accepts_text('{"q":1,"r":2}')
    assert rule.accepts_text('{"a":1,"q":2}')
    assert not rule.accepts_text('{"q":1,"q":2}')
    assert not rule.accepts_text('{"q":1,"\\u0071":2}')


def test_numbers_are_finite_and_1_0_is_an_integer_where_the_draft_says_so() -> None:
    rule = schema_constraint(ENGINE, {"type": "number"})
    assert rule.accepts_text("1e30") and not rule.accepts_text("1e999")
    assert schema_constraint(ENGINE, {"enum": [1.0]}).accepts_text("1")
    not_integer = {"not": {"type": "integer"}, "type": "number"}
    assert schema_constraint(ENGINE, not_integer, dialect="draft4").accepts_text("1.0")
    assert not schema_constraint(ENGINE, not_integer, dialect="draft6").accepts_text("1.0")


def test_unknown_formats_are_annotations_and_known_ones_too_unless_asserted() -> None:
    schema = {"type": "string", "format": "date"}
    assert schema_constraint(ENGINE, schema).accepts_text('"x"')
    strict = schema_constraint(ENGINE, schema, formats=True)
    assert strict.accepts_text('"2024-02-29"') and not strict.accepts_text('"2023-02-29"')
    assert schema_constraint(ENGINE, {"format": "topic"}, formats=True).accepts_text('"x"')


def test_white_space_is_the_callers_choice() -> None:
    assert not schema_constraint(ENGINE, True).accepts_text("[1, 2]")
    assert schema_constraint(ENGINE, True, spaced=True).accepts_text("[1, 2]")


def test_forced_tokens_pass_through_the_layer() -> None:
    rule = schema_constraint(ENGINE, SCHEMAS["closed object"])
    assert ENGINE.tokenizer.decode(rule.forced(rule.start())).startswith('{"z')


# -- rewriting ---------------------------------------------------------------------------------------------------------

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-3, 9), st.sampled_from(["", "a", "ab", "b1"]))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=5,
)
LEAVES = st.one_of(
    st.booleans(),
    st.sampled_from(["string", "integer", "number", "array", "object", "null", "boolean"]).map(lambda t: {"type": t}),
    st.fixed_dictionaries({}, optional={"minimum": st.integers(-2, 5), "maximum": st.integers(0, 9)}),
    st.fixed_dictionaries({}, optional={"minLength": st.integers(0, 2), "pattern": st.sampled_from(["^a", "b", "1$"])}),
    st.fixed_dictionaries({}, optional={"minItems": st.integers(0, 2), "uniqueItems": st.booleans()}),
    VALUES.map(lambda value: {"const": value}),
)


def grown(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    parts = st.lists(inner, min_size=1, max_size=2)
    named = st.dictionaries(st.sampled_from("abc"), inner, max_size=2)
    return st.fixed_dictionaries(
        {},
        optional={
            "anyOf": parts,
            "oneOf": parts,
            "allOf": parts,
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
            "properties": named,
            "required": st.lists(st.sampled_from("abc"), max_size=2, unique=True),
            "additionalProperties": inner,
            "items": inner,
            "prefixItems": parts,
            "contains": inner,
            "unevaluatedProperties": inner,
            "propertyNames": inner,
            "maxProperties": st.integers(0, 2),
            "patternProperties": st.dictionaries(st.sampled_from(["^a", "b|c"]), inner, max_size=2),
            "dependentSchemas": named,
            "type": st.sampled_from(["object", "array", "integer"]),
        },
    )


@given(st.recursive(LEAVES, grown, max_leaves=6), st.lists(VALUES, min_size=4, max_size=8))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_schemas_accept_what_the_validator_accepts(schema: Any, values: list[Any]) -> None:
    judge = jsonschema_rs.validator_for(schema, validate_formats=False)
    try:
        rule = schema_constraint(ENGINE, schema)
    except Unsatisfiable:
        assert not any(judge.is_valid(value) for value in values)
        return
    for value in values:
        assert any(rule.accepts_text(text) for text in key_orders(value)) == judge.is_valid(value)


def key_orders(value: Any) -> Iterator[str]:
    """The value with every order of keys, compact."""
    for arranged in arrangements(value):
        yield json.dumps(arranged, separators=(",", ":"))


def arrangements(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from map(list, itertools.product(*(list(arrangements(inner)) for inner in value)))
    elif isinstance(value, dict):
        for keys in itertools.permutations(value):
            for inner in itertools.product(*(list(arrangements(value[key])) for key in keys)):
                yield dict(zip(keys, inner, strict=True))
    else:
        yield value


@given(VALUES, st.data())
@settings(max_examples=100, deadline=None)
def test_a_text_fed_in_pieces_is_the_text_fed_whole(value: Any, data: st.DataObject) -> None:
    rules = schema_constraint(ENGINE, True).compiled.rules
    text = json.dumps(value).encode()
    cut = data.draw(st.integers(0, len(text)))
    state = feed(EMPTY, text[:cut], rules)
    assert state is not None
    assert feed(state, text[cut:], rules) == feed(EMPTY, text, rules)
    whole = feed(EMPTY, text, rules)
    assert whole is not None and ended(whole, rules)


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "path", "reason"),
    [
        (False, "/", "false"),
        ({"type": "integer", "minimum": 5, "maximum": 3}, "/", "minimum"),
        ({"type": "string", "enum": [1, 2]}, "/", "type"),
        ({"type": "object", "properties": {"n": {"$ref": "#"}}, "required": ["n"]}, "/", "itself"),
        ({"type": "array", "items": {"enum": [1]}, "uniqueItems": True, "minItems": 2}, "/", "contradict"),
        ({"type": "object", "required": ["a"], "properties": {"a": False}}, "/", "required|false"),
        ({"type": "string", "pattern": "^a$", "maxLength": 0}, "/", "empty|pattern"),
    ],
)
def test_what_no_document_satisfies_is_refused_before_the_first_token(schema: Any, path: str, reason: str) -> None:
    with pytest.raises(Unsatisfiable, match=reason) as caught:
        schema_constraint(ENGINE, schema)
    assert (caught.value.path or "/") == path


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"properties": {"a": {"type": "strin"}}}, "/properties/a/type"),
        ({"properties": {"a": {"$ref": "#/$defs/none"}}}, "/properties/a/$ref"),
        ({"items": {"$ref": "https://example.com/other"}}, "/items/$ref"),
        ({"pattern": "(("}, "/pattern"),
        ({"pattern": "a{1,1000000000}"}, "/pattern"),
        ({"$schema": "http://json-schema.org/draft-99/schema#"}, "/$schema"),
        ('{"type": ', ""),
        (7, ""),
    ],
)
def test_what_is_no_schema_is_refused_with_its_path(schema: Any, path: str) -> None:
    with pytest.raises(SchemaError) as caught:
        schema_constraint(ENGINE, schema)
    assert caught.value.path == path


def nested(keyword: str, depth: int) -> Any:
    schema: Any = {"type": "integer"}
    for _ in range(depth):
        schema = {keyword: [schema] if keyword == "allOf" else schema}
    return schema


HOSTILE: dict[str, Any] = {
    "catastrophic regex": {"type": "string", "pattern": "^(a+)+$"},
    "nested repetition": {"pattern": "((a{1,100}){1,100}){1,100}"},
    "back-reference": {"type": "string", "pattern": "^(a+)-\\1$"},
    "cycle of references": {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    "ten thousand values": {"enum": [f"value {i}" for i in range(10_000)]},
    "deep allOf": nested("allOf", 70),
    "deeper allOf": nested("allOf", 5_000),
    "deep items": nested("items", 150),
    "deep not": nested("not", 150),
    "a product of unions": {
        "allOf": [
            {"anyOf": [{"properties": {f"p{i}{k}": {"const": k}}, "required": [f"p{i}{k}"]} for k in range(4)]}
            for i in range(30)
        ]
    },
    "many one-of": {"oneOf": [{"properties": {f"p{k}": {"const": 1}}, "required": [f"p{k}"]} for k in range(60)]},
    "a megabyte": {
        "type": "object",
        "properties": {
            f"property {i}": {"type": "object", "properties": {f"inner {k}": {"type": "string"} for k in range(30)}}
            for i in range(1_000)
        },
    },
    "huge bounds": {"type": "array", "minItems": 10**12},
    "huge numbers": {"type": "number", "minimum": 1e300, "multipleOf": 1e-300},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_schemas_compile_within_limits_or_are_refused(name: str) -> None:
    started = time.perf_counter()
    try:
        rule = schema_constraint(ENGINE, HOSTILE[name])
        rule.mask(rule.step(rule.start(), ENGINE.tokenizer.encode_continuation("{")[0]))
    except (SchemaError, EmptySupport):
        pass
    assert time.perf_counter() - started < 15
    assert schema_constraint(ENGINE, {"const": 1}).accepts_text("1")


def test_bad_options_are_refused() -> None:
    with pytest.raises(BadParameter, match="dialect"):
        schema_constraint(ENGINE, True, dialect="draft5")
    with pytest.raises(BadParameter, match="max_tokens"):
        schema_constraint(ENGINE, True, max_tokens=0)


# -- documents of others, patterns, the report, the cache --------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "dialect", "good", "bad"),
    [
        ({"items": [{"type": "integer"}]}, "2019-09", "[1]", '["a"]'),
        ({"minimum": 1, "exclusiveMinimum": True}, "draft4", "2", "1"),
        ({"$schema": "https://example.com/of-a-shop", "prefixItems": [{"type": "null"}]}, "2020-12", "[null]", "[1]"),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "prefixItems": [False]}, "draft7", "[1]", "[1"),
    ],
)
def test_a_schema_that_does_not_say_its_draft_is_read_by_the_newest_that_fits(
    schema: Any, dialect: str, good: str, bad: str
) -> None:
    rule = schema_constraint(ENGINE, schema)
    assert rule.report.dialect == dialect
    assert rule.accepts_text(good) and not rule.accepts_text(bad)


def test_references_may_hold_what_no_uri_may() -> None:
    name = "Def<(string[]|null)>"
    rule = schema_constraint(ENGINE, {"$ref": f"#/$defs/{name}", "$defs": {name: {"enum": ["$ref", {"$ref": "a b"}]}}})
    assert rule.accepts_text('{"$ref":"a b"}') and not rule.accepts_text("1")


def test_references_lead_into_the_registry_and_nowhere_else() -> None:
    registry = {"https://example.com/port": {"type": "integer", "maximum": 65535}}
    rule = schema_constraint(
        ENGINE, {"items": {"$ref": "https://example.com/port"}, "type": "array"}, registry=registry
    )
    assert rule.accepts_text("[80]") and not rule.accepts_text("[70000]")


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        (r"^\d\D$", ("^[0-9][^0-9]$", True)),
        (r"[\w-]\.", (r"[A-Za-z0-9_-]\.", True)),
        (r"(?<year>\d)", ("([0-9])", True)),
        (r"\u00e9\/\cA", (r"\u{00e9}/\x01", True)),
        (r"(?<=a)b\b", ("(?:)b(?:)", False)),
        (r"(a)\1", (r"(a)[\s\S]*", False)),
        ("a{9999}", None),
        ("(?i)a", None),
    ],
)
def test_patterns_are_translated_to_supersets(pattern: str, said: tuple[str, bool] | None) -> None:
    assert carried(pattern) == said


def test_the_report_names_every_keyword() -> None:
    schema = {
        "title": "list",
        "type": "array",
        "uniqueItems": True,
        "items": {"type": "object", "properties": {"a": {"const": 1}}, "oneOf": [True, False]},
    }
    found = schema_constraint(ENGINE, schema).report
    assert found.by("annotation") == ["/title"]
    assert found.by("validator") == ["/uniqueItems"]
    assert found.by("mask") == [
        "/type",
        "/items",
        "/items/type",
        "/items/properties",
        "/items/properties/a/const",
        "/items/oneOf",
    ]


def test_a_schema_is_compiled_once_for_each_vocabulary_and_setting() -> None:
    schema = {"type": "integer", "minimum": 41}
    first = schema_constraint(ENGINE, schema)
    assert schema_constraint(ENGINE, dict(schema), max_tokens=9).compiled is first.compiled
    assert schema_constraint(ENGINE, schema, spaced=True).compiled is not first.compiled


# -- the official suite ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draft", "least"), [("2020-12", 97), ("2019-09", 95), ("draft7", 95), ("draft6", 95), ("draft4", 95)]
)
def test_the_official_suite_is_right(draft: str, least: int, request: pytest.FixtureRequest) -> None:
    folder = request.config.getoption("--json-schema-suite")
    if not folder:
        pytest.skip("give the folder of the official suite: --json-schema-suite DIR")
    from bench.schema import here, judge

    verdicts = list(judge(here, ENGINE, Path(folder), draft))
    assert len(verdicts) > 100
    assert sum(v.invalid_accepted for v in verdicts) == 0
    assert 100 * sum(v.right for v in verdicts) / len(verdicts) >= least
