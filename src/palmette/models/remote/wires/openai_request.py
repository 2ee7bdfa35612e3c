"""Turns, tools and the form of an answer as OpenAI's chat API writes them in a request, and how they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from palmette.core.errors import RequestRefused, Unsupported
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
    loaded,
    media_of,
    named,
    shown,
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
    "said_thought",
    "said_turn",
    "text_of_thoughts",
    "tools_of",
]

ANY_OBJECT = Output("json", {"type": "object"}, strict=False)


def said_turn(message: Message) -> list[dict[str, Any]]:
    """A turn; results of tools are turns of their own here, and what they show is said by the user after them."""
    results = [part for part in message.parts if isinstance(part, ToolResult)]
    rows = [{"role": "tool", "tool_call_id": part.id, "content": part.text} for part in results]
    shown = [media for part in results for media in part.media]
    words: list[Text | Media] = [*shown, *(part for part in message.parts if isinstance(part, (Text, Media)))]
    if results and len(results) == len(message.parts) and not shown:
        return rows
    calls = [said_call(part) for part in message.parts if isinstance(part, ToolCall)]
    return [*rows, {"role": message.role, **_said_words(words, bool(calls)), **said_thought(message.parts),
                    **given({"tool_calls": calls})}]  # fmt: skip


def _said_words(words: Sequence[Text | Media], calls: bool) -> dict[str, Any]:
    """The field content; where a model refused, what it said instead."""
    refused = [p.text for p in words if isinstance(p, Text) and p.meta.get("refusal")]
    if refused:
        rest = [p for p in words if not (isinstance(p, Text) and p.meta.get("refusal"))]
        return {**_said_words(rest, True), "refusal": "".join(refused)}
    if any(isinstance(part, Media) for part in words):
        said = [{"type": "text", "text": p.text} if isinstance(p, Text) else _file(p) for p in words]
        return {"content": said}
    return {"content": "".join(p.text for p in words if isinstance(p, Text)) if words or not calls else None}


def said_thought(parts: Sequence[Part]) -> dict[str, Any]:
    """What was thought, and OpenRouter's details of it, which go back unchanged."""
    thoughts = [part for part in parts if isinstance(part, Reasoning)]
    details = [row for part in thoughts for row in part.meta.get("reasoning_details", ())]
    return given({"reasoning_content": text_of_thoughts(thoughts) or None, "reasoning_details": details})


def text_of_thoughts(parts: Sequence[Part]) -> str:
    """The text of what was thought."""
    return "".join(part.text for part in parts if isinstance(part, Reasoning))


def said_call(call: ToolCall) -> dict[str, Any]:
    """A call that the model asked for."""
    kept = {"extra_content": call.meta["extra_content"]} if "extra_content" in call.meta else {}
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}, **kept}


def _file(media: Media) -> dict[str, Any]:
    if isinstance(media, Audio):
        media = loaded(media)
        if media.url:
            raise Unsupported(f"this API takes the bytes of a sound and no URL: {shown(media.url)}")
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
        raise Unsupported(f"this API takes a JSON schema as the form of an answer, no {output.kind}")
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
            files = tuple(part for part in said if isinstance(part, Media))
            key = asked_text(row.get("tool_call_id"), f"{where}.tool_call_id")
            waiting.append(ToolResult(key, text_of(said), text(row.get("name")), media=files))
            continue
        if waiting and role != "user":
            made.append(Message("user", tuple(waiting)))
            waiting = []
        made.append(Message(_role(role, where), (*waiting, *_turn(row, where))))
        waiting = []
    return named((*made, Message("user", tuple(waiting))) if waiting else made)


def _role(role: Any, where: str) -> Role:
    if role in ("system", "developer"):
        return "system"
    if role in ("user", "assistant"):
        return role  # type: ignore[no-any-return]
    raise RequestRefused(f"{where}.role must be system, developer, user, assistant or tool, not {shown(role)}")


def _turn(row: Mapping[str, Any], where: str) -> list[Part]:
    thought = asked_text(row.get("reasoning_content") or row.get("reasoning") or "", f"{where}.reasoning_content")
    details = asked_list(row.get("reasoning_details"), f"{where}.reasoning_details")
    parts: list[Part] = []
    if thought or details:
        parts.append(Reasoning(thought, meta={"reasoning_details": details} if details else {}))
    if row.get("content") != "" or not (parts or row.get("tool_calls") or row.get("refusal")):
        parts += _content(row.get("content"), where)
    if row.get("refusal") is not None:
        parts.append(Text(asked_text(row["refusal"], f"{where}.refusal"), {"refusal": True}))
    for i, call in enumerate(asked_list(row.get("tool_calls"), f"{where}.tool_calls")):
        place = f"{where}.tool_calls[{i}]"
        function = asked_table(asked_table(call, place).get("function"), f"{place}.function")
        parts.append(
            ToolCall(
                asked_text(call.get("id"), f"{place}.id"),
                asked_text(function.get("name"), f"{place}.function.name"),
                asked_text(function.get("arguments"), f"{place}.function.arguments"),
                {"extra_content": call["extra_content"]} if call.get("extra_content") else {},
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
    if kind == "refusal":
        return Text(asked_text(row.get("refusal"), f"{where}.refusal"), {"refusal": True})
    if kind in ("text", "input_text", "output_text"):
        return Text(asked_text(row.get("text"), f"{where}.text"))
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
    raise RequestRefused(f"{where}.type: no part {shown(kind)} is known; text, image_url, input_audio and file are")


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
            raise RequestRefused(f"{where}.type: only functions can be called here, not {shown(kind)}")
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
    raise RequestRefused(f"tool_choice must be auto, none, required or name a function, not {shown(found)}")


def output_of(found: Any) -> Output | None:
    """The form of the answer from response_format."""
    if found is None:
        return None
    kind = asked_table(found, "response_format").get("type")
    if kind in (None, "text"):
        return None
    if kind in ("json_object", "json"):  # Hugging Face's client and some hosts put the schema beside it
        schema = next((found[name] for name in ("schema", "value") if found.get(name) is not None), None)
        if schema is None:
            return ANY_OBJECT
        return Output("json", asked_table(schema, "response_format.schema"))
    if kind == "regex":
        return Output("regex", asked_text(found.get("pattern", found.get("value")), "response_format.pattern"))
    if kind == "json_schema":
        row = asked_table(found.get("json_schema"), "response_format.json_schema")
        strict = yes_no(row.get("strict"), "response_format.json_schema.strict")
        schema = row.get("schema", {})
        if not isinstance(schema, bool):
            asked_table(schema, "response_format.json_schema.schema")
        return Output("json", schema, text(row.get("name")) or "answer", bool(strict))
    known = "text, json_object, json_schema or regex"
    raise RequestRefused(f"response_format.type must be {known}, not {shown(kind)}")
