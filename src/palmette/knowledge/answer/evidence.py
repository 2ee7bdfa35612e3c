"""What a graph has to say to a question: facts with their quotes, passages, and whether that is enough to answer at
all.

No model is asked. The facts are those around the things that the question names and those that were read in the
passages found for it, ranked by where the walk through the graph spends its time and by the words they share with the
question; a hub gives its best facts and not all. Where what the question names is described by nothing, or much of it
is about what no passage and no fact mentions, there is too little support, and whoever asks should be told so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import BadParameter
from palmette.knowledge.answer.stems import stem
from palmette.knowledge.answer.support import Support, beside, support
from palmette.knowledge.names import key_of, tokens_of
from palmette.knowledge.retrieve.pagerank import pagerank
from palmette.knowledge.retrieve.passages import RESTART, Hit, Retriever, words_of
from palmette.knowledge.retrieve.paths import around
from palmette.knowledge.retrieve.snapshot import Snapshot
from palmette.knowledge.store.base import batches, marks
from palmette.knowledge.store.read import NOW, When, find, quoted, triples
from palmette.knowledge.store.store import Store
from palmette.knowledge.values import Fact

__all__ = ["CARE", "Evidence", "gather", "other_names"]

CARE = 0.843  # how sure it must be that the graph supports an answer; chosen by bench/knowledge.py, part abstain
FACTS, PASSAGES, HOPS = 40, 8, 2
WEIGHED = 20  # passages that are held against the question
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """What was found.

    Args:
        question: what was asked.
        things: what it names, as numbers of entities.
        facts: the best first, with quotes.
        passages: the best first.
        support: how far that supports an answer.
        care: how sure that must be, 0 to 1.
    """

    question: str
    things: tuple[int, ...]
    facts: tuple[Fact, ...]
    passages: tuple[Hit, ...]
    support: Support
    care: float = CARE

    @property
    def enough(self) -> bool:
        """Whether an answer can be supported."""
        if not self.facts and not self.passages:
            return False
        return self.support.sure >= self.care

    @property
    def why(self) -> str:
        """Why it is not enough, for a person; empty if it is."""
        if self.enough:
            return ""
        if not self.things:
            return "the graph describes nothing that the question names"
        if not (self.facts or self.passages):
            return "the graph says nothing about what the question names"
        if self.support.missing:
            return f"nothing in the graph speaks of {', '.join(self.support.missing)}"
        return "nothing in the graph speaks of all that the question asks in one place"


def gather(
    search: Retriever, question: str, *, facts: int = FACTS, passages: int = PASSAGES, hops: int = HOPS,
    care: float = CARE, when: When = NOW,
) -> Evidence:  # fmt: skip
    """Find what speaks to a question.

    Args:
        search: the graph.
        question: text.
        facts, passages: how many, at most.
        hops: how far from what the question names.
        care: how sure it must be that the graph supports an answer, 0 to 1; 0 answers whatever is found.
        when: the times.

    Raises:
        BadParameter: for a care that is no share.
    """
    if not isinstance(care, int | float) or not 0 <= care <= 1:
        raise BadParameter(f"care must be a share from 0 to 1, not {care!r}")
    store, web = search.store, search.web
    spans = [(key_of(question[a:b]), meant) for a, b, meant in web.lexicon.find(question)]
    named = {thing: None for _, meant in spans for thing in meant}
    words = {stem(word) for word in words_of(question)}
    described = _described(store, web, list(named), beside(question, web.lexicon), When(known=when.known))
    things = [int(web.entities[i]) for i in described]
    hits = search.passages(question, max(passages, WEIGHED))
    near = around(store, things, hops=hops, most=10 * facts, when=when) if things else []
    read = _read_in(store, [hit.chunk.id for hit in hits[:passages]], when)
    mass = _mass(search, question, web)
    pool = list(dict.fromkeys([*near, *read]))
    scored = sorted(range(len(pool)), key=lambda i: (-_score(pool[i], store, web, mass, words), i))
    best = quoted(store, [pool[i] for i in scored[:facts]], when=when)
    also = {key: other_names(store, [int(web.entities[i]) for i in meant], key) for key, meant in spans}
    held = support(store, web.lexicon, question, [hit.chunk for hit in hits], best, also)
    return Evidence(question, tuple(things), tuple(best), tuple(hits[:passages]), held, care)


def other_names(store: Store, things: Sequence[int], key: str) -> list[str]:
    """The other keys of things, those aside that only add to this one what tells namesakes apart."""
    ids = store.same.spread(things)
    inside = marks(len(ids))
    sql = f"SELECT key FROM entity WHERE id IN ({inside}) UNION SELECT key FROM alias WHERE entity IN ({inside})"
    return [k for (k,) in store.db.rows(sql, [*ids, *ids]) if f" {key} " not in f" {k} "]


def _described(store: Store, web: Snapshot, named: Sequence[int], words: set[str], when: When) -> list[int]:
    """Those of the things that the graph knows: a document or a fact is about them, or a fact that the question asks
    for ends there. What is only mentioned somewhere is not known.
    """
    out = []
    condition, values = when.sql()
    for thing in named:
        ids = store.same.all(int(web.entities[thing]))
        inside = marks(len(ids))
        about = (
            (f"SELECT 1 FROM assertion a WHERE a.s IN ({inside}) AND {condition} LIMIT 1", [*ids, *values]),
            (f"SELECT 1 FROM mention WHERE entity IN ({inside}) AND last = 0 LIMIT 1", ids),
        )
        if any(store.db.rows(*asked) for asked in about):
            out.append(thing)
            continue
        sql = (
            "SELECT DISTINCT r.name FROM assertion a JOIN relation r ON r.id = a.p "
            f"WHERE a.o IN ({inside}) AND {condition} LIMIT 500"
        )
        rows = store.db.rows(sql, [*ids, *values])
        if any(not words or words & {stem(w) for w in tokens_of(name)} for (name,) in rows):
            out.append(thing)
    return out


def _read_in(store: Store, chunks: Sequence[int], when: When) -> list[Fact]:
    """The facts that were read in these chunks."""
    condition, values = when.sql()
    found: dict[tuple[int, int, int], None] = {}
    for some in batches(chunks):
        sql = (
            f"SELECT a.s, a.p, a.o FROM assertion a WHERE a.chunk IN ({marks(len(some))}) AND {condition} "
            "ORDER BY a.chunk, a.first, a.id"
        )
        found |= dict.fromkeys((s, p, o) for s, p, o in store.db.rows(sql, [*some, *values]))
    return triples(store, list(found), when=when)


def _mass(search: Retriever, question: str, web: Snapshot) -> Floats:
    """Where the walk spends its time, for each thing: float64[things]."""
    seeds = search.seeds(question)
    return pagerank(web.web, seeds, restart=RESTART)[len(web.chunks) :]


def _score(fact: Fact, store: Store, web: Snapshot, mass: Floats, words: set[str]) -> float:
    said = {stem(w) for w in tokens_of(f"{fact.subject.name} {fact.relation} {fact.object.name}")}
    ends = 0.0
    for entity in (fact.subject, fact.object):
        numbers = [i for i, e in find(store, entity.name) if e == entity]
        thing = web.of.get(numbers[0]) if numbers else None
        ends += math.sqrt(float(mass[thing])) if thing is not None else 0.0
    return ends + 0.5 * len(said & words) / (1 + len(words)) + 0.01 * math.log1p(fact.support)
