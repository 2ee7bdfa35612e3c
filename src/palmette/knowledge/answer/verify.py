"""Prose held against a graph: for each sentence the facts that say it, or none.

A fact says a sentence if both of its ends are named there and the sentence adds little to the fact and its quotes: most
of the sentence's words, its names aside, are theirs. It is a strict reading: what is true and not in the graph is
marked as well, and so is what is only said in other words.
"""

from __future__ import annotations

from dataclasses import dataclass

from palmette.knowledge.answer.evidence import Evidence
from palmette.knowledge.answer.stems import stem
from palmette.knowledge.documents.chunk import sentences
from palmette.knowledge.extract.plain import STOP
from palmette.knowledge.names import key_of, tokens_of
from palmette.knowledge.retrieve.passages import Retriever
from palmette.knowledge.retrieve.paths import around
from palmette.knowledge.store.read import quoted
from palmette.knowledge.values import Fact

__all__ = ["Checked", "verify"]

_SHARE = 0.5  # of a sentence's other words that a fact and its quotes must have


@dataclass(frozen=True)
class Checked:
    """A sentence, where it stands in the answer, and the facts that say it."""

    text: str
    start: int
    end: int
    facts: tuple[Fact, ...]


def verify(search: Retriever, text: str, found: Evidence | None = None) -> tuple[Checked, ...]:
    """Every sentence of a text with the facts that support it.

    Args:
        search: the graph.
        text: prose.
        found: what was gathered for the question; its facts are tried first.
    """
    return tuple(Checked(text[a:b], a, b, tuple(_support(search, text[a:b], found))) for a, b in sentences(text))


def _support(search: Retriever, sentence: str, found: Evidence | None) -> list[Fact]:
    web = search.web
    named = {thing: None for _, _, things in web.lexicon.find(sentence) for thing in things}
    near = around(search.store, [int(web.entities[i]) for i in named], most=400) if named else []
    pool = dict.fromkeys([*(found.facts if found else ()), *near])
    key = f" {key_of(sentence)} "
    both = [f for f in pool if all(f" {key_of(e.name)} " in key for e in (f.subject, f.object))]
    words = {stem(w) for w in tokens_of(sentence) if w not in STOP}
    out = []
    for fact in quoted(search.store, both):
        ends = {stem(w) for e in (fact.subject, fact.object) for w in tokens_of(e.name)}
        said = {stem(w) for part in (fact.relation, *(q.text for q in fact.quotes)) for w in tokens_of(part)}
        rest = words - ends
        bare = f" {key_of(fact.relation)} " in key  # "is" and its like are no words of their own
        if len(rest & said) >= _SHARE * len(rest) if rest else bare:
            out.append(fact)
    return out
