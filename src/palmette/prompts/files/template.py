"""Templates without logic of their own: variables, conditions and repetitions, in the notations that prompt files use.

`braces` has `{{name}}` alone; `handlebars` (dotprompt) and `mustache` (Prompty) have sections; `dollar` (llm) has
$name. What is filled in is text and is never read as a template. A template can neither call nor run long: it is a tree
that is walked once for each element of the data, and what it writes is bounded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from palmette.core.errors import UsageError, near_miss
from palmette.prompts.reading import plain, said

__all__ = ["Syntax", "Template", "parse_template"]

Syntax = Literal["braces", "handlebars", "mustache", "dollar"]
LONGEST = 1 << 20  # characters written
STEPS = 200_000
DEEPEST = 30
_TAG = re.compile(
    r"\{\{\{\s*(?P<raw>[^{}]*?)\s*\}\}\}|\{\{(?P<trim>~?)(?P<tag>(?:[^{}]|\n)*?)(?P<trim2>~?)\}\}", re.DOTALL
)
_DOLLAR = re.compile(r"\$(?:(?P<escaped>\$)|(?P<name>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)\})")
_PATH = re.compile(r"@?[A-Za-z_][\w-]*(?:\.[A-Za-z_0-9][\w-]*)*|\.|this(?:\.[A-Za-z_]\w*)*")


@dataclass(frozen=True)
class Node:
    """A part of a template.

    Args:
        kind: text, variable, if, unless, each, section, inverted, with, json, role, ignored.
        value: the text, or the path of the variable.
        body, other: what a section holds, and what stands after its else.
    """

    kind: str
    value: str
    body: tuple[Node, ...] = ()
    other: tuple[Node, ...] = ()


@dataclass(frozen=True)
class Template:
    """A template that can be rendered."""

    syntax: Syntax
    nodes: tuple[Node, ...]

    @property
    def names(self) -> list[str]:
        """The variables that it reads, outside of repetitions over their parts."""
        found: dict[str, None] = {}

        def walk(nodes: Sequence[Node], inside: bool) -> None:
            for node in nodes:
                head = node.value.split(".")[0]
                reads = node.kind not in ("text", "role", "ignored") and head not in ("this", "") and head[:1] != "@"
                if reads and not (inside and node.kind == "variable"):
                    found.setdefault(head)
                loop = node.kind in ("each", "with") or (node.kind == "section" and self.syntax == "mustache")
                walk(node.body, inside or loop)
                walk(node.other, inside)

        walk(self.nodes, False)
        return list(found)

    def pieces(self, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """("text", …) and ("role", …) in order.

        Raises:
            UsageError: for a variable that there is not, or if it writes too much.
        """
        work = _Work(self.syntax)
        yield from work.written(self.nodes, [dict(values)], {}, 0)

    def render(self, values: Mapping[str, Any]) -> str:
        """The text, without roles.

        >>> parse_template("Hello {{name}}!", "braces").render({"name": "{{x}}"})
        'Hello {{x}}!'
        """
        return "".join(text for kind, text in self.pieces(values) if kind == "text")


@dataclass
class _Work:
    syntax: Syntax
    steps: int = 0
    length: int = 0

    def written(
        self, nodes: Sequence[Node], scopes: list[Any], loop: Mapping[str, Any], depth: int
    ) -> Iterator[tuple[str, str]]:
        for node in nodes:
            self.steps += 1
            if self.steps > STEPS:
                raise UsageError(f"the template takes more than {STEPS} steps")
            match node.kind:
                case "text":
                    yield self._counted(node.value)
                case "role":
                    yield "role", node.value
                case "variable" | "json":
                    value = self._found(node.value, scopes, loop)
                    yield self._counted(said(value) if node.kind == "variable" else _json(value))
                case "ignored":
                    pass
                case _:
                    yield from self._section(node, scopes, loop, depth)

    def _section(self, node: Node, scopes: list[Any], loop: Mapping[str, Any], depth: int) -> Iterator[tuple[str, str]]:
        value = self._found(node.value, scopes, loop, needed=False)
        if node.kind in ("if", "unless"):
            yield from self.written(
                node.body if bool(value) == (node.kind == "if") else node.other, scopes, loop, depth
            )
        elif node.kind == "inverted":
            if not value:
                yield from self.written(node.body, scopes, loop, depth)
        elif node.kind == "with":
            yield from self.written(node.body if value else node.other, [*scopes, value], loop, depth)
        elif node.kind == "section" and not isinstance(value, (list, tuple)):
            if value:
                inner = [*scopes, value] if isinstance(value, Mapping) else scopes
                yield from self.written(node.body, inner, loop, depth)
        elif not value:
            yield from self.written(node.other, scopes, loop, depth)
        else:
            pairs = list(value.items()) if isinstance(value, Mapping) else list(enumerate(value))
            for i, (key, each) in enumerate(pairs):
                here = {"@index": i, "@key": key, "@first": i == 0, "@last": i == len(pairs) - 1}
                yield from self.written(node.body, [*scopes, each], here, depth)

    def _counted(self, text: str) -> tuple[str, str]:
        self.length += len(text)
        if self.length > LONGEST:
            raise UsageError(f"the template writes more than {LONGEST} characters")
        return "text", text

    def _found(self, path: str, scopes: list[Any], loop: Mapping[str, Any], needed: bool = True) -> Any:
        if path in loop:
            return loop[path]
        if path in ("this", "."):
            return scopes[-1]
        head, *rest = path.removeprefix("this.").split(".")
        for scope in reversed(scopes):
            if isinstance(scope, Mapping) and head in scope:
                value: Any = scope[head]
                for part in rest:
                    if isinstance(value, (list, tuple)) and part.isdigit() and int(part) < len(value):
                        value = value[int(part)]
                    elif isinstance(value, Mapping) and part in value:
                        value = value[part]
                    else:
                        return self._missing(path, value if isinstance(value, Mapping) else {}, needed)
                return value
        return self._missing(path, scopes[0], needed)

    @staticmethod
    def _missing(path: str, known: Mapping[str, Any], needed: bool) -> Any:
        if needed:
            listed = f" Known: {', '.join(map(str, known))}." if known else ""
            raise UsageError(f"the template has no variable {path!r}.{near_miss(path, map(str, known))}{listed}")
        return None


def parse_template(text: str, syntax: Syntax) -> Template:
    """Read a template.

    Raises:
        UsageError: for a tag that it does not have, or a section that does not end.
    """
    if len(text) > LONGEST:
        raise UsageError(f"a template of more than {LONGEST} characters")
    if syntax == "dollar":
        return Template(syntax, tuple(_dollars(text)))
    nodes, rest, closing = _read(_tokens(text), syntax, "", 0)
    assert not rest and not closing
    return Template(syntax, nodes)


Token = tuple[str, str]


def _tokens(text: str) -> list[Token]:
    """("text", …) and ("tag", …), with what ~ takes away."""
    made: list[Token] = []
    at = 0
    for found in _TAG.finditer(text):
        before = text[at : found.start()]
        made.append(("text", before.rstrip() if found["trim"] else before))
        made.append(("tag", (found["raw"] if found["raw"] is not None else found["tag"]).strip()))
        at = found.end()
        if found["trim2"]:
            while at < len(text) and text[at].isspace():
                at += 1
    return [*made, ("text", text[at:])]


def _dollars(text: str) -> Iterator[Node]:
    at = 0
    for found in _DOLLAR.finditer(text):
        yield Node("text", text[at : found.start()] + ("$" if found["escaped"] else ""))
        if not found["escaped"]:
            yield Node("variable", found["name"] or found["braced"])
        at = found.end()
    yield Node("text", text[at:])


def _read(tokens: list[Token], syntax: Syntax, within: str, depth: int) -> tuple[tuple[Node, ...], list[Token], str]:
    """Nodes up to the tag that ends a section; the tokens after it, and that tag."""
    if depth > DEEPEST:
        raise UsageError(f"a template nested more than {DEEPEST} levels deep")
    made: list[Node] = []
    while tokens:
        (kind, value), tokens = tokens[0], tokens[1:]
        if kind == "text":
            if value:
                made.append(Node("text", value))
        elif syntax == "braces":
            made.append(_variable(value, syntax))
        elif value.startswith("/") or value in ("else", "^"):
            name = value.removeprefix("/").strip()
            if not within or (value.startswith("/") and name != within):
                raise UsageError(f"the template closes {{{{{value}}}}}, but {within or 'nothing'} is open")
            return tuple(made), tokens, value
        elif value.startswith(("#", "^")):
            node, tokens = _opened(value, tokens, syntax, depth)
            made.append(node)
        else:
            made.append(_variable(value, syntax))
    if within:
        raise UsageError(f"the template's section {within!r} does not end")
    return tuple(made), [], ""


def _opened(tag: str, tokens: list[Token], syntax: Syntax, depth: int) -> tuple[Node, list[Token]]:
    words = tag[1:].split()
    if syntax == "mustache":
        kind, path, closing = ("section" if tag[0] == "#" else "inverted"), " ".join(words), " ".join(words)
    elif len(words) == 2 and tag[0] == "#" and words[0] in ("if", "unless", "each", "with"):
        kind, path, closing = words[0], words[1], words[0]
    else:
        raise UsageError(f"the template has {{{{{tag}}}}}; known are #if, #unless, #each and #with of one variable")
    if not _PATH.fullmatch(path):
        raise UsageError(f"{path!r} in {{{{{tag}}}}} is no variable")
    body, tokens, ended = _read(tokens, syntax, closing, depth + 1)
    other: tuple[Node, ...] = ()
    if not ended.startswith("/"):
        other, tokens, ended = _read(tokens, syntax, closing, depth + 1)
        if not ended.startswith("/"):
            raise UsageError(f"the template's section {closing!r} has two elses")
    return Node(kind, path, body, other), tokens


def _variable(tag: str, syntax: Syntax) -> Node:
    if tag.startswith("!") and syntax != "braces":
        return Node("ignored", "")
    if tag.startswith("&") and syntax == "mustache":
        tag = tag[1:].strip()
    if _PATH.fullmatch(tag):
        return Node("variable" if tag != "history" or syntax != "handlebars" else "ignored", tag)
    if syntax == "handlebars":
        role = re.fullmatch(r"role\s+[\"'](system|user|model|assistant)[\"']", tag)
        if role:
            return Node("role", "assistant" if role[1] == "model" else role[1])
        as_json = re.fullmatch(r"json\s+(\S+)", tag)
        if as_json and _PATH.fullmatch(as_json[1]):
            return Node("json", as_json[1])
    raise UsageError(f"the template has {{{{{tag}}}}}, which is no variable" + (
        "; sections need template: handlebars, mustache or jinja" if syntax == "braces" else ""))  # fmt: skip


def _json(value: Any) -> str:
    return json.dumps(plain(value), ensure_ascii=False)
