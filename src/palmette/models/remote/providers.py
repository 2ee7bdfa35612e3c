"""Providers as data: where they are, how a key is sent, which wire they speak, what they spell otherwise."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from palmette.core.errors import MissingKey, UnknownName, UsageError
from palmette.core.model import Capabilities
from palmette.models.remote import vertex
from palmette.models.remote.client import Secret

__all__ = ["PROVIDERS", "Provider", "is_remote"]

Body = dict[str, Any]


def _max_tokens(body: Body) -> Body:
    """The older name of the limit, which other hosts still use."""
    if "max_completion_tokens" in body:
        body["max_tokens"] = body.pop("max_completion_tokens")
    return body


def _together(body: Body) -> Body:
    """Together takes the number of log-probabilities itself; 0 would be none."""
    if body.get("logprobs") is not None or body.get("echo"):
        asked = body.pop("top_logprobs", None) or body.get("logprobs")
        body["logprobs"] = max(1, int(asked or 1))
    return _max_tokens(body)


def _vllm(body: Body) -> Body:
    """vLLM's chat takes the number of the prompt's log-probabilities under a name of their own."""
    if "messages" in body and body.pop("echo", None):
        body["prompt_logprobs"] = int(body.get("top_logprobs") or 0)
    return _max_tokens(body)


def _mistral(body: Body) -> Body:
    """Mistral's own names of the seed and of a call that must be made."""
    if "seed" in body:
        body["random_seed"] = body.pop("seed")
    if body.get("tool_choice") == "required":
        body["tool_choice"] = "any"
    return _max_tokens(body)


def _azure() -> str:
    """A resource's address."""
    found = os.environ.get("AZURE_OPENAI_ENDPOINT", "").rstrip("/")
    if not found:
        raise UsageError("azure has an address of your own: set AZURE_OPENAI_ENDPOINT, or pass base_url=")
    return found if found.endswith("/v1") else f"{found}/openai/v1"


def _same(body: Body) -> Body:
    return body


@dataclass(frozen=True)
class Provider:
    """A row of the table.

    Args:
        name: before the colon of a reference.
        wire: which wire it speaks.
        base: URL without a slash at the end, or what finds it in the environment.
        keys: environment variables that may hold the key, the first that is set counts.
        optional: whether it works without one (servers on this machine).
        auth: the header that carries the key.
        base_variable: an environment variable that replaces `base`.
        headers: sent with every request.
        spelling: changes the body where this host spells something otherwise.
        schemas: the name of its structured mode, if it is not its wire's.
        lacks: fields of a Request that it has no words for, beside those of its wire.
        can: what can be asked of its models, if it is not what its wire says; see Capabilities.
        apis: the other APIs that it offers, by the names of `APIS`, each with the fields of its row that differ.
        whole: sets of a Request's fields that it takes together only if the answer need not be streamed.
        packs: whether it sends vectors as base64, which is a quarter of their digits.
        counts: how it counts tokens, where its wire has no way; see wires/counting.py.
        kin: the name under which it stands in the tables of vectors, lists and counts, if not its wire's.
        login: finds the header and its secret where that is more than a variable.
    """

    name: str
    wire: str
    base: str | Callable[[], str]
    keys: tuple[str, ...]
    optional: bool = False
    auth: Literal["bearer", "api-key", "x-api-key", "x-goog-api-key"] = "bearer"
    base_variable: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    spelling: Callable[[Body], Body] = _same
    schemas: str = ""
    lacks: frozenset[str] = frozenset()
    can: Mapping[str, Any] = field(default_factory=dict)
    apis: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    whole: tuple[frozenset[str], ...] = ()
    packs: bool = False
    counts: str = ""
    kin: str = ""
    login: Callable[[str | None], tuple[str, Secret]] | None = None

    @cached_property
    def capabilities(self) -> Capabilities:
        """What can be asked of its models."""
        return replace(_CAN[self.wire], **self.can)

    def speaking(self, api: str) -> Provider:
        """The same host through another of its APIs.

        Raises:
            UnknownName: for one that it does not offer.

        >>> PROVIDERS["ollama"].speaking("chat").base
        'http://127.0.0.1:11434/v1'
        """
        own = next((name for name, wire in APIS.items() if wire == self.wire), self.wire)
        if api not in (own, *self.apis):
            raise UnknownName(f"API of {self.name}", api, (own, *self.apis))
        if api == own:
            return self
        wire = APIS[api]
        spelling = self.spelling if wire in ("openai", "openai-completions") else _same
        base = based(self.base, wire) if isinstance(self.base, str) else self.base
        row = replace(self, wire=wire, base=base, spelling=spelling, schemas="", whole=())
        return replace(row, **self.apis[api])

    def where(self) -> str:
        """The base URL, the environment's before the table's."""
        found = os.environ.get(self.base_variable or f"{self.name.upper().replace('-', '_')}_BASE_URL", "")
        if found and "://" not in found:
            found = f"http://{found}"
        if self.name == "openai" and found:  # its own library takes the variable as it is
            return found.rstrip("/")
        if found:
            return based(found, self.wire)
        return self.base if isinstance(self.base, str) else self.base()

    def key_name(self) -> str | None:
        """The variable of the environment that holds the key."""
        return next((name for name in self.keys if os.environ.get(name)), None)

    def key(self) -> str | None:
        """The key that the environment holds."""
        name = self.key_name()
        return None if name is None else os.environ[name]

    def credential(self, key: str | None) -> tuple[str, Secret] | None:
        """The header that carries a key, the environment's unless one is given; None for a server that needs none.

        Raises:
            MissingKey: if there is no key, naming its variables.
        """
        if self.login is not None:
            return self.login(key)
        secret = key or self.key()
        if secret is None:
            if self.optional:
                return None
            raise MissingKey(f"{self.name} needs a key: set {' or '.join(self.keys)}, or pass key=")
        if self.auth == "bearer":
            return "authorization", Secret(f"Bearer {secret}")
        return self.auth, Secret(secret)


APIS = {
    "chat": "openai", "responses": "openai-responses", "completions": "openai-completions", "messages": "anthropic",
    "native": "ollama", "generate": "ollama-generate",
}  # fmt: skip
_UNVERSIONED = ("anthropic", "cohere", "ollama", "ollama-generate")  # their paths hold the version, or have none


def based(url: str, wire: str) -> str:
    """A host's URL as a wire wants it: OpenAI's with /v1, of which other wires' paths are no part.

    >>> based("http://127.0.0.1:8080/v1/", "anthropic")
    'http://127.0.0.1:8080'
    """
    url = url.rstrip("/")
    if wire in _UNVERSIONED:
        return url.removesuffix("/v1")
    local = wire.startswith("openai") and url.count("/") == 2  # scheme and host alone
    return f"{url}/v1" if local else url


_ALL = Capabilities(tools=True, images=True, documents=True, reasoning=True, json_schema=True, choices=True, regex=True)
_CAN: dict[str, Capabilities] = {
    "openai": replace(_ALL, audio=True, top_logprobs=20, seed=True, n=True, embeddings=True),
    "openai-responses": replace(_ALL, audio=True, top_logprobs=20, embeddings=True, count_tokens=True),
    "openai-completions": Capabilities(top_logprobs=5, seed=True, n=True, embeddings=True),
    "anthropic": replace(_ALL, count_tokens=True),
    "gemini": replace(_ALL, audio=True, top_logprobs=20, seed=True, n=True, embeddings=True, count_tokens=True),
    "cohere": replace(_ALL, documents=False, top_logprobs=0, seed=True, embeddings=True),
    "ollama": replace(_ALL, documents=False, top_logprobs=20, seed=True, embeddings=True),
    "ollama-generate": replace(_ALL, tools=False, documents=False, top_logprobs=20, seed=True, embeddings=True),
}
_NO_SORTING = frozenset({"top_k", "min_p"})
_NOTHING: Mapping[str, Any] = {}
_SCORES = frozenset({"top_logprobs"})
_PENALTIES = frozenset({"presence_penalty", "frequency_penalty"})
_CALLS = frozenset({"tools", "tool_choice", "parallel_tools"})
_BIAS = frozenset({"logit_bias"})


def _host(
    name: str, base: str, key: str, lacks: frozenset[str] = frozenset(), apis: Sequence[str] = (), **more: Any
) -> Provider:
    """A host that speaks OpenAI's wire; what it lacks, its models cannot do."""
    can = {"top_logprobs": None} if "top_logprobs" in lacks else {}
    can |= {feature: False for feature in ("tools", "n", "seed") if feature in lacks} | more.pop("can", {})
    more = {"spelling": _max_tokens, **more}
    return Provider(name, "openai", base, (key,), lacks=lacks, can=can, apis=dict.fromkeys(apis, _NOTHING), **more)


def _server(name: str, port: int, key: str, **more: Any) -> Provider:
    """A server on this machine that speaks OpenAI's wires and Anthropic's."""
    apis: dict[str, Any] = dict.fromkeys(("responses", "completions", "messages"), _NOTHING)
    more = {"spelling": _max_tokens, **more, "apis": apis | more.get("apis", {})}
    return Provider(name, "openai", f"http://127.0.0.1:{port}/v1", (key,), True, **more)


# Seen on llama.cpp's server of October 2026: it passes text.format over and the chat API's field on; it scores nothing.
_LLAMA_RESPONSES: Mapping[str, Any] = {
    "schemas": "openai", "lacks": frozenset({"top_logprobs"}), "can": {"count_tokens": True, "top_logprobs": None}
}  # fmt: skip

_TABLE = [
    Provider("openai", "openai", "https://api.openai.com/v1", ("OPENAI_API_KEY",), base_variable="OPENAI_BASE_URL",
             lacks=_NO_SORTING, apis={"responses": {}, "completions": {"can": {}}}, packs=True,
             counts="openai-responses", can={"count_tokens": True}),
    Provider("anthropic", "anthropic", "https://api.anthropic.com", ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
             base_variable="ANTHROPIC_BASE_URL", headers={"anthropic-version": "2026-10-21"}),
    Provider("gemini", "gemini", "https://generativelanguage.googleapis.com/v1", ("GOOGLE_API_KEY", "GEMINI_API_KEY"),
             auth="x-goog-api-key"),
    Provider("vertex", "gemini", vertex.base, vertex.KEYS, login=vertex.credential, kin="vertex"),
    Provider("cohere", "cohere", "https://api.cohere.com", ("CO_API_KEY", "COHERE_API_KEY"),
             base_variable="CO_API_URL"),
    Provider("azure", "openai", _azure, ("AZURE_OPENAI_API_KEY",), auth="api-key", lacks=_NO_SORTING),
    # Hosts of many models. What a host lacks is what its own reference leaves out; a model may lack more.
    _host("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", apis=("responses", "completions")),
    _host("huggingface", "https://router.huggingface.co/v1", "HF_TOKEN", apis=("responses",)),
    _host("together", "https://api.together.ai/v1", "TOGETHER_API_KEY", apis=("completions",), spelling=_together,
          can={"prompt_logprobs": True}, base_variable="TOGETHER_BASE_URL"),
    _host("fireworks", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    _host("deepinfra", "https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY"),
    _host("novita", "https://api.novita.ai/v3/openai", "NOVITA_API_KEY"),
    _host("hyperbolic", "https://api.hyperbolic.xyz/v1", "HYPERBOLIC_API_KEY"),
    _host("nebius", "https://api.tokenfactory.nebius.com/v1", "NEBIUS_API_KEY"),
    _host("nvidia", "https://integrate.api.nvidia.com/v1", "NVIDIA_API_KEY", _NO_SORTING),
    _host("github", "https://models.github.ai/inference", "GITHUB_TOKEN", _NO_SORTING),
    _host("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY", _NO_SORTING | _SCORES | _BIAS | {"n"},
          ("responses",)),
    _host("cerebras", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY",
          _NO_SORTING | _PENALTIES | _BIAS | {"n"}, spelling=_same),
    _host("sambanova", "https://api.sambanova.ai/v1", "SAMBANOVA_API_KEY",
          _SCORES | _PENALTIES | _BIAS | {"n", "min_p", "seed"}),
    # Hosts of their own models.
    _host("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY", _NO_SORTING | _SCORES | _BIAS, spelling=_mistral),
    _host("deepseek", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY",
          _NO_SORTING | _BIAS | {"n", "seed", "parallel_tools"}, schemas="json-object"),
    _host("xai", "https://api.x.ai/v1", "XAI_API_KEY", _NO_SORTING, ("responses",)),
    _host("perplexity", "https://api.perplexity.ai", "PERPLEXITY_API_KEY",
          _CALLS | _SCORES | _BIAS | {"n", "seed", "min_p"}),
    _host("moonshot", "https://api.moonshot.ai/v1", "MOONSHOT_API_KEY", _NO_SORTING | _SCORES | _BIAS | {"seed"}),
    # Servers on this machine.
    Provider("ollama", "ollama", "http://127.0.0.1:11434", ("OLLAMA_API_KEY",), True, base_variable="OLLAMA_HOST",
             apis=dict.fromkeys(("generate", "chat", "responses", "completions", "messages"), _NOTHING)),
    _server("lmstudio", 1234, "LM_API_TOKEN"),
    _server("llamacpp", 8080, "LLAMA_API_KEY", counts="llamacpp", can={"count_tokens": True},
            whole=(frozenset({"tools", "top_logprobs"}),), apis={"responses": _LLAMA_RESPONSES}),
    _server("vllm", 8000, "VLLM_API_KEY", counts="vllm", can={"prompt_logprobs": True, "count_tokens": True},
            spelling=_vllm),
]  # fmt: skip
PROVIDERS = {provider.name: provider for provider in _TABLE}


def is_remote(reference: str) -> bool:
    """Whether a reference names a provider's model, or a Space.

    >>> is_remote("openai:gpt-5"), is_remote("space:owner/name"), is_remote("zoo:seedling")
    (True, True, False)
    """
    name, colon, rest = reference.partition(":")
    return bool(colon and rest) and (name in PROVIDERS or name == "space") and " " not in rest
