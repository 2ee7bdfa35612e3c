"""Turns, tools and the form of an answer as OpenAI's chat API writes them in a request, and how they are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from palmette.core.errors import RequestRefused
from palmette.core.message import (
    Audio,
    Document,
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
    encoded,
    from_base64,
    given,
    inner,
    media_of,
    text,
    yes_no,
)

__all__ = [
    "ANY_OBJECT",
    "chosen_tool",
    "conversation",
    "output_of",
    "said_call",
    "said_choice",
    "said_form",
    "said_turn",
    "tools_of",
]

ANY_OBJECT = Output("json", {"type": "object"}, strict=False)


def said_turn(message: Message) -> list[dict[str, Any]]:
    """A turn; results of tools are turns of their own here."""
    results = [
        {"role": "tool", "tool_call_id": part.id, "content": part.text}
        for part in message.parts
        if isinstance(part, ToolResult)
    ]
    calls = [said_call(part) for part in message.parts if isinstance(part, ToolCall)]
    words = [part for part in message.parts if isinstance(part, (Text, Media))]
    if not words and not calls:
        return results
    content: Any = text_of(words)
    if any(isinstance(part, Media) for part in words):
        content = [{"type": "text", "text": p.text} if isinstance(p, Text) else _file(p) for p in words]
    thought = "".join(part.text for part in message.parts if isinstance(part, Reasoning))
    said = {"role": message.role, "content": content if words else None} | given(
        {"reasoning_content": thought or None, "tool_calls": calls}
    )
    return [*results, said]


def said_call(call: ToolCall) -> dict[str, Any]:
    """A call that the model asked for."""
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _file(media: Media) -> dict[str, Any]:
    if isinstance(media, Audio):
        return {"type": "input_audio", "input_audio": {"data": encoded(media), "format": media.mime.rpartition("/")[2]}}
    if isinstance(media, Document):
        return {"type": "file", "file": given({"filename": media.name or None, "file_data": data_url(media)})}
    return {"type": "image_url", "image_url": {"url": data_url(media)}}


def said_choice(choice: str | None) -> Any:
    """The field tool_choice."""
    named = choice is not None and choice not in ("auto", "none", "required")
    return {"type": "function", "function": {"name": choice}} if named else choice


def said_form(output: Output) -> dict[str, Any]:
    """The field response_format."""
    if output == ANY_OBJECT:
        return {"type": "json_object"}
    if output.kind != "json":
        raise RequestRefused(f"this API takes a JSON schema as the form of an answer, no {output.kind}")
    inner = {"name": output.name, "schema": output.value, "strict": output.strict}
    return {"type": "json_schema", "json_schema": inner}


def conversation(rows: list[Any]) -> tuple[Message, ...]:
    """Messages; results of tools join the user's turn that follows them."""
    made: list[Message] = []
    waiting: list[Part] = []
    for i, given_row in enumerate(rows):
        where = f"messages[{i}]"
        row = asked_table(given_row, where)
        role = row.get("role")
        if role == "tool":
            said = _content(row.get("content"), where)
            waiting.append(ToolResult(asked_text(row.get("tool_call_id"), f"{where}.tool_call_id"), text_of(said)))
            continue
        if waiting and role != "user":
            made.append(Message("user", tuple(waiting)))
            waiting = []
        made.append(Message(_role(role, where), (*waiting, *_turn(row, where))))
        waiting = []
    return (*made, Message("user", tuple(waiting))) if waiting else tuple(made)


def _role(role: Any, where: str) -> Role:
    if role in ("system", "developer"):
        return "system"
    if role in ("user", "assistant"):
        return role  # type: ignore[no-any-return]
    raise RequestRefused(f"{where}.role must be system, developer, user, assistant or tool, not {role!r}")


def _turn(row: Mapping[str, Any], where: str) -> list[Part]:
    parts: list[Part] = []
    thought = row.get("reasoning_content")
    if thought:
        parts.append(Reasoning(asked_text(thought, f"{where}.reasoning_content")))
    parts += _content(row.get("content"), where)
    for i, call in enumerate(asked_list(row.get("tool_calls"), f"{where}.tool_calls")):
        place = f"{where}.tool_calls[{i}]"
        function = asked_table(asked_table(call, place).get("function"), f"{place}.function")
        parts.append(
            ToolCall(
                asked_text(call.get("id"), f"{place}.id"),
                asked_text(function.get("name"), f"{place}.function.name"),
                asked_text(function.get("arguments"), f"{place}.function.arguments"),
            )
        )
    return parts


def _content(content: Any, where: str) -> list[Part]:
    if content is None:
        return []
    if isinstance(content, str):
        return [Text(content)]
    return [_block(row, f"{where}.content[{i}]") for i, row in enumerate(asked_list(content, f"{where}.content"))]


def _block(row: Any, where: str) -> Part:
    row = asked_table(row, where)
    kind = row.get("type")
    if kind in ("text", "input_text", "output_text", "refusal"):
        return Text(asked_text(row.get("refusal" if kind == "refusal" else "text"), f"{where}.text"))
    if kind == "image_url":
        found = row.get("image_url")
        url = found if isinstance(found, str) else asked_table(found, f"{where}.image_url").get("url")
        return media_of(Image, asked_text(url, f"{where}.image_url.url"), where)
    if kind == "input_audio":
        sound = asked_table(row.get("input_audio"), f"{where}.input_audio")
        data = from_base64(asked_text(sound.get("data"), f"{where}.input_audio.data"), where)
        return Audio(data, f"audio/{asked_text(sound.get('format'), f'{where}.input_audio.format')}")
    if kind == "file":
        file = asked_table(row.get("file"), f"{where}.file")
        if not file.get("file_data"):
            raise RequestRefused(f"{where}.file: only file_data is read; files are not kept here under an id")
        return media_of(
            Document, asked_text(file["file_data"], f"{where}.file.file_data"), where, text(file.get("filename"))
        )
    raise RequestRefused(f"{where}.type: no part {kind!r} is known; text, image_url, input_audio and file are")


def tools_of(found: Any) -> tuple[Tool, ...]:
    """The functions of a request.

    Raises:
        RequestRefused: for what is no function.
    """
    made = []
    for i, row in enumerate(asked_list(found, "tools")):
        where = f"tools[{i}]"
        kind = asked_table(row, where).get("type", "function")
        if kind != "function":
            raise RequestRefused(f"{where}.type: only functions can be called here, not {kind!r}")
        function = asked_table(row.get("function"), f"{where}.function")
        made.append(
            Tool(
                asked_text(function.get("name"), f"{where}.function.name"),
                text(function.get("description")),
                asked_table(function.get("parameters") or {"type": "object", "properties": {}}, f"{where}.parameters"),
                yes_no(function.get("strict"), f"{where}.function.strict"),
            )
        )
    return tuple(made)


def chosen_tool(found: Any) -> str | None:
    """The field tool_choice.

    Raises:
        RequestRefused: for what it cannot be.
    """
    if found is None or found in ("auto", "none", "required"):
        return found  # type: ignore[no-any-return]
    if isinstance(found, Mapping):
        name = text(inner(found.get("function")).get("name"))
        if name:
            return name
    raise RequestRefused(f"tool_choice must be auto, none, required or name a function, not {str(found)[:80]!r}")


def output_of(found: Any) -> Output | None:
    """The form of the answer from response_format."""
    if found is None:
        return None
    kind = asked_table(found, "response_format").get("type")
    if kind in (None, "text"):
        return None
    if kind == "json_object":
        return ANY_OBJECT
    if kind == "json_schema":
        row = asked_table(found.get("json_schema"), "response_format.json_schema")
        strict = yes_no(row.get("strict"), "response_format.json_schema.strict")
        return Output("json", row.get("schema", {}), text(row.get("name")) or "answer", bool(strict))
    raise RequestRefused(f"response_format.type must be text, json_object or json_schema, not {kind!r}")
