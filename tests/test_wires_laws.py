"""Laws of every wire: what was encoded is decoded to itself, whole or streamed, and no stranger's JSON is a crash."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_worlds import SETTINGS, SPEAKS, answers, requests, stray

from palmette.core.errors import BadAnswer, ProviderFailed, RequestRefused, Unsupported
from palmette.core.events import Event, fold, unfold
from palmette.core.message import Message, Output, Request, Response, Text, Tool, ToolCall
from palmette.models.remote.stream import Lines, ServerEvents
from palmette.models.remote.wires import WIRES
from palmette.models.remote.wires.base import spell

FEW = settings(max_examples=25, deadline=None)
TYPED = (BadAnswer, ProviderFailed, RequestRefused)


def sent(body: Any) -> Any:
    """What arrives at the other side."""
    return json.loads(json.dumps(body, ensure_ascii=False).encode())


def streamed(wire: str, events: Iterable[Event]) -> bytes:
    writer = WIRES[wire].writer(Request((), "m"))
    frames = [frame for event in events for frame in writer.write(event)]
    return spell([*frames, *writer.close()], WIRES[wire].framing)


def heard(wire: str, pieces: Iterable[bytes]) -> Response:
    frames = Lines() if WIRES[wire].framing == "lines" else ServerEvents()
    read = WIRES[wire].reader()
    pairs = [pair for piece in pieces for pair in frames.pairs(piece)] + list(frames.last())
    return fold(event for name, said in pairs if said and said != "[DONE]" for event in read(name, json.loads(said)))


def slivers(events: Iterable[Event]) -> Iterator[Event]:
    """Events cut into characters, as a model speaks them; what carries a mark stays whole."""
    for event in events:
        if event.meta or event.signature or not (event.text or event.reasoning or event.call):
            yield event
        elif event.call is not None:
            place, key, name, said = event.call
            yield replace(event, call=(place, key, name, ""))
            yield from (Event(call=(place, "", "", c), index=event.index) for c in said)
        elif event.text:
            yield replace(event, text=event.text[0])
            yield from (Event(c, index=event.index) for c in event.text[1:])
        else:
            yield replace(event, reasoning=event.reasoning[0])
            yield from (Event(reasoning=c, index=event.index) for c in event.reasoning[1:])


# -- there and back ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", SPEAKS)
@FEW
@given(st.data())
def test_a_request_that_was_encoded_is_decoded_to_itself(wire: str, data: st.DataObject) -> None:
    request, stream = data.draw(requests(wire)), data.draw(st.booleans())
    body, notes = WIRES[wire].encode(request, stream)
    if notes and notes[0].startswith("num_ctx"):  # pictures need room; what was added is asked for as well
        del body["options"]["num_ctx"]
        notes = notes[1:]
    assert WIRES[wire].decode_request(sent(body), WIRES[wire].path(request, stream)) == (request, stream), body
    assert not notes


@pytest.mark.parametrize("wire", SPEAKS)
@FEW
@given(st.data())
def test_an_answer_that_was_encoded_is_decoded_to_itself(wire: str, data: st.DataObject) -> None:
    answer = data.draw(answers(wire))
    body = WIRES[wire].encode_response(answer)
    assert WIRES[wire].decode(sent(body)) == answer, body


@pytest.mark.parametrize("wire", SPEAKS)
@FEW
@given(st.data())
def test_a_stream_is_the_answer_it_would_be_at_once(wire: str, data: st.DataObject) -> None:
    answer = data.draw(answers(wire))
    said = streamed(wire, unfold(answer))
    assert heard(wire, [said]) == answer, said.decode()
    assert heard(wire, [streamed(wire, slivers(unfold(answer)))]) == answer
    whole = streamed(wire, [Event(whole=answer)])  # from a model that does not stream
    assert heard(wire, [whole]) == answer


@pytest.mark.parametrize("wire", SPEAKS)
@settings(max_examples=5, deadline=None)
@given(st.data())
def test_a_stream_survives_every_border_and_what_servers_put_between(wire: str, data: st.DataObject) -> None:
    answer = data.draw(answers(wire))
    said = streamed(wire, unfold(answer))
    assert heard(wire, [said[i : i + 1] for i in range(len(said))]) == answer
    for cut in range(1, len(said), 7):
        assert heard(wire, [said[:cut], said[cut:]]) == answer
    crlf = said.replace(b"\n", b"\r\n")
    assert heard(wire, [crlf[i : i + 2] for i in range(0, len(crlf), 2)]) == answer
    if WIRES[wire].framing == "sse":
        kept = b": keep-alive\n\n" + said.replace(b"\n\n", b"\nid: 7\nretry: 3\n\n: ping\n\n")
        assert heard(wire, [kept]) == answer
    else:
        assert heard(wire, [b"\n" + said.replace(b"\n", b"\n\n")]) == answer


@pytest.mark.parametrize("wire", SPEAKS)
@settings(max_examples=15, deadline=None)
@given(st.data())
def test_any_models_answer_can_be_said_on_any_wire(wire: str, data: st.DataObject) -> None:
    answer = data.draw(answers(data.draw(st.sampled_from(sorted(SPEAKS)))))
    answer = replace(answer, logprobs=())
    for found in (WIRES[wire].decode(sent(WIRES[wire].encode_response(answer))),
                  heard(wire, [streamed(wire, unfold(answer))])):  # fmt: skip
        said = "".join(p.text for p in answer.parts if isinstance(p, Text))
        assert found.text == said
        if wire != "ollama-generate":
            assert [(c.name, json.loads(c.arguments)) for c in found.calls] == [
                (c.name, json.loads(c.arguments)) for c in answer.calls
            ]


# -- nothing is lost ---------------------------------------------------------------------------------------------------

_TOOL = Tool("look", "Looks.", {"type": "object", "properties": {}}, True)
_SET: dict[str, Any] = {
    "max_tokens": 7, "temperature": 0.25, "top_p": 0.5, "top_k": 4, "min_p": 0.125, "presence_penalty": 0.75,
    "frequency_penalty": 0.375, "logit_bias": {5: 1.5}, "seed": 3, "stop": ("END",), "n": 2, "top_logprobs": 2,
    "tools": (_TOOL,), "tool_choice": "look", "parallel_tools": False, "output": Output("json", {"type": "object"}),
    "effort": "high", "extra": {"own": 1}, "prompt_logprobs": True,
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("wire", SPEAKS)
def test_every_setting_is_said_or_lacked_or_noted(wire: str, name: str) -> None:
    plain = Request((Message.of("user", "Hi"),), "m")
    body, notes = WIRES[wire].encode(replace(plain, **{name: _SET[name]}), False)
    said = body != WIRES[wire].encode(plain, False)[0]
    noted = any(note.partition(":")[0] == name for note in notes)
    assert said or noted or name in WIRES[wire].lacks


@pytest.mark.parametrize("wire", SPEAKS)
@pytest.mark.parametrize("kind", ["json", "regex", "grammar", "choices"])
def test_a_form_that_an_api_does_not_take_is_refused(wire: str, kind: Any) -> None:
    value = {"json": {"type": "object"}, "choices": ("a", "b")}.get(kind, "a+")
    request = Request((Message.of("user", "Hi"),), "m", output=Output(kind, value))
    if kind == "json" or (kind, wire) == ("choices", "gemini"):
        assert WIRES[wire].encode(request, False)
    else:
        with pytest.raises(Unsupported, match=kind):
            WIRES[wire].encode(request, False)


@pytest.mark.parametrize("wire", SPEAKS)
def test_arguments_that_are_no_json_go_back_as_they_were_written(wire: str) -> None:
    turns = (Message.of("user", "Hi"), Message("assistant", (ToolCall("c", "f", '{"a": '),)))
    if wire == "ollama-generate":
        with pytest.raises(Unsupported, match="/api/chat"):
            WIRES[wire].encode(Request(turns, "m"), False)
        return
    body, _ = WIRES[wire].encode(Request(turns, "m"), False)
    assert '{\\"a\\": ' in json.dumps(body)


# -- strangers ---------------------------------------------------------------------------------------------------------


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    rows = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in rows:
        yield from places(inner, (*path, key))


def with_odd(value: Any, path: tuple[Any, ...], put: Any) -> Any:
    if not path:
        return put
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = with_odd(value[path[0]], path[1:], put)
    return copy


def spoiled(rng: random.Random, body: Any) -> Any:
    """JSON with one or two places that somebody filled with something else."""
    for _ in range(rng.randint(1, 2)):
        body = with_odd(body, rng.choice(list(places(body))), stray(rng))
    return body


@pytest.mark.parametrize("wire", SPEAKS)
@settings(max_examples=12, deadline=None)
@given(st.data(), st.integers(0, 1 << 32))
def test_whatever_a_client_sends_is_a_request_or_refused(wire: str, data: st.DataObject, seed: int) -> None:
    request, rng = data.draw(requests(wire)), random.Random(seed)
    whole, _ = WIRES[wire].encode(request, True)
    for _ in range(25):
        body = spoiled(rng, whole)
        try:
            found, _ = WIRES[wire].decode_request(body, rng.choice([WIRES[wire].path(request, True), "/models/m:x"]))
        except RequestRefused:
            continue
        with contextlib.suppress(RequestRefused, Unsupported):  # what was understood can be said again, in UTF-8
            said, _ = WIRES[wire].encode(replace(found, extra={}, tools=(), output=None), False)
            json.dumps(said, ensure_ascii=False, default=str)
        for message in found.messages:
            message.text.encode()


@pytest.mark.parametrize("wire", SPEAKS)
@settings(max_examples=12, deadline=None)
@given(st.data(), st.integers(0, 1 << 32))
def test_whatever_a_server_sends_is_an_answer_or_a_typed_error(wire: str, data: st.DataObject, seed: int) -> None:
    answer, rng = data.draw(answers(wire)), random.Random(seed)
    whole, writer = WIRES[wire].encode_response(answer), WIRES[wire].writer(Request((), "m"))
    frames = [frame for event in unfold(answer) for frame in writer.write(event)] + writer.close()
    for _ in range(25):
        with contextlib.suppress(*TYPED):
            found = WIRES[wire].decode(spoiled(rng, whole))
            found.text.encode()
            json.dumps(WIRES[wire].encode_response(found))
        read, at = WIRES[wire].reader(), rng.randrange(len(frames))
        with contextlib.suppress(*TYPED):
            made: list[Event] = []
            for i, (name, body) in enumerate(frames):
                if body != "[DONE]":
                    made += read(name, spoiled(rng, body) if i == at else body)
            fold(made).text.encode()
        with contextlib.suppress(*TYPED):
            list(WIRES[wire].reader()("", stray(rng)))
        WIRES[wire].complaint(stray(rng))


@pytest.mark.parametrize("wire", SPEAKS)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 500, 503, 529])
def test_a_failure_says_what_it_is_whole_and_in_a_stream(wire: str, status: int) -> None:
    body = WIRES[wire].encode_error(status, "no such thing")
    assert WIRES[wire].complaint(body) == "no such thing"
    with pytest.raises(ProviderFailed, match="no such thing"):
        list(WIRES[wire].reader()("error", body))
