"""Laws of refusing: the care that is learned keeps its promise, and learning it leaves nothing behind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import graphs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_knowledge_extract import Scripted
from test_knowledge_show import run

from palmette.cli.graph.ask import command as ask_command
from palmette.core.errors import BadParameter, StoreReadOnly, UnknownName
from palmette.knowledge.answer.calibrate import calibrate, care_for, leave_gold_out, sureness
from palmette.knowledge.answer.evidence import CARE, gather
from palmette.knowledge.answer.support import Support
from palmette.knowledge.graph import Graph, open_store
from palmette.knowledge.retrieve import snapshot as snapshot_
from palmette.knowledge.retrieve.passages import Retriever

TOWNS = ("Bonn", "Dresden", "Leipzig", "Passau", "Bremen", "Kassel", "Fulda", "Jena")
TEXTS = {
    **{f"work {i}": f"# Sonata {town}er\n\nThe Sonata {town}er was composed by Max {town}mann." for i, town in
       enumerate(TOWNS)},
    **{f"man {i}": f"# Max {town}mann\n\nMax {town}mann was born in {town} and died in Rome." for i, town in
       enumerate(TOWNS)},
}  # fmt: skip
ASKED = [
    (f"In which town was the composer of the Sonata {town}er born?", [f"work {i}", f"man {i}"])
    for i, town in enumerate(TOWNS)
]
NOBODY = ("Who painted the Mona Lisa?", ())
shares = st.lists(st.integers(0, 999).map(lambda i: i / 1000), min_size=1, max_size=60)


@settings(max_examples=200, deadline=None)
@given(shares, st.sampled_from([0.0, 0.5, 0.8, 0.9, 0.95]))
def test_the_care_is_the_least_that_keeps_its_promise(unsupported: list[float], refuse: float) -> None:
    count = len(unsupported)

    def kept(care: float) -> bool:
        return (sum(s >= care for s in unsupported) + 1) / (count + 1) <= 1 - refuse + 1e-9

    if not kept(1.0):
        with pytest.raises(BadParameter, match=f"not {count}"):
            care_for(unsupported, refuse)
        return
    assert care_for(unsupported, refuse) == next(i / 1000 for i in range(1001) if kept(i / 1000))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 0.999), min_size=20, max_size=60), st.sampled_from([0.5, 0.8, 0.9, 0.95]))
def test_a_further_question_is_refused_as_often_as_promised(scores: list[float], refuse: float) -> None:
    """Exactly what exchangeability gives: whichever of them is the further one, on average."""
    answered = sum(s >= care_for(scores[:i] + scores[i + 1 :], refuse) for i, s in enumerate(scores))
    assert answered / len(scores) <= 1 - refuse + 1e-9


def test_to_refuse_more_needs_more_care_and_more_questions() -> None:
    unsupported = [i / 100 for i in range(99)]
    cares = [care_for(unsupported, r) for r in (0.0, 0.5, 0.9, 0.95, 0.99)]
    assert cares == sorted(cares) and cares[0] == 0.0 and cares[-1] == 0.981
    with pytest.raises(BadParameter, match="at least 199 questions to learn from, not 99"):
        care_for(unsupported, 0.995)
    with pytest.raises(BadParameter, match="one sentence still says all of 1 of the 20"):
        care_for([1.0] * 2 + [0.0] * 18, 0.95)
    with pytest.raises(BadParameter, match="not 1"):
        care_for(unsupported, 1.0)


def test_more_care_never_answers_more() -> None:
    search = Retriever(graphs.read(graphs.memory(), TEXTS))
    for question, _ in [*ASKED, NOBODY, ("Who was born in Rome?", ())]:
        found = gather(search, question)
        enough = [replace(found, care=i / 50).enough for i in range(51)]
        assert enough == sorted(enough, reverse=True)


@settings(max_examples=100, deadline=None)
@given(*[st.floats(0, 1)] * 6)
def test_more_support_never_makes_less_sure(a: float, b: float, c: float, d: float, e: float, f: float) -> None:
    low, high = (tuple(some) for some in zip(*(sorted(pair) for pair in ((a, d), (b, e), (c, f))), strict=True))
    assert 0 < Support(*low).sure <= Support(*high).sure <= 1
    assert Support(*high, asked=False).sure == 0 and Support(0.5, *high[1:], whole=True).sure == 1


def test_with_nothing_found_no_model_is_asked_whatever_the_care() -> None:
    model = Scripted(lambda request: pytest.fail("a model was asked"))
    for graph in (Graph(graphs.memory()), Graph(graphs.read(graphs.memory(), TEXTS))):
        for care in (0.0, CARE, 1.0):
            answer = graph.ask("Qwertz?", by=model, care=care)
            assert answer.abstained and answer.calls == 0


# -- taking documents out for a moment ---------------------------------------------------------------------------------


def test_without_its_documents_is_as_if_they_had_never_been_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_, "KEPT_FROM", 1)  # the web is kept on disk, and must not be taken for another state's
    monkeypatch.setenv("PALMETTE_CACHE", str(tmp_path / "cache"))
    store = graphs.read(open_store(tmp_path / "notes.db"), TEXTS)
    search = Retriever(store)
    before = graphs.dump(store), store.db.stamp()
    for (question, gold), (present, absent) in zip(ASKED[:3], leave_gold_out(search, ASKED[:3]), strict=True):
        rest = {name: text for name, text in TEXTS.items() if name not in gold}
        never = gather(Retriever(graphs.read(graphs.memory(), rest)), question)
        assert absent.support == never.support and [*map(str, absent.facts)] == [*map(str, never.facts)]
        assert not {hit.chunk.document for hit in absent.passages} & {*gold}
        assert present is not None and {*gold} <= {hit.chunk.document for hit in present.passages}
        assert gather(Retriever(store), question) == present
    assert (graphs.dump(store), store.db.stamp()) == before


def test_calibration_counts_what_asking_does() -> None:
    graph = Graph(graphs.read(graphs.memory(), TEXTS))
    found = graph.calibrate([*ASKED, NOBODY], refuse=0.8)
    assert found == calibrate(graph.search, [*ASKED, NOBODY], refuse=0.8)  # and the same again
    assert (found.without, found.answered, found.refuse) == (9, 8, 0.8)
    told = [graph.ask(question, care=found.care).abstained for question, _ in ASKED]
    assert found.falsely == sum(told) / 8 == 0
    pairs = list(leave_gold_out(graph.search, [*ASKED, NOBODY]))
    assert pairs[-1][0] is None and found.refused == sum(sureness(p[1]) < found.care for p in pairs) / 9 >= 8 / 9
    with pytest.raises(UnknownName, match="man 9"):
        graph.calibrate([("Who?", ["man 9"])])


def test_the_command_says_a_care_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    graphs.read(open_store("notes.db"), TEXTS).close()
    asked = [{"question": question, "gold": gold} for question, gold in ASKED]
    Path("asked.json").write_text(json.dumps({"questions": [*asked, {"question": NOBODY[0]}]}))
    said = run("calibrate", "notes.db", "asked.json", "--refuse", "0.8")
    assert said.exit_code == 0 and said.output.endswith("refuses 0% of 8 questions with one\n")
    care = said.output.split()[1]
    assert run("ask", "notes.db", ASKED[0][0], "--care", care).exit_code == 0
    assert run("ask", "notes.db", NOBODY[0], "--care", care).exit_code == 3
    assert "at least 19 questions to learn from, not 9" in run("calibrate", "notes.db", "asked.json").output
    for bad in ('{"questions": 3}', "[1]", '[{"question": ""}]', '[{"question": "Who?", "gold": "man 1"}]', "{"):
        Path("bad.json").write_text(bad)
        done = run("calibrate", "notes.db", "bad.json")
        assert done.exit_code == 2 and "'bad.json' must hold a JSON list" in done.output
    assert "cannot read 'none.json'" in run("calibrate", "notes.db", "none.json").output
    with pytest.raises(StoreReadOnly):
        Graph(open_store("notes.db", read_only=True)).calibrate(ASKED)


def test_the_command_line_has_the_care_of_the_library() -> None:
    assert next(option.default for option in ask_command.params if option.name == "care") == CARE


# -- what counts as support --------------------------------------------------------------------------------------------


def test_one_sentence_that_says_every_word_is_enough_and_the_same_words_here_and_there_are_not() -> None:
    here_and_there = "Paul Ramsay is a character in a soap opera. Ann Lee created Paul Ramsay. Kate Ramsay is a singer."
    question = "By whom was the soap opera character Kate Ramsay created?"
    graph = Graph(graphs.read(graphs.memory(), {"paul": f"# Paul Ramsay\n\n{here_and_there}"}))
    assert graph.ask(question).abstained
    graph.add(f"{here_and_there} The soap opera character Kate Ramsay was created by Tom Hill.", name="more")
    assert not graph.ask(question).abstained
    graph.remove("more")
    graph.add("# Kate Ramsay\n\nThe soap opera character was created by Tom Hill.", name="titled")
    assert gather(graph.search, question).support.whole


def test_small_notes_without_titles_answer_what_they_say_and_nothing_else() -> None:
    notes = (
        "Ann Miller runs the bakery in Kassel. The bakery opened in 1999. Bob Stone delivers flour from Fulda.\n\n"
        "Carla Weiss joined Acme in 2015. Acme was founded by Otto Braun. Dora Lind wrote the handbook."
    )
    graph = Graph(graphs.memory())
    graph.add(notes, name="notes")
    said = ("Who runs the bakery in Kassel?", "When did the bakery open?", "Who delivers flour?",
            "What does Bob Stone deliver?", "When did Carla Weiss join Acme?", "Who wrote the handbook?")  # fmt: skip
    unsaid = ("Who founded the bakery?", "Where was Ann Miller born?", "When was Acme sold?", "Who runs Acme?",
              "What does Dora Lind deliver?", "Who is the wife of Otto Braun?")  # fmt: skip
    for question in said:
        assert not graph.ask(question).abstained, question
    for question in unsaid:
        assert graph.ask(question).abstained, question
    assert "Bob Stone delivers flour" in graph.ask("Who delivers flour?").text  # no fact says it: the passage does


def test_a_heading_is_no_title_of_what_stands_below() -> None:
    graph = Graph(graphs.memory())
    graph.add("# Notes\n\nTim Cook leads Apple. Ann Miller sold the bakery in 1999.", name="notes")
    assert gather(graph.search, "Who founded the company Apple?").support.described == 0
    assert gather(graph.search, "Who leads the company Apple?").support.described == 0.5  # by a fact, not by the title


def test_what_compares_two_things_need_not_be_said_of_them() -> None:
    graph = Graph(graphs.read(graphs.memory(), {n: t for n, t in TEXTS.items() if n.startswith("man")}))
    for question in (
        "Who is older, Max Bonnmann or Max Jenamann?",
        "Which was born earlier, Max Bonnmann or Max Jenamann",
    ):
        assert not graph.ask(question).abstained
    assert graph.ask("Who is older, Max Bonnmann or Max Meier?").abstained


def test_a_second_hop_counts_only_from_a_passage_about_what_is_named() -> None:
    question = "Which river passes the town where Max Meier lived?"
    texts = {
        "rome": "# Rome\n\nMax Meier lived in the town of Rome.",
        "tiber": "# Tiber\n\nThe Tiber is a river that passes Rome.",
    }
    graph = Graph(graphs.read(graphs.memory(), texts))
    assert gather(graph.search, question).support.spoken == 0 and graph.ask(question).abstained
    graph.add("# Max Meier\n\nMax Meier lived in Rome.", name="max")
    assert gather(graph.search, question).support.spoken > 0.5 and not graph.ask(question).abstained


def test_a_name_ends_with_its_sentence() -> None:
    search = Retriever(graphs.read(graphs.memory(), TEXTS))
    assert gather(search, "Max Bonnmann was born in Bonn. Did Max Jenamann die in Rome?").support.said == 1
    assert gather(search, "Max Bonnmann was born in Bonn Did Max Jenamann die in Rome?").support.said < 1
