"""Three ways of asking a model for its next step, from the strongest to the weakest.

`Grammar`: the step is a document of a schema; a model on this machine cannot leave it, an API is asked and checked.
`Native`: the API's own tool calling; the last step must call `final_answer`.
`Written`: the text of ReAct (Yao et al. 2022, arXiv 2210.03629, `hotpotqa.ipynb`), with its repair call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from palmette.core.errors import ConstraintError
from palmette.core.message import Message, Output, Part, Tool, ToolResult
from palmette.core.types import schema_of
from palmette.prompts.agent.move import FINAL, Move, final_schema, step_schema
from palmette.prompts.reading import plain, read_value, said
from palmette.prompts.run import Run, thought_of
from palmette.prompts.task import Task
from palmette.prompts.tools.tool import FunctionTool, Observation

__all__ = ["Grammar", "Native", "Dialogue", "Written"]


class Dialogue(Protocol):
    """A conversation with an agent."""

    async def move(self, run: Run, step: int, final_only: bool) -> Move:
        """Ask for the next step."""
        ...

    def observe(self, move: Move, step: int, observed: Observation) -> None:
        """Tell what the step gave."""
        ...


@dataclass
class Grammar:
    """Steps as documents of a schema."""

    task: Task
    tools: Mapping[str, FunctionTool]
    question: str
    thought: int
    turns: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        lines = [f"- {t.name}: {t.spec.description} Arguments: {said(_brief(t.spec))}" for t in self.tools.values()]
        form = '{"thought": …, "action": {"tool": NAME, "args": {…}}} or {"thought": …, "action": {"final": ANSWER}}'
        head = "\n".join(
            part for part in (
                self.task.instruction, "Take one step at a time: use a tool, or give the final answer.",
                "Tools:", *lines, f"Reply with JSON alone: {form}" if self.thought else "",
            ) if part
        )  # fmt: skip
        self.turns = self.turns or [
            *([Message.of("system", head)] if self.task.hint else []), Message.of("user", self.question),
        ]  # fmt: skip

    async def move(self, run: Run, step: int, final_only: bool) -> Move:
        """Ask for a document."""
        schema = step_schema(self.tools, schema_of(self.task.output), self.thought, final_only)
        reply = await run.ask(self.turns, f"step {step}", output=Output("json", schema, "step"))
        self.turns.append(Message.of("assistant", reply.text))
        try:
            document = json.loads(reply.text)
            thought, action = str(document.get("thought", "")), document["action"]
            if "final" in action:
                return Move(thought, final=action["final"])
            return Move(thought, str(action["tool"]), action["args"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            return Move(wrong=f"the step is no document of its schema: {type(error).__name__}: {error}")

    def observe(self, move: Move, step: int, observed: Observation) -> None:
        """As a user's turn, whose text is never read as a special token."""
        self.turns.append(Message.of("user", f"Observation {step}: {observed.text}"))


@dataclass
class Native:
    """The API's own tool calls."""

    task: Task
    tools: Mapping[str, FunctionTool]
    question: str
    turns: list[Message] = field(default_factory=list)
    _waiting: tuple[Part, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        head = " ".join(p for p in (self.task.instruction, f"Use the tools; give the answer by {FINAL}.") if p)
        self.turns = self.turns or [Message.of("system", head), Message.of("user", self.question)]

    async def move(self, run: Run, step: int, final_only: bool) -> Move:
        """Ask for a call; the last one is of `final_answer`."""
        answer = Tool(FINAL, "Give the final answer.", final_schema(schema_of(self.task.output)), strict=True)
        tools = (*(() if final_only else (each.spec for each in self.tools.values())), answer)
        choice = FINAL if final_only else "required"
        reply = await run.ask(self.turns, f"step {step}", tools=tools, tool_choice=choice, parallel_tools=False)
        self.turns.append(reply.message)
        thought = thought_of(reply) or reply.text.strip()
        if not reply.calls:
            return Move(thought, wrong=f"no tool was called; call one, or {FINAL}")
        first, *others = reply.calls
        if others:  # each call wants a result, and only one step is taken at a time
            refused: list[Part] = [ToolResult(c.id, "Error: one call at a time.", c.name, failed=True) for c in others]
            self._waiting = tuple(refused)
        if first.name == FINAL:
            try:
                return Move(thought, final=json.loads(first.arguments)["answer"], id=first.id)
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                return Move(thought, FINAL, id=first.id, wrong=f"{FINAL} needs an answer of its schema: {error}")
        return Move(thought, first.name, first.arguments, id=first.id)

    def observe(self, move: Move, step: int, observed: Observation) -> None:
        """As the result of the call, or in words where nothing was called."""
        parts: tuple[Part, ...]
        if move.id:
            parts = (ToolResult(move.id, observed.text, move.tool, failed=bool(observed.failed)), *self._waiting)
            self.turns.append(Message("user", parts))
        else:
            self.turns.append(Message.of("user", observed.text))
        self._waiting = ()


@dataclass
class Written:
    """Thought, action and observation as text."""

    task: Task
    tools: Mapping[str, FunctionTool]
    question: str
    text: str = ""
    bad: int = 0

    def __post_init__(self) -> None:
        acts = [f"({i + 1}) {self._form(t)}: {t.spec.description}" for i, t in enumerate(self.tools.values())]
        acts.append(f"({len(acts) + 1}) finish[answer]: give the final answer. {self.task.form_of_answer()}".strip())
        self.text = (
            f"{self.task.instruction}\nSolve the task with interleaving Thought, Action and Observation steps. An "
            f"action is one of:\n" + "\n".join(acts) + f"\n\nQuestion: {self.question}\n"
        ).lstrip()

    async def move(self, run: Run, step: int, final_only: bool) -> Move:
        """Thought and action in one call; if they cannot be told apart, the action alone in another."""
        if final_only:
            return await self._finish(run, step)
        prompt = f"{self.text}Thought {step}:"
        reply = await run.ask([Message.of("user", prompt)], f"step {step}", stop=(f"\nObservation {step}:",))
        said_so = reply.text.strip().removeprefix(f"Thought {step}:").strip()
        parts = said_so.split(f"\nAction {step}:")
        if len(parts) == 2:
            thought, action = parts[0].strip(), parts[1].strip()
        else:
            self.bad += 1  # n_badcalls
            thought = said_so.split("\n")[0].strip()
            again = f"{prompt} {thought}\nAction {step}:"
            action = (await run.ask([Message.of("user", again)], f"repair {step}", stop=("\n",))).text.strip()
            action = action.removeprefix(f"Action {step}:").strip()
        self.text += f"Thought {step}: {thought}\nAction {step}: {action}\n"
        return self._read(thought, action)

    def observe(self, move: Move, step: int, observed: Observation) -> None:
        """In one line, so that nothing in it can pass for a step."""
        line = " ".join(observed.text.split())
        self.text += f"Observation {step}: {line}\n"

    async def _finish(self, run: Run, step: int) -> Move:
        """The forced end: only the answer is left to say."""
        opening = f"Thought {step}: I have to answer now.\nAction {step}: finish["
        reply = await run.ask([Message.of("user", self.text + opening)], f"step {step}", stop=("]\n", "\n"))
        text = reply.text.strip()
        for start in (f"Action {step}:", "finish["):
            text = text.removeprefix(start).strip()
        return self._final("", text.removesuffix("]"))

    def _read(self, thought: str, action: str) -> Move:
        found = re.fullmatch(r"(\w[\w-]*)\[(.*)\]", action, re.DOTALL)
        if found is None:
            return Move(thought, wrong=f"{action[:200]!r} is no action; write tool[argument] or finish[answer]")
        name, argument = found[1][0].lower() + found[1][1:] if found[1] not in self.tools else found[1], found[2]
        if name == "finish":
            return self._final(thought, argument)
        names = list(self.tools[name].spec.parameters.get("properties", {})) if name in self.tools else []
        if len(names) == 1 and not argument.lstrip().startswith("{"):
            kind = self.tools[name].kinds.get(names[0], str)
            try:
                return Move(thought, name, {names[0]: plain(read_value(kind, argument))})
            except ConstraintError:
                return Move(thought, name, {names[0]: argument})
        return Move(thought, name, argument)

    def _final(self, thought: str, text: str) -> Move:
        try:
            return Move(thought, final=plain(read_value(self.task.output, text)))
        except ConstraintError as error:
            return Move(thought, wrong=str(error))

    def _form(self, each: FunctionTool) -> str:
        names = list(each.spec.parameters.get("properties", {}))
        return f"{each.name}[{names[0]}]" if len(names) == 1 else f"{each.name}[{said(_brief(each.spec))}]"


def _brief(spec: Tool) -> dict[str, Any]:
    """A tool's arguments, each with its type or its values."""
    return {
        name: each.get("description") or each.get("enum") or each.get("type", "any")
        for name, each in spec.parameters.get("properties", {}).items()
    }
