"""Constraints as views, made when they meet an engine: the first of a list of views stands nearest to the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from palmette.core.engine import Constraint, Engine
from palmette.core.errors import BadParameter
from palmette.tokens.structure.finite import FiniteConstraint
from palmette.tokens.structure.grammar import lark_constraint, regex_constraint
from palmette.tokens.views.base import EngineView
from palmette.tokens.views.constrain import constrain

__all__ = ["grammar", "one_of", "regex"]


def regex(pattern: str) -> EngineView:
    """Texts that match `pattern` from beginning to end (Rust's regex syntax: no look-around, no back-references).

    >>> import palmette
    >>> palmette.model("zoo:seedling", views=[regex("[0-9]{3}")])("The number is ").text.isdigit()
    True
    """
    return _view("regex", {"pattern": pattern}, lambda engine: regex_constraint(engine, pattern))


def grammar(text: str) -> EngineView:
    """Texts of a context-free grammar, in llguidance's dialect of Lark.

    >>> import palmette
    >>> view = grammar('start: "(" start ")" | "x"')
    >>> text = palmette.model("zoo:seedling", views=[view], strategy=palmette.beam(4), max_tokens=40)("So ").text
    >>> text.count("(") == text.count(")")
    True
    """
    return _view("grammar", {}, lambda engine: lark_constraint(engine, text))


def one_of(texts: Iterable[str]) -> EngineView:
    """One of the given texts, however many.

    >>> import palmette
    >>> palmette.model("zoo:seedling", views=[one_of(["yes", "no"])])("Is it? ").text in ("yes", "no")
    True
    """
    given = list(texts)
    if not given:
        raise BadParameter("one_of needs at least one text")
    return _view("one_of", {"texts": len(given)}, lambda engine: FiniteConstraint(engine, given))


def _view(name: str, settings: dict[str, object], rule: Callable[[Engine], Constraint[Any]]) -> EngineView:
    return EngineView(name, settings, lambda engine: constrain(rule(engine), name)(engine))
