"""The server as others start it: by its command, behind a signal, as MCP tools, as a folder for a Space."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import tiny

from palmette.cli.main import main
from palmette.serve.settings import read_settings

SAY = {"model": "zoo:seedling", "messages": [{"role": "user", "content": "Tell me a story."}]}


@contextmanager
def started(*options: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`palmette serve` in a process, with its address."""
    command = [sys.executable, "-m", "palmette", "serve", "zoo:seedling", "--port", "0", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        url = next((word for word in line.split() if word.startswith("http://")), "")
        assert url, line + process.stderr.read()
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                httpx2.get(f"{url}/health")
                break
            except httpx2.ConnectError:
                time.sleep(0.02)
        yield process, url
    finally:
        process.kill()
        process.communicate()


def test_a_signal_lets_running_streams_end_and_takes_no_more() -> None:
    with started() as (process, url):
        body = {**SAY, "stream": True, "max_tokens": 150, "palmette": {"regex": "[a-z ]{400}"}}
        with httpx2.stream(
            "POST", f"{url}/v1/chat/completions", json={**body, "max_tokens": 300}, timeout=60
        ) as answer:
            lines = answer.iter_lines()
            first = next(lines)
            process.send_signal(signal.SIGTERM)
            rest = list(lines)
        assert first.startswith("data: ") and rest[-2:] == ["data: [DONE]", ""]
        assert process.wait(30) == 0
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(f"{url}/health")


def test_another_address_without_a_key_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "zoo:seedling", "--host", "0.0.0.0"]) == 2
    assert "no key protects it" in capsys.readouterr().err
    assert main(["serve", "a=zoo:seedling", "a=zoo:seedling"]) == 2 and "two models" in capsys.readouterr().err
    assert main(["serve", "--config", "/none.toml"]) == 2 and "cannot read" in capsys.readouterr().err


def test_a_key_from_the_environment_opens_the_server_and_is_in_no_log() -> None:
    with started(PALMETTE_API_KEY="sk-canary-123") as (process, url):
        assert httpx2.post(f"{url}/v1/chat/completions", json={**SAY, "max_tokens": 2}).status_code == 401
        answer = httpx2.post(f"{url}/v1/chat/completions", json={**SAY, "max_tokens": 2},
                             headers={"authorization": "Bearer sk-canary-123"}, timeout=30)  # fmt: skip
        assert answer.status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0 and process.stderr is not None
        assert "canary" not in process.stderr.read()


def test_no_acknowledged_call_is_lost_when_the_server_is_killed(tmp_path: Path) -> None:
    """Killed at many points while it writes: the store is whole and holds every call that was answered."""
    store = tmp_path / "runs.sqlite"
    rng = random.Random(7)
    acknowledged: list[str] = []

    def ask(url: str, stop: threading.Event) -> None:
        with httpx2.Client(base_url=url, timeout=30) as client:
            while not stop.is_set():
                mark = f"question {rng.random()}"
                body = {**SAY, "messages": [{"role": "user", "content": mark}], "max_tokens": 2}
                try:
                    if client.post("/v1/chat/completions", json=body).status_code == 200:
                        acknowledged.append(mark)
                except httpx2.HTTPError:
                    return

    for _ in range(4):
        with started("--log", str(store)) as (process, url):
            stop, before = threading.Event(), len(acknowledged)
            threads = [threading.Thread(target=ask, args=(url, stop)) for _ in range(3)]
            for thread in threads:
                thread.start()
            end = time.monotonic() + 30
            while len(acknowledged) == before and time.monotonic() < end:
                time.sleep(0.01)
            time.sleep(rng.random() * 0.3)
            process.kill()
            stop.set()
            for thread in threads:
                thread.join()
    found = sqlite3.connect(store)
    assert found.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    said = "\n".join(str(row) for row in found.execute("SELECT * FROM calls"))
    found.close()
    assert acknowledged and all(mark in said for mark in acknowledged)


def test_the_workbench_is_a_set_of_mcp_tools() -> None:
    pytest.importorskip("mcp")
    from mcp import Client, StdioServerParameters
    from mcp.client.stdio import stdio_client

    async def talk() -> tuple[list[str], Any, Any, Any]:
        words = ["-m", "palmette", "serve", "zoo:seedling", "--mcp"]
        command = StdioServerParameters(command=sys.executable, args=words, env=dict(os.environ))
        async with Client(stdio_client(command)) as client:
            tools = await client.list_tools()
            asked = {"prompt": "Who is the friend of Nora?", "temperature": 0, "choices": ["Ida.", "Runa."]}
            answer = await client.call_tool("ask", asked)
            decided = await client.call_tool("decide", {"state": "Runa smiles.", "questions": {"happy": "bool"}})
            refused = await client.call_tool("ask", {"prompt": "x", "model": "./etc"})
            return [tool.name for tool in tools.tools], answer, decided, refused

    names, answer, decided, refused = asyncio.run(asyncio.wait_for(talk(), 60))
    assert set(names) == {"models", "ask", "decide", "explain_settings"}
    assert answer.structured_content["text"] == "Ida."
    assert set(decided.structured_content["happy"]) == {"best", "probabilities"}
    assert refused.is_error and "no model" in refused.content[0].text


def test_a_folder_for_a_space_is_whole_and_asks_for_a_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = tmp_path / "space"
    assert main(["export", "space", str(made), str(tiny.folder("llama")), "--host", "o-n.hf.space"]) == 0
    assert {path.name for path in made.iterdir()} == {
        "Dockerfile", "README.md", "requirements.txt", "palmette.toml", ".dockerignore", "model"}  # fmt: skip
    assert (made / "README.md").read_text().startswith("---\ntitle:") and "sdk: docker" in (
        made / "README.md"
    ).read_text()
    assert tomllib.loads((made / "palmette.toml").read_text())["server"]["hosts"] == ["o-n.hf.space"]
    settings = read_settings(made / "palmette.toml")
    assert settings.models[0].model == "./model" and "0.0.0.0" in (made / "Dockerfile").read_text()
    assert main(["export", "space", str(made)]) == 1 and "not empty" in capsys.readouterr().err
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in (made / "model").iterdir()}
