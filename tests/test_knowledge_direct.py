"""Questions about one thing get what they ask for, and not what stands near their words."""

from __future__ import annotations

import time

import graphs
import pytest

from palmette.knowledge.answer.direct import Direct, direct
from palmette.knowledge.answer.stems import bare, stem
from palmette.knowledge.extract.plain import mentions, read_plainly
from palmette.knowledge.graph import Graph

FIRM = """# Northwind

Northwind is a company in Oslo. It makes wind turbines.
## People
Ida Holm leads Northwind. Before her, Nils Berg led Northwind from 2009 to 2018.
Nils Berg founded Northwind in 2003. Marta Lund leads the research department of Northwind.
Ida Holm was born in Bergen in 1975.
## Places
The headquarters of Northwind are located in Oslo. The factory of Northwind is located in Bergen.
Northwind opened a second factory in Turku in 2011.
- The W9 is a turbine with a rotor of 90 metres.
- The W12 was announced in 2019.
- Northwind sold the W9 to Vestkraft in 2014.
"""
RIVAL = """# Vestkraft

Vestkraft is a power company. Its chief executive is Olav Dahl. Olav Dahl has led Vestkraft since 2016.
Vestkraft was founded in 1921 in Stavanger. Vestkraft bought turbines from Northwind. Olav Dahl met Ida Holm in Oslo.
"""
PEOPLE = """Eva Sol was born on Monday. Karl Vik died during the war.
International Business Machines (IBM) is a company. IBM was founded by Charles Flint in 1911.
"""
TOWN = """# Turku

Turku is a city in Finland. Turku was founded in 1229. The mayor of Turku is Piia Elo.
"""

TEXTS = {"firm": FIRM, "rival": RIVAL, "town": TOWN, "people": PEOPLE}


@pytest.fixture(scope="module")
def graph() -> Graph:
    return Graph(graphs.read(graphs.memory(), TEXTS))


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("Who leads Northwind?", ["Ida Holm leads Northwind"]),  # neither who did, nor who leads a part of it
        ("Who led Northwind?", ["Nils Berg led Northwind"]),
        ("Who leads Vestkraft?", ["Olav Dahl has led Vestkraft"]),
        ("Who founded Northwind?", ["Nils Berg founded Northwind"]),
        ("Who is the chief executive of Vestkraft?", ["Its chief executive is Olav Dahl."]),
        ("Who is the mayor of Turku?", ["The mayor of Turku is Piia Elo."]),
        ("Who did Olav Dahl meet?", ["Olav Dahl met Ida Holm"]),
        ("When was Northwind founded?", ["Northwind founded in 2003"]),
        ("When was Ida Holm born?", ["Ida Holm was born in Bergen in 1975."]),
        ("In what year was Turku founded?", ["Turku was founded in 1229"]),
        ("When was the W12 announced?", ["W12 was announced in 2019"]),
        ("Where was Ida Holm born?", ["Ida Holm was born in Bergen"]),
        ("Where is Northwind?", ["Northwind is a company in Oslo"]),
        ("Where is the factory of Northwind located?", ["The factory of Northwind is located in Bergen."]),
        ("What is Turku?", ["Turku is a city in Finland"]),
        ("What is the W9?", ["The W9 is a turbine with a rotor of 90 metres."]),
        ("what is vestkraft?", ["Vestkraft is a power company."]),
        ("What does Northwind make?", ["It makes wind turbines."]),
        ("When was Eva Sol born?", ["Eva Sol was born on Monday"]),
        ("When did Karl Vik die?", ["Karl Vik died during the war."]),
        ("Who founded International Business Machines?", ["IBM was founded by Charles Flint"]),
        ("When was International Business Machines founded?", ["IBM was founded by Charles Flint in 1911."]),
        ("Which company did Nils Berg found?", ["Nils Berg founded Northwind"]),
    ],
)
def test_a_question_about_one_thing_gets_what_it_asks_for(graph: Graph, question: str, wanted: list[str]) -> None:
    answer = graph.ask(question)
    assert [*map(str, answer.facts), *(quote.text for quote in answer.stated)] == wanted
    assert all(TEXTS[quote.document][quote.start : quote.end] == quote.text for quote in answer.quotes)
    assert not answer.abstained and answer.quotes


@pytest.mark.parametrize(
    ("question", "why"),
    [
        ("Who leads Turku?", "nothing in it says who"),
        ("Who founded Turku?", "nothing in it says who"),  # it only says when
        ("Who founded Vestkraft?", "nothing in it says who"),  # it only says when, and where
        ("Who leads Microsoft?", "describes nothing that the question names"),
    ],
)
def test_what_says_all_its_words_and_not_who_is_no_answer(graph: Graph, question: str, why: str) -> None:
    answer = graph.ask(question)
    assert answer.abstained and not answer.facts and why in answer.text


@pytest.mark.parametrize(
    ("asked", "text", "is_"),
    [
        (Direct("who", "founded Google", "Google"), "and in 1998 Larry Page founded Google.", True),
        (Direct("who", "founded Google", "Google"), "and in May 1998, in Menlo Park, Google was founded.", False),
        (Direct("who", "founded IBM", "IBM", ("big blue",)), "Big Blue was founded in 1911.", False),
        (Direct("when", "w12 announced", "w12"), "The W12 was announced.", False),
        (Direct("when", "w12 announced", "w12"), "The W12 was announced after the fair.", True),
        (Direct("what", "Foo", "Foo"), "Größe, Maß, Straße: Foo is a firm.", True),
        (Direct("what", "IBM", "IBM", ("big blue",)), "Big Blue is a firm.", True),
    ],
)  # fmt: skip
def test_a_text_is_held_against_what_is_asked(asked: Direct, text: str, is_: bool) -> None:
    assert asked.answered_by(text) == is_


def test_a_question_of_several_names_or_many_words_is_none_about_one_thing(graph: Graph) -> None:
    lexicon = graph.search.web.lexicon
    for question in (
        "Who led Northwind and Vestkraft?", "Who sold a large old turbine to Vestkraft?", "Who is Ida Holm?",
        "Is Turku old?", "Northwind",
    ):  # fmt: skip
        assert direct(question, lexicon) is None


def test_a_very_long_question_takes_no_time_by_the_square_of_its_length(graph: Graph) -> None:
    start = time.process_time()
    assert direct("Who leads " + "old " * 10_000 + "Northwind?", graph.search.web.lexicon) is not None
    assert time.process_time() - start < 5  # it took nearly a minute


@pytest.mark.parametrize(
    "text",
    [
        "The mayor of Turku is Piia Elo.", "The war in Europe concluded with an invasion of Germany.",
        "A friend of Ann met Bob.", "A friend of Ann, Carl and Dora met Bob.",
        "The factory in the Hague belongs to Shell.",
    ],
)  # fmt: skip
def test_a_name_that_only_says_whose_something_is_does_nothing_itself(text: str) -> None:
    assert not read_plainly(text, mentions(text))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("After Apple released the iPhone, Nokia fell.", ["Apple released iPhone"]),
        ("In 2007 Apple released the iPhone.", ["Apple released iPhone"]),
        ("Ann, Carl and Dora met Bob.", ["Dora met Bob", "Carl met Bob", "Ann met Bob"]),
    ],
)
def test_a_name_that_begins_its_clause_still_does(text: str, wanted: list[str]) -> None:
    assert [f"{s.subject} {s.relation} {s.object}" for s in read_plainly(text, mentions(text))] == wanted


@pytest.mark.parametrize(("a", "b"), [("led", "leads"), ("met", "meeting"), ("owned", "owns"), ("written", "writes")])
def test_a_verb_is_found_in_another_tense(a: str, b: str) -> None:
    assert stem(a) == stem(b) and bare(a) != bare(b)
