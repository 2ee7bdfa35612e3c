"""A prompt file: front matter and a template with roles. Prompty, dotprompt and llm templates read into the same value.

---
inputs: {question: text}
output: int
---
system:
Answer with a number.
user:
{{question}}
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from palmette.core.errors import UnknownName, UsageError
from palmette.core.message import Message, Output, Role
from palmette.core.model import OPTIONS, Model
from palmette.core.types import schema_of
from palmette.core.yaml_text import as_yaml, document
from palmette.prompts.files.jinja import jinja_names, render_jinja
from palmette.prompts.files.template import parse_template
from palmette.prompts.reading import scalar
from palmette.prompts.run import Result, Run, Solver
from palmette.prompts.task import Task

__all__ = ["Prompt", "parse_prompt", "split_front", "turns_of"]

Language = Literal["braces", "handlebars", "mustache", "dollar", "jinja"]
LANGUAGES = ("braces", "handlebars", "mustache", "dollar", "jinja")
KEYS = ("name", "description", "model", "template", "inputs", "defaults", "output", "options", "tools", "metadata")
_ROLE = re.compile(r"^\s*(system|user|assistant|model):[ \t]*$", re.MULTILINE)
_FRONT = re.compile(r"\A(?:\s*(?:#[^\n]*)?\n)*---[ \t]*\n(.*?)(?:\n)?^---[ \t]*$\n?(.*)\Z", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Prompt:
    """A prompt with holes.

    Args:
        turns: (role, template) in order.
        language: that of the templates.
        inputs: name -> type or JSON schema.
        defaults: values of inputs that need not be given.
        output: the type or schema of the answer.
        model: the reference that the file names; "" for none.
        options: fields of the request: temperature, max_tokens …
        tools: names of tools that the file asks for.
        notes: what of a file was not taken over, and why.
    """

    turns: tuple[tuple[Role, str], ...]
    language: Language = "braces"
    inputs: Mapping[str, Any] = field(default_factory=dict, hash=False)
    defaults: Mapping[str, Any] = field(default_factory=dict, hash=False)
    output: Any = field(default=str, hash=False)
    model: str = ""
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    tools: tuple[str, ...] = ()
    name: str = ""
    description: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        known = list(self.inputs)
        for name in self.variables:
            if name not in known:
                raise UnknownName("input (which the template reads) is called", name, known)
        for name in self.defaults:
            if name not in known:
                raise UnknownName("input (with a default) is called", name, known)
        for name in self.options:
            if name not in OPTIONS:
                raise UnknownName("option", name, OPTIONS)

    @property
    def variables(self) -> list[str]:
        """What the templates read."""
        texts = [text for _, text in self.turns]
        if self.language == "jinja":
            return list(dict.fromkeys(name for text in texts for name in jinja_names(text)))
        names = (parse_template(text, self.language).names for text in texts)
        return list(dict.fromkeys(name for each in names for name in each))

    def messages(self, **inputs: Any) -> tuple[Message, ...]:
        """The conversation with its holes filled.

        Raises:
            BadParameter: for an input that is missing or of another type.
            UnknownName: for one that the prompt does not have.
        """
        values = self.task.checked(inputs)
        made: list[Message] = []
        for role, text in self.turns:
            parts: Sequence[tuple[Role, str]]
            if self.language == "jinja":
                parts = [(role, render_jinja(text, values))]
            else:
                parts = _by_role(parse_template(text, self.language).pieces(values), role)
            made += [Message.of(each, said.strip("\n")) for each, said in parts if said.strip()]
        return tuple(made)

    @property
    def task(self) -> Task:
        """Its inputs and output as a task."""
        return Task(inputs=self.inputs, output=self.output, hint=False, defaults=self.defaults)

    def solver(self, model: Model, task: Task | None = None, **options: Any) -> Solver:
        """The prompt as a technique: bound to a model, called with its inputs."""

        async def solve(run: Run, inputs: dict[str, Any]) -> Result:
            shape = {} if self.output is str else {"output": Output("json", schema_of(self.output))}
            able = run.model.capabilities.json_schema
            reply = await run.ask(
                self.messages(**inputs), "answer", **(shape if able and not scalar(self.output) else {})
            )
            return run.read(reply.text)

        return Solver(self.name or "prompt", model, task or self.task, solve, {}, {**self.options, **options})

    def text(self) -> str:
        """The file that reads back as this prompt."""
        front = {
            "name": self.name, "description": self.description, "model": self.model, "template": self.language,
            "inputs": {name: _named(kind) for name, kind in self.inputs.items()}, "defaults": dict(self.defaults),
            "output": None if self.output is str else _named(self.output), "options": dict(self.options),
            "tools": list(self.tools), "metadata": dict(self.metadata),
        }  # fmt: skip
        body = "\n".join(f"{role}:\n{_guarded(text)}" for role, text in self.turns)
        return f"---\n{as_yaml({key: value for key, value in front.items() if value})}---\n{body}\n"


def parse_prompt(text: str, where: str = "prompt") -> Prompt:
    """Read a `.prompt.md` file.

    Raises:
        UsageError: for a key that it does not have, or a template that is none.

    >>> parse_prompt("---\\ninputs: {who: text}\\n---\\nHello {{who}}!").messages(who="you")[0].text
    'Hello you!'
    """
    front, body = split_front(text, where)
    for key in front:
        if key not in KEYS:
            raise UnknownName(f"key (in {where}) is called", str(key), KEYS)
    language = front.get("template", "braces")
    if language not in LANGUAGES:
        raise UnknownName(f"template language (in {where})", str(language), LANGUAGES)
    turns = turns_of(body)
    inputs = _mapping(front, "inputs", where)
    try:
        return Prompt(
            turns, cast(Language, language), {name: _kind(kind) for name, kind in inputs.items()},
            _mapping(front, "defaults", where), _kind(front.get("output", "text")), str(front.get("model", "")),
            _mapping(front, "options", where), tuple(front.get("tools", ())), str(front.get("name", "")),
            str(front.get("description", "")), _mapping(front, "metadata", where),
        )  # fmt: skip
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error


def split_front(text: str, where: str) -> tuple[dict[str, Any], str]:
    """(front matter, body) of a file; no front matter is an empty one."""
    found = _FRONT.match(text.replace("\r\n", "\n"))
    if found is None:
        return {}, text.replace("\r\n", "\n")
    front = document(found[1], where, before=1) or {}
    if not isinstance(front, dict):
        raise UsageError(f"{where}: the front matter is no mapping")
    return front, found[2]


def turns_of(body: str) -> tuple[tuple[Role, str], ...]:
    """The turns of a body whose roles stand on lines of their own; a user's turn without any."""
    marks = list(_ROLE.finditer(body))
    if not marks:
        return (("user", body.strip("\n")),)
    made: list[tuple[Role, str]] = []
    if body[: marks[0].start()].strip():
        made.append(("user", body[: marks[0].start()].strip("\n")))
    for mark, end in zip(marks, [*(m.start() for m in marks[1:]), len(body)], strict=True):
        role = "assistant" if mark[1] == "model" else mark[1]
        made.append((cast(Role, role), body[mark.end() : end].strip("\n")))
    return tuple((role, re.sub(r"^\\(?=\\*(?:system|user|assistant|model):[ \t]*$)", "", text, flags=re.MULTILINE))
                 for role, text in made)  # fmt: skip


def _guarded(text: str) -> str:
    """A line of a turn that looks like a role is written with a backslash."""
    return re.sub(r"^(?=\\*(?:system|user|assistant|model):[ \t]*$)", r"\\", text, flags=re.MULTILINE)


def _by_role(pieces: Any, role: Role) -> Sequence[tuple[Role, str]]:
    made: list[tuple[Role, list[str]]] = [(role, [])]
    for kind, text in pieces:
        if kind == "role":
            made.append((cast(Role, text), []))
        else:
            made[-1][1].append(text)
    return [(each, "".join(parts)) for each, parts in made]


_KINDS: Mapping[str, Any] = {"text": str, "int": int, "float": float, "bool": bool, "any": {}}


def _kind(kind: Any) -> Any:
    if isinstance(kind, str):
        plain_kind = {"str": "text", "string": "text", "integer": "int", "number": "float", "boolean": "bool"}
        name = plain_kind.get(kind, kind)
        if name not in _KINDS:
            raise UnknownName("type", kind, _KINDS, " Others are written as a JSON schema.")
        return _KINDS[name]
    return kind


def _named(kind: Any) -> Any:
    return next((name for name, known in _KINDS.items() if known == kind and type(known) is type(kind)), None) or (
        schema_of(kind)
    )


def _mapping(front: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    value = front.get(key) or {}
    if not isinstance(value, dict):
        raise UsageError(f"{where}: {key} is a mapping, not {value!r}")
    return value
