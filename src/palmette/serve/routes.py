"""The addresses of every API: what each is for, which wire reads it, and in whose words it fails.

One table; the router, the OpenAPI document and the documentation come from it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

__all__ = ["ROUTES", "Route", "api_of", "find", "methods"]

Kind = Literal[
    "chat", "embed", "count", "list", "one", "decide", "tags", "show", "ps", "version", "tokenize", "detokenize",
    "template", "health", "ready", "metrics", "openapi", "docs",
]  # fmt: skip


@dataclass(frozen=True)
class Route:
    """An address.

    Args:
        method: GET or POST.
        path: a pattern; {model} stands for a model's name.
        kind: what is done there.
        api: whose words are spoken: the name of a wire, or of a decision endpoint.
        about: one line for the documentation.
    """

    method: str
    path: str
    kind: Kind
    api: str
    about: str

    @property
    def pattern(self) -> re.Pattern[str]:
        """The path as a regular expression."""
        return re.compile(re.escape(self.path).replace(r"\{model\}", "(?P<model>.+)") + r"\Z")


ROUTES = (
    Route("POST", "/v1/chat/completions", "chat", "openai", "OpenAI Chat Completions"),
    Route("POST", "/v1/responses", "chat", "openai-responses", "OpenAI Responses"),
    Route("POST", "/v1/completions", "chat", "openai-completions", "OpenAI Completions: text in, text out"),
    Route("POST", "/v1/messages", "chat", "anthropic", "Anthropic Messages"),
    Route("POST", "/v1/models/{model}:generateContent", "chat", "gemini", "Gemini"),
    Route("POST", "/v1/models/{model}:streamGenerateContent", "chat", "gemini", "Gemini, streamed"),
    Route("POST", "/v1beta/models/{model}:generateContent", "chat", "gemini", "Gemini"),
    Route("POST", "/v1beta/models/{model}:streamGenerateContent", "chat", "gemini", "Gemini, streamed"),
    Route("POST", "/v2/chat", "chat", "cohere", "Cohere Chat"),
    Route("POST", "/api/chat", "chat", "ollama", "Ollama Chat"),
    Route("POST", "/api/generate", "chat", "ollama-generate", "Ollama Generate"),
    Route("POST", "/v1/embeddings", "embed", "openai", "Vectors of texts, as OpenAI has them"),
    Route("POST", "/v1/models/{model}:batchEmbedContents", "embed", "gemini", "Vectors, as Gemini has them"),
    Route("POST", "/v1/models/{model}:embedContent", "embed", "gemini", "One vector, as Gemini has it"),
    Route("POST", "/v1beta/models/{model}:batchEmbedContents", "embed", "gemini", "Vectors, as Gemini has them"),
    Route("POST", "/v1beta/models/{model}:embedContent", "embed", "gemini", "One vector, as Gemini has it"),
    Route("POST", "/v2/embed", "embed", "cohere", "Vectors, as Cohere has them"),
    Route("POST", "/api/embed", "embed", "ollama", "Vectors, as Ollama has them"),
    Route("POST", "/api/embeddings", "embed", "ollama", "A vector, as Ollama had it"),
    Route("POST", "/v1/messages/count_tokens", "count", "anthropic", "How many tokens Anthropic messages have"),
    Route("POST", "/v1/models/{model}:countTokens", "count", "gemini", "How many tokens Gemini contents have"),
    Route("POST", "/v1beta/models/{model}:countTokens", "count", "gemini", "How many tokens Gemini contents have"),
    Route("POST", "/v1/responses/input_tokens", "count", "openai-responses", "How many tokens a Responses input has"),
    Route("GET", "/v1/models", "list", "openai", "The models, as OpenAI, Anthropic, Gemini and Cohere list them"),
    Route("GET", "/v1beta/models", "list", "gemini", "The models, as Gemini lists them"),
    Route("GET", "/v1/models/{model}", "one", "openai", "One model"),
    Route("GET", "/v1beta/models/{model}", "one", "gemini", "One model, as Gemini has it"),
    Route("POST", "/v1/decisions", "decide", "decisions", "Probabilities of answers to questions, as OpenAI has them"),
    Route("POST", "/v1/systemone", "decide", "systemone", "Probabilities, as TypeSafe's System One has them"),
    Route("GET", "/api/tags", "tags", "ollama", "The models, as Ollama lists them"),
    Route("GET", "/api/ps", "ps", "ollama", "The models that are loaded"),
    Route("POST", "/api/show", "show", "ollama", "One model, as Ollama shows it"),
    Route("GET", "/api/version", "version", "ollama", "The version"),
    Route("POST", "/tokenize", "tokenize", "openai", "The tokens of a text"),
    Route("POST", "/detokenize", "detokenize", "openai", "The text of tokens"),
    Route("POST", "/apply-template", "template", "openai", "A conversation as the model reads it"),
    Route("GET", "/health", "health", "openai", "Whether the server answers"),
    Route("GET", "/ready", "ready", "openai", "Whether it takes requests"),
    Route("GET", "/metrics", "metrics", "openai", "Counters, in Prometheus's format"),
    Route("GET", "/openapi.json", "openapi", "openai", "This table as an OpenAPI document"),
    Route("GET", "/docs", "docs", "openai", "This table as a page"),
)
_EXACT = {(route.method, route.path): route for route in ROUTES if "{" not in route.path}
_PATTERNS = [(route.method, route.pattern, route) for route in ROUTES if "{" in route.path]


def find(method: str, path: str) -> tuple[Route | None, str]:
    """The route of an address, and the model in it.

    >>> find("POST", "/v1/models/m:generateContent")[1]
    'm'
    """
    asked = "GET" if method == "HEAD" else method
    route = _EXACT.get((asked, path))
    if route is not None:
        return route, ""
    for verb, pattern, candidate in _PATTERNS:
        found = pattern.match(path) if verb == asked else None
        if found:
            return candidate, found["model"]
    return None, ""


def methods(path: str) -> list[str]:
    """The methods that an address has; none for what is no address.

    >>> methods("/health"), methods("/nowhere")
    (['GET', 'HEAD'], [])
    """
    made = [verb for verb in ("GET", "POST") if find(verb, path)[0] is not None]
    return made[:1] + ["HEAD"] * ("GET" in made) + made[1:]


def api_of(path: str) -> str:
    """In whose words an address fails."""
    route = next((r for r in ROUTES if r.path == path), None)
    if route is not None:
        return route.api if route.kind != "decide" else "openai"
    for start, api in (("/api/", "ollama"), ("/v2/", "cohere"), ("/v1beta/", "gemini"), ("/v1/messages", "anthropic")):
        if path.startswith(start):
            return api
    return "gemini" if re.match(r"/v1/models/.*:", path) else "openai"
