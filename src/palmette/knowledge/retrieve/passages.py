"""Passages for a question: words find the first, the web of names leads on to the others.

Seeds decide. They are the things that the question names, by rarity, and the passages with the best scores, peaked: the
softmax of the scores brought to 0 … 1. The walk then finds passages that share no word with the question. Ranks by
words and by an embedding are fused before the walk and never after it, which would dilute what it found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import BadParameter
from palmette.knowledge.extract.plain import STOP
from palmette.knowledge.names import tokens_of
from palmette.knowledge.retrieve.pagerank import pagerank
from palmette.knowledge.retrieve.snapshot import Snapshot, snapshot
from palmette.knowledge.store.base import Row
from palmette.knowledge.store.store import Store
from palmette.knowledge.values import Chunk

__all__ = ["Embedder", "Hit", "Retriever", "Way", "fused", "words_of"]

Way = Literal["words", "dense", "fused", "graph"]
SEEDS, PEAK, NAMED, RESTART = 20, 20.0, 0.3, 0.5


class Embedder(Protocol):
    """Texts in, vectors out: float32[texts, width]. `id` names the model, so that vectors of two never meet."""

    @property
    def id(self) -> str:
        """The model's name."""
        ...

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]: ...


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage and its score."""

    chunk: Chunk
    score: float


def words_of(question: str) -> list[str]:
    """The words of a question that carry meaning; all of them, if none does.

    >>> words_of("Who founded Apple?")
    ['founded', 'apple']
    """
    words = list(dict.fromkeys(tokens_of(question)))
    return [w for w in words if w not in STOP] or words


def fused(rankings: Sequence[Sequence[int]], *, k: int = 60) -> list[tuple[int, float]]:
    """Reciprocal rank fusion (Cormack, Clarke and Büttcher 2009): the best first.

    >>> [i for i, _ in fused([[1, 2, 3], [3, 1]])]
    [1, 3, 2]
    """
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            scores[item] = scores.get(item, 0.0) + 1 / (k + rank)
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))


class Retriever:
    """Searches one store; its web is made when it is first needed and again after the store has changed."""

    def __init__(self, store: Store, embedder: Embedder | None = None) -> None:
        self.store = store
        self.embedder = embedder
        self._web: Snapshot | None = None
        self._vectors: tuple[object, NDArray[np.int64], NDArray[np.float32]] | None = None

    @property
    def web(self) -> Snapshot:
        """The store as a web."""
        if self._web is None or self._web.stamp != self.store.db.changes():
            self._web = snapshot(self.store)
        return self._web

    def lend(self, other: Retriever) -> None:
        """Let another that searches the same store have what was made here."""
        other._web, other._vectors = self._web, self._vectors

    def passages(self, question: str, most: int = 10, *, way: Way = "graph") -> list[Hit]:
        """The passages that a question needs, the best first.

        Args:
            question: text.
            most: how many.
            way: "words" (BM25), "dense" (an embedder's cosine), "fused" (both), "graph" (from there, along the names).
        """
        ranked = self.ranked(question, most, way=way)
        return [Hit(c, s) for c, (_, s) in zip(self.store.chunks([i for i, _ in ranked]), ranked, strict=True)]

    def ranked(self, question: str, most: int = 10, *, way: Way = "graph") -> list[tuple[int, float]]:
        """The same as numbers of chunks with scores."""
        if way not in ("words", "dense", "fused", "graph"):
            raise BadParameter(f"way must be words, dense, fused or graph, not {way!r}")
        if most < 0:
            raise BadParameter(f"most must be at least 0, not {most!r}")
        if way == "words":
            return self.store.db.search(words_of(question), most)
        if way == "dense":
            return self._dense(question, most)
        if way == "fused":
            return self._first(question, most)
        return self._walked(question, most)

    def _walked(self, question: str, most: int) -> list[tuple[int, float]]:
        web = self.web
        seeds = self.seeds(question)
        if not seeds.any():
            return []
        mass = pagerank(web.web, seeds, restart=RESTART)[: len(web.chunks)]
        best = np.argsort(-mass, kind="stable")[:most]
        return [(int(web.chunks[i]), float(mass[i])) for i in best if mass[i] > 0]

    def seeds(self, question: str) -> NDArray[np.float64]:
        """Where the walk starts: float64[nodes]."""
        web = self.web
        seeds = np.zeros(web.web.nodes)
        count = len(web.chunks)
        named: dict[int, float] = {}
        for _, _, things in web.lexicon.find(question):
            named |= {t: web.rarity[t] / len(things) for t in things}
        for thing, weight in named.items():
            seeds[count + thing] = NAMED * weight / sum(named.values())
        found = self._first(question, SEEDS)
        if found:
            scores = np.array([s for _, s in found])
            spread = scores.max() - scores.min()
            peaked = np.exp(PEAK * ((scores - scores.min()) / spread - 1)) if spread else np.ones(len(found))
            places = np.searchsorted(web.chunks, [i for i, _ in found])
            seeds[places] = (1 - NAMED if named else 1.0) * peaked / peaked.sum()
        return seeds

    def _first(self, question: str, most: int) -> list[tuple[int, float]]:
        """Passages by words, or by words and vectors, where there is an embedder."""
        words = self.store.db.search(words_of(question), most)
        if self.embedder is None:
            return words
        return fused([[i for i, _ in words], [i for i, _ in self._dense(question, most)]])[:most]

    def _dense(self, question: str, most: int) -> list[tuple[int, float]]:
        if self.embedder is None:
            raise BadParameter("way 'dense' needs an embedder; give the graph one, or search by words")
        chunks, vectors = self._embedded(self.embedder)
        asked = _unit(self.embedder([question]))[0]
        scores = vectors @ asked  # (chunks,)
        best = np.argsort(-scores, kind="stable")[:most]
        return [(int(chunks[i]), float(scores[i])) for i in best]

    def _embedded(self, embedder: Embedder) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The vectors of all chunks, those that are missing made, and kept as float16 if the store may be written."""
        stamp = self.store.db.changes()
        if self._vectors is not None and self._vectors[0] == stamp:
            return self._vectors[1:]
        db = self.store.db
        missing = db.rows(
            "SELECT c.id, c.text FROM chunk c WHERE NOT EXISTS "
            "(SELECT 1 FROM vector v WHERE v.chunk = c.id AND v.model = ?) ORDER BY c.id", (embedder.id,),
        )  # fmt: skip
        unkept: list[Row] = []
        for start in range(0, len(missing), 64):
            some = missing[start : start + 64]
            made = _unit(embedder([text for _, text in some])).astype(np.float16)
            rows = [(int(i), v.tobytes()) for (i, _), v in zip(some, made, strict=True)]
            if db.read_only:
                unkept += rows
                continue
            with db.writing():
                db.load("vector", ("model", "chunk", "value"), [(embedder.id, *row) for row in rows])
        found = sorted([*db.rows("SELECT chunk, value FROM vector WHERE model = ?", (embedder.id,)), *unkept])
        chunks = np.array([int(i) for i, _ in found], np.int64)
        vectors = np.array([np.frombuffer(v, np.float16) for _, v in found], np.float32)
        self._vectors = (db.changes(), chunks, vectors)
        return chunks, vectors


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors of length one."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(length > 0, length, 1)).astype(np.float32)
