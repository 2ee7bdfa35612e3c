"""A task: what is asked, with typed inputs and a typed answer. Techniques turn it into prompts and read the answers.

Task("Answer the question.", inputs={"question": str}, output=int, examples=[{"question": "2 + 3?", "output": 5}])
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from palmette.core.errors import BadParameter, ConstraintError, UnknownName
from palmette.core.message import Message
from palmette.core.types import schema_of, value_of
from palmette.prompts.reading import framed, plain, read_framed, said, scalar

__all__ = ["Example", "Task"]

_HOLE = re.compile(r"\{(\w+)\}")
_NOTES = ("output", "rationale", "program", "steps", "statement", "principle")
_KINDS = {
    "text": str, "str": str, "string": str, "int": int, "integer": int, "float": float, "number": float, "bool": bool,
    "boolean": bool,
}  # fmt: skip


@dataclass(frozen=True)
class Example:
    """A worked example.

    Args:
        inputs: a value for each input of the task.
        output: the answer.
        rationale: the reasoning before it (chain of thought).
        program: Python whose `answer` it is (program-aided).
        steps: sub-questions with their answers (least-to-most).
        statement: a fact that helps (generated knowledge).
        principle: the more abstract question (step-back).
    """

    inputs: Mapping[str, Any] = field(hash=False)
    output: Any = field(hash=False)
    rationale: str = ""
    program: str = ""
    steps: tuple[tuple[str, str], ...] = ()
    statement: str = ""
    principle: str = ""


@dataclass(frozen=True, init=False)
class Task:
    """What is asked.

    Args:
        instruction: what to do; empty for none.
        inputs: name -> type of each input.
        output: the type of the answer: what `palmette.core.types.schema_of` knows.
        examples: worked examples: `Example`s, or mappings with the inputs, "output", and "rationale" and the like.
        template: how the inputs are said, with `{name}` for each; the value alone, or `name: value` lines without it.
        answer: how an answer is said that stands alone.
        conclusion: how an answer is said after reasoning.
        form: "turns" (examples are turns of the conversation) or "text" (one text of `Q:` and `A:`).
        hint: whether the instruction says the form of the answer.
        enforce: whether a model that can be held to a regular expression is, where an answer stands alone.
        defaults: values of inputs that need not be given.

    >>> task = Task("Add.", inputs={"a": int, "b": int}, output=int)
    >>> task.said({"a": 2, "b": 3})
    'a: 2\\nb: 3'
    """

    instruction: str
    inputs: Mapping[str, Any] = field(hash=False)
    output: Any = field(hash=False)
    examples: tuple[Example, ...] = field(hash=False)
    template: str
    answer: str
    conclusion: str
    form: Literal["turns", "text"]
    hint: bool
    enforce: bool
    defaults: Mapping[str, Any] = field(hash=False)

    def __init__(
        self,
        instruction: str = "",
        *,
        inputs: Mapping[str, Any] | None = None,
        output: Any = str,
        examples: Sequence[Example | Mapping[str, Any]] = (),
        template: str = "",
        answer: str = "{output}",
        conclusion: str = "The answer is {output}.",
        form: Literal["turns", "text"] = "turns",
        hint: bool = True,
        enforce: bool = True,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        kinds = {name: _kind(kind) for name, kind in ({"question": str} if inputs is None else inputs).items()}
        values = {
            "instruction": instruction, "inputs": kinds, "output": _kind(output), "template": template,
            "answer": answer, "conclusion": conclusion, "form": form, "hint": hint, "enforce": enforce,
            "defaults": dict(defaults or {}),
        }  # fmt: skip
        for name, value in values.items():
            object.__setattr__(self, name, value)
        for name in ("answer", "conclusion"):
            if values[name].count("{output}") != 1:
                raise BadParameter(f"{name} must hold {{output}} once, not {values[name]!r}")
        if form not in ("turns", "text"):
            raise BadParameter(f"form must be 'turns' or 'text', not {form!r}")
        schema_of(self.output)
        _check_template(template, kinds)
        object.__setattr__(self, "examples", tuple(self.example(each, i) for i, each in enumerate(examples)))

    def example(self, given: Example | Mapping[str, Any], row: int = 0) -> Example:
        """A worked example, checked.

        Raises:
            BadParameter: naming the row and what is wrong with it.
        """
        if not isinstance(given, Example):
            unknown = [key for key in given if key not in self.inputs and key not in _NOTES]
            if unknown:
                raise UnknownName(f"input of the task (example {row}) is called", unknown[0], [*self.inputs, *_NOTES])
            if "output" not in given:
                raise BadParameter(f"example {row} has no 'output': {dict(given)!r}")
            notes = {key: given[key] for key in _NOTES if key in given}
            notes["steps"] = tuple((str(q), str(a)) for q, a in notes.get("steps", ()))
            given = Example({key: given[key] for key in given if key in self.inputs}, **notes)
        inputs = self.checked(given.inputs, f"example {row}: ")
        return replace(given, inputs=inputs, output=self.valued(given.output, f"example {row}: "))

    def checked(self, inputs: Mapping[str, Any], where: str = "") -> dict[str, Any]:
        """Inputs, each of its type.

        Raises:
            BadParameter: for a missing, unknown or wrong one.
        """
        for name in inputs:
            if name not in self.inputs:
                raise UnknownName(f"input of the task ({where.strip(': ') or 'call'}) is called", name, self.inputs)
        inputs = {**self.defaults, **inputs}
        missing = [name for name in self.inputs if name not in inputs]
        if missing:
            raise BadParameter(f"{where}the input {missing[0]!r} is missing; given: {', '.join(inputs) or 'none'}")
        return {name: _valued(kind, inputs[name], f"{where}{name}") for name, kind in self.inputs.items()}

    def valued(self, output: Any, where: str = "") -> Any:
        """An answer, of the task's type.

        Raises:
            BadParameter: if it is none.
        """
        return _valued(self.output, output, f"{where}output")

    def said(self, inputs: Mapping[str, Any]) -> str:
        """The inputs as the prompt says them."""
        if self.template:
            return _HOLE.sub(lambda found: said(inputs[found[1]]), self.template)  # what is filled in is not read again
        if len(inputs) == 1:
            return said(next(iter(inputs.values())))
        return "\n".join(f"{name}: {said(value)}" for name, value in inputs.items())

    def read(self, text: str, concluding: bool = False) -> Any:
        """The answer that a text gives.

        Raises:
            ConstraintError: if it gives none.
        """
        return read_framed(self.output, text, self.conclusion if concluding else self.answer)

    def system(self, concluding: bool = False) -> str:
        """The instruction, with the form of the answer."""
        parts = [self.instruction, self.form_of_answer(concluding) if self.hint else ""]
        return " ".join(part for part in parts if part)

    def form_of_answer(self, concluding: bool = False) -> str:
        """What the answer must look like, in words; empty for text."""
        if self.output is str and not concluding:
            return ""
        shape = "<" + described(self.output) + ">"
        if concluding:
            return f'End with "{self.conclusion.replace("{output}", shape)}"'
        return f'Reply with "{self.answer.replace("{output}", shape)}" and nothing else.'

    def conversation(
        self,
        inputs: Mapping[str, Any],
        shown: Sequence[tuple[Example, str]] = (),
        *,
        system: str | None = None,
        ending: str = "",
    ) -> tuple[Message, ...]:
        """The prompt.

        Args:
            inputs: what is asked about.
            shown: examples with the answers that are shown.
            system: instead of the instruction.
            ending: what stands below the inputs.
        """
        head = self.system() if system is None else system
        asked = self.said(inputs) + (f"\n{ending}" if ending else "")
        if self.form == "text":
            blocks = [*([head] if head else ()), *(f"Q: {self.said(e.inputs)}\nA: {answer}" for e, answer in shown)]
            return (Message.of("user", "\n\n".join([*blocks, f"Q: {asked}\nA:"])),)
        turns = [Message.of("system", head)] if head else []
        for example, answer in shown:
            turns += [Message.of("user", self.said(example.inputs)), Message.of("assistant", answer)]
        return (*turns, Message.of("user", asked))

    def direct(self, example: Example) -> str:
        """The answer of an example, alone."""
        return framed(self.answer, example.output)

    def reasoned(self, example: Example) -> str:
        """The answer of an example after its rationale."""
        return f"{example.rationale.strip()} {framed(self.conclusion, example.output)}"

    def with_examples(self, examples: Sequence[Example]) -> Task:
        """The same task with other examples."""
        return Task(
            self.instruction, inputs=self.inputs, output=self.output, examples=examples, template=self.template,
            answer=self.answer, conclusion=self.conclusion, form=self.form, hint=self.hint, enforce=self.enforce,
            defaults=self.defaults,
        )  # fmt: skip

    def with_instruction(self, instruction: str) -> Task:
        """The same task with another instruction."""
        changed = copy.copy(self)
        object.__setattr__(changed, "instruction", instruction)
        return changed

    @property
    def spec(self) -> dict[str, Any]:
        """What the task is, as JSON; two tasks with the same spec ask the same."""
        return {
            "instruction": self.instruction, "inputs": {k: schema_of(v) for k, v in self.inputs.items()},
            "output": schema_of(self.output), "template": self.template, "answer": self.answer,
            "conclusion": self.conclusion, "form": self.form, "hint": self.hint, "enforce": self.enforce,
            "defaults": plain(dict(self.defaults)),
            "examples": [plain({k: getattr(e, k) for k in ("inputs", *_NOTES)}) for e in self.examples],
        }  # fmt: skip


def described(kind: Any) -> str:
    """A type in words.

    >>> described(int), described(Literal["a", "b"])
    ('integer', 'a or b')
    """
    if scalar(kind):
        schema = schema_of(kind)
        if "enum" in schema:
            return " or ".join(said(value) for value in schema["enum"])
        return {"boolean": "yes or no", "string": "answer", "null": "none"}.get(
            str(schema.get("type")), str(schema.get("type", "answer"))
        )
    return "a JSON document of this schema: " + said(schema_of(kind))


def _kind(kind: Any) -> Any:
    """A type, also by its name in a file."""
    if isinstance(kind, str):
        if kind not in _KINDS:
            raise UnknownName("type", kind, _KINDS, " Others are written as a JSON schema.")
        return _KINDS[kind]
    return kind


def _valued(kind: Any, value: Any, where: str) -> Any:
    try:
        return value_of(kind, plain(value))
    except ConstraintError as error:
        raise BadParameter(f"{where}: {error}") from None


def _check_template(template: str, inputs: Mapping[str, Any]) -> None:
    if template:
        for name in _HOLE.findall(template):
            if name not in inputs:
                raise UnknownName(f"input (in the template {template!r}) is called", name, inputs)
