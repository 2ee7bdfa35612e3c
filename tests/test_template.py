"""Templates: what is generated is of the template, values are what the text says, and programs keep what they read."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import world

import palmette
from palmette.core.engine import Engine, Strategy
from palmette.core.errors import ConstraintError, PalmetteError
from palmette.tokens.decode import decode
from palmette.tokens.gather import Gather
from palmette.tokens.strategies import STRATEGIES, beam, sample
from palmette.tokens.structure.resume import Resume
from palmette.tokens.structure.template import Program, fill_template, parse_template
from palmette.tokens.structure.template.compile import expanded
from palmette.tokens.structure.template.kinds import KINDS, kind_of
from palmette.tokens.structure.template.parse import Group, Hole, Literal
from palmette.tokens.structure.template.read import spans

PERSON = (
    "Name: {name:regex([A-Z][a-z]{2,6})}\nAge: {age:int(1,99)}\n"
    "Mood: {mood:choice(happy,sad)}\nWhy: {why:until(\\n),max=9}\n"
)
PERSON_TEXT = r"Name: [A-Z][a-z]{2,6}\nAge: [1-9][0-9]?\nMood: (happy|sad)\nWhy: [^\n]*\n"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return palmette.open_engine("zoo:seedling")


def made(name: str, engine: Engine) -> Strategy:
    return STRATEGIES[name](engine) if name == "speculative" else STRATEGIES[name]()


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_fills_a_template(engine: Engine, name: str) -> None:
    done = fill_template(engine, PERSON, strategy=made(name, engine))
    assert re.fullmatch(PERSON_TEXT, done.text)
    assert 1 <= done["age"] <= 99
    assert done["mood"] in ("happy", "sad")
    assert done.text == "Name: {name}\nAge: {age}\nMood: {mood}\nWhy: {why}\n".format(**done.values)


@pytest.mark.parametrize(
    ("template", "pattern"),
    [
        ("At {d:date} it was {f:float} and {b:bool}.", r"At \d{4}-\d\d-\d\d it was -?\d+(\.\d+)? and (true|false)\."),
        ("Say {w:until(the end),max=12}the end", r"Say (?s:.*?)the end"),
        ("{{x}} is {(big|small: {n:int(3,5)})}!", r"\{x\} is (big|small: [3-5])!"),
        ("L:{( - {w:regex([a-z]{2,4})}\n)+}", r"L:( - [a-z]{2,4}\n)+"),
        ("L:{( {w:regex([a-z]{2})}){2,3}}.", r"L:( [a-z]{2}){2,3}\."),
        ("L:{( {w:regex([a-z]{2})})?}.", r"L:( [a-z]{2})?\."),
        ("L: {w:list(choice,a,b),sep=\" + \",least=2,most=4}", r"L: [ab]( \+ [ab]){1,3}"),
        ("x = {w:regex([^/\"]{3}(a|b)/)}", r'x = [^/"]{3}[ab]/'),
    ],
)  # fmt: skip
def test_what_is_written_is_of_the_template(engine: Engine, template: str, pattern: str) -> None:
    ended = 0
    for seed in range(4):
        with contextlib.suppress(ConstraintError):  # a sample that did not come to its end
            done = fill_template(engine, template, strategy=sample(), seed=seed, max_tokens=150)
            ended += 1
            assert re.fullmatch(pattern, done.text)
    assert ended


def test_values_have_their_types(engine: Engine) -> None:
    template = "It: {d:date} {f:float} {b:bool} {n:int} {l:list(int),most=3,max=2}."
    done = fill_template(engine, template, strategy=beam(2))
    types = {name: type(value) for name, value in done.values.items()}
    assert types == {"d": datetime.date, "f": float, "b": bool, "n": int, "l": list}
    assert done.text.endswith(", ".join(map(str, done["l"])) + ".")


def test_a_hole_in_another_alternative_has_no_value(engine: Engine) -> None:
    done = fill_template(engine, "It is {(red|{n:int(1,9)} blue)}.")
    assert ("n" in done.values) == ("blue" in done.text)


def test_repeated_values_are_all_kept() -> None:
    parts = expanded(parse_template("{xs:list(int)};{( {y:int})+}"))
    found = spans(parts, "5, 5, 5; 7 7")
    assert found is not None
    assert [s.hole.name for s in found] == ["xs"] * 3 + ["y"] * 2
    assert all(s.hole.repeated for s in found)
    assert spans(parts, "5, 5 7") is None


def test_conditions_are_met_or_the_tries_are_named(engine: Engine) -> None:
    done = fill_template(engine, "Age: {age:int(1,99)}.", where={"age": lambda age: age % 7 == 0})
    assert done["age"] % 7 == 0
    listed = fill_template(engine, "A: {xs:list(choice,p,q,r),most=2}.", where={"xs": lambda x: x != "p"})
    assert "p" not in listed["xs"]
    with pytest.raises(ConstraintError, match="'age' met its condition in 32 tries"):
        fill_template(engine, "Age: {age:int(100,999)}.", where={"age": lambda age: False})
    with pytest.raises(PalmetteError, match="Did you mean 'age'"):
        fill_template(engine, "Age: {age:int(1,9)}.", where={"agee": bool})


def test_a_condition_that_excludes_all_is_an_error_not_a_loop(engine: Engine) -> None:
    with pytest.raises(PalmetteError):
        fill_template(engine, "Mood: {mood:choice(happy,sad)}.", where={"mood": lambda mood: False})


def test_literals_cost_no_pass(engine: Engine) -> None:
    start = Program.begin(engine, "Once upon a time")
    done = start.fill(" there was a very long and forced story about {n:int(1,9)} things, and that is all of it")
    assert done.engine.passes <= 4  # type: ignore[attr-defined]


# -- programs ----------------------------------------------------------------------------------------------------------


def test_a_program_is_a_value(engine: Engine) -> None:
    start = Program.begin(engine, "Q: How old is Runa?\nA:")
    one, other = start.fill(" {a:int(1,50)}"), start.fill(" {a:int(51,99)}")
    assert one["a"] <= 50 < other["a"]
    assert start.text == "Q: How old is Runa?\nA:"
    assert start.values == {}
    more = one.say(" years").fill(", {b:choice(young,old)}")
    assert more.values == {"a": one["a"], "b": more["b"]}
    assert more.text == f"{one.text} years, {more['b']}"


def test_a_program_reads_nothing_twice(engine: Engine) -> None:
    done = Program.begin(engine, "Once upon a time, there was a baker called Runa. ")
    for number in range(4):
        before = done.engine.passes  # type: ignore[attr-defined]
        done = done.fill(f"Runa said {{x{number}:choice(yes,no)}} ")
        assert done.engine.passes - before <= 3  # type: ignore[attr-defined]


def test_going_on_is_starting_anew(engine: Engine) -> None:
    """The scores after a program's text are those of a fresh engine that reads it as one prompt."""
    done = Program.begin(engine, "Once upon").fill(" a {x:word,max=3} time").say(", Runa")
    fresh = palmette.open_engine("zoo:seedling").prefill([done.tokens])[0]
    assert done.node is not None
    assert abs(done.node.logits - fresh.logits).max() < 1e-4
    assert engine.tokenizer.decode(done.tokens) == done.text


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_resumed_engine_is_the_engine(name: str) -> None:
    gather = Gather(world(3))
    node = gather.prefill([[0, 1]])[0]
    resumed = decode(Resume(gather, node, (0, 1)), [0, 1, 2, 0], made(name, world(9)), max_tokens=6, seed=2).run()
    plain = decode(world(3), [0, 1, 2, 0], made(name, world(9)), max_tokens=6, seed=2).run()
    assert [h.tokens for h in resumed.answers] == [h.tokens for h in plain.answers]
    assert resumed.trace.nodes == plain.trace.nodes


def test_programs_choose_exactly(engine: Engine) -> None:
    done = Program.begin(engine, "Runa is very")
    found = done.choose([" happy", " sad"])
    assert sum(found.probabilities) == pytest.approx(1)
    assert found.logprobs == pytest.approx(
        palmette.tokens.structure.choice.choose(engine, list(done.tokens), [" happy", " sad"]).logprobs, abs=1e-4
    )


# -- kinds and syntax --------------------------------------------------------------------------------------------------


@given(st.integers(-2000, 3000), st.integers(0, 2500))
@settings(max_examples=80, deadline=None)
def test_ranges_of_whole_numbers_are_exact(low: int, size: int) -> None:
    kind = kind_of("int", (str(low), str(low + size)))
    for number in range(low - 30, low + size + 30, 7):
        assert kind.fits(str(number)) == (low <= number <= low + size), number
    for edge in (low - 1, low, low + size, low + size + 1):
        assert kind.fits(str(edge)) == (low <= edge <= low + size), edge
    assert not kind.fits("007")


def test_dates_are_dates() -> None:
    kind = kind_of("date", ())
    day = datetime.date(2023, 1, 1)
    for offset in range(365):
        assert kind.fits((day + datetime.timedelta(offset)).isoformat())
    for wrong in ("2023-02-30", "2023-04-31", "2023-13-01", "2023-00-10", "2023-01-00"):
        assert not kind.fits(wrong)


def test_the_syntax_is_read_as_written() -> None:
    assert parse_template("a{{b}}{x:regex([)}]{2}\\))}") == (Literal("a{b}"), Hole("x", "regex", ("[)}]{2}\\)",)))
    assert parse_template("{x}") == (Hole("x", "text", ()),)
    assert parse_template('{x:choice("a,b", c),max=3,stop="|"}') == (
        Hole("x", "choice", ("a,b", "c"), (("max", "3"), ("stop", "|"))),
    )
    group = parse_template("{(a {x:int}|b{(c|d)*}){2,}}")[0]
    assert isinstance(group, Group)
    assert (group.least, group.most, len(group.ways)) == (2, None, 2)
    assert group.ways[0][1].repeated  # type: ignore[union-attr]


@given(st.text(st.characters(codec="utf-8"), max_size=30))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_literal_once_its_braces_are_doubled(text: str) -> None:
    parts = parse_template(text.replace("{", "{{").replace("}", "}}"))
    assert parts == ((Literal(text),) if text else ())


@given(st.text(st.sampled_from("ab{}():|,?+*\\[]=\"'1"), max_size=16))
@settings(max_examples=500, deadline=None)
def test_any_text_is_a_template_or_a_clear_error(text: str) -> None:
    with contextlib.suppress(PalmetteError):
        for part in expanded(parse_template(text)):
            assert isinstance(part, (Literal, Hole, Group))


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("x {a:int", "'}' is missing"),
        ("x }", "write '}}'"),
        ("x {1a}", "a hole is written"),
        ("x {(a|b", "group is not closed"),
        ("x {a:itn}", "Did you mean 'int'"),
        ("x {a:int} {a:int}", "two holes"),
        ("x {a:int,mx=3}", "Did you mean 'max'"),
        ("x {a:int,max=0}", "positive"),
        ("x {a:int(9,3)}", "empty range"),
        ("x {a:int(a,b)}", "whole numbers"),
        ("x {a:choice()}", "needs options"),
        ("x {a:bool(1)}", "does not take 1"),
        ("x {a:regex([)}", "not closed"),
        ("x {a:regex((a)}", "not closed"),
        ("x {a:list}", "kind of its elements"),
        ("x {a:list(int),least=3,most=2}", "3 to 2"),
        ("x {(a){3,2}}", "3 to 2 times"),
        ("{a:int}", "begins with a hole"),
    ],
)
def test_templates_that_are_none(engine: Engine, template: str, says: str) -> None:
    with pytest.raises(PalmetteError, match=re.escape(says)):
        fill_template(engine, template)


def test_every_kind_is_filled(engine: Engine) -> None:
    arguments = {"regex": "([ab]{2})", "choice": "(x,y)"}
    for kind, strategy in itertools.product(KINDS, (None, sample())):
        done = fill_template(engine, f"It is {{v:{kind}{arguments.get(kind, '')},max=12}}\nEnd", strategy=strategy)
        assert done.text.endswith("\nEnd")
