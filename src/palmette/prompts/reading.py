"""Answers read from text without guessing: the text says one value of the type, or it is not read at all.

A *frame* is how an answer is said, such as `The answer is {output}.`; the text after its last occurrence, to the end of
the line, must be the value and nothing else (an amount may carry a currency sign and thousands commas, as in GSM8K).
"""

from __future__ import annotations

import enum
import json
import re
import types
from decimal import Decimal
from typing import Any, Literal, Union, get_args, get_origin

from palmette.core.errors import ConstraintError
from palmette.core.types import value_of

__all__ = ["framed", "pattern_of", "read_framed", "read_value", "said", "scalar"]

HOLE = "{output}"
_NUMBER = re.compile(r"[-+]?[$€£]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?|[-+]?\.\d+")
_FENCE = re.compile(r"```(?:json)?\s*\n(.*?)\n?```", re.DOTALL)
_YES = {"yes": True, "true": True, "no": False, "false": False}


def scalar(kind: Any) -> bool:
    """Whether values of a type are said in words, not as a JSON document.

    >>> scalar(int), scalar(list[int])
    (True, False)
    """
    base = get_origin(kind)
    if base is Literal:
        return True
    if base in (Union, types.UnionType):
        return all(scalar(each) for each in get_args(kind))
    return kind in (str, int, float, bool, Decimal, type(None)) or (
        isinstance(kind, type) and issubclass(kind, enum.Enum)
    )


def said(value: Any) -> str:
    """A value as an answer says it.

    >>> said(True), said(21), said([1, 2])
    ('yes', '21', '[1, 2]')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, enum.Enum):
        return str(value.value)
    if value is None:
        return "none"
    if isinstance(value, (str, int, float, Decimal)):
        return str(value)
    return json.dumps(plain(value), ensure_ascii=False)


def plain(value: Any) -> Any:
    """A value of any type that has a schema, as JSON has it.

    >>> import datetime
    >>> plain({"day": datetime.date(2026, 1, 31), "set": {1}})
    {'day': '2026-01-31', 'set': [1]}
    """
    if type(value) is str:
        return value
    if isinstance(value, enum.Enum):
        return value.value
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((plain(each) for each in value), key=repr)
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def framed(frame: str, value: Any) -> str:
    """A value in its frame.

    >>> framed("The answer is {output}.", 21)
    'The answer is 21.'
    """
    return frame.replace(HOLE, said(value))


def read_framed(kind: Any, text: str, frame: str) -> Any:
    """The value that a text says in a frame.

    Raises:
        ConstraintError: if it says none, or something else.

    >>> read_framed(int, "3 + 4 = 7. The answer is 7.", "The answer is {output}.")
    7
    """
    before, _, after = frame.partition(HOLE)
    if not before.strip() and not after.strip():
        return read_value(kind, text)
    at = text.lower().rfind(before.strip().lower()) if before.strip() else 0
    if at < 0:
        raise ConstraintError(f"{_short(text)} does not say {before.strip()!r}")
    rest = text[at + len(before.strip()) :].strip()
    if scalar(kind):
        rest = rest.split("\n")[0].strip()
    return read_value(kind, rest.removesuffix(after.strip()) if after.strip() else rest)


def read_value(kind: Any, text: str) -> Any:
    """The value that a text is.

    Raises:
        ConstraintError: if it is none of the type.

    >>> read_value(int, "$1,234."), read_value(bool, "Yes."), read_value(Literal["a", "b"], "B")
    (1234, True, 'b')
    """
    text = text.strip()
    if kind is str:
        return text if text else _no(kind, text)
    if not scalar(kind):
        return _document(kind, text)
    bare = text.strip("\"'*` ").removesuffix(".").strip("\"'*` ")
    if get_origin(kind) in (Union, types.UnionType):
        for each in get_args(kind):
            try:
                return read_value(each, text)
            except ConstraintError:
                continue
        return _no(kind, text)
    if kind is bool:
        return _YES[bare.lower()] if bare.lower() in _YES else _no(kind, text)
    if kind is type(None):
        return None if bare.lower() in ("none", "null", "") else _no(kind, text)
    if kind in (int, float, Decimal):
        return _number(kind, bare, text)
    options = get_args(kind) if get_origin(kind) is Literal else tuple(kind)
    fitting = [each for each in options if said(each).casefold() == bare.casefold()]
    exact = [each for each in fitting if said(each) == bare] or fitting
    return exact[0] if len(exact) == 1 else _no(kind, text)


def _number(kind: Any, bare: str, text: str) -> Any:
    if not _NUMBER.fullmatch(bare) or len(bare) > 400:
        return _no(kind, text)
    digits = re.sub("[$€£,]", "", bare)
    if kind is not int:
        return kind(digits)
    value = Decimal(digits)
    return int(value) if abs(value.adjusted()) < 400 and value == value.to_integral_value() else _no(kind, text)


def _document(kind: Any, text: str) -> Any:
    fenced = _FENCE.findall(text)
    try:
        value = json.loads(fenced[0] if len(fenced) == 1 else text)
    except (ValueError, RecursionError) as error:
        raise ConstraintError(f"{_short(text)} is no JSON: {error}") from error
    try:
        return value_of(kind, value)
    except ValueError as error:  # pydantic's, which is no error of ours
        raise ConstraintError(f"{_short(text)} is no {_name(kind)}: {error}") from error


def pattern_of(kind: Any, frame: str = HOLE) -> str | None:
    """A regular expression of all answers in a frame that can be read; None for a type without one.

    >>> pattern_of(Literal["a", "b"], "It is {output}.")
    'It is (?:a|b)\\\\.'
    """
    inner = _pattern(kind)
    before, _, after = frame.partition(HOLE)
    return None if inner is None else f"{escaped(before)}(?:{inner}){escaped(after)}"


def _pattern(kind: Any) -> str | None:
    if kind is bool:
        return "yes|no"
    if kind is int:
        return "0|-?[1-9][0-9]{0,14}"
    if kind in (float, Decimal):
        return r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,9})?"
    if get_origin(kind) is Literal or (isinstance(kind, type) and issubclass(kind, enum.Enum)):
        options = get_args(kind) if get_origin(kind) is Literal else tuple(kind)
        return "|".join(escaped(said(each)) for each in options)
    return None


def escaped(text: str) -> str:
    """Text as a regular expression that every dialect reads alike."""
    return re.sub(r"([.^$*+?{}\[\]\\|()/])", r"\\\1", text)


def _no(kind: Any, text: str) -> Any:
    raise ConstraintError(f"{_short(text)} is no {_name(kind)}")


def _name(kind: Any) -> str:
    return str(getattr(kind, "__name__", kind)) if get_origin(kind) is None else str(kind).replace("typing.", "")


def _short(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "…")
