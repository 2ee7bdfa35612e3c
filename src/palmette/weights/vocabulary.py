"""Vocabularies of different models brought together: which token every row is, and where its embedding comes from.

A model that lacks a token takes the base's embedding of it; else the only other model's that has it; else the mean of
all that have it; or what the recipe says for that token (as mergekit does).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palmette.core.checkpoint import read_json
from palmette.core.errors import CorruptCheckpoint, MismatchedModels, ModelNotFound, RecipeError, near_miss
from palmette.weights.blocks import Source
from palmette.weights.dtypes import Array, Raw, decode, encode, storage
from palmette.weights.folder import Model
from palmette.weights.recipe.schema import Reference, Tokenizer, TokenSource

__all__ = ["Gathered", "Vocabulary", "read_vocabulary"]

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Gathered:
    """A model's rows in the output's order; rows it lacks are means of other rows."""

    plain: Source
    width: int
    own: Rows  # output row -> own row, or -1
    fill: Mapping[int, tuple[tuple[Source, int], ...]]  # output row -> what is averaged (nothing: zero)

    @property
    def dtype(self) -> str:
        """As the model stores it."""
        return self.plain.dtype

    def read(self, start: int, stop: int) -> Raw:
        """See Source."""
        first, last = start // self.width, -(-stop // self.width)
        made = np.zeros((last - first, self.width), storage(self.dtype))
        row = first
        while row < last:
            source = int(self.own[row])
            end = row + 1
            if source < 0:
                made[row - first] = encode(self._mean(row), self.dtype)
            else:
                while end < last and self.own[end] == source + end - row:
                    end += 1
                piece = self.plain.read(source * self.width, (source + end - row) * self.width)
                made[row - first : end - first] = piece.reshape(-1, self.width)
            row = end
        return made.reshape(-1)[start - first * self.width : stop - first * self.width]

    def _mean(self, row: int) -> Array:
        total = np.zeros(self.width, np.float32)
        parts = self.fill.get(row, ())
        for source, at in parts:
            total += decode(source.read(at * self.width, (at + 1) * self.width), source.dtype)
        made: Array = total / np.float32(max(1, len(parts)))
        return made


@dataclass
class Vocabulary:
    """The output's tokens, by row."""

    document: dict[str, Any]  # tokenizer.json of the output
    origin: Model  # whose other tokenizer files are kept
    rows: int
    maps: Mapping[Reference, Mapping[str, int]]
    tokens: Mapping[str, int]
    special: Mapping[str, TokenSource]
    models: Mapping[Reference, Model]
    base: Reference
    multiple: int | None = None
    unchanged: bool = False
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls, wanted: Tokenizer, merged: Sequence[Model], base: Model, models: Mapping[Reference, Model]
    ) -> Vocabulary:
        """Read the vocabularies and decide on the output's.

        Raises:
            ModelNotFound: if a model has no tokenizer.json.
            RecipeError: for a token that no model knows.
        """
        needed = {m.reference: m for m in [base, *merged]}
        needed |= {s.model: models[s.model] for s in wanted.tokens.values() if s.model}
        origin = models[wanted.source] if isinstance(wanted.source, Reference) else base
        needed[origin.reference] = origin
        read = {reference: read_vocabulary(model) for reference, model in needed.items()}
        maps = {reference: tokens for reference, (_, tokens) in read.items()}
        document = json.loads(json.dumps(read[origin.reference][0]))
        tokens = dict(maps[origin.reference])
        if wanted.source == "union":
            for model in merged:
                _add(document, tokens, read[model.reference])
        for token, source in wanted.tokens.items():
            if token not in tokens:
                if source.kind == "model" and source.model and token not in maps[source.model]:
                    known = near_miss(token, maps[source.model])
                    raise RecipeError(f"tokenizer.tokens.{token}", f"{source.model} has no token {token!r}.{known}")
                _append(document, tokens, token, token.startswith("<") and token.endswith(">"))
        rows = max(tokens.values(), default=-1) + 1
        if wanted.multiple:
            rows = -(-rows // wanted.multiple) * wanted.multiple
        same = all(maps[model.reference] == tokens for model in merged)
        return cls(document, origin, rows, maps, tokens, wanted.tokens, models, base.reference, wanted.multiple,
                   same and not wanted.multiple and not wanted.tokens)  # fmt: skip

    def shape(self, whole: Sequence[tuple[Model, str]]) -> tuple[int, ...]:
        """Of a tensor with one row for each token.

        Raises:
            MismatchedModels: if the rows differ in width.
        """
        shapes = {str(model): model.shape(stored) for model, stored in whole}
        if self.unchanged and len(set(shapes.values())) == 1:
            return next(iter(shapes.values()))
        if len({shape[1:] for shape in shapes.values()}) > 1:
            raise MismatchedModels(f"embeddings have different widths: {shapes}")
        return (self.rows, *next(iter(shapes.values()))[1:])

    def source(self, model: Model, stored: str, whole: Sequence[tuple[Model, str]]) -> Source:
        """A model's rows in the output's order."""
        plain = model.source(stored)
        if self.unchanged and len({m.shape(n) for m, n in whole}) == 1:
            return plain
        shape = model.shape(stored)
        width = int(np.prod(shape[1:], dtype=np.int64))
        own = np.full(self.rows, -1, np.int64)
        fill: dict[int, tuple[tuple[Source, int], ...]] = {}
        mine = self.maps[model.reference]
        held = {m.reference: (m.source(n), m.shape(n)[0]) for m, n in whole}
        for token, row in self.tokens.items():
            said = self.special.get(token)
            place = mine.get(token, -1)
            if 0 <= place < shape[0] and not (said and said.force):
                own[row] = place
            else:
                fill[row] = self._stand_in(token, said, held)
        return Gathered(plain, width, own, fill)

    def _stand_in(
        self, token: str, said: TokenSource | None, held: Mapping[Reference, tuple[Source, int]]
    ) -> tuple[tuple[Source, int], ...]:
        """Whose embeddings stand in for a token that a model lacks."""
        if said:
            if said.kind == "zero" or said.model is None:
                return ()
            at = said.token if isinstance(said.token, int) else self.maps[said.model].get(str(said.token or token), -1)
            if said.model not in held or not 0 <= at < held[said.model][1]:
                raise RecipeError(
                    f"tokenizer.tokens.{token}", f"{said.model} has no such token among the merged models"
                )
            return ((held[said.model][0], at),)
        having = [(r, self.maps[r][token]) for r in held if self.maps[r].get(token, 1 << 62) < held[r][1]]
        based = [(reference, at) for reference, at in having if reference == self.base]
        return tuple((held[reference][0], at) for reference, at in based or having)


def read_vocabulary(model: Model) -> tuple[dict[str, Any], dict[str, int]]:
    """tokenizer.json of a model, and its tokens by id.

    Raises:
        ModelNotFound: if there is none.
        CorruptCheckpoint: if it is no tokenizer.
    """
    path = (model.words or model.folder) / "tokenizer.json"
    if model.document is None and not path.is_file():
        raise ModelNotFound(f"{model} has no tokenizer.json; tokenizers are merged from that file")
    document = read_json(path) if model.document is None else model.document
    try:
        held = document["model"]["vocab"]
        tokens = dict(held) if isinstance(held, dict) else {piece: i for i, (piece, _) in enumerate(held)}
        tokens |= {row["content"]: row["id"] for row in document.get("added_tokens") or []}
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptCheckpoint(f"{path} is no tokenizer: {error!r}") from error
    if not all(isinstance(t, str) and isinstance(i, int) and 0 <= i < 1 << 31 for t, i in tokens.items()):
        raise CorruptCheckpoint(f"{path} is no tokenizer: a token or an id has the wrong type")
    return document, tokens


def _add(document: dict[str, Any], tokens: dict[str, int], other: tuple[dict[str, Any], dict[str, int]]) -> None:
    """Append another vocabulary's new tokens, in the order of their ids."""
    special = {row["content"]: bool(row.get("special")) for row in other[0].get("added_tokens") or []}
    for token in sorted(other[1], key=lambda t: other[1][t]):
        if token not in tokens:
            _append(document, tokens, token, special.get(token, False))


def _append(document: dict[str, Any], tokens: dict[str, int], token: str, special: bool) -> None:
    tokens[token] = max(tokens.values(), default=-1) + 1
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": special}
    document.setdefault("added_tokens", []).append({"id": tokens[token], "content": token, **flags})
