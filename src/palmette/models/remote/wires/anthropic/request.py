"""Turns, tools and choices as Anthropic's Messages API writes them in a request, and how they are read."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from palmette.core.errors import RequestRefused, Unsupported
from palmette.core.message import (
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
)
from palmette.models.remote.wires.reading import (
    arguments_of,
    asked_list,
    asked_table,
    asked_text,
    asked_texts,
    encoded,
    from_base64,
    given,
    loaded,
    named,
    shown,
    spelled,
    text,
    yes_no,
)

__all__ = [
    "KEPT", "chosen_tool", "conversation", "output_of", "said_block", "said_choice", "said_system", "said_tools",
    "said_turns", "tools_of",
]  # fmt: skip

KEPT = ("citations", "cache_control", "caller", "toolset_name")  # what goes back with a block as it came
_CHOICES = {"auto": "auto", "none": "none", "required": "any"}


# -- writing -----------------------------------------------------------------------------------------------------------


def said_system(messages: Sequence[Message]) -> str | list[dict[str, Any]] | None:
    """The system messages that a conversation begins with; later ones are turns."""
    first = itertools.takewhile(lambda m: m.role == "system", messages)
    blocks = [said_block(part) for message in first for part in message.parts]
    if len(blocks) == 1 and set(blocks[0]) == {"type", "text"}:
        return str(blocks[0]["text"])
    return blocks or None


def said_turns(messages: Sequence[Message]) -> tuple[list[dict[str, Any]], list[str]]:
    """The turns after the system's, and notes on what this API does not take."""
    rows, unmarked = [], False
    for message in itertools.dropwhile(lambda m: m.role == "system", messages):
        taken = [p for p in message.parts if not (isinstance(p, Reasoning) and not p.signature)]
        unmarked = unmarked or len(taken) < len(message.parts)
        rows.append({"role": message.role, "content": [said_block(part) for part in taken]})
    return rows, ["reasoning: without its signature this API refuses it; it was left out"] if unmarked else []


def said_block(part: Part) -> dict[str, Any]:
    """A block of a turn.

    Raises:
        Unsupported: for sound, which this API does not take.
    """
    match part:
        case Text():
            if "block" in part.meta:
                return dict(part.meta["block"])
            return {"type": "text", "text": part.text, **_kept(part.meta)}
        case Reasoning():
            if part.meta.get("redacted"):
                return {"type": "redacted_thinking", "data": part.signature}
            return {"type": "thinking", "thinking": part.text, "signature": part.signature}
        case ToolCall():
            row = {"type": "tool_use", "id": part.id, "name": part.name, "input": arguments_of(part.arguments)}
            return row | _kept(part.meta)
        case ToolResult():
            content: Any = part.text
            if part.media:
                words = [{"type": "text", "text": part.text}] if part.text else []
                content = [*words, *(_file(media) for media in part.media)]
            row = {"type": "tool_result", "tool_use_id": part.id, "content": content}
            return row | ({"is_error": True} if part.failed else {})
    return _file(part)


def _file(media: Media) -> dict[str, Any]:
    media = loaded(media)
    if isinstance(media, Image):
        source = {"type": "base64", "media_type": media.mime, "data": encoded(media)}
        return {"type": "image", "source": {"type": "url", "url": media.url} if media.url else source}
    if media.mime.startswith(("audio/", "video/")):
        raise Unsupported(f"this API takes pictures and documents, no {media.mime}")
    source = {"type": "base64", "media_type": media.mime, "data": encoded(media)}
    if media.url:
        source = {"type": "url", "url": media.url}
    elif media.mime == "text/plain":
        source = {"type": "text", "media_type": media.mime, "data": media.data.decode(errors="replace")}
    return {"type": "document", "source": source} | given({"title": media.name or None})


def said_tools(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """Functions."""
    return [
        given({"name": t.name, "description": t.description or None, "input_schema": dict(t.parameters),
               "strict": t.strict})
        for t in tools
    ]  # fmt: skip


def said_choice(choice: str | None, parallel: bool | None) -> tuple[dict[str, Any] | None, list[str]]:
    """The field tool_choice, which says as well whether several calls may be made at once; and notes."""
    if choice is None and parallel is None:
        return None, []
    kind = _CHOICES.get(choice or "auto")
    row: dict[str, Any] = {"type": kind} if kind else {"type": "tool", "name": choice}
    if parallel is not None and choice == "none":
        return row, ["parallel_tools: there is nothing to say where no tool may be called"]
    return row | ({} if parallel is None else {"disable_parallel_tool_use": not parallel}), []


def _kept(meta: Mapping[str, Any]) -> dict[str, Any]:
    return {key: meta[key] for key in KEPT if meta.get(key)}


# -- reading -----------------------------------------------------------------------------------------------------------


def conversation(system: Any, rows: list[Any]) -> tuple[Message, ...]:
    """Messages.

    Raises:
        RequestRefused: for what is none, with its place.
    """
    made: list[Message] = []
    if isinstance(system, str) or not system:
        made += [Message.of("system", asked_text(system, "system"))] if system else []
    else:
        made.append(Message("system", _blocks(system, "system")))
    for i, given_row in enumerate(rows):
        where = f"messages[{i}]"
        row = asked_table(given_row, where)
        made.append(Message(_role(row.get("role"), where), _blocks(row.get("content"), f"{where}.content")))
    return named(made)


def _role(role: Any, where: str) -> Role:
    if role in ("user", "assistant", "system"):
        return role  # type: ignore[no-any-return]
    raise RequestRefused(f"{where}.role must be user, assistant or system, not {shown(role)}")


def _blocks(content: Any, where: str) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (Text(asked_text(content, where)),)
    return tuple(_block(row, f"{where}[{i}]") for i, row in enumerate(asked_list(content, where)))


def _block(row: Any, where: str) -> Part:
    row = asked_table(row, where)
    kind, meta = row.get("type"), _kept(row)
    match kind:
        case "text":
            return Text(asked_text(row.get("text"), f"{where}.text"), meta)
        case "thinking":
            mark = asked_text(row.get("signature", ""), f"{where}.signature")
            return Reasoning(asked_text(row.get("thinking"), f"{where}.thinking"), mark)
        case "redacted_thinking":
            return Reasoning("", asked_text(row.get("data"), f"{where}.data"), {"redacted": True})
        case "tool_use":
            arguments = spelled(asked_table(row.get("input"), f"{where}.input"))
            key, name = asked_text(row.get("id"), f"{where}.id"), asked_text(row.get("name"), f"{where}.name")
            return ToolCall(key, name, arguments, meta)
        case "tool_result":
            return _result(row, where)
        case "image" | "document":
            return _media(row, where)
        case str():  # what the API's own tools said, which goes back to it unread
            return Text("", {"block": dict(row)})
    raise RequestRefused(f"{where}.type must be text, image, document, tool_use, tool_result …, not {shown(kind)}")


def _result(row: Mapping[str, Any], where: str) -> ToolResult:
    content, words, files = row.get("content"), "", []
    if isinstance(content, list):
        for part in _blocks(content, f"{where}.content"):
            if isinstance(part, Media):
                files.append(part)
            elif isinstance(part, Text) and "block" not in part.meta:
                words += part.text
            else:
                raise RequestRefused(f"{where}.content: a result holds text, images and documents")
    else:
        words = asked_text(content or "", f"{where}.content")
    failed = bool(yes_no(row.get("is_error"), f"{where}.is_error"))
    return ToolResult(asked_text(row.get("tool_use_id"), f"{where}.tool_use_id"), words, "", failed, tuple(files))


def _media(row: Mapping[str, Any], where: str) -> Image | Document:
    kind = Image if row["type"] == "image" else Document
    name = text(row.get("title")) if kind is Document else ""
    where = f"{where}.source"
    source = asked_table(row.get("source"), where)
    match source.get("type"):
        case "url":
            return kind(url=asked_text(source.get("url"), f"{where}.url"), name=name)
        case "base64":
            mime = asked_text(source.get("media_type"), f"{where}.media_type")
            return kind(from_base64(asked_text(source.get("data"), f"{where}.data"), where), mime, name=name)
        case "text":
            return kind(asked_text(source.get("data"), f"{where}.data").encode(), "text/plain", name=name)
        case "content":
            words = asked_texts(source.get("content"), f"{where}.content")
            return kind(words.encode(), "text/plain", name=name)
    raise RequestRefused(f"{where}.type must be base64, url or text, not {shown(source.get('type'))}")


def tools_of(found: Any) -> tuple[Tool, ...]:
    """The functions of a request.

    Raises:
        RequestRefused: for a tool of the API's own, which nobody else can run.
    """
    made = []
    for i, given_row in enumerate(asked_list(found, "tools")):
        where = f"tools[{i}]"
        row = asked_table(given_row, where)
        if row.get("type") not in (None, "custom"):
            raise RequestRefused(f"{where}.type: only tools of your own can be called here, not {shown(row['type'])}")
        schema = asked_table(row.get("input_schema"), f"{where}.input_schema")
        strict = yes_no(row.get("strict"), f"{where}.strict")
        made.append(Tool(asked_text(row.get("name"), f"{where}.name"), text(row.get("description")), schema, strict))
    return tuple(made)


def chosen_tool(found: Any) -> tuple[str | None, bool | None]:
    """The choice of a tool, and whether several may be called at once.

    Raises:
        RequestRefused: for what it cannot be.
    """
    if found is None:
        return None, None
    row = asked_table(found, "tool_choice")
    kind = row.get("type")
    single = yes_no(row.get("disable_parallel_tool_use"), "tool_choice.disable_parallel_tool_use")
    parallel = None if single is None else not single
    if kind == "tool":
        return asked_text(row.get("name"), "tool_choice.name"), parallel
    for ours, theirs in _CHOICES.items():
        if kind == theirs:
            return ours, parallel
    raise RequestRefused(f"tool_choice.type must be auto, any, tool or none, not {shown(kind)}")


def output_of(found: Any) -> Output | None:
    """The form of the answer from output_config.format."""
    if found is None:
        return None
    row = asked_table(found, "output_config.format")
    if row.get("type") != "json_schema":
        raise RequestRefused(f"output_config.format.type must be json_schema, not {shown(row.get('type'))}")
    schema = row.get("schema")
    return Output("json", schema if isinstance(schema, bool) else asked_table(schema, "output_config.format.schema"))
