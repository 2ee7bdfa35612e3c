"""Vectors of texts, as each API asks for them and gives them: small codecs in both directions, in one table."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import BadAnswer, RequestRefused
from palmette.core.message import Usage
from palmette.core.model import Embeddings
from palmette.models.remote.wires.reading import (
    asked_list,
    asked_table,
    asked_text,
    given,
    inner,
    items,
    left_over,
    number,
    shown,
    table,
    text,
    whole,
)

__all__ = ["EMBEDDINGS", "Embedding", "Texts"]

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Texts:
    """What is to become vectors.

    Args:
        texts: each a text, or token ids, which some clients of OpenAI's API send.
        dimensions: the width that is asked for.
        packed: whether the vectors are asked for as base64.
        alone: whether it came in the form for a single text, and is answered so.
        extra: fields of the provider's own.
    """

    model: str
    texts: tuple[str | tuple[int, ...], ...]
    dimensions: int | None = None
    packed: bool = False
    alone: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)


class Embedding(Protocol):
    """How an API embeds. Law: what was encoded is decoded to itself."""

    most: ClassVar[int]  # texts of one request

    def path(self, asked: Texts) -> str:
        """What comes after the base URL."""
        ...

    def encode(self, asked: Texts) -> dict[str, Any]:
        """The body."""
        ...

    def decode(self, body: Any) -> Embeddings:
        """The vectors of an answer.

        Raises:
            BadAnswer: if they are none.
        """
        ...

    def decode_request(self, body: Any, path: str = "") -> Texts:
        """What a client asks for.

        Raises:
            RequestRefused: for a body that has not the form of a request, with the place in it.
        """
        ...

    def encode_response(self, found: Embeddings, asked: Texts) -> dict[str, Any]:
        """An answer."""
        ...


class OpenAIEmbedding:
    """POST /embeddings. OpenAI's own library asks for base64 unless it is told otherwise."""

    most: ClassVar[int] = 2048
    _known: ClassVar[frozenset[str]] = frozenset({"model", "input", "dimensions", "encoding_format"})

    def path(self, asked: Texts) -> str:
        """See Embedding."""
        return "/embeddings"

    def encode(self, asked: Texts) -> dict[str, Any]:
        """See Embedding."""
        form = "base64" if asked.packed else None
        body = {"model": asked.model, "input": [one if isinstance(one, str) else [*one] for one in asked.texts]}
        return body | given({"dimensions": asked.dimensions, "encoding_format": form}) | dict(asked.extra)

    def decode(self, body: Any) -> Embeddings:
        """See Embedding."""
        rows = sorted(items(table(body, "the answer").get("data")), key=lambda row: number(row.get("index")))
        used = body.get("usage")
        usage = Usage(number(used.get("prompt_tokens"))) if isinstance(used, Mapping) else None
        return Embeddings(_matrix(row.get("embedding") for row in rows), usage, text(body.get("model")))

    def decode_request(self, body: Any, path: str = "") -> Texts:
        """See Embedding."""
        body = asked_table(body, "the body")
        form = body.get("encoding_format") or "float"
        if form not in ("float", "base64"):
            raise RequestRefused(f"encoding_format must be float or base64, not {shown(form)}")
        return Texts(asked_text(body.get("model"), "model"), _inputs(body.get("input")),
                     whole(body.get("dimensions"), "dimensions"), form == "base64",
                     extra=left_over(body, self._known))  # fmt: skip

    def encode_response(self, found: Embeddings, asked: Texts) -> dict[str, Any]:
        """See Embedding."""
        used = found.usage.input if found.usage else 0
        rows: Iterable[Any] = map(_packed, found.vectors) if asked.packed else found.vectors.tolist()
        data = [{"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(rows)]
        return {"object": "list", "data": data, "model": found.model or asked.model,
                "usage": {"prompt_tokens": used, "total_tokens": used}}  # fmt: skip


class GeminiEmbedding:
    """POST /models/{model}:batchEmbedContents, and :embedContent for one text."""

    most: ClassVar[int] = 100

    def path(self, asked: Texts) -> str:
        """See Embedding."""
        return f"/models/{quote(asked.model, safe='')}:{'embedContent' if asked.alone else 'batchEmbedContents'}"

    def encode(self, asked: Texts) -> dict[str, Any]:
        """See Embedding."""
        more = given({"outputDimensionality": asked.dimensions}) | dict(asked.extra)
        name = f"models/{asked.model}"
        rows = [{"model": name, "content": {"parts": [{"text": _words(one)}]}, **more} for one in asked.texts]
        return rows[0] if asked.alone else {"requests": rows}

    def decode(self, body: Any) -> Embeddings:
        """See Embedding."""
        body = table(body, "the answer")
        rows = [inner(body["embedding"])] if "embedding" in body else items(body.get("embeddings"))
        used = inner(body.get("usageMetadata")).get("promptTokenCount")
        return Embeddings(_matrix(row.get("values") for row in rows), None if used is None else Usage(number(used)))

    def decode_request(self, body: Any, path: str = "") -> Texts:
        """See Embedding."""
        body = asked_table(body, "the body")
        alone = "requests" not in body
        rows = [body] if alone else asked_list(body["requests"], "requests")
        texts, model, sizes, extra = [], "", set(), dict[str, Any]()
        for i, given_row in enumerate(rows):
            where = "" if alone else f"requests[{i}]."
            row = asked_table(given_row, where.rstrip(".") or "the body")
            parts = asked_list(asked_table(row.get("content"), f"{where}content").get("parts"), f"{where}content.parts")
            texts.append("".join(asked_text(inner(one).get("text"), f"{where}content.parts[].text") for one in parts))
            model = asked_text(row.get("model") or model or _model_in(path), f"{where}model").removeprefix("models/")
            config = asked_table(row.get("embedContentConfig") or {}, f"{where}embedContentConfig")
            row = {**row, **config}
            sizes.add(whole(row.get("outputDimensionality"), f"{where}outputDimensionality"))
            extra = left_over(row, frozenset({"model", "content", "outputDimensionality", "embedContentConfig"}))
        if len(sizes) > 1:
            raise RequestRefused("requests: all vectors of an answer are equally wide here, so outputDimensionality is")
        return Texts(model, tuple(texts), next(iter(sizes), None), alone=alone, extra=extra)

    def encode_response(self, found: Embeddings, asked: Texts) -> dict[str, Any]:
        """See Embedding."""
        rows = [{"values": row} for row in found.vectors.tolist()]
        used = {"usageMetadata": {"promptTokenCount": found.usage.input}} if found.usage else {}
        return {"embedding": rows[0], **used} if asked.alone else {"embeddings": rows, **used}


class CohereEmbedding:
    """POST /v2/embed; what the texts are for must be said, and is a document unless the caller says otherwise."""

    most: ClassVar[int] = 96
    _known: ClassVar[frozenset[str]] = frozenset({"model", "texts", "inputs", "embedding_types", "output_dimension"})

    def path(self, asked: Texts) -> str:
        """See Embedding."""
        return "/v2/embed"

    def encode(self, asked: Texts) -> dict[str, Any]:
        """See Embedding."""
        body = {"model": asked.model, "texts": [_words(one) for one in asked.texts], "input_type": "search_document",
                "embedding_types": ["base64" if asked.packed else "float"]}  # fmt: skip
        return body | given({"output_dimension": asked.dimensions}) | dict(asked.extra)

    def decode(self, body: Any) -> Embeddings:
        """See Embedding."""
        found = table(body, "the answer").get("embeddings")
        rows = found if isinstance(found, list) else inner(found).get("float") or inner(found).get("base64")
        meta = inner(body.get("meta"))
        used = inner(meta.get("tokens")).get("input_tokens", inner(meta.get("billed_units")).get("input_tokens"))
        usage = None if used is None else Usage(number(used))
        return Embeddings(_matrix(rows if isinstance(rows, list) else ()), usage)

    def decode_request(self, body: Any, path: str = "") -> Texts:
        """See Embedding."""
        body = asked_table(body, "the body")
        kinds = asked_list(body.get("embedding_types"), "embedding_types") or ["float"]
        if len(kinds) != 1 or kinds[0] not in ("float", "base64"):
            raise RequestRefused(f"embedding_types must be float or base64, one of them, not {str(kinds)[:60]}")
        rows = asked_list(body.get("texts"), "texts")
        if not rows:
            rows = [_only_text(row, f"inputs[{i}]") for i, row in enumerate(asked_list(body.get("inputs"), "inputs"))]
        texts = tuple(asked_text(one, f"texts[{i}]") for i, one in enumerate(rows))
        return Texts(asked_text(body.get("model"), "model"), texts,
                     whole(body.get("output_dimension"), "output_dimension"), kinds[0] == "base64",
                     extra=left_over(body, self._known))  # fmt: skip

    def encode_response(self, found: Embeddings, asked: Texts) -> dict[str, Any]:
        """See Embedding."""
        rows = [_packed(row) for row in found.vectors] if asked.packed else found.vectors.tolist()
        used = {"billed_units": {"input_tokens": found.usage.input}} if found.usage else {}
        return {"id": "", "response_type": "embeddings_by_type", "texts": [_words(one) for one in asked.texts],
                "embeddings": {"base64" if asked.packed else "float": rows},
                "meta": {"api_version": {"version": "2"}, **used}}  # fmt: skip


class OllamaEmbedding:
    """POST /api/embed. A text that is too long is cut silently unless `truncate` is false, so it is."""

    most: ClassVar[int] = 512
    _known: ClassVar[frozenset[str]] = frozenset({"model", "input", "dimensions", "prompt"})

    def path(self, asked: Texts) -> str:
        """See Embedding."""
        return "/api/embed"

    def encode(self, asked: Texts) -> dict[str, Any]:
        """See Embedding."""
        body = {"model": asked.model, "input": [_words(one) for one in asked.texts], "truncate": False}
        return body | given({"dimensions": asked.dimensions}) | dict(asked.extra)

    def decode(self, body: Any) -> Embeddings:
        """See Embedding."""
        rows = table(body, "the answer").get("embeddings")
        used = body.get("prompt_eval_count")
        usage = None if used is None else Usage(number(used))
        return Embeddings(_matrix(rows if isinstance(rows, list) else ()), usage, text(body.get("model")))

    def decode_request(self, body: Any, path: str = "") -> Texts:
        """See Embedding; the older address /api/embeddings takes one `prompt`."""
        body = asked_table(body, "the body")
        alone = path.endswith("/embeddings")
        texts = (asked_text(body.get("prompt"), "prompt"),) if alone else _inputs(body.get("input"))
        return Texts(asked_text(body.get("model"), "model"), texts, whole(body.get("dimensions"), "dimensions"),
                     alone=alone, extra=left_over(body, self._known))  # fmt: skip

    def encode_response(self, found: Embeddings, asked: Texts) -> dict[str, Any]:
        """See Embedding."""
        if asked.alone:
            return {"embedding": found.vectors[0].tolist()}
        used = {"prompt_eval_count": found.usage.input} if found.usage else {}
        return {"model": found.model or asked.model, "embeddings": found.vectors.tolist(), **used}


_OPENAI, _OLLAMA = OpenAIEmbedding(), OllamaEmbedding()
EMBEDDINGS: dict[str, Embedding] = {
    "openai": _OPENAI,
    "openai-responses": _OPENAI,
    "openai-completions": _OPENAI,
    "gemini": GeminiEmbedding(),
    "cohere": CohereEmbedding(),
    "ollama": _OLLAMA,
    "ollama-generate": _OLLAMA,
}


def _matrix(rows: Iterable[Any]) -> Array:
    """Vectors, whether as numbers or packed; all of one width, and finite."""
    made = []
    for i, row in enumerate(rows):
        try:
            vector = np.frombuffer(base64.b64decode(row), "<f4") if isinstance(row, str) else np.asarray(row, "<f4")
        except (ValueError, TypeError):
            vector = np.empty((0, 0), "<f4")
        if vector.ndim != 1 or not vector.size or not np.isfinite(vector).all():
            raise BadAnswer(f"vector {i} of the answer is none: {str(row)[:60]!r}")
        made.append(vector)
    if not made:
        raise BadAnswer("the answer has no vectors")
    if len({len(vector) for vector in made}) > 1:
        raise BadAnswer(f"the vectors of the answer differ in width: {sorted({len(v) for v in made})}")
    return np.stack(made).astype(np.float32, copy=False)  # (texts, width)


def _packed(vector: Array) -> str:
    return base64.b64encode(vector.astype("<f4", copy=False).tobytes()).decode()


def _inputs(found: Any) -> tuple[str | tuple[int, ...], ...]:
    """A text, a list of texts, token ids, or a list of token ids."""
    if isinstance(found, str) or (isinstance(found, list) and found and _ids(found)):
        found = [found]
    rows = asked_list(found, "input")
    if not rows:
        raise RequestRefused("input is empty; give a text or a list of texts")
    return tuple(tuple(one) if _ids(one) else asked_text(one, f"input[{i}]") for i, one in enumerate(rows))


def _ids(row: Any) -> bool:
    return isinstance(row, list) and bool(row) and all(isinstance(i, int) and not isinstance(i, bool) for i in row)


def _words(one: str | Sequence[int]) -> str:
    if not isinstance(one, str):
        raise RequestRefused("this API embeds texts, no token ids")
    return one


def _only_text(row: Any, where: str) -> str:
    """Cohere's richer inputs, as far as they are text."""
    parts = asked_list(asked_table(row, where).get("content"), f"{where}.content")
    return "".join(asked_text(inner(part).get("text"), f"{where}.content[{i}].text") for i, part in enumerate(parts))


def _model_in(path: str) -> str:
    return path.rpartition("/models/")[2].rpartition(":")[0]
