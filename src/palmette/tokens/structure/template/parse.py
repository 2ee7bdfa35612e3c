r"""Template text to its parts.

Syntax: text; `{name:kind(arguments),option=value}` a hole; `{(one|other)}` alternatives, each a template of its own,
and after the bracket `?`, `*`, `+` or `{2,4}` for repetition; `{{` and `}}` are braces. In arguments `\n`, `\t` and
`\\` mean newline, tab and backslash; a comma, bar or bracket is written in quotes. The argument of `regex` is taken
as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from palmette.core.errors import ConstraintError

__all__ = ["Group", "Hole", "Literal", "Part", "holes_of", "parse_template"]


@dataclass(frozen=True)
class Literal:
    """Text that stands as it is."""

    text: str


@dataclass(frozen=True)
class Hole:
    """A place that the model fills; `repeated` if it may occur several times."""

    name: str
    kind: str
    arguments: tuple[str, ...]
    options: tuple[tuple[str, str], ...] = ()
    repeated: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Group:
    """One of several templates, `least` to `most` times (None: any number)."""

    ways: tuple[tuple[Part, ...], ...]
    least: int = 1
    most: int | None = 1


Part = Literal | Hole | Group
RAW = {"regex"}  # kinds whose whole argument is one text, taken as it is
REPEATS = {"": (1, 1), "?": (0, 1), "*": (0, None), "+": (1, None)}
CLOSED = re.compile(r"\)([?*+]|\{(\d*)(,?)(\d*)\})?\}")
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}


def parse_template(text: str) -> tuple[Part, ...]:
    """Read a template.

    Raises:
        ConstraintError: with the place and what stands there.

    >>> parse_template("Age: {age:int}!")
    (Literal(text='Age: '), Hole(name='age', kind='int', arguments=(), options=(), repeated=False), Literal(text='!'))
    """
    reader = _Reader(text)
    (parts,) = reader.ways(False)
    names: set[str] = set()
    for hole in holes_of(parts):
        if hole.name in names and not hole.repeated:
            raise ConstraintError(f"two holes of the template are called {hole.name!r}; give each its own name")
        names.add(hole.name)
    return parts


def holes_of(parts: tuple[Part, ...]) -> list[Hole]:
    """All holes, in order."""
    found: list[Hole] = []
    for part in parts:
        if isinstance(part, Hole):
            found.append(part)
        elif isinstance(part, Group):
            found += [hole for way in part.ways for hole in holes_of(way)]
    return found


class _Reader:
    """Walks over the text once."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def fail(self, what: str, at: int | None = None) -> ConstraintError:
        """An error that shows the place."""
        place = self.at if at is None else at
        return ConstraintError(f"{what} at character {place + 1} of the template: …{self.text[place : place + 24]!r}")

    def ways(self, inside: bool) -> tuple[tuple[Part, ...], ...]:
        """Alternatives up to the closing bracket (inside a group) or the end of the text."""
        found: list[tuple[Part, ...]] = []
        parts: list[Part] = []
        plain = ""
        while True:
            rest = self.text[self.at :]
            if not rest:
                if inside:
                    raise self.fail("a group is not closed: ')}' is missing")
                break
            if rest.startswith(("{{", "}}")):
                plain, self.at = plain + rest[0], self.at + 2
            elif rest[0] == "{":
                parts += [Literal(plain)] if plain else []
                plain = ""
                parts.append(self.brace())
            elif rest[0] == "}":
                raise self.fail("a '}' without its '{'; write '}}' for a brace")
            elif inside and rest[0] == "|":
                found.append((*parts, *([Literal(plain)] if plain else [])))
                parts, plain, self.at = [], "", self.at + 1
            elif inside and CLOSED.match(rest):
                break
            else:
                plain, self.at = plain + rest[0], self.at + 1
        found.append((*parts, *([Literal(plain)] if plain else [])))
        return tuple(found)

    def brace(self) -> Hole | Group:
        """What a brace opens."""
        start = self.at
        if self.text.startswith("{(", start):
            return self.group()
        head = re.compile(r"\{\s*([A-Za-z_]\w*)\s*(?::\s*([A-Za-z_]\w*))?").match(self.text, start)
        if head is None:
            raise self.fail("a hole is written {name:kind}", start)
        self.at = head.end()
        kind = head[2] or "text"
        arguments: tuple[str, ...] = ()
        if self.text.startswith("(", self.at):
            inner = self.bracket()
            arguments = (inner,) if kind in RAW else tuple(_unescaped(a) for a in _split(inner))
        options = []
        while match := re.compile(r"\s*,\s*(\w+)\s*=\s*(\"[^\"]*\"|'[^']*'|[^,}]*)").match(self.text, self.at):
            options.append((match[1], _unescaped(match[2].strip())))
            self.at = match.end()
        if not self.text.startswith("}", self.at):
            raise self.fail("a hole is not closed: '}' is missing")
        self.at += 1
        return Hole(head[1], kind, arguments, tuple(options), kind == "list")

    def group(self) -> Group:
        """{( … | … )} with its repetition."""
        self.at += 2
        ways = self.ways(True)
        closed = CLOSED.match(self.text, self.at)
        assert closed is not None
        self.at = closed.end()
        if closed[1] not in (None, "?"):
            ways = tuple(tuple(_several(part) for part in way) for way in ways)
        if closed[2] is None:
            return Group(ways, *REPEATS[closed[1] or ""])
        least = int(closed[2] or 0)
        most = int(closed[4]) if closed[4] else None if closed[3] else least
        if most is not None and most < max(least, 1):
            raise self.fail(f"a repetition of {least} to {most} times", closed.start())
        return Group(ways, least, most)

    def bracket(self) -> str:
        """The text between matching brackets; those in character classes and after a backslash do not count."""
        start, depth, quote = self.at, 0, ""
        while self.at < len(self.text):
            c = self.text[self.at]
            self.at += 2 if c == "\\" else 1
            if quote:
                quote = "" if c == quote else quote
            elif c == "[":
                quote = "]"
            elif c == "(":
                depth += 1
            elif c == ")":
                depth -= 1
                if depth == 0:
                    return self.text[start + 1 : self.at - 1]
        raise self.fail("a bracket is not closed", start)


def _several(part: Part) -> Part:
    """With all its holes marked as repeated."""
    if isinstance(part, Hole):
        return replace(part, repeated=True)
    if isinstance(part, Group):
        return replace(part, ways=tuple(tuple(_several(inner) for inner in way) for way in part.ways))
    return part


def _split(text: str) -> list[str]:
    """Arguments at commas outside quotes."""
    pieces = re.findall(r"((?:\"[^\"]*\"|'[^']*'|[^,\"'])+)(?:,|$)", text)
    return [piece.strip(" ") for piece in pieces]


def _unescaped(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1]
    return re.sub(r"\\(.)", lambda m: ESCAPES.get(m[1], m[0]), text)
