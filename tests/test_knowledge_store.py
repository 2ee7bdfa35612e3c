"""Laws of the store: what goes in comes out, what is taken out was never there, and nobody is merged."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import graphs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmette.core.errors import (
    BadParameter,
    NewerStore,
    NotAStore,
    SchemaError,
    StoreLocked,
    StoreReadOnly,
    UnknownName,
)
from palmette.knowledge.graph import Graph
from palmette.knowledge.names import blocked, key_of
from palmette.knowledge.schema import Relation, Schema, induced
from palmette.knowledge.store import base, tables
from palmette.knowledge.store.bulk import load
from palmette.knowledge.store.dump import canonical, restore
from palmette.knowledge.store.links import resolve, same, suggestions, unlink
from palmette.knowledge.store.read import (
    When,
    assertions,
    conflicts,
    entity,
    facts,
    find,
    quoted,
    relation_names,
    united,
)
from palmette.knowledge.store.sqlite import SqliteDatabase
from palmette.knowledge.store.store import Store
from palmette.knowledge.values import Entity, Statement

texts = st.dictionaries(
    st.sampled_from("abcdef"),
    st.lists(st.sampled_from(graphs.WORDS), min_size=3, max_size=30).map(" ".join),
    max_size=5,
)


@settings(max_examples=25, deadline=None)
@given(texts, st.data())
def test_taking_documents_out_leaves_what_would_be_there_without_them(
    given: dict[str, str], data: st.DataObject
) -> None:
    given = {name: text for name, text in given.items() if text.strip()}
    gone = data.draw(st.sets(st.sampled_from(sorted(given) or ["x"]))) & set(given)
    both = graphs.read(graphs.memory(), given)
    both.remove_all(sorted(gone))
    alone = graphs.read(graphs.memory(), {n: t for n, t in given.items() if n not in gone})
    assert graphs.dump(both) == graphs.dump(alone)


@settings(max_examples=25, deadline=None)
@given(texts, st.randoms())
def test_the_order_of_documents_does_not_matter(given: dict[str, str], order: random.Random) -> None:
    given = {name: text for name, text in given.items() if text.strip()}
    mixed = list(given.items())
    order.shuffle(mixed)
    assert graphs.dump(graphs.read(graphs.memory(), dict(mixed))) == graphs.dump(graphs.read(graphs.memory(), given))


@settings(max_examples=25, deadline=None)
@given(texts)
def test_a_dump_read_back_gives_the_same_dump(given: dict[str, str]) -> None:
    store = graphs.read(graphs.memory(), {n: t for n, t in given.items() if t.strip()})
    store.say(graphs.said(("by hand", "says", "something")))
    whole = graphs.dump(store)
    again = graphs.memory()
    restore(again, whole)
    assert graphs.dump(again) == whole
    json.loads(whole)


@settings(max_examples=25, deadline=None)
@given(texts)
def test_every_quote_is_the_text_at_its_place(given: dict[str, str]) -> None:
    given = {n: t for n, t in given.items() if t.strip()}
    store = graphs.read(graphs.memory(), given)
    for said in assertions(store):
        assert said.quote is not None
        assert given[said.quote.document][said.quote.start : said.quote.end] == said.quote.text


def test_a_changed_document_is_replaced_and_the_same_one_left_alone() -> None:
    store = graphs.read(graphs.memory(), {"a": "Ann met Bob."})
    graphs.read(store, {"a": "Ann knew Eve."})
    assert [str(f) for f in facts(store)] == ["Ann knew Eve"] and relation_names(store) == ["knew"]
    assert not find(store, "Bob")


@pytest.mark.parametrize("name", graphs.NASTY)
def test_no_label_is_read_as_a_query(name: str) -> None:
    store = graphs.memory()
    store.say([Statement(Entity(name, name), name, Entity("other " + name))])
    found = facts(store, entity(store, name), name)
    assert [(f.subject.name, f.relation, f.object.name) for f in found] == [(name, name, "other " + name)]
    graphs.read(store, {name: f"{name} was here"})
    store.db.search([name, *name.split()], 5)
    assert name in graphs.dump(store) or json.dumps(name, ensure_ascii=False)[1:-1] in graphs.dump(store)
    store.remove(name)


@pytest.mark.parametrize("name", ["", "  ", "a\x00b", "\ud800"])
def test_a_name_that_cannot_be_kept_is_refused_and_nothing_is_written(name: str) -> None:
    store = graphs.memory()
    with pytest.raises(BadParameter, match="visible"):
        store.say([Statement(Entity("fine"), "is", Entity(name))])
    with pytest.raises(BadParameter, match="visible"):
        store.say([Statement(Entity("fine"), name, Entity("x"))])
    assert not any(store.counts().values())


def test_two_relations_between_two_things_are_two_facts_and_one_said_twice_is_one() -> None:
    store = graphs.memory()
    assert store.say(graphs.said(("a", "likes", "b"), ("a", "knows", "b"), ("a", "likes", "b"))) == 2
    assert store.say(graphs.said(("a", "likes", "b"))) == 0
    assert [str(f) for f in facts(store, entity(store, "a"))] == ["a knows b", "a likes b"]


def test_an_unknown_name_names_the_near_miss() -> None:
    store = graphs.memory()
    store.say(graphs.said(("Steve Jobs", "founded", "Apple")))
    with pytest.raises(UnknownName, match="Did you mean 'Steve Jobs'"):
        entity(store, "Steve Job")
    with pytest.raises(UnknownName, match="no document 'x'"):
        store.remove("x")


# -- times -------------------------------------------------------------------------------------------------------------


def test_facts_hold_at_their_times_in_the_world_and_in_the_store() -> None:
    store = graphs.memory()
    ceo = [("Jobs", "1997", "2011"), ("Cook", "2011", None)]
    for name, start, end in ceo:
        said = Statement(Entity(name), "leads", Entity("Apple"), valid_from=start, valid_to=end)
        store.say([said], recorded_at="2020-01-01T00:00:00Z")
    store.say([Statement(Entity("Ive"), "leads", Entity("Apple"))], recorded_at="2021-01-01T00:00:00Z")
    store.retract(Statement(Entity("Ive"), "leads", Entity("Apple")), at="2022-01-01T00:00:00Z")

    def who(when: When) -> set[str]:
        return {f.subject.name for f in facts(store, when=when)}

    assert who(When()) == {"Jobs", "Cook"}
    assert who(When(at="2005")) == {"Jobs"} and who(When(at="2011")) == {"Cook"} and who(When(at="1990")) == set()
    assert who(When(known="2021-06-01T00:00:00Z")) == {"Jobs", "Cook", "Ive"}
    assert who(When(known="2020-06-01T00:00:00Z")) == {"Jobs", "Cook"}
    assert who(When(known="2019-01-01T00:00:00Z")) == set()
    with pytest.raises(BadParameter, match="no time at all"):
        store.say([Statement(Entity("x"), "y", Entity("z"), valid_from="2012", valid_to="2011")])
    with pytest.raises(BadParameter, match="2023-06"):
        store.say([Statement(Entity("x"), "y", Entity("z"), valid_from="yesterday")])


times = st.sampled_from(["2019", "2020", "2020-01", "2020-02", "2020-01-01", "2020-01-02", "2020-01-01T00:00:00Z"])


@given(times, times, times, times)
def test_times_of_any_precision_are_compared_as_moments(start: str, end: str, at: str, later: str) -> None:
    def moment(time: str) -> list[int]:
        parts = [int(part) for part in time[:10].split("-")]
        return [*parts, 1, 1][:3]

    store = graphs.memory()
    said = Statement(Entity("Z"), "led by", Entity("A"), valid_from=start, valid_to=end)
    if moment(start) >= moment(end):
        with pytest.raises(BadParameter, match="no time at all"):
            store.say([said])
        return
    store.say([said])
    assert bool(facts(store, when=When(at=at))) is (moment(start) <= moment(at) < moment(end))
    store.say([Statement(Entity("Z"), "led by", Entity("B"), valid_from=later)])
    assert bool(conflicts(store, relations=["led by"])) is (moment(later) < moment(end))


def test_a_literal_in_another_case_contradicts_nothing() -> None:
    store = graphs.memory()
    for date in ("5 June", "5  june", "-5"):
        store.say([Statement(Entity("Z"), "born", Entity(date, "date", True))])
    (found,) = conflicts(store, relations=["born"])
    assert len(found.assertions) == 3
    store.retract(Statement(Entity("Z"), "born", Entity("-5", "date", True)))
    assert conflicts(store, relations=["born"]) == []


def test_contradictions_are_listed_with_both_quotes_and_nothing_is_overwritten() -> None:
    store = graphs.read(
        graphs.memory(), {"a": "Apple was founded in 1976.", "b": "Apple was founded in 1977.", "c": "Apple met Ann."}
    )
    store.schema = Schema(relations=(Relation("was founded in", functional=True),))
    (found,) = conflicts(store)
    assert [a.quote.text for a in found.assertions if a.quote] == [
        "Apple was founded in 1976.",
        "Apple was founded in 1977.",
    ]
    assert len(facts(store, entity(store, "Apple"), "was founded in")) == 2
    apart = graphs.memory()
    apart.say(
        [Statement(Entity("A"), "led by", Entity(n), valid_from=a, valid_to=b) for n, a, b in [("x", "1", None)][:0]]
    )
    for name, start, end in (("Jobs", "1997", "2011"), ("Cook", "2011", None)):
        apart.say([Statement(Entity("Apple"), "led by", Entity(name), valid_from=start, valid_to=end)])
    assert conflicts(apart, relations=["led by"]) == []


# -- who is who --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "joined"),
    [
        ("Apple Inc.", "apple inc", True), ("SR-2023-052", "SR-2023-053", False), ("Henry VIII", "Henry VII", False),
        ("GPT-4", "GPT 4", True), ("C", "C++", False), ("Café", "Cafe", True), ("iOS 17.1", "iOS 171", False),
        ("ASR1603", "ASR1605", False), ("The Beatles", "Beatles", True), ("Python 3.1", "Python 3.11", False),
    ],
)  # fmt: skip
def test_only_spelling_joins_two_names(a: str, b: str, joined: bool) -> None:
    store = graphs.memory()
    store.say(graphs.said((a, "is", "x"), (b, "is", "y")))
    assert (entity(store, a) == entity(store, b)) == joined
    assert {f.subject.name for f in facts(store)} == {a, b}  # whatever is linked, nothing is merged


def test_types_stop_a_link_and_a_single_type_takes_the_untyped_along() -> None:
    store = graphs.memory()
    store.say([Statement(Entity("Paris", t), "is", Entity("x")) for t in ("city", "person")])
    assert len(entity(store, Entity("Paris", "city"))) == 1
    other = graphs.memory()
    other.say([Statement(Entity("Paris", t), "is", Entity("x")) for t in ("city", "")])
    assert len(entity(other, Entity("Paris", "city"))) == 2
    other.say([Statement(Entity("Paris", "person"), "is", Entity("x"))])
    assert len(entity(other, Entity("Paris", "city"))) == 1
    assert blocked("Paris", "Paris", "city", "person")


def test_an_acronym_is_linked_where_a_text_explains_it_and_only_while_it_does() -> None:
    long = "International Business Machines"
    store = graphs.read(graphs.memory(), {"a": f"{long} met Ann. So did {long} (IBM).", "b": "IBM met Bob."})
    assert {f.object.name for f in facts(store, entity(store, "IBM"))} == {"Ann", "Bob"}
    graphs.read(store, {"c": "The Icelandic Bird Museum (IBM) opened."})
    assert {f.object.name for f in facts(store, entity(store, "IBM"))} == {"Bob"}  # two explanations explain nothing
    store.remove("c")
    assert {f.object.name for f in facts(store, entity(store, long))} == {"Ann", "Bob"}


def test_links_are_made_and_taken_back_and_a_person_overrules_a_rule() -> None:
    store = graphs.memory()
    store.say(graphs.said(("Apple", "is", "a"), ("apple", "is", "b"), ("Cupertino", "is", "c")))
    before = graphs.dump(store)
    one, two, three = (i for n in ("Apple", "apple", "Cupertino") for i, _ in find(store, n))
    same(store.db, one, three)
    assert entity(store, "Cupertino") == sorted([one, two, three])
    same(store.db, one, two, kind="apart")
    assert entity(store, "apple") == [two]
    unlink(store.db, one, two)
    unlink(store.db, one, three)
    assert graphs.dump(store) == before
    with pytest.raises(BadParameter, match="needs two"):
        same(store.db, one, one)


def test_aliases_in_a_ring_end_somewhere() -> None:
    store = graphs.memory()
    store.say(graphs.said(("a", "is", "x"), ("b", "is", "y"), ("c", "is", "z")))
    for name, surface in (("a", "b"), ("b", "c"), ("c", "a"), ("a", "a")):
        store.name(Entity(name), surface)
    assert len(entity(store, "a")) == 3


def test_suggestions_respect_the_stops_and_link_nothing() -> None:
    store = graphs.memory()
    store.say(
        graphs.said(
            ("Steven Jobs", "is", "x"), ("Steve Jobs", "is", "y"), ("Report 52", "is", "x"), ("Report 53", "is", "x")
        )
    )
    assert [(a, b) for a, b, _ in suggestions(store.db)] == [("Steve Jobs", "Steven Jobs")]
    assert len(entity(store, "Steve Jobs")) == 1


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(["Apple", "apple", "APPLE", "IBM", "ibm", "GPT-4", "GPT 4", "GPT-5"]), unique=True))
def test_resolving_everything_is_resolving_block_by_block(names: list[str]) -> None:
    store = graphs.memory()
    for name in names:
        store.say(graphs.said((name, "is", "thing")))
    links = sorted(store.db.rows("SELECT a, b, kind, source FROM link"))
    resolve(store.db)
    assert sorted(store.db.rows("SELECT a, b, kind, source FROM link")) == links
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            assert (entity(store, a) == entity(store, b)) == (key_of(a) == key_of(b))


# -- files -------------------------------------------------------------------------------------------------------------


def test_a_bulk_load_is_the_same_as_saying_it(tmp_path: Path) -> None:
    draw = random.Random(0)
    triples = [(f"e{draw.randrange(30)}", f"r{draw.randrange(4)}", f"e{draw.randrange(30)}") for _ in range(300)]
    one, two = graphs.memory(), Store(SqliteDatabase(tmp_path / "g.db"))
    one.say(graphs.said(*triples), model="import")
    assert load(two, triples[:150]) == len(set(triples[:150]))
    load(two, [t for t in triples[150:] if t not in set(triples[:150])])
    assert graphs.dump(one) == graphs.dump(two)
    assert two.db.rows("PRAGMA integrity_check") == [("ok",)]


def test_a_bulk_load_again_says_nothing_new() -> None:
    store = graphs.memory()
    assert load(store, [("a", "r", "b")]) == 1
    assert load(store, [("a", "r", "b"), ("a", "r", "c"), ("b", "r", "a")]) == 2
    assert load(store, [("a", "r", "b")], model="another") == 1 and load(store, []) == 0
    other = graphs.memory()
    restore(other, "".join(canonical(store)))
    assert "".join(canonical(other)) == "".join(canonical(store))


@pytest.mark.parametrize("wrong", ["abc", ("a", "b"), ("a", "b", "c", "d"), ("a", 2, "c")])
def test_what_is_no_triple_is_refused_and_nothing_is_written(wrong: Any) -> None:
    graph = Graph(graphs.memory())
    for way in (graph.say, graph.retract, lambda said: graph.load([said])):
        with pytest.raises(BadParameter, match=r"subject, relation, object|visible characters"):
            way(wrong)
    assert not graph.facts()


def test_a_misspelled_name_finds_its_like_among_very_many() -> None:
    graph = Graph(graphs.memory())
    graph.load([*((f"Steam {i}", "is", "hot") for i in range(300)), ("Steve Jobs", "led", "Apple")])
    for name, meant in (("Steve Jbos", "Steve Jobs"), ("Aple", "Apple"), ("Azple", "Apple")):
        with pytest.raises(UnknownName, match=f"Did you mean '{meant}'"):
            graph.facts(name)
    with pytest.raises(UnknownName, match=r"no entity 'Steve'. .*It is not in the graph; 'Steve Jobs' is"):
        graph.facts("Steve")
    with pytest.raises(BadParameter, match="most must be at least 0"):
        graph.facts("Apple", most=-1)


def test_another_writer_is_waited_for_and_then_named(tmp_path: Path) -> None:
    store = Store(SqliteDatabase(tmp_path / "g.db", wait=0.05))
    other = Store(SqliteDatabase(tmp_path / "g.db", wait=0.05))
    with store.db.writing():
        store.say(graphs.said(("a", "b", "c")))
        with pytest.raises(StoreLocked, match="being written by another process"):
            other.say(graphs.said(("d", "e", "f")))
        assert facts(other) == []  # a reader sees what is committed, and waits for nobody
    assert len(facts(other)) == 1


def test_a_store_may_be_opened_for_reading_only(tmp_path: Path) -> None:
    path = tmp_path / "g.db"
    Store(SqliteDatabase(path)).say(graphs.said(("a", "b", "c")))
    store = Store(SqliteDatabase(path, read_only=True))
    assert len(facts(store)) == 1
    with pytest.raises(StoreReadOnly, match="may not be written"):
        store.say(graphs.said(("d", "e", "f")))


def test_a_newer_store_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "g.db"
    store = Store(SqliteDatabase(path))
    store.db.set_version(tables.VERSION + 1)
    store.close()
    before = path.read_bytes()
    with pytest.raises(NewerStore, match="nothing was changed"):
        Store(SqliteDatabase(path))
    assert path.read_bytes() == before


def test_migrations_run_once_in_order_and_all_or_none(tmp_path: Path) -> None:
    path = tmp_path / "g.db"
    Store(SqliteDatabase(path)).say(graphs.said(("a", "b", "c")))
    database = SqliteDatabase(path)
    later = (
        *tables.MIGRATIONS,
        ("CREATE TABLE extra (x INT)", "INSERT INTO extra VALUES (1)"),
        ("UPDATE extra SET x = x + 1",),
    )
    broken = (*later[:2], ("UPDATE extra SET x = 5", "NO SUCH STATEMENT"))
    with pytest.raises(Exception, match="syntax error"):
        base.migrate(database, broken)
    assert database.version() == 1 and not database.rows("SELECT 1 FROM sqlite_master WHERE name = 'extra'")
    base.migrate(database, later)
    base.migrate(database, later)
    assert database.version() == 3 and database.rows("SELECT x FROM extra") == [(2,)]
    assert database.rows("SELECT count(*) FROM assertion") == [(1,)]


def test_what_is_no_store_is_named_and_not_touched(tmp_path: Path) -> None:
    text, other, folder = tmp_path / "notes.txt", tmp_path / "other.db", tmp_path
    text.write_text("My diary, and far more than sixteen bytes of it.")
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE mine (x)")
    connection.commit()
    connection.close()
    for path, what in ((text, "file of another kind"), (other, "not a knowledge graph"), (folder, "is a folder")):
        before = path.read_bytes() if path.is_file() else None
        with pytest.raises(NotAStore, match=what):
            Store(SqliteDatabase(path))
        assert before is None or path.read_bytes() == before
    with pytest.raises(NotAStore, match="no folder"):
        SqliteDatabase(tmp_path / "no" / "g.db")
    with pytest.raises(NotAStore, match="no such file"):
        SqliteDatabase(tmp_path / "g.db", read_only=True)
    (tmp_path / "empty.db").touch()
    with pytest.raises(NotAStore, match="the file is empty"):
        SqliteDatabase(tmp_path / "empty.db", read_only=True)
    whole = Store(SqliteDatabase(tmp_path / "whole.db"))
    whole.say(graphs.said(("a", "r", "b")))
    text = graphs.dump(whole)
    whole.close()
    (tmp_path / "half.db").write_bytes((tmp_path / "whole.db").read_bytes()[:20_000])
    with pytest.raises(NotAStore, match=r"is damaged .*nothing was changed\. Restore a copy"):
        facts(Store(SqliteDatabase(tmp_path / "half.db")))
    with pytest.raises(BadParameter, match=r"no whole dump: .* line \d"):
        restore(graphs.memory(), text[: len(text) // 2].rsplit("\n", 1)[0])


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        os, "access", lambda path, mode: False
    )  # who runs the tests may be root, who may write anywhere
    with pytest.raises(StoreReadOnly, match="its folder may not be written"):
        SqliteDatabase(tmp_path / "g.db")
    assert not (tmp_path / "g.db").exists()


KILLED = """
import sys, graphs
from palmette.knowledge.store.sqlite import SqliteDatabase
from palmette.knowledge.store.store import Store
store = Store(SqliteDatabase(sys.argv[1]))
print("ready", flush=True)
for i in range(10_000):
    graphs.read(store, {f"d{i}": " ".join(f"Person{j} met Thing{i}." for j in range(20))})
    print(i, flush=True)
"""


def test_a_killed_writer_loses_nothing_that_it_acknowledged_and_leaves_nothing_half(tmp_path: Path) -> None:
    path = tmp_path / "g.db"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(["tests", *sys.path])}
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True, env=env)
    assert child.stdout is not None
    done = []
    for line in child.stdout:
        done.append(line.strip())
        if len(done) == 6:
            child.kill()
    child.stdout.close()
    child.wait()
    acknowledged = [f"d{i}" for i in done if i.isdigit()]
    store = Store(SqliteDatabase(path))
    found = {d.name for d in store.documents()}
    assert set(acknowledged) <= found
    per_document = store.db.rows("SELECT count(*) FROM assertion a JOIN chunk c ON c.id = a.chunk GROUP BY c.document")
    assert per_document == [(20,)] * len(found)


# -- schemas -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ("{", ""), ({"typs": []}, "/typs"), ({"types": "x"}, "/types"), ({"types": ["a", "a"]}, "/types"),
        ({"relations": [3]}, "/relations/0"),
        ({"relations": [{"name": "r", "functinal": True}]}, "/relations/0/functinal"),
        ({"types": ["a"], "relations": [{"name": "r", "subjects": ["b"]}]}, "/relations/0/subjects"),
        ({"relations": [{"name": "r", "functional": "yes"}]}, "/relations/0/functional"), ([], ""),
    ],
)  # fmt: skip
def test_a_wrong_schema_is_refused_with_its_place(given: object, place: str) -> None:
    with pytest.raises(SchemaError) as error:
        Schema.read(given)  # type: ignore[arg-type]
    assert error.value.path == place


def test_a_schema_round_trips_and_is_induced_from_facts() -> None:
    schema = Schema.read(
        {"types": ["p", "c"], "relations": ["knows", {"name": "born in", "objects": ["c"], "functional": True}]}
    )
    assert Schema.read(schema.text()) == schema
    assert (
        schema.allows("p", "born in", "c")
        and not schema.allows("p", "born in", "p")
        and not schema.allows("p", "likes", "p")
    )
    store = graphs.memory()
    store.say([Statement(Entity(f"p{i}", "person"), "born in", Entity(f"c{i % 2}", "city")) for i in range(6)])
    store.say([Statement(Entity("p0", "person"), "met", Entity("p1", "person"))])
    found = induced(facts(store))
    assert found.types == ("person", "city")
    assert found.relations == (Relation("born in", ("person",), ("city",), functional=True),)
    store.schema = found
    assert store.schema == found and "born in" in "".join(canonical(store))


def test_what_is_the_same_is_shown_once_and_kept_apart_in_the_store() -> None:
    store = graphs.read(graphs.memory(), {"a": "Ann met Bob."})
    store.say([Statement(Entity("Ann", "person"), "met", Entity("Bob", "person"))])
    (shown,) = united(store, quoted(store, facts(store)))
    assert shown.subject == Entity("Ann", "person") and shown.support == 2 and len(shown.quotes) == 1
    assert len(facts(store)) == 2
    untyped = graphs.memory()  # a file's name may have no capital
    untyped.say(graphs.said(("beamlet", "is", "new"), ("Hex", "made", "Beamlet")))
    assert {str(f) for f in united(untyped, facts(untyped))} == {"Beamlet is new", "Hex made Beamlet"}


def test_facts_know_their_quotes() -> None:
    store = graphs.read(graphs.memory(), {"a": "Ann met Bob.", "b": "So: Ann met Bob."})
    (fact,) = quoted(store, facts(store))
    assert fact.support == 2 and {q.document for q in fact.quotes} == {"a", "b"}


@pytest.mark.parametrize("time", ["yesterday", "23", "2023-6", "2023/06/05", "", "20230605"])
def test_a_time_that_cannot_be_compared_is_refused(time: str) -> None:
    with pytest.raises(BadParameter, match="a time is a text such as '2023'"):
        When(at=time)
    with pytest.raises(BadParameter, match="a time is a text such as '2023'"):
        graphs.memory().say([Statement(Entity("a"), "b", Entity("c"), valid_from=time)])


def test_a_store_opened_twice_here_loses_nothing_to_another_process(tmp_path: Path) -> None:
    """Opening it again once closed a file of its own, and with it the locks: the other process took the log away."""
    one = Store(SqliteDatabase(tmp_path / "g.db"))
    one.say(graphs.said(("a", "r", "b")))
    two = Store(SqliteDatabase(tmp_path / "g.db"))
    child = (
        "import sys, graphs\nfrom palmette.knowledge.graph import open_store\n"
        "open_store(sys.argv[1]).say(graphs.said(('a', 'r', sys.argv[2])))"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    for name in ("c", "d"):
        subprocess.run([sys.executable, "-c", child, str(tmp_path / "g.db"), name], check=True, env=env)
        assert str(facts(one)[-1]) == str(facts(two)[-1]) == f"a r {name}"
    one.say(graphs.said(("a", "r", "e")))
    one.close()
    two.close()
    assert [f.object.name for f in facts(Store(SqliteDatabase(tmp_path / "g.db")))] == ["b", "c", "d", "e"]
