"""How many tokens a request has, asked of an API without an answer: small codecs in one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Protocol
from urllib.parse import quote

from palmette.core.errors import BadAnswer
from palmette.core.message import Request
from palmette.models.remote.wires import WIRES
from palmette.models.remote.wires.reading import asked_table, given, table

__all__ = ["COUNTS", "Counting"]


class Counting(Protocol):
    """How an API counts. Law: what was encoded is decoded to what it counts of the request."""

    def path(self, request: Request) -> str:
        """What comes after the base URL."""
        ...

    def encode(self, request: Request) -> dict[str, Any]:
        """The body."""
        ...

    def decode(self, body: Any) -> int:
        """The number of tokens.

        Raises:
            BadAnswer: if there is none.
        """
        ...

    def decode_request(self, body: Any, path: str = "") -> Request:
        """What a client wants counted.

        Raises:
            RequestRefused: for a body that has not the form of a request, with the place in it.
        """
        ...

    def encode_response(self, count: int) -> dict[str, Any]:
        """An answer."""
        ...


class AnthropicCounting:
    """POST /v1/messages/count_tokens: the request without what only an answer needs."""

    _counted: ClassVar[frozenset[str]] = frozenset({
        "model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control",
    })  # fmt: skip

    def path(self, request: Request) -> str:
        """See Counting."""
        return "/v1/messages/count_tokens"

    def encode(self, request: Request) -> dict[str, Any]:
        """See Counting."""
        body, _ = WIRES["anthropic"].encode(replace(request, max_tokens=request.max_tokens or 1), False)
        return {key: value for key, value in body.items() if key in self._counted}

    def decode(self, body: Any) -> int:
        """See Counting."""
        return _count(body, "input_tokens")

    def decode_request(self, body: Any, path: str = "") -> Request:
        """See Counting."""
        request, _ = WIRES["anthropic"].decode_request({**asked_table(body, "the body"), "max_tokens": 1}, path)
        return replace(request, max_tokens=None)

    def encode_response(self, count: int) -> dict[str, Any]:
        """See Counting."""
        return {"input_tokens": count}


class GeminiCounting:
    """POST /models/{model}:countTokens, with the whole request, since its tools and instructions count."""

    def path(self, request: Request) -> str:
        """See Counting."""
        return f"/models/{quote(request.model, safe='')}:countTokens"

    def encode(self, request: Request) -> dict[str, Any]:
        """See Counting."""
        body, _ = WIRES["gemini"].encode(request, False)
        return {"generateContentRequest": {"model": f"models/{request.model}", **body}}

    def decode(self, body: Any) -> int:
        """See Counting."""
        return _count(body, "totalTokens")

    def decode_request(self, body: Any, path: str = "") -> Request:
        """See Counting; Google's own library sends the contents alone."""
        body = asked_table(body, "the body")
        whole = body.get("generateContentRequest")
        found = body if whole is None else asked_table(whole, "generateContentRequest")
        found = {key: value for key, value in found.items() if key != "model"}
        request, _ = WIRES["gemini"].decode_request(found, path.replace(":countTokens", ":generateContent"))
        return request

    def encode_response(self, count: int) -> dict[str, Any]:
        """See Counting."""
        return {"totalTokens": count}


class ResponsesCounting:
    """POST /responses/input_tokens, which OpenAI and llama.cpp's server have."""

    _counted: ClassVar[frozenset[str]] = frozenset({
        "model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "text", "reasoning",
    })  # fmt: skip

    def path(self, request: Request) -> str:
        """See Counting."""
        return "/responses/input_tokens"

    def encode(self, request: Request) -> dict[str, Any]:
        """See Counting."""
        body, _ = WIRES["openai-responses"].encode(request, False)
        return {key: value for key, value in body.items() if key in self._counted}

    def decode(self, body: Any) -> int:
        """See Counting."""
        return _count(body, "input_tokens")

    def decode_request(self, body: Any, path: str = "") -> Request:
        """See Counting."""
        return WIRES["openai-responses"].decode_request(body, path)[0]

    def encode_response(self, count: int) -> dict[str, Any]:
        """See Counting."""
        return {"object": "response.input_tokens", "input_tokens": count}


class Tokenizing:
    """POST /tokenize, which stands beside the /v1 of a server: vLLM's counts a conversation or a text."""

    def path(self, request: Request) -> str:
        """See Counting."""
        return "/../tokenize"

    def encode(self, request: Request) -> dict[str, Any]:
        """See Counting."""
        body, _ = WIRES["openai"].encode(request, False)
        return given({name: body.get(name) for name in ("model", "messages", "tools")})

    def decode(self, body: Any) -> int:
        """See Counting; llama.cpp's server lists the tokens and leaves the counting to the reader."""
        tokens = table(body, "the answer").get("tokens")
        return len(tokens) if isinstance(tokens, list) and "count" not in body else _count(body, "count")

    def decode_request(self, body: Any, path: str = "") -> Request:
        """See Counting."""
        body = asked_table(body, "the body")
        if "messages" in body:
            return WIRES["openai"].decode_request(body)[0]
        words = body.get("prompt", body.get("content"))
        return WIRES["openai-completions"].decode_request({"model": body.get("model", ""), "prompt": words})[0]

    def encode_response(self, count: int) -> dict[str, Any]:
        """See Counting."""
        return {"count": count}


class TextTokenizing(Tokenizing):
    """/tokenize of a text as it is; `field` is what the server calls it."""

    def __init__(self, field: str) -> None:
        self._field = field

    def encode(self, request: Request) -> dict[str, Any]:
        """See Counting."""
        body, _ = WIRES["openai-completions"].encode(request, False)
        more = {"add_special": True, "parse_special": True} if self._field == "content" else {}
        return {"model": request.model, self._field: body["prompt"], **more}


# By wire, or by what a provider's row says of it; a text's own way is under its name with -completions.
COUNTS: dict[str, Counting] = {
    "anthropic": AnthropicCounting(),
    "gemini": GeminiCounting(),
    "openai-responses": ResponsesCounting(),
    "llamacpp": ResponsesCounting(),
    "llamacpp-completions": TextTokenizing("content"),
    "vllm": Tokenizing(),
    "vllm-completions": TextTokenizing("prompt"),
}


def _count(body: Any, name: str) -> int:
    found: Mapping[str, Any] = table(body, "the answer")
    value = found.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise BadAnswer(f"the answer has no {name!r}: {str(body)[:80]!r}")
    return value
