"""Laws of finding: against breadth first, against matrix inversion, against reading everything."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmette.core.errors import BadParameter, DocumentError, UnknownName
from palmette.knowledge.graph import Graph, open_store
from palmette.knowledge.retrieve import pagerank as pagerank_
from palmette.knowledge.retrieve import snapshot as snapshot_
from palmette.knowledge.retrieve.pagerank import Web, pagerank
from palmette.knowledge.retrieve.passages import Retriever, fused
from palmette.knowledge.retrieve.paths import around, path
from palmette.knowledge.retrieve.query import query, query_schema
from palmette.knowledge.retrieve.snapshot import snapshot
from palmette.knowledge.store.links import same
from palmette.knowledge.store.read import When, entity, facts, find
from palmette.knowledge.values import Entity, Statement
from palmette.tokens.structure.as_views import constraint

names = st.sampled_from("abcdefgh")
triples = st.lists(st.tuples(names, st.sampled_from("rq"), names), min_size=1, max_size=14)


@settings(max_examples=40, deadline=None)
@given(triples)
def test_the_shortest_way_is_as_short_as_breadth_first_finds(given: list[tuple[str, str, str]]) -> None:
    store = graphs.memory()
    store.say(graphs.said(*given))
    known = sorted({n for s, _, o in given for n in (s, o)})
    for goal in known:
        found, wanted = path(store, known[0], goal), graphs.distance(given, known[0], goal)
        assert (found is None) == (wanted is None)
        if found is not None:
            assert len(found) == wanted
            here = known[0]
            for hop in found.hops:
                s, o = hop.fact.subject.name, hop.fact.object.name
                assert (s, hop.fact.relation, o) in given and here == (o if hop.backwards else s)
                here = s if hop.backwards else o
            assert here == goal


def test_a_way_goes_through_what_is_the_same_and_through_the_times_asked_for() -> None:
    store = graphs.memory()
    store.say(graphs.said(("Ann", "works at", "IBM"), ("Intl. Business Machines", "is in", "Armonk")))
    assert path(store, "Ann", "Armonk") is None
    same(store.db, *store.numbers([Entity("IBM"), Entity("Intl. Business Machines")]))
    assert str(path(store, "Ann", "Armonk")) == "Ann -[works at]-> IBM -[is in]-> Armonk"
    store.say([Statement(Entity("Ann"), "lives in", Entity("Armonk"), valid_from="2020")])
    assert len(path(store, "Ann", "Armonk", when=When(at="2021")) or ()) == 1
    assert len(path(store, "Ann", "Armonk", when=When(at="2019")) or ()) == 2
    assert len(path(store, "Ann", "Ann") or ()) == 0
    with pytest.raises(BadParameter, match="most_hops"):
        path(store, "Ann", "Armonk", most_hops=0)


@pytest.mark.parametrize("in_memory", [False, True])
def test_every_question_by_name_says_the_near_miss(in_memory: bool) -> None:
    graph = Graph(graphs.memory())
    graph.say(("Steve Jobs", "co-founded", "Apple"), ("Apple", "released", "iPhone"), types={"Apple": "company"})
    graph.schema = {"relations": ["released", "owns"]}  # type: ignore[assignment]
    pattern = {"subject": "Apple", "relation": "released", "object": "?x"}

    def asked(types: object = (), **parts: str) -> object:
        return held.query({"match": [pattern | parts], "select": ["?x"], "types": dict(types)})  # type: ignore[call-overload]

    with graph.reading(in_memory=in_memory) as held:
        fact = held.facts("Apple", "released")[0]
        for wrong in (
            lambda: held.facts("Aple"), lambda: held.facts(object="Aple"), lambda: held.triples("Aple"),
            lambda: held.near("Aple"), lambda: held.around("Aple"), lambda: held.path("Aple", "iPhone"),
            lambda: held.path("iPhone", "Aple"), lambda: held.quotes(replace(fact, subject=Entity("Aple"))),
            lambda: asked(subject="Aple"),
        ):  # fmt: skip
            with pytest.raises(UnknownName, match=r"no entity 'Aple'\. Did you mean 'Apple'\?"):
                wrong()
        for wrong in (
            lambda: held.facts("Apple", "relased"), lambda: held.facts(None, "relased"),
            lambda: held.triples("Apple", "relased"), lambda: held.triples(relation="relased"),
            lambda: held.quotes(replace(fact, relation="relased")), lambda: held.conflicts("relased"),
            lambda: asked(relation="relased"),
        ):  # fmt: skip
            known = "Known: co-founded, owns, released"
            with pytest.raises(UnknownName, match=rf"no relation 'relased'\. Did you mean 'released'\? {known}\."):
                wrong()
        with pytest.raises(UnknownName, match=r"no type 'compny'\. Did you mean 'company'\?"):
            asked(types={"?x": "compny"})
        for other in (held.facts, held.triples, held.near, held.around):
            with pytest.raises(UnknownName, match=r"no entity 'Apple'\. What has that name is of type 'company'"):
                other(Entity("Apple", "city"))
        # what the schema names may be asked for, though nothing is said with it yet
        assert held.facts("Apple", "owns") == held.triples(relation="owns") == held.conflicts("owns") == []
        assert asked(relation="owns").rows == ()  # type: ignore[attr-defined]


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (lambda g: g.facts(3), "a thing is called by a text or an Entity, not 3"),
        (lambda g: g.near(3), "a thing is called by a text or an Entity, not 3"),
        (lambda g: g.path("Ann", None), "a thing is called by a text or an Entity, not None"),
        (lambda g: g.triples("Ann", 3), "a relation is called by a text, not 3"),
        (lambda g: g.facts("Ann", at=2020), "a time is a text such as '2023', .* not 2020"),
        (lambda g: g.ask(None), "the question is empty, or no text: None"),
        (lambda g: g.ask("Ann?", care="much"), "care must be a share from 0 to 1, not 'much'"),
        (lambda g: g.passages("Ann", -1), "most must be at least 0, not -1"),
    ],
)
def test_what_no_question_can_be_made_of_is_refused_with_its_value(asked: Any, why: str, in_memory: bool) -> None:
    graph = Graph(graphs.memory())
    graph.say(("Ann", "met", "Bob"))
    with graph.reading(in_memory=in_memory) as held, pytest.raises(BadParameter, match=why):
        asked(held)


@pytest.mark.parametrize(
    ("given", "why"),
    [(3, "a text or documents, not 3"), (["Ann met Bob."], "a text or documents, not 'Ann"), (b"Ann", "not 65")],
)
def test_what_is_no_text_is_not_read(given: Any, why: str) -> None:
    with pytest.raises(DocumentError, match=why):
        Graph(graphs.memory()).add(given)
    with pytest.raises(DocumentError, match="needs a name"):
        Graph(graphs.memory()).add("Ann met Bob.", name=" ")


def test_the_error_for_a_relation_lists_few_and_counts_many() -> None:
    graph = Graph(graphs.memory())
    graph.load((f"a{i}", f"relates {i}", "b") for i in range(500))
    with pytest.raises(UnknownName, match=r"Did you mean 'relates 7'\? .*which has 500 relations\.$") as error:
        graph.facts(None, "relate 7")
    assert len(str(error.value)) < 120
    graph.retract(("a7", "relates 7", "b"))
    assert graph.facts(None, "relates 7") == []  # it is history, and known


@pytest.mark.parametrize(
    ("types", "why"), [({"?x": 3}, "a type such as 'person', not 3"), ({"?r": "person"}, "'.r' stands for a relation")]
)
def test_types_of_a_query_are_types_of_things(types: dict[str, object], why: str) -> None:
    graph = Graph(graphs.memory())
    graph.say(("a", "r", "b"), types={"a": "person"})
    match = [{"subject": "?x", "relation": "?r", "object": "b"}]
    with pytest.raises(BadParameter, match=why):
        graph.query({"match": match, "select": ["?x"], "types": types})
    assert graph.query({"match": match, "select": ["?x"], "types": {"?x": "person"}}).rows == (("a",),)


def test_incoming_facts_are_found_and_hubs_are_capped() -> None:
    store = graphs.memory()
    store.say(graphs.said(*[(f"leaf {i}", "points at", "hub") for i in range(300)], ("hub", "is", "big")))
    store.say(graphs.said(("leaf 7", "points at", "hub")), model="another")
    close = around(store, entity(store, "hub"), cap=10)
    assert len(close) == 10 and str(close[0]) == "leaf 7 points at hub"
    assert len(around(store, entity(store, "leaf 9"), hops=2, cap=10)) in (10, 11)
    assert [str(f) for f in around(store, entity(store, "leaf 9"))] == ["leaf 9 points at hub"]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 12))
def test_pagerank_is_the_fixed_point_and_needs_no_scipy(seed: int, n: int) -> None:
    draw = np.random.default_rng(seed)
    source, target = draw.integers(0, n, 3 * n), draw.integers(0, n, 3 * n)
    web = Web(n, source, target, draw.random(3 * n) + 0.1)
    seeds = draw.random(n)
    found = pagerank(web, seeds, restart=0.5, rounds=60)
    walk = np.zeros((n, n))
    np.add.at(walk, (target, source), web.share)
    walk += np.outer(seeds / seeds.sum(), walk.sum(0) < 0.5)  # what leads nowhere goes home
    exact = np.linalg.solve(np.eye(n) - 0.5 * walk, 0.5 * seeds)
    assert np.allclose(found, exact) and np.isclose(found.sum(), seeds.sum())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pagerank_, "WORTH_SCIPY", 0)
        assert np.allclose(Web(n, source, target, web.weight).step(seeds), web.plain_step(seeds))


TEXTS = {
    "moon": "# Moonlight Sonata\n\nThe Moonlight Sonata was composed by Ludwig Beethoven.",
    "beethoven": "# Ludwig Beethoven\n\nLudwig Beethoven was born in Bonn.",
    "bonn": "# Bonn\n\nBonn lies on the Rhine.",
    "noise": "# Cooking\n\nPasta is made of flour. Where was it made? Nobody knows the composer of pasta.",
    "more": "# Sonnets\n\nMoonlight is a word in many sonnets; a city is another.",
}


def test_the_web_of_names_finds_a_passage_that_shares_no_word_with_the_question() -> None:
    search = Retriever(graphs.read(graphs.memory(), TEXTS))
    question = "Which river passes the birthplace of the Moonlight Sonata's composer?"
    by_words = [h.chunk.document for h in search.passages(question, way="words")]
    by_graph = [h.chunk.document for h in search.passages(question, 3)]
    assert "bonn" not in by_words
    assert set(by_graph) == {"moon", "beethoven", "bonn"}


def test_the_web_is_made_anew_when_the_store_has_changed() -> None:
    store = graphs.read(graphs.memory(), TEXTS)
    search = Retriever(store)
    assert search.web is search.web
    store.remove("bonn")
    assert "bonn" not in [h.chunk.document for h in search.passages("Where was Ludwig Beethoven born?")]


def test_a_kept_web_is_the_one_that_would_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_, "KEPT_FROM", 1)
    monkeypatch.setenv("PALMETTE_CACHE", str(tmp_path / "other"))
    store = graphs.read(open_store(tmp_path / "g.db"), TEXTS)
    folder, question = tmp_path / "cache", "Which river passes the birthplace of the Moonlight Sonata's composer?"
    first = snapshot(store, folder)
    (file,) = folder.iterdir()
    before = file.read_bytes()
    again = snapshot(open_store(tmp_path / "g.db", read_only=True), folder)
    for one in (first, again):
        assert list(one.lexicon.things.items()) == list(again.lexicon.things.items())
        assert one.of == again.of and one.web.nodes == again.web.nodes
        for name in ("source", "target", "weight"):
            assert np.array_equal(getattr(one.web, name), getattr(again.web, name))
        assert np.array_equal(one.rarity, again.rarity) and one.lexicon.beginnings == again.lexicon.beginnings
    wanted = [h.chunk.document for h in Retriever(store).passages(question)]
    assert file.read_bytes() == before and "bonn" in wanted
    store.remove("bonn")  # another state of the store: what was kept is not used
    assert "bonn" not in {c.document for c in store.chunks(snapshot(store, folder).chunks.tolist())}
    file.write_bytes(b"PK\x03\x04 damaged")
    assert len(snapshot(store, folder).chunks) == len(TEXTS) - 1
    folder.chmod(0o500)
    store.remove("noise")
    assert len(snapshot(store, folder).chunks) == len(TEXTS) - 2
    folder.chmod(0o700)
    store.close()


@pytest.mark.parametrize("question", ["", "?", "the of", "zzz qqq", 'x" OR title:*', "東京 🙂", "a" * 5000])
def test_any_question_can_be_asked(question: str) -> None:
    search = Retriever(graphs.read(graphs.memory(), TEXTS))
    for way in ("words", "graph"):
        assert isinstance(search.passages(question, way=way), list)  # type: ignore[arg-type]
    assert search.passages("zzz qqq") == []


class Letters:
    """An embedder that counts letters, and what it was asked."""

    id = "letters"

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, texts: list[str]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        self.asked += len(texts)
        return np.array([[t.lower().count(c) for c in "abcdefghijklmnopqrstuvwxyz"] for t in texts], np.float32)


def test_vectors_are_made_once_kept_in_the_store_and_go_with_their_document() -> None:
    store, embed = graphs.read(graphs.memory(), TEXTS), Letters()
    search = Retriever(store, embed)  # type: ignore[arg-type]
    best = search.passages("Bonn lies on the Rhine.", 2, way="dense")[0]
    assert best.chunk.document == "bonn" and embed.asked == 6
    Retriever(store, embed).passages("Bonn", way="fused")  # type: ignore[arg-type]
    assert embed.asked == 7
    store.remove("bonn")
    assert store.db.rows("SELECT count(*) FROM vector") == [(4,)]
    assert "bonn" not in [h.chunk.document for h in search.passages("Bonn lies on the Rhine.", way="dense")]
    with pytest.raises(BadParameter, match="needs an embedder"):
        Retriever(store).passages("x", way="dense")
    with pytest.raises(BadParameter, match="not 'dnse'"):
        Retriever(store).passages("x", way="dnse")  # type: ignore[arg-type]


def test_a_store_that_may_not_be_written_is_searched_by_vectors_all_the_same() -> None:
    embed = Letters()
    with Graph(graphs.read(graphs.memory(), TEXTS), embedder=embed) as graph, graph.reading() as held:  # type: ignore[arg-type]
        for _ in range(2):
            best = held.passages("Bonn lies on the Rhine.", 2, way="dense")[0]
            assert best.chunk.document == "bonn"
        assert embed.asked == 7 and held.store.db.rows("SELECT count(*) FROM vector") == [(0,)]


def test_rank_fusion_sums_reciprocal_ranks() -> None:
    assert fused([[1, 2], [2]]) == [(2, 1 / 62 + 1 / 61), (1, 1 / 61)]


# -- queries -----------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(triples, st.integers(0, 10**6))
def test_a_query_finds_what_trying_everything_finds(given: list[tuple[str, str, str]], seed: int) -> None:
    store = graphs.memory()
    store.say(graphs.said(*given))
    draw = random.Random(seed)
    known = sorted({n for s, _, o in given for n in (s, o)})
    relations = sorted({p for _, p, _ in given})
    patterns = []
    for _ in range(draw.randint(1, 3)):
        ends = [draw.choice(["?x", "?y", "?z", draw.choice(known)]) for _ in range(2)]
        patterns.append({"subject": ends[0], "relation": draw.choice([*relations, "?r"]), "object": ends[1]})
    variables = sorted({v for p in patterns for v in p.values() if v.startswith("?")})
    if not variables:
        return
    rows: list[dict[str, str]] = [{}]
    for p in patterns:
        grown = []
        for row in rows:
            for values in set(given):
                new = dict(row)
                for place, value in zip((p["subject"], p["relation"], p["object"]), values, strict=True):
                    if (new.setdefault(place, value) if place.startswith("?") else place) != value:
                        break
                else:
                    grown.append(new)
        rows = grown
    wanted = sorted({tuple(row[v] for v in variables) for row in rows})
    assert list(query(store, {"match": patterns, "select": variables}).rows) == wanted


def test_a_query_can_name_only_what_the_graph_has() -> None:
    store = graphs.memory()
    store.say([Statement(Entity("Ann", "person"), "lives in", Entity("Bonn", "city"))])
    good = '{"match":[{"subject":"?x","relation":"lives in","object":"Bonn"}],"select":["?x"]}'
    rule = constraint(query_schema(store))
    assert rule.accepts(good)
    assert not rule.accepts(good.replace("lives in", "livesin")) and not rule.accepts(good.replace("?x", "x; DROP"))
    assert query(store, __import__("json").loads(good)).dicts() == [{"?x": "Ann"}]
    match = [{"subject": "?x", "relation": "lives in", "object": "?y"}]
    assert query(store, {"match": match, "select": ["?x"], "types": {"?x": "city"}}).rows == ()
    assert query(store, {"match": match, "select": ["?y", "?x"], "limit": 1}).rows == (("Bonn", "Ann"),)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({}, "match must be"), ({"match": [{}]}, "a pattern has"), ({"mtch": []}, "Did you mean 'match'"),
        ({"match": [{"subject": "?x", "relation": "knws", "object": "?y"}], "select": ["?x"]}, "Did you mean 'knows'"),
        ({"match": [{"subject": "?x", "relation": "knows", "object": "?y"}], "select": ["?z"]}, "no variable '?z'"),
        ({"match": [{"subject": "?x", "relation": "knows", "object": "?y"}], "select": "?x"}, "select must be"),
        ({"match": [{"subject": "No", "relation": "knows", "object": "?y"}], "select": ["?y"]}, "no entity 'No'"),
        ({"match": [{"subject": "?x", "relation": "knows", "object": "?y"}], "select": ["?x"], "limit": 0}, "limit"),
        ({"match": [{"subject": "?x", "relation": "?x", "object": "?y"}], "select": ["?y"]}, "a relation and"),
    ],
)  # fmt: skip
def test_a_wrong_query_is_refused_with_the_reason(asked: dict[str, object], why: str) -> None:
    store = graphs.memory()
    store.say(graphs.said(("Ann", "knows", "Bob")))
    with pytest.raises((BadParameter, UnknownName), match=why.replace("?", r"\?")):
        query(store, asked)


def test_a_query_that_is_too_broad_stops() -> None:
    store = graphs.memory()
    store.say(graphs.said(*[(f"a{i}", "r", f"b{j}") for i in range(80) for j in range(80)]))
    match = [{"subject": f"?{a}", "relation": "r", "object": f"?{b}"} for a, b in ("xy", "zy", "zw")]
    with pytest.raises(BadParameter, match="too broad"):
        query(store, {"match": match, "select": ["?x", "?w"]})
    cut = query(store, {"match": match[:1], "select": ["?x", "?y"], "limit": 5})
    assert len(cut.rows) == 5 and not cut.whole
    assert len(facts(store, most=7)) == 7 and len(find(store, "a1")) == 1
