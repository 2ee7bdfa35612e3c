"""Decisions: exact ones against enumeration, those of an API against a server here, both wires in both directions."""

from __future__ import annotations

import asyncio
import enum
import json
import math
import socket
import string
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback import Loopback, answer, served

import palmette
from palmette.cli.main import main
from palmette.core.decision import Decision, Decisions, Question, State, questions_of
from palmette.core.engine import Engine
from palmette.core.errors import (
    BadAnswer,
    BadParameter,
    MissingKey,
    PromptTooLong,
    RequestRefused,
    UnknownName,
    Unsupported,
    UsageError,
)
from palmette.core.message import Image, Message, Response, Text, TokenScore, Usage
from palmette.core.model import Capabilities
from palmette.models.decide import exact as exact_module
from palmette.models.decide.asking import wilson
from palmette.models.decide.calibrate import calibrated, expected_calibration_error, fitted
from palmette.models.decide.exact import exact, ways_of
from palmette.models.remote.client import Limits
from palmette.models.remote.wires.decisions import DECIDERS

FLOAT32 = 4e-6  # what rounding does to a product of probabilities of an engine that computes in float32
CHARACTERS = string.ascii_letters + string.digits + string.punctuation + " \n"


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "very bad"


ASKED: dict[str, Any] = {
    "spam": bool, "mood": Literal["good", "goodish", "bad"], "urgency": range(11), "who": ["Ann", "Anna", "Bo"],
    "kind": Mood, "worded": palmette.question(range(1, 4), "How?", {1: "not", 3: "much"}),
}  # fmt: skip


def world(seed: int = 0) -> palmette.MatrixEngine:
    """An engine whose tokens are the characters, with random transitions."""
    draws = np.random.default_rng(seed)
    size = len(CHARACTERS) + 1
    matrix = draws.dirichlet(np.full(size, 0.3), size) + 1e-4
    return palmette.MatrixEngine(matrix, eos=size - 1, labels=[*CHARACTERS, "<end>"])


@pytest.fixture(scope="module")
def seedling() -> Engine:
    return palmette.open_engine("zoo:seedling")


def by_hand(engine: Engine, state: State, question: Question) -> list[float]:
    """Each option alone: every token read after a prompt of its own."""
    logs = []
    for prompt, option, ends in ways_of(engine, state, question):
        total = 0.0
        for i, token in enumerate(option):
            node = engine.prefill([[*prompt, *option[:i]]])[0]
            total += float(node.scores.logprobs()[token])
        if ends:
            last = np.exp(engine.prefill([[*prompt, *option]])[0].scores.logprobs())
            over = {*engine.eos, *(t for t in range(engine.tokenizer.size) if t not in engine.tokenizer.special
                                   and engine.tokenizer.token_bytes(t).startswith(b"\n"))}  # fmt: skip
            total += math.log(sum(last[t] for t in over))
        logs.append(total)
    weights = np.exp(np.array(logs) - max(logs))
    return list(weights / weights.sum())


# -- exact decisions ---------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.permutations(sorted(ASKED)), st.integers(1, 6))
def test_decisions_equal_enumeration_alone_together_and_in_any_order(seed: int, order: list[str], count: int) -> None:
    engine = world(seed)
    names = order[:count]
    found = palmette.decide(engine, "It rains in Bergen.", {name: ASKED[name] for name in names})
    assert list(found) == names
    for name in names:
        alone = palmette.decide(engine, "It rains in Bergen.", {name: ASKED[name]})[name]
        expected = by_hand(engine, "It rains in Bergen.", questions_of({name: ASKED[name]})[0])
        assert found[name].probabilities == pytest.approx(expected, abs=1e-6)
        assert found[name].probabilities == pytest.approx(alone.probabilities, abs=1e-9)


def test_the_numpy_engine_decides_as_enumeration_does(seedling: Engine) -> None:
    state = "Runa is a baker. She is very happy today."
    found = palmette.decide(seedling, state, ASKED)
    for name, decision in found.items():
        expected = by_hand(seedling, state, questions_of({name: ASKED[name]})[0])
        assert decision.probabilities == pytest.approx(expected, abs=FLOAT32) and decision.how == "exact"
        alone = palmette.decide(seedling, state, {name: ASKED[name]})[name]
        assert decision.probabilities == pytest.approx(alone.probabilities, abs=FLOAT32)


def test_a_chat_models_own_format_is_used(tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "talker"
    shutil.copytree(Path(palmette.__file__).parent / "models" / "zoo" / "seedling", folder)
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    engine = palmette.open_engine(folder, engine="numpy")
    question = questions_of({"mood": Literal["good", "very bad"]})[0]
    prompt, option, _ = ways_of(engine, "It rains.", question)[0]
    text = engine.tokenizer.decode(prompt)
    assert "<user>It rains." in text and text.endswith("<assistant>") and engine.tokenizer.decode(option) == "good"
    talk = [Message.of("user", "Hi"), Message.of("assistant", "Hello"), Message.of("user", "It rains.")]
    said = engine.tokenizer.decode(ways_of(engine, talk, question)[0][0])
    assert said.count("<user>") == 2 and "mood" in said.rpartition("It rains.")[2]
    for state in ("It rains.", talk):
        found = palmette.decide(engine, state, {"mood": Literal["good", "very bad"]})["mood"]
        assert found.probabilities == pytest.approx(by_hand(engine, state, question), abs=FLOAT32)


def test_all_questions_and_options_are_one_forward_pass(seedling: Engine) -> None:
    for count in (1, 5):
        asked = {f"q{i}": Literal["very happy", "sad", "so so"] for i in range(count)}
        before = seedling.passes  # type: ignore[attr-defined]
        palmette.decide(seedling, "Runa smiles.", asked)
        assert seedling.passes - before == 1  # type: ignore[attr-defined]


def test_views_are_looked_through_and_groups_change_nothing(seedling: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"stars": range(1, 12), "mood": Literal["very good", "bad"]}
    plain = palmette.decide(seedling, "Runa smiles.", asked)
    same = palmette.decide(palmette.model(seedling, views=[palmette.temperature(1.0)]), "Runa smiles.", asked)
    hot = palmette.decide(palmette.model(seedling, views=[palmette.temperature(5.0)]), "Runa smiles.", asked)
    monkeypatch.setattr(exact_module, "ROWS", 1)
    grouped = palmette.decide(seedling, "Runa smiles.", asked)
    for name in asked:
        assert same[name].probabilities == pytest.approx(plain[name].probabilities, abs=FLOAT32)
        assert grouped[name].probabilities == pytest.approx(plain[name].probabilities, abs=FLOAT32)
        assert hot[name].entropy > plain[name].entropy


def test_options_that_begin_one_another_must_end(seedling: Engine) -> None:
    engine = world(3)
    asked = {question.name: question for question in questions_of(ASKED)}
    digits = {name: ways_of(engine, "x", asked[name])[0][2] for name in ("urgency", "who", "spam")}
    assert digits == {"urgency": True, "who": True, "spam": False}
    endless = palmette.MatrixEngine(np.ones((3, 3)), labels=["a", "b", "ab"])
    with pytest.raises(BadParameter, match="no label"):
        palmette.decide(endless, "a", {"q": ["a", "ab"]})
    logs, usage = exact(seedling, "Runa", questions_of({"a": bool, "b": bool}))
    assert len(logs) == 2 and usage.input > 20


def test_what_cannot_be_decided_is_refused(seedling: Engine) -> None:
    with pytest.raises(PromptTooLong, match=r"question 'spam' with its state has \d+ tokens and answers of up to"):
        palmette.decide(seedling, "word " * 3000, {"spam": bool})
    with pytest.raises(UsageError, match="the state is empty"):
        palmette.decide(seedling, "", {"spam": bool})
    with pytest.raises(UsageError, match="at least one question"):
        palmette.decide(seedling, "x", {})
    with pytest.raises(BadParameter, match=r"<class 'float'> is no question: ask bool"):
        palmette.decide(seedling, "x", {"spam": float})
    with pytest.raises(BadParameter, match="'good' twice"):
        palmette.decide(seedling, "x", {"mood": ["good", "good"]})
    with pytest.raises(BadParameter, match="has no options"):
        palmette.decide(seedling, "x", {"mood": range(0)})
    with pytest.raises(BadParameter, match="may name"):
        palmette.decide(seedling, "x", {"spam": bool}, wording="{stat}")
    with pytest.raises(BadParameter, match="how must be one of"):
        palmette.decide(seedling, "x", {"spam": bool}, how="guess")  # type: ignore[arg-type]
    with pytest.raises(Unsupported, match="does not give the scores of every token"):
        palmette.decide(palmette.scripted("yes"), "x", {"spam": bool}, how="exact")
    with pytest.raises(UnknownName, match="Did you mean 'spam'"):
        palmette.decide(seedling, "x", {"spam": bool})["spm"]
    with pytest.raises(UnknownName, match="no option '3'"):
        palmette.question(bool, descriptions={3: "x"})


# -- what a decision says ----------------------------------------------------------------------------------------------


def decision(kind: Any, *shares: float, **more: Any) -> Decision:
    return Decision(palmette.question(kind, name="q"), shares, "exact", **more)


def test_confidence_goes_from_no_idea_to_certain() -> None:
    assert decision(bool, 0.5, 0.5).confidence == 0 and decision(bool, 1.0, 0.0).confidence == 1
    assert decision(["a", "b", "c"], 1 / 3, 1 / 3, 1 / 3).confidence == pytest.approx(0)
    near, far = decision(range(3), 0.6, 0.4, 0.0), decision(range(3), 0.6, 0.0, 0.4)
    assert near.confidence > far.confidence and near.expected == pytest.approx(0.4) and far.best == 0
    assert decision(bool, 0.25, 0.75).best is False and decision(bool, 0.25, 0.75)[False] == 0.75
    assert decision(["a"], 1.0).confidence == 1 and decision(bool, 0.5, 0.5).entropy == pytest.approx(math.log(2))
    with pytest.raises(UsageError, match="has no mean"):
        _ = decision(bool, 1, 0).expected
    with pytest.raises(UsageError, match="is a score"):
        _ = decision(range(2), 1, 0).probability
    assert decision(Mood, 0.2, 0.8).best is Mood.BAD and decision(Mood, 0.2, 0.8).as_json()["best"] == "very bad"
    assert decision([True, 1] if False else Literal[True, 1], 0.3, 0.7)[1] == 0.7  # type: ignore[misc]


# -- models behind an API ----------------------------------------------------------------------------------------------


def chat_answer(text: str, top: Sequence[tuple[str, float]] = ()) -> bytes:
    choice: dict[str, Any] = {"finish_reason": "stop", "message": {"content": text}}
    if top:
        rows = [{"token": t, "logprob": math.log(p)} for t, p in top]
        choice["logprobs"] = {"content": [{**rows[0], "top_logprobs": rows}]}
    return answer(200, {"model": "m", "choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 1}})


def test_likeliest_tokens_are_read_as_options() -> None:
    top = [("Yes", 0.5), (" yes", 0.1), ("No", 0.2), ("Maybe", 0.2)]
    letters = [("B", 0.7), ("A", 0.2), ("x", 0.05)]
    with served([chat_answer("Yes", top), chat_answer("B", letters)]) as server:
        model = palmette.connect("openai:m", key="k", base_url=server.url, limits=Limits(retries=0))
        state = {"text": "Buy now"}
        found = dict(palmette.decide(model, state, {"spam": bool}))
        found |= palmette.decide(model, state, {"mood": Literal["good", "bad", "odd"]})
        first, second = (body for _, _, body in server.requests)
    assert found["spam"].probability == pytest.approx(0.75) and found["spam"].how == "logprobs"
    assert "20.0% of the probability" in found["spam"].notes[0]
    assert found["mood"].best == "bad" and found["mood"]["odd"] == 0
    assert found["mood"].intervals[2] == (0.0, pytest.approx(0.05 / 0.95)) and "at most" in found["mood"].notes[-1]
    assert first["max_completion_tokens"] == 1 and first["top_logprobs"] == 20 and '{"text"' in str(first["messages"])
    assert "A: good" in second["messages"][0]["content"]


def test_an_api_is_asked_several_questions_at_once() -> None:
    reply = chat_answer("Yes", [("Yes", 0.75), ("No", 0.25)])
    all_here = threading.Barrier(8)  # nobody is answered before all have asked

    def together(state: Loopback, peer: socket.socket, number: int) -> None:
        all_here.wait(60)
        peer.sendall(reply)

    asked = {f"q{i}": bool for i in range(8)}
    with served(together) as server:
        model = palmette.connect("openai:m", key="k", base_url=server.url)
        found = palmette.decide(model, "x", asked)
        again = asyncio.run(palmette.adecide(model, "x", asked))
    assert list(found) == list(again) == list(asked) and found["q7"].probability == again["q0"].probability == 0.75
    assert found.usage == again.usage == Usage(72, 8)


def test_a_model_that_says_something_else_is_not_read_as_an_option() -> None:
    with served([chat_answer("Well", [("Well", 0.9), ("yes", 0.05)])]) as server:
        model = palmette.connect("openai:m", key="k", base_url=server.url)
        with pytest.raises(Unsupported, match=r"they have 5.0% of its probability, and it would say 'Well'"):
            palmette.decide(model, "x", {"spam": bool}, how="logprobs")


def test_a_model_that_refuses_log_probabilities_is_counted_and_a_note_says_why() -> None:
    refusal = answer(400, {"error": {"message": "logprobs are not supported with reasoning models"}})
    choices = [{"index": i, "finish_reason": "stop", "message": {"content": f'{{"value": "{said}"}}'}}
               for i, said in enumerate(["yes", "yes", "no", "yes"])]  # fmt: skip
    with served([refusal, answer(200, {"choices": choices})]) as server:
        model = palmette.connect("openai:m", key="k", base_url=server.url)
        found = palmette.decide(model, "x", {"spam": bool}, samples=4)
        assert server.requests[1][2]["n"] == 4 and "logprobs" not in server.requests[1][2]
    assert (
        found["spam"].how == "samples"
        and found["spam"].probability == 0.75
        and "logprobs are not supported" in found.notes[0]
    )


def test_answers_are_counted_where_nothing_else_is_known() -> None:
    able = Capabilities(choices=True)
    said = iter(["yes", "Yes.", "no", "dunno", "yes"] * 4)
    model = palmette.scripted(lambda request: next(said), capabilities=able)
    found = palmette.decide(model, "x", {"spam": bool}, samples=20)["spam"]
    assert found.how == "samples" and found.probabilities == (0.75, 0.25)
    assert found.notes == ("counted among 16 answers", "4 answers were none of the options and are left out")
    assert found.intervals[0] == wilson(12, 16) and found.intervals[0][0] < 0.75 < found.intervals[0][1]
    assert model.requests[0].n == 20 and model.requests[0].output is not None
    with pytest.raises(BadAnswer, match="never by one of the options"):
        palmette.decide(palmette.scripted("dunno", capabilities=able), "x", {"spam": bool})
    with pytest.raises(BadParameter, match="at least 1"):
        palmette.decide(model, "x", {"spam": bool}, samples=0)
    found_async = asyncio.run(palmette.adecide(palmette.scripted("no", capabilities=able), "x", {"spam": bool}))
    assert found_async.best == {"spam": False}
    with pytest.raises(UsageError, match="takes no 'sample'"):
        asyncio.run(palmette.adecide(model, "x", {"spam": bool}, sample=3))


def test_a_wrapped_model_is_asked_through_its_wrappers(tmp_path: Path) -> None:
    response = Response((Text("yes"),), logprobs=(TokenScore("yes", math.log(0.8), (("yes", math.log(0.8)),
                        ("no", math.log(0.2)))),))  # fmt: skip
    inner = palmette.scripted(response)
    model = palmette.cache(inner, tmp_path / "c.sqlite")
    first, again = (palmette.decide(model, "x", {"spam": bool})["spam"].probability for _ in range(2))
    assert first == again == pytest.approx(0.8) and len(inner.requests) == 1


# -- native endpoints, both directions ---------------------------------------------------------------------------------

LABEL = st.text(string.ascii_letters + " é", min_size=1, max_size=8).map(str.strip).filter(bool)
WORDS = st.text(string.ascii_letters + " ?", min_size=1, max_size=20).filter(str.strip)


@st.composite
def questions(draw: Any, native: str) -> tuple[Question, ...]:
    made = []
    for name in draw(st.lists(LABEL, min_size=1, max_size=5, unique=True)):
        kind = draw(st.sampled_from(["predicate", "choice", "score"]))
        words = draw(WORDS)
        if kind == "predicate":
            means = draw(st.sampled_from([(), ("so", "not so")])) if native == "systemone" else ()
            made.append(Question(name, "predicate", (True, False), ("yes", "no"), words, means))
            continue
        labels = tuple(draw(st.lists(LABEL, min_size=2, max_size=6, unique=True)))
        options = labels if kind == "choice" else tuple(range(len(labels)))
        described = kind == "choice" or native == "decisions"
        means = tuple(draw(st.lists(st.sampled_from(["", "as it is"]), min_size=len(labels), max_size=len(labels))))
        made.append(Question(name, kind, options, labels, words, means if any(means) and described else ()))
    return tuple(made)


STATES: list[State] = [
    "It rains.", {"a": [1, {"b": None}]}, [{"a": 1}],
    (Message.of("system", "Be fair."), Message.of("user", "Hi"), Message.of("assistant", "Hello")),
    (Message("user", (Text("See:"), Image(b"png"))),),
]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(sorted(DECIDERS)))
def test_what_is_encoded_is_decoded_to_itself_in_both_directions(data: Any, name: str) -> None:
    codec = DECIDERS[name]
    asked = data.draw(questions(name))
    state = data.draw(st.sampled_from(STATES if name == "decisions" else STATES[:3]))
    body = json.loads(json.dumps(codec.encode("m", state, asked)))
    back = codec.decode_request(body)
    assert (back.model, back.state, back.questions) == ("m", state, asked)
    answers = []
    for question in asked:
        weights = data.draw(
            st.lists(st.floats(0.01, 1), min_size=len(question.options), max_size=len(question.options))
        )
        shares = tuple(w / sum(weights) for w in weights)
        answers.append(Decision(question, shares, name))  # type: ignore[arg-type]
    given_ = Decisions(tuple(answers), "m", Usage(7, 0))
    found = codec.decode(json.loads(json.dumps(codec.encode_response(given_))), asked)
    assert (found.model, found.usage, list(found)) == ("m", Usage(7, 0), list(given_))
    for one, other in zip(found.answers, answers, strict=True):
        assert one.question == other.question and one.probabilities == pytest.approx(other.probabilities, abs=1e-9)


def test_openais_endpoint_is_asked_and_a_refusal_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    reply = {
        "model": "gpt-6-luna",
        "answers": [
            {"type": "predicate", "name": "spam", "probability": 0.875},
            {"type": "choice", "name": "mood", "choice": "bad", "confidence": 0.5,
             "probabilities": [{"value": "bad", "probability": 0.75}, {"value": "good", "probability": 0.25}]},
            {"type": "score", "name": "stars", "score": 1.5, "confidence": 0.2,
             "probabilities": [{"label": "1", "value": 0, "probability": 0.5},
                               {"label": "2", "value": 1, "probability": 0.5}]},
            {"type": "refusal", "name": "who"},
        ],
        "usage": {"input_tokens": 9, "output_tokens": 0, "input_tokens_details": {"cached_tokens": 4}},
    }  # fmt: skip
    asked = {"spam": bool, "mood": Literal["good", "bad"], "stars": range(1, 3), "who": ["Ann", "Bo"]}
    with served([answer(200, reply)]) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        model = palmette.connect("openai:gpt-6-luna", base_url=server.url)
        found = palmette.decide(model, "Buy now", asked)
        path, _, body = server.requests[0]
    assert path == "/decisions" and body["questions"][1]["choices"] == [{"value": "good"}, {"value": "bad"}]
    assert found["spam"].probability == 0.875 and found["mood"]["bad"] == 0.75 and found["stars"].expected == 1.5
    assert found["who"].refused and found["who"].confidence == 0 and found.usage == Usage(9, 0, 4)
    for wrong, said in (({"answers": []}, "4 questions were asked, and 0 answered"), ([], "no object"),
                        ({"answers": [{"type": "choice"}] * 4}, "is a predicate, and its answer is a")):  # fmt: skip
        with pytest.raises(BadAnswer, match=said):
            DECIDERS["decisions"].decode(wrong, questions_of(asked))


def test_typesafes_endpoint_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    reply = {"model": "jev-1", "answers": {"mood": {"type": "choice", "choice": "bad", "confidence": 0.5,
             "probabilities": {"good": 0.25, "bad": 0.75}}, "spam": {"type": "noul", "noul": 0.5}},
             "usage": {"input_tokens": 9, "output_tokens": 0}}  # fmt: skip
    monkeypatch.delenv("TYPESAFE_API_KEY", raising=False)
    with pytest.raises(MissingKey, match="TYPESAFE_API_KEY"):
        palmette.decide("typesafe:jev-latest", "x", {"spam": bool})
    wrong = answer(422, {"detail": [{"loc": ["body", "questions"], "msg": "too odd", "type": "value_error"}]})
    with served([answer(200, reply), wrong]) as server:
        monkeypatch.setenv("TYPESAFE_API_KEY", "k")
        monkeypatch.setenv("TYPESAFE_BASE_URL", server.url)
        found = palmette.decide("typesafe:jev-latest", {"m": 1}, {"spam": bool, "mood": Literal["good", "bad"]})
        assert found.best == {"spam": True, "mood": "bad"} and found["spam"].how == "systemone"
        path, headers, body = server.requests[0]
        assert path == "/v1/systemone" and headers["authorization"] == "Bearer k" and body["state"] == {"m": 1}
        with pytest.raises(RequestRefused, match=r"body.questions: too odd"):
            palmette.decide("typesafe:jev-latest", "x", {"spam": bool})
    with pytest.raises(Unsupported, match="65 questions at once"):
        DECIDERS["systemone"].encode("m", "x", questions_of({f"q{i}": bool for i in range(65)}))


def test_transformers_reads_what_is_asked_and_answers_as_we_do() -> None:
    from transformers.decision import DecisionConfig, parse_questions

    codec = DECIDERS["systemone"]
    described = palmette.question(bool, "Is it spam?", {True: "ads", False: "a real message"})
    asked = questions_of({"spam": described, "mood": Literal["good", "very bad"], "stars": range(4)})
    theirs = parse_questions(codec.encode("m", "x", asked)["questions"], DecisionConfig())
    shares = [(0.25, 0.75), (0.625, 0.375), (0.125, 0.5, 0.25, 0.125)]
    answers = {one.name: one.answer(list(share)) for one, share in zip(theirs, shares, strict=True)}
    found = codec.decode({"model": "m", "answers": answers}, asked)
    assert [found[name].probabilities for name in found] == shares
    assert codec.encode_response(found)["answers"] == answers  # the score, the legend and the confidence as well


def asks(**question: Any) -> dict[str, Any]:
    """A request of OpenAI's endpoint with one question."""
    return {"model": "m", "input": "x", "questions": [{"instructions": "x", **question}]}


def asks_one(state: Any = "x", **question: Any) -> dict[str, Any]:
    """A request of TypeSafe's endpoint with one question."""
    return {"model": "m", "state": state, "questions": {"a": question}}


@pytest.mark.parametrize(
    ("wire", "body", "said"),
    [
        ("decisions", [], "the body must be an object"),
        ("decisions", {"model": "m", "input": "x", "questions": []}, "questions must be 1 to 400, not 0"),
        ("decisions", {**asks(type="predicate"), "input": 3}, "input must be a list"),
        ("decisions", {**asks(type="predicate"), "input": []}, "input must be a text or messages"),
        ("decisions", {**asks(type="predicate"), "input": [{"type": "function_call"}]}, "only messages are read"),
        ("decisions", {**asks(type="predicate"), "input": [{"role": "tool", "content": "x"}]}, "role must be"),
        ("decisions", asks(type="odd"), "type must be"),
        ("decisions", asks(type="predicate", instructions=" "), "needs words"),
        ("decisions", asks(type="choice", choices=[{"value": "a"}, {"value": "a"}]), r"s\[0\]: .*the option 'a' twice"),
        ("decisions", asks(type="score", levels=[{"label": 1}, {"label": 2}]), "at least 2, each with a label"),
        ("systemone", {"model": "m", "state": "x", "questions": {}}, "questions must be 1 to 64"),
        ("systemone", asks_one(3, type="noul"), "state must be"),
        ("systemone", asks_one(type="bool"), r"questions.a.type must be"),
        ("systemone", asks_one(type="choice"), r"questions.a.criteria must be an object"),
        ("systemone", {**asks_one(type="noul"), "assets": {"a": {}}}, "pictures are not read"),
    ],
)
def test_a_clients_mistakes_are_refused_with_their_place(wire: str, body: Any, said: str) -> None:
    with pytest.raises(RequestRefused, match=said):
        DECIDERS[wire].decode_request(body)


# -- calibration -------------------------------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.3, 4))
def test_a_temperature_is_found_again_and_lowers_the_error(seed: int, heat: float) -> None:
    draws = np.random.default_rng(seed)
    scores = draws.normal(0, 2, (2000, 3))
    true = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    right = [int(draws.choice(3, p=row)) for row in true]
    said = np.exp(scores / heat) / np.exp(scores / heat).sum(1, keepdims=True)  # the model is off by a temperature
    fit = fitted(said.tolist(), right)
    assert fit.temperature == pytest.approx(1 / heat, rel=0.2)
    assert fit.loss_after <= fit.loss_before + 1e-3 and fit.after <= fit.before + 0.02 and fit.after < 0.06


def test_the_least_loss_equals_a_search_of_all_temperatures() -> None:
    draws = np.random.default_rng(1)
    rows = draws.dirichlet([1, 1, 1], 40).tolist()
    right = draws.integers(0, 3, 40).tolist()

    def loss(heat: float) -> float:
        return -float(np.mean([math.log(calibrated(row, None, heat)[k]) for row, k in zip(rows, right, strict=True)]))

    best = min(np.geomspace(1 / 20, 20, 300), key=loss)
    assert loss(fitted(rows, right).temperature) <= loss(float(best)) + 1e-6
    assert expected_calibration_error([[0.9, 0.1], [0.6, 0.4]], [0, 1]) == pytest.approx((0.1 + 0.6) / 2)
    with pytest.raises(BadParameter, match="at least 2 labelled"):
        fitted([[0.5, 0.5]], [0])


def test_what_a_model_prefers_about_nothing_is_taken_out(seedling: Engine) -> None:
    asked = {"mood": Literal["good", "bad"], "spam": bool}
    found = palmette.calibrate(seedling, asked)
    plain = palmette.decide(seedling, "Runa smiles.", asked)
    even = palmette.decide(seedling, "Runa smiles.", asked, calibration=found)
    ratio = [p / q for p, q in zip(plain["mood"].probabilities, found.priors["mood"], strict=True)]
    assert even["mood"].probabilities == pytest.approx([r / sum(ratio) for r in ratio])
    with pytest.raises(UnknownName, match="no calibrated question 'other'"):
        palmette.decide(seedling, "x", {"other": bool}, calibration=found)
    with pytest.raises(UnknownName, match="no option of example 0, 'mood' 'ugly'"):
        palmette.calibrate(seedling, asked, [("x", {"mood": "ugly"})])
    with pytest.raises(UnknownName, match="Did you mean 'mood'"):
        palmette.calibrate(seedling, asked, [("x", {"moood": "good"})])
    with pytest.raises(UsageError, match="nothing to calibrate with"):
        palmette.calibrate(seedling, asked, contextual=False)


# -- the command line --------------------------------------------------------------------------------------------------


def test_the_command_line_decides(capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "decide",
        "zoo:seedling",
        "Runa smiles.",
        "--ask",
        "happy:bool:Is she happy?",
        "--ask",
        "mood:good|very bad",
    ]
    assert main([*words, "--ask", "stars:1..5", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report["answers"]) == ["happy", "mood", "stars"] and report["model"] == "zoo:seedling"
    assert sum(report["answers"]["mood"]["probabilities"].values()) == pytest.approx(1)
    assert report["answers"]["happy"]["best"] in (True, False) and 1 <= report["answers"]["stars"]["expected"] <= 5
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "happy" in shown and "very bad" in shown and "%" in shown
    assert main(["decide", "zoo:seedling", "x", "--ask", "spam"]) == 2
    assert "NAME:bool" in capsys.readouterr().err
    assert main(["decide", "zoo:seedling", "x"]) == 2
    assert main(["decide", "zoo:seedling", "x", "--ask", "a:bool", "--ask", "a:1..2"]) == 2
    assert "twice" in capsys.readouterr().err
