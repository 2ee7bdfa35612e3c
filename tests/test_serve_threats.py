"""What a server must stand, against one that runs in its own process: floods, slow clients, hostile schemas and names.

`THREATS` says where each threat to a server is tried; a test that is gone makes the table fail.
"""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from palmette.cli.main import main
from palmette.core.errors import UsageError
from palmette.models.remote.providers import PROVIDERS
from palmette.serve.settings import ModelSettings, Settings

THREATS = {
    "a page that rebinds a name to this machine": ["test_serve.py::test_a_page_that_rebinds_its_name_gets_nothing"],
    "a page of another site that posts": [
        "test_serve.py::test_pages_of_other_sites_may_not_call",
        "test_serve.py::test_a_page_of_another_origin_in_a_browser_reaches_nothing",
    ],
    "a server that everybody reaches": [
        "test_serve.py::test_an_address_that_others_reach_needs_a_key",
        "test_serve.py::test_a_key_opens_in_any_header_and_nothing_else_does",
        "test_serve_threats.py::test_an_open_address_without_a_key_does_not_start",
    ],
    "bodies that are too large, too deep or too slow": [
        "test_serve.py::test_bodies_have_limits",
        "test_serve.py::test_bodies_that_are_no_json_or_too_deep_are_refused",
        "test_serve_threats.py::test_a_flood_without_end_takes_no_memory",
        "test_serve_threats.py::test_slow_clients_stop_nobody",
    ],
    "schemas and patterns that explode": [
        "test_schema.py::test_hostile_schemas_compile_within_limits_or_are_refused",
        "test_serve_threats.py::test_hostile_forms_are_answered_and_the_next_request_is_well",
    ],
    "reading inner networks for a stranger": [
        "test_serve_fetch.py::test_no_spelling_of_an_inner_address_is_reached",
        "test_serve_fetch.py::test_a_name_that_means_another_machine_a_moment_later_is_asked_at_the_first",
    ],
    "keys that leak": ["test_remote_models.py::test_a_key_is_shown_nowhere"],
    "names that are paths": ["test_serve_threats.py::test_names_are_never_paths"],
    "text that becomes a control token": [
        "test_chat.py::test_turns_are_written_as_the_template_says_and_what_was_said_stays_text"
    ],
    "chat templates that break out": ["test_chat.py::test_hostile_templates_end_in_an_error"],
    "more clients than places": ["test_serve.py::test_past_its_places_a_model_refuses_and_the_server_stays_well"],
    "clients that go away": ["test_serve.py::test_who_goes_away_stops_the_model"],
    "other users of the machine": ["test_serve_threats.py::test_the_run_store_is_its_owners_alone"],
}
ASK = {"model": "zoo:seedling", "max_tokens": 4, "messages": [{"role": "user", "content": "Once"}]}


@dataclass
class Process:
    """A server with its client."""

    port: int
    pid: int
    log: Path
    http: httpx2.Client

    @property
    def memory(self) -> float:
        """Its resident memory in MiB."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "kept" / "runs.sqlite"
    command = [sys.executable, "-m", "palmette", "serve", "zoo:seedling", "--port", str(port), "--log", str(log)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as running:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
            end = time.monotonic() + 60
            while time.monotonic() < end:
                try:
                    http.get("/health")
                    break
                except httpx2.TransportError:
                    time.sleep(0.1)
            assert http.post("/v1/chat/completions", json=ASK).status_code == 200
            yield Process(port, running.pid, log, http)
        running.terminate()


def test_every_threat_is_tried() -> None:
    for threat, tests in THREATS.items():
        for name in tests:
            file, _, function = name.partition("::")
            text = (Path(__file__).parent / file).read_text()
            assert re.search(rf"^(async )?def {function}\(", text, re.M), f"{threat}: {name} is gone"


def test_a_flood_without_end_takes_no_memory(server: Process) -> None:
    before, sent = server.memory, 0
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    with socket.create_connection(("127.0.0.1", server.port), 30) as peer:
        peer.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\ncontent-type: application/json\r\n"
                     b"transfer-encoding: chunked\r\n\r\n")  # fmt: skip
        try:
            while sent < 1 << 30:
                peer.sendall(chunk)
                sent += 65536
        except OSError:
            pass
    assert sent < 1 << 28, "the server read on although the body is over its limit"
    assert server.memory - before < 64  # its limit is 16 MiB, held twice at most
    assert server.http.post("/v1/chat/completions", json=ASK).status_code == 200


def test_slow_clients_stop_nobody(server: Process) -> None:
    with ExitStack() as stack:
        for i in range(200):
            peer = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 30))
            peer.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\ncontent-type: application/json\r\n"
                         + (b"content-length: 100\r\n\r\n{" if i % 2 else b"content-le"))  # fmt: skip
        assert server.http.get("/health").status_code == 200
        assert server.http.post("/v1/chat/completions", json=ASK).status_code == 200


HOSTILE: list[Any] = [
    {"$ref": "#"}, {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    {"type": "string", "pattern": "^(a+)+$"}, {"type": "string", "pattern": "^(a|a)*b{1,1000000}$"},
    {"type": "string", "minLength": 10**9}, {"type": "array", "minItems": 10**9, "items": {"type": "integer"}},
    {"enum": [f"value {i}" for i in range(10_000)]}, {"type": "integer", "multipleOf": 1e-300}, {"type": "x"},
    {"allOf": [{"allOf": [{"allOf": [{"properties": {str(i): {"type": "string"}}} for i in range(50)]}] * 3}] * 3},
    {"oneOf": [{"type": "string", "pattern": f"^.*{i}.*$"} for i in range(20)]}, {"not": {"not": {"not": {}}}}, 7, None,
    {"type": "object", "patternProperties": {"(": {}}}, {"$ref": "http://127.0.0.1:1/x"}, {"$ref": "file:///etc/passwd"},
]  # fmt: skip


def test_hostile_forms_are_answered_and_the_next_request_is_well(server: Process) -> None:
    before = server.memory
    for schema in HOSTILE:
        form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
        said = server.http.post("/v1/chat/completions", json={**ASK, "response_format": form})
        assert said.status_code in (200, 400), (schema, said.text)
        assert "passwd" not in said.text or "ref" in said.text
    for regex in ("(", "(a+)+$", "a{1,1000000000}", "((a{1,100}){1,100}){1,100}", "[" * 1000, "\\p{Nope}"):
        said = server.http.post("/v1/chat/completions", json={**ASK, "palmette": {"regex": regex}})
        assert said.status_code in (200, 400), (regex, said.text)
    for grammar in ("start: start", "start: (", "start: " + "(" * 500, 'start: "a"~1000000000'):
        said = server.http.post("/v1/chat/completions", json={**ASK, "palmette": {"grammar": grammar}})
        assert said.status_code in (200, 400), (grammar, said.text)
    assert server.memory - before < 300
    assert server.http.post("/v1/chat/completions", json=ASK).status_code == 200


def test_names_are_never_paths(server: Process) -> None:
    for name in ("../../etc/passwd", "/etc/passwd", "..", ".", "zoo:../seedling", "a/../../b", "%2e%2e%2fetc", "C:\\x",
                 "\x00", "hf:org/name", "./model", "~/x", "nul", "x" * 10_000):  # fmt: skip
        said = server.http.post("/v1/chat/completions", json={**ASK, "model": name})
        assert said.status_code in (400, 404), (name, said.text)
        assert "root:" not in said.text
    for path in ("/v1/models/..%2f..%2fetc%2fpasswd", "/v1/models/%00", "/docs/../../etc/passwd"):
        assert server.http.get(path).status_code in (400, 404), path


def test_the_run_store_is_its_owners_alone(server: Process) -> None:
    assert stat.S_IMODE(server.log.stat().st_mode) == 0o600 and stat.S_IMODE(server.log.parent.stat().st_mode) == 0o700


def test_an_open_address_without_a_key_does_not_start() -> None:
    keys = {key for provider in PROVIDERS.values() for key in provider.keys} | {"PALMETTE_API_KEY"}
    clean = {name: value for name, value in os.environ.items() if name not in keys}
    command = [sys.executable, "-m", "palmette", "serve", "zoo:seedling", "--host", "0.0.0.0", "--port", "0"]
    ended = subprocess.run(command, env=clean, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2 and "no key protects it" in ended.stderr
    with pytest.raises(UsageError):
        Settings((ModelSettings("m", "zoo:seedling"),), host="0.0.0.0").checked()
    assert "Traceback" not in ended.stderr and json.dumps(ended.stdout) == '""'


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["zoo:seedlin"], "Did you mean 'seedling'"),
        (["./nowhere"], "no folder './nowhere'"),
        (["openai:gpt-5"], "OPENAI_API_KEY"),
        (["opnai:gpt-5"], "Did you mean 'openai'"),
        (["zoo:seedling", "--strategy", "beem:4"], "Did you mean 'beam'"),
        (["zoo:seedling", "--json-schema", "/nowhere.json"], "cannot read"),
    ],
)
def test_what_could_never_answer_is_said_before_anything_is_served(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert main(["serve", *arguments, "--port", "0"]) in (1, 2)
    assert said in capsys.readouterr().err
