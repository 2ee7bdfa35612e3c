"""A carrier schema as a grammar of llama.cpp (GBNF): compact JSON, properties in the schema's order.

What the grammar leaves out is named; it accepts at least every document of the schema in that spelling.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from palmette.tokens.structure.schema.values import spelled

__all__ = ["gbnf"]

_MOST = 500  # repetitions that llama.cpp is asked to count
_BASE = {
    "value": 'object | array | string | number | "true" | "false" | "null"',
    "object": '"{" ( string ":" value ( "," string ":" value )* )? "}"',
    "array": '"[" ( value ( "," value )* )? "]"',
    "string": '"\\"" char* "\\""',
    "char": r'[^"\\\x7F\x00-\x1F] | "\\" ( ["\\/bfnrt] | "u" [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F] )',
    "number": 'integer ( "." [0-9]+ )? ( [eE] [-+]? [0-9]+ )?',
    "integer": '"-"? ( "0" | [1-9] [0-9]* )',
}
_TYPES = {"boolean": '( "true" | "false" )', "null": '"null"'}
_SAID = {"type", "properties", "required", "additionalProperties", "items", "prefixItems", "minItems", "maxItems"}
_SAID |= {"enum", "const", "anyOf", "$ref", "$defs", "minLength", "maxLength"}


def gbnf(carrier: Mapping[str, Any]) -> tuple[str, frozenset[str]]:
    """The grammar of a carrier schema, and the keywords that it leaves to the validator.

    >>> print(gbnf({"type": "array", "items": {"enum": [1, "a"]}, "maxItems": 2})[0].splitlines()[0])
    root ::= "[" ( ( "1" | "\\"a\\"" ) ( "," ( "1" | "\\"a\\"" ) ){0,1} )? "]"
    """
    writer = _Writer()
    root = writer.part(carrier)
    for name, part in carrier.get("$defs", {}).items():
        writer.rules[_named(name)] = writer.part(part) or '"\\x00"'
    lines = [f"root ::= {root}", *(f"{name} ::= {said}" for name, said in {**writer.rules, **_BASE}.items())]
    return "\n".join(lines) + "\n", frozenset(writer.left)


class _Writer:
    """Writes parts as right-hand sides; None is what nothing matches."""

    def __init__(self) -> None:
        self.rules: dict[str, str] = {}
        self.left: set[str] = set()

    def part(self, part: Any) -> str | None:
        """One part."""
        if not isinstance(part, Mapping):
            return None if part is False else "value"
        self.left |= set(part) - _SAID
        if "$ref" in part:
            return _named(str(part["$ref"]).rpartition("/")[2])
        if "const" in part:
            return _quoted(spelled(part["const"]))
        if "enum" in part:
            return _any([_quoted(spelled(value)) for value in part["enum"]])
        if "anyOf" in part:
            return _any([said for branch in part["anyOf"] if (said := self.part(branch)) is not None])
        if "allOf" in part:
            self.left.add("allOf")
            parts = [self.part(branch) for branch in part["allOf"]]
            return next((one for one in parts if one != "value"), "value")
        kinds = part.get("type", [])
        named = kinds if isinstance(kinds, list) else [kinds]
        return _any([said for kind in named if (said := self._typed(kind, part)) is not None]) if named else "value"

    def _typed(self, kind: str, part: Mapping[str, Any]) -> str | None:
        if kind == "object":
            return self._object(part)
        if kind == "array":
            return self._array(part)
        if kind == "string" and ("minLength" in part or "maxLength" in part):
            return f'"\\"" char{self._times(part.get("minLength", 0), part.get("maxLength"))} "\\""'
        return _TYPES.get(kind, kind)

    def _times(self, least: int, most: int | None) -> str:
        if least > _MOST or (most is not None and most > _MOST):
            self.left |= {"minLength", "maxLength", "minItems", "maxItems"}
            return "*"
        return f"{{{least},{'' if most is None else most}}}"

    def _array(self, part: Mapping[str, Any]) -> str | None:
        first = [self.part(item) for item in part.get("prefixItems", [])]
        rest = self.part(part.get("items", {}))
        least = int(part.get("minItems", 0))
        ends = [
            part.get("maxItems"),
            first.index(None) if None in first else None,
            len(first) if rest is None else None,
        ]
        most = min((end for end in ends if end is not None), default=None)
        if most is not None and most < least:
            return None
        if most == 0:
            return '"[]"'
        if not first:
            return self._repeated(str(rest), least, most)
        used = first if most is None else first[:most]
        said = "" if rest is None or most == len(used) else self._more(str(rest), least - len(first), most, len(first))
        for place in reversed(range(len(used))):
            one = (f'"," {used[place]}' if place else str(used[place])) + said
            said = f" {one}" if place < least else f" ( {one} )?"
        return f'"["{said} "]"'

    def _more(self, item: str, least: int, most: int | None, before: int) -> str:
        """Items behind others."""
        return f' ( "," {item} )' + self._times(max(0, least), None if most is None else most - before)

    def _repeated(self, item: str, least: int, most: int | None) -> str:
        inner = item if most == 1 else item + self._more(item, least - 1, most, 1)
        return f'"[" {inner} "]"' if least else f'"[" ( {inner} )? "]"'

    # -- objects -------------------------------------------------------------------------------------------------------

    def _object(self, part: Mapping[str, Any]) -> str | None:
        required = set(part.get("required", ()))
        pairs: list[tuple[str, bool]] = []
        for name, inner in part.get("properties", {}).items():
            said = self.part(inner)
            if said is None and name in required:
                return None
            if said is not None:
                pairs.append((f'{_quoted(json.dumps(name, ensure_ascii=False))} ":" {said}', name in required))
        rest = "value" if part.get("patternProperties") else self.part(part.get("additionalProperties", {}))
        extra = None if rest is None else f'string ":" {rest}'
        return f'"{{" {self._first(pairs, extra)} "}}"'

    def _first(self, pairs: list[tuple[str, bool]], extra: str | None) -> str:
        """The members while none is written yet; a member that may be missing gives way to the next."""
        more = "" if extra is None else f' ( "," {extra} )*'
        out = '""' if extra is None else f"( {extra}{more} )?"
        for place in reversed(range(len(pairs))):
            said, needed = pairs[place]
            after = "".join(f' "," {p}' if must else f' ( "," {p} )?' for p, must in pairs[place + 1 :])
            one = f"{said}{after}{more}"
            out = one if needed else f"( {one} | {self._ruled(out)} )"
        return out

    def _ruled(self, said: str) -> str:
        """A long right-hand side under a name of its own."""
        if len(said) < 40:
            return said
        name = f"part-{len(self.rules)}"
        self.rules[name] = said
        return name


def _any(parts: list[str]) -> str | None:
    unique = list(dict.fromkeys(parts))
    return None if not unique else unique[0] if len(unique) == 1 else f"( {' | '.join(unique)} )"


def _named(name: str) -> str:
    return "def-" + "".join(c if c.isascii() and c.isalnum() else f"x{ord(c):x}" for c in name)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
