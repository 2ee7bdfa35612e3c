"""Filling templates: one grammar, one decoding, typed values; and programs that go on from what was filled."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from palmette.core.engine import Engine, Node, Strategy, View
from palmette.core.errors import ConstraintError, EmptyPrompt, UnknownName
from palmette.core.types import value_of
from palmette.tokens.decode import Decoding, Plan
from palmette.tokens.gather import Gather
from palmette.tokens.strategies.sampling import greedy
from palmette.tokens.structure.as_views import constraint
from palmette.tokens.structure.choice import Choice, choose
from palmette.tokens.structure.grammar import lark_constraint
from palmette.tokens.structure.resume import Resume
from palmette.tokens.structure.template.compile import compile_template, expanded, kind_in
from palmette.tokens.structure.template.parse import Literal, Part, holes_of, parse_template
from palmette.tokens.structure.template.read import spans
from palmette.tokens.views.constrain import constrain

__all__ = ["Filled", "Program", "Where", "fill_template", "holes_in"]

TRIES = 32
Where = Mapping[str, Callable[[Any], bool]]


@dataclass(frozen=True)
class Filled:
    """A filled template: its whole text, the values of its holes by name, and Σ log p of what was generated."""

    text: str
    values: Mapping[str, Any]
    logprob: float

    def __getitem__(self, name: str) -> Any:
        if name not in self.values:
            raise UnknownName("hole is called", name, self.values)
        return self.values[name]

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Program:
    """A text that is written partly by you and partly by a model. A value: every call gives a new one.

    So a fork is another name for the same program, and ordinary Python decides what comes next. What the model has
    already read stays in its memory of keys and values.

    >>> import palmette
    >>> start = Program.begin(palmette.open_engine("zoo:seedling"))
    >>> done = start.fill("Q: Is the sky blue?\\nA: {answer:choice(yes,no)}\\n")
    >>> done["answer"] in ("yes", "no")
    True
    >>> more = done.fill("Why: {why:until(.),max=8}.") if done["answer"] == "yes" else done
    """

    engine: Engine = field(repr=False)
    text: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    logprob: float = 0.0
    tokens: tuple[int, ...] = field(default=(), repr=False)
    node: Node | None = field(default=None, repr=False)

    @staticmethod
    def begin(engine: Engine, prompt: str = "") -> Program:
        """A program whose text so far is `prompt`."""
        shared = engine if isinstance(engine, Gather) else Gather(engine)
        return Program(shared).say(prompt) if prompt else Program(shared)

    def say(self, text: str) -> Program:
        """With literal text behind it."""
        encode = self.engine.tokenizer.encode_continuation if self.tokens else self.engine.tokenizer.encode
        return self._grown(tuple(encode(text)), text, {}, 0.0)

    def put(self, tokens: Sequence[int]) -> Program:
        """With tokens behind it as they are: what a chat template wrote. They are no part of the text."""
        return self._grown(tuple(tokens), "", {}, 0.0) if tokens else self

    def fill(
        self,
        template: str,
        *,
        strategy: Strategy | None = None,
        views: Sequence[View] = (),
        where: Where | None = None,
        max_tokens: int = 1024,
        seed: int = 0,
    ) -> Program:
        """With a filled template behind it.

        Args:
            template: see `palmette.tokens.structure.template.parse`.
            strategy: how to choose; greedy by default.
            views: what to see the model through, under the template's own grammar.
            where: for holes by name a condition on the value; a value that fails is excluded and the template is filled
                again, up to 32 times.
            max_tokens: the most tokens in all.
            seed: same seed, same text.

        Raises:
            ConstraintError: for a template that is not one, a condition that no value met, or one that did not end.
        """
        parts = expanded(parse_template(template))
        known = {hole.name for hole in holes_of(parts)}
        for name in where or {}:
            if name not in known:
                raise UnknownName("hole is called", name, known)
        lead, rest = _opening(parts, bool(self.tokens))
        start = self.say(lead) if lead else self
        if not start.tokens:
            raise EmptyPrompt("the template begins with a hole; put text before it, or give a prompt")
        start, healed = start._heal(rest)
        banned: dict[str, list[str]] = {}
        for _ in range(TRIES):
            found, raw = start._once(healed, banned, strategy or greedy(), views, max_tokens, seed)
            failed = _failed(where or {}, found.values, raw)
            if failed is None:
                return found
            banned.setdefault(failed[0], []).append(failed[1])
        name = max(banned, key=lambda each: len(banned[each]))
        tried = ", ".join(repr(v) for v in banned[name][:5])
        raise ConstraintError(f"no value of {name!r} met its condition in {TRIES} tries: {tried}, …")

    def ask(
        self,
        name: str,
        kind: Any,
        *,
        strategy: Strategy | None = None,
        views: Sequence[View] = (),
        max_tokens: int = 512,
        seed: int = 0,
    ) -> Program:
        """With a JSON document behind it, of a type or a schema; `values[name]` is its value.

        Args:
            name: what the value goes by.
            kind: what `palmette.constraint` takes.
            strategy: how to choose; greedy by default.
            views: what to see the model through, under the constraint.
            max_tokens: the document is complete within so many.
            seed: same seed, same text.

        >>> import palmette
        >>> start = Program.begin(palmette.open_engine("zoo:seedling"), "How old is Runa? ")
        >>> 0 <= start.ask("age", range(0, 120)).say(" years.")["age"] < 120
        True
        """
        plan = Plan(strategy or greedy(), (constraint(kind), *views), seed=seed)
        room = min(max_tokens, self.engine.context_length - len(self.tokens))
        decoding = Decoding(self._resumed(), self.tokens, [plan], max_tokens=room, trace=False).run()
        best, text = decoding.answers[0], decoding.text
        tokens = tuple(t for t in best.tokens if t not in self.engine.eos)
        return self._grown(tokens, text, {name: value_of(kind, json.loads(text))}, best.logprob)

    def choose(self, options: Sequence[str], *, end: bool = False, mean: bool = False) -> Choice:
        """The exact distribution over what could come next; see `palmette.tokens.structure.choice.choose`."""
        return choose(self._resumed(), self.tokens, options, end=end, mean=mean)

    def __getitem__(self, name: str) -> Any:
        if name not in self.values:
            raise UnknownName("hole is called", name, self.values)
        return self.values[name]

    def __str__(self) -> str:
        return self.text

    def _once(
        self,
        parts: tuple[Part, ...],
        banned: Mapping[str, Sequence[str]],
        strategy: Strategy,
        views: Sequence[View],
        max_tokens: int,
        seed: int,
    ) -> tuple[Program, dict[str, list[str]]]:
        """Fill once; the program with its values, and the texts of the holes."""
        room = min(max_tokens, self.engine.context_length - len(self.tokens))
        if room < 1:
            raise ConstraintError(f"the text fills the context of {self.engine.context_length} tokens already")
        rule = lark_constraint(self.engine, compile_template(parts, banned))
        plan = Plan(strategy, (constrain(rule, "template"), *views), seed=seed)
        decoding = Decoding(self._resumed(), self.tokens, [plan], max_tokens=room, trace=False).run()
        best, text = decoding.answers[0], decoding.text
        if best.finish != "eos":
            raise ConstraintError(
                f"the template was not complete within {room} tokens; it ended in {text[-30:]!r}. Give its holes a "
                "limit (max=…), or allow more tokens"
            )
        raw, values = _values(parts, text)
        tokens = tuple(t for t in best.tokens if t not in self.engine.eos)
        return self._grown(tokens, text, values, best.logprob), raw  # while the answer's nodes are alive

    def _resumed(self) -> Engine:
        return self.engine if self.node is None else Resume(self.engine, self.node, self.tokens)

    def _grown(self, tokens: tuple[int, ...], text: str, values: Mapping[str, Any], logprob: float) -> Program:
        whole = self.tokens + tokens
        if self.node is None:
            node = self.engine.prefill([whole])[0]
        else:
            node = self.engine.extend([self.node], [tokens])[0] if tokens else self.node
        return replace(
            self,
            text=self.text + text,
            values={**self.values, **values},
            logprob=self.logprob + logprob,
            tokens=whole,
            node=node,
        )

    def _heal(self, parts: tuple[Part, ...]) -> tuple[Program, tuple[Part, ...]]:
        """Give the last token back, so that the tokenizer's own spelling can join what stands on both sides."""
        last = self.engine.tokenizer.token_bytes(self.tokens[-1]) if len(self.tokens) > 1 else b""
        try:
            tail = last.decode()
        except UnicodeDecodeError:
            tail = ""
        if not tail or not parts or isinstance(parts[0], Literal) or not self.text.endswith(tail):
            return self, parts
        shorter = Program(self.engine, self.text[: -len(tail)], self.values, self.logprob)
        return shorter._grown(self.tokens[:-1], "", {}, 0.0), (Literal(tail), *parts)


def fill_template(engine: Engine, template: str, **options: Any) -> Filled:
    """Fill a template; see `Program.fill` for the options.

    >>> import palmette
    >>> done = fill_template(palmette.open_engine("zoo:seedling"), "Name: {name:regex([A-Z][a-z]+),max=4}!")
    >>> done.text == f"Name: {done['name']}!"
    True
    """
    done = Program.begin(engine).fill(template, **options)
    return Filled(done.text, done.values, done.logprob)


def _opening(parts: tuple[Part, ...], begun: bool) -> tuple[str, tuple[Part, ...]]:
    """The literal text that a template opens with, and the rest."""
    if parts and isinstance(parts[0], Literal) and (not begun or len(parts) > 1):
        return parts[0].text, parts[1:]
    return "", parts


def _failed(where: Where, values: Mapping[str, Any], raw: Mapping[str, list[str]]) -> tuple[str, str] | None:
    """The first hole, and its text, whose value does not meet its condition; a hole that was not reached meets all."""
    for name, test in where.items():
        if name in values:
            read = values[name] if isinstance(values[name], list) else [values[name]]
            for value, text in zip(read, raw[name][-len(read) :], strict=True):
                if not test(value):
                    return name, text
    return None


def holes_in(parts: tuple[Part, ...], text: str) -> dict[str, Any]:
    """The values of the holes of a text that fits a template.

    Raises:
        ConstraintError: if it does not fit.
    """
    return _values(parts, text)[1]


def _values(parts: tuple[Part, ...], text: str) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """The text and the value of every hole that was reached."""
    found = spans(parts, text)
    if found is None:
        raise ConstraintError(
            f"a hole was cut short by its max=…, so the text does not fit the template: {text[-60:]!r}"
        )
    raw: dict[str, list[str]] = {}
    values: dict[str, Any] = {}
    for span in found:
        hole, piece = span.hole, text[span.start : span.end]
        raw.setdefault(hole.name, []).append(piece)
        value = kind_in(hole).read(piece)
        values[hole.name] = [*values.get(hole.name, []), value] if hole.repeated else value
    return raw, values
