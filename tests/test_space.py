"""Gradio apps as models, against a real one on loopback: in a process of its own, since it brings its own servers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import zlib
from collections.abc import Iterator

import pytest
from loopback import answer, served

import palmette
from palmette.cli.main import main
from palmette.core.errors import BadAnswer, ProviderFailed, UnknownModel, UnknownName, Unsupported
from palmette.core.events import fold
from palmette.core.message import Image, Message, Request, Text
from palmette.models.remote.client import Limits
from palmette.models.remote.space import SpaceModel, space

APP = """
import os, gradio as gr
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
def chat(message, history, temperature=0.7, system_message="x"):
    said = ""
    for word in f"{message} at {temperature} by {system_message}".split(" "):
        said += word + " "
        yield said
def generate(prompt, max_new_tokens):
    if prompt == "boom":
        raise gr.Error("no luck")
    return prompt[::-1][: int(max_new_tokens)]
with gr.Blocks() as app:
    gr.ChatInterface(chat, api_name="chat", additional_inputs=[
        gr.Slider(0, 2, 0.7, label="Temperature"), gr.Textbox("be kind", label="System message")])
    one, most, out = gr.Textbox(), gr.Number(5), gr.Textbox()
    gr.Button("go").click(generate, [one, most], out, api_name="generate")
    picture, mode = gr.Image(type="filepath"), gr.Textbox()
    gr.Button("see").click(lambda p, m: f"{os.path.getsize(p)} bytes, {m}", [picture, mode], out, api_name="describe")
app.queue().launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
print(app.local_url, flush=True)
input()
"""


def png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = (1).to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00"
    rows = zlib.compress(b"\0\xff\0\0")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    pytest.importorskip("gradio")
    process = subprocess.Popen([sys.executable, "-c", APP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip().rstrip("/")
    finally:
        process.kill()
        process.communicate()


def test_a_chat_is_streamed_and_its_fields_are_filled_by_their_names(url: str) -> None:
    model = palmette.model(f"space:{url}", temperature=0.25)
    assert isinstance(model, SpaceModel)
    asked = Request((Message.of("system", "Runa"), Message.of("user", "Hi there")))
    pieces = list(model.stream(asked))
    assert pieces == ["Hi ", "there ", "at ", "0.25 ", "by ", "Runa "]
    assert model.respond(asked).text == "".join(pieces) == asyncio.run(model.arespond(asked)).text
    assert fold(model.events(asked)).finish == "stop"


def test_what_a_space_cannot_be_told_is_noted(url: str) -> None:
    model = space(f"space:{url}")
    talk = [Message.of("user", "Hi"), Message.of("assistant", "Yes?"), Message.of("user", "Bye")]
    response = model.respond(talk, max_tokens=5, stop="x")
    assert response.text.startswith("User: Hi\n\nAssistant: Yes?\n\nUser: Bye at 0.7 by be kind")
    assert response.notes == (
        "a Space takes one message: the conversation was written into it", "stop: a Space has none; it was left out",
        "max_tokens: this Space has no field for it; it was left out",
    )  # fmt: skip


def test_an_endpoint_is_chosen_and_its_failure_told(url: str) -> None:
    model = space(f"space:{url}", endpoint="generate")
    assert model.respond("hello", max_tokens=3).text == "oll"
    with pytest.raises(ProviderFailed, match="no luck"):
        model.respond("boom")
    with pytest.raises(UnknownName, match="Did you mean '/chat'"):
        space(f"space:{url}", endpoint="chta").respond("x")
    with pytest.raises(Unsupported, match="takes no output"):
        model.respond("x", output=int)


def test_a_picture_is_uploaded(url: str) -> None:
    model = space(f"space:{url}", endpoint="describe")
    said = Message("user", (Image(png(), name="../../a b.png"), Text("small")))
    assert model.respond([said]).text.endswith(" bytes, small")
    with pytest.raises(Unsupported, match="/generate takes no image"):
        space(f"space:{url}", endpoint="generate").respond([Message("user", (Image(png()), Text("x")))])


def test_the_command_runs_a_space(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", f"space:{url}", "Hi", "--set", "temperature=0.5"]) == 0
    assert capsys.readouterr().out.startswith("Hi at 0.5 by be kind")


def test_names_and_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_very_secret")
    assert space("space:Owner/My.Space_2").client.base == "https://owner-my-space-2.hf.space"
    for wrong in ("space:owner", "space:../x", "space:file:///etc", "space:o/n?x", "space:o/..", "space:o/n\n"):
        with pytest.raises(UnknownModel):
            space(wrong)
    with served([answer(200, {"api_prefix": "/a/../../b"})]) as server:
        model = space(f"space:{server.url}", limits=Limits(retries=0))
        with pytest.raises(BadAnswer, match="no Gradio app"):
            model.respond("x")
        assert "authorization" not in server.requests[0][1] and "very_secret" not in repr(model)
