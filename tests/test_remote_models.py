"""Models behind an API, against a server on this machine that fails in every way it can."""

from __future__ import annotations

import asyncio
import json
import pickle
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from loopback import Loopback, answer, drip, served
from test_wires import ANSWERS, ERRORS, framed

import palmette
from palmette.cli.main import main
from palmette.core.errors import (
    BadAnswer,
    ConstraintError,
    KeyRefused,
    MissingKey,
    NoConnection,
    NotServed,
    ProviderError,
    ProviderFailed,
    RateLimited,
    RequestRefused,
    TimedOut,
    UnknownModel,
    UsageError,
)
from palmette.models.local import opened
from palmette.models.remote.client import Client, Limits, Secret
from palmette.models.remote.model import RemoteModel, connect
from palmette.models.remote.providers import PROVIDERS
from palmette.models.remote.wires import WIRES

NAMES = {
    "openai": "openai", "openai-responses": "openai", "openai-completions": "openai", "anthropic": "anthropic",
    "gemini": "gemini", "cohere": "cohere", "ollama": "ollama",
}  # fmt: skip
KEY = "sk-very-secret-0123456789"
QUICK = Limits(connect=1, read=0.5, total=3, retries=1)


def remote(wire: str, server: Loopback, limits: Limits = QUICK, **options: Any) -> RemoteModel:
    api = wire.removeprefix("openai-") if wire.startswith("openai-") else ""
    return connect(f"{NAMES[wire]}:m", key=KEY, base_url=server.url, limits=limits, api=api, **options)


def streamed(wire: str) -> bytes:
    """A whole HTTP answer that streams."""
    kind = "text/event-stream" if WIRES[wire].framing == "sse" else "application/x-ndjson"
    return answer(200, framed(wire), kind)


# -- what goes right ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", [wire for wire in NAMES if wire != "openai-completions"])  # which has no system
def test_an_answer_comes_whole_and_in_pieces(wire: str) -> None:
    with served([answer(200, ANSWERS[wire][0]), streamed(wire), streamed(wire)]) as server:
        model = remote(wire, server, max_tokens=9, system="Be brief.")
        found = model("Hello", temperature=0.5)
        assert found.text == "Grüße 🐱" == "".join(model.stream("Hello"))
        assert model.collect("Hello").response.usage == found.response.usage
        path, headers, body = server.requests[0]
    secret = headers.get("x-goog-api-key") or headers["authorization"]
    assert secret.removeprefix("Bearer ") == KEY
    text = json.dumps(body)
    assert "Be brief." in text and "Hello" in text and "0.5" in text and path.startswith(("/", "/v"))
    assert server.requests[1][2] != body or wire == "gemini"


@pytest.mark.parametrize("name", [name for name, provider in PROVIDERS.items() if provider.wire == "openai"])
def test_hosts_spell_some_things_otherwise(name: str) -> None:
    with served([answer(200, ANSWERS["openai"][0])]) as server:
        model = connect(f"{name}:m", key=KEY, base_url=server.url, limits=QUICK)
        notes = model("Hi", max_tokens=5, top_logprobs=3, seed=4, top_k=2).response.notes
        _, headers, body = server.requests[0]
    assert ("max_completion_tokens" in body) == (name in ("openai", "azure", "cerebras")) and 5 in body.values()
    assert headers["api-key" if name == "azure" else "authorization"].removeprefix("Bearer ") == KEY
    lacks = PROVIDERS[name].lacks
    assert body.get("logprobs") == (None if "top_logprobs" in lacks else 3 if name == "together" else True)
    assert body.get("random_seed" if name == "mistral" else "seed") == (None if "seed" in lacks else 4)
    left_out = {note.partition(":")[0] for note in notes if "left out" in note}
    assert left_out == lacks & {"top_logprobs", "seed", "top_k"}
    assert PROVIDERS[name].capabilities.seed == ("seed" not in lacks)


def test_a_host_that_takes_no_schema_is_told_it_in_the_question() -> None:
    def said(text: str) -> bytes:
        return answer(200, {"choices": [{"finish_reason": "stop", "message": {"content": text}}]})

    with served([said("[1, 2]"), said('{"value": [1, 2]}')]) as server:
        model = connect("deepseek:m", key=KEY, base_url=server.url, limits=QUICK)
        assert model("Two numbers.", output=list[int]).value == [1, 2]
        body = server.requests[0][2]
    assert body["response_format"] == {"type": "json_object"} and '"integer"' in body["messages"][0]["content"]


def test_anthropic_is_asked_for_closed_objects_and_for_maps_in_the_question() -> None:
    @dataclass
    class Point:
        x: int
        y: int | None = None

    def said(text: str) -> bytes:
        return answer(200, {"type": "message", "stop_reason": "end_turn", "content": [{"type": "text", "text": text}]})

    with served([said('{"x": 1}'), said('{"a": 1}')]) as server:
        model = remote("anthropic", server, max_tokens=9)
        assert model("Where?", output=Point, effort="low").value == Point(1)
        assert model("What?", output=dict[str, int]).value == {"a": 1}
        first, second = (body for _, _, body in server.requests)
    assert first["output_config"]["effort"] == "low" and "tools" not in first
    assert first["output_config"]["format"]["schema"]["additionalProperties"] is False
    assert "output_config" not in second and "JSON Schema" in second["system"]


def test_what_a_server_passes_over_in_silence_is_noted() -> None:
    """As transformers' server does, which takes every field and reads a few."""
    plain = {**ANSWERS["openai"][0], "choices": [{"finish_reason": "stop", "message": {"content": "Hi"}}]}
    with served([answer(200, plain), streamed("openai")]) as server:
        model = remote("openai", server)
        whole, piecewise = model.respond("Hi", top_logprobs=1, n=2), model.collect("Hi", top_logprobs=1, n=2).response
    for notes in (whole.notes, piecewise.notes):
        assert notes == ("top_logprobs: openai was asked for them and gave none",
                         "n: openai was asked for 2 answers and gave 1")  # fmt: skip


def test_settings_that_a_provider_lacks_are_noted() -> None:
    with served([answer(200, ANSWERS["anthropic"][0])]) as server:
        notes = remote("anthropic", server)("Hi", seed=3, top_logprobs=2).response.notes
    assert sorted(note.partition(":")[0] for note in notes) == ["max_tokens", "seed", "top_logprobs"]


def test_an_answer_of_a_type_is_asked_for_again_until_it_is_one() -> None:
    @dataclass
    class Point:
        x: int
        y: int

    def said(text: str) -> bytes:
        return answer(200, {"choices": [{"finish_reason": "stop", "message": {"content": text}}]})

    with served([said('{"x": 1}'), said('{"x": 1, "y": 2}')]) as server:
        found = remote("openai", server, output=Point)("Where?")
        assert found.value == Point(1, 2) and len(server.requests) == 2
        first, second = (body for _, _, body in server.requests)
    assert first["response_format"]["type"] == "json_schema"
    assert [m["role"] for m in second["messages"]] == ["user", "assistant", "user"]
    with served([said("no")]) as server, pytest.raises(ConstraintError):
        remote("openai", server, output=Point)("Where?")


def test_a_template_is_filled_gap_by_gap_and_asked_for_again() -> None:
    def said(text: str) -> bytes:
        return answer(200, {"choices": [{"finish_reason": "stop", "message": {"content": text}}]})

    template = "Name: {name:regex([A-Z][a-z]+)}\nAge: {age:int(1,99)}\nLikes: {likes:list(choice,tea,rain)}."
    replies = [said(t) for t in ("runa", "Runa", "seven", "200", "41", "tea, rain")]
    with served(replies) as server:
        model = remote("openai", server)
        done = palmette.fill(model, template, where={"age": lambda age: age > 40})
        assert done.values == {"name": "Runa", "age": 41, "likes": ["tea", "rain"]}
        assert done.text == "Name: Runa\nAge: 41\nLikes: tea, rain." and len(server.requests) == 6
        turns = server.requests[4][2]["messages"]
    assert [m["role"] for m in turns] == ["user", "assistant", "user", "assistant", "user"]
    assert "Name: Runa" in turns[0]["content"] and "'200' is not age" in turns[4]["content"]
    with served([said("no")]) as server, pytest.raises(ConstraintError, match=r"3 answers that do not fit.*'no'"):
        palmette.fill(remote("openai", server), "{n:int}")


# -- what goes wrong ---------------------------------------------------------------------------------------------------

Fault = Callable[[str], Any]
STATUS: dict[int, type[ProviderError]] = {
    400: RequestRefused, 401: KeyRefused, 403: KeyRefused, 404: NotServed, 408: TimedOut, 413: RequestRefused,
    422: RequestRefused, 429: RateLimited, 500: ProviderFailed, 502: ProviderFailed, 529: ProviderFailed,
}  # fmt: skip


@pytest.mark.parametrize("status", STATUS)
@pytest.mark.parametrize("wire", NAMES)
def test_every_status_is_its_own_error_and_says_what_the_provider_said(wire: str, status: int) -> None:
    body = json.dumps(ERRORS[wire]).replace("no such thing", f"no such thing as {KEY}").encode()
    with served([answer(status, body, retry_after="0", x_request_id="req-7")]) as server:
        with pytest.raises(STATUS[status], match=rf"answered {status}: no such thing as ….*req-7") as caught:
            remote(wire, server)("Hi")
        again = status in (408, 429, 500, 502, 529)
        assert len(server.requests) == (2 if again else 1) and caught.value.status == status
    assert KEY not in str(caught.value) + repr(caught.value.__context__)


def closed_at(place: float) -> Fault:
    """The connection closes after a part of the answer."""

    def fault(wire: str) -> Any:
        data = streamed(wire)
        head = data.index(b"\r\n\r\n") + 4
        return [data[: head + int(place * (len(data) - head))]]

    return fault


def reset(wire: str) -> Any:
    """The peer resets the connection in the middle."""

    def script(state: Loopback, peer: socket.socket, number: int) -> None:
        data = streamed(wire)
        peer.sendall(data[: len(data) // 2])
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")

    return script


def silent(wire: str) -> Any:
    """The peer takes the request and says nothing."""
    return lambda state, peer, number: time.sleep(1.2)


FAULTS: dict[str, tuple[Fault, tuple[type[ProviderError], ...]]] = {
    "closed before the answer": (lambda wire: [b""], (NoConnection,)),
    "closed in the head": (lambda wire: [b"HTTP/1.1 200 OK\r\ncontent-ty"], (NoConnection,)),
    "closed at once": (closed_at(0), (NoConnection, BadAnswer)),
    "closed at a third": (closed_at(0.33), (NoConnection, BadAnswer)),
    "closed near the end": (closed_at(0.8), (NoConnection, BadAnswer)),
    "reset": (reset, (NoConnection, BadAnswer)),
    "silent": (silent, (TimedOut,)),
    "a slow drip": (lambda wire: drip(streamed(wire), 0.02), (TimedOut,)),
    "no HTTP": (lambda wire: [b"220 mail.example ESMTP\r\n"], (NoConnection,)),
    "a page": (lambda wire: [answer(200, b"<html>sign in</html>", "text/html")], (BadAnswer,)),
    "broken JSON": (lambda wire: [answer(200, b"data: {]\n\n{]\n", "text/event-stream")], (BadAnswer,)),
    "nested deeply": (
        lambda wire: [answer(200, b"data: " + b"[" * 200_000 + b"\n\n", "text/event-stream")], (BadAnswer,)),
    "no UTF-8": (lambda wire: [answer(200, b"data: \xff\xff\n\n", "text/event-stream")], (BadAnswer,)),
    "empty": (lambda wire: [answer(200, b"", "text/event-stream")], (BadAnswer,)),
    "a redirect": (lambda wire: [answer(307, b"", location="http://127.0.0.1:9/steal")], (ProviderFailed,)),
    "an error in the stream": (
        lambda wire: [answer(200, ("data: " if WIRES[wire].framing == "sse" else "").encode()
                             + json.dumps({"type": "error", "error": {"message": "overloaded"}}).encode() + b"\n\n",
                             "text/event-stream")],
        (ProviderFailed, BadAnswer)),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("wire", NAMES)
def test_every_fault_of_a_stream_ends_in_a_typed_error_in_time(wire: str, fault: str) -> None:
    script, kinds = FAULTS[fault]
    began = time.monotonic()
    with served(script(wire)) as server:
        model = remote(wire, server, Limits(connect=1, read=0.5, total=1.5, retries=0))
        with pytest.raises(kinds) as caught:
            list(model.stream("Hi"))
    assert time.monotonic() - began < 6
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("wire", NAMES)
def test_every_fault_of_an_answer_ends_in_a_typed_error(wire: str) -> None:
    whole = answer(200, ANSWERS[wire][0])
    for data in (b"", whole[:60], whole[:-5], answer(200, b"[]"), answer(200, b"null"), answer(200, b"<html>")):
        with served([data]) as server, pytest.raises((NoConnection, BadAnswer)):
            remote(wire, server, Limits(connect=1, read=0.5, total=2, retries=0))("Hi")


def test_a_storm_passes_and_the_wait_that_is_asked_for_is_kept() -> None:
    storm = [answer(429, ERRORS["openai"], retry_after_ms="300"), answer(503, b"", retry_after="0")]
    with served([*storm, answer(200, ANSWERS["openai"][0])]) as server:
        began = time.monotonic()
        found = remote("openai", server, Limits(total=5, retries=2))("Hi")
        assert found.text and time.monotonic() - began >= 0.3 and len(server.requests) == 3
    with served([answer(429, ERRORS["openai"], retry_after="100")]) as server:
        began = time.monotonic()
        with pytest.raises(RateLimited):
            remote("openai", server, Limits(total=2, retries=2))("Hi")
        assert time.monotonic() - began < 2 and len(server.requests) == 1


def test_a_stream_that_has_begun_is_never_begun_again() -> None:
    data = streamed("openai")
    with served([data[: len(data) // 2]]) as server:
        with pytest.raises((NoConnection, BadAnswer)):
            list(remote("openai", server, Limits(read=1, total=3, retries=5)).stream("Hi"))
        assert len(server.requests) == 1


def test_leaving_a_stream_closes_the_connection() -> None:
    piece = f"data: {json.dumps(ANSWERS['openai'][1][2])}\n\n".encode()

    def endless(state: Loopback, peer: socket.socket, number: int) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        for _ in range(2000):
            peer.sendall(piece * 50)
            time.sleep(0.005)

    with served(endless) as server:
        stream = remote("openai", server).stream("Hi")
        assert next(stream) == "Grüße "
        stream.close()  # type: ignore[attr-defined]
        for _ in range(100):
            if server.closed:
                break
            time.sleep(0.05)
        assert server.closed


FRAMES = b'data: {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize("way", ["blocking", "loop"])
@pytest.mark.parametrize("ending", ["length", "chunked", "chunked, end apart", "without end", "more without end"])
def test_a_connection_is_used_again_once_its_stream_has_ended(ending: str, way: str) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    chunk = b"%x\r\n%s\r\n" % (len(FRAMES), FRAMES)

    def script(state: Loopback, peer: socket.socket, number: int) -> None:
        for _ in range(3):
            if ending == "length":
                peer.sendall(head + b"content-length: %d\r\n\r\n%s" % (len(FRAMES), FRAMES))
            elif ending == "chunked":
                peer.sendall(head + b"transfer-encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n")
            else:
                peer.sendall(head + b"transfer-encoding: chunked\r\n\r\n" + chunk)
                if ending == "more without end":
                    for _ in range(100):
                        peer.sendall(b"400\r\n" + b":" * 1024 + b"\r\n")
                if "without end" in ending:
                    peer.recv(1)
                    return
                peer.sendall(b"0\r\n\r\n")
            if not peer.recv(65536):
                return

    async def thrice(model: RemoteModel) -> list[str]:
        return ["".join([piece async for piece in model.astream("Hello")]) for _ in range(3)]

    with served(script) as server:
        model = remote("openai", server, Limits(read=600, total=600))
        said = asyncio.run(thrice(model)) if way == "loop" else ["".join(model.stream("Hello")) for _ in range(3)]
        assert said == ["Hi"] * 3
        assert len(server.requests) == (3 if "without end" in ending else 1)
        model.client.close()


def test_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(NoConnection, match="cannot be reached"):
        connect("ollama:m", base_url=f"http://127.0.0.1:{port}", limits=QUICK)("Hi")


def test_an_answer_without_end_is_cut() -> None:
    def flood(state: Loopback, peer: socket.socket, number: int) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n")
        for _ in range(100):
            peer.sendall(b" " * (1 << 20))

    with served(flood) as server, pytest.raises(BadAnswer, match="more than 64 MB"):
        remote("openai", server, Limits(read=2, total=30, retries=0))("Hi")


# -- keys and names ----------------------------------------------------------------------------------------------------


def test_a_key_is_shown_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    secret = Secret(KEY)
    client = Client("https://api.example.com/v1", {}, ("authorization", secret))
    model = connect("openai:m", key=KEY)
    for thing in (secret, client, model, model.client, model.provider):
        assert KEY not in repr(thing) + str(thing)
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_a_missing_key_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for provider in PROVIDERS.values():
        for name in provider.keys:
            monkeypatch.delenv(name, raising=False)
        if provider.optional:
            assert connect(f"{provider.name}:m").client.base.startswith("http://127.0.0.1")
        else:
            with pytest.raises(MissingKey, match=f"set {provider.keys[0]}"):  # before the address is looked for
                connect(f"{provider.name}:m")
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    assert connect("gemini:m").id == "gemini:m"


def test_one_client_serves_all_calls_to_an_address() -> None:
    assert connect("openai:a", key="k").client is connect("openai:b", key="k").client
    assert connect("openai:a", key="k").client is not connect("openai:a", key="other").client


@pytest.mark.parametrize("name", ["opnai:gpt-5", "openai:", "openai:../x", "openai:a b", "openai:a\nb", "openai"])
def test_names_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(UnknownModel):
        connect(name, key="k")


def test_models_of_providers_are_not_opened_as_folders() -> None:
    assert palmette.model("openai:gpt-5", key=KEY).client is connect("openai:gpt-5", key=KEY).client
    with pytest.raises(UnknownModel, match=r"palmette.connect\('openai:gpt-5'\)"):
        opened("openai:gpt-5")
    with pytest.raises(UnknownModel, match="Did you mean 'openai'"):
        palmette.model("opnai:gpt-5")


def test_options_that_are_none_are_refused() -> None:
    with pytest.raises(UsageError, match=r"no option 'temprature'.*temperature"):
        connect("ollama:m", temprature=1)
    with pytest.raises(RequestRefused, match="no URL of an API"):
        connect("ollama:m", base_url="ftp://x")


# -- the command -------------------------------------------------------------------------------------------------------


def test_every_provider_has_another_address_by_option_and_by_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from palmette.models.remote.wires import WIRES as KNOWN

    for name, provider in PROVIDERS.items():
        variable = provider.base_variable or f"{name.upper().replace('-', '_')}_BASE_URL"
        with monkeypatch.context() as patch:
            patch.setenv(variable, "http://127.0.0.1:9/x")
            assert provider.where().startswith("http://127.0.0.1:9/x"), name
        assert provider.wire in KNOWN
    with served([streamed("anthropic")]) as server:
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        assert main(["run", "anthropic:m", "Hello", "--base-url", server.url]) == 0
        assert capsys.readouterr().out == "Grüße 🐱\n" and len(server.requests) == 1
    assert main(["run", "zoo:seedling", "Hello", "--base-url", "http://127.0.0.1:9"]) == 2
    assert "runs on this machine" in capsys.readouterr().err


def test_the_command_streams_text_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pieces = [{"delta": {"content": '{"n": '}}, {"delta": {"content": "1}"}, "finish_reason": "stop"}]
    rows = "".join(f"data: {json.dumps({'choices': [piece]})}\n\n" for piece in pieces)
    said = answer(200, rows.encode(), "text/event-stream")
    with served([streamed("openai"), answer(200, ANSWERS["openai"][0]), said, answer(401, ERRORS["openai"])]) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        assert main(["run", "openai:m", "Hello", "--set", "temperature=0.5", "--max-tokens", "9"]) == 0
        assert capsys.readouterr().out == "Grüße 🐱\n"
        assert server.requests[0][2]["temperature"] == 0.5 and server.requests[0][2]["max_completion_tokens"] == 9
        assert main(["run", "openai:m", "Hello", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["usage"]["input"] == 5
        (tmp_path / "s.json").write_text(
            '{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}'
        )
        assert main(["run", "openai:m", "Hello", "--json-schema", str(tmp_path / "s.json")]) == 0
        assert capsys.readouterr().out == '{"n": 1}\n'
        assert server.requests[2][2]["response_format"]["type"] == "json_schema"
        assert main(["run", "openai:m", "Hello"]) == 1
        assert "check the key" in capsys.readouterr().err
    assert main(["run", "openai:m", "Hello", "--strategy", "beam:4"]) == 2
    assert "--strategy: this needs the scores" in capsys.readouterr().err
    assert main(["run", "openai:m", "Hello", "--set", "min_p=0.1"]) == 2
    assert palmette.connect is connect
