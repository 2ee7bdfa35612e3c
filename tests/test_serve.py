"""The server: every API says the same, nothing is dropped, nobody gets in who may not, and it ends in good order."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback import answer, served
from serving import Running, running

from palmette.core.errors import ProviderFailed, RateLimited, UsageError
from palmette.core.events import Event
from palmette.core.message import Request
from palmette.core.model import Capabilities, Model
from palmette.core.waiting import Way
from palmette.models.local import local_model
from palmette.models.remote.model import connect
from palmette.serve.routes import ROUTES
from palmette.serve.settings import ModelSettings, Settings, fingerprint, is_loopback, read_settings

TOY = Settings((ModelSettings("toy", "zoo:seedling"),))
ASK = "Who is the friend of Nora?"


class Slow(Model):
    """Says a word every few milliseconds until it is stopped; counts those that run."""

    id = "slow"

    def __init__(self, words: int = 400, pause: float = 0.01, fails: Exception | None = None) -> None:
        self.words, self.pause, self.fails = words, pause, fails
        self.running = 0

    @property
    def capabilities(self) -> Capabilities:
        """Everything that an API of its kind has."""
        return Capabilities(tools=True)

    async def produce(self, request: Request, way: Way, *, whole: bool = False) -> AsyncIterator[Event]:
        """See Model."""
        self.running += 1
        try:
            for i in range(self.words):
                if self.fails is not None and i == 2:
                    raise self.fails
                await way.sleep(self.pause)
                yield Event(f"w{i} ")
            yield Event(finish="stop")
        finally:
            self.running -= 1


@pytest.fixture(scope="module")
def toy() -> Iterator[Running]:
    with running(TOY) as server:
        yield server


@pytest.fixture(scope="module")
def wanted() -> str:
    """What the model says when it is asked without a server."""
    return local_model("zoo:seedling").respond(ASK, temperature=0, max_tokens=9, stop="\n").text


CHATS: dict[str, tuple[str, dict[str, Any]]] = {
    "openai": ("/v1/chat/completions", {"model": "toy", "messages": [{"role": "user", "content": ASK}],
               "temperature": 0, "max_tokens": 9, "stop": "\n"}),
    "responses": ("/v1/responses", {"model": "toy", "input": ASK, "temperature": 0, "max_output_tokens": 16}),
    "anthropic": ("/v1/messages", {"model": "toy", "messages": [{"role": "user", "content": ASK}], "temperature": 0,
                  "max_tokens": 9, "stop_sequences": ["\n"]}),
    "gemini": ("/v1beta/models/toy:generateContent", {"contents": [{"role": "user", "parts": [{"text": ASK}]}],
               "generationConfig": {"temperature": 0, "maxOutputTokens": 9, "stopSequences": ["\n"]}}),
    "cohere": ("/v2/chat", {"model": "toy", "messages": [{"role": "user", "content": ASK}], "temperature": 0,
               "max_tokens": 9, "stop_sequences": ["\n"], "stream": False}),
    "ollama": ("/api/chat", {"model": "toy:latest", "messages": [{"role": "user", "content": ASK}], "stream": False,
               "options": {"temperature": 0, "num_predict": 9, "stop": ["\n"]}}),
}  # fmt: skip


# -- answers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("api", CHATS)
def test_every_api_gives_the_answer_that_the_model_gives_itself(toy: Running, api: str, wanted: str) -> None:
    path, body = CHATS[api]
    answer = toy.post(path, body)
    assert answer.status_code == 200, answer.text
    assert json.dumps(wanted)[1:-1] in answer.text
    stream = {**body, "stream": True} if api != "gemini" else body
    path = path.replace(":generateContent", ":streamGenerateContent?alt=sse")
    streamed = toy.post(path, stream)
    assert streamed.status_code == 200
    kind = "application/x-ndjson" if api == "ollama" else "text/event-stream"
    assert streamed.headers["content-type"].startswith(kind)
    assert "Ida" in streamed.text and "error" not in streamed.text.lower().replace('"error":null', "")


def test_our_own_client_gets_the_same_from_every_api(toy: Running, wanted: str) -> None:
    for provider, base, api in (("openai", "/v1", ""), ("anthropic", "", ""), ("gemini", "/v1", ""), ("cohere", "", ""),
                                ("ollama", "", ""), ("openai", "/v1", "responses")):  # fmt: skip
        more = {"api": api} if api else {}
        model = connect(f"{provider}:toy", key="k", base_url=toy.url + base, temperature=0, max_tokens=16, **more)
        assert model.respond(ASK).text.startswith(wanted), provider
        assert "".join(model.stream(ASK)).startswith(wanted), provider


def test_forms_tools_scores_and_several_answers(toy: Running) -> None:
    path, body = CHATS["openai"]
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"enum": [1, 22]}, "strict": True}}
    found = toy.post(path, {**body, "response_format": form, "temperature": 2}).json()
    assert json.loads(found["choices"][0]["message"]["content"]) in (1, 22)
    look = {"type": "function", "function": {"name": "look", "parameters": {
        "type": "object", "properties": {"at": {"enum": ["sky"]}}, "required": ["at"]}}}  # fmt: skip
    found = toy.post(path, {**body, "tools": [look], "tool_choice": "required", "max_tokens": 60}).json()
    call = found["choices"][0]["message"]["tool_calls"][0]["function"]
    assert call["name"] == "look" and json.loads(call["arguments"])["at"] == "sky"
    found = toy.post(path, {**body, "n": 2, "logprobs": True, "top_logprobs": 2, "seed": 3}).json()
    assert [choice["index"] for choice in found["choices"]] == [0, 1]
    assert len(found["choices"][0]["logprobs"]["content"][0]["top_logprobs"]) == 2


def test_our_own_fields(toy: Running) -> None:
    path, body = CHATS["openai"]
    plain = {k: v for k, v in body.items() if k != "temperature"}
    found = toy.post(path, {**plain, "palmette": {"regex": "[A-Z]{3}"}}).json()
    assert found["choices"][0]["message"]["content"].isupper()
    found = toy.post(path, {**plain, "palmette": {"strategy": "beam:3", "n_best": 3, "tree": True}}).json()
    answers = found["palmette"]["answers"]
    assert len(answers) == 3 and answers[0]["score"] >= answers[1]["score"] >= answers[2]["score"]
    assert found["palmette"]["tree"]["nodes"]
    for wrong, said in (
        ({"strategie": "x"}, "Did you mean 'strategy'"), ({"views": "x"}, "must be of the type array"),
        ({"regex": "a", "choices": ["b"]}, "one form only"), ({"strategy": "beem:2"}, "Did you mean 'beam'"),
        ({"strategy": "speculative:zoo:seedling"}, "opens no other model"), ({"regex": "("}, ""),
        ({"views": ["mix:zoo:seedling"]}, "opens no other model"),
    ):  # fmt: skip
        answer = toy.post(path, {**plain, "palmette": wrong})
        assert answer.status_code in (400, 404) and said in answer.json()["error"]["message"], answer.text


def test_vectors_counts_tokens_decisions_and_lists(toy: Running) -> None:
    vectors = toy.post("/v1/embeddings", {"model": "toy", "input": ["a b", "c"]}).json()["data"]
    assert len(vectors) == 2 and sum(x * x for x in vectors[0]["embedding"]) == pytest.approx(1, abs=1e-5)
    packed = toy.post("/v1/embeddings", {"model": "toy", "input": "c", "encoding_format": "base64"}).json()
    assert isinstance(packed["data"][0]["embedding"], str)
    count = toy.post("/v1/messages/count_tokens", {"model": "toy", "messages": [{"role": "user", "content": ASK}]})
    assert count.json() == {"input_tokens": 12}
    tokens = toy.post("/tokenize", {"content": ASK}).json()["tokens"]
    assert toy.post("/detokenize", {"tokens": tokens}).json()["content"] == ASK
    read = toy.post("/apply-template", {"messages": [{"role": "user", "content": ASK}]}).json()
    assert read == {"prompt": f"Q: {ASK}\nA:", "count": 12}
    asked = {"model": "toy", "input": "Runa smiles.", "questions": [
        {"type": "predicate", "name": "happy", "instructions": "Is she happy?"}]}  # fmt: skip
    assert 0 < toy.post("/v1/decisions", asked).json()["answers"][0]["probability"] < 1
    assert [m["id"] for m in toy.http.get("/v1/models").json()["data"]] == ["toy"]
    assert toy.http.get("/v1/models", headers={"anthropic-version": "1"}).json()["data"][0]["type"] == "model"
    assert toy.http.get("/v1beta/models").json()["models"][0]["name"] == "models/toy"
    assert toy.http.get("/api/tags").json()["models"][0]["name"].startswith("toy")
    assert toy.http.get("/api/ps").json()["models"] and toy.post("/api/show", {"model": "toy"}).json()["capabilities"]


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/v1/chat/completions", {"messages": []}, 400, "model must be a text"),
        ("/v1/chat/completions", {"model": "tyo", "messages": []}, 404, "Did you mean 'toy'"),
        ("/v1/chat/completions", {"model": "toy", "messages": "x"}, 400, "messages must be a list"),
        ("/v1/chat/completions", {"model": "toy", "messages": [], "top_q": 1}, 400, "top_q"),
        ("/v1/chat/completions", {"model": "toy", "messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}}]}]}, 400, "fetches no URLs"),
        ("/v1/chat/completions", {"model": "toy", "messages": [{"role": "user", "content": "x" * 9000}]}, 400,
         "tokens"),
        ("/v1/chat/completions", {"model": "toy", "messages": [{"role": "user", "content": "x"}], "temperature": -1},
         400, "temperature"),
        ("/v1/chat/completions", [1], 400, "must be an object"),
        ("/v1/nothing", {}, 404, "/docs"),
        ("/v1/models", {}, 405, "no address POST"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(toy: Running, path: str, body: Any, status: int, said: str) -> None:
    answer = toy.post(path, body)
    assert answer.status_code == status and said in answer.json()["error"]["message"], answer.text


def test_what_changes_nothing_is_let_pass_and_what_would_is_noted(toy: Running) -> None:
    path, body = CHATS["openai"]
    answer = toy.post(path, {**body, "user": "me", "store": True, "stream_options": {"include_usage": True}})
    assert answer.status_code == 200 and "x-palmette-note" not in answer.headers
    path, body = CHATS["anthropic"]
    for stream in (False, True):
        asked = {**body, "stream": stream, "thinking": {"type": "enabled", "budget_tokens": 1024}}
        assert "thinking" in toy.post(path, asked).headers["x-palmette-note"]


def test_errors_come_in_the_words_of_the_api(toy: Running) -> None:
    def failure(path: str, **body: Any) -> Any:
        return toy.post(path, {"model": "none", "messages": [{"role": "user", "content": "x"}], **body}).json()

    assert failure("/v1/messages", max_tokens=3)["type"] == "error"
    assert isinstance(failure("/api/chat")["error"], str)
    assert "message" in failure("/v2/chat")
    assert toy.post("/v1beta/models/none:generateContent", {"contents": []}).json()["error"]["code"] == 404


# -- who may ask -------------------------------------------------------------------------------------------------------


def _raw(port: int, request: bytes) -> int:
    with socket.create_connection(("127.0.0.1", port), 5) as peer:
        peer.sendall(request)
        peer.settimeout(5)
        head = peer.recv(4096)
    return int(head.split(b" ")[1]) if head else 0


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8040", "127.0.0.1.evil.example", "LOCALHOST.", "[::ffff:127.0.0.1]", "2130706433",
     "0x7f000001", "0.0.0.0", "localhost@evil", "127.0.0.1:80:80", "169.254.169.254", "127.0.0.1:x"],
)  # fmt: skip
def test_a_page_that_rebinds_its_name_gets_nothing(toy: Running, host: str) -> None:
    assert _raw(toy.port, f"GET /v1/models HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()) in (400, 421)


def test_host_forms_that_are_this_machine_are_answered_and_odd_requests_are_not(toy: Running) -> None:
    for host in ("localhost", "LocalHost:8040", "127.0.0.1", "127.1.2.3:1", "[::1]:8040", "a.localhost"):
        assert _raw(toy.port, f"GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()) == 200, host
    for wrong in (
        b"GET /health HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    ):
        assert _raw(toy.port, wrong) in (400, 421)


def test_pages_of_other_sites_may_not_call(toy: Running) -> None:
    path, body = CHATS["openai"]
    for headers in ({"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"},
                    {"origin": "http://127.0.0.1:1"}):  # fmt: skip
        answer = toy.http.post(path, json=body, headers=headers)
        assert answer.status_code == 403 and "access-control-allow-origin" not in answer.headers
    assert toy.http.post(path, content=json.dumps(body), headers={"content-type": "text/plain"}).status_code == 415
    assert toy.http.post(path, json=body, headers={"origin": toy.url}).status_code == 200
    with running(Settings(TOY.models, origins=("https://mine.example",))) as server:
        answer = server.http.post(path, json=body, headers={"origin": "https://mine.example"})
        assert answer.status_code == 200 and answer.headers["access-control-allow-origin"] == "https://mine.example"
        assert server.http.options(path, headers={"origin": "https://mine.example"}).status_code == 204


def test_a_key_opens_in_any_header_and_nothing_else_does(toy: Running) -> None:
    path, body = CHATS["openai"]
    with running(Settings(TOY.models, keys=(fingerprint("sesame"),))) as server:
        assert server.http.get("/health").status_code == 200
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "sesame"}, {"x-api-key": ""}):
            answer = server.http.post(path, json=body, headers=headers)
            assert answer.status_code == 401 and answer.json()["error"]["type"] == "authentication_error"
        for headers in ({"authorization": "bearer sesame"}, {"x-api-key": "sesame"}, {"x-goog-api-key": "sesame"}):
            assert server.http.post(path, json=body, headers=headers).status_code == 200
        assert "sesame" not in repr(server.app.registry.entries)


def test_an_address_that_others_reach_needs_a_key() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.2", "example.org"):
        assert not is_loopback(host)
        with pytest.raises(UsageError, match="no key protects it"):
            Settings(TOY.models, host=host).checked()
        Settings(TOY.models, host=host, keys=(fingerprint("k"),)).checked()


# -- how much ----------------------------------------------------------------------------------------------------------


def test_bodies_have_limits(toy: Running) -> None:
    with running(Settings(TOY.models, body=2000, seconds=0.5)) as server:
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\ncontent-type: application/json\r\n"
        assert _raw(server.port, f"{head}content-length: 99999999999\r\n\r\n".encode()) == 413
        chunks = b"".join(b"400\r\n" + b"x" * 1024 + b"\r\n" for _ in range(9))
        assert _raw(server.port, f"{head}transfer-encoding: chunked\r\n\r\n".encode() + chunks) == 413
        assert _raw(server.port, f"{head}content-length: 50\r\n\r\n{{".encode()) == 408  # the rest never comes
        assert _raw(server.port, f"{head}content-encoding: gzip\r\ncontent-length: 2\r\n\r\n{{}}".encode()) == 415


@pytest.mark.parametrize("body", ["[" * 100_000, '{"a":' * 200, "{", "NaN", '{"a": Infinity}', "\xff", "1" * 5000])
def test_bodies_that_are_no_json_or_too_deep_are_refused(toy: Running, body: str) -> None:
    answer = toy.http.post(
        "/v1/chat/completions", content=body.encode("latin-1"), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400, answer.text


def test_brackets_in_texts_are_no_depth(toy: Running) -> None:
    path, body = CHATS["openai"]
    talk = [{"role": "user", "content": '[{"\\"' * 40}]
    assert toy.post(path, {**body, "messages": talk}).status_code == 200


def test_past_its_places_a_model_refuses_and_the_server_stays_well() -> None:
    small = Settings((ModelSettings("toy", "zoo:seedling", running=1, waiting=1),))
    with running(small) as server:
        body = {**CHATS["openai"][1], "temperature": 1, "max_tokens": 200, "stop": None,
                "palmette": {"regex": "[a-z ]{300}"}}  # fmt: skip
        statuses: list[int] = []

        def ask() -> None:
            statuses.append(server.post("/v1/chat/completions", body).status_code)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        slowest = 0.0
        while any(thread.is_alive() for thread in threads):
            began = time.monotonic()
            assert server.http.get("/health").status_code == 200
            slowest = max(slowest, time.monotonic() - began)
            time.sleep(0.01)
        assert 503 in statuses and set(statuses) <= {200, 400, 503} and slowest < 5
        assert server.post(*CHATS["openai"]).status_code == 200
        refused = [r for r in server.app.metrics.requests if r[2] == 503]
        assert refused


# -- the life of a request ---------------------------------------------------------------------------------------------


def test_who_goes_away_stops_the_model() -> None:
    slow = Slow()
    with running(models={"slow": slow}) as server:
        for path, body in (CHATS["openai"], CHATS["anthropic"], CHATS["ollama"]):
            for stream in (True, False):
                data = json.dumps({**body, "model": "slow", "stream": stream}).encode()
                head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\ncontent-type: application/json\r\n"
                with socket.create_connection(("127.0.0.1", server.port), 5) as peer:
                    peer.sendall(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
                    end = time.monotonic() + 5
                    while not slow.running and time.monotonic() < end:
                        time.sleep(0.005)
                    assert slow.running == 1
                end = time.monotonic() + 5
                while slow.running and time.monotonic() < end:
                    time.sleep(0.005)
                assert slow.running == 0, path
        assert server.app.metrics.left["slow"] == 6 and server.app.metrics.in_flight == 0


def test_a_failure_in_the_middle_of_a_stream_is_told_and_ends_it() -> None:
    with running(models={"slow": Slow(fails=ProviderFailed("no luck today"))}) as server:
        for api in ("openai", "anthropic", "ollama", "cohere"):
            path, body = CHATS[api]
            answer = server.post(path, {**body, "model": "slow", "stream": True})
            assert (
                answer.status_code == 200
                and "w1" in answer.text
                and "no luck today" in answer.text.splitlines()[-1 if api == "ollama" else -2]
            )
        answer = server.post(CHATS["openai"][0], {**CHATS["openai"][1], "model": "slow"})
        assert answer.status_code == 502 and answer.json()["error"]["message"] == "no luck today"
    with running(models={"slow": Slow(fails=RateLimited("later"))}) as server:
        assert server.post(CHATS["openai"][0], {**CHATS["openai"][1], "model": "slow"}).status_code == 429


def test_what_nobody_foresaw_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    with running(models={"slow": Slow(fails=ValueError("a secret path /root/x"))}) as server:
        answer = server.post(CHATS["openai"][0], {**CHATS["openai"][1], "model": "slow"})
        assert answer.status_code == 500 and "secret" not in answer.text and "ValueError" in answer.text
    assert "a secret path" in caplog.text


def test_models_are_loaded_when_asked_for_and_unloaded_when_idle() -> None:
    settings = Settings((ModelSettings("a", "zoo:seedling", keep=0.2), ModelSettings("b", "zoo:seedling")), budget=1)
    with running(settings) as server:
        entries = server.app.registry.entries
        assert entries["a"].model is None
        path, body = CHATS["openai"]
        assert server.post(path, {**body, "model": "a"}).status_code == 200 and entries["a"].model is not None
        assert server.post(path, {**body, "model": "b"}).status_code == 200
        assert entries["a"].model is None and entries["b"].model is not None  # both do not fit
        assert server.post(path, {**body, "model": "a"}).status_code == 200
        end = time.monotonic() + 10
        while entries["a"].model is not None and time.monotonic() < end:
            time.sleep(0.05)
        assert entries["a"].model is None


def test_settings_of_a_model_hold_for_every_request(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"enum": ["x", "yy"]}')
    text = f"""
    [server]
    port = 0
    keys = ["k"]
    [models.toy]
    model = "zoo:seedling"
    strategy = "greedy"
    schema = "{tmp_path / "s.json"}"
    [models."far/one"]
    model = "ollama:qwen3"
    base_url = "http://127.0.0.1:9"
    options = {{ temperature = 0.5 }}
    """
    (tmp_path / "p.toml").write_text(text)
    settings = read_settings(tmp_path / "p.toml")
    assert settings.keys == (fingerprint("k"),) and settings.models[1].options == {"temperature": 0.5}
    with running(settings) as server:
        path, body = CHATS["openai"]
        answer = server.post(path, body, authorization="Bearer k").json()
        assert json.loads(answer["choices"][0]["message"]["content"]) in ("x", "yy")
        answer = server.post(path, {**body, "model": "far/one"}, authorization="Bearer k")
        assert answer.status_code == 502 and "cannot be reached" in answer.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]\nprot = 1\n[models.a]\nmodel='x'", "Did you mean 'port'"), ("[models.a]\n", "names no model"),
        ("[models.a]\nmodel = 1", "must be of the type str"), ("[sever]\n", "Did you mean 'server'"),
        ("x", "is no TOML"),
        ("[models.'../x']\nmodel='zoo:seedling'", "is no name"),
        ("[models.a]\nmodel='x'\nviews=[1]", "a text is expected"),
    ],
)  # fmt: skip
def test_settings_that_are_wrong_name_their_place(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "p.toml").write_text(text)
    with pytest.raises(UsageError, match=said):
        read_settings(tmp_path / "p.toml")


# -- what it says of itself --------------------------------------------------------------------------------------------


def test_metrics_document_and_page(toy: Running) -> None:
    toy.post(*CHATS["openai"])
    text = toy.http.get("/metrics").text
    assert 'palmette_requests_total{api="openai",model="toy",status="200"}' in text
    assert 'palmette_tokens_total{model="toy",kind="output"}' in text and "palmette_model_kept" in text
    document = toy.http.get("/openapi.json").json()
    assert set(document["paths"]) == {route.path for route in ROUTES}
    page = toy.http.get("/docs")
    assert "<table>" in page.text and "default-src 'none'" in page.headers["content-security-policy"]
    assert toy.http.get("/ready").json() == {"status": "ready"} and toy.http.head("/health").status_code == 200


def test_concurrent_streams_share_passes_and_stay_themselves(toy: Running) -> None:
    async def ask(client: Any, i: int) -> str:
        talk = [{"role": "user", "content": f"Tell me a story {i}."}]
        body = {**CHATS["openai"][1], "messages": talk, "stream": True, "max_tokens": 24, "stop": None}
        async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            rows = [json.loads(line[6:]) async for line in answer.aiter_lines() if line.startswith("data: {")]
        return "".join(row["choices"][0]["delta"].get("content", "") for row in rows if row["choices"])

    async def many() -> list[str]:
        import httpx2

        async with httpx2.AsyncClient(base_url=toy.url, timeout=30) as client:
            return await asyncio.gather(*(ask(client, i) for i in range(12)))

    alone = local_model("zoo:seedling")
    wanted = [alone.respond(f"Tell me a story {i}.", temperature=0, max_tokens=24).text for i in range(12)]
    before = toy.app.registry.entries["toy"].load.passes
    assert asyncio.run(many()) == wanted
    assert toy.app.registry.entries["toy"].load.passes - before < 12 * 24 / 2


PAGE = """<!doctype html><title>evil</title><form id="f" method="post" enctype="text/plain" target="frame"
action="{url}/v1/chat/completions"><input name='{{"model":"slow","messages":[],"x":"' value='"}}'></form>
<iframe name="frame"></iframe><script>
const said = [], url = "{url}/v1/chat/completions", body = JSON.stringify({{model: "slow", messages: []}});
const note = (name) => (value) => said.push(name + ":" + value);
const asks = [
  fetch(url, {{method: "POST", body, headers: {{"content-type": "application/json"}}}}).then(note("json"), note("no")),
  fetch(url, {{method: "POST", body, mode: "no-cors"}}).then((r) => r.type, note("no")),
  fetch("{url}/v1/models").then((r) => r.text()).then(note("read"), note("no")),
  fetch("{url}/metrics").then((r) => r.text()).then(note("read"), note("no")),
];
document.getElementById("f").submit();
new Image().src = "{url}/v1/models";
try {{ new WebSocket("{url}/v1/chat/completions".replace("http", "ws")); }} catch (e) {{}}
const events = new EventSource("{url}/v1/models");
events.onopen = note("read");
Promise.allSettled(asks).then(() => setTimeout(() => {{
  document.body.append("DONE " + said.join(" | ")); }}, 500));
</script>"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed: apt-get install chromium")
def test_a_page_of_another_origin_in_a_browser_reaches_nothing(tmp_path: Path) -> None:
    slow = Slow(words=1)
    with running(models={"slow": slow}) as server:
        page = PAGE.format(url=server.url).encode()
        with served([answer(200, page, "text/html")]) as other:
            flags = ("headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking "
                     "disable-component-update disable-sync virtual-time-budget=8000 dump-dom")  # fmt: skip
            command = ["chromium", *(f"--{flag}" for flag in flags.split()), f"--user-data-dir={tmp_path}", other.url]
            found = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False).stdout
        assert "DONE" in found and "read:" not in found and "json:" not in found, found
        assert not any(model == "slow" for _, model, _ in server.app.metrics.requests)  # nothing got past the guard
