"""Tokens that end a document: cut from an earlier plan, built from what is open, or searched for."""

from __future__ import annotations

from itertools import islice
from typing import Protocol

from palmette.core.engine import BitMask, Tokenizer
from palmette.tokens.structure.grammar import GrammarState
from palmette.tokens.structure.schema.compiled import Compiled
from palmette.tokens.structure.schema.plan import Plan, Planner
from palmette.tokens.structure.schema.stream import Text, ended, feed

__all__ = ["Endings", "SchemaState"]

ENDINGS = 12  # built endings that are tried


class SchemaState:
    """A prefix: where it stands in the grammar and in the text, how many tokens it has, and what was found out."""

    __slots__ = ("after", "count", "due", "grammar", "mask", "old", "plan", "text")

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
        self.mask: BitMask | None = None


class Walk(Protocol):
    """What the endings ask of the constraint."""

    def step(self, s: SchemaState, token: int) -> SchemaState: ...

    def accepts(self, s: SchemaState) -> bool: ...

    def allowed(self, s: SchemaState) -> BitMask: ...


class Endings:
    """Finds tokens that complete a document from a state: an earlier plan's, built ones, or those a search finds.

    Args:
        compiled: the schema.
        tokenizer: spells what is built.
        walk: the constraint.
    """

    def __init__(self, compiled: Compiled, tokenizer: Tokenizer, walk: Walk) -> None:
        self._grammar = compiled.grammar
        self._rules = compiled.rules
        self._closings = compiled.closings
        self._vocabulary = compiled.vocabulary
        self._tokenizer = tokenizer
        self._walk = walk
        self._planner = Planner(compiled.vocabulary, walk.step, walk.allowed, self.built, compiled.rules.mark)

    def plan(self, s: SchemaState, most: int, longest: int = 1 << 30) -> Plan:
        """A plan from a state: an earlier one that still fits, else what a search over `most` states finds (kept)."""
        if s.plan is not None and (s.plan.dead or s.plan.tokens is not None):
            return s.plan
        if s.text is None:
            return Plan(None, dead=True)
        reused = self._reused(s, s.old) if s.old else None
        if reused is not None:
            s.plan = Plan(reused)
            return s.plan
        return self.searched(s, most, longest) if most else Plan(None)

    def searched(self, s: SchemaState, most: int, longest: int = 1 << 30) -> Plan:
        """A new plan from a state, whatever was known; kept if there is one or can be none."""
        plan = self._planner.search(s, most, longest)
        s.plan = plan if plan.dead or plan.tokens is not None else None
        return plan

    def built(self, s: SchemaState) -> tuple[int, ...] | None:
        """Tokens that complete the document, built from what is open; None where that finds none."""
        if self._walk.accepts(s):
            return ()
        if s.text is None:
            return None
        for said in islice(self._closings.of(s.text), ENDINGS):
            end = feed(s.text, said, self._rules)
            if end is not None and ended(end, self._rules):
                tokens = self._walked(s.grammar, said)
                if tokens is not None:
                    return tokens
        return None

    def _walked(self, at: GrammarState, rest: bytes) -> tuple[int, ...] | None:
        """Bytes as the tokens that will spell them, what is forced included; None where the grammar refuses them."""
        pieces, tokens = self._vocabulary.bytes, list[int]()
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
        lone = [self._vocabulary.single.get(byte) for byte in rest[:inside]]
        known = [token for token in lone if token is not None]
        if len(known) < inside:
            return []
        return known + (self._tokenizer.encode_continuation(rest[inside:].decode()) if rest[inside:] else [])

    def _reused(self, s: SchemaState, old: tuple[int, ...]) -> tuple[int, ...] | None:
        """The longest cut of an earlier plan that completes the document, perhaps after closing a value first."""
        for lead in self._vocabulary.leads:
            for skip in range(min(4, len(old)) + 1):
                tokens = lead + old[skip:]
                if not tokens:
                    if self._walk.accepts(s):
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
        end = feed(s.text, b"".join(self._vocabulary.bytes[t] for t in tokens), self._rules)
        if end is None or not ended(end, self._rules):
            return False
        last = matcher.deep_copy()
        return bool(last.consume_tokens(list(tokens))) and not last.is_error() and last.is_accepting()
