"""What a server does besides answering: vectors, counts, lists, decisions, tokens. Each takes and gives JSON."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, cast

from palmette import __version__
from palmette.core.errors import RequestRefused, Unsupported
from palmette.core.model import Model
from palmette.core.waiting import LOOP
from palmette.models.answering import prompt_of
from palmette.models.batched import Batched
from palmette.models.decide.decide import adecide, decide
from palmette.models.remote.wires import WIRES
from palmette.models.remote.wires.counting import COUNTS
from palmette.models.remote.wires.decisions import DECIDERS
from palmette.models.remote.wires.embeddings import EMBEDDINGS
from palmette.models.remote.wires.listing import LISTS, Listed
from palmette.models.remote.wires.reading import asked_list, asked_table, asked_text, whole
from palmette.models.template import template_of
from palmette.serve.registry import Entry, Registry
from palmette.serve.routes import Route

__all__ = ["TASKS", "named_in"]

Task = Callable[[Registry, Route, str, Any, str, Mapping[str, str]], Awaitable[Any]]
BEGAN = int(time.time())


def named_in(body: Any) -> str:
    """The model that a body names.

    Raises:
        RequestRefused: if it names none.
    """
    return asked_text(asked_table(body, "the body").get("model"), "model")


async def embed(registry: Registry, route: Route, name: str, body: Any, path: str, headers: Mapping[str, str]) -> Any:
    """Vectors of texts."""
    codec = EMBEDDINGS[route.api]
    asked = codec.decode_request(body, path)
    if asked.dimensions is not None:
        raise RequestRefused("dimensions: vectors come in the model's own width here")
    async with registry.use(name or asked.model) as model:
        texts = [one if isinstance(one, str) else await _decoded(model, one) for one in asked.texts]
        return codec.encode_response(await model.vectorise(texts, LOOP), asked)


async def count(registry: Registry, route: Route, name: str, body: Any, path: str, headers: Mapping[str, str]) -> Any:
    """How many tokens a request has."""
    codec = COUNTS[route.api]
    request = codec.decode_request(body, path)
    async with registry.use(name or request.model) as model:
        return codec.encode_response(await model.measure(request, LOOP))


async def listed(registry: Registry, route: Route, name: str, body: Any, path: str, headers: Mapping[str, str]) -> Any:
    """All models, in the words of whoever asks."""
    rows = [_row(entry) for entry in registry.entries.values()]
    if route.api == "gemini" or _is_gemini(headers):
        return LISTS["gemini"].encode(rows)
    if "anthropic-version" in headers:
        return LISTS["anthropic"].encode(rows)
    # OpenAI's and Cohere's clients read other fields, so one answer serves both.
    return {**LISTS["cohere"].encode(rows), **LISTS["openai"].encode(rows)}


async def one(registry: Registry, route: Route, name: str, body: Any, path: str, headers: Mapping[str, str]) -> Any:
    """One model."""
    row = _row(registry.find(name))
    api = (
        "gemini"
        if route.api == "gemini" or _is_gemini(headers)
        else "anthropic"
        if "anthropic-version" in headers
        else "openai"
    )
    return LISTS[api].encode_one(row)


async def tags(registry: Registry, route: Route, name: str, body: Any, path: str, headers: Mapping[str, str]) -> Any:
    """All models, as Ollama lists them."""
    return LISTS["ollama"].encode([_row(entry) for entry in registry.entries.values()])


async def loaded(registry: Registry, route: Route, name: str, body: Any, path: str, headers: Mapping[str, str]) -> Any:
    """The models that are loaded, as Ollama lists them."""
    rows = []
    for entry in registry.entries.values():
        if entry.model is not None:
            row = LISTS["ollama"].encode_one(_row(entry))
            until = datetime.fromtimestamp(time.time() + (entry.settings.keep or 3.15e9), UTC).isoformat()
            rows.append({**row, "model": entry.settings.name, "expires_at": until, "size_vram": 0})
    return {"models": rows}


async def show(registry: Registry, route: Route, name: str, body: Any, path: str, headers: Mapping[str, str]) -> Any:
    """One model, as Ollama shows it."""
    row = asked_table(body, "the body")
    entry = registry.find(asked_text(row.get("model", row.get("name")), "model"))
    async with registry.use(entry.settings.name) as model:
        can = model.capabilities
        context = getattr(_engine(model), "context_length", 0)
    abilities = ["completion", *(["tools"] if can.tools else []), *(["vision"] if can.images else []),
                 *(["thinking"] if can.reasoning else []), *(["embedding"] if can.embeddings else [])]  # fmt: skip
    info = {"general.architecture": "palmette", "palmette.context_length": context}
    return {"modelfile": f"FROM {entry.settings.model}\n", "parameters": "", "template": "", "capabilities": abilities,
            "details": {"format": "palmette", "family": "", "families": [], "parameter_size": "",
                        "quantization_level": ""}, "model_info": info}  # fmt: skip


async def version(registry: Registry, route: Route, name: str, body: Any, path: str, headers: Mapping[str, str]) -> Any:
    """The version."""
    return {"version": __version__}


async def decided(registry: Registry, route: Route, name: str, body: Any, path: str, headers: Mapping[str, str]) -> Any:
    """Probabilities of answers to questions, by any model."""
    codec = DECIDERS[route.api]
    asked = codec.decode_request(body)
    async with registry.use(asked.model) as model:
        shared = _batched(model)
        questions = {question.name: question for question in asked.questions}
        if shared is not None:
            found = await shared.owned(LOOP, decide, shared.model, asked.state, questions)
        else:
            found = await adecide(model, asked.state, questions)
    return codec.encode_response(found)


async def tokenize(
    registry: Registry, route: Route, name: str, body: Any, path: str, headers: Mapping[str, str]
) -> Any:
    """The tokens of a text."""
    row = asked_table(body, "the body")
    async with registry.use(_only(registry, row)) as model:
        tokenizer = _tokenizer(model)
        tokens = tokenizer.encode(asked_text(row.get("content", row.get("prompt")), "content"))
        return {"tokens": tokens, "count": len(tokens), "pieces": [tokenizer.token_name(token) for token in tokens]}


async def detokenize(
    registry: Registry, route: Route, name: str, body: Any, path: str, headers: Mapping[str, str]
) -> Any:
    """The text of tokens."""
    row = asked_table(body, "the body")
    tokens = [whole(token, "tokens[]") or 0 for token in asked_list(row.get("tokens"), "tokens")]
    async with registry.use(_only(registry, row)) as model:
        tokenizer = _tokenizer(model)
        wrong = next((token for token in tokens if not 0 <= token < tokenizer.size), None)
        if wrong is not None:
            raise RequestRefused(f"tokens: {wrong} is outside the vocabulary of {tokenizer.size} tokens")
        return {"content": tokenizer.decode(tokens)}


async def template(
    registry: Registry, route: Route, name: str, body: Any, path: str, headers: Mapping[str, str]
) -> Any:
    """A conversation as the model reads it."""
    row = dict(asked_table(body, "the body"))
    row.setdefault("model", _only(registry, row))
    request, _ = WIRES["openai"].decode_request(row, path)
    async with registry.use(request.model) as model:
        engine = _engine(model)
        found = None if engine is None else template_of(engine)
        if found is None:
            raise Unsupported(f"{request.model} has no chat template that this server knows")
        text = "".join(piece for piece, _ in found.written(request.messages, True, request.tools))
        return {"prompt": text, "count": len(prompt_of(engine, request).tokens)}


TASKS: Mapping[str, Task] = {
    "embed": embed,
    "count": count,
    "list": listed,
    "one": one,
    "tags": tags,
    "ps": loaded,
    "show": show,
    "version": version,
    "decide": decided,
    "tokenize": tokenize,
    "detokenize": detokenize,
    "template": template,
}


def _row(entry: Entry) -> Listed:
    engine = None if entry.model is None else getattr(entry.batched, "model", None)
    context = None if engine is None else engine.engine.context_length
    return Listed(entry.settings.name, entry.settings.model, "palmette", context, BEGAN, entry.size or None)


def _is_gemini(headers: Mapping[str, str]) -> bool:
    return "x-goog-api-client" in headers or "x-goog-api-key" in headers


def _batched(model: Model) -> Batched | None:
    found: Any = model
    while found is not None and not isinstance(found, Batched):
        found = getattr(found, "model", None)
    return found


def _engine(model: Model) -> Any:
    shared = _batched(model)
    return None if shared is None else shared.model.engine


def _tokenizer(model: Model) -> Any:
    engine = _engine(model)
    if engine is None:
        raise Unsupported(f"{model.id} keeps its tokenizer to itself")
    return engine.tokenizer


def _only(registry: Registry, row: Mapping[str, Any]) -> str:
    """The model that is named, or the only one."""
    if row.get("model") is None and len(registry.entries) == 1:
        return next(iter(registry.entries))
    return asked_text(row.get("model"), "model")


async def _decoded(model: Model, tokens: tuple[int, ...]) -> str:
    return cast(str, _tokenizer(model).decode(tokens))
