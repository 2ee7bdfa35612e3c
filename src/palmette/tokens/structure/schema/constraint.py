"""A JSON schema as a constraint: the grammar's mask, what the rules see beyond it, and a plan that can end it.

A token is offered if the grammar allows it, the values it closes pass the rules, and, where the validator enforces
something or the budget runs short, a bounded search sees a valid end behind it. A document may end only if the
validator accepts it. Beyond the search's horizon a prefix may still die: then nothing is offered (EmptySupport), never
something invalid.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palmette.core.engine import BitMask, Engine
from palmette.core.errors import BadParameter, BudgetTooSmall, SchemaError, Unsatisfiable
from palmette.core.scores import unpacked
from palmette.tokens.structure.grammar import GrammarState
from palmette.tokens.structure.schema.compiled import Compiled, compile_schema
from palmette.tokens.structure.schema.plan import Plan, Planner
from palmette.tokens.structure.schema.report import Report, report
from palmette.tokens.structure.schema.stream import (
    EMPTY,
    FIRST_VALUE,
    KEY,
    KEY_ESCAPE,
    KEY_TEXT,
    NUMBER,
    STRING,
    VALUE,
    Text,
    ended,
    feed,
)

__all__ = ["SchemaConstraint", "SchemaState", "schema_constraint"]

ALIVE = 60  # states a search looks at before it gives a token up
SEARCHED = 48  # tokens of one mask that are searched for; further ones need an earlier plan
ENDINGS = 12  # built endings that are tried
FIRST = 2_000  # states the first plan may look at
NARROW = 64  # tokens tried inside a string that the mask does not enforce alone
TRIED = 400  # tokens of one mask that are tried one by one when the budget is short


class SchemaState:
    """A prefix: where it stands in the grammar and in the text, how many tokens it has, and what was found out."""

    __slots__ = ("_words", "after", "count", "due", "grammar", "old", "plan", "text")

    def __init__(
        self, grammar: GrammarState, text: Text | None, count: int, due: int, old: tuple[int, ...] = ()
    ) -> None:
        self.grammar = grammar
        self.text = text  # None: nothing may follow
        self.count = count
        self.due = due  # the number of tokens at which the budget must be looked at again
        self.old = old  # an earlier plan, from the state before
        self.plan: Plan | None = None
        self.after: dict[int, SchemaState] = {}
        self._words: BitMask | None = None


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
        self._planner = Planner(compiled.vocabulary, self.step, self._grammatical, self._ending, compiled.rules.mark)
        self._root = SchemaState(self._grammar.start(), EMPTY, 0, 0)
        if not compiled.sure:
            self._check_that_there_is_a_document()
        if max_tokens is not None and max_tokens < self.needs:
            raise BudgetTooSmall(self.needs, max_tokens)

    def __repr__(self) -> str:
        return "schema" if self.max_tokens is None else f"schema(max_tokens={self.max_tokens})"

    @property
    def report(self) -> Report:
        """How each keyword of the schema is enforced."""
        return report(self.compiled.source, self.compiled.carrier.weak)

    @property
    def needs(self) -> int:
        """The tokens of the shortest complete document found."""
        plan = self._plan(self._root, FIRST)
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
        if s._words is None:
            s._words = self._computed(s)
        return s._words

    # -- beyond the grammar --------------------------------------------------------------------------------------------

    def _computed(self, s: SchemaState) -> BitMask:
        words = self._grammatical(s)
        if s.text is None:
            return words
        suspects = self._suspects(s.text, words)
        if suspects.size:
            self._look_ahead(s, words, suspects)
        if self.max_tokens is not None:
            words = self._within_budget(s, words)
        if not words.any():
            plan = self._plan(s, FIRST)
            if plan.tokens and (self.max_tokens is None or len(plan.tokens) <= self.max_tokens - s.count):
                _set(words, plan.tokens[0])
        return words

    def _grammatical(self, s: SchemaState) -> BitMask:
        """What the grammar allows, the end only where the validator allows it."""
        if s.text is None:
            return np.zeros(self._words, np.uint32)
        words = self._grammar.mask(s.grammar)
        for token in self._eos:
            if words[token >> 5] >> np.uint32(token & 31) & 1 and not self.accepts(s):
                _clear(words, token)
        return words

    def _suspects(self, text: Text, words: BitMask) -> NDArray[np.int64]:
        """The tokens that may close a value wrongly, repeat a key or leave the range of numbers."""
        vocabulary = self.compiled.vocabulary
        frame = text.frame
        if self._rules.inexact:
            few = int(np.bitwise_count(words).sum()) <= 16
            if not few and text.mode in (VALUE, FIRST_VALUE, STRING) and self._rules.narrow(frame):
                ids = np.flatnonzero(unpacked(words, vocabulary.size))  # ids of merges: the common tokens come first
                words &= _pack(
                    np.concatenate([ids[:NARROW], np.intersect1d(ids, [*vocabulary.structure, *vocabulary.short])]),
                    words.size,
                )
                few = True
            some = words if few else words & vocabulary.closers
        elif frame is None or not frame.keys:
            some = None
        else:
            key = text.mode in (KEY, KEY_TEXT, KEY_ESCAPE)
            some = words & (vocabulary.quotes if key else vocabulary.quoted)
        if text.mode == NUMBER:
            odd = b"e" in text.raw or b"E" in text.raw or len(text.raw) > 250
            risky = words if odd else words & vocabulary.exponents
            some = risky if some is None else some | risky
        if some is None or not some.any():
            return np.empty(0, np.int64)
        ids = np.flatnonzero(unpacked(some, vocabulary.size))
        return ids[~np.isin(ids, list(self._eos))]

    def _look_ahead(self, s: SchemaState, words: BitMask, suspects: NDArray[np.int64]) -> None:
        """Clear the suspects that lead nowhere, as far as the search sees."""
        alive: list[int] = []
        unknown: list[int] = []
        searched = 0
        for token in suspects.tolist():
            after = self.step(s, token)
            if after.text is None:
                _clear(words, token)
                continue
            s.after[token] = after
            if not self._rules.inexact:
                continue
            plan = self._plan(after, ALIVE if searched < SEARCHED else 0)
            searched += plan.tokens is None or after.old != plan.tokens
            if plan.tokens is not None:
                alive.append(token)
            elif plan.dead:
                _clear(words, token)
            else:
                unknown.append(token)
        if alive or (unknown and self._plan(s, ALIVE).tokens is not None):
            for token in unknown:
                _clear(words, token)

    def _plan(self, s: SchemaState, most: int, longest: int = 1 << 30) -> Plan:
        """A plan from here: an earlier one that still fits, else the result of a search (kept if it found one)."""
        if s.plan is not None and (s.plan.dead or s.plan.tokens is not None):
            return s.plan
        if s.text is None:
            return Plan(None, dead=True)
        reused = self._reused(s, s.old) if s.old else None
        if reused is not None:
            s.plan = Plan(reused)
            return s.plan
        if not most:
            return Plan(None)
        plan = self._planner.search(s, most, longest)
        if plan.dead or plan.tokens is not None:
            s.plan = plan
        return plan

    def _ending(self, s: SchemaState) -> tuple[int, ...] | None:
        """Tokens that complete the document, built from what is open; None where that finds none."""
        if self.accepts(s):
            return ()
        if s.text is None:
            return None
        for said in islice(self.compiled.closings.of(s.text), ENDINGS):
            end = feed(s.text, said, self._rules)
            if end is not None and ended(end, self._rules):
                tokens = self._walked(s.grammar, said)
                if tokens is not None:
                    return tokens
        return None

    def _walked(self, at: GrammarState, rest: bytes) -> tuple[int, ...] | None:
        """Bytes as the tokens that will spell them, what is forced included; None where the grammar refuses them."""
        pieces, tokens = self.compiled.vocabulary.bytes, list[int]()
        planned: list[int] = []
        while rest:
            if at.queue:
                token, planned = at.queue[0], planned[1:] if planned[:1] == [at.queue[0]] else []
            else:
                planned = planned or self._spelled(rest)
                if not planned:
                    return None
                token, planned = planned[0], planned[1:]
            if not pieces[token] or not rest.startswith(pieces[token]):
                return None
            at = self._grammar.step(at, token)
            if at.ended:
                return None
            rest = rest[len(pieces[token]) :]
            tokens.append(token)
        return tuple(tokens) if self._grammar.accepts(at) else None

    def _spelled(self, rest: bytes) -> list[int]:
        """The tokens of some bytes, which may begin inside a character; none where the vocabulary has no such byte."""
        inside = next((i for i, byte in enumerate(rest) if byte & 0xC0 != 0x80), len(rest))
        lone = [self.compiled.vocabulary.single.get(byte) for byte in rest[:inside]]
        known = [token for token in lone if token is not None]
        if len(known) < inside:
            return []
        return known + (self._engine.tokenizer.encode_continuation(rest[inside:].decode()) if rest[inside:] else [])

    def _reused(self, s: SchemaState, old: tuple[int, ...]) -> tuple[int, ...] | None:
        """The longest cut of an earlier plan that completes the document, perhaps after closing a value first."""
        for lead in self.compiled.vocabulary.leads:
            for skip in range(min(4, len(old)) + 1):
                tokens = lead + old[skip:]
                if not tokens:
                    if self.accepts(s):
                        return ()
                elif self._completes(s, tokens):
                    return tokens
        return None

    def _completes(self, s: SchemaState, tokens: tuple[int, ...]) -> bool:
        """Whether tokens complete the document; asked of the grammar in one call."""
        assert s.text is not None
        if s.grammar.queue and s.grammar.queue[: len(tokens)] != tokens[: len(s.grammar.queue)]:
            return False
        matcher = s.grammar.matcher
        if matcher.validate_tokens(list(tokens)) != len(tokens):
            return False
        end = feed(s.text, b"".join(self.compiled.vocabulary.bytes[t] for t in tokens), self._rules)
        if end is None or not ended(end, self._rules):
            return False
        last = matcher.deep_copy()
        return bool(last.consume_tokens(list(tokens))) and not last.is_error() and last.is_accepting()

    # -- the budget ----------------------------------------------------------------------------------------------------

    def _within_budget(self, s: SchemaState, words: BitMask) -> BitMask:
        """Keep the tokens after which the document can still be completed in time.

        A plan is looked for again only after as many tokens as could have used up the slack of the last one.
        """
        assert self.max_tokens is not None
        left = self.max_tokens - s.count
        if s.count < s.due:
            return words
        plan = self._plan(s, FIRST, left)
        if plan.tokens is None or len(plan.tokens) > left:
            s.plan = None
            plan = self._planner.search(s, FIRST, left)
            if plan.tokens is None:
                return np.zeros(self._words, np.uint32)
            s.plan = plan
        assert plan.tokens is not None
        slack = left - len(plan.tokens)
        if slack > self._reach:
            s.due = s.count + (slack - self._reach) // (self._reach + 1) + 1
            return words
        return self._affordable(s, words, plan.tokens, left)

    @cached_property
    def _reach(self) -> int:
        return 8 + self.compiled.reach

    def _affordable(self, s: SchemaState, words: BitMask, plan: tuple[int, ...], left: int) -> BitMask:
        """The tokens that leave a plan short enough: one by one, the end of the text and plan[0] without looking."""
        out = np.zeros(self._words, np.uint32)
        for token in self._eos:
            out[token >> 5] |= words[token >> 5] & np.uint32(1 << (token & 31))
        if plan:
            _set(out, plan[0])
        if left <= len(plan) and (not plan or left <= 1):
            return out
        bits = unpacked(words, self.compiled.vocabulary.size)
        quiet = unpacked(words & ~self.compiled.vocabulary.closers, self.compiled.vocabulary.size)
        ids = np.flatnonzero(bits)
        assert s.text is not None
        if ids.size > TRIED and s.text.mode in (STRING, KEY_TEXT):
            out |= self._free(s, words & ~self.compiled.vocabulary.closers, np.flatnonzero(quiet), left)
            ids = np.flatnonzero(bits & ~quiet)
        structure = self.compiled.vocabulary.structure
        order = dict.fromkeys([*structure[bits[structure]].tolist(), *ids[:TRIED].tolist()])
        searches = 16
        for token in list(order)[:TRIED]:
            if out[token >> 5] >> np.uint32(token & 31) & 1:
                continue
            after = self.step(s, token)
            if after.text is None:
                continue
            found = self._plan(after, ALIVE if searches > 0 else 0, left - 1)
            searches -= found.tokens is None
            if found.tokens is not None and len(found.tokens) <= left - 1:
                s.after[token] = after
                _set(out, token)
        return out

    def _free(self, s: SchemaState, words: BitMask, ids: NDArray[np.int64], left: int) -> BitMask:
        """All tokens that stay inside a string, if the longest and two more of them leave a plan short enough.

        Those that end within a character cost more: they are kept if the dearest of them does.
        """
        vocabulary = self.compiled.vocabulary
        longest = max(ids.tolist(), key=lambda token: len(vocabulary.bytes[token]), default=None)
        if longest is None or not all(self._fits(s, token, left) for token in (longest, int(ids[0]), int(ids[-1]))):
            return np.zeros(self._words, np.uint32)
        dearest = next((t for t in vocabulary.cut if words[t >> 5] >> np.uint32(t & 31) & 1), None)
        if dearest is not None and not self._fits(s, dearest, left):
            return words & ~_pack(vocabulary.cut, self._words)
        return words

    def _fits(self, s: SchemaState, token: int, left: int) -> bool:
        found = self._plan(self.step(s, token), 0)
        return found.tokens is not None and len(found.tokens) < left

    # -- the beginning -------------------------------------------------------------------------------------------------

    def _check_that_there_is_a_document(self) -> None:
        plan = self._plan(self._root, FIRST // 4)
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


def _pack(ids: NDArray[np.int64], size: int) -> BitMask:
    words = np.zeros(size, np.uint32)
    np.bitwise_or.at(words, ids >> 5, np.uint32(1) << (ids & 31).astype(np.uint32))
    return words


def _set(words: BitMask, token: int) -> None:
    words[token >> 5] |= np.uint32(1 << (token & 31))


def _clear(words: BitMask, token: int) -> None:
    words[token >> 5] &= ~np.uint32(1 << (token & 31))
