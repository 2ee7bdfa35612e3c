"""A conversation as the items of OpenAI's Responses API, and how they are read.

A message here is several items: each text, call, result and thought stands for itself, with an id that goes back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
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
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from palmette.models.remote.wires.openai_request import ANY_OBJECT
from palmette.models.remote.wires.reading import (
    asked_list,
    asked_table,
    asked_text,
    data_url,
    encoded,
    from_base64,
    given,
    items,
    media_of,
    text,
    yes_no,
)

__all__ = [
    "chosen",
    "conversation_of",
    "flat_tools",
    "form_of",
    "instructions_of",
    "said_choice",
    "said_form",
    "said_items",
    "said_part",
    "thought_of",
    "tools_of",
]

_MARKS = ("id", "phase")  # what a message's item holds beside its text


def instructions_of(messages: Sequence[Message]) -> tuple[str | None, Sequence[Message]]:
    """The first turn as instructions, if it is the system's and plain text; and the other turns."""
    if messages and messages[0].role == "system" and len(messages[0].parts) == 1:
        part = messages[0].parts[0]
        if isinstance(part, Text) and not part.meta:
            return part.text, messages[1:]
    return None, messages


def said_items(message: Message) -> list[dict[str, Any]]:
    """A turn as items; results of tools come before what a user says."""
    if message.role == "assistant":
        return [item for rows in _runs(message.parts) for item in _said(rows)]
    results = [_result(part) for part in message.parts if isinstance(part, ToolResult)]
    words = [part for part in message.parts if isinstance(part, (Text, Media))]
    if not words:
        return results
    plain = len(words) == 1 and isinstance(words[0], Text)
    content = text(getattr(words[0], "text", "")) if plain else [_input(part) for part in words]
    return [*results, {"type": "message", "role": message.role, "content": content}]


def _runs(parts: Sequence[Part]) -> Iterator[list[Part]]:
    """Texts of one item together, everything else alone."""
    numbered = enumerate(parts)
    key = lambda row: ("text", row[1].meta.get("id")) if isinstance(row[1], Text) else row[0]  # noqa: E731
    for _, rows in groupby(numbered, key):
        yield [part for _, part in rows]


def _said(parts: Sequence[Part]) -> list[dict[str, Any]]:
    first = parts[0]
    if isinstance(first, Text):
        marks = {name: first.meta[name] for name in _MARKS if first.meta.get(name)}
        content = [said_part(part) for part in parts if isinstance(part, Text)]
        return [{"type": "message", "role": "assistant", "status": "completed", **marks, "content": content}]
    if isinstance(first, ToolCall):
        return [{"type": "function_call", **given({"id": first.meta.get("id")}), "call_id": first.id,
                 "name": first.name, "arguments": first.arguments, "status": "completed"}]  # fmt: skip
    return [said_thought(first)] if isinstance(first, Reasoning) else []


def said_part(part: Text) -> dict[str, Any]:
    """A text of an answer."""
    if part.meta.get("refusal"):
        return {"type": "refusal", "refusal": part.text}
    return {"type": "output_text", "text": part.text, "annotations": part.meta.get("annotations") or []}


def said_thought(part: Reasoning) -> dict[str, Any]:
    """A thought, with the marks that a provider wants to see again unchanged."""
    texts, inner = part.meta.get("summary"), part.meta.get("content")
    if texts is None and inner is None:
        texts = [part.text] if part.text else []
    row: dict[str, Any] = {"type": "reasoning", **given({"id": part.meta.get("id")})}
    row["summary"] = [{"type": "summary_text", "text": one} for one in texts or ()]
    if inner:
        row["content"] = [{"type": "reasoning_text", "text": one} for one in inner]
    return row | ({"encrypted_content": part.signature} if part.signature else {})


def thought_of(item: Mapping[str, Any]) -> Reasoning:
    """A thought; what its text does not tell is in `meta`."""
    texts = [text(row.get("text")) for row in items(item.get("summary"))]
    inner = [text(row.get("text")) for row in items(item.get("content"))]
    meta: dict[str, Any] = given({"id": item.get("id") or None})
    if inner or len(texts) > 1:
        meta["summary"] = texts
    if inner:
        meta["content"] = inner
    return Reasoning("\n\n".join([*texts, *inner]), text(item.get("encrypted_content")), meta)


def _result(part: ToolResult) -> dict[str, Any]:
    output: Any = part.text
    if part.media:
        output = [{"type": "input_text", "text": part.text}, *(_input(one) for one in part.media)]
    return {"type": "function_call_output", "call_id": part.id, "output": output}


def _input(part: Text | Media) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "input_text", "text": part.text}
    if isinstance(part, Audio):
        sound = {"data": encoded(part), "format": part.mime.rpartition("/")[2]}
        return {"type": "input_audio", "input_audio": sound}
    if isinstance(part, Document):
        place = {"file_url": part.url} if part.url else {"file_data": data_url(part)}
        return {"type": "input_file", **given({"filename": part.name or None}), **place}
    return {"type": "input_image", "image_url": data_url(part), "detail": "auto"}


def flat_tools(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """Tools; a `strict` that is not said would mean that it is meant."""
    return [
        {"type": "function", "name": t.name, **given({"description": t.description or None}),
         "parameters": dict(t.parameters), "strict": t.strict}
        for t in tools
    ]  # fmt: skip


def said_choice(choice: str | None) -> Any:
    """The field tool_choice."""
    named = choice is not None and choice not in ("auto", "none", "required")
    return {"type": "function", "name": choice} if named else choice


def said_form(output: Output) -> dict[str, Any]:
    """The field text.format."""
    if output == ANY_OBJECT:
        return {"type": "json_object"}
    if output.kind != "json":
        raise RequestRefused(f"this API takes a JSON schema as the form of an answer, no {output.kind}")
    return {"type": "json_schema", "name": output.name, "schema": output.value, "strict": output.strict}


# -- reading -----------------------------------------------------------------------------------------------------------


def conversation_of(found: Any) -> tuple[Message, ...]:
    """Messages from the field input: neighbouring items of one side make a turn.

    Raises:
        RequestRefused: for an item that is not known, with its place.
    """
    if isinstance(found, str):
        return (Message.of("user", found),)
    made: list[Message] = []
    waiting: tuple[Part, ...] = ()  # results of tools, which join what the user says next
    for i, row in enumerate(asked_list(found, "input")):
        where = f"input[{i}]"
        role, parts = _item(asked_table(row, where), where)
        if role == "result":
            waiting += parts
            continue
        if waiting and role != "user":
            made.append(Message("user", waiting))
            waiting = ()
        if role == "assistant" and made and made[-1].role == "assistant":
            made[-1] = Message("assistant", (*made[-1].parts, *parts))
        else:
            made.append(Message(role, (*waiting, *parts)))
            waiting = ()
    return (*made, Message("user", waiting)) if waiting else tuple(made)


def _item(row: Mapping[str, Any], where: str) -> tuple[Any, tuple[Part, ...]]:
    """Whose turn an item belongs to, and its parts."""
    kind = row.get("type", "message")
    if kind == "message":
        role = "system" if row.get("role") == "developer" else row.get("role")
        if role not in ("system", "user", "assistant"):
            raise RequestRefused(f"{where}.role must be system, developer, user or assistant, not {role!r}")
        meta = {name: row[name] for name in _MARKS if row.get(name)} if role == "assistant" else {}
        return role, tuple(_content(row.get("content"), f"{where}.content", meta))
    if kind == "function_call":
        call = ToolCall(
            asked_text(row.get("call_id"), f"{where}.call_id"), asked_text(row.get("name"), f"{where}.name"),
            asked_text(row.get("arguments"), f"{where}.arguments"), given({"id": row.get("id") or None}),
        )  # fmt: skip
        return "assistant", (call,)
    if kind == "function_call_output":
        said = list(_content(row.get("output"), f"{where}.output", {}))
        words = "".join(part.text for part in said if isinstance(part, Text))
        files = tuple(part for part in said if isinstance(part, Media))
        key = asked_text(row.get("call_id"), f"{where}.call_id")
        return "result", (ToolResult(key, words, text(row.get("name")), media=files),)
    if kind == "reasoning":
        return "assistant", (thought_of(row),)
    known = "message, function_call, function_call_output and reasoning are"
    raise RequestRefused(f"{where}.type: no item {str(kind)[:40]!r} is known; {known}")


def _content(content: Any, where: str, meta: Mapping[str, Any]) -> Iterator[Part]:
    if isinstance(content, str):
        yield Text(content, meta)
        return
    for i, row in enumerate(asked_list(content, where)):
        yield _block(asked_table(row, f"{where}[{i}]"), f"{where}[{i}]", meta)


def _block(row: Mapping[str, Any], where: str, meta: Mapping[str, Any]) -> Part:
    kind = row.get("type")
    if kind in ("input_text", "output_text", "text"):
        notes = given({"annotations": row.get("annotations") or None})
        return Text(asked_text(row.get("text"), f"{where}.text"), {**meta, **notes})
    if kind == "refusal":
        return Text(asked_text(row.get("refusal"), f"{where}.refusal"), {**meta, "refusal": True})
    if row.get("file_id"):
        raise RequestRefused(f"{where}.file_id: files are not kept here under an id; send the data")
    if kind == "input_image":
        return media_of(Image, asked_text(row.get("image_url"), f"{where}.image_url"), where)
    if kind == "input_file":
        name, url = text(row.get("filename")), row.get("file_url")
        if url is not None:
            return Document(url=asked_text(url, f"{where}.file_url"), name=name)
        return media_of(Document, asked_text(row.get("file_data"), f"{where}.file_data"), where, name)
    if kind == "input_audio":
        sound = asked_table(row.get("input_audio"), f"{where}.input_audio")
        data = from_base64(asked_text(sound.get("data"), f"{where}.input_audio.data"), where)
        return Audio(data, f"audio/{asked_text(sound.get('format'), f'{where}.input_audio.format')}")
    known = "input_text, input_image, input_file, input_audio, output_text and refusal are"
    raise RequestRefused(f"{where}.type: no part {str(kind)[:40]!r} is known; {known}")


def tools_of(found: Any) -> tuple[Tool, ...]:
    """The functions of a request.

    Raises:
        RequestRefused: for what is no function.
    """
    made = []
    for i, given_row in enumerate(asked_list(found, "tools")):
        where = f"tools[{i}]"
        row = asked_table(given_row, where)
        if row.get("type") != "function":
            kind = str(row.get("type"))[:40]
            raise RequestRefused(f"{where}.type: only functions can be called here, not {kind!r}")
        schema = asked_table(row.get("parameters") or {"type": "object", "properties": {}}, f"{where}.parameters")
        name = asked_text(row.get("name"), f"{where}.name")
        made.append(Tool(name, text(row.get("description")), schema, yes_no(row.get("strict"), f"{where}.strict")))
    return tuple(made)


def chosen(found: Any) -> str | None:
    """The field tool_choice.

    Raises:
        RequestRefused: for what it cannot be.
    """
    if found is None or found in ("auto", "none", "required"):
        return found  # type: ignore[no-any-return]
    if isinstance(found, Mapping) and found.get("type") == "function" and text(found.get("name")):
        return text(found.get("name"))
    raise RequestRefused(f"tool_choice must be auto, none, required or name a function, not {str(found)[:80]!r}")


def form_of(found: Any) -> Output | None:
    """The form of the answer from text.format.

    Raises:
        RequestRefused: for one that is not known.
    """
    if found is None:
        return None
    row = asked_table(found, "text.format")
    kind = row.get("type")
    if kind in (None, "text"):
        return None
    if kind == "json_object":
        return ANY_OBJECT
    if kind == "json_schema":
        strict = yes_no(row.get("strict"), "text.format.strict")
        return Output("json", row.get("schema", {}), text(row.get("name")) or "answer", bool(strict))
    raise RequestRefused(f"text.format.type must be text, json_object or json_schema, not {str(kind)[:40]!r}")
