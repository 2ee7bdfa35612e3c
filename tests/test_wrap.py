"""Wrappers: any stack of them keeps the answer, whole, streamed and in an event loop; then what each one is for."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import stat
import threading
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loopback import answer, served

import palmette
from palmette.core.errors import (
    BadParameter,
    EmptySupport,
    ModelNotFound,
    NoConnection,
    NotRecorded,
    Offline,
    OutputError,
    OverBudget,
    ProviderFailed,
    RateLimited,
    RequestRefused,
    UnknownName,
    Unsupported,
    UsageError,
)
from palmette.core.events import Event, fold, unfold
from palmette.core.message import (
    Image,
    Message,
    Output,
    Reasoning,
    Request,
    Response,
    Text,
    TokenScore,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
)
from palmette.core.model import Model
from palmette.core.values import canonical, from_json, to_json
from palmette.core.waiting import finished
from palmette.models.remote.client import Limits
from palmette.models.wrap.identity import identity
from palmette.models.wrap.rate_limit import Bucket, Room, headroom

Wrap = Callable[[Model, Path], Model]
WRAPPERS: dict[str, Wrap] = {
    "retry": lambda model, place: palmette.retry(model, pause=0),
    "fallback": lambda model, place: palmette.fallback(palmette.scripted(NoConnection("down"), id="down"), model),
    "route": lambda model, place: palmette.route({"all": model}, lambda request: "all"),
    "cache": lambda model, place: palmette.cache(model, place / f"{random_name()}.sqlite"),
    "record": lambda model, place: palmette.record(model, place / f"{random_name()}.jsonl"),
    "rate_limit": lambda model, place: palmette.rate_limit(model, requests=1e6, tokens=1e9),
    "budget": lambda model, place: palmette.budget(model, tokens=10**6, max_tokens=100),
    "logged": lambda model, place: palmette.logged(model, place / "logs.sqlite"),
    "traced": lambda model, place: palmette.traced(model, content=True),
}
RICH = Response(
    (Reasoning("Let me see", "sig"), Text("Grüße an 🐱 alle"), ToolCall("c1", "look", '{"a": 1}')), "tool_calls",
    Usage(5, 7, 1, 2, 3), "r1", "m-1", ("a note",), (TokenScore("Gr", -0.5, (("Gr", -0.5), ("Hi", -2.0))),),
    (Response((Text("another"),), id="r1", model="m-1"),),
)  # fmt: skip
_names = itertools.count()


def random_name() -> str:
    return f"file{next(_names)}"


def said(response: Response) -> Response:
    """An answer without what wrappers may say about it."""
    return replace(response, notes=())


async def gathered(model: Model, prompt: str) -> Response:
    return fold([event async for event in model.aevents(prompt)])


def test_every_wrapper_is_in_the_table_and_in_the_readme() -> None:
    homes = {home: names for home, names in palmette._HOMES.items() if home.startswith("palmette.models.wrap.")}
    public = {name for names in homes.values() for name in names.split()} - {"Scripted"}
    assert public - {"scripted", "replay"} == set(WRAPPERS)
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    assert not [name for name in public if not re.search(rf"palmette\.{name}\b", readme)]


# -- any stack of them ------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(sorted(WRAPPERS)), min_size=1, max_size=4))
def test_any_stack_of_wrappers_keeps_the_answer_whole_streamed_and_async(tmp_path: Path, stack: list[str]) -> None:
    def wrapped() -> Model:
        model: Model = palmette.scripted(RICH)
        for name in stack:
            model = WRAPPERS[name](model, tmp_path)
        return model

    expected = said(RICH)
    assert said(wrapped().respond("Hi")) == expected
    assert said(fold(wrapped().events("Hi"))) == expected
    assert said(asyncio.run(wrapped().arespond("Hi"))) == expected
    assert said(asyncio.run(gathered(wrapped(), "Hi"))) == expected
    assert list(wrapped().stream("Hi")) == list(palmette.scripted(RICH).stream("Hi"))  # not only the text: its pieces


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(sorted(WRAPPERS)), min_size=1, max_size=4), st.integers(1, 3))
def test_leaving_a_stream_early_closes_the_model_below(tmp_path: Path, stack: list[str], count: int) -> None:
    for way in ("blocking", "loop"):
        lowest = palmette.scripted("one two three four five")
        model: Model = lowest
        for name in stack:
            model = WRAPPERS[name](model, tmp_path)
        if way == "blocking":
            events = model.events("Hi")
            for _ in range(count + 2):
                next(events)
            events.close()  # type: ignore[attr-defined]
        else:
            asyncio.run(leave(model, count + 2))
        assert (len(lowest.requests), lowest.left) == (1, 1)


async def leave(model: Model, count: int) -> None:
    async with aclosing(model.aevents("Hi")) as events:  # type: ignore[type-var]
        for _ in range(count):
            await anext(events)


@pytest.mark.parametrize("name", WRAPPERS)
def test_errors_pass_through_every_wrapper_with_their_type(name: str, tmp_path: Path) -> None:
    model = WRAPPERS[name](palmette.scripted(EmptySupport("no token")), tmp_path)
    with pytest.raises(EmptySupport, match="no token"):
        model("Hi")
    with pytest.raises(EmptySupport):
        asyncio.run(model.acall("Hi"))
    with pytest.raises(UsageError, match=r"palmette.connect\('openai:gpt-5'\)"):
        WRAPPERS[name]("openai:gpt-5", tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapper_is_the_model_within_in_what_it_does_not_change(name: str, tmp_path: Path) -> None:
    inner = palmette.scripted("Hello", id="m")
    model = WRAPPERS[name](inner, tmp_path)
    assert "m" in model.id and model.capabilities == inner.capabilities and model.count_tokens("a b c") == 3
    if name != "fallback":
        with pytest.raises(Unsupported, match="embeddings"):
            model.embed("a")
    assert "Scripted" in repr(model)


def test_the_type_of_a_models_answers_is_that_of_its_wrapper() -> None:
    toy = palmette.model("zoo:seedling", output=range(1, 7))
    model = palmette.retry(palmette.rate_limit(toy))
    assert model("The die shows").value in range(1, 7)
    assert asyncio.run(model.acall("The die shows")).value in range(1, 7)
    assert palmette.fallback(model, toy)("The die shows").value in range(1, 7)
    body = {"choices": [{"finish_reason": "stop", "message": {"content": '{"value": 4}'}}]}
    with served([answer(200, body)]) as server:
        remote = palmette.connect("openai:m", key="k", base_url=server.url, output=int)
        assert palmette.retry(remote)("How many?").value == 4


# -- values -----------------------------------------------------------------------------------------------------------


def test_every_value_comes_back_from_json() -> None:
    request = Request(
        (Message("user", (Text("Hi", {"is": "x"}), Image(b"\x00\xff"), ToolResult("c", "t", media=(Image(url="u"),)))),
         Message.of("assistant", "Yes")),
        stop=("a", "b"), tools=(Tool("f", "d", {"type": "object", "required": ["a"]}, True),), logit_bias={5: -1.5},
        output=Output("choices", ["a", "b"]), extra={"deep": [{"x": [1, None]}]}, temperature=0,
    )  # fmt: skip
    for value in (request, RICH, *unfold(RICH), Event(whole=RICH, logprobs=(TokenScore("a", float("-inf")),))):
        assert from_json(json.loads(json.dumps(to_json(value)))) == value


def test_settings_that_differ_have_different_keys() -> None:
    base = Request((Message.of("user", "Hi"),))
    others = [
        replace(base, temperature=0), replace(base, temperature=0.5), replace(base, seed=0), replace(base, top_k=0),
        replace(base, messages=(Message.of("system", "Hi"),)), replace(base, stop=("a",)), replace(base, n=1),
    ]  # fmt: skip
    assert len({canonical(one) for one in (base, *others)}) == 8
    assert canonical(replace(base, temperature=1)) == canonical(replace(base, temperature=1.0))
    with pytest.raises(BadParameter, match="has no JSON"):
        canonical(replace(base, extra={"x": object()}))


# -- retry and fallback -----------------------------------------------------------------------------------------------


def test_a_retry_never_repeats_what_was_said() -> None:
    script: list[Any] = [["Hel", NoConnection("cut")], "Hello"]
    model = palmette.retry(palmette.scripted(script), pause=0)
    pieces = []
    with pytest.raises(NoConnection):
        pieces += model.stream("Hi")
    other = palmette.fallback(palmette.scripted([["Hel", NoConnection("cut")]]), palmette.scripted("Hello"))
    with pytest.raises(NoConnection):
        list(other.stream("Hi"))


def test_a_retry_waits_longer_each_time_and_as_long_as_the_provider_asks() -> None:
    waits: list[float] = []

    class Watch:
        blocking = True

        async def sleep(self, seconds: float) -> None:
            waits.append(seconds)

        async def call(self, function: Any, *arguments: Any) -> Any:
            return function(*arguments)

    slow = RateLimited("slow down", 429)
    slow.headers = {"retry-after": "30"}
    model = palmette.retry(palmette.scripted([NoConnection("x"), NoConnection("x"), slow, "Hi"]), 4, pause=1)

    async def ask() -> Response:
        return fold([event async for event in model.produce(Request(()), Watch())])  # type: ignore[arg-type]

    assert finished(ask()).notes[0].startswith("answered at try 4; before: NoConnection: x; NoConnection: x; RateLim")
    assert 0.75 <= waits[0] <= 1 and 1.5 <= waits[1] <= 2 and waits[2] == 30
    with pytest.raises(NoConnection):
        palmette.retry(palmette.scripted([NoConnection("x")] * 2), 2, pause=0)("Hi")
    with pytest.raises(RequestRefused):  # asking again would not help
        palmette.retry(palmette.scripted([RequestRefused("no"), "Hi"]), pause=0)("Hi")


def test_when_no_model_answers_each_one_is_quoted() -> None:
    models = [palmette.scripted(NoConnection(f"no {name}"), id=name) for name in "ab"]
    with pytest.raises(ProviderFailed, match=r"none of 2 models answered: a: NoConnection: no a; b: .*no b"):
        palmette.fallback(*models)("Hi")
    with pytest.raises(UsageError, match="at least one"):
        palmette.fallback()


def test_a_router_refuses_a_name_that_it_does_not_have() -> None:
    with pytest.raises(UnknownName, match=r"no model of this router 'smal'. Did you mean 'small'"):
        palmette.route({"small": palmette.scripted("x")}, lambda request: "smal")("Hi")


# -- cache ------------------------------------------------------------------------------------------------------------


def counting() -> palmette.Scripted:
    numbers = itertools.count()
    return palmette.scripted(lambda request: f"answer {next(numbers)}")


def test_n_samples_stay_n_samples_and_more_are_asked_for_when_more_are_wanted(tmp_path: Path) -> None:
    inner = counting()
    model = palmette.cache(inner, tmp_path / "c.sqlite")

    def texts(n: int | None) -> list[str]:
        response = model.respond("Hi", n=n)
        return [response.text, *(one.text for one in response.alternatives)]

    assert texts(3) == ["answer 0", "answer 1", "answer 2"] and texts(3) == texts(3)
    assert texts(None) == ["answer 0"] == texts(1) and len(inner.requests) == 1
    assert texts(5) == [f"answer {i}" for i in range(5)] and inner.requests[-1].n == 2
    assert model.at(4)("Hi").text == "answer 4" and model.at(5)("Hi").text == "answer 5"
    assert model.respond("Hi", n=5).usage == Usage() and "from the cache of 20" in model.respond("Hi").notes[0]
    assert (model.hits, model.misses) == (17, 5)


def test_the_cache_keeps_apart_what_differs(tmp_path: Path) -> None:
    model = palmette.cache(counting(), tmp_path / "c.sqlite")
    options: list[dict[str, Any]] = [
        {}, {"temperature": 0}, {"temperature": 0.1}, {"seed": 1}, {"seed": 1, "n": 2}, {"max_tokens": 5},
    ]  # fmt: skip
    first = [model("Hi", **one).text for one in options]
    assert len(set(first)) == len(options) and [model("Hi", **one).text for one in options] == first
    assert palmette.cache(palmette.scripted("other", id="other"), tmp_path / "c.sqlite")("Hi").text == "other"
    assert model("Hi", temperature=0.0).text == first[1]


def test_models_of_one_name_with_other_defaults_have_answers_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    toys = [
        palmette.model("zoo:seedling", max_tokens=4), palmette.model("zoo:seedling", max_tokens=6),
        palmette.model("zoo:seedling", max_tokens=4, strategy=palmette.greedy()),
        palmette.model("zoo:seedling", max_tokens=4, views=[palmette.temperature(3.0)]),
        palmette.model("zoo:seedling", max_tokens=4, seed=9),
    ]  # fmt: skip
    cached = [palmette.cache(toy, path) for toy in toys]
    first = [one.respond("Hello there").text for one in cached]
    assert first == [toy.respond("Hello there").text for toy in toys] and [one.misses for one in cached] == [1] * 5
    assert [one.respond("Hello there").text for one in cached] == first and [one.hits for one in cached] == [1] * 5
    drawn = palmette.cache(toys[0], path).respond("Hello there", n=3)
    assert [drawn, *drawn.alternatives][2].text == palmette.cache(toys[0], path).at(2).respond("Hello there").text
    options: list[dict[str, Any]] = [
        {}, {"temperature": 0}, {"system": "Be brief."}, {"base_url": "http://127.0.0.1:1"}, {"output": int},
    ]  # fmt: skip
    assert len({json.dumps(identity(palmette.connect("openai:m", key="k", **more))) for more in options}) == 5
    engine = palmette.open_engine("zoo:seedling")
    for odd in (palmette.model(engine), palmette.model("zoo:seedling", views=[palmette.regex("a+")])):
        with pytest.raises(UsageError, match="give the cache a name="):
            palmette.cache(odd, path)
        assert palmette.cache(palmette.retry(odd), path, name="mine").id == odd.id


def test_the_cache_is_one_for_threads_and_processes_and_keeps_no_half_answers(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "c.sqlite"
    model = palmette.cache(counting(), path)
    stream = model.stream("left early")
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    with pytest.raises(EmptySupport):
        palmette.cache(palmette.scripted(EmptySupport("x")), path)("failed")
    assert model.file.read("SELECT count(*) FROM answers")[0][0] == 0
    threads = [threading.Thread(target=lambda i=i: model(f"q{i % 5}")) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again = palmette.cache(palmette.scripted(EmptySupport("must not be asked")), path)  # as another process would
    assert {again(f"q{i}").text for i in range(5)} == {model(f"q{i}").text for i in range(5)}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert model.forget(1) == 0 and model.forget() == 5
    old = palmette.cache(counting(), path, days=1)
    old("Hi")
    old.file.write("UPDATE answers SET asked = asked - 90000")
    assert old("Hi").text == "answer 1"
    (tmp_path / "text").write_bytes(b"no database" * 100)
    with pytest.raises(OutputError, match="text: file is not a database"):
        palmette.cache(counting(), tmp_path / "text")("Hi")


# -- record and replay ------------------------------------------------------------------------------------------------


def test_a_replay_says_the_same_bytes_in_the_same_pieces_and_asks_nobody(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    inner = palmette.scripted([RICH, "one two", "three four", RateLimited("slow", 429)])
    model = palmette.record(inner, path)
    pieces, texts = list(model.stream("Hi")), [model("Same").text, model("Same").text]
    with pytest.raises(RateLimited):
        model("Fail")
    asked = len(inner.requests)
    for _ in range(2):
        again = palmette.replay(path)
        assert list(again.stream("Hi")) == pieces
        assert [again("Same").text, "".join(again.stream("Same"))] == texts
        with pytest.raises(RateLimited, match="slow") as caught:
            again("Fail")
        assert caught.value.status == 429 and len(inner.requests) == asked and again.id == "scripted"
    assert said(palmette.replay(path).respond("Hi")) == said(RICH)
    with pytest.raises(NotRecorded, match="was recorded 2 times"):
        again("Same")
    again.rewind()
    assert again("Same").text == "one two"


def test_an_unknown_request_names_the_nearest_one_and_where_it_differs(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    model = palmette.record(palmette.scripted("x"), path)
    model("What is the capital of France?", temperature=0.5)
    model("Something else altogether")
    again = palmette.replay(path)
    with pytest.raises(
        NotRecorded,
        match=r"nearest of 2 \(line 1\) differs at messages\[0\].parts\[0\].text: recorded "
        r'"What is the capital of France\?", asked "What is the capital of Spain',
    ):
        again("What is the capital of Spain?", temperature=0.5)  # fmt: skip
    with pytest.raises(NotRecorded, match=r"line 1\) differs at temperature: recorded 0.5, asked nothing"):
        again("What is the capital of France?")
    with pytest.raises(OutputError, match="append=True"):
        palmette.record(palmette.scripted("x"), path)
    palmette.record(palmette.scripted("y"), path, append=True)("More")
    assert palmette.replay(path)("More").text == "y"
    path.write_text("{}\n")
    with pytest.raises(UsageError, match="line 1 is no recorded call"):
        palmette.replay(path)
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(UsageError, match="no recorded calls"):
        palmette.replay(tmp_path / "empty")


# -- rate limit -------------------------------------------------------------------------------------------------------


class FakeTime:
    """A clock that only sleeping moves."""

    blocking = True

    def __init__(self) -> None:
        self.now = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    async def call(self, function: Any, *arguments: Any) -> Any:
        return function(*arguments)

    def ask(self, model: Model, request: Request) -> Response:
        async def all_of() -> Response:
            return fold([event async for event in model.produce(request, self)])

        return finished(all_of())


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 50), st.lists(st.floats(0, 5), min_size=1, max_size=60))
def test_no_minute_has_more_than_twice_the_rate_and_no_long_time_more_than_the_rate(
    rate: int, pauses: list[float]
) -> None:
    now = [0.0]
    bucket = Bucket(rate, lambda: now[0])
    starts = []
    for pause in pauses:
        now[0] += pause
        starts.append(now[0] + bucket.take(1))
    assert starts == sorted(starts)  # in the order of asking
    for i, start in enumerate(starts):
        for j in range(i, len(starts)):
            assert j - i + 1 <= rate + (starts[j] - start) * rate / 60 + 1e-6


def test_calls_wait_for_requests_and_for_tokens() -> None:
    time_ = FakeTime()
    model = palmette.rate_limit(palmette.scripted("x"), requests=60, clock=lambda: time_.now)
    for _ in range(90):
        time_.ask(model, Request((Message.of("user", "Hi"),)))
    assert 29 <= time_.now <= 31
    time_ = FakeTime()
    wordy = palmette.rate_limit(palmette.scripted("a " * 100), tokens=600, clock=lambda: time_.now)
    for _ in range(12):  # 101 words each; the estimate before the call does not know that
        time_.ask(wordy, Request((Message.of("user", "Hi"),)))
    assert 50 <= time_.now <= 65


def test_the_providers_headers_are_obeyed() -> None:
    time_ = FakeTime()
    left = {"x-ratelimit-limit-requests": "100", "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": "6m0s"}  # fmt: skip
    told = Response((Text("x"),), headers=left)
    model = palmette.rate_limit(palmette.scripted(told), clock=lambda: time_.now)
    time_.ask(model, Request(()))
    time_.ask(model, Request(()))
    assert time_.now == 360
    refused = RateLimited("no")
    refused.headers = {"retry-after": "7"}
    time_ = FakeTime()
    model = palmette.rate_limit(palmette.scripted([refused, "x"]), clock=lambda: time_.now)
    with pytest.raises(RateLimited):
        time_.ask(model, Request(()))
    time_.ask(model, Request(()))
    assert time_.now == 7
    stamp = {"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": "1970-01-01T00:01:00Z"}
    assert headroom(stamp, "tokens", now=15.0) == Room(None, 0.0, 45.0)
    assert headroom({"x-ratelimit-reset-tokens": "20ms"}, "tokens").reset == 0.02
    assert headroom({"x-ratelimit-reset-tokens": "soon"}, "tokens") == Room()


def test_one_limit_holds_for_threads_and_tasks_together() -> None:
    model = palmette.rate_limit(palmette.scripted("x"), requests=600)  # ten a second after the first 600
    inner = model._requests  # type: ignore[attr-defined]
    inner.take(600)
    begun = time.monotonic()
    threads = [threading.Thread(target=model, args=("Hi",)) for _ in range(2)]
    for thread in threads:
        thread.start()

    async def both() -> None:
        await asyncio.gather(model.acall("Hi"), model.acall("Hi"))

    asyncio.run(both())
    for thread in threads:
        thread.join()
    assert time.monotonic() - begun >= 0.35
    with pytest.raises(BadParameter, match="above 0"):
        palmette.rate_limit(model, requests=0)


def test_headers_and_status_come_from_a_real_server() -> None:
    body = {"choices": [{"finish_reason": "stop", "message": {"content": "Hi"}}]}
    replies = [answer(429, {"error": {"message": "slow"}}, retry_after="1"), answer(200, body)]
    with served(replies) as server:
        remote = palmette.connect("openai:m", key="k", base_url=server.url, limits=Limits(retries=0))
        begun = time.monotonic()
        assert palmette.retry(remote, pause=0)("Hi").text == "Hi" and time.monotonic() - begun >= 1


# -- budget -----------------------------------------------------------------------------------------------------------

PRICE = palmette.Price(input=1.0, output=10.0, source="test")


def test_a_budget_is_checked_before_the_call_and_never_passed() -> None:
    inner = palmette.scripted("a b c", capabilities=replace(palmette.scripted("").capabilities, count_tokens=False))
    model = palmette.budget(inner, dollars=0.001, prices=PRICE)
    calls = 0
    while model.left > 0.0003:
        model("Hi", max_tokens=20)
        calls += 1
    with pytest.raises(OverBudget, match=r"this call may cost \$0.000\d+, and \$0.000\d+ of \$0.001000 are left"):
        model("Hi", max_tokens=40)
    assert calls == len(inner.requests) > 10 and model.spent + model.left == pytest.approx(0.001)
    with pytest.raises(UsageError, match="needs max_tokens"):
        model("Hi")
    with pytest.raises(UsageError, match="unknown is not free"):
        palmette.budget(palmette.scripted("x", id="nobody:knows"), dollars=1)
    assert palmette.budget(palmette.scripted("x", id="zoo:seedling"), dollars=1)("Hi", max_tokens=9).text == "x"
    with pytest.raises(Unsupported, match="picture"):
        model([Message("user", (Image(b"x"),))], max_tokens=5)
    with pytest.raises(UsageError, match="either dollars or tokens"):
        palmette.budget(inner)


def test_calls_at_once_cannot_spend_the_same_money() -> None:
    inner = palmette.scripted("a", pause=0.02)
    model = palmette.budget(inner, tokens=25)

    async def many() -> list[Any]:
        return await asyncio.gather(*(model.acall("Hi", max_tokens=9) for _ in range(5)), return_exceptions=True)

    found = asyncio.run(many())
    assert sum(isinstance(one, OverBudget) for one in found) == 3 and model.spent == 4


def test_a_stream_that_was_left_counts_in_full_and_a_call_that_failed_not_at_all() -> None:
    model = palmette.budget(palmette.scripted("a b c d"), tokens=100)
    stream = model.stream("Hi", max_tokens=30)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert model.spent == 31
    broken = palmette.budget(palmette.scripted(NoConnection("down")), tokens=100)
    with pytest.raises(NoConnection):
        broken("Hi", max_tokens=30)
    assert broken.spent == 0 and broken.left == 100


# -- offline ----------------------------------------------------------------------------------------------------------


def test_offline_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    with served([answer(200, {})]) as server:
        remote = palmette.connect("openai:m", key="k", base_url=server.url)
        monkeypatch.setenv("PALMETTE_OFFLINE", "1")
        for ask in (lambda: remote("Hi"), lambda: list(remote.stream("Hi")), lambda: asyncio.run(remote.acall("Hi"))):
            with pytest.raises(Offline, match="PALMETTE_OFFLINE is set: nothing was sent"):
                ask()
        assert palmette.fallback(remote, palmette.scripted("here"))("Hi").text == "here"
        assert not server.requests


def test_offline_the_hub_is_not_asked_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("PALMETTE_OFFLINE", "1")
    with pytest.raises(ModelNotFound, match="not in the local cache"):
        palmette.open_engine("hf:nobody/has-this")


# -- traces -----------------------------------------------------------------------------------------------------------


def test_a_span_says_what_the_conventions_name() -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from opentelemetry.semconv._incubating.attributes import gen_ai_attributes

    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    inner = palmette.scripted([RICH, "Hello", RateLimited("slow")], id="gemini:pro")
    below = palmette.traced(inner, provider=provider)
    model = palmette.traced(below, content=True, provider=provider)
    model("Hi", temperature=0.5, stop=["x"], seed=3)
    list(model.stream("Hi"))
    with pytest.raises(RateLimited):
        asyncio.run(model.acall("Hi"))
    spans = kept.get_finished_spans()
    assert len(spans) == 6 and {span.name for span in spans} == {"chat pro"}
    inside, outside = spans[0], spans[1]
    assert inside.parent is not None and inside.parent.span_id == outside.context.span_id  # current while it worked
    found = dict(outside.attributes or {})
    known = {v for k, v in vars(gen_ai_attributes).items() if k.startswith("GEN_AI_") and isinstance(v, str)}
    assert {name for name in found if name.startswith("gen_ai.")} <= known
    assert found["gen_ai.provider.name"] == "gcp.gemini" and found["gen_ai.request.temperature"] == 0.5
    assert found["gen_ai.usage.input_tokens"] == 5 and found["gen_ai.usage.cache_read.input_tokens"] == 1
    assert found["gen_ai.response.finish_reasons"] == ("tool_calls", "stop")
    assert "Grüße" in json.loads(str(found["gen_ai.output.messages"]))[0]["parts"][1]["content"]
    assert "gen_ai.input.messages" not in (inside.attributes or {})
    assert (spans[4].attributes or {})["error.type"] == "RateLimited" and spans[4].status.description == "slow"
