"""Constraints as views, made when they meet an engine: the first of a list of views stands nearest to the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from palmette.core.engine import Constraint, Engine
from palmette.core.errors import BadParameter
from palmette.core.types import schema_of
from palmette.tokens.structure.bytewise import BYTES
from palmette.tokens.structure.finite import FiniteConstraint
from palmette.tokens.structure.grammar import lark_constraint, regex_constraint
from palmette.tokens.structure.schema.check import Check
from palmette.tokens.structure.schema.constraint import schema_constraint
from palmette.tokens.structure.schema.report import Report
from palmette.tokens.views.constrain import constrain

__all__ = ["ConstraintView", "SchemaView", "constraint", "grammar", "one_of", "regex"]


@dataclass(frozen=True)
class ConstraintView:
    """A constraint that waits for an engine and, where decoding has one, for the budget of tokens.

    `rule(engine, max_tokens)` makes the constraint; without a budget, max_tokens is None.
    """

    name: str
    settings: Mapping[str, object]
    rule: Callable[[Engine, int | None], Constraint[Any]] = field(repr=False, compare=False)
    max_tokens: int | None = None

    def __call__(self, engine: Engine) -> Engine:
        """Wrap an engine."""
        return constrain(self.rule(engine, self.max_tokens), self.name)(engine)

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in self.settings.items())})"

    def within(self, max_tokens: int) -> ConstraintView:
        """The same for texts of at most so many tokens."""
        return replace(self, max_tokens=max_tokens)

    def complete(self, engine: Engine, tokens: Sequence[int]) -> bool:
        """Whether these tokens, an end-of-sequence token left out, are a whole text of the constraint."""
        rule = self.rule(engine, None)
        state = rule.start()
        for token in tokens:
            if token not in engine.eos:
                state = rule.step(state, token)
        return rule.accepts(state)

    def accepts(self, text: str) -> bool:
        """Whether a model could write this text; no model is needed to tell.

        >>> regex("[0-9]+").accepts("42"), one_of(["yes", "no"]).accepts("ye")
        (True, False)
        """
        try:
            data = list(text.encode())
        except UnicodeEncodeError:
            return False
        return self.complete(BYTES, data)


@dataclass(frozen=True, repr=False)
class SchemaView(ConstraintView):
    """A JSON Schema as a view: what it accepts, how it is enforced, and documents of it from any model."""

    check: Check = field(kw_only=True, repr=False, compare=False)

    @property
    def schema(self) -> Any:
        """The schema."""
        return self.check.schema

    @property
    def report(self) -> Report:
        """For each keyword of the schema, whether the mask or the validator enforces it, or nothing has to."""
        return self.check.report

    def accepts(self, text: str, *, exactly: bool = False) -> bool:
        """Whether a text is a document of the schema, judged by the constraint that a model writes under.

        Args:
            text: the document.
            exactly: whether it must be written as a model would: properties in the schema's order, no white space
                between the parts (see `spaced`), characters as themselves. Otherwise only its value counts. A key that
                is there twice is refused either way.
        """
        return self.check.exactly(text) if exactly else self.check.accepts(text)


def constraint(
    schema: Any,
    *,
    dialect: str | None = None,
    registry: Mapping[str, Any] | None = None,
    formats: bool | None = None,
    spaced: bool = False,
) -> SchemaView:
    """JSON documents of a schema or a Python type, complete within the budget of tokens whatever the model says.

    Every keyword of the drafts 4, 6, 7, 2019-09 and 2020-12 is enforced: by masking tokens where that is exact, else by
    the validator whenever a value closes.

    Args:
        schema: a schema (a mapping, a boolean, JSON text) or a type: a dataclass, TypedDict, pydantic model, Literal,
            Enum, int, date, list[…] and others, see `palmette.core.types`.
        dialect: the draft, over what `$schema` says: "draft4", "draft6", "draft7", "2019-09" or "2020-12" (default).
        registry: documents that references may lead to, by URI; nothing is ever fetched.
        formats: whether `format` is asserted; by default for types, and an annotation for schemas.
        spaced: whether white space may stand between the parts.

    Raises:
        SchemaError: for what is no schema or does not compile within the limits, with the path.
        Unsatisfiable: for one that no document satisfies.
        BudgetTooSmall: when decoding starts with a max_tokens that no complete document fits in.

    >>> import palmette
    >>> rule = palmette.constraint({"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True, "minItems": 2})
    >>> rule.accepts("[3, 1]"), rule.accepts("[1, 1]")
    (True, False)
    >>> import json
    >>> numbers = json.loads(palmette.model("zoo:seedling", views=[rule], max_tokens=8)("Some numbers: ").text)
    >>> len(set(numbers)) == len(numbers) >= 2
    True
    """
    given = isinstance(schema, (Mapping, bool, str))
    whole = schema if given else schema_of(schema)
    options: dict[str, Any] = {
        "dialect": dialect,
        "registry": registry,
        "formats": not given if formats is None else formats,
        "spaced": spaced,
    }

    def rule(engine: Engine, max_tokens: int | None) -> Constraint[Any]:
        return schema_constraint(engine, whole, max_tokens=max_tokens, **options)

    return SchemaView("schema", {"of": _title(schema, whole)}, rule, check=Check(whole, **options))


def regex(pattern: str) -> ConstraintView:
    """Texts that match `pattern` from beginning to end (Rust's regex syntax: no look-around, no back-references).

    >>> import palmette
    >>> palmette.model("zoo:seedling", views=[regex("[0-9]{3}")])("The number is ").text.isdigit()
    True
    """
    return ConstraintView("regex", {"pattern": pattern}, lambda engine, most: regex_constraint(engine, pattern))


def grammar(text: str) -> ConstraintView:
    """Texts of a context-free grammar, in llguidance's dialect of Lark.

    >>> import palmette
    >>> view = grammar('start: "(" start ")" | "x"')
    >>> text = palmette.model("zoo:seedling", views=[view], strategy=palmette.beam(4), max_tokens=40)("So ").text
    >>> text.count("(") == text.count(")")
    True
    """
    return ConstraintView("grammar", {}, lambda engine, most: lark_constraint(engine, text))


def one_of(texts: Iterable[str]) -> ConstraintView:
    """One of the given texts, however many.

    >>> import palmette
    >>> palmette.model("zoo:seedling", views=[one_of(["yes", "no"])])("Is it? ").text in ("yes", "no")
    True
    """
    given = list(texts)
    if not given:
        raise BadParameter("one_of needs at least one text")
    return ConstraintView("one_of", {"texts": len(given)}, lambda engine, most: FiniteConstraint(engine, given))


def _title(schema: Any, whole: Any) -> str:
    """What a schema is called in a trace."""
    if not isinstance(schema, (Mapping, bool, str)):
        return getattr(schema, "__name__", None) or str(schema)
    title = whole.get("title", whole.get("$id")) if isinstance(whole, Mapping) else None
    return title if isinstance(title, str) else "JSON"
