"""Laws of answering: nothing that the graph does not have, a quote for everything, silence where there is nothing."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_knowledge_extract import Scripted

import palmette
from palmette.core.errors import BadParameter, Unsupported
from palmette.core.masks import ids_of
from palmette.knowledge.answer import spelling
from palmette.knowledge.answer.confined import ABSTAIN, GraphConstraint
from palmette.knowledge.answer.spelling import Rows, Table, Tree, spellings, tokenizer_hash
from palmette.knowledge.answer.support import support
from palmette.knowledge.answer.verify import verify
from palmette.knowledge.apple import QUESTION, TRIPLES, TYPES
from palmette.knowledge.extract.by_model import Local
from palmette.knowledge.graph import Graph
from palmette.knowledge.retrieve.passages import Retriever
from palmette.knowledge.store.links import same
from palmette.knowledge.store.read import When
from palmette.knowledge.values import Entity, Statement
from palmette.tokens.decode import decode
from palmette.tokens.structure.bytewise import BYTES
from palmette.tokens.views.constrain import constrain

# Names that begin one another and hold what arrows are made of; no two have one key, so none are the same thing.
names = st.sampled_from(["a", "ab", "a - b", "a - c", "->z", "b <- a", "x\ny", "é🙂"])
triples = st.lists(st.tuples(names, st.sampled_from(["r", "r s", "- r", "->"]), names), min_size=1, max_size=6)


def apple() -> Graph:
    graph = Graph(graphs.memory())
    graph.say(*TRIPLES, types=TYPES)
    return graph


def said(name: str) -> str:
    return " ".join(name.split()).replace("->", "→").replace("<-", "←")


@settings(max_examples=15, deadline=None)
@given(triples, st.integers(0, 1000))
def test_every_walk_through_the_masks_is_a_path_of_the_graph(given: list[tuple[str, str, str]], seed: int) -> None:
    store = graphs.memory()
    store.say(graphs.said(*given))
    rule = GraphConstraint(BYTES, store, abstain=False, most_hops=2)
    draw = np.random.default_rng(seed)
    steps = {(said(s), said(p), said(o)) for s, p, o in given}
    for _ in range(5):
        state, text = rule.start(), b""
        while True:
            allowed = ids_of(rule.mask(state))
            assert len(allowed)  # no way leads into a dead end
            token = int(draw.choice(allowed))
            assert (256 in allowed) == rule.accepts(state)
            if token == 256:
                break
            text += bytes([token])
            state = rule.step(state, token)
        hops = rule.hops(state)
        shown = ""
        relation = dict(store.db.rows("SELECT id, name FROM relation"))
        name = dict(store.db.rows("SELECT id, name FROM entity"))
        for (s, p, o), backwards in hops:
            parts = (said(name[s]), said(relation[p]), said(name[o]))
            assert parts in steps
            first, last = (parts[2], parts[0]) if backwards else (parts[0], parts[2])
            arrow = "<-" if backwards else "->"
            shown += f"{shown and ''}{'' if shown else ' ' + first} {arrow} {parts[1]} {arrow} {last}"
        assert shown == text.decode()


@settings(max_examples=30, deadline=None)
@given(triples)
def test_every_path_of_the_graph_can_be_said(given: list[tuple[str, str, str]]) -> None:
    store = graphs.memory()
    store.say(graphs.said(*given))
    rule = GraphConstraint(BYTES, store)
    for s, p, o in given:
        assert rule.accepts(rule.read(f" {said(s)} -> {said(p)} -> {said(o)}"))
        assert rule.accepts(rule.read(f" {said(o)} <- {said(p)} <- {said(s)}"))
        assert not rule.accepts(rule.read(f" {said(s)} -> {said(p)} -> {said(o)}!"))
    assert rule.accepts(rule.read(ABSTAIN)) and rule.hops(rule.read(ABSTAIN)) == ()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), max_size=12), st.integers(0, 70))
def test_a_trie_holds_its_sequences_and_no_other(sequences: list[list[int]], kept: int) -> None:
    table = Table.of_sequences(sequences)
    chosen = np.array([r for r in range(len(sequences)) if kept >> r % 7 & 1], np.int32)
    some = sorted(table.of[chosen].tolist())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spelling, "_WIDE", kept % 4)
        _holds_only(spelling._small(sequences), sequences, range(len(sequences)))
        _holds_only(Rows(table, np.arange(len(sequences), dtype=np.int32)), sequences, range(len(sequences)))
        _holds_only(Rows(table, chosen), sequences, some)


def _holds_only(trie: Tree, sequences: list[list[int]], some: Sequence[int]) -> None:
    """The trie has these of the sequences: every way through it is the beginning of one, and says where one ends."""
    reached: dict[tuple[int, ...], int] = {(): 0}
    edge: list[tuple[int, ...]] = [()]
    while edge:
        way = edge.pop()
        node = reached[way]
        further = sorted({sequences[i][len(way)] for i in some if tuple(sequences[i][: len(way)]) == way
                          and len(sequences[i]) > len(way)})  # fmt: skip
        assert trie.children(node).tolist() == further
        assert trie.ending(node) == next((i for i in some if tuple(sequences[i]) == way), -1)
        for token in range(5):
            child = trie.step(node, token)
            assert (child >= 0) == (token in further)
            if child >= 0:
                reached[*way, token] = child
                edge.append((*way, token))


def test_random_weights_say_paths_of_the_graph_under_every_strategy() -> None:
    graph, engine = apple(), palmette.open_engine("zoo:seedling")
    rule = GraphConstraint(engine, graph.store)
    known = {(s, p, o) for s, p, o in TRIPLES}
    for strategy in (palmette.sample(), palmette.beam(3), palmette.greedy(), palmette.nucleus(0.9)):
        for seed in range(3):
            views = [constrain(rule, "graph"), palmette.temperature(2.0)]
            best = (
                decode(engine, [5, 6, 7], strategy, views=views, max_tokens=120, seed=seed, trace=False)
                .run()
                .answers[0]
            )
            state = rule.start()
            for token in best.tokens:
                state = rule.step(state, token)
            if best.finish == "eos":
                assert rule.accepts(state)
            for (s, p, o), _ in rule.hops(state):
                rows = graph.store.db.rows(
                    "SELECT x.name, r.name, y.name FROM entity x, relation r, entity y "
                    "WHERE x.id = ? AND r.id = ? AND y.id = ?",
                    (s, p, o),
                )
                assert rows[0] in known


def test_a_path_goes_on_through_what_is_the_same() -> None:
    store = graphs.memory()
    store.say(graphs.said(("Ann", "works at", "IBM"), ("Intl. Business Machines", "is in", "Armonk")))
    same(store.db, *store.numbers([Entity("IBM"), Entity("Intl. Business Machines")]))
    rule = GraphConstraint(BYTES, store)
    assert rule.accepts(rule.read(" Ann -> works at -> IBM -> is in -> Armonk"))
    assert not rule.accepts(rule.read(" Ann -> works at -> IBM -> is in -> Ann"))
    with pytest.raises(BadParameter, match="most_hops"):
        GraphConstraint(BYTES, store, most_hops=0)
    with pytest.raises(BadParameter, match="no thing of the graph"):
        GraphConstraint(BYTES, graphs.memory(), abstain=False)


@settings(max_examples=25, deadline=None)
@given(triples, st.lists(st.tuples(names, names), max_size=2), st.integers(0, 1000))
def test_a_whole_graph_in_arrays_leads_where_the_store_does(
    given: list[tuple[str, str, str]], linked: list[tuple[str, str]], seed: int
) -> None:
    store = graphs.memory()
    store.say(graphs.said(*given))
    store.say([Statement(Entity("a"), "said", Entity("1976", "", True)), Statement(Entity("a", "t"), "r", Entity("b"))])
    ids = dict(store.db.rows("SELECT name, id FROM entity WHERE type = ''"))
    for a, b in linked:
        if a in ids and b in ids and a != b:
            same(store.db, ids[a], ids[b])
    whole = GraphConstraint(BYTES, store)
    asked = GraphConstraint(BYTES, store, when=When())  # equal to NOW, and asked of the store as every other time is
    draw, rows = random.Random(seed), {(s, p, o) for s, p, o in store.db.rows("SELECT s, p, o FROM fact")}
    for _ in range(5):
        one, other = whole.start(), asked.start()
        for _ in range(60):
            mask = whole.mask(one)
            assert np.array_equal(mask, asked.mask(other)) and whole.accepts(one) == asked.accepts(other)
            assert [b for _, b in whole.hops(one)] == [b for _, b in asked.hops(other)]
            assert {t for t, _ in whole.hops(one)} <= rows
            allowed = ids_of(mask).tolist()
            if not allowed:
                break
            token = draw.choice(allowed)
            one, other = whole.step(one, token), asked.step(other, token)


def test_spelled_names_are_kept_for_a_tokenizer_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = palmette.open_engine("zoo:seedling")
    texts = [f" name {i}" for i in range(2500)]
    first = spellings(engine, texts, folder=tmp_path)
    (kept,) = tmp_path.glob("*.npz")
    assert kept.name.startswith(tokenizer_hash(engine.tokenizer))
    monkeypatch.setattr(type(engine.tokenizer), "encode_continuation", lambda self, text: pytest.fail("spelled again"))
    assert spellings(engine, texts, folder=tmp_path) == [list(s) for s in first]
    monkeypatch.undo()
    kept.write_bytes(b"damaged")
    assert spellings(engine, texts, folder=tmp_path) == [list(s) for s in first]
    assert tokenizer_hash(BYTES.tokenizer) != tokenizer_hash(engine.tokenizer)


# -- asking ------------------------------------------------------------------------------------------------------------


def test_without_a_model_the_best_facts_answer() -> None:
    answer = apple().ask(QUESTION)
    assert {"Vision Pro was announced in 2023.", "Apple created Vision Pro."} <= set(answer.text.split("\n"))
    assert answer.mode == "none" and answer.calls == 0


@pytest.mark.parametrize(
    "question",
    [
        "Who leads Microsoft?",
        "Why?",
        "What is the airspeed of Apple's unladen swallow?",
        "When was the Vision Amateur announced by Google?",
    ],
)
def test_a_question_without_support_is_refused_and_no_model_is_asked(question: str) -> None:
    model = Scripted(lambda request: pytest.fail("a model was asked"))
    for mode in ("cite", "free"):
        answer = apple().ask(question, by=model, mode=mode)  # type: ignore[arg-type]
        assert answer.abstained and answer.calls == 0 and answer.facts == ()
        assert answer.text.startswith("I cannot answer that from this graph: ")


TEXTS = {
    "moon": "# Moonlight Sonata\n\nThe Moonlight Sonata was composed by Ludwig Beethoven.",
    "beethoven": "# Ludwig Beethoven\n\nLudwig Beethoven was born in Bonn.",
    "bonn": "# Bonn\n\nBonn lies on the river Rhine.",
    "clair": "# Clair de lune\n\nClair de lune is a movement by Claude Debussy; moonlight, in French.",
    "elbe": "# Elbe\n\nThe Elbe is a river that passes Dresden, the birthplace of a composer of songs.",
}  # fmt: skip


def test_what_supports_an_answer_is_told_from_what_only_shares_its_words() -> None:
    question = "In which town was the composer of the Moonlight Sonata born?"
    graph = Graph(graphs.read(graphs.memory(), TEXTS))
    assert not graph.ask(question).abstained
    graph.remove("moon")
    answer = graph.ask(question)
    assert answer.abstained and "describes nothing" in answer.text and answer.calls == 0
    assert not graph.ask(question, care=0.0).abstained
    assert graph.ask("Who composed the Elbe Sonata?").abstained


def test_what_stands_whole_in_one_place_is_answered_in_whatever_case_it_is_asked() -> None:
    graph = Graph(graphs.memory())
    graph.add("# Notes\n\nMr Smith says that Ann Miller sold the bakery in 1999.", name="notes")
    for question in ("When was the bakery sold by Ann Miller?", "when was the bakery sold by ann miller"):
        assert not graph.ask(question).abstained
    assert graph.ask("When was the castle sold by Ann Miller?").abstained


@pytest.mark.parametrize(
    ("question", "refused"),
    [
        ("Which company created the iMac?", False), ("In what year was the iMac announced?", False),
        ("Tell me about visionOS", False), ("Vision Pro", False), ("What does the iPhone run?", False),
        ("What destroyed Apple?", True), ("Which company created the Walkman?", True), ("What is love?", True),
        ("Who was the husband of Tim Cook?", True),
    ],
)  # fmt: skip
def test_what_is_asked_of_a_thing_must_be_said_of_it(question: str, refused: bool) -> None:
    assert apple().ask(question).abstained == refused


def test_without_a_model_as_few_facts_answer_as_will_do() -> None:
    assert apple().ask("Who leads Apple?").text == "Tim Cook leads Apple."
    assert len(apple().ask("What has Apple created?").facts) == 4


def test_a_sentence_answers_what_no_fact_says() -> None:
    """The rules read no fact in the first sentence; once the answer was what else speaks of the lens."""
    graph = Graph(graphs.memory())
    graph.add("The Fennel lens was invented by Oskar Brandt. Oskar Brandt works at Lund.", name="lens")
    graph.add("# Scope\n\nThe Scope uses the Fennel lens.", name="scope")
    answer = graph.ask("Who invented the Fennel lens?")
    assert answer.text == "The Fennel lens was invented by Oskar Brandt. [lens 0–45]" and not answer.facts
    assert [quote.text for quote in answer.quotes] == ["The Fennel lens was invented by Oskar Brandt."]
    both = graph.ask("Where does the inventor of the Fennel lens work?", care=0)
    assert [str(fact) for fact in both.facts] == ["Oskar Brandt works at Lund"] and both.stated == answer.stated
    assert not graph.ask("What does the Scope use?").stated


@pytest.mark.parametrize("alone", [True, False])
def test_what_was_believed_once_answers_a_question_about_that_time(alone: bool) -> None:
    graph = Graph(graphs.memory())
    once, *others = graphs.said(("Zorb", "led by", "Mira"), *(() if alone else [("Zorb", "led by", "Ada")]))
    graph.store.say([once], recorded_at="2020-01-01T00:00:00Z")
    graph.store.retract(once, at="2021-01-01T00:00:00Z")
    graph.store.say(others, recorded_at="2021-01-01T00:00:00Z")
    then = graph.ask("Who is Zorb led by?", known="2020-06-01")
    assert then.text == "Zorb led by Mira." and graph.ask("Who is Zorb led by?").abstained is alone
    local = Local(palmette.open_engine("zoo:seedling"), "seedling", palmette.greedy())
    confined = graph.ask("Who is Zorb led by?", by=local, mode="confined", known="2020-06-01", abstain=False)
    assert [str(fact) for fact in confined.facts] == ["Zorb led by Mira"]


@pytest.mark.parametrize("care", [-0.1, 1.5, float("nan")])
def test_a_care_that_is_no_share_is_refused(care: float) -> None:
    with pytest.raises(BadParameter, match="care must be a share"):
        apple().ask(QUESTION, care=care)


def test_a_thing_is_described_under_each_of_its_names() -> None:
    graph = Graph(graphs.memory())
    graph.say(("Intl. Business Machines", "is based in", "Armonk"), ("IBM", "makes", "mainframes"))
    assert graph.ask("In which town is IBM based?").abstained
    graph.same("IBM", "Intl. Business Machines")
    answer = graph.ask("Where is IBM based?")
    assert not answer.abstained and "Armonk" in answer.text


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(sorted(TEXTS)), unique=True), st.sampled_from(sorted(TEXTS)))
def test_more_passages_never_make_less_sure(some: list[str], another: str) -> None:
    store = graphs.read(graphs.memory(), TEXTS)
    search = Retriever(store)
    chunks = {c.document: c for c in store.chunks(range(1, 9))}
    for question in ("Who composed the Moonlight Sonata?", "Which river passes Bonn?", "Was Ann born in Dresden?"):
        found = [
            support(store, search.web.lexicon, question, [chunks[name] for name in names], [])
            for names in (some, [*some, another])
        ]
        assert found[0].sure <= found[1].sure + 1e-12 and set(found[1].missing) <= set(found[0].missing)
        assert all(0 <= share <= 1 + 1e-12 for f in found for share in (f.described, f.said, f.spoken, f.sure))


def test_a_citation_is_a_number_of_the_list_and_its_quote_is_resolved_here() -> None:
    graph = Graph(graphs.memory())
    graph.add("# Notes\n\nApple was founded in 1976. Tim Cook leads Apple.", name="notes.md")

    def pick(request: Any) -> str:
        lines = request.messages[-1].text.split("\n")
        number = next(line.split(":")[0] for line in lines if "leads" in line)
        assert number in request.output.value["properties"]["facts"]["items"]["enum"]
        return json.dumps({"facts": [number, "F99"]})

    answer = graph.ask("Who leads Apple?", by=Scripted(pick))
    assert answer.text == "Tim Cook leads Apple. [notes.md 36–57]" and answer.supported and answer.calls == 1
    assert [q.text for q in answer.quotes] == ["Tim Cook leads Apple."]
    none = graph.ask("Who leads Apple?", by=Scripted(lambda request: '{"facts": []}'))
    assert none.abstained and none.facts == ()
    lost = graph.ask("Who leads Apple?", by=Scripted(lambda request: "Tim Cook!"))
    assert lost.abstained and lost.calls == 2


def test_a_confined_answer_is_a_path_with_its_quotes() -> None:
    graph = Graph(graphs.memory())
    graph.add("Apple released the iMac. Tim Cook leads Apple.", name="notes.md")
    engine = palmette.open_engine("zoo:seedling")
    for seed in range(4):
        who = Local(engine, "toy", palmette.sample(), (), seed)
        answer = graph.ask("Who leads Apple?", by=who, mode="confined", abstain=False)
        assert not answer.abstained and answer.supported
        assert {str(f) for f in answer.facts} <= {"Apple released iMac", "Tim Cook leads Apple"}
        assert all(q.text in "Apple released the iMac. Tim Cook leads Apple." for q in answer.quotes)
    with pytest.raises(Unsupported, match="scores of every token"):
        graph.ask("Who leads Apple?", by=Scripted(lambda request: ""), mode="confined")
    with pytest.raises(BadParameter, match="needs a model"):
        graph.ask("Who leads Apple?", mode="cite")
    with pytest.raises(BadParameter, match="not 'best'"):
        graph.ask("Who leads Apple?", mode="best")  # type: ignore[arg-type]
    with pytest.raises(BadParameter, match="empty"):
        graph.ask(" ")


def test_free_prose_is_held_against_the_graph_sentence_by_sentence() -> None:
    graph = Graph(graphs.memory())
    graph.add("Apple was founded in 1976. Tim Cook leads Apple.", name="n")
    prose = "Tim Cook leads Apple. Apple was founded in 1976. Tim Cook invented the telephone. Tim Cook hates Apple."
    answer = graph.ask("Who leads Apple?", by=Scripted(lambda request: prose), mode="free")
    assert [bool(s.facts) for s in answer.sentences] == [True, True, False, False]
    assert not answer.supported and "".join(prose[s.start : s.end] for s in answer.sentences) == prose.replace(
        ". ", "."
    )
    assert [bool(s.facts) for s in verify(graph.search, "Cook leads. Apple Tim Cook.")] == [False, False]


def test_a_local_model_cites_under_a_schema_and_takes_as_many_facts_as_it_can_hold() -> None:
    graph, engine = apple(), palmette.open_engine("zoo:seedling")
    answer = graph.ask(QUESTION, by=Local(engine, "toy", palmette.greedy()), abstain=False)
    assert (
        answer.facts
        and answer.calls == 1
        and {(f.subject.name, f.relation, f.object.name) for f in answer.facts} <= set(TRIPLES)
    )


def test_palmette_graph_opens_models_by_name(tmp_path: Path) -> None:
    with palmette.graph(tmp_path / "g.db") as notes:
        done = notes.add("Ann met Bob.", by="zoo:seedling", least=1, max_tokens=100)
        assert done.calls == 1
        assert notes.add("Ann met Bob.", by="zoo:seedling", least=1, max_tokens=100).calls == 0
        assert notes.ask("Whom did Ann meet?", by="zoo:seedling", mode="confined").calls <= 1
    with palmette.graph(embedder="zoo:seedling") as vectors:
        vectors.add("Ann met Bob.")
        assert vectors.passages("Bob", way="dense")[0].chunk.document == "text"
    with pytest.raises(BadParameter, match="is no model"):
        palmette.graph().ask("Who?", by=3)
    with pytest.raises(BadParameter, match="has no 'least'"):
        palmette.graph().add("x", least=1)


# -- questions about the whole -----------------------------------------------------------------------------------------

WHOLE = """# Notes

Ann Miller met Bob Stone. Bob Stone met Cay Hill. Ann Miller knows Cay Hill.

Paris Bakery owns Dough Factory. Dough Factory supplies Bread Shop. Paris Bakery runs Bread Shop since 1999."""


def test_an_overview_keeps_only_what_the_graph_supports_and_costs_its_calls_once() -> None:
    pytest.importorskip("networkx")
    graph = Graph(graphs.memory())
    graph.add(WHOLE, name="notes")
    asked: list[str] = []

    def reply(request: Any) -> str:
        asked.append(request.messages[-1].text)
        if "Group 1" in asked[-1]:
            return "Ann Miller met Bob Stone. Everybody loves bread."
        return "Paris Bakery owns Dough Factory. Dough Factory is on the moon. Ann Miller met Bob Stone."

    before = graph.search.web
    first = graph.overview("Which groups are there?", by=Scripted(reply))
    assert len(first.groups) == 2 and first.calls == 3 and not first.abstained
    assert [bool(s.facts) for s in first.sentences] == [True, False]
    for group in first.groups:
        assert "moon" not in group.summary and group.summary in asked[-1] and group.facts[0].quotes
    assert graph.search.web is before  # a summary says nothing new
    again = graph.overview("Which groups are there?", by=Scripted(reply))
    assert again.calls == 1 and again.groups == first.groups
    assert len(graph.groups(by=Scripted(reply), most=1)) == 1 and len(asked) == 4
    other = graph.overview("Who bakes in Paris?")
    assert len(other.groups) == 1 and "Paris Bakery" in other.text and other.calls == 0
    graph.remove("notes")  # with everything that was made of it
    assert graph.store.db.rows("SELECT count(*) FROM reply") == [(0,)]
    assert graph.overview("Which groups are there?", by=Scripted(reply)).abstained and len(asked) == 4
    with pytest.raises(BadParameter, match="empty"):
        graph.overview(" ")


def test_a_kept_summary_says_nothing_that_is_believed_no_more() -> None:
    pytest.importorskip("networkx")
    graph = Graph(graphs.memory())
    graph.add(WHOLE, name="notes")
    by = Scripted(lambda request: "Paris Bakery owns Dough Factory. Ann Miller met Bob Stone.")
    assert all("met Bob Stone" in group.summary for group in graph.groups(by=by))
    graph.retract(("Ann Miller", "met", "Bob Stone"))
    for group in graph.groups(by=by):
        assert "Ann Miller met Bob Stone" not in group.summary and "Paris Bakery owns Dough Factory" in group.summary
