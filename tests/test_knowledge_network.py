"""Laws of the facts in memory: they are those of the store as it is, whoever writes; what is held does not move."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import graphs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmette.core.errors import BadParameter, StoreError, StoreReadOnly, UnknownName
from palmette.knowledge.graph import Graph, open_store
from palmette.knowledge.retrieve.paths import near
from palmette.knowledge.store import network
from palmette.knowledge.store.network import Direction
from palmette.knowledge.store.read import When, entity, facts, relation_names
from palmette.knowledge.values import Entity, Fact, Statement, facts_of

NAMES, RELATIONS = ("a", "b", "B", "c", "dd", "é"), ("r", "s")
DIRECTIONS: tuple[Direction, ...] = ("out", "in", "any")
FROM_DISK = When()  # equal to NOW, and asked of the store as every other time is
ends = st.builds(Entity, st.sampled_from(NAMES), st.sampled_from(["", "t"]), st.booleans())
writes = st.one_of(
    st.tuples(st.just("say"), ends, st.sampled_from(RELATIONS), ends, st.sampled_from(["x", "y"])),
    st.tuples(st.just("retract"), ends, st.sampled_from(RELATIONS), ends),
    st.tuples(st.just("add"), st.sampled_from("de"), st.lists(st.sampled_from(graphs.WORDS), min_size=3).map(" ".join)),
    st.tuples(st.just("remove"), st.sampled_from("de")),
    st.tuples(st.sampled_from(["same", "apart", "unlink"]), st.sampled_from(NAMES), st.sampled_from(NAMES)),
)


def write(graph: Graph, done: tuple[object, ...]) -> None:
    """Carry out one of the writes, if it can be."""
    kind, *parts = done
    try:
        if kind == "say":
            graph.say(Statement(*parts[:3]), by=str(parts[3]))  # type: ignore[arg-type]
        elif kind == "retract":
            graph.retract(Statement(*parts))  # type: ignore[arg-type]
        elif kind == "add":
            graph.add(str(parts[1]), name=str(parts[0]))
        else:
            getattr(graph, str(kind))(*parts)
    except (BadParameter, UnknownName):
        pass


def agree(graph: Graph, other: Graph) -> None:
    """A graph's answers, from memory, are those of the other's SQL, to the order and the support."""
    known = {e.name for f in facts(other.store) for e in (f.subject, f.object)}
    assert {f.names for name in known for f in graph.facts(name)} == {f.names for f in facts(other.store)}
    for name in sorted(known):
        ids = entity(other.store, name)
        for mine, its in (
            (graph.facts(name), facts(other.store, ids)),
            (graph.facts(object=name), facts(other.store, None, None, ids)),
            *((graph.facts(name, r), facts(other.store, ids, r)) for r in relation_names(other.store)),
            (graph.facts(name, None, name), facts(other.store, ids, None, ids)),
            (graph.facts(name, most=2), facts(other.store, ids)[:2]),
        ):
            assert mine == its and [f.support for f in mine] == [f.support for f in its]
        for asked in (graph.facts, graph.triples):
            with pytest.raises(UnknownName, match="no relation 'none'"):
                asked(name, "none")
        assert graph.triples(name) == [f.names for f in graph.facts(name)]
        assert graph.triples(object=name, most=1) == [f.names for f in graph.facts(object=name)][:1]
        for way in DIRECTIONS:
            for hops in (1, 2, 5):
                assert graph.near(name, hops, direction=way) == near(
                    other.store, name, hops=hops, direction=way, when=FROM_DISK
                )
    for thing in {e for f in facts(other.store) for e in (f.subject, f.object)}:
        assert graph.facts(thing) == facts(other.store, entity(other.store, thing))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.booleans(), writes), max_size=8))
def test_after_every_write_memory_answers_as_the_store_does(
    tmp_path_factory: pytest.TempPathFactory, done: list[tuple[bool, tuple[object, ...]]]
) -> None:
    place = tmp_path_factory.mktemp("laws") / "g.db"
    with Graph(open_store(place)) as one, Graph(open_store(place)) as two:
        for first, what in done:
            write(one if first else two, what)
            for graph in (one, two):
                assert graph.store.memory.now() is not None
                with Graph(open_store(place, read_only=True)) as fresh:
                    agree(graph, fresh)


@settings(max_examples=25, deadline=None)
@given(st.sets(st.tuples(st.sampled_from("abcdé"), st.sampled_from(RELATIONS), st.sampled_from("abcdé")), min_size=1))
def test_answers_are_those_of_going_through_all_triples(triples: set[tuple[str, str, str]]) -> None:
    graph = Graph(graphs.memory())
    graph.load(triples)
    for name in {n for s, _, o in triples for n in (s, o)}:
        assert graph.triples(name) == sorted(t for t in triples if t[0] == name)
        assert sorted(graph.triples(object=name)) == sorted(t for t in triples if t[2] == name)
        steps: dict[Direction, Callable[[str], set[str]]] = {
            "out": lambda n: {o for s, _, o in triples if s == n},
            "in": lambda n: {s for s, _, o in triples if o == n},
            "any": lambda n: {o for s, _, o in triples if s == n} | {s for s, _, o in triples if o == n},
        }
        for way, step in steps.items():
            seen, edge, found = {name}, {name}, list[str]()
            for hops in (1, 2, 3):
                edge = {far for thing in edge for far in step(thing)} - seen
                seen |= edge
                found += sorted(edge)
                assert [e.name for e in graph.near(name, hops, direction=way)] == found


def test_another_process_is_seen_and_what_is_held_does_not_move(tmp_path: Path) -> None:
    graph = Graph(open_store(tmp_path / "g.db"))
    graph.say(("a", "r", "b"))
    assert graph.triples("a") == [("a", "r", "b")]
    said = (
        "import sys\nfrom palmette.knowledge.graph import Graph, open_store\n"
        "Graph(open_store(sys.argv[1])).say(('a', 'r', sys.argv[2]))"
    )
    with graph.reading() as held:
        for name in ("c", "d"):
            subprocess.run([sys.executable, "-c", said, str(tmp_path / "g.db"), name], check=True)
            assert ("a", "r", name) in graph.triples("a") and graph.near("a")[-1].name == name
            assert held.triples("a") == [("a", "r", "b")] and len(held.facts()) == 1
            assert held.counts()["facts"] == 1 and held.path("a", "b") is not None
            with pytest.raises(UnknownName, match=f"no entity '{name}'"):
                held.facts(name)
    with graph.reading(in_memory=True) as held:
        assert len(held.triples("a")) == 3


@pytest.mark.parametrize("place", [":memory:", "g.db"])
def test_what_is_held_refuses_to_be_written_and_the_graph_does_not(tmp_path: Path, place: str) -> None:
    graph = Graph(open_store(place if place == ":memory:" else tmp_path / place))
    graph.add("Ann met Bob.", name="one")
    with graph.reading(in_memory=True) as held:
        for attempt in (
            lambda: held.say(("a", "r", "b")),
            lambda: held.remove("one"),
            lambda: held.add("Eve met Tim."),
            lambda: held.same("Ann", "Bob"),
        ):
            with pytest.raises(StoreReadOnly, match="held as it was"):
                attempt()
        graph.remove("one")
        assert [str(f) for f in held.facts("Ann")] == ["Ann met Bob"]
        assert held.ask("Who met Bob?").facts and held.passages("Ann") and held.documents() == ["one"]
    with pytest.raises(UnknownName, match="no entity 'Ann'"):
        graph.facts("Ann")
    assert graph.say(("a", "r", "b")) == 1 and graph.facts() == graph.facts("a")


def test_the_facts_are_read_into_memory_once_that_pays_or_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_PAYS", 1)
    graph = Graph(graphs.memory())
    graph.load([("a", "r", str(i)) for i in range(10)])
    asked = [graph.store.memory.now() is None for _ in range(12)]
    assert asked == [True] * 10 + [False] * 2  # ten facts, and the first of the numbers that are left
    graph.say(("b", "r", "a"))
    assert graph.store.memory.now() is None  # another state: counted anew
    with graph.reading(in_memory=True):
        pass
    assert graph.store.memory.now() is not None
    with graph.store.db.writing():
        assert graph.store.memory.now() is None  # what is not kept yet is asked of the store
        graph.say(("c", "r", "a"))
        assert graph.triples("c") == [("c", "r", "a")]
    assert graph.store.memory.now() is None
    monkeypatch.setattr(network, "_MOST", 5)
    graph.say(("d", "r", "a"))
    assert all(graph.store.memory.now() is None for _ in range(30))  # too many for nobody to have asked for them


def test_times_and_other_spellings_are_asked_of_the_store() -> None:
    graph = Graph(graphs.memory())
    graph.say(Statement(Entity("Tim Cook"), "leads", Entity("Apple"), valid_from="2011"), ("Tim Cook", "is", "tall"))
    assert graph.store.memory.now() is not None
    assert len(graph.facts("tim cook")) == 2 and len(graph.facts("Tim Cook", at="2001")) == 1
    assert [e.name for e in graph.near("TIM COOK", at="2001")] == ["tall"] and len(graph.near("tim cook")) == 2
    with pytest.raises(UnknownName, match="Did you mean 'Tim Cook'"):
        graph.near("Tim Cooks")
    with pytest.raises(BadParameter, match="hops must be at least 1, not 0"):
        graph.near("Tim Cook", 0)
    with pytest.raises(BadParameter, match="not 'up'"):
        graph.near("Tim Cook", direction="up")  # type: ignore[arg-type]


def test_facts_made_at_once_are_facts() -> None:
    rows = [(Entity("a"), "r", Entity("b", "t"), 2), (Entity("b"), "r", Entity("1", "", True), 1)]
    made, plain = facts_of(rows), [Fact(*row) for row in rows]
    assert made == plain and list(map(hash, made)) == list(map(hash, plain)) and repr(made) == repr(plain)
    assert [dataclasses.astuple(f) for f in made] == [dataclasses.astuple(f) for f in plain]
    with pytest.raises(dataclasses.FrozenInstanceError):
        made[0].relation = "s"  # type: ignore[misc]


def test_threads_that_read_while_one_writes_see_whole_states() -> None:
    graph, wrong, stop = Graph(graphs.memory()), list[object](), threading.Event()
    graph.say(("a", "r", "0"), ("a", "s", "0"))

    def look() -> None:
        while not stop.is_set():
            found = [o for _, _, o in graph.triples("a")]
            if len(found) != 2 or len(set(found)) != 1:
                wrong.append(found)

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    for i in range(60):
        with graph.store.db.writing():
            graph.retract(("a", "r", str(i)), ("a", "s", str(i)))
            graph.say(("a", "r", str(i + 1)), ("a", "s", str(i + 1)))
    stop.set()
    for reader in readers:
        reader.join()
    assert not wrong


@pytest.mark.parametrize("place", ["file", ":memory:"])
def test_reading_does_not_begin_inside_a_transaction_that_writes(place: str, tmp_path: Path) -> None:
    """In memory it once waited for ever."""
    graph = Graph(open_store(tmp_path / "g.db" if place == "file" else place))
    graph.say(("a", "r", "b"))
    with pytest.raises(StoreError, match="begin reading before"), graph.store.db.writing(), graph.reading():
        raise AssertionError("it began")
    with graph.reading() as held:
        assert [fact.names for fact in held.facts()] == [("a", "r", "b")]
