"""Questions answered from a graph, in a way that can be held to account.

    cite      the model picks facts by their numbers, and nothing else; the answer is rendered from them, with quotes
    confined  the model writes a path of the graph, token by token; only on this machine
    free      the model writes prose; then every sentence is held against the graph, and what has no support is marked
    none      no model: the best facts and passages as they are

In every mode a question without support gets no answer, and then no model has been asked.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from palmette.core.engine import View
from palmette.core.errors import BadParameter, Unsupported
from palmette.core.message import Message
from palmette.core.model import Model
from palmette.knowledge.answer.asking import asked, fitting, told
from palmette.knowledge.answer.confined import GraphConstraint
from palmette.knowledge.answer.direct import direct
from palmette.knowledge.answer.evidence import CARE, Evidence, gather, other_names
from palmette.knowledge.answer.stems import stem
from palmette.knowledge.answer.support import beside, meant
from palmette.knowledge.answer.verify import Checked, verify
from palmette.knowledge.documents.chunk import sentences
from palmette.knowledge.extract.by_model import Local
from palmette.knowledge.names import key_of, tokens_of
from palmette.knowledge.retrieve.passages import Retriever, words_of
from palmette.knowledge.store.read import NOW, When, quoted, triples
from palmette.knowledge.values import Fact, Quote
from palmette.tokens.decode import decode
from palmette.tokens.strategies.beam import beam
from palmette.tokens.views.constrain import constrain

__all__ = ["Answer", "MODES", "Mode", "ask"]

Mode = Literal["cite", "confined", "free", "none"]
MODES: tuple[str, ...] = get_args(Mode)
MOST_CITED, MOST_STATED, _TRIES = 6, 3, 2
_LACKS = {"who": "nothing in it says who", "when": "nothing in it says when"}
_CITE = (
    "Below are facts with their numbers. Name the numbers of the facts that answer the question, the most direct "
    "first, as few as will do. If they do not answer it, name none."
)
_FREE = "Answer the question in a few sentences, from these facts alone. If they do not answer it, say so."


@dataclass(frozen=True)
class Answer:
    """An answer with what it stands on.

    Args:
        text: the answer; where there is none, why.
        mode: how it was made.
        abstained: whether there is none.
        facts: what it says or cites, with quotes.
        evidence: everything that was found.
        sentences: in mode "free", its sentences with their support.
        calls, tokens: what it cost.
        stated: in mode "none", the sentences that say what none of its facts does.
    """

    text: str
    mode: str
    abstained: bool
    facts: tuple[Fact, ...]
    evidence: Evidence
    sentences: tuple[Checked, ...] = ()
    calls: int = 0
    tokens: int = 0
    stated: tuple[Quote, ...] = ()

    @property
    def quotes(self) -> tuple[Quote, ...]:
        """The quotes of its facts, and what it quotes beside them."""
        return tuple(dict.fromkeys((*(quote for fact in self.facts for quote in fact.quotes), *self.stated)))

    @property
    def supported(self) -> bool:
        """Whether all that is said has support in the graph."""
        return not self.abstained and all(sentence.facts for sentence in self.sentences)

    def __str__(self) -> str:
        return self.text


def ask(
    search: Retriever, question: str, by: Model | Local | None = None, *, mode: Mode | None = None, care: float = CARE,
    max_tokens: int = 256, when: When = NOW, abstain: bool = True,
) -> Answer:  # fmt: skip
    """Answer a question.

    Args:
        search: the graph.
        question: text.
        by: a model, or None for mode "none".
        mode: see above; "cite" by default.
        care: how sure it must be that the graph supports an answer; see `gather`.
        max_tokens: of the model's answer.
        when: the times.
        abstain: whether a model may say that the facts do not answer.

    Raises:
        BadParameter: for a mode without the model that it needs.
        Unsupported: for mode "confined" with a model that does not give the scores of every token.
    """
    mode = mode or ("none" if by is None else "cite")
    if mode not in MODES:
        raise BadParameter(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
    if not isinstance(question, str) or not question.strip():
        raise BadParameter(f"the question is empty, or no text: {question!r}")
    if mode != "none" and by is None:
        raise BadParameter(f"mode {mode!r} needs a model (by=, --model)")
    if mode == "confined" and not isinstance(by, Local):
        raise Unsupported(
            "an answer can be confined only with the scores of every token, which a model on this machine gives; "
            "mode 'cite' works with every model"
        )
    found = gather(search, question, care=care, when=when)
    if not found.enough:
        return Answer(f"I cannot answer that from this graph: {found.why}.", mode, True, (), found)
    if mode == "none" or by is None:
        return _plain(search, found)
    if mode == "confined":
        assert isinstance(by, Local)
        return _confined(search, found, by, max_tokens, when, abstain)
    if not found.facts:
        return Answer("I cannot answer that from this graph: no fact speaks to it.", mode, True, (), found)
    if mode == "cite":
        return _cited(found, by, max_tokens, 0 if abstain else 1)
    return _free(search, found, by, max_tokens)


def _plain(search: Retriever, found: Evidence) -> Answer:
    """The best facts, with the sentences that say what no fact says; the best passage, if there are none.

    Of a question about one thing the facts that answer it, or the sentences; nothing, where they lack what it asks for.
    """
    one = direct(found.question, search.web.lexicon)
    if one is not None:
        one = replace(one, also=tuple(other_names(search.store, found.things, key_of(one.name))))
        some, quotes = one.answers(found.facts, [hit.chunk for hit in found.passages])
        if some or quotes:
            return _said(found, tuple(some[:MOST_CITED]), tuple(quotes[:MOST_STATED]))
        if one.kind in _LACKS and len(beside(found.question, search.web.lexicon)) == 1:
            return Answer(f"I cannot answer that from this graph: {_LACKS[one.kind]}.", "none", True, (), found)
    asked, facts = meant(found.question, search.web.lexicon), _few(found)
    says = {fact: _says(asked, str(fact), *(quote.text for quote in fact.quotes)) for fact in facts}
    stated = _stated(found, asked, asked.difference(*says.values()))
    for quote in stated:
        facts = tuple(fact for fact in facts if not says[fact] <= _says(asked, quote.text))
    return _said(found, facts, stated)


def _said(found: Evidence, facts: tuple[Fact, ...], stated: tuple[Quote, ...]) -> Answer:
    said = "\n".join([*([_rendered(facts)] if facts else []), *(_placed(q.text, q) for q in stated)])
    passage = found.passages[0].chunk if found.passages else None
    if not said and passage is not None:
        said = f"{passage.text} ({passage.document})"
    return Answer(said, "none", False, facts, found, stated=stated)


def _says(asked: set[str], *texts: str) -> set[str]:
    return asked & {stem(word) for text in texts for word in tokens_of(text)}


def _stated(found: Evidence, asked: set[str], left: set[str]) -> tuple[Quote, ...]:
    """Sentences of the passages that say what is left, and something else that was asked; those that say most first."""
    says: dict[Quote, set[str]] = {}
    for chunk in (hit.chunk for hit in found.passages if left):
        for a, b in sentences(chunk.text):
            quote = Quote(chunk.document, chunk.start + a, chunk.start + b, chunk.text[a:b])
            says[quote] = _says(asked, quote.text)
    out: list[Quote] = []
    while says and left:
        best = max(says, key=lambda quote: (len(says[quote] & left), len(says[quote])))
        if not says[best] & left or len(says[best]) < min(2, len(asked)):
            break
        out.append(best)
        left = left - says[best]
    return tuple(out)


def _few(found: Evidence) -> tuple[Fact, ...]:
    """The facts that share the most words with the question, and those that then add most, as few as will do."""
    words = {stem(word) for word in words_of(found.question)}
    had = {fact: words & {stem(w) for w in tokens_of(str(fact))} for fact in found.facts}
    left, out = set(words), list[Fact]()
    while len(out) < MOST_CITED:
        best = max(had.values(), key=lambda some: (len(some & left), len(some)), default=set[str]())
        if not best & left:
            break
        out += [fact for fact, some in had.items() if some == best]
        left -= best
    return tuple(out[:MOST_CITED] or (() if found.passages else found.facts[:MOST_CITED]))


def _rendered(facts: Sequence[Fact]) -> str:
    """Facts as sentences, each with its first quote's place."""
    return "\n".join(_placed(f"{fact}.", fact.quotes[0]) if fact.quotes else f"{fact}." for fact in facts)


def _placed(text: str, quote: Quote) -> str:
    return f"{text} [{quote.document} {quote.start}–{quote.end}]"


# -- cite --------------------------------------------------------------------------------------------------------------


def _cited(found: Evidence, by: Model | Local, max_tokens: int, least: int) -> Answer:
    calls = tokens = 0
    picked: list[str] = []
    facts = fitting(by, _CITE, found.question, found.facts)
    ids = [f"F{i}" for i in range(1, len(facts) + 1)]
    listed = {"type": "array", "items": {"enum": ids}, "uniqueItems": True, "minItems": least, "maxItems": MOST_CITED}
    schema = {"type": "object", "properties": {"facts": listed}, "required": ["facts"], "additionalProperties": False}
    said = told(_CITE, found.question, facts, ids)
    while calls < _TRIES:
        text, used = asked(by, said, schema, max_tokens)
        calls, tokens = calls + 1, tokens + used
        try:
            picked = [i for i in dict.fromkeys(json.loads(text)["facts"]) if i in ids]
            break
        except (ValueError, KeyError, TypeError):
            continue
    chosen = tuple(facts[int(i[1:]) - 1] for i in picked)
    if not chosen:
        return Answer("The facts of this graph do not answer that.", "cite", True, (), found, (), calls, tokens)
    return Answer(_rendered(chosen), "cite", False, chosen, found, (), calls, tokens)


# -- confined ----------------------------------------------------------------------------------------------------------


def _confined(search: Retriever, found: Evidence, by: Local, max_tokens: int, when: When, abstain: bool) -> Answer:
    store, engine = search.store, by.engine
    start = found.things or None
    rule = GraphConstraint(engine, store, start=start, when=when, abstain=abstain)
    facts = found.facts
    said = told("Say the path of facts that answers the question.", found.question, facts)
    prompt = by.spoken(engine, said)
    while facts and len(prompt) + max_tokens >= engine.context_length:
        facts = facts[: len(facts) // 2]
        prompt = by.spoken(engine, told("", found.question, facts) if facts else (Message.of("user", found.question),))
    most = min(max_tokens, engine.context_length - len(prompt) - 1)
    if most < 8:
        raise BadParameter(
            f"the question leaves {by.id} no room to answer: its context holds {engine.context_length} tokens"
        )
    views: list[View] = [constrain(rule, "graph"), *by.views]
    done = decode(engine, prompt, by.strategy or beam(4), views=views, max_tokens=most, seed=by.seed, trace=False).run()
    for best in done.answers:
        state = rule.start()
        for token in best.tokens:
            state = rule.step(state, token)
        if rule.accepts(state):
            break
    else:
        return Answer(
            f"No path was complete within {most} tokens.", "confined", True, (), found, (), 1, len(prompt) + most
        )
    cost = len(prompt) + len(best.tokens)
    hops = rule.hops(state)
    if not hops:
        return Answer("The graph does not say.", "confined", True, (), found, (), 1, cost)
    used = quoted(store, triples(store, [triple for triple, _ in hops], when=when), when=when)
    return Answer(_rendered(used), "confined", False, tuple(used), found, (), 1, cost)


# -- free --------------------------------------------------------------------------------------------------------------


def _free(search: Retriever, found: Evidence, by: Model | Local, max_tokens: int) -> Answer:
    facts = fitting(by, _FREE, found.question, found.facts)
    text, tokens = asked(by, told(_FREE, found.question, facts), None, max_tokens)
    checked = verify(search, text, found)
    used = tuple(dict.fromkeys(fact for sentence in checked for fact in sentence.facts))
    return Answer(text.strip(), "free", not text.strip(), used, found, checked, 1, tokens)
