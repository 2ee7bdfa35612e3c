"""One step of an agent as a value, and as a JSON schema: a bounded thought, then a tool with its own arguments or the
final answer. A model that is held to the schema cannot name a tool that is not there, nor give it arguments that do not
fit; and where only the final answer is allowed, it answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from palmette.prompts.tools.tool import FunctionTool

__all__ = ["FINAL", "Move", "final_schema", "step_schema"]

FINAL = "final_answer"


@dataclass(frozen=True)
class Move:
    """What a model decided.

    Args:
        thought: why.
        tool: which tool, "" for the final answer.
        arguments: of the tool, a mapping or JSON text.
        final: the answer, as JSON.
        id: of a native tool call.
        wrong: why it is no step that could be taken; "" if it is one.
    """

    thought: str = ""
    tool: str = ""
    arguments: Any = field(default_factory=dict)
    final: Any = None
    id: str = ""
    wrong: str = ""


def step_schema(
    tools: Mapping[str, FunctionTool], answer: Mapping[str, Any], thought: int, final_only: bool
) -> dict[str, Any]:
    """The schema of a step.

    Args:
        tools: those that may be called.
        answer: the schema of the final answer.
        thought: the most characters of the thought; 0 for none.
        final_only: whether the step must be the final answer.
    """
    shared: dict[str, Any] = {}
    ways = [_closed({"final": _hoisted(answer, "answer", shared)})]
    if not final_only:
        ways = [
            _closed({"tool": {"const": name}, "args": _hoisted(each.spec.parameters, name, shared)})
            for name, each in tools.items()
        ] + ways
    properties: dict[str, Any] = {"thought": {"type": "string", "maxLength": thought}} if thought else {}
    properties["action"] = ways[0] if len(ways) == 1 else {"anyOf": ways}
    whole = _closed(properties)
    return {**whole, "$defs": shared} if shared else whole


def final_schema(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of the tool by which an API gives its final answer."""
    shared: dict[str, Any] = {}
    whole = _closed({"answer": _hoisted(answer, "answer", shared)})
    return {**whole, "$defs": shared} if shared else whole


def _closed(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object", "properties": dict(properties), "required": list(properties), "additionalProperties": False,
    }  # fmt: skip


def _hoisted(schema: Mapping[str, Any], owner: str, shared: dict[str, Any]) -> dict[str, Any]:
    """A schema whose definitions stand in `shared`, under names of its owner's."""
    places = {key: f"#/{key}/" for key in ("$defs", "definitions")}

    def moved(value: Any) -> Any:
        if isinstance(value, Mapping):
            made = {key: moved(each) for key, each in value.items()}
            ref = value.get("$ref")
            for start in places.values():
                if isinstance(ref, str) and ref.startswith(start):
                    made["$ref"] = f"#/$defs/{owner}.{ref[len(start) :]}"
            return made
        return [moved(each) for each in value] if isinstance(value, (list, tuple)) else value

    whole: dict[str, Any] = moved({key: value for key, value in schema.items() if key not in places})
    for key in places:
        for name, each in schema.get(key, {}).items():
            shared[f"{owner}.{name}"] = moved(each)
    whole.pop("$schema", None)
    return whole
