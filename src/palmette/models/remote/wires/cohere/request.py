"""Turns and tools as Cohere's v2 API writes them in a request, and how they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from palmette.core.errors import RequestRefused, Unsupported
from palmette.core.message import (
    Image,
    Media,
    Message,
    Output,
    Part,
    Reasoning,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    text_of,
)
from palmette.models.remote.wires.reading import (
    asked_list,
    asked_table,
    asked_text,
    data_url,
    given,
    json_text,
    media_of,
    named,
    shown,
    text,
)

__all__ = ["ANY_OBJECT", "conversation", "output_of", "said_call", "said_choice", "said_form", "said_tools",
           "said_turn", "thoughts_of", "tools_of"]  # fmt: skip

ANY_OBJECT = Output("json", {"type": "object"}, strict=False)
_ROLES = ("system", "user", "assistant")


# -- writing -----------------------------------------------------------------------------------------------------------


def said_turn(message: Message) -> list[dict[str, Any]]:
    """A turn; results of tools are turns of their own here.

    Raises:
        Unsupported: for files other than pictures, and for pictures in a result.
    """
    results = [part for part in message.parts if isinstance(part, ToolResult)]
    wrong: list[Media] = [m for m in message.parts if isinstance(m, Media) and not isinstance(m, Image)]
    wrong += [media for part in results for media in part.media]
    if wrong:
        raise Unsupported(f"this API takes text, and pictures from the user; no {wrong[0].mime} here")
    rows = [{"role": "tool", "tool_call_id": part.id, "content": part.text} for part in results]
    if results and len(results) == len(message.parts):
        return rows
    calls = [said_call(part) for part in message.parts if isinstance(part, ToolCall)]
    words = [part for part in message.parts if isinstance(part, (Text, Image))]
    plan, thoughts = thoughts_of(message.parts)
    content: Any = text_of(words)
    if thoughts or any(isinstance(part, Image) for part in words):
        content = [{"type": "thinking", "thinking": t} for t in thoughts] + [_block(part) for part in words]
    said = {"role": message.role} | given({"content": content or (None if calls else ""), "tool_plan": plan or None})
    return [*rows, said | ({"tool_calls": calls} if calls else {})]


def thoughts_of(parts: Sequence[Part]) -> tuple[str, list[str]]:
    """The plan of which tools to call, and the other thoughts."""
    found = [part for part in parts if isinstance(part, Reasoning)]
    plan = "".join(part.text for part in found if part.meta.get("tool_plan"))
    return plan, [part.text for part in found if not part.meta.get("tool_plan")]


def _block(part: Text | Image) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    return {"type": "image_url", "image_url": {"url": data_url(part)}}


def said_call(call: ToolCall) -> dict[str, Any]:
    """A call that the model asked for."""
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def said_tools(tools: Sequence[Tool], choice: str | None) -> list[dict[str, Any]]:
    """Functions; the one that must be called alone, since this API cannot name it."""
    named_one = choice not in (None, "auto", "none", "required")
    return [
        {"type": "function", "function": given({"name": t.name, "description": t.description or None})
         | {"parameters": dict(t.parameters)}}
        for t in tools
        if not named_one or t.name == choice
    ]  # fmt: skip


def said_choice(choice: str | None) -> tuple[str | None, list[str]]:
    """The field tool_choice, and notes."""
    if choice in (None, "auto"):
        return None, []  # that the model chooses is what happens where nothing is said
    if choice in ("none", "required"):
        return str(choice).upper(), []
    return "REQUIRED", [f"tool_choice: this API cannot name a tool; it was shown {choice!r} alone"]


def said_form(output: Output) -> dict[str, Any]:
    """The field response_format."""
    if output.kind != "json":
        raise Unsupported(f"this API takes a JSON schema as the form of an answer, no {output.kind}")
    return {"type": "json_object"} | ({} if output == ANY_OBJECT else {"schema": output.value})


# -- reading -----------------------------------------------------------------------------------------------------------


def conversation(rows: list[Any]) -> tuple[Message, ...]:
    """Messages; results of tools join the user's turn that follows them.

    Raises:
        RequestRefused: for what is none, with its place.
    """
    made: list[Message] = []
    waiting: list[Part] = []
    for i, given_row in enumerate(rows):
        where = f"messages[{i}]"
        row = asked_table(given_row, where)
        role = row.get("role")
        if role == "tool":
            key = asked_text(row.get("tool_call_id"), f"{where}.tool_call_id")
            waiting.append(ToolResult(key, _result(row.get("content"), f"{where}.content")))
            continue
        if waiting and role != "user":
            made.append(Message("user", tuple(waiting)))
            waiting = []
        made.append(Message(_role(role, where), (*waiting, *_turn(row, where))))
        waiting = []
    return named((*made, Message("user", tuple(waiting))) if waiting else made)


def _role(role: Any, where: str) -> Role:
    if role in _ROLES:
        return role  # type: ignore[no-any-return]
    raise RequestRefused(f"{where}.role must be system, user, assistant or tool, not {shown(role)}")


def _turn(row: Mapping[str, Any], where: str) -> list[Part]:
    parts: list[Part] = []
    plan = row.get("tool_plan")
    if plan:
        parts.append(Reasoning(asked_text(plan, f"{where}.tool_plan"), meta={"tool_plan": True}))
    content = row.get("content")
    if isinstance(content, str):
        parts.append(Text(asked_text(content, f"{where}.content")))
    else:
        for i, block in enumerate(asked_list(content, f"{where}.content")):
            parts.append(_part(asked_table(block, f"{where}.content[{i}]"), f"{where}.content[{i}]"))
    for i, given_call in enumerate(asked_list(row.get("tool_calls"), f"{where}.tool_calls")):
        place = f"{where}.tool_calls[{i}]"
        call = asked_table(given_call, place)
        function = asked_table(call.get("function"), f"{place}.function")
        key, name = asked_text(call.get("id"), f"{place}.id"), asked_text(function.get("name"), f"{place}.name")
        parts.append(ToolCall(key, name, asked_text(function.get("arguments") or "", f"{place}.function.arguments")))
    return parts


def _part(row: Mapping[str, Any], where: str) -> Part:
    match row.get("type"):
        case "text":
            return Text(asked_text(row.get("text"), f"{where}.text"))
        case "thinking":
            return Reasoning(asked_text(row.get("thinking"), f"{where}.thinking"))
        case "image_url":
            found = asked_table(row.get("image_url"), f"{where}.image_url")
            return media_of(Image, asked_text(found.get("url"), f"{where}.image_url.url"), where)
    raise RequestRefused(f"{where}.type must be text, thinking or image_url, not {shown(row.get('type'))}")


def _result(content: Any, where: str) -> str:
    """A result's text; a document that it cites from is said as JSON."""
    if isinstance(content, str):
        return asked_text(content, where)
    said = []
    for i, given_row in enumerate(asked_list(content, where)):
        row = asked_table(given_row, f"{where}[{i}]")
        if row.get("type") == "document":
            document = asked_table(row.get("document"), f"{where}[{i}].document")
            data = document.get("data")
            said.append(asked_text(data, where) if isinstance(data, str) else json_text(data))
        else:
            said.append(asked_text(row.get("text"), f"{where}[{i}].text"))
    return "".join(said)


def tools_of(found: Any, strict: bool | None) -> tuple[Tool, ...]:
    """The functions of a request."""
    made = []
    for i, row in enumerate(asked_list(found, "tools")):
        where = f"tools[{i}].function"
        function = asked_table(asked_table(row, f"tools[{i}]").get("function"), where)
        schema = asked_table(function.get("parameters") or {"type": "object", "properties": {}}, f"{where}.parameters")
        made.append(Tool(asked_text(function.get("name"), f"{where}.name"), text(function.get("description")), schema,
                         strict or None))  # fmt: skip
    return tuple(made)


def output_of(found: Any) -> Output | None:
    """The form of the answer from response_format."""
    if found is None:
        return None
    row = asked_table(found, "response_format")
    if row.get("type") in (None, "text"):
        return None
    if row.get("type") != "json_object":
        raise RequestRefused(f"response_format.type must be text or json_object, not {shown(row.get('type'))}")
    schema = row.get("schema", row.get("json_schema"))
    if schema is None:
        return ANY_OBJECT
    return Output("json", schema if isinstance(schema, bool) else asked_table(schema, "response_format.schema"))
