"""Contents, tools and settings as Gemini's API writes them in a request, and how they are read.

Its JSON is that of protocol buffers: a field may be spelled `systemInstruction` or `system_instruction`.
"""

from __future__ import annotations

import re
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
    encoded,
    from_base64,
    given,
    inner,
    kind_of,
    loaded,
    named,
    shown,
    spelled,
    text,
)

__all__ = [
    "camel", "chosen_tool", "conversation", "effort_of", "opened", "output_of", "said_choice", "said_contents",
    "said_effort", "said_form", "said_part", "said_tools", "tools_of",
]  # fmt: skip

_MARK = "thoughtSignature"
_BUDGETS = {"none": 0, "minimal": 512, "low": 1024, "medium": 8192, "high": 24576}  # of models before Gemini 3
_LEVELS = {"minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH"}
_COUNTED = re.compile(r"gemini-(1|2)\b")
ANY_OBJECT = Output("json", {"type": "object"}, strict=False)
DEEPEST = 64  # levels of a schema


def camel(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with its fields spelled in one way.

    >>> camel({"system_instruction": 1, "topK": 2})
    {'systemInstruction': 1, 'topK': 2}
    """
    return {re.sub(r"_([a-z])", lambda m: m[1].upper(), key): value for key, value in row.items()}


# -- writing -----------------------------------------------------------------------------------------------------------


def said_contents(messages: Sequence[Message]) -> tuple[list[dict[str, Any]], dict[str, Any] | None, list[str]]:
    """The contents, the system's instruction, and notes: this API takes the system's words at the start alone."""
    rows = [
        {"role": "model" if m.role == "assistant" else "user", "parts": [said_part(part) for part in m.parts]}
        for m in named(messages)
        if m.role != "system"
    ]
    system = [said_part(part) for m in messages if m.role == "system" for part in m.parts]
    first = next((i for i, m in enumerate(messages) if m.role != "system"), len(messages))
    late = any(m.role == "system" for m in messages[first:])
    notes = ["system: this API takes it at the start of a conversation; it was put there"] if late else []
    return rows, {"parts": system} if system else None, notes


def said_part(part: Part) -> dict[str, Any]:
    """A part of a content."""
    match part:
        case Text():
            if "part" in part.meta:
                return dict(part.meta["part"])
            return {"text": part.text, **_marked(part.meta.get(_MARK))}
        case Reasoning():
            return {"text": part.text, "thought": True, **_marked(part.signature)}
        case ToolCall():
            call = given({"id": part.id or None}) | {"name": part.name, "args": arguments_of(part.arguments)}
            return {"functionCall": call, **_marked(part.meta.get(_MARK))}
        case ToolResult():
            files = [{"inlineData": _blob(media)} for media in map(loaded, part.media)]
            row = given({"id": part.id or None, "name": part.name or part.id, "parts": files})
            return {"functionResponse": row | {"response": {"error" if part.failed else "output": part.text}}}
    media = loaded(part)
    if media.url:
        named_file = given({"displayName": media.name or None})
        return {"fileData": {"mimeType": media.mime, "fileUri": media.url, **named_file}}
    return {"inlineData": _blob(media)}


def _blob(media: Media) -> dict[str, Any]:
    if media.url:
        raise Unsupported(f"this API takes the bytes of a file in a tool's result and no URL: {shown(media.url)}")
    return {"mimeType": media.mime, "data": encoded(media)} | given({"displayName": media.name or None})


def _marked(mark: Any) -> dict[str, Any]:
    return {_MARK: mark} if mark else {}


def said_tools(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """Functions, all in one tool."""
    rows = [
        given({"name": t.name, "description": t.description or None, "parametersJsonSchema": dict(t.parameters)})
        for t in tools
    ]
    return [{"functionDeclarations": rows}] if rows else []


def said_choice(choice: str | None) -> dict[str, Any] | None:
    """The field toolConfig."""
    if choice is None:
        return None
    mode = {"auto": "AUTO", "none": "NONE", "required": "ANY"}.get(choice)
    row = {"mode": mode} if mode else {"mode": "ANY", "allowedFunctionNames": [choice]}
    return {"functionCallingConfig": row}


def said_form(output: Output) -> dict[str, Any]:
    """The form of the answer, in generationConfig."""
    if output.kind == "choices":
        return {"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": list(output.value)}}
    if output.kind != "json":
        raise Unsupported(f"this API takes a JSON schema or choices as the form of an answer, no {output.kind}")
    schema = {} if output == ANY_OBJECT else {"responseJsonSchema": output.value}
    return {"responseMimeType": "application/json", **schema}


def said_effort(effort: str | None, model: str) -> dict[str, Any] | None:
    """The field thinkingConfig: models before Gemini 3 count tokens, later ones know levels."""
    if effort is None:
        return None
    if effort == "none":
        return {"thinkingBudget": 0}
    if _COUNTED.search(model) and effort in _BUDGETS:
        return {"thinkingBudget": _BUDGETS[effort], "includeThoughts": True}
    return {"thinkingLevel": _LEVELS.get(effort, effort.upper()), "includeThoughts": True}


# -- reading -----------------------------------------------------------------------------------------------------------


def conversation(system: Any, contents: Any) -> tuple[Message, ...]:
    """Messages.

    Raises:
        RequestRefused: for what is none, with its place.
    """
    made: list[Message] = []
    if system:
        row = asked_table(system, "systemInstruction")
        made.append(Message("system", _parts(row.get("parts"), "systemInstruction.parts", {})))
    calls: dict[str, list[str]] = {}
    rows = [contents] if isinstance(contents, Mapping) else asked_list(contents, "contents")
    for i, given_row in enumerate(rows):
        row = asked_table(given_row, f"contents[{i}]")
        role = row.get("role", "user")
        if role not in ("user", "model", "function"):
            raise RequestRefused(f"contents[{i}].role must be user or model, not {shown(role)}")
        parts = _parts(row.get("parts"), f"contents[{i}].parts", calls)
        made.append(Message("assistant" if role == "model" else "user", parts))
    return tuple(made)


def _parts(found: Any, where: str, calls: dict[str, list[str]]) -> tuple[Part, ...]:
    rows = [found] if isinstance(found, Mapping) else asked_list(found, where)
    return tuple(_part(row, f"{where}[{i}]", calls) for i, row in enumerate(rows))


def _part(row: Any, where: str, calls: dict[str, list[str]]) -> Part:
    """A part; calls without an id get one by their count, and results find theirs by name."""
    row = camel(asked_table(row, where))
    mark = asked_text(row.get(_MARK) or "", f"{where}.{_MARK}")
    if "functionCall" in row:
        call = asked_table(row["functionCall"], f"{where}.functionCall")
        name = asked_text(call.get("name"), f"{where}.functionCall.name")
        count = sum(map(len, calls.values()))
        key = asked_text(call.get("id") or f"{name}-{count}", f"{where}.functionCall.id")
        calls.setdefault(name, []).append(key)
        arguments = spelled(asked_table(call.get("args") or {}, f"{where}.functionCall.args"))
        return ToolCall(key, name, arguments, _marked(mark))
    if "functionResponse" in row:
        return _result(row["functionResponse"], f"{where}.functionResponse", calls)
    for field in ("inlineData", "fileData"):
        if field in row:
            return _file(row[field], f"{where}.{field}")
    if "text" in row:
        words = asked_text(row["text"], f"{where}.text")
        return Reasoning(words, mark) if row.get("thought") is True else Text(words, _marked(mark))
    if not row:
        raise RequestRefused(f"{where} is empty; it must have text, inlineData, fileData, functionCall …")
    return Text("", {"part": row})  # what the API's own tools said, which goes back to it unread


def _result(found: Any, where: str, calls: dict[str, list[str]]) -> ToolResult:
    row = camel(asked_table(found, where))
    name = asked_text(row.get("name"), f"{where}.name")
    said = asked_table(row.get("response") or {}, f"{where}.response")
    waiting = calls.get(name, [])
    key = asked_text(row.get("id") or (waiting[0] if waiting else name), f"{where}.id")
    if key in waiting:
        waiting.remove(key)
    failed = set(said) == {"error"}
    only = next(iter(said.values())) if set(said) <= {"error", "output", "result"} and len(said) == 1 else said
    words = asked_text(only, where) if isinstance(only, str) else spelled(only)
    files = []
    for i, part in enumerate(asked_list(row.get("parts"), f"{where}.parts")):
        place = f"{where}.parts[{i}]"
        blob = camel(asked_table(part, place))
        files.append(_file(blob.get("inlineData", blob.get("fileData")), place))
    return ToolResult(key, words, name, failed, tuple(files))


def _file(found: Any, where: str) -> Image | Audio | Document:
    row = camel(asked_table(found, where))
    mime = asked_text(row.get("mimeType") or "application/octet-stream", f"{where}.mimeType")
    kind, name = kind_of(mime), text(row.get("displayName"))
    if "fileUri" in row:
        return kind(mime=mime, url=asked_text(row["fileUri"], f"{where}.fileUri"), name=name)
    return kind(from_base64(asked_text(row.get("data"), f"{where}.data"), where), mime, name=name)


def tools_of(found: Any) -> tuple[Tool, ...]:
    """The functions of a request.

    Raises:
        RequestRefused: for a tool of the API's own, which nobody else can run.
    """
    made = []
    for i, given_row in enumerate(asked_list(found, "tools")):
        row = camel(asked_table(given_row, f"tools[{i}]"))
        other = next((key for key, value in row.items() if key != "functionDeclarations" and value is not None), None)
        if other is not None:
            raise RequestRefused(f"tools[{i}].{other}: only functions of your own can be called here")
        for k, declared in enumerate(asked_list(row.get("functionDeclarations"), f"tools[{i}].functionDeclarations")):
            where = f"tools[{i}].functionDeclarations[{k}]"
            function = camel(asked_table(declared, where))
            schema = function.get("parametersJsonSchema")
            if schema is None:
                schema = opened(function.get("parameters") or {"type": "object", "properties": {}})
            name = asked_text(function.get("name"), f"{where}.name")
            made.append(Tool(name, text(function.get("description")), asked_table(schema, f"{where}.parameters")))
    return tuple(made)


def opened(part: Any, depth: int = 0) -> Any:
    """A schema in OpenAPI's words (types in capitals, `nullable`) as a JSON schema.

    >>> opened({"type": "STRING", "nullable": True})
    {'type': ['string', 'null']}
    """
    if depth > DEEPEST:
        raise RequestRefused(f"a schema is deeper than {DEEPEST} levels")
    if isinstance(part, list):
        return [opened(one, depth + 1) for one in part]
    if not isinstance(part, Mapping):
        return part
    made: dict[str, Any] = {}
    for key, value in camel(part).items():
        if key == "properties" and isinstance(value, Mapping):
            made[key] = {name: opened(one, depth + 1) for name, one in value.items()}
        elif key == "type" and isinstance(value, str):
            made[key] = [value.lower(), "null"] if part.get("nullable") is True else value.lower()
        elif key not in ("nullable", "propertyOrdering"):
            made[key] = value if key in ("enum", "default", "example") else opened(value, depth + 1)
    return made


def chosen_tool(found: Any) -> str | None:
    """The choice of a tool from toolConfig.

    Raises:
        RequestRefused: for what it cannot be.
    """
    if found is None:
        return None
    row = camel(asked_table(found, "toolConfig")).get("functionCallingConfig")
    if row is None:
        return None
    row = camel(asked_table(row, "toolConfig.functionCallingConfig"))
    mode, names = row.get("mode"), asked_list(row.get("allowedFunctionNames"), "allowedFunctionNames")
    if mode == "ANY" and len(names) == 1:
        return asked_text(names[0], "allowedFunctionNames")
    known = {"AUTO": "auto", "NONE": "none", "ANY": "required", "VALIDATED": "auto"}
    if mode is None or mode == "MODE_UNSPECIFIED":
        return None
    if not isinstance(mode, str) or mode not in known or names:
        raise RequestRefused(
            f"toolConfig: mode must be AUTO, NONE or ANY, with one name of a function at most, not {shown(mode)}"
        )
    return known[mode]


def output_of(config: Mapping[str, Any]) -> Output | None:
    """The form of the answer from generationConfig.

    Raises:
        RequestRefused: for a form that is none.
    """
    kind = config.get("responseMimeType")
    schema = config.get("responseJsonSchema", config.get("_responseJsonSchema"))
    if schema is None and config.get("responseSchema") is not None:
        schema = opened(config["responseSchema"])
    if kind == "text/x.enum":
        options = asked_list(inner(schema).get("enum"), "responseSchema.enum")
        return Output("choices", tuple(asked_text(one, "responseSchema.enum") for one in options))
    if kind not in (None, "text/plain", "application/json"):
        raise RequestRefused(f"responseMimeType must be application/json or text/plain, not {shown(kind)}")
    if schema is None:
        return ANY_OBJECT if kind == "application/json" else None
    return Output("json", schema if isinstance(schema, bool) else asked_table(schema, "responseJsonSchema"))


def effort_of(found: Any, model: str) -> tuple[str | None, Any]:
    """How much to think, from thinkingConfig; or the field as it is, where it says something of its own."""
    if found is None:
        return None, None
    row = camel(asked_table(found, "thinkingConfig"))
    level = row.get("thinkingLevel")
    known = [*_BUDGETS, *([level.lower()] if isinstance(level, str) else [])]
    return next(((effort, None) for effort in known if said_effort(effort, model) == row), (None, row))
