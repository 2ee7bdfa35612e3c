"""A JSON schema as a constraint: the grammar's mask, what the rules see beyond it, and a plan that can end it.

A token is offered if the grammar allows it, the values it closes pass the rules, and, where the validator enforces
something or the budget runs short, a bounded search sees a valid end behind it. A document may end only if the
validator accepts it. Beyond the search's horizon a prefix may still die: then nothing is offered (EmptySupport), never
something invalid.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from palmette.core.engine import BitMask, Engine
from palmette.core.errors import BadParameter, BudgetTooSmall, SchemaError, Unsatisfiable
from palmette.core.masks import drop, has, ids_of, packed, put
from palmette.tokens.structure.schema.budget import FIRST, Budget
from palmette.tokens.structure.schema.compiled import Compiled, compile_schema
from palmette.tokens.structure.schema.endings import Endings, SchemaState
from palmette.tokens.structure.schema.report import Report, report
from palmette.tokens.structure.schema.stream import (
    EMPTY,
    FIRST_VALUE,
    STRING,
    VALUE,
    Text,
    ended,
    feed,
)

__all__ = ["SchemaConstraint", "SchemaState", "schema_constraint"]

ALIVE = 60  # states a search looks at before it gives a token up
SEARCHED = 48  # tokens of one mask that are searched for; further ones need an earlier plan
NARROW = 64  # tokens tried inside a string that the mask does not enforce alone
FEW = 16  # tokens of a mask so short that each is looked at


class SchemaConstraint:
    """Documents of a JSON schema. Made by `schema_constraint`; the states are immutable to everyone else.

    `needs` is the number of tokens of the shortest complete document found, `report` says how each keyword is enforced.
    """

    def __init__(self, compiled: Compiled, engine: Engine, max_tokens: int | None = None) -> None:
        self.compiled = compiled
        self.max_tokens = max_tokens
        self._engine = engine
        self._grammar = compiled.grammar
        self._rules = compiled.rules
        self._eos = engine.eos
        self._words = (engine.vocabulary + 31) // 32
        self._endings = Endings(compiled, engine.tokenizer, self)
        self._root = SchemaState(self._grammar.start(), EMPTY, 0, 0)
        if not compiled.sure:
            self._check_that_there_is_a_document()
        self._budget: Budget | None = None
        if max_tokens is not None:
            if max_tokens < self.needs:
                raise BudgetTooSmall(self.needs, max_tokens)
            self._budget = Budget(compiled, self._endings, self.step, engine.eos, max_tokens)

    def __repr__(self) -> str:
        return "schema" if self.max_tokens is None else f"schema(max_tokens={self.max_tokens})"

    @property
    def report(self) -> Report:
        """How each keyword of the schema is enforced."""
        return report(self.compiled.source, self.compiled.carrier.weak)

    @property
    def needs(self) -> int:
        """The tokens of the shortest complete document found."""
        plan = self._endings.plan(self._root, FIRST)
        if plan.tokens is None:
            raise SchemaError("", f"no complete document was found among {FIRST} prefixes; leave max_tokens out")
        return len(plan.tokens)

    def accepts_text(self, text: str) -> bool:
        """Whether a text is a document of the schema in a spelling that the mask allows, however it is tokenised.

        Properties come in the schema's order and, unless the constraint is spaced, without white space; characters are
        written as themselves unless JSON demands an escape.
        """
        try:
            data = text.encode()
        except UnicodeEncodeError:
            return False
        end = feed(EMPTY, data, self._rules)
        if end is None or not ended(end, self._rules):
            return False
        matcher = self._grammar.start().matcher.deep_copy()
        tokens = self._engine.tokenizer.encode_continuation(text)
        fits = matcher.try_consume_tokens(tokens) == len(tokens)
        return fits and not matcher.is_error() and matcher.is_accepting()

    # -- the protocol --------------------------------------------------------------------------------------------------

    def start(self) -> SchemaState:
        """The state of an empty text."""
        return self._root

    def step(self, s: SchemaState, token: int) -> SchemaState:
        """The state after `token`; a token that may not follow leads to a state that nothing may follow."""
        known = s.after.get(token)
        if known is not None:
            return known
        if s.text is None:
            return s
        grammar = self._grammar.step(s.grammar, token)
        if grammar.ended:
            return SchemaState(grammar, None, s.count + 1, s.due)
        text = feed(s.text, self.compiled.vocabulary.bytes[token], self._rules)
        old = s.old if s.plan is None or s.plan.tokens is None else s.plan.tokens
        return SchemaState(grammar, text, s.count + 1, s.due, old[1:] if old[:1] == (token,) else old)

    def forced(self, s: SchemaState) -> tuple[int, ...]:
        """Tokens that must follow, canonically spelled."""
        queue = s.grammar.queue
        if s.text is None or (queue[:1] and queue[0] in self._eos and not self.accepts(s)):
            return ()
        return queue

    def accepts(self, s: SchemaState) -> bool:
        """Whether the document may end here."""
        return s.text is not None and self._grammar.accepts(s.grammar) and ended(s.text, self._rules)

    def mask(self, s: SchemaState) -> BitMask:
        """The tokens that may follow: uint32 words, one bit for each token of the vocabulary."""
        if s.mask is None:
            s.mask = self._computed(s)
        return s.mask

    # -- beyond the grammar --------------------------------------------------------------------------------------------

    def allowed(self, s: SchemaState) -> BitMask:
        """What the grammar allows, the end only where the validator allows it."""
        if s.text is None:
            return np.zeros(self._words, np.uint32)
        words = self._grammar.mask(s.grammar)
        for token in self._eos:
            if has(words, token) and not self.accepts(s):
                drop(words, token)
        return words

    def _computed(self, s: SchemaState) -> BitMask:
        words = self.allowed(s)
        if s.text is None:
            return words
        narrow = self._narrow(s.text, words)
        if narrow:
            words = self._tried(words)
        suspects = words if narrow else self.compiled.suspects.of(s.text, words)
        if suspects is not None and suspects.any():
            self._look_ahead(s, words, suspects)
        if self._budget is not None:
            words = self._budget.within(s, words)
        if not words.any():
            plan = self._endings.plan(s, FIRST).tokens
            if plan and (self._budget is None or len(plan) <= self._budget.left(s)):
                put(words, plan[0])
        return words

    def _narrow(self, text: Text, words: BitMask) -> bool:
        """Whether any token may run into a dead end, not only one that closes a value."""
        if not self._rules.inexact or self.compiled.suspects.sound(text):
            return False
        few = int(np.bitwise_count(words).sum()) <= FEW
        return few or (text.mode in (VALUE, FIRST_VALUE, STRING) and self._rules.narrow(text.frame))

    def _tried(self, words: BitMask) -> BitMask:
        """The tokens of a mask that are looked at one by one: common ones (ids are those of merges) and structure."""
        ids = ids_of(words)
        vocabulary = self.compiled.vocabulary
        kept = packed(np.concatenate([ids[:NARROW], vocabulary.structure, vocabulary.short]), vocabulary.size)
        return words & kept

    def _look_ahead(self, s: SchemaState, words: BitMask, suspects: BitMask) -> None:
        """Clear the suspects that lead nowhere, as far as the search sees."""
        alive = False
        unknown: list[int] = []
        searched = 0
        for token in ids_of(suspects).tolist():
            if token in self._eos:
                continue
            after = self.step(s, token)
            if after.text is None:
                drop(words, token)
                continue
            s.after[token] = after
            if not self._rules.inexact:
                continue
            if self.compiled.suspects.sound(after.text):
                alive = True
                continue
            plan = self._endings.plan(after, ALIVE if searched < SEARCHED else 0)
            searched += plan.tokens is None or after.old != plan.tokens
            alive = alive or plan.tokens is not None
            if plan.dead:
                drop(words, token)
            elif plan.tokens is None:
                unknown.append(token)
        if alive or (unknown and self._endings.plan(s, ALIVE).tokens is not None):
            for token in unknown:
                drop(words, token)

    # -- the beginning -------------------------------------------------------------------------------------------------

    def _check_that_there_is_a_document(self) -> None:
        plan = self._endings.plan(self._root, FIRST // 4)
        if plan.dead:
            raise Unsatisfiable("", "no document can satisfy it: every beginning was tried")


def schema_constraint(
    engine: Engine,
    schema: Mapping[str, Any] | bool | str,
    *,
    dialect: str | None = None,
    registry: Mapping[str, Any] | None = None,
    max_tokens: int | None = None,
    formats: bool = False,
    spaced: bool = False,
) -> SchemaConstraint:
    """JSON documents of a schema (drafts 4, 6, 7, 2019-09, 2020-12): every keyword enforced, or refused with a reason.

    Args:
        engine: the engine whose tokens are masked.
        schema: a schema, or its JSON text.
        dialect: its draft, over what `$schema` says; 2020-12 where nothing says it.
        registry: documents that references may lead to, by URI; nothing is ever fetched.
        max_tokens: the document is complete within so many tokens, an end-of-sequence token not counted.
        formats: whether `format` is asserted; it is an annotation otherwise.
        spaced: whether white space may stand between the parts.

    Raises:
        SchemaError: for a schema that is not one or does not compile within the limits.
        Unsatisfiable: for one that no document satisfies.
        BudgetTooSmall: if the shortest document found has more than `max_tokens` tokens.

    >>> import palmette
    >>> engine = palmette.open_engine("zoo:seedling")
    >>> rule = schema_constraint(engine, {"type": "array", "items": {"type": "integer"}, "uniqueItems": True})
    >>> rule.accepts_text("[1,2]"), rule.accepts_text("[1,1]")
    (True, False)
    """
    if max_tokens is not None and max_tokens < 1:
        raise BadParameter(f"max_tokens must be at least 1, not {max_tokens!r}")
    compiled = compile_schema(engine, schema, dialect, registry, formats, spaced)
    return SchemaConstraint(compiled, engine, max_tokens)
