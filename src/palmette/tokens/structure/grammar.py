"""Grammars as constraints: llguidance computes the masks, and every state is a value that nobody changes.

llguidance's matchers are mutable and never raise: a rejected token puts one into an error state that looks like the end
of a text. Here a state owns its matcher, `step` works on a copy (about a microsecond), and every call is checked.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from palmette.core.engine import BitMask, Engine, Tokenizer
from palmette.core.errors import ConstraintError, GrammarError, UsageError

__all__ = ["GrammarConstraint", "GrammarState", "grammar_constraint", "lark_constraint", "regex_constraint"]


@dataclass(frozen=True, slots=True)
class GrammarState:
    """Where in the grammar a prefix stands.

    `queue` are tokens that must follow, in the tokenizer's own spelling, or the end where nothing else can follow; the
    matcher has not consumed them yet.
    """

    matcher: LLMatcher
    queue: tuple[int, ...]
    ended: bool


class GrammarConstraint:
    """A compiled grammar over one tokenizer.

    Text that must follow is taken in the tokenizer's own spelling: one way instead of many, and no forward pass for it.

    Args:
        tokenizer: llguidance's view of the vocabulary, from `token_table`.
        grammar: a grammar in llguidance's serial form.
        eos: the tokens that may end a text.
        name: how it is shown, such as `regex('[0-9]+')`.

    Raises:
        GrammarError: if the grammar does not compile within the limits.
    """

    def __init__(self, tokenizer: LLTokenizer, grammar: str, eos: frozenset[int], name: str = "grammar") -> None:
        self.name = name
        self._eos = eos
        self._end = (min(eos),)
        self._words = (tokenizer.vocab_size + 31) // 32
        matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=LLParserLimits(verbose_errors=False))
        if matcher.is_error():
            raise GrammarError(f"{name} does not compile: {_reason(matcher)}")
        self._root = self._state(matcher)

    def __repr__(self) -> str:
        return self.name

    def start(self) -> GrammarState:
        """The state of an empty text."""
        return self._root

    def mask(self, s: GrammarState) -> BitMask:
        """The tokens that may follow: uint32 words, one bit for each token of the vocabulary."""
        if s.queue:
            return self._bits((s.queue[0],))
        if s.ended or s.matcher.is_stopped():
            return self._bits(())
        words = np.zeros(self._words, np.uint32)
        s.matcher.unsafe_compute_mask_ptr(words.ctypes.data, words.nbytes)
        self._check(s.matcher)
        return words

    def step(self, s: GrammarState, token: int) -> GrammarState:
        """The state after `token`; a token that may not follow leads to a state that nothing may follow."""
        if s.ended:
            return s
        if s.queue and token != s.queue[0]:
            return GrammarState(s.matcher, (), True)
        if token in self._eos:
            return GrammarState(s.matcher, (), True)
        matcher = s.matcher.deep_copy()
        if matcher.validate_tokens([token]) != 1 or not matcher.consume_tokens([token]):
            return GrammarState(s.matcher, (), True)
        self._check(matcher)
        if len(s.queue) > 1:
            return GrammarState(matcher, s.queue[1:], False)
        return self._state(matcher)

    def forced(self, s: GrammarState) -> tuple[int, ...]:
        """Tokens that must follow, canonically spelled."""
        return s.queue

    def accepts(self, s: GrammarState) -> bool:
        """Whether the text may end here."""
        return not s.ended and s.queue[:1] in ((), self._end) and s.matcher.is_accepting()

    def _state(self, matcher: LLMatcher) -> GrammarState:
        if matcher.is_stopped():
            queue: tuple[int, ...] = self._end if matcher.is_accepting() else ()
        else:
            queue = tuple(matcher.compute_ff_tokens())
        self._check(matcher)
        return GrammarState(matcher, queue, False)

    def _bits(self, tokens: tuple[int, ...]) -> BitMask:
        words = np.zeros(self._words, np.uint32)
        for token in tokens:
            words[token >> 5] |= np.uint32(1 << (token & 31))
        return words

    def _check(self, matcher: LLMatcher) -> None:
        if matcher.is_error():
            why = _reason(matcher)
            if "NoExtensionBias" in why:
                raise ConstraintError(f"{self.name}: no text is of this form")
            raise ConstraintError(f"{self.name}: the grammar engine gave up: {why}")


def grammar_constraint(engine: Engine, grammar: str, name: str) -> GrammarConstraint:
    """A constraint from a grammar in llguidance's serial form."""
    if not engine.eos:
        raise UsageError(f"{name} needs an engine with an end-of-sequence token, to say when the text is complete")
    return GrammarConstraint(token_table(engine), grammar, engine.eos, name)


def regex_constraint(engine: Engine, pattern: str) -> GrammarConstraint:
    """Texts that match `pattern` from beginning to end (Rust's regex syntax; no look-around, no back-references).

    >>> import palmette
    >>> engine = palmette.open_engine("zoo:seedling")
    >>> rule = regex_constraint(engine, "[a-c]{2}")
    >>> rule.accepts(rule.start())
    False
    """
    return grammar_constraint(engine, LLMatcher.grammar_from_regex(pattern), f"regex({pattern!r})")


def lark_constraint(engine: Engine, text: str) -> GrammarConstraint:
    """Texts of a context-free grammar in llguidance's dialect of Lark."""
    return grammar_constraint(engine, LLMatcher.grammar_from_lark(text), "grammar")


_tables: weakref.WeakKeyDictionary[Tokenizer, dict[tuple[int, frozenset[int]], LLTokenizer]] = (
    weakref.WeakKeyDictionary()
)


def token_table(engine: Engine) -> LLTokenizer:
    """llguidance's table of an engine's vocabulary; built once for each tokenizer."""
    tables = _tables.setdefault(engine.tokenizer, {})
    place = (engine.vocabulary, engine.eos)
    if place not in tables:
        wrapper: Any = _Vocabulary(engine.tokenizer, min(engine.eos), engine.vocabulary)
        tables[place] = LLTokenizer(wrapper, n_vocab=engine.vocabulary, eos_token=sorted(engine.eos))
    return tables[place]


class _Vocabulary:
    """What llguidance asks of a tokenizer."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer, eos: int, size: int) -> None:
        count = min(tokenizer.size, size)
        self.eos_token_id = eos
        self.tokens = [tokenizer.token_bytes(i) or tokenizer.token_name(i).encode() for i in range(count)]
        self.special_token_ids = sorted(i for i in range(count) if not tokenizer.token_bytes(i))
        self._tokenizer = tokenizer

    def __call__(self, text: str) -> list[int]:
        return self._tokenizer.encode_continuation(text)


def _reason(matcher: LLMatcher) -> str:
    """The engine's first line without its internals."""
    return next((line.strip() for line in matcher.get_error().splitlines() if line.strip()), "no reason given")
