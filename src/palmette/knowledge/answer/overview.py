"""Questions about the whole: the groups of a graph that a question is about, what is said in each, an answer from that.

After Edge et al. 2024 ("From local to global"), but lazy: nothing is summarised before somebody asks, and then only the
groups that the question is about. Of a model's summary only the sentences stay that the graph supports; it is kept in
the store by the model and the facts it was made of, and goes with the next document that is taken out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from palmette.core.errors import BadParameter
from palmette.core.message import Message
from palmette.core.model import Model
from palmette.knowledge.answer.asking import asked, fitting, told
from palmette.knowledge.answer.stems import stem
from palmette.knowledge.answer.verify import Checked, verify
from palmette.knowledge.documents.read import hash_of
from palmette.knowledge.extract.by_model import Local
from palmette.knowledge.names import tokens_of
from palmette.knowledge.retrieve.community import Community, communities
from palmette.knowledge.retrieve.passages import Retriever, words_of
from palmette.knowledge.store.read import quoted, triples
from palmette.knowledge.values import Fact

__all__ = ["Group", "Overview", "groups", "overview"]

FEW = 5  # facts that stand for a group without a summary
_TASK = "Say in two or three sentences what these facts are about. Use the names as they are written; add nothing."
_WHOLE = (
    "Below is what a collection of documents says, group by group. Answer the question from it alone, in a few "
    "sentences. If it does not answer the question, say so."
)


@dataclass(frozen=True)
class Group:
    """A community with what is said of it; `facts` are its best, with quotes."""

    community: Community
    summary: str
    facts: tuple[Fact, ...]

    def __str__(self) -> str:
        return f"{self.community}\n{self.summary}"


@dataclass(frozen=True)
class Overview:
    """An answer about the whole: its text, the groups it stands on, each sentence with its support, what it cost."""

    text: str
    abstained: bool
    groups: tuple[Group, ...]
    sentences: tuple[Checked, ...] = ()
    calls: int = 0
    tokens: int = 0

    def __str__(self) -> str:
        return self.text


def groups(
    search: Retriever, by: Model | Local | None = None, *, most: int = 20, max_tokens: int = 256, about: str = ""
) -> tuple[list[Group], int, int]:
    """The groups of a graph, each with a summary.

    Args:
        search: the graph.
        by: a model; without one a group's best facts are its summary.
        most: how many groups.
        max_tokens: of a summary.
        about: a question; only the groups that share words with it, where some do. Without one, the largest.

    Returns:
        the groups, the calls that were made, their tokens.
    """
    if most < 1:
        raise BadParameter(f"most must be at least 1, not {most!r}")
    store = search.store
    found = _ranked(communities(store, most=max(most, 100)), about)[:most]
    out, kept, calls, spent = [], [], 0, 0
    for community in found:
        facts = tuple(quoted(store, triples(store, list(community.best)), most=1))
        if by is None:
            out.append(Group(community, _few(facts), facts))
            continue
        key = hash_of("\x1f".join((_TASK, by.id, str(getattr(by, "seed", "")), str(max_tokens), *map(str, facts))))
        text = store.reply(key)
        if text is None:
            fit = fitting(by, _TASK, "", facts)
            text, tokens = asked(by, told(_TASK, "What are they about?", fit), None, max_tokens)
            calls, spent = calls + 1, spent + tokens
            kept.append((key, "", text, tokens))
        summary = " ".join(s.text for s in verify(search, text) if s.facts)  # as the store is now
        out.append(Group(community, summary or _few(facts), facts))
    if kept and not store.db.read_only:
        store.keep_replies(kept)
    return out, calls, spent


def overview(
    search: Retriever, question: str, by: Model | Local | None = None, *, most: int = 8, max_tokens: int = 256
) -> Overview:
    """Answer a question about the whole graph.

    Args:
        search: the graph.
        question: text.
        by: a model; without one the groups that the question is about are the answer.
        most: how many groups are looked at.
        max_tokens: of each summary and of the answer.
    """
    if not question.strip():
        raise BadParameter("the question is empty")
    found, calls, tokens = groups(search, by, most=most, max_tokens=max_tokens, about=question)
    if not found:
        return Overview("I cannot answer that from this graph: no three things in it hang together.", True, ())
    if by is None:
        return Overview("\n\n".join(map(str, found)), False, tuple(found))
    text, spent = asked(by, _asking(by, question, found, max_tokens), None, max_tokens)
    said = text.strip()
    return Overview(said, not said, tuple(found), verify(search, text), calls + 1, tokens + spent)


def _asking(by: Model | Local, question: str, found: Sequence[Group], max_tokens: int) -> tuple[Message, ...]:
    """The question after as many groups as the model can hold."""
    count = len(found)
    while True:
        listed = "\n\n".join(f"Group {i}: {group}" for i, group in enumerate(found[:count], 1))
        said = (Message.of("system", _WHOLE), Message.of("user", f"{listed}\n\nQuestion: {question}"))
        if not isinstance(by, Local) or by.engine.context_length - len(by.spoken(by.engine, said)) > 64:
            return said
        if count == 1:
            raise BadParameter(f"{by.id} holds {by.engine.context_length} tokens, too few for a single group")
        count //= 2


def _few(facts: Sequence[Fact]) -> str:
    return " ".join(f"{fact}." for fact in facts[:FEW])


def _ranked(found: list[Community], question: str) -> list[Community]:
    """The communities that share words with the question, rare words first; all of them, if none does."""
    words = {stem(w) for w in words_of(question)} if question else set()
    had = [words & _stems(community) for community in found]
    seen = Counter(word for some in had for word in some)
    score = [sum(1 / seen[word] for word in some) for some in had]
    order = sorted(range(len(found)), key=lambda i: -score[i])
    return [found[i] for i in order if score[i]] or found


def _stems(community: Community) -> set[str]:
    names = [*community.members, *(relation for relation, _ in community.relations)]
    return {stem(w) for name in names for w in tokens_of(name)}
