"""The kinds of holes: what may stand in each, as a terminal of the grammar, and the value of what was written."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from palmette.core.errors import BadParameter, ConstraintError, GrammarError
from palmette.core.signature import pick

__all__ = ["KINDS", "Kind", "containing", "kind_of", "terminal"]


@dataclass(frozen=True)
class Kind:
    """What a hole takes.

    `pattern` is a regular expression that Rust and Python read alike, `read` makes the value; `without` is a text that
    must not occur in it.
    """

    pattern: str
    read: Callable[[str], Any]
    without: str = ""

    @property
    def terminal(self) -> str:
        """As the grammar writes it."""
        return terminal(self.pattern) + (f" & ~{containing(self.without)}" if self.without else "")

    def fits(self, text: str) -> bool:
        """Whether a text is one of its values."""
        return re.fullmatch(self.pattern, text) is not None and not (self.without and self.without in text)


def kind_of(name: str, arguments: tuple[str, ...]) -> Kind:
    """The kind that a hole names."""
    make: Callable[..., Kind] = pick(KINDS, name, "kind of hole")
    try:
        return make(*arguments)
    except TypeError:
        raise BadParameter(f"the hole kind {name!r} does not take {len(arguments)} arguments: {arguments!r}") from None


def terminal(pattern: str) -> str:
    """A regular expression as the grammar writes it.

    >>> terminal("a/b")
    '/(a\\\\/b)/'
    """
    return "/(" + re.sub(r"\\.|/|\n", _slash, pattern, flags=re.DOTALL) + ")/"


def containing(text: str) -> str:
    """All texts in which `text` occurs, as a terminal."""
    return terminal(f"(?s:.*){re.escape(text)}(?s:.*)")


def _slash(match: re.Match[str]) -> str:
    return {"/": r"\/", "\n": r"\n", "\\\n": r"\n"}.get(match[0], match[0])


def _regex(pattern: str) -> Kind:
    try:
        re.compile(pattern)
    except re.error as error:
        raise GrammarError(f"the regex {pattern!r} is not understood: {error}") from None
    return Kind(pattern, str)


def _text(stop: str = "\n") -> Kind:
    """Any text without `stop`."""
    if not stop:
        raise BadParameter("until() needs a text to stop before")
    if len(stop) == 1:
        return Kind(f"[^{_in_class(stop)}]*", str)
    return Kind("(?s:.*)", str, without=stop)


def _in_class(character: str) -> str:
    return "\\n" if character == "\n" else "\\" + character if character in "\\]^-[/" else character


def _choice(*options: str) -> Kind:
    if not options or not all(options):
        raise BadParameter("choice() needs options, none of them empty: choice(happy,sad)")
    return Kind("|".join(re.escape(option) for option in options), str)


def _int(least: str = "", most: str = "") -> Kind:
    if not least and not most:
        return Kind("-?(0|[1-9][0-9]{0,17})", int)
    low, high = _whole(least or "0"), _whole(most)
    if not low <= high:
        raise BadParameter(f"int({least},{most}) is an empty range")
    return Kind("|".join(_numbers(low, high)), int)


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise BadParameter(f"int() takes whole numbers, not {text!r}") from None


def _numbers(low: int, high: int) -> list[str]:
    """Regular expressions that together match the whole numbers of a range."""
    if low < 0:
        below = f"-({'|'.join(_numbers(max(1, -high), -low))})"
        return [below, *(_numbers(0, high) if high >= 0 else [])]
    found = []
    for digits in range(len(str(low)), len(str(high)) + 1):
        first = max(low, 10 ** (digits - 1) if digits > 1 else 0)
        found.append(_digits(str(first), str(min(high, 10**digits - 1))))
    return found


def _digits(low: str, high: str) -> str:
    """The numbers from one to another of the same length."""
    if len(low) <= 1:
        return low if low == high else f"[{low}-{high}]"
    rest = len(low) - 1
    if low[0] == high[0]:
        return f"{low[0]}({_digits(low[1:], high[1:])})"
    first, last, ways = int(low[0]), int(high[0]), []
    if low[1:] != "0" * rest:
        ways.append(f"{first}({_digits(low[1:], '9' * rest)})")
        first += 1
    if high[1:] != "9" * rest:
        ways.append(f"{last}({_digits('0' * rest, high[1:])})")
        last -= 1
    if first <= last:
        ways.append(f"[{first}-{last}][0-9]{{{rest}}}")
    return "|".join(ways)


def _date(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError as error:
        raise ConstraintError(f"{text!r} is no date: {error}") from error


MONTHS = (
    r"[0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
)

KINDS: Mapping[str, Callable[..., Kind]] = {
    "text": _text,
    "until": _text,
    "regex": _regex,
    "choice": _choice,
    "int": _int,
    "float": lambda: Kind(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,9})?", float),
    "bool": lambda: Kind("true|false", json.loads),
    "word": lambda: Kind(r"[^\s]+", str),
    "date": lambda: Kind(MONTHS, _date),
}
