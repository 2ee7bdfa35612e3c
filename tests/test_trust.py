"""Where the mask is trusted no search looks ahead; what it offers is the same."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import numpy as np
import pytest

import palmette
from palmette.core.masks import ids_of
from palmette.tokens.structure.schema import SchemaConstraint, schema_constraint
from palmette.tokens.structure.schema.trust import DEEP, HERE, NONE

ENGINE = palmette.open_engine("zoo:seedling")
NAMED = {"type": "object", "properties": {"n": {"type": "string"}, "v": {"type": "integer"}}, "required": ["n"]}
CLOSED = {**NAMED, "additionalProperties": False}
SCHEMAS: dict[str, tuple[Any, int]] = {
    "different words": ({"type": "array", "items": {"type": "string"}, "uniqueItems": True}, DEEP),
    "different numbers": ({"type": "array", "items": {"type": "integer"}, "uniqueItems": True}, DEEP),
    "different arrays": (
        {"type": "array", "items": {"type": "array", "items": {"type": "string", "maxLength": 4}}, "uniqueItems": True},
        DEEP,
    ),
    "different objects": ({"type": "array", "items": CLOSED, "uniqueItems": True, "minItems": 2}, DEEP),
    "few words": ({"type": "array", "items": {"enum": ["a", "ab", "b"]}, "uniqueItems": True}, NONE),
    "few numbers": (
        {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 3}, "uniqueItems": True},
        NONE,
    ),
    "inside a member": (
        {
            "type": "object",
            "properties": {
                "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
                "z": {"type": "string"},
            },
            "required": ["z"],
            "additionalProperties": False,
        },
        DEEP,
    ),
    "beside something hard": (
        {
            "type": "object",
            "properties": {
                "z": {"type": "string"},
                "hard": {"type": "array", "contains": {"const": 5}, "items": {"type": "integer"}},
                "y": {"type": "string"},
            },
            "required": ["z"],
            "additionalProperties": False,
        },
        HERE,
    ),
    "a tree": (
        {
            "$ref": "#/$defs/tree",
            "$defs": {
                "tree": {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string"},
                        "below": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "uniqueItems": True},
                    },
                    "required": ["name"],
                    "additionalProperties": False,
                }
            },
        },
        DEEP,
    ),
    "words that meet a hard rule": (
        {"type": "array", "contains": {"const": "a"}, "uniqueItems": True, "maxItems": 3},
        NONE,
    ),
}  # fmt: skip


def distrusted(schema: Any) -> SchemaConstraint:
    """The constraint that searches behind every suspect."""
    rule = schema_constraint(ENGINE, {**schema, "$comment": "searched"})
    rule.compiled.rules.most_trust = NONE
    return rule


def likely(text: bytes, ids: np.ndarray[Any, Any], draw: np.random.Generator) -> int:
    """A random token: often a short one, so that values repeat and documents end."""
    pieces = [ENGINE.tokenizer.token_bytes(int(t)) for t in ids]
    ends = [t for t, piece in zip(ids, pieces, strict=True) if piece and set(piece) <= set(b'",]}:[{a1')]
    return int(draw.choice(ends if ends and (len(text) > 120 or draw.random() < 0.7) else ids))


@pytest.mark.parametrize("name", SCHEMAS)
def test_trust_changes_no_mask(name: str) -> None:
    schema, _ = SCHEMAS[name]
    trusted, searched = schema_constraint(ENGINE, schema), distrusted(schema)
    valid = jsonschema_rs.validator_for(schema)
    ended = 0
    for seed in range(6):
        draw = np.random.default_rng(seed)
        a, b, text = trusted.start(), searched.start(), b""
        for _ in range(150):
            ids = ids_of(trusted.mask(a))
            offered, wanted = set(ids.tolist()), set(ids_of(searched.mask(b)).tolist())
            lost = [ENGINE.tokenizer.token_bytes(t) for t in offered ^ wanted]
            assert not lost, (text, lost)
            token = likely(text, ids, draw)
            if token in ENGINE.eos:
                assert valid.is_valid(json.loads(text))
                ended += 1
                break
            text += ENGINE.tokenizer.token_bytes(token)
            a, b = trusted.step(a, token), searched.step(b, token)
    assert ended


@pytest.mark.parametrize("name", SCHEMAS)
def test_only_what_cannot_go_wrong_is_trusted(name: str) -> None:
    schema, level = SCHEMAS[name]
    rule = schema_constraint(ENGINE, schema)
    case = (rule.compiled.rules.root.cases or ())[0]
    assert rule.compiled.rules.trust(case) == level
