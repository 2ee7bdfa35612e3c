r"""Regular expressions of schemas (ECMA-262, found anywhere) in the syntax of the grammar engine (Rust's).

A translated pattern accepts at least what the original does; one that cannot be translated is left to the validator.
`\d`, `\w`, `\s` are ASCII or ECMAScript's sets, not Unicode's, and their complements are what these leave out.
"""

from __future__ import annotations

import re
from functools import lru_cache

import jsonschema_rs as truth

__all__ = ["carried", "is_found"]

_SPACE = r"\t\n\x0B\x0C\r \u{A0}\u{1680}\u{2000}-\u{200A}\u{2028}\u{2029}\u{202F}\u{205F}\u{3000}\u{FEFF}"
_SETS = {"d": "0-9", "w": "A-Za-z0-9_", "s": _SPACE}
_REFERENCE = re.compile(r"\\(?:\d+|k<[^>]*>)")
_LONG = re.compile(r"\{(\d+)(,(\d*))?\}")
_MOST = 5_000  # repetitions the grammar engine is asked to count


@lru_cache(maxsize=4096)
def carried(pattern: str) -> tuple[str, bool] | None:
    r"""The pattern for the grammar engine and whether it says the same, or None where it cannot be said.

    Look-around and word boundaries are left out and back-references match anything, which only admits more.

    >>> carried(r"^\d+\/x$")
    ('^[0-9]+/x$', True)
    >>> carried("^(?!foo)[a-z]+$")
    ('^(?:)[a-z]+$', False)
    """
    if len(pattern) > 20_000 or any(int(n) > _MOST for m in _LONG.finditer(pattern) for n in (m[1], m[3]) if n):
        return None
    out: list[str] = []
    exact = True
    inside = False  # a character class
    i = 0
    while i < len(pattern):
        char = pattern[i]
        if char == "\\":
            piece, i, same = _escape(pattern, i, inside)
            if piece is None:
                return None
            out.append(piece)
            exact = exact and same
            continue
        if inside:
            if char == "[" or pattern.startswith(("&&", "--", "~~"), i):
                char = "\\" + char
            inside = char != "]"
        elif char == "[":
            if pattern.startswith(("[]", "[^]"), i):
                return None
            inside = True
            if pattern.startswith("[^", i):
                char, i = "[^", i + 1
        elif char == ".":
            char = r"[^\n\r\u{2028}\u{2029}]"
        elif pattern.startswith(("(?=", "(?!", "(?<=", "(?<!"), i):
            stop = _group_end(pattern, i)
            if stop is None:
                return None
            char, i, exact = "(?:)", stop, False
        elif pattern.startswith("(?<", i):
            char, i = "(", pattern.index(">", i)
        elif pattern.startswith("(?", i) and not pattern.startswith("(?:", i):
            return None
        out.append(char)
        i += 1
    return "".join(out), exact


def _group_end(pattern: str, at: int) -> int | None:
    """Where the group that opens at `at` closes."""
    depth, inside, i = 0, False, at
    while i < len(pattern):
        char = pattern[i]
        if char == "\\":
            i += 1
        elif inside:
            inside = char != "]"
        elif char == "[":
            inside = True
        elif char in "()":
            depth += 1 if char == "(" else -1
            if not depth:
                return i
        i += 1
    return None


def _escape(pattern: str, at: int, inside: bool) -> tuple[str | None, int, bool]:
    """The translation of the escape at `at`, where the pattern goes on, and whether it says the same."""
    char = pattern[at + 1 : at + 2]
    if not inside and char and (char in "bBk" or (char.isdigit() and char != "0")):
        stop = _REFERENCE.match(pattern, at)
        return ("(?:)", at + 2, False) if char in "bB" else (r"[\s\S]*", stop.end() if stop else at + 2, False)
    piece, stopped = _character(pattern, at, char, inside)
    return piece, stopped, True


def _character(pattern: str, at: int, char: str, inside: bool) -> tuple[str | None, int]:
    if char in _SETS:
        return (_SETS[char] if inside else f"[{_SETS[char]}]"), at + 2
    if char and char in "DWS":
        return f"[^{_SETS[char.lower()]}]", at + 2
    if (char and char in "bBk") or (char.isdigit() and char != "0"):
        return (r"\x08" if char == "b" else None), at + 2
    if char == "0":
        return r"\x00", at + 2
    if char == "c":
        letter = pattern[at + 2 : at + 3]
        return (f"\\x{ord(letter) % 32:02X}", at + 3) if letter.isalpha() else (None, at)
    if char == "x":
        return pattern[at : at + 4], at + 4
    if char == "u":
        return _unicode(pattern, at)
    if char and char in "pP":
        stop = pattern.find("}", at)
        return (pattern[at : stop + 1], stop + 1) if stop > 0 and pattern[at + 2 : at + 3] == "{" else (None, at)
    if char and char in "tnrfv":
        return {"f": r"\x0C", "v": r"\x0B"}.get(char, "\\" + char), at + 2
    if char and char in r"^$\.*+?()[]{}|-&~#":
        return "\\" + char, at + 2
    return (char or None), at + 2


def _unicode(pattern: str, at: int) -> tuple[str | None, int]:
    if pattern[at + 2 : at + 3] == "{":
        stop = pattern.find("}", at)
        return (pattern[at : stop + 1], stop + 1) if stop > 0 else (None, at)
    digits = pattern[at + 2 : at + 6]
    if len(digits) < 4 or 0xD800 <= int(digits, 16) < 0xE000:
        return None, at
    return f"\\u{{{digits}}}", at + 6


@lru_cache(maxsize=4096)
def _finder(pattern: str) -> truth.Draft202012Validator | None:
    try:
        return truth.Draft202012Validator({"pattern": pattern})
    except (ValueError, truth.ValidationError):
        return None


def is_found(pattern: str, text: str) -> bool:
    """Whether a schema's pattern is found in a text, as the validator sees it.

    >>> is_found("o+", "foo"), is_found("^o", "foo")
    (True, False)
    """
    finder = _finder(pattern)
    return finder is None or finder.is_valid(text)
