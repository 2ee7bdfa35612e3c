"""Palmette's own fields of a request, in an object `palmette` of any API's body: what no other server can be asked.

{"strategy": "beam:4", "views": ["top_p:0.9"], "regex": "[0-9]+", "n_best": 4, "tree": true}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from palmette.core.errors import RequestRefused, near_miss
from palmette.core.message import Output, Request

__all__ = ["FIELDS", "Extension", "extension_of"]

FIELDS: Mapping[str, tuple[str, str]] = {  # name: (JSON type, what it is)
    "strategy": ("string", "How tokens are chosen, such as greedy, beam:4 or sample."),
    "views": ("array", "What the model is seen through, such as top_p:0.9; the first stands nearest to the model."),
    "regex": ("string", "The answer must match this regular expression."),
    "grammar": ("string", "The answer must be of this grammar, in llguidance's Lark."),
    "choices": ("array", "The answer must be one of these."),
    "n_best": ("integer", "So many of the strategy's answers, best first, with their scores."),
    "tree": ("boolean", "The token tree, as palmette decode writes it."),
}
_PYTHON: Mapping[str, type] = {"string": str, "array": list, "integer": int, "boolean": bool}
_FORMS = ("regex", "grammar", "choices")


@dataclass(frozen=True)
class Extension:
    """What was asked in our own fields: fields for the model, and the form of the answer."""

    asked: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict)
    output: Output | None = None
    unheeded: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What of the request changes nothing here."""
        return tuple(f"{name}: this model heeds no such setting" for name in self.unheeded)


def extension_of(request: Request) -> tuple[Extension, dict[str, Any]]:
    """Our own fields of a request, and the others that have no place of their own.

    Raises:
        RequestRefused: for fields that are not known, or of another type.
    """
    rest = dict(request.extra)
    found = rest.pop("palmette", None)
    if found is None:
        return Extension(), rest
    if not isinstance(found, dict):
        raise RequestRefused(f"palmette must be an object, not {str(found)[:80]!r}")
    for name, value in found.items():
        if name not in FIELDS:
            raise RequestRefused(f"palmette has no {name!r}.{near_miss(name, FIELDS)} Known: {', '.join(FIELDS)}")
        wanted = FIELDS[name][0]
        if not isinstance(value, _PYTHON[wanted]) or (wanted == "integer" and isinstance(value, bool)):
            raise RequestRefused(f"palmette.{name} must be of the type {wanted}, not {str(value)[:80]!r}")
        if isinstance(value, list) and not all(isinstance(one, str) for one in value):
            raise RequestRefused(f"palmette.{name} must be a list of texts")
    forms = [name for name in _FORMS if name in found]
    if len(forms) > 1 or (forms and request.output is not None):
        raise RequestRefused(f"palmette.{forms[-1]}: the answer can have one form only")
    output = Output(forms[0], tuple(found[forms[0]]) if forms[0] == "choices" else found[forms[0]]) if forms else None  # type: ignore[arg-type]
    return Extension(True, {k: v for k, v in found.items() if k not in _FORMS}, output), rest
