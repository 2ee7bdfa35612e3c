"""Our client against servers that other people wrote, running here: llama.cpp's own, and transformers'.

The first comes with the extra `gguf`; the second needs fastapi, uvicorn and accelerate. Without them these tests are
skipped. Both serve the embedded model, so what they say is known.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

import palmette
from palmette.core.errors import RequestRefused
from palmette.core.events import fold
from palmette.core.message import Message, Text, Tool, ToolCall, ToolResult
from palmette.models.remote.listing import models_of
from palmette.models.remote.model import RemoteModel, connect

SEEDLING = Path(palmette.__file__).parent / "models" / "zoo" / "seedling"
SCHEMA = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"], "additionalProperties": False}
TOOL = Tool("look", "Looks.", {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
APIS = ("chat", "responses", "completions", "messages")
PROMPT = "Once upon a time"

LLAMA = """
import sys, xllamacpp as x
p = x.CommonParams()
p.model.path, p.port, p.hostnames, p.warmup, p.use_jinja = sys.argv[1], int(sys.argv[2]), ["127.0.0.1"], False, True
p.n_ctx, p.n_parallel, p.cpuparams.n_threads, p.n_gpu_layers = 512, 2, 1, 0
if sys.argv[3] == "embed":
    p.embedding, p.pooling_type = True, x.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
server = x.Server(p)
print("listening", flush=True)
sys.stdin.read()
"""


def missing(*modules: str) -> pytest.MarkDecorator:
    lacks = [name for name in modules if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(lacks), reason=f"no server to try: {', '.join(lacks)} not installed")


@contextmanager
def running(command: list[str], port: int, seconds: float, log: Path, **settings: str) -> Iterator[str]:
    """A process that serves at a port; it is ended by its own handle."""
    with log.open("w") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1", **settings},
        )  # fmt: skip
        try:
            end = time.monotonic() + seconds
            while True:
                try:
                    if httpx2.get(f"http://127.0.0.1:{port}/health", timeout=1).status_code == 200:
                        break
                except httpx2.HTTPError:
                    pass
                if process.poll() is not None or time.monotonic() > end:
                    raise AssertionError(f"the server did not start: {log.read_text()[-2000:]}")
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.communicate(timeout=20)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


# -- llama.cpp's server ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from palmette.weights.gguf.convert import convert

    out = tmp_path_factory.mktemp("gguf") / "seedling.gguf"
    convert(SEEDLING, out, dtype="f32")
    return out


@pytest.fixture(scope="module")
def llama(weights: Path) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-c", LLAMA, str(weights), str(port), "chat"]
    with running(command, port, 60, weights.parent / "log") as url:
        yield url


def at(url: str, api: str, **options: Any) -> RemoteModel:
    return connect("llamacpp:seedling", api=api, base_url=url, temperature=0, **options)


@missing("xllamacpp")
def test_llama_server_continues_a_text_as_this_engine_does(llama: str) -> None:
    mine = palmette.decode(palmette.model("zoo:seedling").engine, PROMPT, palmette.greedy(), max_tokens=12).run().text
    assert at(llama, "completions").respond(PROMPT, max_tokens=12).text == mine


@missing("xllamacpp")
@pytest.mark.parametrize("api", APIS)
def test_llama_server_streams_what_it_says(llama: str, api: str) -> None:
    model = at(llama, api)
    whole = model.respond(PROMPT, max_tokens=8)
    streamed = fold(model.events(PROMPT, max_tokens=8))
    assert whole.text and streamed.text == whole.text
    assert whole.usage and streamed.usage and whole.usage.output == streamed.usage.output == 8
    assert whole.usage.input == streamed.usage.input == model.count_tokens(PROMPT)
    # Its Responses API says "completed" of an answer that was cut; the others say what happened.
    assert whole.finish == streamed.finish == ("stop" if api == "responses" else "length")


@missing("xllamacpp")
@pytest.mark.parametrize("api", ["chat", "completions"])
def test_llama_server_tells_log_probabilities(llama: str, api: str) -> None:
    model = at(llama, api)
    whole = model.respond(PROMPT, max_tokens=4, top_logprobs=2)
    streamed = fold(model.events(PROMPT, max_tokens=4, top_logprobs=2))
    assert len(whole.logprobs) == 4 and [s.text for s in streamed.logprobs] == [s.text for s in whole.logprobs]
    assert "".join(s.text for s in whole.logprobs) == whole.text
    assert all(len(s.top) == 2 and s.top[0] == (s.text, s.logprob) for s in whole.logprobs)


@missing("xllamacpp")
@pytest.mark.parametrize("api", ["responses", "messages"])
def test_llama_server_says_where_there_are_none(llama: str, api: str) -> None:
    found = at(llama, api).respond(PROMPT, max_tokens=2, top_logprobs=2)
    assert not found.logprobs and found.notes[0].startswith("top_logprobs: llamacpp has none")


@missing("xllamacpp")
def test_llama_server_still_refuses_log_probabilities_of_streamed_calls_and_is_not_asked_to(llama: str) -> None:
    tools = [{"type": "function", "function": {"name": "look", "description": "", "parameters": TOOL.parameters}}]
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "tools": tools, "logprobs": True,
            "top_logprobs": 1, "stream": True, "max_tokens": 4}  # fmt: skip
    refused = httpx2.post(f"{llama}/chat/completions", json=body, timeout=30)
    assert refused.status_code == 400 and "logprobs" in refused.text
    found = fold(at(llama, "chat").events(PROMPT, max_tokens=4, tools=[TOOL], top_logprobs=1))
    assert len(found.logprobs) == 4 and "came at once" in found.notes[0]


@missing("xllamacpp")
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_llama_server_holds_an_answer_to_a_schema(llama: str, api: str) -> None:
    assert at(llama, api, output=SCHEMA)("Well?", max_tokens=60).value["a"] in (True, False)


@missing("xllamacpp")
@pytest.mark.parametrize("api", ["chat", "responses", "messages"])
def test_llama_server_reads_a_conversation_with_tools(llama: str, api: str) -> None:
    call = ToolCall("c1", "look", '{"a": 1}')
    talk = (Message.of("system", "Be brief."), Message.of("user", "Look."), Message("assistant", (Text("Yes."), call)),
            Message("user", (ToolResult("c1", "a cat", "look"), Text("Well?"))))  # fmt: skip
    model = at(llama, api)
    found = model.respond(talk, tools=[TOOL], max_tokens=6)
    assert found.text and found.usage and found.usage.input > model.count_tokens("Well?")


@missing("xllamacpp")
def test_llama_server_gives_several_answers(llama: str) -> None:
    found = replace(at(llama, "completions"), options={}).respond("Once", n=2, seed=1, temperature=1.0, max_tokens=3)
    assert len(found.alternatives) == 1 and found.alternatives[0].text and not found.notes


@missing("xllamacpp")
def test_llama_server_lists_its_model_and_says_what_is_wrong(llama: str) -> None:
    (row,) = models_of("llamacpp", base_url=llama)
    assert row.name.endswith("seedling.gguf") and row.context and row.size
    with pytest.raises(RequestRefused, match="400"):
        at(llama, "chat").respond("word " * 2000, max_tokens=4)
    with pytest.raises(RequestRefused, match=r"501.*embeddings"):
        at(llama, "chat").embed("a")


@missing("xllamacpp")
def test_llama_server_gives_vectors(weights: Path) -> None:
    port = free_port()
    command = [sys.executable, "-c", LLAMA, str(weights), str(port), "embed"]
    with running(command, port, 60, weights.parent / "log of vectors") as url:
        model = at(url, "chat")
        found = model.embed(["a cat", "a dog", "a cat"])
        packed = replace(model, provider=replace(model.provider, packs=True)).embed(["a cat", "a dog", "a cat"])
    assert found.vectors.shape[0] == 3 and found.usage and found.usage.input > 0
    assert np.allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-4)
    assert np.allclose(found.vectors[0], found.vectors[2], atol=1e-4)
    assert np.allclose(packed.vectors, found.vectors, atol=1e-4)  # it packs, too


# -- transformers' server ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    folder = tmp_path_factory.mktemp("serve") / "seedling"
    shutil.copytree(SEEDLING, folder)
    (folder / "chat_template.jinja").write_text("{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}")
    port = free_port()
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder), "--host", "127.0.0.1",
               "--port", str(port), "--device", "cpu"]  # fmt: skip
    with running(command, port, 120, folder.parent / "log", HF_HUB_OFFLINE="1") as url:
        yield url, str(folder)


def behind(serve: tuple[str, str], api: str) -> RemoteModel:
    """A model behind it; a path is no name for `connect`."""
    return replace(connect("lmstudio:m", api=api, base_url=serve[0], temperature=0), name=serve[1])


@missing("transformers", "fastapi", "uvicorn", "accelerate")
@pytest.mark.parametrize("api", ["chat", "responses", "completions"])
def test_transformers_server_says_and_streams(serve: tuple[str, str], api: str) -> None:
    model = behind(serve, api)
    whole, streamed = model.respond(PROMPT, max_tokens=8), fold(model.events(PROMPT, max_tokens=8))
    assert whole.text and streamed.text == whole.text
    assert whole.usage and whole.usage.input and whole.usage.output


@missing("transformers", "fastapi", "uvicorn", "accelerate")
def test_what_transformers_server_passes_over_is_noted(serve: tuple[str, str]) -> None:
    found = behind(serve, "chat").respond(PROMPT, max_tokens=2, top_logprobs=1, n=2)
    assert [note.partition(":")[0] for note in found.notes] == ["top_logprobs", "n"]
    assert [row.name for row in models_of("lmstudio", base_url=serve[0])] == [serve[1]]
    assert json.dumps(found.raw)
