"""The list of models that an API offers, as each writes it: small codecs in both directions, in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import quote

from palmette.core.errors import BadAnswer
from palmette.models.remote.wires.reading import given, inner, items, number, table, text

__all__ = ["LISTS", "Listed", "ModelList"]


@dataclass(frozen=True)
class Listed:
    """A model of a list; what the list does not tell is empty.

    Args:
        name: as it is asked for.
        context: tokens that it reads at most.
        created: seconds since 1970.
        size: bytes of its weights.
        abilities: what it can be asked, in the provider's words.
        raw: the row as it came.
    """

    name: str
    title: str = ""
    owner: str = ""
    context: int | None = None
    created: int | None = None
    size: int | None = None
    abilities: tuple[str, ...] = ()
    raw: Any = field(default=None, compare=False, repr=False)


class ModelList(Protocol):
    """How an API lists its models. Law: a list that was encoded is decoded to itself, as far as the API has words."""

    def path(self, page: str) -> str:
        """What comes after the base URL; `page` is what the last answer said of the next, or empty."""
        ...

    def decode(self, body: Any) -> tuple[list[Listed], str]:
        """The models, and where the next page begins, or an empty text.

        Raises:
            BadAnswer: if it is no list.
        """
        ...

    def encode(self, models: Sequence[Listed]) -> dict[str, Any]:
        """A whole list."""
        ...

    def encode_one(self, model: Listed) -> dict[str, Any]:
        """A row of it, as it is answered when one model is asked for."""
        ...


class OpenAIList:
    """GET /models; hosts add their own fields, and Together sends the bare list."""

    _contexts = ("context_length", "contextLength", "context_window", "max_model_len", "max_context_length")
    _abilities = ("supported_parameters", "supported_features")

    def path(self, page: str) -> str:
        """See ModelList."""
        return "/models"

    def decode(self, body: Any) -> tuple[list[Listed], str]:
        """See ModelList."""
        rows = body if isinstance(body, list) else _rows(body, "data")
        return [self._row(row) for row in items(rows) if text(row.get("id"))], ""

    def _row(self, row: Mapping[str, Any]) -> Listed:
        contexts = [row.get(name) for name in self._contexts] + [inner(row.get("meta")).get("n_ctx_train")]
        abilities = next((row[name] for name in self._abilities if isinstance(row.get(name), list)), ())
        title = text(row.get("display_name")) or text(row.get("name"))
        owner = text(row.get("owned_by")) or text(row.get("organization"))
        return Listed(text(row.get("id")), title, owner, _some(next(filter(None, contexts), None)),
                      _some(row.get("created")), _some(inner(row.get("meta")).get("size")), _words(abilities),
                      row)  # fmt: skip

    def encode(self, models: Sequence[Listed]) -> dict[str, Any]:
        """See ModelList."""
        return {"object": "list", "data": [self.encode_one(model) for model in models]}

    def encode_one(self, model: Listed) -> dict[str, Any]:
        """See ModelList."""
        row = {"id": model.name, "object": "model", "created": model.created or 0, "owned_by": model.owner}
        more = {"display_name": model.title or None, "context_length": model.context,
                "supported_parameters": list(model.abilities)}  # fmt: skip
        return row | given(more) | ({"meta": {"size": model.size}} if model.size else {})


class AnthropicList:
    """GET /v1/models, in pages."""

    def path(self, page: str) -> str:
        """See ModelList."""
        return "/v1/models?limit=1000" + (f"&after_id={quote(page, safe='')}" if page else "")

    def decode(self, body: Any) -> tuple[list[Listed], str]:
        """See ModelList."""
        made = [
            Listed(text(row.get("id")), text(row.get("display_name")), context=_some(row.get("max_input_tokens")),
                   created=_seconds(row.get("created_at")), raw=row)
            for row in _rows(body, "data")
        ]  # fmt: skip
        return made, text(body.get("last_id")) if body.get("has_more") is True else ""

    def encode(self, models: Sequence[Listed]) -> dict[str, Any]:
        """See ModelList."""
        rows = [self.encode_one(model) for model in models]
        ends = {"first_id": models[0].name, "last_id": models[-1].name} if models else {}
        return {"data": rows, "has_more": False, "first_id": None, "last_id": None, **ends}

    def encode_one(self, model: Listed) -> dict[str, Any]:
        """See ModelList."""
        row = {"type": "model", "id": model.name, "display_name": model.title, "created_at": _date(model.created or 0),
               "lifecycle": "active"}  # fmt: skip
        return row | given({"max_input_tokens": model.context})


class GeminiList:
    """GET /models, in pages; names begin with models/."""

    def path(self, page: str) -> str:
        """See ModelList."""
        return "/models?pageSize=1000" + (f"&pageToken={quote(page, safe='')}" if page else "")

    def decode(self, body: Any) -> tuple[list[Listed], str]:
        """See ModelList."""
        made = [
            Listed(text(row.get("name")).removeprefix("models/"), text(row.get("displayName")),
                   context=_some(row.get("inputTokenLimit")), abilities=_words(row.get("supportedGenerationMethods")),
                   raw=row)
            for row in _rows(body, "models")
        ]  # fmt: skip
        return made, text(body.get("nextPageToken"))

    def encode(self, models: Sequence[Listed]) -> dict[str, Any]:
        """See ModelList."""
        return {"models": [self.encode_one(model) for model in models]}

    def encode_one(self, model: Listed) -> dict[str, Any]:
        """See ModelList."""
        more = {"displayName": model.title or None, "inputTokenLimit": model.context,
                "supportedGenerationMethods": list(model.abilities)}  # fmt: skip
        return {"name": f"models/{model.name}", **given(more)}


class CohereList:
    """GET /v1/models, in pages."""

    def path(self, page: str) -> str:
        """See ModelList."""
        return "/v1/models?page_size=1000" + (f"&page_token={quote(page, safe='')}" if page else "")

    def decode(self, body: Any) -> tuple[list[Listed], str]:
        """See ModelList."""
        made = [
            Listed(text(row.get("name")), context=_some(row.get("context_length")),
                   abilities=_words(row.get("endpoints")), raw=row)
            for row in _rows(body, "models")
        ]  # fmt: skip
        return made, text(body.get("next_page_token"))

    def encode(self, models: Sequence[Listed]) -> dict[str, Any]:
        """See ModelList."""
        return {"models": [self.encode_one(model) for model in models]}

    def encode_one(self, model: Listed) -> dict[str, Any]:
        """See ModelList."""
        return {"name": model.name, "endpoints": list(model.abilities), **given({"context_length": model.context})}


class OllamaList:
    """GET /api/tags."""

    def path(self, page: str) -> str:
        """See ModelList."""
        return "/api/tags"

    def decode(self, body: Any) -> tuple[list[Listed], str]:
        """See ModelList."""
        made = []
        for row in _rows(body, "models"):
            details = inner(row.get("details"))
            told = (text(details.get("parameter_size")), text(details.get("quantization_level")))
            name = text(row.get("model")) or text(row.get("name"))
            made.append(Listed(name, " ".join(filter(None, told)), text(details.get("family")),
                               created=_seconds(row.get("modified_at")), size=_some(row.get("size")),
                               abilities=_words(row.get("capabilities")), raw=row))  # fmt: skip
        return made, ""

    def encode(self, models: Sequence[Listed]) -> dict[str, Any]:
        """See ModelList."""
        return {"models": [self.encode_one(model) for model in models]}

    def encode_one(self, model: Listed) -> dict[str, Any]:
        """See ModelList."""
        parameters, _, quantised = model.title.partition(" ")
        details = {"format": "", "family": model.owner, "families": [model.owner] if model.owner else [],
                   "parameter_size": parameters, "quantization_level": quantised}  # fmt: skip
        row = {"name": model.name, "model": model.name, "modified_at": _date(model.created or 0),
               "size": model.size or 0, "digest": "", "details": details}  # fmt: skip
        return row | given({"capabilities": list(model.abilities)})


_OPENAI, _OLLAMA = OpenAIList(), OllamaList()
LISTS: dict[str, ModelList] = {
    "openai": _OPENAI,
    "openai-responses": _OPENAI,
    "openai-completions": _OPENAI,
    "anthropic": AnthropicList(),
    "gemini": GeminiList(),
    "cohere": CohereList(),
    "ollama": _OLLAMA,
    "ollama-generate": _OLLAMA,
}


def _rows(body: Any, name: str) -> list[Mapping[str, Any]]:
    found = table(body, "the list of models").get(name)
    if not isinstance(found, list):
        raise BadAnswer(f"the list of models has no {name!r}: {str(body)[:80]!r}")
    return items(found)


def _some(value: Any) -> int | None:
    """A count that is told; some hosts write it as text."""
    if isinstance(value, str) and value.isdecimal() and len(value) < 19:
        return int(value)
    return number(value) or None


def _words(value: Any) -> tuple[str, ...]:
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, (list, tuple)) else ()


def _seconds(value: Any) -> int | None:
    """A date as seconds since 1970; nothing for one that is not understood."""
    try:
        moment = datetime.fromisoformat(text(value))
    except ValueError:
        return None
    seconds = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    return seconds or None


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
