"""`palmette.graph`: a knowledge graph that opens models by name, local ones as engines in their own chat format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from palmette.core.engine import Engine
from palmette.core.message import Message, Request
from palmette.core.model import Model
from palmette.knowledge.extract.by_model import Local
from palmette.knowledge.graph import Graph, open_store
from palmette.knowledge.retrieve.passages import Embedder
from palmette.models.answering import prompt_of
from palmette.models.local import LocalModel
from palmette.models.opening import model

__all__ = ["ModelEmbedder", "graph"]


def graph(place: str | Path = ":memory:", *, embedder: Any = None, **options: Any) -> Graph:
    """Open a knowledge graph, or begin one.

    Args:
        place: a file, ":memory:", or postgresql://USER@HOST/DATABASE (extra `postgres`).
        embedder: a model or its name whose vectors help to find passages.
        options: read_only, durable (wait for the disk at every commit), wait (seconds for another writer).

    Raises:
        StoreError: if it cannot be used; the type says why.

    >>> import palmette
    >>> notes = palmette.graph()
    >>> notes.say(("Steve Jobs", "co-founded", "Apple"), ("Apple", "created", "iMac"))
    2
    >>> print(notes.path("iMac", "Steve Jobs"))
    iMac <-[created]- Apple <-[co-founded]- Steve Jobs
    >>> notes.ask("Who leads Microsoft?").abstained
    True
    """
    vectors = None if embedder is None else _embedder(embedder)
    return Graph(open_store(place, **options), opening=_opened, embedder=vectors)


def _opened(by: Any) -> Any:
    """What knowledge takes: a local model as an engine with its ways, any other model as it is."""
    if isinstance(by, str):
        by = model(by)
    if hasattr(by, "prefill"):
        by = model(by)
    if isinstance(by, LocalModel):
        return Local(by.engine, by.id, by.strategy, by.views, int(by.options.get("seed", 0)), _spoken)
    return by


def _spoken(engine: Engine, said: Sequence[Message]) -> list[int]:
    """Messages in the model's own chat format, or as plain text where it has none."""
    return list(prompt_of(engine, Request(tuple(said))).tokens)


class ModelEmbedder:
    """A model's embeddings as what knowledge takes."""

    def __init__(self, source: Model) -> None:
        self._source = source
        self.id = source.id

    def __call__(self, texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
        return self._source.embed(list(texts)).vectors


def _embedder(given: Any) -> Embedder:
    if isinstance(given, str):
        given = model(given)
    return ModelEmbedder(given) if isinstance(given, Model) else given
