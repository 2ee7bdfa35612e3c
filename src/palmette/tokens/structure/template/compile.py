"""A template as one grammar: literals are forced, holes are terminals, so any strategy can fill all of it at once."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from palmette.core.errors import BadParameter, UnknownName
from palmette.tokens.structure.template.kinds import Kind, containing, kind_of, terminal
from palmette.tokens.structure.template.parse import Group, Hole, Literal, Part

__all__ = ["Limits", "compile_template", "expanded", "kind_in", "limits_of"]

OPTIONS = ("max", "stop")
LIST_OPTIONS = (*OPTIONS, "sep", "least", "most")


@dataclass(frozen=True)
class Limits:
    """A hole's options: the most tokens, and a text that must not occur in it."""

    tokens: int | None
    stop: str


def compile_template(parts: Sequence[Part], banned: Mapping[str, Sequence[str]] | None = None) -> str:
    """One grammar, in Lark, for a template that was `expanded`.

    Args:
        parts: what `expanded` gave.
        banned: for each hole the texts that it must not hold.

    >>> from palmette.tokens.structure.template.parse import parse_template
    >>> print(compile_template(expanded(parse_template("Age: {age:int(7,9)}"))))
    start: "Age: " hole_0
    hole_0: HOLE_0
    HOLE_0: /([7-9])/
    """
    writer = _Writer(banned or {})
    start = writer.sequence(parts)
    return "\n".join([f"start: {start}", *writer.rules])


def expanded(parts: Sequence[Part]) -> tuple[Part, ...]:
    """A template without lists: an element, and a repeated group of separator and element. Everything is checked."""
    return tuple(_expanded(part) for part in parts)


def _expanded(part: Part) -> Part:
    if isinstance(part, Group):
        return Group(tuple(expanded(way) for way in part.ways), part.least, part.most)
    if isinstance(part, Literal):
        return part
    options = dict(part.options)
    for name in options:
        known = LIST_OPTIONS if part.kind == "list" else OPTIONS
        if name not in known:
            raise UnknownName(f"option of the hole {part.name!r} is called", name, known)
    limits_of(part)
    if part.kind != "list":
        kind_in(part)
        return part
    if not part.arguments:
        raise BadParameter(f"the list {part.name!r} needs the kind of its elements: list(int), list(choice,a,b)")
    kept = tuple((k, v) for k, v in part.options if k in OPTIONS)
    element = Hole(part.name, part.arguments[0], part.arguments[1:], kept, repeated=True)
    kind_in(element)
    least = _count(part.name, "least", options.get("least", "1"))
    most = _count(part.name, "most", options["most"]) if "most" in options else None
    if most is not None and most < least:
        raise BadParameter(f"the list {part.name!r} cannot have {least} to {most} elements")
    more = Group(((Literal(options.get("sep", ", ")), element),), least - 1, None if most is None else most - 1)
    return Group(((element, *(() if most == 1 else (more,))),))


def kind_in(hole: Hole) -> Kind:
    """The kind of an expanded hole."""
    return kind_of(hole.kind, hole.arguments)


def limits_of(hole: Hole) -> Limits:
    """The options of a hole, checked."""
    options = dict(hole.options)
    tokens = _count(hole.name, "max", options["max"]) if "max" in options else None
    return Limits(tokens, options.get("stop", ""))


class _Writer:
    """Collects the rules."""

    def __init__(self, banned: Mapping[str, Sequence[str]]) -> None:
        self.banned = banned
        self.rules: list[str] = []
        self.count = 0

    def sequence(self, parts: Sequence[Part]) -> str:
        """Parts one after another."""
        return " ".join(self.part(part) for part in parts) or '""'

    def part(self, part: Part) -> str:
        """One part as an expression."""
        if isinstance(part, Literal):
            return json.dumps(part.text, ensure_ascii=False)
        if isinstance(part, Hole):
            return self.hole(part)
        ways = " | ".join(self.sequence(way) for way in part.ways)
        return f"({ways}){_times(part)}"

    def hole(self, hole: Hole) -> str:
        """A rule over a terminal."""
        limits = limits_of(hole)
        body = kind_in(hole).terminal
        if limits.stop:
            body += f" & ~{containing(limits.stop)}"
        for value in self.banned.get(hole.name, ()):
            body += f" & ~{terminal(re.escape(value))}"
        note = f"[max_tokens={limits.tokens}]" if limits.tokens else ""
        name, token = f"hole_{self.count}", f"HOLE_{self.count}"
        self.count += 1
        self.rules += [f"{name}{note}: {token}", f"{token}: {body}"]
        return name


def _times(group: Group) -> str:
    if (group.least, group.most) == (1, 1):
        return ""
    known = {(0, 1): "?", (0, None): "*", (1, None): "+"}.get((group.least, group.most))
    return known or f"{{{group.least},{'' if group.most is None else group.most}}}"


def _count(hole: str, option: str, text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise BadParameter(f"the hole {hole!r}: {option} must be a positive whole number, not {text!r}")
    return number
