"""What is kept: the log of calls, the folders it lies in, and prices; `palmette logs`."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import stat
import threading
import time
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback import answer, served

import palmette
from palmette.cli.main import main
from palmette.core.errors import BadParameter, NoConnection, OutputError, RateLimited, UsageError
from palmette.core.message import Response, Text, Usage
from palmette.models.keep.logs import Logs
from palmette.models.keep.places import folder

SECRET = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind.lower()))
    for name in ("PALMETTE_LOG", "PALMETTE_LOG_DAYS", "PALMETTE_LOG_CONTENT", "PALMETTE_PRICES"):
        monkeypatch.delenv(name, raising=False)


# -- the log -----------------------------------------------------------------------------------------------------------


def test_every_call_is_written_down_however_it_ends() -> None:
    script: list[Any] = ["Hello there", "one two three", RateLimited("slow"), ["Hel", NoConnection("cut")], "last"]
    model = palmette.logged(palmette.scripted(script, id="zoo:scripted"))
    model("Hi", temperature=0.5)
    stream = model.stream("Count")
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    with pytest.raises(RateLimited):
        model("Fail")
    with pytest.raises(NoConnection):
        list(model.stream("Break"))
    asyncio.run(model.acall("Async"))
    calls = Logs().find(None)[::-1]
    assert [call.finish for call in calls] == ["stop", "left", "error", "error", "stop"]
    assert [call.answer for call in calls] == ["Hello there", "one ", "", "Hel", "last"]
    assert calls[0].input == 1 and calls[0].dollars == 0 and calls[0].price == "it runs on this machine"
    assert calls[2].error == "RateLimited: slow" and calls[2].input is None
    assert json.loads(calls[0].request)["temperature"] == 0.5 and calls[0].first is not None
    assert calls[0].seconds >= calls[0].first and abs(time.time() - calls[0].time) < 60


def test_the_log_is_its_owners_alone_and_holds_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    body = {"choices": [{"finish_reason": "stop", "message": {"content": f"your key is {SECRET}"}}]}
    with served([answer(200, body), answer(401, {"error": {"message": f"bad key {SECRET}"}})]) as server:
        model = palmette.logged(palmette.connect("openai:m", base_url=server.url))
        model(f"my key is {SECRET}")
        with pytest.raises(palmette.PalmetteError):
            model("again")
    log = Logs()
    assert log.find()[1].prompt == "my key is …" and log.find()[0].error.startswith("KeyRefused")
    log.close()
    for path in log.path.parent.iterdir():
        assert SECRET.encode() not in path.read_bytes() and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.path.parent.stat().st_mode) == 0o700


def test_without_content_only_numbers_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    palmette.logged(palmette.scripted("an answer"), content=False)("a question")
    monkeypatch.setenv("PALMETTE_LOG_CONTENT", "0")
    palmette.logged(palmette.scripted("an answer"))("a question")
    for call in Logs().find():
        assert call.input == 2 and call.prompt == call.answer == call.request == call.response == ""


def test_calls_are_found_by_text_model_and_failure() -> None:
    for id, said in (("openai:a", "GRÜẞE aus Ürzig"), ("ollama:b", "100% _sure_")):
        palmette.logged(palmette.scripted(said, id=id))("What?")
    with pytest.raises(RateLimited):
        palmette.logged(palmette.scripted(RateLimited("x"), id="openai:c"))("Why?")
    log = palmette.logs()
    assert [call.model for call in log] == ["openai:c", "ollama:b", "openai:a"]
    assert [call.model for call in log.find(search="grüße AUS ürzig")] == ["openai:a"]
    assert [call.model for call in log.find(search="% _")] == ["ollama:b"] and not log.find(search="%x")
    assert [call.model for call in log.find(model="openai:")] == ["openai:c", "openai:a"]
    assert [call.model for call in log.find(failed=True)] == ["openai:c"]
    assert len(log.find(1)) == 1 and log.find(id=2)[0].model == "ollama:b"
    with pytest.raises(BadParameter, match="at least 1"):
        log.find(0)


def test_old_calls_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    model = palmette.logged(palmette.scripted("x"))
    model("old")
    Logs().file.write("UPDATE calls SET time = time - 91 * 86400")
    monkeypatch.setenv("PALMETTE_LOG_DAYS", "0")
    palmette.logged(palmette.scripted("x"))("kept")
    assert len(Logs().find()) == 2
    monkeypatch.delenv("PALMETTE_LOG_DAYS")
    palmette.logged(palmette.scripted("x"))("new")
    assert [call.prompt for call in Logs().find()] == ["new", "kept"]
    assert Logs().forget(30) == 0 and Logs().forget() == 2
    monkeypatch.setenv("PALMETTE_LOG_DAYS", "-3")
    with pytest.raises(BadParameter, match="PALMETTE_LOG_DAYS must be"):
        Logs()


def test_threads_and_tasks_write_one_log() -> None:
    model = palmette.logged(palmette.scripted("x"))
    threads = [threading.Thread(target=lambda: [model("t") for _ in range(5)]) for _ in range(4)]
    for thread in threads:
        thread.start()

    async def many() -> None:
        await asyncio.gather(*(model.acall("a") for _ in range(20)))

    asyncio.run(many())
    for thread in threads:
        thread.join()
    assert len(Logs().find(None)) == 40


def test_a_log_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written"):
        palmette.logged(palmette.scripted("x"), tmp_path / "file" / "logs.sqlite")("Hi")
    later = tmp_path / "later.sqlite"
    with sqlite3.connect(later) as file:
        file.execute("PRAGMA user_version = 99")
    file.close()
    with pytest.raises(OutputError, match="later version"):
        palmette.logged(palmette.scripted("x"), later)("Hi")


@pytest.mark.parametrize("kind", ["data", "cache", "config"])
def test_folders_follow_the_environment(
    kind: Literal["data", "cache", "config"], monkeypatch: Any, tmp_path: Path
) -> None:
    name = f"XDG_{kind.upper()}_HOME"
    monkeypatch.setenv(name, str(tmp_path / "here"))
    assert folder(kind) == tmp_path / "here" / "palmette"
    monkeypatch.setenv(name, "relative")  # to be ignored, says the specification
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folder(kind).is_relative_to(tmp_path) and folder(kind).name == "palmette"


# -- the command line --------------------------------------------------------------------------------------------------


def test_the_command_line_writes_and_shows_the_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert main(["logs"]) == 0 and "palmette run --log writes it" in capsys.readouterr().err
    assert main(["run", "Once upon a time", "--max-tokens", "5", "--log"]) == 0
    assert main(["run", "not logged", "--max-tokens", "2"]) == 0
    monkeypatch.setenv("PALMETTE_LOG", "1")
    assert main(["chat", "zoo:seedling", "Hello there", "--max-tokens", "4"]) == 0
    assert main(["run", "Once", "--regex", "[0-9]{9}", "--max-tokens", "3"]) != 0
    capsys.readouterr()
    assert main(["logs"]) == 0
    shown = capsys.readouterr().out
    assert "Once upon a time →" in shown and "Hello there" in shown and "not logged" not in shown and "free" in shown
    assert shown.index("upon") < shown.index("Hello")
    assert main(["logs", "--json", "--last", "2"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (
        [row["id"] for row in rows] == [2, 3] and rows[1]["finish"] == "error" and rows[0]["request"]["is"] == "Request"
    )
    assert main(["logs", "--search", "UPON"]) == 0 and capsys.readouterr().out.count("zoo:seedling") == 1
    assert main(["logs", "1"]) == 0 and "prompt:\nOnce upon a time" in capsys.readouterr().out
    assert main(["logs", "7"]) == 2 and "has no call 7" in capsys.readouterr().err
    monkeypatch.setenv("PALMETTE_LOG", str(tmp_path / "own.sqlite"))
    assert main(["run", "Once", "--max-tokens", "2"]) == 0 and (tmp_path / "own.sqlite").is_file()
    assert main(["logs", "--path"]) == 0 and "own.sqlite" in capsys.readouterr().out
    assert main(["logs", "--forget", "0"]) == 0 and "1 calls deleted" in capsys.readouterr().err
    assert main(["run", "Once", "--template", os.devnull, "--log"]) == 2


def test_a_tree_that_was_asked_for_is_kept_and_drawn(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from serving import running

    from palmette.serve.settings import ModelSettings, Settings
    from palmette.tokens.trace.json import from_json, to_json

    path = tmp_path / "runs.sqlite"
    monkeypatch.setenv("PALMETTE_LOG", str(path))
    settings = Settings((ModelSettings("toy", "zoo:seedling"),))
    asked = {"model": "toy", "max_tokens": 6, "messages": [{"role": "user", "content": "Once"}]}
    beam = {"strategy": "beam:3", "n_best": 3, "tree": True}
    with running(settings, dressed=lambda model: palmette.logged(model, path)) as server:
        said = server.post("/v1/chat/completions", {**asked, "palmette": beam}).json()["palmette"]
        server.post("/v1/chat/completions", asked)
    kept = Logs(path).find(id=1)[0]
    assert kept.tree == said["tree"] and json.loads(kept.response)["palmette"] == said
    for name in ("tree.json", "tree.svg", "tree.html"):
        assert main(["logs", "1", "--tree", str(tmp_path / name)]) == 0
    assert json.loads(to_json(from_json((tmp_path / "tree.json").read_text()))) == said["tree"]
    assert "</svg>" in (tmp_path / "tree.svg").read_text()
    capsys.readouterr()
    assert main(["logs", "2", "--tree", str(tmp_path / "x.svg")]) == 2 and "has no tree" in capsys.readouterr().err
    assert main(["logs", "--tree", str(tmp_path / "x.svg")]) == 2 and "NUMBER" in capsys.readouterr().err
    assert main(["logs", "1", "--tree", str(tmp_path / "x.gif")]) == 2 and "'.gif'" in capsys.readouterr().err


# -- prices ------------------------------------------------------------------------------------------------------------


def test_unknown_is_never_nothing() -> None:
    for model in ("nobody:knows", "openai:no-such-model-anywhere", "space:owner/name", ""):
        found = palmette.cost(Usage(10, 10), model)
        assert found.dollars is None and not found.known and str(found).startswith("unknown (no ")
    assert palmette.cost(Response((Text("x"),)), "openai:gpt-5").source == "the answer has no usage"
    assert palmette.cost(Response((Text("x"),)), "zoo:seedling").dollars == 0
    known = palmette.Cost(1.5, "a")
    assert (known + palmette.Cost(None, "why")).dollars is None and (known + known).dollars == 3
    assert str(known) == "$1.50 (a)" and str(palmette.Cost(0.00123, "a")) == "$0.001230 (a)"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**5), st.floats(0, 1), st.sampled_from(
    ["openai:gpt-5", "anthropic:claude-opus-4-1", "gemini:gemini-2.5-pro", "deepseek:deepseek-chat"]))  # fmt: skip
def test_an_estimate_is_what_genai_prices_says(input: int, output: int, share: float, model: str) -> None:
    import genai_prices

    provider, name = model.split(":")
    usage = Usage(input, output, cached=int(input * share))
    theirs = genai_prices.calc_price(
        genai_prices.Usage(input_tokens=input, output_tokens=output, cache_read_tokens=usage.cached), name,
        provider_id={"gemini": "google"}.get(provider, provider),
    )  # fmt: skip
    found = palmette.cost(usage, model)
    assert (
        found.dollars == pytest.approx(float(theirs.total_price)) and "genai-prices" in found.source
    ) or not input + output


def test_a_table_of_your_own_counts_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "prices.json"
    monkeypatch.setenv("PALMETTE_PRICES", str(table))
    table.write_text(
        json.dumps({"openai:gpt-5": {"input": 2, "output": 4, "cached": 1}, "own:m": {"input": 0, "output": 0}})
    )
    found = palmette.cost(Usage(1_000_000, 500_000, cached=1_000_000), "openai:gpt-5")
    assert found.dollars == 3 and found.source == "your table prices.json"
    assert palmette.cost(Usage(5, 5), "own:m").dollars == 0  # you say that it is free
    for rows, said in (
        ({"m": {"input": 1}}, "'m' needs input and output"),
        ({"m": {"input": 1, "output": "x"}}, "has the price 'x'"),
        ({"m": {"input": 1, "output": 1, "cachd": 2}}, "has 'cachd'. Did you mean 'cached'"),
        ([], "must be an object"),
    ):
        time.sleep(0.01)
        table.write_text(json.dumps(rows))
        with pytest.raises(UsageError, match=said):
            palmette.cost(Usage(5, 5), "m")
    monkeypatch.setenv("PALMETTE_PRICES", str(tmp_path / "none"))
    with pytest.raises(UsageError, match="cannot be read"):
        palmette.cost(Usage(5, 5), "m")


def test_what_a_provider_says_that_it_cost_counts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"model": "m", "choices": [{"finish_reason": "stop", "message": {"content": "Hi"}}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 1, "cost": 0.0125}}  # fmt: skip
    with served([answer(200, body)]) as server:
        remote = palmette.connect("openrouter:m", key="k", base_url=server.url)
        found = palmette.cost(remote.respond("Hi"), "openrouter:m")
    assert (found.dollars, found.source) == (0.0125, "as the provider says")
    assert main(["run", "Once", "--max-tokens", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cost"]["dollars"] == 0
    del body["usage"]["cost"]  # type: ignore[attr-defined]
    with served([answer(200, body)]) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        assert main(["run", "openai:no-such-model", "Hi", "--json", "--log"]) == 0
        assert server.requests[0][2]["max_completion_tokens"] == 128
    report = json.loads(capsys.readouterr().out)
    assert report["cost"] == {"dollars": None, "source": "no price of 'openai:no-such-model'"}
    assert Logs().find()[0].dollars is None and '"max_tokens": 128' in Logs().find()[0].request
    assert main(["logs"]) == 0 and "cost unknown" in capsys.readouterr().out


def test_a_server_elsewhere_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    assert palmette.cost(Usage(5, 5), "ollama:qwen3").dollars == 0
    assert palmette.cost(Usage(5, 5), "ollama:glm-cloud").dollars is None
    monkeypatch.setenv("OLLAMA_HOST", "https://example.test")
    assert palmette.cost(Usage(5, 5), "ollama:qwen3").dollars is None
