"""Laws of the wires: requests say what they should, answers are read whole, streams survive any borders."""

from __future__ import annotations

import contextlib
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmette.core.errors import BadAnswer, ProviderFailed
from palmette.core.events import Collector
from palmette.core.message import (
    Image,
    Message,
    Reasoning,
    Request,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
)
from palmette.models.remote.stream import Lines, ServerEvents
from palmette.models.remote.wires import WIRES

TALK = (
    Message.of("system", "Be brief."),
    Message("user", (Text("What is this?"), Image(b"\x89PNG", "image/png"))),
    Message("assistant", (Reasoning("hm", "mark"), Text("Let me see."), ToolCall("c1", "look", '{"at": [1]}'))),
    Message("user", (ToolResult("c1", "a cat"), Text("Well?"))),
)
ASKED = Request(
    TALK, "m/1", max_tokens=7, temperature=0.5, top_p=0.9, top_k=4, seed=3, stop=("END",), top_logprobs=2,
    tools=(Tool("look", "Looks.", {"type": "object", "properties": {"at": {"type": "array"}}}),), extra={"own": 1},
)  # fmt: skip

# What each API answers: once whole, once as the payloads of a stream; both say the same.
_FILE = json.loads((Path(__file__).parent / "data" / "answers.json").read_text(encoding="utf-8"))
ANSWERS: dict[str, tuple[Any, list[Any]]] = {name: (row["whole"], row["streamed"]) for name, row in _FILE.items()}


def framed(wire: str, ending: str = "\n") -> bytes:
    """A stream's bytes as the API sends them, with comments and keep-alives."""
    rows = [json.dumps(row, ensure_ascii=False) for row in ANSWERS[wire][1]]
    if WIRES[wire].framing == "lines":
        return "".join(row + ending for row in rows).encode()
    kinds = [row.get("type", "") for row in ANSWERS[wire][1]]
    text = f": keep-alive{ending}{ending}"
    for kind, row in zip(kinds, rows, strict=True):
        text += (f"event: {kind}{ending}" if kind else "") + f"data: {row}{ending}{ending}"
    return text.encode() + (f"data: [DONE]{ending}{ending}".encode() if wire == "openai" else b"")


def read(wire: str, pieces: list[bytes]) -> Any:
    """The answer that streamed pieces make."""
    collector = Collector()
    frames = Lines() if WIRES[wire].framing == "lines" else ServerEvents()
    pairs = [pair for p in pieces for pair in frames.pairs(p)] + list(frames.last())
    read = WIRES[wire].reader()
    for name, data in pairs:
        if data and data != "[DONE]":
            for event in read(name, json.loads(data)):
                collector.add(event)
    return collector.response


@pytest.mark.parametrize("wire", ANSWERS)
def test_a_stream_is_the_answer_it_would_be_at_once(wire: str) -> None:
    whole = WIRES[wire].decode(ANSWERS[wire][0])
    streamed = read(wire, [framed(wire)])
    assert streamed.text == whole.text == "Grüße 🐱"
    assert (streamed.finish, streamed.usage, streamed.calls) == (whole.finish, whole.usage, whole.calls)
    assert [p for p in streamed.parts if isinstance(p, Reasoning)] == [
        p for p in whole.parts if isinstance(p, Reasoning)
    ]
    if not wire.startswith(("ollama", "gemini")):
        assert whole.finish == "tool_calls" and json.loads(whole.calls[0].arguments) == {"a": 1}
    told = {
        "anthropic": Usage(5, 9, 2),
        "ollama": Usage(5, 9),
        "ollama-generate": Usage(5, 9),
        "cohere": Usage(5, 9, 2),
    }
    assert whole.usage == told.get(wire, Usage(5, 9, 2, 0, 3))


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("wire", ANSWERS)
def test_every_border_between_bytes_is_survived(wire: str, ending: str) -> None:
    data = framed(wire, ending)
    wanted = read(wire, [framed(wire)])
    assert read(wire, [data[i : i + 1] for i in range(len(data))]) == wanted
    for cut in range(1, len(data), 3):
        assert read(wire, [data[:cut], data[cut:]]) == wanted


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])), max_size=8),
       st.lists(st.integers(0, 200), max_size=6))  # fmt: skip
def test_lines_come_out_as_they_went_in(lines: list[str], cuts: list[int]) -> None:
    data = "".join(line + "\n" for line in lines).encode()
    places = sorted({min(c, len(data)) for c in cuts} | {0, len(data)})
    reader = Lines()
    found = [line for a, b in itertools.pairwise(places) for line in reader.feed(data[a:b])]
    assert found + list(reader.close()) == lines


def test_streams_that_cannot_be_are_refused() -> None:
    with pytest.raises(BadAnswer, match="UTF-8"):
        list(Lines().feed(b"\xff\xfe\n"))
    with pytest.raises(BadAnswer, match="longer than"):
        list(Lines().feed(b"x" * (17 << 20)))


@pytest.mark.parametrize("wire", [wire for wire in ANSWERS if wire != "ollama-generate"])  # which has no turns
def test_a_request_says_everything_or_notes_what_it_cannot(wire: str) -> None:
    body, notes = WIRES[wire].encode(ASKED, True)
    text = json.dumps(body)
    for word in ("Be brief.", "What is this?", "iVBORw==", "Let me see.", "look", "a cat", "Well?", "END"):
        assert word in text, word
    assert body["own"] == 1
    places = {"max_tokens": 7, "temperature": 0.5, "top_p": 0.9, "top_k": 4, "seed": 3}
    for name, value in places.items():
        noted = name in WIRES[wire].lacks or any(note.startswith(name) for note in notes)
        assert f": {json.dumps(value)}" in text or noted, name
    assert all(note.partition(":")[0] in (*places, "top_logprobs") for note in notes)
    assert json.loads(json.dumps(body)) == body


def test_the_order_of_a_conversation_is_kept() -> None:
    body, _ = WIRES["openai"].encode(ASKED, False)
    assert [m["role"] for m in body["messages"]] == ["system", "user", "assistant", "tool", "user"]
    body, _ = WIRES["anthropic"].encode(ASKED, False)
    assert body["system"] == "Be brief." and [m["role"] for m in body["messages"]] == ["user", "assistant", "user"]
    assert body["messages"][1]["content"][0] == {"type": "thinking", "thinking": "hm", "signature": "mark"}
    body, _ = WIRES["gemini"].encode(ASKED, False)
    assert body["contents"][2]["parts"][0]["functionResponse"]["name"] == "look"
    assert WIRES["gemini"].path(ASKED, True) == "/models/m%2F1:streamGenerateContent?alt=sse"


def test_a_long_prompt_asks_ollama_for_room() -> None:
    long = Request((Message.of("user", "word " * 8000),), "m", max_tokens=10)
    body, _ = WIRES["ollama"].encode(long, False)
    assert body["options"]["num_ctx"] >= 13_000
    short = Request((Message.of("user", "hi"),), "m", max_tokens=1)
    assert "num_ctx" not in WIRES["ollama"].encode(short, False)[0]["options"]
    told = replace(long, extra={"options": {"num_ctx": 64}})  # who says it knows
    assert WIRES["ollama"].encode(told, False)[0]["options"] == {"num_predict": 10, "num_ctx": 64}
    heard = Message("user", (ToolResult("c", "word " * 8000),))  # a tool's result is read as well
    assert WIRES["ollama"].encode(Request((heard,), "m"), False)[0]["options"]["num_ctx"] >= 13_000


ERRORS: dict[str, Any] = {
    "openai": {"error": {"message": "no such thing", "type": "x"}},
    "anthropic": {"type": "error", "error": {"type": "overloaded_error", "message": "no such thing"}},
    "gemini": {"error": {"code": 400, "message": "no such thing", "status": "X"}},
    "cohere": {"message": "no such thing"},
    "ollama": {"error": "no such thing"},
    "ollama-generate": {"error": "no such thing"},
}


@pytest.mark.parametrize("wire", ANSWERS)
def test_complaints_are_read_wherever_they_stand(wire: str) -> None:
    assert WIRES[wire].complaint(ERRORS[wire]) == "no such thing"
    for odd in (None, [], "text", 7, {}, {"error": None}, {"error": []}):
        assert isinstance(WIRES[wire].complaint(odd), str)
    body = {"type": "message-end", "delta": {"error": "no such thing"}} if wire == "cohere" else ERRORS[wire]
    with pytest.raises(ProviderFailed, match="no such thing"):
        list(WIRES[wire].reader()("error", body))


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    "body", [None, [], 7, "text", {}, {"choices": 3}, {"message": []}, {"candidates": [{}], "content": 1}]
)
def test_answers_of_another_form_are_no_crash(wire: str, body: Any) -> None:
    try:
        found = WIRES[wire].decode(body)
    except BadAnswer:
        pass
    else:
        assert isinstance(found.text, str)
    with contextlib.suppress(BadAnswer, ProviderFailed):
        list(WIRES[wire].reader()("", body))
