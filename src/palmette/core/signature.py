"""A function's signature as the single source: keyword, command-line text, help and documentation come from it.

A spec is `NAME[:ARG[,ARG…]]`, an ARG `value` or `parameter=value`: `beam:4,length_penalty=0.8`. Lists are joined by
`+`, pairs written `key=value`, and text with commas is quoted.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from palmette.core.errors import BadParameter, UnknownName

__all__ = ["Parameter", "build", "parameters", "parse_spec", "pick", "summary"]

Convert = Callable[[str], Any]
_REQUIRED = inspect.Parameter.empty


@dataclass(frozen=True)
class Parameter:
    """One parameter of a strategy or view: its name, type, default and the line that explains it."""

    name: str
    kind: Any
    default: Any
    help: str

    @property
    def required(self) -> bool:
        """True if the caller must give it."""
        return self.default is _REQUIRED

    @property
    def shown(self) -> str:
        """As a signature shows it: `width=4`, or the bare name if required."""
        return self.name if self.required else f"{self.name}={self.default!r}"


def parameters(function: Callable[..., Any]) -> list[Parameter]:
    """All parameters of `function`, in order, with their help from the docstring's `Args:`."""
    hints = get_type_hints(function)
    notes = _argument_notes(inspect.getdoc(function) or "")
    return [
        Parameter(p.name, hints.get(p.name, Any), p.default, notes.get(p.name, ""))
        for p in inspect.signature(function).parameters.values()
        if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]


def summary(function: Callable[..., Any]) -> str:
    """The first sentence of the docstring."""
    return (inspect.getdoc(function) or "").split("\n")[0]


def pick(table: Mapping[str, Any], name: str, kind: str) -> Any:
    """`table[name]`, or UnknownName with the near miss."""
    if name not in table:
        raise UnknownName(kind, name, table)
    return table[name]


def parse_spec(text: str) -> tuple[str, list[str], dict[str, str]]:
    """Split a spec into its name, positional values and named values.

    >>> parse_spec("beam:4,length_penalty=0.8")
    ('beam', ['4'], {'length_penalty': '0.8'})
    >>> parse_spec("speculative:zoo:seedling,gamma=3")
    ('speculative', ['zoo:seedling'], {'gamma': '3'})
    """
    name, _, rest = text.partition(":")
    positional: list[str] = []
    named: dict[str, str] = {}
    for piece in _split(rest) if rest else []:
        match = re.match(r"([A-Za-z_]\w*)=(.*)\Z", piece, re.DOTALL)
        if match:
            if match[1] in named:
                raise BadParameter(f"{match[1]!r} is given twice in {text!r}")
            named[match[1]] = _unquote(match[2])
        elif named:
            raise BadParameter(f"in {text!r} the value {piece!r} stands after a named one; name it too")
        else:
            positional.append(_unquote(piece))
    return name.strip(), positional, named


def build(
    table: Mapping[str, Callable[..., Any]],
    text: str,
    kind: str,
    convert: Mapping[Any, Convert] | None = None,
    fill: Mapping[str, Any] | None = None,
    given: Mapping[str, Any] | None = None,
) -> Any:
    """Call the function that a spec names with the values it gives.

    Args:
        table: name -> function.
        text: the spec.
        kind: "strategy" or "view", for messages.
        convert: how to read parameters of types this layer does not know (an engine, say), by type.
        fill: values for parameters of these names that the spec leaves out (the seed of the run).
        given: values for parameters that no spec says (the model that a technique asks), passed on as they are.
    """
    name, positional, named = parse_spec(text)
    function = pick(table, name, kind)
    fixed = dict(given or {})
    known = [p for p in parameters(function) if p.name not in fixed]
    if len(positional) > len(known):
        shown = ", ".join(p.shown for p in known) or "none"
        raise BadParameter(f"{kind} {name!r} takes {len(known)} parameters ({shown}), but {text!r} gives more")
    said = dict(zip([p.name for p in known], positional, strict=False))
    for key, value in named.items():
        if key not in [p.name for p in known]:
            raise UnknownName(f"parameter of {kind} {name!r} is called", key, [p.name for p in known])
        if key in said:
            raise BadParameter(f"{key!r} is given twice in {text!r}")
        said[key] = value
    values = {p.name: _read(p, said[p.name], f"{kind} {name!r}", convert or {}) for p in known if p.name in said}
    for p in known:
        if p.name not in values and fill and p.name in fill:
            values[p.name] = fill[p.name]
        if p.required and p.name not in values:
            raise BadParameter(f"{kind} {name!r} needs {p.name!r}: write {name}:{p.name}=…  ({p.help})")
    return function(**fixed, **values)


def _read(parameter: Parameter, text: str, where: str, convert: Mapping[Any, Convert]) -> Any:
    try:
        return _value(parameter.kind, text, convert)
    except ValueError:
        raise BadParameter(f"{where}: {parameter.name} should be {_describe(parameter.kind)}, not {text!r}") from None


def _value(kind: Any, text: str, convert: Mapping[Any, Convert]) -> Any:
    if kind in convert:
        return convert[kind](text)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _first([k for k in inner if k is not type(None)], text, convert)
    if origin is Literal:
        return _literal(inner, text)
    if origin in (Sequence, list, tuple) or origin is typing.Sequence:
        return [_value(inner[0], piece, convert) for piece in text.split("+")]
    if origin in (Mapping, dict):
        pairs = [piece.partition("=") for piece in text.split("+")]
        return {_value(inner[0], a, convert): _value(inner[1], b, convert) for a, _, b in pairs}
    if kind is bool:
        return _literal(("true", "false"), text.lower()) == "true"
    if kind in (int, float, str):
        return kind(text)
    raise ValueError(text)


def _first(kinds: Sequence[Any], text: str, convert: Mapping[Any, Convert]) -> Any:
    for kind in kinds:
        try:
            return _value(kind, text, convert)
        except ValueError:
            continue
    raise ValueError(text)


def _literal(options: Sequence[Any], text: str) -> Any:
    for option in options:
        if str(option).lower() == text.lower():
            return option
    raise ValueError(text)


def _describe(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return "one of " + ", ".join(map(str, inner))
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(k) for k in inner)
    if origin is not None:
        return f"values joined by '+' ({', '.join(_describe(k) for k in inner)})"
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(
        kind, getattr(kind, "__name__", "text")
    )


def _split(text: str) -> list[str]:
    """Split at commas outside quotes."""
    pieces, quote, start = [], "", 0
    for i, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character == ",":
            pieces.append(text[start:i])
            start = i + 1
    if quote:
        raise BadParameter(f"the quote {quote} is not closed in {text!r}")
    return [*pieces, text[start:]]


def _unquote(text: str) -> str:
    stripped = text.strip()
    if len(stripped) >= 2 and stripped[0] == stripped[-1] and stripped[0] in "\"'":
        return stripped[1:-1].encode("raw_unicode_escape").decode("unicode_escape")
    return stripped


def _argument_notes(doc: str) -> dict[str, str]:
    """The lines under `Args:`, joined per parameter."""
    notes: dict[str, str] = {}
    _, _, section = doc.partition("Args:\n")
    current = ""
    for line in section.split("\n"):
        if not line.startswith("    "):
            break
        match = re.match(r"    (\w+): (.*)", line)
        if match:
            current = match[1]
            notes[current] = match[2]
        elif current:
            notes[current] += " " + line.strip()
    return notes
