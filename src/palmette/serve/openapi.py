"""The table of routes as an OpenAPI 3.1 document and as a page that needs no script."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from palmette import __version__
from palmette.serve.extension import FIELDS
from palmette.serve.routes import ROUTES, Route

__all__ = ["document", "page"]

_MESSAGE = {
    "type": "object",
    "properties": {
        "role": {"enum": ["system", "developer", "user", "assistant", "tool"]},
        "content": {"type": ["string", "array", "null"]},
    },
    "required": ["role"],
}
_FIELDS: Mapping[str, tuple[dict[str, Any], list[str]]] = {
    "openai": (
        {
            "messages": {"type": "array", "items": _MESSAGE, "minItems": 1},
            "max_completion_tokens": {"type": "integer", "minimum": 1},
            "temperature": {"type": "number", "minimum": 0},
            "top_p": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
            "stream": {"type": "boolean"},
            "stop": {"type": ["string", "array"], "items": {"type": "string"}},
            "seed": {"type": "integer"},
            "n": {"type": "integer", "minimum": 1, "maximum": 16},
            "logprobs": {"type": "boolean"},
            "tools": {"type": "array", "items": {"type": "object"}},
            "response_format": {"type": "object"},
        },
        ["messages"],
    ),
    "openai-responses": ({"input": {"type": ["string", "array"]}, "stream": {"type": "boolean"}}, ["input"]),
    "openai-completions": ({"prompt": {"type": "string"}, "max_tokens": {"type": "integer"}}, ["prompt"]),
    "anthropic": (
        {"messages": {"type": "array", "items": _MESSAGE}, "max_tokens": {"type": "integer", "minimum": 1}},
        ["messages", "max_tokens"],
    ),
    "gemini": ({"contents": {"type": "array", "items": {"type": "object"}}}, ["contents"]),
    "cohere": ({"messages": {"type": "array", "items": _MESSAGE}, "stream": {"type": "boolean"}}, ["messages"]),
    "ollama": ({"messages": {"type": "array", "items": _MESSAGE}, "stream": {"type": "boolean"}}, ["messages"]),
    "ollama-generate": ({"prompt": {"type": "string"}, "stream": {"type": "boolean"}}, ["prompt"]),
}


_TEXTS = {"type": ["string", "array"], "items": {"type": "string"}}
_TASKS: Mapping[str, dict[str, Any]] = {  # by address: what bodies hold besides the model
    "/v1/embeddings": {"input": _TEXTS, "encoding_format": {"enum": ["float", "base64"]}},
    "/api/embed": {"input": _TEXTS},
    "/v1/messages/count_tokens": {"messages": {"type": "array", "items": _MESSAGE}},
    "/v1/decisions": {
        "input": {"type": ["string", "array"]},
        "questions": {"type": "array", "items": {"type": "object"}},
    },
    "/tokenize": {"content": {"type": "string"}},
    "/detokenize": {"tokens": {"type": "array", "items": {"type": "integer", "minimum": 0}}},
    "/apply-template": {"messages": {"type": "array", "items": _MESSAGE}},
}


def document(models: Sequence[str]) -> dict[str, Any]:
    """The OpenAPI document of a server with these models.

    >>> document(["m"])["paths"]["/health"]["get"]["summary"]
    'Whether the server answers'
    """
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, models)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Palmette", "version": __version__, "description": "Any model behind every API."},
        "paths": paths,
        "components": {
            "schemas": {"Palmette": _extension(), "Error": {"type": "object"}},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"},
                                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"}},
        },
    }  # fmt: skip


def _operation(route: Route, models: Sequence[str]) -> dict[str, Any]:
    failed = {"description": "A failure, in the API's own words.",
              "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}  # fmt: skip
    made: dict[str, Any] = {
        "summary": route.about,
        "tags": [route.api if route.kind in ("chat", "embed", "count") else route.kind],
        "responses": {"200": {"description": "The answer."}, "4XX": failed, "5XX": failed},
    }
    if "{model}" in route.path:
        made["parameters"] = [{"name": "model", "in": "path", "required": True, "schema": {"enum": list(models)}}]
    if route.method == "POST":
        made["requestBody"] = {"required": True, "content": {"application/json": {"schema": _body(route, models)}}}
    return made


def _body(route: Route, models: Sequence[str]) -> dict[str, Any]:
    if route.kind != "chat":
        fields = _TASKS.get(route.path, {})
        return {"type": "object", "properties": {"model": {"enum": list(models)}, **fields} if fields else {}}
    properties, required = _FIELDS[route.api]
    named = {} if "{model}" in route.path else {"model": {"enum": list(models)}}
    extension = {"palmette": {"$ref": "#/components/schemas/Palmette"}}
    return {"type": "object", "properties": {**named, **properties, **extension}, "required": [*named, *required]}


def _extension() -> dict[str, Any]:
    texts = {"items": {"type": "string"}}
    properties = {name: {"type": kind, "description": about, **(texts if kind == "array" else {})}
                  for name, (kind, about) in FIELDS.items()}  # fmt: skip
    return {"type": "object", "properties": properties, "additionalProperties": False}


def page() -> str:
    """The documentation as a page."""
    rows = "".join(
        f"<tr><td>{route.method}</td><td><code>{html.escape(route.path)}</code></td><td>{html.escape(route.about)}</td></tr>"
        for route in ROUTES
    )
    own = "".join(
        f"<tr><td><code>{n}</code></td><td>{k}</td><td>{html.escape(a)}</td></tr>" for n, (k, a) in FIELDS.items()
    )
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Palmette {__version__}</title>
<meta name="viewport" content="width=device-width"><style>
body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}}
table{{border-collapse:collapse;width:100%}}td{{border-top:1px solid #8884;padding:.3rem .6rem;vertical-align:top}}
</style><h1>Palmette {__version__}</h1><p>Any model behind every API. Point a client of yours at this address; the
document for machines is <a href="/openapi.json">/openapi.json</a>.</p><table>{rows}</table>
<h2>Palmette's own fields</h2><p>In an object <code>palmette</code> of a request's body, whatever the API:</p>
<table>{own}</table></html>"""
