"""Turns and settings as Ollama's API writes them in a request, and how they are read."""

from __future__ import annotations

import json
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
    Request,
    Role,
    Text,
    ToolCall,
    ToolResult,
    text_of,
)
from palmette.models.remote.wires.reading import (
    arguments_of,
    asked_list,
    asked_table,
    asked_text,
    encoded,
    from_base64,
    given,
    inner,
    left_over,
    loaded,
    named,
    real,
    shown,
    spelled,
    texts,
    whole,
    yes_no,
)

__all__ = ["conversation", "effort_of", "images_of", "output_of", "room", "said_call", "said_effort", "said_form",
           "said_images", "said_options", "said_turn", "settings_of"]  # fmt: skip

ANY_OBJECT = Output("json", {"type": "object"}, strict=False)
_REALS = ("temperature", "top_p", "min_p", "presence_penalty", "frequency_penalty")
_WHOLES = {"max_tokens": "num_predict", "top_k": "top_k", "seed": "seed"}
_OPTIONS = frozenset({*_REALS, *_WHOLES.values(), "stop"})
_BYTES = 3  # of a token, at least, on average: what is said must fit into the context that is asked for
_PICTURE = 1500  # tokens of a picture, at most
_CONTEXT = 4096  # tokens that a server takes by itself
_LEVELS = ("low", "medium", "high")


# -- writing -----------------------------------------------------------------------------------------------------------


def said_turn(message: Message) -> list[dict[str, Any]]:
    """A turn; results of tools are turns of their own here, with what they show."""
    results = [part for part in message.parts if isinstance(part, ToolResult)]
    rows = [
        given({"role": "tool", "content": p.text, "tool_name": p.name or None, "tool_call_id": p.id or None,
               "images": said_images(p.media)})
        for p in results
    ]  # fmt: skip
    if results and len(results) == len(message.parts):
        return rows
    thought = "".join(part.text for part in message.parts if isinstance(part, Reasoning))
    calls = [said_call(part, i) for i, part in enumerate(p for p in message.parts if isinstance(p, ToolCall))]
    said = {"role": message.role, "content": text_of(message.parts)}
    return [*rows, said | given({"thinking": thought or None, "images": said_images(message.parts),
                                 "tool_calls": calls})]  # fmt: skip


def said_images(parts: Sequence[Part | Media]) -> list[str]:
    """The pictures among parts, in base64.

    Raises:
        Unsupported: for other files, and for those that somebody else would have to fetch.
    """
    made = []
    for media in parts:
        if isinstance(media, Media):
            found = loaded(media)
            if not isinstance(found, Image) or found.url:
                what = f"the URL {shown(found.url)}" if found.url else found.mime
                raise Unsupported(f"this API takes the bytes of pictures, not {what}")
            made.append(encoded(found))
    return made


def said_call(call: ToolCall, place: int) -> dict[str, Any]:
    """A call that the model asked for."""
    function = {"index": place, "name": call.name, "arguments": arguments_of(call.arguments)}
    return given({"id": call.id or None}) | {"function": function}


def said_options(request: Request, body: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Options and notes. A server cuts prompts silently to its context, so one that holds them is asked for."""
    options = given({name: getattr(request, name) for name in _REALS})
    options |= given({theirs: getattr(request, ours) for ours, theirs in _WHOLES.items()})
    options |= given({"stop": list(request.stop)})
    asked, needed = inner(request.extra.get("options")).get("num_ctx"), room(request, body)
    if asked is not None or needed <= _CONTEXT:
        return options, []
    return options | {"num_ctx": needed}, [f"num_ctx: {needed} was asked for, so that the prompt is not cut"]


def room(request: Request, body: Mapping[str, Any]) -> int:
    """Tokens of context that a request surely fits into; a power of two, so that a server seldom has to load anew."""
    pictures = sum(
        isinstance(p, Image) + (len(p.media) if isinstance(p, ToolResult) else 0)
        for m in request.messages
        for p in m.parts
    )
    bare = [{k: v for k, v in row.items() if k != "images"} for row in body.get("messages", ())]
    said = json.dumps([bare, body.get("prompt"), body.get("system"), body.get("tools")], ensure_ascii=False)
    tokens = len(said.encode(errors="replace")) // _BYTES + pictures * _PICTURE + (request.max_tokens or 1024)
    return 1 << (tokens - 1).bit_length()


def said_form(output: Output) -> Any:
    """The field format."""
    if output.kind != "json":
        raise Unsupported(f"this API takes a JSON schema as the form of an answer, no {output.kind}")
    return "json" if output == ANY_OBJECT else output.value


def said_effort(effort: str | None) -> tuple[Any, list[str]]:
    """The field think, and notes."""
    if effort is None:
        return None, []
    if effort == "none":
        return False, []
    if effort in _LEVELS:
        return effort, []
    near = "low" if effort == "minimal" else "high"
    return near, [f"effort: this API knows low, medium and high; {effort!r} was said as {near}"]


# -- reading -----------------------------------------------------------------------------------------------------------


def conversation(rows: list[Any]) -> tuple[Message, ...]:
    """Messages; results of tools join the user's turn that follows them, and find their call by name if by no id.

    Raises:
        RequestRefused: for what is none, with its place.
    """
    made: list[Message] = []
    waiting: list[Part] = []
    calls: list[tuple[str, str]] = []
    for i, given_row in enumerate(rows):
        where = f"messages[{i}]"
        row = asked_table(given_row, where)
        if row.get("role") == "tool":
            waiting.append(_result(row, where, calls))
            continue
        role = _role(row.get("role"), where)
        if waiting and role != "user":
            made.append(Message("user", tuple(waiting)))
            waiting = []
        made.append(Message(role, (*waiting, *_turn(row, where, calls))))
        waiting = []
    return named((*made, Message("user", tuple(waiting))) if waiting else made)


def _role(role: Any, where: str) -> Role:
    if role in ("system", "user", "assistant"):
        return role  # type: ignore[no-any-return]
    raise RequestRefused(f"{where}.role must be system, user, assistant or tool, not {shown(role)}")


def _result(row: Mapping[str, Any], where: str, calls: list[tuple[str, str]]) -> ToolResult:
    name = asked_text(row.get("tool_name") or "", f"{where}.tool_name")
    key = asked_text(row.get("tool_call_id") or "", f"{where}.tool_call_id")
    found = next((c for c in calls if c[0] == key or (not key and name in ("", c[1]))), None)
    if found is not None:
        calls.remove(found)
        key = found[0]
    said = asked_text(row.get("content") or "", f"{where}.content")
    return ToolResult(key or name, said, name, media=images_of(row.get("images"), f"{where}.images"))


def _turn(row: Mapping[str, Any], where: str, calls: list[tuple[str, str]]) -> list[Part]:
    thought = asked_text(row.get("thinking") or "", f"{where}.thinking")
    parts: list[Part] = [Reasoning(thought)] if thought else []
    said = asked_text(row.get("content") or "", f"{where}.content")
    if said:
        parts.append(Text(said))
    parts += images_of(row.get("images"), f"{where}.images")
    for i, given_call in enumerate(asked_list(row.get("tool_calls"), f"{where}.tool_calls")):
        place = f"{where}.tool_calls[{i}]"
        call = asked_table(given_call, place)
        function = asked_table(call.get("function"), f"{place}.function")
        name = asked_text(function.get("name"), f"{place}.function.name")
        key = asked_text(call.get("id") or f"{name}-{len(calls)}", f"{place}.id")
        calls.append((key, name))
        arguments = spelled(asked_table(function.get("arguments") or {}, f"{place}.function.arguments"))
        parts.append(ToolCall(key, name, arguments))
    return parts


def images_of(found: Any, where: str) -> tuple[Image, ...]:
    """Pictures."""
    return tuple(Image(from_base64(asked_text(row, where), where)) for row in asked_list(found, where))


def settings_of(body: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    """The fields of a Request that are settings; options without a place of their own are in `extra`."""
    options = asked_table(body.get("options") or {}, "options")
    extra, rest = left_over(body, known), left_over(options, _OPTIONS)
    if rest:
        extra["options"] = rest
    fields: dict[str, Any] = {name: real(options.get(name), f"options.{name}") for name in _REALS}
    fields |= {ours: whole(options.get(theirs), f"options.{theirs}") for ours, theirs in _WHOLES.items()}
    if (fields["max_tokens"] or 0) < 0:  # as much as there is room for
        fields["max_tokens"] = None
    wanted = yes_no(body.get("logprobs"), "logprobs") or body.get("top_logprobs")
    return fields | {
        "stop": texts(options.get("stop"), "options.stop"), "output": output_of(body.get("format")),
        "top_logprobs": (whole(body.get("top_logprobs"), "top_logprobs") or 0) if wanted else None,
        "effort": effort_of(body.get("think")), "extra": extra,
    }  # fmt: skip


def output_of(found: Any) -> Output | None:
    """The form of the answer from format."""
    if found is None or found == "":
        return None
    if found == "json":
        return ANY_OBJECT
    if isinstance(found, str):
        raise RequestRefused(f'format must be "json" or a JSON schema, not {shown(found)}')
    return Output("json", found if isinstance(found, bool) else asked_table(found, "format"))


def effort_of(found: Any) -> str | None:
    """How much to think from think."""
    if found is None or found is False:
        return None if found is None else "none"
    if found is True or found in _LEVELS or found == "max":
        return "medium" if found is True else str(found)
    raise RequestRefused(f"think must be true, false, low, medium or high, not {shown(found)}")
