"""What is said to a model and what comes back, in words that no provider owns.

A message is a role and parts; a request is messages with settings, tools and the form that the answer must have; an
answer is the fold of its events (see `palmette.core.events`). All are frozen values, so they can be kept, compared and
sent again. Whatever a provider wants back unread (a signature, an item's id) travels in `meta`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = [
    "Audio", "Document", "Finish", "Image", "Media", "Message", "Output", "Part", "Reasoning", "Request", "Response",
    "Role", "Text", "TokenScore", "Tool", "ToolCall", "ToolResult", "Usage", "text_of",
]  # fmt: skip

Role = Literal["system", "user", "assistant"]
Finish = Literal["stop", "length", "tool_calls", "content_filter", "other"]
Meta = Mapping[str, Any]


def _meta() -> Any:
    return field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Text:
    """Plain text."""

    text: str
    meta: Meta = _meta()


@dataclass(frozen=True)
class Media:
    """A file for the model: its bytes with their type, or a URL that the provider fetches."""

    data: bytes = b""
    mime: str = "application/octet-stream"
    url: str = ""
    name: str = ""


@dataclass(frozen=True)
class Image(Media):
    """A picture."""

    mime: str = "image/png"


@dataclass(frozen=True)
class Audio(Media):
    """Sound."""

    mime: str = "audio/wav"


@dataclass(frozen=True)
class Document(Media):
    """A document, such as a PDF."""

    mime: str = "application/pdf"


@dataclass(frozen=True)
class ToolCall:
    """A call that the model asks for; `arguments` is what it wrote, JSON if all went well."""

    id: str
    name: str
    arguments: str
    meta: Meta = _meta()


@dataclass(frozen=True)
class ToolResult:
    """What a call gave, for the model to read; it goes in a user's message."""

    id: str
    text: str
    name: str = ""
    failed: bool = False
    media: tuple[Media, ...] = ()


@dataclass(frozen=True)
class Reasoning:
    """What a model thought, with the provider's opaque mark of it, which must go back unchanged."""

    text: str
    signature: str = ""
    meta: Meta = _meta()


Part = Text | Image | Audio | Document | ToolCall | ToolResult | Reasoning


@dataclass(frozen=True)
class Message:
    """One turn."""

    role: Role
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, role: Role, text: str) -> Message:
        """A turn of text alone.

        >>> Message.of("user", "Hello").text
        'Hello'
        """
        return cls(role, (Text(text),))

    @property
    def text(self) -> str:
        """Its text."""
        return text_of(self.parts)


@dataclass(frozen=True)
class Tool:
    """A function that the model may ask for; `parameters` is a JSON schema."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    strict: bool | None = None


@dataclass(frozen=True)
class Output:
    """The form of an answer: a model on this machine cannot leave it, an API is asked for it and checked.

    Args:
        kind: what `value` is.
        value: a JSON schema; a regular expression; a grammar in Lark's notation; the texts that may be chosen.
        name: what a provider calls it: letters, digits, - and _.
        strict: whether a provider shall enforce it, where it can be asked to.
    """

    kind: Literal["json", "regex", "grammar", "choices"]
    value: Any
    name: str = "answer"
    strict: bool = True


@dataclass(frozen=True)
class Request:
    """A question to a model. None means that the model's own default holds.

    Args:
        messages: the conversation.
        model: the provider's name for the model; empty for the model that is asked.
        n: how many answers; the others are the response's `alternatives`.
        top_logprobs: how many likeliest tokens to report at each place, 0 for those that were chosen alone.
        prompt_logprobs: whether to report the tokens of the prompt as well.
        tools: functions it may call.
        tool_choice: "auto", "none", "required", or the name of the one that it must call.
        parallel_tools: whether it may call several at once.
        output: the form of the answer.
        effort: how much to think: "none", "minimal", "low", "medium", "high".
        logit_bias: token id to what is added to its score.
        extra: fields of the provider's own, merged into the body as they are.
    """

    messages: tuple[Message, ...]
    model: str = ""
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict, hash=False)
    seed: int | None = None
    stop: tuple[str, ...] = ()
    n: int | None = None
    top_logprobs: int | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: str | None = None
    parallel_tools: bool | None = None
    output: Output | None = None
    effort: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)
    prompt_logprobs: bool | None = None


@dataclass(frozen=True)
class Usage:
    """Tokens as the provider counts them; `cached`, `cache_write` are parts of the input, `reasoning` of the output."""

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0


@dataclass(frozen=True)
class TokenScore:
    """A token of an answer with its natural log-probability; `top` are the likeliest there, best first."""

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Response:
    """An answer. `notes` says what of the request the model could not be told.

    Args:
        parts: what it said, in order.
        finish: why it ended.
        logprobs: for each token, where the API gives them.
        alternatives: further answers, if more than one was asked for.
        headers: what the provider says of limits and of the request's id.
        raw: the body as it came, where there is one.
        prompt_logprobs: for each token of the prompt, if they were asked for; the first has none and stands at -inf.
    """

    parts: tuple[Part, ...]
    finish: Finish = "stop"
    usage: Usage | None = None
    id: str = ""
    model: str = ""
    notes: tuple[str, ...] = ()
    logprobs: tuple[TokenScore, ...] = ()
    alternatives: tuple[Response, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    raw: Any = field(default=None, compare=False, repr=False)
    prompt_logprobs: tuple[TokenScore, ...] = ()

    @property
    def text(self) -> str:
        """Its text."""
        return text_of(self.parts)

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The calls it asks for."""
        return tuple(part for part in self.parts if isinstance(part, ToolCall))

    @property
    def message(self) -> Message:
        """The answer as a turn, to be said in the next request."""
        return Message("assistant", self.parts)


def text_of(parts: Sequence[Part]) -> str:
    """The text among parts."""
    return "".join(part.text for part in parts if isinstance(part, Text))
