"""The store on a real PostgreSQL: the same laws, the same dump, byte for byte, as on SQLite."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Iterator

import graphs
import postgres
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_knowledge_calibrate import ASKED, TEXTS

from palmette.core.errors import BadParameter, NewerStore, NotAStore, StoreError, StoreLocked, StoreReadOnly
from palmette.knowledge.answer.calibrate import leave_gold_out
from palmette.knowledge.answer.confined import GraphConstraint
from palmette.knowledge.graph import Graph, open_store
from palmette.knowledge.retrieve.passages import Retriever
from palmette.knowledge.retrieve.paths import near, path
from palmette.knowledge.store import tables
from palmette.knowledge.store.bulk import load
from palmette.knowledge.store.dump import restore
from palmette.knowledge.store.read import When, entity, facts
from palmette.knowledge.store.store import Store
from palmette.knowledge.values import Entity, Statement

_counter = itertools.count()


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    lacking = [
        *([] if postgres.programs() else ["no PostgreSQL (apt install postgresql, or pip install pgserver)"]),
        *([] if importlib.util.find_spec("psycopg") else ["no psycopg (pip install 'palmette[postgres]')"]),
    ]
    if lacking:
        said = f"the PostgreSQL store is NOT TESTED here: {'; '.join(lacking)}"
        capture = request.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            print(f"\n{said}", flush=True)
        pytest.skip("; ".join(lacking))
    with postgres.Server() as address:
        yield address


def fresh(server: str) -> Store:
    """An empty store in a schema of its own."""
    return open_store(server, schema=f"t{next(_counter)}", wait=0.2)


texts = st.dictionaries(
    st.sampled_from("abc"), st.lists(st.sampled_from(graphs.WORDS), min_size=3, max_size=20).map(" ".join), max_size=3
)


@settings(max_examples=6, deadline=None)
@given(given=texts)
def test_both_databases_have_the_same_dump_and_forget_alike(server: str, given: dict[str, str]) -> None:
    given = {n: t for n, t in given.items() if t.strip()}
    one, two = graphs.read(graphs.memory(), given), graphs.read(fresh(server), given)
    for store in (one, two):
        store.say([Statement(Entity("x"), "y", Entity("z"), valid_from="2020")])
    assert graphs.dump(one) == graphs.dump(two)
    for name in sorted(given)[:1]:
        one.remove(name)
        two.remove(name)
    assert graphs.dump(one) == graphs.dump(two)
    again = fresh(server)
    restore(again, graphs.dump(one))
    assert graphs.dump(again) == graphs.dump(one)
    two.close()
    again.close()


def test_no_label_is_read_as_a_query(server: str) -> None:
    store = fresh(server)
    for name in graphs.NASTY:
        store.say([Statement(Entity(name, name), name, Entity("other"))])
        assert [f.subject.name for f in facts(store, entity(store, name), name)] == [name]
        graphs.read(store, {name: f"{name} was here"})
        store.db.search([name, *name.split()], 5)
        store.db.seen(name)
        store.remove(name)
    assert len(facts(store)) == len(graphs.NASTY)
    store.close()


def test_finding_works_as_on_sqlite(server: str) -> None:
    given = {
        "moon": "# Moonlight Sonata\n\nThe Moonlight Sonata was composed by Ludwig Beethoven.",
        "beethoven": "# Ludwig Beethoven\n\nLudwig Beethoven was born in Bonn.",
        "bonn": "# Bonn\n\nBonn lies on the Rhine.",
        "noise": "# Cooking\n\nPasta is made of flour.",
    }
    one, two = graphs.read(graphs.memory(), given), graphs.read(fresh(server), given)
    for question in ("Where was the composer of the Moonlight Sonata born?", "Rhine", "flour' | 'x", "zzz"):
        for way in ("words", "graph"):
            found = [[h.chunk.document for h in Retriever(s).passages(question, 3, way=way)] for s in (one, two)]  # type: ignore[arg-type]
            assert set(found[0]) == set(found[1]), (question, way)
    assert str(path(one, "Moonlight Sonata", "Bonn")) == str(path(two, "Moonlight Sonata", "Bonn"))
    search = Retriever(two)
    assert search.web is search.web
    two.remove("bonn")
    assert "bonn" not in [h.chunk.document for h in search.passages("Where was Ludwig Beethoven born?")]
    assert not facts(two, when=When(known="2000"))
    two.close()


def test_bulk_loading_queries_and_a_graph_by_its_address(server: str) -> None:
    store = fresh(server)
    assert load(store, [("a", "r", "b"), ("b", "r", "c"), ("a", "r", "b")]) == 2
    assert load(store, [("c", "r", "d")]) == 1
    graph = Graph(store)
    found = graph.query({"match": [{"subject": "?x", "relation": "r", "object": "?y"}], "select": ["?y"]})
    assert found.rows == (("b",), ("c",), ("d",))
    assert len(graph.path("a", "d") or ()) == 3
    assert graph.around("b")[0].relation == "r"
    import palmette

    rule = GraphConstraint(palmette.open_engine("zoo:seedling"), store)
    assert rule.accepts(rule.read(" a -> r -> b -> r -> c")) and not rule.accepts(rule.read(" a -> r -> c"))
    store.close()


def test_a_second_writer_is_told_and_readers_do_not_wait(server: str) -> None:
    one = fresh(server)
    two = open_store(server, schema=one.db._schema, wait=0.2)  # type: ignore[attr-defined]
    with one.db.writing():
        one.say(graphs.said(("a", "b", "c")))
        with pytest.raises(StoreLocked, match="being written"):
            two.say(graphs.said(("d", "e", "f")))
        assert facts(two) == []
    assert len(facts(two)) == 1
    only = open_store(server, schema=one.db._schema, read_only=True)  # type: ignore[attr-defined]
    assert len(facts(only)) == 1
    with pytest.raises(StoreReadOnly):
        only.say(graphs.said(("d", "e", "f")))
    one.db.set_version(tables.VERSION + 1)
    with pytest.raises(NewerStore, match="nothing was changed"):
        open_store(server, schema=one.db._schema)  # type: ignore[attr-defined]
    for store in (one, two, only):
        store.close()


def test_what_is_held_does_not_move_and_memory_has_the_same_facts(server: str) -> None:
    store = fresh(server)
    graph = Graph(store)
    graph.say(("a", "r", "b"), ("b", "r", "c"), ("a", "s", "c"))
    with graph.reading(in_memory=True) as held:
        graph.say(("a", "r", "d"), ("a", "r", "b"))
        graph.say(("a", "r", "b"), by="another")
        assert held.triples("a") == [("a", "r", "b"), ("a", "s", "c")] and len(held.facts()) == 3
        with pytest.raises(StoreReadOnly, match="held as it was"):
            held.say(("x", "r", "y"))
    for _ in range(2):
        assert graph.store.memory.now() is not None
        for name in "abcd":
            mine, its = graph.facts(name), facts(store, entity(store, name))
            assert mine == its and [f.support for f in mine] == [f.support for f in its]
            assert graph.near(name, 2) == near(store, name, hops=2, when=When())
        assert graph.near("a", 2, direction="in") == near(store, "a", hops=2, direction="in", when=When()) == []
        graph.retract(("a", "r", "b"))
    graph.close()


def test_what_is_no_store_is_named_without_its_password(server: str) -> None:
    other = fresh(server)
    other.db.run("CREATE SCHEMA strange")
    other.db.run("CREATE TABLE strange.mine (x INT)")
    with pytest.raises(NotAStore, match="no knowledge graph"):
        open_store(server, schema="strange")
    with pytest.raises(BadParameter, match="small letters"):
        open_store(server, schema='x"; DROP')
    with pytest.raises(StoreError) as error:
        open_store("postgresql://me:sesame@127.0.0.1:1/none")
    assert "sesame" not in str(error.value)
    with pytest.raises(StoreError, match="no store of kind 'mysql'"):
        open_store("mysql://x/y")
    other.close()


def test_what_is_taken_out_for_a_moment_is_there_again(server: str) -> None:
    store = graphs.read(fresh(server), TEXTS)
    before, search = graphs.dump(store), Retriever(store)
    pairs = leave_gold_out(search, ASKED[:2])
    assert [absent.support for _, absent in pairs] == [
        absent.support for _, absent in leave_gold_out(Retriever(graphs.read(graphs.memory(), TEXTS)), ASKED[:2])
    ]
    assert graphs.dump(store) == before
    store.close()
