"""A schema compiled for one vocabulary: the grammar that carries the mask, the rules, and the planner's hints."""

from __future__ import annotations

import json
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jsonschema_rs import canonical
from llguidance import LLMatcher

from palmette.core.engine import Engine, Tokenizer
from palmette.core.errors import GrammarError, SchemaError
from palmette.tokens.structure.grammar import GrammarConstraint, grammar_constraint
from palmette.tokens.structure.schema.carrier import Carrier
from palmette.tokens.structure.schema.cases import SchemaRules
from palmette.tokens.structure.schema.closing import Closings
from palmette.tokens.structure.schema.hints import longest_part
from palmette.tokens.structure.schema.lower import Lowering
from palmette.tokens.structure.schema.normal import normalise
from palmette.tokens.structure.schema.order import Order
from palmette.tokens.structure.schema.plan import Vocabulary
from palmette.tokens.structure.schema.source import Source, read_schema
from palmette.tokens.structure.schema.suspects import Suspects
from palmette.tokens.structure.schema.trust import DEEP, Trust

__all__ = ["Compiled", "compile_schema"]

_KEPT = 128  # compiled schemas for each tokenizer


@dataclass(frozen=True)
class Compiled:
    """Everything that does not depend on the request."""

    source: Source
    carrier: Carrier
    grammar: GrammarConstraint
    rules: SchemaRules
    closings: Closings
    suspects: Suspects
    vocabulary: Vocabulary
    sure: bool  # known to have a document

    @property
    def reach(self) -> int:
        """How many bytes one choice may commit to at most, as far as the carrier tells."""
        return longest_part(self.carrier.schema)


_compiled: weakref.WeakKeyDictionary[Tokenizer, OrderedDict[Any, Compiled]] = weakref.WeakKeyDictionary()
_vocabularies: weakref.WeakKeyDictionary[Tokenizer, dict[Any, Vocabulary]] = weakref.WeakKeyDictionary()


def compile_schema(
    engine: Engine,
    schema: Mapping[str, Any] | bool | str,
    dialect: str | None = None,
    registry: Mapping[str, Any] | None = None,
    formats: bool = False,
    spaced: bool = False,
) -> Compiled:
    """Compile a schema for an engine's vocabulary; the last ones are kept."""
    try:
        text = schema if isinstance(schema, str) else json.dumps(schema)
        known = json.dumps(dict(registry)) if registry else ""
    except (TypeError, ValueError, RecursionError) as error:
        read_schema(schema)  # says it better, with a path
        raise SchemaError("", f"not JSON: {error}") from None
    key = (engine.vocabulary, engine.eos, text, dialect, known, formats, spaced)
    kept = _compiled.setdefault(engine.tokenizer, OrderedDict())
    if key in kept:
        kept.move_to_end(key)
        return kept[key]
    source = read_schema(schema, dialect, registry, formats)
    try:
        made = _compile(engine, source, registry or {}, spaced)
    except RecursionError:
        raise SchemaError("", "nested too deeply") from None
    kept[key] = made
    if len(kept) > _KEPT:
        kept.popitem(last=False)
    return made


def vocabulary_of(engine: Engine) -> Vocabulary:
    """The structural tokens of an engine's vocabulary; sorted out once for each tokenizer."""
    tables = _vocabularies.setdefault(engine.tokenizer, {})
    place = (engine.vocabulary, engine.eos)
    if place not in tables:
        tables[place] = Vocabulary(engine.tokenizer, engine.vocabulary, engine.eos)
    return tables[place]


def _compile(engine: Engine, source: Source, registry: Mapping[str, Any], spaced: bool) -> Compiled:
    normal = normalise(source)
    order = Order([source.schema, *registry.values()])
    lowering = Lowering(normal.node, order, source.formats)
    carrier = lowering.carrier()
    grammar = _grammar(engine, carrier, spaced)
    if isinstance(grammar, str):
        lowering = Lowering(normal.node, order, source.formats, probe=lambda part: _takes(engine, part))
        carrier = lowering.carrier()
        grammar = _grammar(engine, carrier, spaced)
    doubtful = isinstance(grammar, str)
    if doubtful:  # any JSON; the validator does the rest
        carrier = Carrier(_types(carrier.schema), carrier.weak | {"*"})
        grammar = _grammar(engine, carrier, spaced)
    if isinstance(grammar, str):
        raise SchemaError("", f"the grammar engine refuses it: {grammar}")
    carrier = Carrier(carrier.schema, carrier.weak | normal.dropped)
    rules = SchemaRules(source, lowering, bool(carrier.weak), doubtful)
    closings = Closings(rules)
    trust = Trust(rules, closings.witnesses)
    rules.trust, rules.most_trust = trust.case, 0 if doubtful else DEEP
    sure = normal.node.satisfiability() == canonical.Satisfiability.YES and not carrier.weak
    vocabulary = vocabulary_of(engine)
    suspects = Suspects(rules, vocabulary, trust)
    return Compiled(source, carrier, grammar, rules, closings, suspects, vocabulary, sure)


def _grammar(engine: Engine, carrier: Carrier, spaced: bool) -> GrammarConstraint | str:
    """The grammar of a carrier, or the engine's reason against it."""
    try:
        return grammar_constraint(engine, _serial(carrier.schema, spaced), "schema")
    except (GrammarError, ValueError) as error:  # ValueError: nested too deeply for the engine's reader
        return str(error).removeprefix("schema does not compile: ")


def _serial(schema: Any, spaced: bool) -> str:
    return LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides={"whitespace_flexible": spaced})


def _takes(engine: Engine, part: Any) -> bool:
    """Whether the grammar engine compiles a part; one that admits nothing is compiled too."""
    try:
        grammar_constraint(engine, _serial({"anyOf": [{"type": "null"}, part]}, False), "part")
    except (GrammarError, ValueError):
        return False
    return True


def _types(schema: Mapping[str, Any]) -> dict[str, Any]:
    """What is left of a carrier that the engine refuses: the type of the whole document."""
    return {"type": schema["type"]} if "type" in schema and "$ref" not in schema else {}
