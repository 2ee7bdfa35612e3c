"""What is said to a model and what comes back, in words that no provider owns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = [
    "Event", "Finish", "Image", "Message", "Part", "Reasoning", "Request", "Response", "Text", "Tool", "ToolCall",
    "ToolResult", "Usage", "text_of",
]  # fmt: skip

Role = Literal["system", "user", "assistant"]
Finish = Literal["stop", "length", "tool_calls", "content_filter", "other"]


@dataclass(frozen=True)
class Text:
    """Plain text."""

    text: str


@dataclass(frozen=True)
class Image:
    """A picture: its bytes with their type (image/png), or a URL that the provider fetches."""

    data: bytes = b""
    mime: str = "image/png"
    url: str = ""


@dataclass(frozen=True)
class ToolCall:
    """A call that the model asks for; `arguments` is what it wrote, JSON if all went well."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class ToolResult:
    """What a call gave, for the model to read; it goes in a user's message."""

    id: str
    text: str
    name: str = ""
    failed: bool = False


@dataclass(frozen=True)
class Reasoning:
    """What a model thought, with the provider's opaque mark of it, which must go back unchanged."""

    text: str
    signature: str = ""


Part = Text | Image | ToolCall | ToolResult | Reasoning


@dataclass(frozen=True)
class Message:
    """One turn."""

    role: Role
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, role: Role, text: str) -> Message:
        """A turn of text alone.

        >>> Message.of("user", "Hello").parts
        (Text(text='Hello'),)
        """
        return cls(role, (Text(text),))


@dataclass(frozen=True)
class Tool:
    """A function that the model may ask for; `parameters` is a JSON schema."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Request:
    """A question to a model. None means that the provider's own default holds.

    Args:
        model: the provider's name for it.
        messages: the conversation.
        tools: functions it may call.
        structured: what `palmette.remote(dialect, schema).body` says, merged into the body as it is.
        extra: fields of the provider's own, merged into the body as they are.
    """

    model: str
    messages: tuple[Message, ...]
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    top_logprobs: int | None = None
    tools: tuple[Tool, ...] = ()
    structured: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Usage:
    """Tokens as the provider counts them; `cached` and `reasoning` are parts of the input and the output."""

    input: int = 0
    output: int = 0
    cached: int = 0
    reasoning: int = 0


@dataclass(frozen=True)
class Response:
    """An answer. `notes` says what of the request the provider could not be told."""

    parts: tuple[Part, ...]
    finish: Finish = "stop"
    usage: Usage | None = None
    id: str = ""
    model: str = ""
    notes: tuple[str, ...] = ()
    logprobs: tuple[tuple[str, float], ...] = ()  # (token, log-probability), where the API gives them

    @property
    def text(self) -> str:
        """Its text."""
        return text_of(self.parts)

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The calls it asks for."""
        return tuple(part for part in self.parts if isinstance(part, ToolCall))


@dataclass(frozen=True)
class Event:
    """One step of a streamed answer; whatever it does not tell is empty.

    Args:
        text: more text.
        reasoning: more of what the model thinks.
        signature: the mark of the reasoning.
        call: (place, id, name, more of the arguments) of a tool call.
        finish: why it ended.
        usage: tokens so far; a later one replaces it, field by field where it has them.
    """

    text: str = ""
    reasoning: str = ""
    signature: str = ""
    call: tuple[int, str, str, str] | None = None
    finish: Finish | None = None
    usage: Usage | None = None
    id: str = ""
    model: str = ""
    logprobs: tuple[tuple[str, float], ...] = ()


def text_of(parts: Sequence[Part]) -> str:
    """The text among parts."""
    return "".join(part.text for part in parts if isinstance(part, Text))
