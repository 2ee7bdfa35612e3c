"""Providers as data: where they are, how a key is sent, which wire they speak, what they spell otherwise."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from palmette.core.model import Capabilities

__all__ = ["PROVIDERS", "Provider", "is_remote"]

Body = dict[str, Any]


def _max_tokens(body: Body) -> Body:
    """The older name of the limit, which other hosts still use."""
    if "max_completion_tokens" in body:
        body["max_tokens"] = body.pop("max_completion_tokens")
    return body


def _together(body: Body) -> Body:
    """Together takes the number of log-probabilities itself."""
    if body.pop("logprobs", None):
        body["logprobs"] = body.pop("top_logprobs", 1)
    return _max_tokens(body)


def _same(body: Body) -> Body:
    return body


@dataclass(frozen=True)
class Provider:
    """A row of the table.

    Args:
        name: before the colon of a reference.
        wire: which wire it speaks.
        base: URL without a slash at the end.
        keys: environment variables that may hold the key, the first that is set counts.
        optional: whether it works without one (servers on this machine).
        auth: the header that carries the key.
        base_variable: an environment variable that replaces `base`.
        headers: sent with every request.
        spelling: changes the body where this host spells something otherwise.
        schemas: the name of its structured mode, if it is not its wire's.
        lacks: fields of a Request that it has no words for, beside those of its wire.
        can: what can be asked of its models, if it is not what its wire says; see Capabilities.
    """

    name: str
    wire: Literal["openai", "anthropic", "gemini", "cohere", "ollama"]
    base: str
    keys: tuple[str, ...]
    optional: bool = False
    auth: Literal["bearer", "x-api-key", "x-goog-api-key"] = "bearer"
    base_variable: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    spelling: Callable[[Body], Body] = _same
    schemas: str = ""
    lacks: frozenset[str] = frozenset()
    can: Mapping[str, Any] = field(default_factory=dict)

    @property
    def capabilities(self) -> Capabilities:
        """What can be asked of its models."""
        return replace(_CAN[self.wire], **self.can)

    def where(self) -> str:
        """The base URL, the environment's before the table's."""
        found = os.environ.get(self.base_variable, "") if self.base_variable else ""
        if found and "://" not in found:
            found = f"http://{found}"
        return (found or self.base).rstrip("/")

    def key_name(self) -> str | None:
        """The variable of the environment that holds the key."""
        return next((name for name in self.keys if os.environ.get(name)), None)

    def key(self) -> str | None:
        """The key that the environment holds."""
        name = self.key_name()
        return None if name is None else os.environ[name]


_ALL = Capabilities(tools=True, images=True, documents=True, reasoning=True, json_schema=True, choices=True, regex=True)
_CAN: dict[str, Capabilities] = {
    "openai": replace(_ALL, audio=True, top_logprobs=20, seed=True, n=True, embeddings=True),
    "anthropic": replace(_ALL, count_tokens=True),
    "gemini": replace(_ALL, audio=True, top_logprobs=20, seed=True, n=True, embeddings=True, count_tokens=True),
    "cohere": replace(_ALL, documents=False, top_logprobs=0, seed=True, embeddings=True),
    "ollama": replace(_ALL, documents=False, top_logprobs=20, seed=True, embeddings=True),
}
_NO_SORTING = frozenset({"top_k", "min_p"})


def _host(name: str, base: str, key: str, lacks: frozenset[str] = frozenset()) -> Provider:
    """A host that speaks OpenAI's wire."""
    return Provider(name, "openai", base, (key,), spelling=_max_tokens, lacks=lacks)


def _server(name: str, port: int, key: str, schemas: str = "") -> Provider:
    """A server on this machine that speaks OpenAI's wire."""
    return Provider(name, "openai", f"http://127.0.0.1:{port}/v1", (key,), True, spelling=_max_tokens, schemas=schemas)


_TABLE = [
    Provider("openai", "openai", "https://api.openai.com/v1", ("OPENAI_API_KEY",), base_variable="OPENAI_BASE_URL",
             lacks=_NO_SORTING),
    Provider("anthropic", "anthropic", "https://api.anthropic.com", ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
             base_variable="ANTHROPIC_BASE_URL", headers={"anthropic-version": "2026-10-21"}),
    Provider("gemini", "gemini", "https://generativelanguage.googleapis.com/v1", ("GOOGLE_API_KEY", "GEMINI_API_KEY"),
             auth="x-goog-api-key"),
    Provider("cohere", "cohere", "https://api.cohere.com", ("CO_API_KEY", "COHERE_API_KEY"),
             base_variable="CO_API_URL"),
    _host("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    _host("huggingface", "https://router.huggingface.co/v1", "HF_TOKEN"),
    Provider("together", "openai", "https://api.together.ai/v1", ("TOGETHER_API_KEY",), spelling=_together),
    _host("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY", _NO_SORTING),
    _host("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY", _NO_SORTING),
    _host("deepseek", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY", _NO_SORTING),
    _host("xai", "https://api.x.ai/v1", "XAI_API_KEY", _NO_SORTING),
    Provider("ollama", "ollama", "http://127.0.0.1:11434", ("OLLAMA_API_KEY",), True, base_variable="OLLAMA_HOST"),
    _server("lmstudio", 1234, "LM_API_TOKEN"),
    _server("llamacpp", 8080, "LLAMA_API_KEY"),
    _server("vllm", 8000, "VLLM_API_KEY"),
]  # fmt: skip
PROVIDERS = {provider.name: provider for provider in _TABLE}


def is_remote(reference: str) -> bool:
    """Whether a reference names a provider's model, or a Space.

    >>> is_remote("openai:gpt-5"), is_remote("space:owner/name"), is_remote("zoo:seedling")
    (True, True, False)
    """
    name, colon, rest = reference.partition(":")
    return bool(colon and rest) and (name in PROVIDERS or name == "space") and " " not in rest
