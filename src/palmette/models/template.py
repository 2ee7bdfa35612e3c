"""A model's chat template: conversations written the way a model was trained to read them.

A template is a program of a stranger: it runs in a sandbox, under limits of time and length. What it writes around the
turns is read with special tokens; what was said in a turn (and in a tool's result, or in the arguments of a call) stays
text, whatever it spells.
"""

from __future__ import annotations

import functools
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from palmette.core.checkpoint import read_json
from palmette.core.engine import Engine
from palmette.core.errors import MissingExtra, ModelError, Unsupported
from palmette.core.message import Media, Message, Reasoning, Tool, ToolCall, ToolResult

__all__ = ["ChatTemplate", "Piece", "Templated", "template_of", "tokens_of"]

LONGEST = 1 << 20  # characters that a template may write, and that it may have
SECONDS = 2.0
_MARK = re.compile("( ?)\ue000(\\d+)\ue001( ?)")

Piece = tuple[str, bool]  # text, and whether it was said in a turn


class Templated(Protocol):
    """A tokenizer whose model was trained on conversations."""

    @property
    def chat_template(self) -> ChatTemplate | None:
        """How it wants them written."""
        ...


@dataclass(frozen=True)
class _Said:
    """What stands behind a mark."""

    text: str
    escaped: bool = False  # it stands inside a JSON string


@dataclass(frozen=True)
class ChatTemplate:
    """How a model wants conversations written: Jinja text and the special tokens it speaks of."""

    text: str
    tokens: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def found(folder: Path) -> ChatTemplate | None:
        """That of a model folder, if it has one: chat_template.jinja, or the one in tokenizer_config.json."""
        config = read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
        own = folder / "chat_template.jinja"
        text = own.read_text(encoding="utf-8") if own.is_file() else config.get("chat_template")
        if isinstance(text, list):  # named templates
            text = next((t.get("template") for t in text if isinstance(t, dict) and t.get("name") == "default"), None)
        if not isinstance(text, str) or len(text) > LONGEST:
            return None
        named = {key: config[key] for key in ("bos_token", "eos_token", "unk_token", "pad_token") if config.get(key)}
        return ChatTemplate(text, {k: v["content"] if isinstance(v, dict) else str(v) for k, v in named.items()})

    @staticmethod
    def of(folder: Path) -> ChatTemplate:
        """That of a model folder.

        Raises:
            Unsupported: if it has none.
        """
        template = ChatTemplate.found(folder)
        if template is None:
            raise Unsupported(f"{folder} has no chat template: it continues texts and takes no roles")
        return template

    @property
    def knows_tools(self) -> bool:
        """Whether it can say which functions may be called."""
        return bool(re.search(r"\btools\b", self.text))

    @property
    def thinks(self) -> bool:
        """Whether answers may begin with a thought between <think> and </think>."""
        return "<think>" in self.text

    def pieces(self, turns: Sequence[tuple[str, str]], opening: bool) -> list[Piece]:
        """A conversation of (role, text) turns; see `written`."""
        return self.written([Message.of(cast(Any, role), text) for role, text in turns], opening)

    def written(self, messages: Sequence[Message], opening: bool, tools: Sequence[Tool] = ()) -> list[Piece]:
        """The conversation as (text, whether it is what was said in a turn) pieces.

        Args:
            messages: the conversation.
            opening: whether the beginning of the assistant's next turn follows.
            tools: functions that the model may call.

        Raises:
            ModelError: for a template that fails, runs too long or writes too much.
            Unsupported: for pictures, sound and documents.
        """
        said: list[_Said] = []
        rows = [row for message in messages for row in _rows(message, said)]
        text = self._rendered(rows, opening, [_function(tool) for tool in tools])
        made: list[Piece] = []
        at = 0
        for mark in _MARK.finditer(text):
            behind = said[int(mark[2])]
            inside = behind.text
            if behind.escaped:
                inside = json.dumps(inside, ensure_ascii=False)[1:-1]
                made += [(text[at : mark.start()] + mark[1], False), (inside, True)]
                at = mark.end() - len(mark[3])
                continue
            inside = inside if mark[1] else inside.lstrip()  # a template that trims what is said
            inside = inside if mark[3] else inside.rstrip()
            made += [(text[at : mark.start()], False), (inside, True)]
            at = mark.end()
        return [piece for piece in [*made, (text[at:], False)] if piece[0]]

    def _rendered(self, rows: list[dict[str, Any]], opening: bool, tools: list[dict[str, Any]]) -> str:
        try:
            import jinja2
        except ImportError as error:
            raise MissingExtra("a chat template", "chat") from error
        given = {"messages": rows, "add_generation_prompt": opening, **({"tools": tools} if tools else {})}
        end, parts, size = time.thread_time() + SECONDS, [], 0  # its own time: a busy machine makes no template wrong
        try:
            for part in _compiled(self.text).generate(**given, **self.tokens):
                parts.append(part)
                size += len(part)
                if size > LONGEST or time.thread_time() > end:
                    raise ModelError(f"the chat template writes for more than {SECONDS:g} s or {LONGEST} characters")
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
            raise ModelError(f"the chat template fails: {error}") from error
        return "".join(parts)


@functools.lru_cache(maxsize=32)  # compiling takes longer than writing; nothing of a conversation stays in it
def _compiled(text: str) -> Any:
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def fail(reason: str) -> None:
        raise ModelError(f"the chat template refuses the conversation: {reason}")

    place = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    place.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    place.globals |= {"raise_exception": fail, "strftime_now": lambda form: time.strftime(str(form))}
    return place.from_string(text)


def template_of(engine: Engine) -> ChatTemplate | None:
    """The chat template of an engine's model, if it has one."""
    return cast("ChatTemplate | None", getattr(engine.tokenizer, "chat_template", None))


def tokens_of(engine: Engine, pieces: Sequence[Piece]) -> list[int]:
    """Token ids: what was said is text, what the template wrote may hold special tokens.

    All text between two special tokens is read at once, as in training: a space that the template writes before what is
    said belongs to its first word. Text that spells a special token stays text nevertheless.
    """
    tokenizer = cast(Any, engine.tokenizer)
    names = {name: token for token, name in tokenizer.special_names.items()}
    marks = re.compile("(" + "|".join(map(re.escape, sorted(names, key=len, reverse=True))) + ")") if names else None
    made: list[int] = []
    plain = ""
    for text, said in pieces:
        for piece in (text,) if said or marks is None else marks.split(text):
            if said or piece not in names:
                plain += piece
                continue
            made += tokenizer.encode_continuation(plain) if plain else []
            made.append(names[piece])
            plain = ""
    return made + (tokenizer.encode_continuation(plain) if plain else [])


def _rows(message: Message, said: list[_Said]) -> list[dict[str, Any]]:
    """A message as templates read it; results of tools are messages of their own."""
    rows: list[dict[str, Any]] = []
    words, thought, calls = "", "", []
    for part in message.parts:
        if isinstance(part, Media):
            raise Unsupported(f"a model on this machine reads text, no {type(part).__name__.lower()}s")
        match part:
            case ToolResult():
                if part.media:
                    raise Unsupported("a model on this machine reads text, no files in a tool's result")
                rows.append({"role": "tool", "tool_call_id": part.id, "name": part.name or part.id,
                             "content": _marked(part.text, said)})  # fmt: skip
            case ToolCall():
                calls.append(part)
            case Reasoning():
                thought += part.text
            case _:
                words += part.text
    if not words and not calls and rows:
        return rows
    row: dict[str, Any] = {"role": message.role, "content": _marked(words, said) if words or not calls else ""}
    if thought:
        row["reasoning_content"] = _marked(thought, said)
    if calls:
        row["tool_calls"] = [
            {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": _arguments(c, said)}}
            for c in calls
        ]
    return [*rows, row]


def _marked(text: str, said: list[_Said]) -> str:
    said.append(_Said(text))
    return f" \ue000{len(said) - 1}\ue001 "


def _arguments(call: ToolCall, said: list[_Said]) -> Any:
    """A call's arguments with a mark for each string in them."""

    def walk(value: Any) -> Any:
        if isinstance(value, str):
            said.append(_Said(value, escaped=True))
            return f"\ue000{len(said) - 1}\ue001"
        if isinstance(value, list):
            return [walk(one) for one in value]
        if isinstance(value, dict):
            return {key: walk(one) for key, one in value.items()}
        return value

    try:
        return walk(json.loads(call.arguments or "{}"))
    except ValueError:
        said.append(_Said(call.arguments, escaped=True))
        return f"\ue000{len(said) - 1}\ue001"


def _function(tool: Tool) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)},
    }
