"""Laws of OpenAI's other wires, Responses and Completions, and of log-probabilities in every shape of them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.loopback import answer, served

from palmette.core.errors import ProviderFailed, RequestRefused, UnknownName, Unsupported
from palmette.core.events import Event, fold, unfold
from palmette.core.message import (
    Audio,
    Document,
    Image,
    Message,
    Output,
    Part,
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
from palmette.models.remote.model import connect
from palmette.models.remote.providers import PROVIDERS
from palmette.models.remote.stream import ServerEvents
from palmette.models.remote.wires import WIRES
from palmette.models.remote.wires.base import spell
from palmette.models.remote.wires.completions import split

RESPONSES, COMPLETIONS, CHAT = WIRES["openai-responses"], WIRES["openai-completions"], WIRES["openai"]

# -- requests ----------------------------------------------------------------------------------------------------------

_WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_NAMES = st.text("abcdefgh_", min_size=1, max_size=8)
_DATA = st.binary(min_size=1, max_size=8)
_SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
_FILES = st.one_of(
    st.builds(Image, _DATA, st.just("image/png")),
    st.builds(Audio, _DATA, st.just("audio/wav")),
    st.builds(Document, _DATA, st.just("application/pdf"), name=st.sampled_from(["", "a.pdf"])),
    st.just(Image(url="https://example.org/a.png")),
    st.just(Document(url="https://example.org/a.pdf")),
)
_USER = st.lists(st.one_of(st.builds(Text, _WORDS), _FILES), min_size=1, max_size=3)
_RESULTS = st.lists(st.builds(ToolResult, _NAMES, _WORDS), max_size=2)


@st.composite
def marked(draw: st.DrawFn, part: str) -> Part:
    """A part of an answer, with the marks that the API gives each."""
    key = draw(st.uuids(version=4)).hex
    if part == "text":
        meta: dict[str, Any] = {"id": f"msg_{key}"}
        refusal, phase = draw(st.booleans()), draw(st.sampled_from([None, "final_answer"]))
        meta |= ({"refusal": True} if refusal else {}) | ({"phase": phase} if phase else {})
        return Text(draw(_WORDS), meta)
    if part == "call":
        return ToolCall(f"call_{key}", draw(_NAMES), draw(_WORDS), {"id": f"fc_{key}"})
    texts, inner = draw(st.lists(_WORDS.filter(bool), max_size=3)), draw(st.lists(_WORDS.filter(bool), max_size=2))
    more = ({"summary": texts} if len(texts) > 1 or inner else {}) | ({"content": inner} if inner else {})
    sealed = draw(st.sampled_from(["", "sealed=="]))
    return Reasoning("\n\n".join([*texts, *inner]), sealed, {"id": f"rs_{key}", **more})


def answers(*kinds: str) -> st.SearchStrategy[tuple[Part, ...]]:
    """Parts of an answer."""
    return st.lists(st.sampled_from(kinds).flatmap(marked), min_size=1, max_size=4).map(tuple)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    """Turns in alternation, as APIs write them."""
    made = [Message.of("system", draw(_WORDS))] if draw(st.booleans()) else []
    made.append(Message("user", tuple(draw(_USER))))
    for _ in range(draw(st.integers(0, 2))):
        made.append(Message("assistant", draw(answers("text", "call", "thought"))))
        made.append(Message("user", (*draw(_RESULTS), *draw(_USER))))
    return tuple(made)


_TOOLS = st.lists(st.builds(Tool, _NAMES, _WORDS, st.just(_SCHEMA), st.sampled_from([None, True, False])), max_size=2)
_REQUESTS = st.builds(
    Request, conversations(), _NAMES, max_tokens=st.none() | st.integers(1, 99),
    temperature=st.none() | st.floats(0, 2), top_p=st.none() | st.floats(0, 1),
    top_logprobs=st.none() | st.integers(0, 20), tools=_TOOLS.map(tuple),
    tool_choice=st.sampled_from([None, "auto", "none", "required", "look"]), parallel_tools=st.none() | st.booleans(),
    output=st.none() | st.builds(Output, st.just("json"), st.just(_SCHEMA), _NAMES, st.booleans()),
    effort=st.sampled_from([None, "none", "low", "high"]),
    extra=st.sampled_from([{}, {"store": False}, {"store": True, "text": {"verbosity": "low"}},
                           {"reasoning": {"summary": "auto"}, "include": ["file_search_call.results"], "user": "u"}]),
)  # fmt: skip


@settings(max_examples=60)
@given(_REQUESTS, st.booleans())
def test_a_request_of_responses_is_read_as_it_was_meant(request: Request, stream: bool) -> None:
    body, notes = RESPONSES.encode(request, stream)
    assert not notes
    assert RESPONSES.decode_request(json.loads(json.dumps(body))) == (request, stream)


@settings(max_examples=60)
@given(_WORDS, _NAMES, st.none() | st.integers(0, 5), st.booleans(), st.booleans(),
       st.sampled_from([{}, {"suffix": "end"}, {"best_of": 3}, {"prompt": [1, 2, 3]}]))  # fmt: skip
def test_a_request_of_completions_is_read_as_it_was_meant(
    words: str, name: str, reports: int | None, echo: bool, stream: bool, extra: dict[str, Any]
) -> None:
    said = "" if "prompt" in extra else words
    request = Request((Message.of("user", said),), name, max_tokens=0, seed=3, stop=("a", "b"), n=2, top_k=4,
                      top_logprobs=reports, logit_bias={5: -1.0}, extra=extra,
                      prompt_logprobs=True if echo and reports is not None else None)  # fmt: skip
    body, _ = COMPLETIONS.encode(request, stream)
    assert COMPLETIONS.decode_request(json.loads(json.dumps(body))) == (request, stream)


def test_what_a_completion_cannot_hold_is_refused() -> None:
    for talk in ((Message.of("system", "a"), Message.of("user", "b")), (Message("user", (Image(b"a"),)),)):
        with pytest.raises(RequestRefused, match="use chat"):
            COMPLETIONS.encode(Request(talk, "m"), False)
    with pytest.raises(RequestRefused, match="2 prompts at once"):
        COMPLETIONS.decode_request({"model": "m", "prompt": ["a", "b"]})
    assert [one["prompt"] for one in split({"prompt": [[1, 2], [3]]})] == [[1, 2], [3]]
    assert split({"prompt": [1, 2]}) == [{"prompt": [1, 2]}]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "an item": ({"input": [{"type": "web_search_call"}]}, r"input\[0\].type.*web_search_call"),
    "a role": ({"input": [{"role": "tool", "content": "a"}]}, r"input\[0\].role.*'tool'"),
    "a part": ({"input": [{"role": "user", "content": [{"type": "video"}]}]}, r"input\[0\].content\[0\].type.*video"),
    "a file's id": ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}, "file_id"),
    "base64": (
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:a;base64,#"}]}]},
        "#",
    ),
    "a hosted tool": ({"input": "a", "tools": [{"type": "web_search"}]}, r"tools\[0\].type.*web_search"),
    "a choice": ({"input": "a", "tool_choice": {"type": "mcp"}}, "tool_choice"),
    "a form": ({"input": "a", "text": {"format": {"type": "xml"}}}, "text.format.type.*xml"),
    "a number": ({"input": "a", "max_output_tokens": "9"}, "max_output_tokens.*'9'"),
    "no model": ({"input": "a", "model": None}, "model must be a text"),
    "a call without a name": ({"input": [{"type": "function_call", "call_id": "c"}]}, r"input\[0\].name"),
    "no object": ([], "the body must be an object"),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("case", BAD)
def test_a_clients_mistake_is_refused_with_its_place(case: str) -> None:
    body, said = BAD[case]
    with pytest.raises(RequestRefused, match=said):
        RESPONSES.decode_request({"model": "m", **body} if isinstance(body, dict) else body)


# -- answers -----------------------------------------------------------------------------------------------------------

_SCORES = st.lists(st.builds(TokenScore, _WORDS, st.floats(-9, 0), st.just((("a", -0.5), ("b", -1.5)))), max_size=3)
_USAGE = st.builds(Usage, *[st.integers(1, 99)] * 2, *[st.integers(0, 9)] * 3)


@st.composite
def responses(draw: st.DrawFn) -> Response:
    """Answers of the API: why one ends follows from what it holds, or is said."""
    parts = draw(answers("text", "call", "thought"))
    calls = any(isinstance(part, ToolCall) for part in parts)
    refused = any(isinstance(part, Text) and part.meta.get("refusal") for part in parts)
    finish: Any = "tool_calls" if calls else "content_filter" if refused else "stop"
    finish = finish if refused else draw(st.sampled_from([finish, "length", "content_filter", "other"]))
    holder = calls or any(isinstance(part, Text) and not part.meta.get("refusal") for part in parts)
    scores = tuple(draw(_SCORES)) if holder else ()
    return Response(parts, finish, draw(_USAGE), "resp_1", "m", logprobs=scores)


def sent(wire: Any, response: Response, request: Request | None = None, whole: bool = False) -> Any:
    """The answer, streamed by the server's half and read by the client's."""
    writer = wire.writer(request or Request((), "m"))
    events = [Event(whole=response)] if whole else list(unfold(response))
    frames = [frame for event in events for frame in writer.write(event)] + writer.close()
    pairs = list(ServerEvents().pairs(spell(frames, "sse")))
    read = wire.reader()
    return fold([event for name, data in pairs if data != "[DONE]" for event in read(name, json.loads(data))]), pairs


@settings(max_examples=80)
@given(responses())
def test_an_answer_of_responses_is_read_as_it_was_said(response: Response) -> None:
    assert RESPONSES.decode(json.loads(json.dumps(RESPONSES.encode_response(response)))) == response


@settings(max_examples=80)
@given(responses(), st.booleans())
def test_a_stream_of_responses_is_the_answer(response: Response, whole: bool) -> None:
    found, pairs = sent(RESPONSES, response, whole=whole)
    assert found == response
    rows = [json.loads(data) for _, data in pairs]
    assert [row["sequence_number"] for row in rows] == list(range(len(rows)))
    assert [row["type"] for row in rows] == [name for name, _ in pairs]
    assert rows[0]["type"] == "response.created" and rows[-1]["type"] in ("response.completed", "response.incomplete")
    assert RESPONSES.decode(rows[-1]["response"]) == response  # the last event holds the whole answer
    opened = [row["item"]["id"] for row in rows if row["type"] == "response.output_item.added"]
    closed = [row["item"]["id"] for row in rows if row["type"] == "response.output_item.done"]
    assert sorted(opened) == sorted(closed) and len(set(opened)) == len(opened)


def test_items_without_an_id_get_one_that_is_theirs_alone() -> None:
    parts = (Reasoning("hm"), Text("a"), ToolCall("c", "f", "{}"), Text("b"))
    found = RESPONSES.decode(RESPONSES.encode_response(Response(parts, "tool_calls", id="resp_7")))
    marks = [part.meta["id"] for part in found.parts if not isinstance(part, Image | Audio | Document | ToolResult)]
    assert marks == ["rs_7_0", "msg_7_1", "fc_7_2", "msg_7_3"]
    streamed, _ = sent(RESPONSES, Response(parts, "tool_calls", id="resp_7"))
    assert streamed.parts == found.parts


def test_calls_that_grow_side_by_side_are_kept_apart() -> None:
    events = [Event(call=(0, "c0", "f", "")), Event(call=(1, "c1", "g", "")), Event(call=(0, "", "", "{}")),
              Event(call=(1, "", "", "[")), Event(call=(1, "", "", "]")), Event(finish="tool_calls")]  # fmt: skip
    writer, read = RESPONSES.writer(Request((), "m")), RESPONSES.reader()
    frames = [frame for event in events for frame in writer.write(event)] + writer.close()
    found = fold([event for name, row in frames for event in read(name, row)])
    assert [(call.id, call.arguments) for call in found.calls] == [("c0", "{}"), ("c1", "[]")]


def test_failures_of_responses_are_errors_wherever_they_stand() -> None:
    failed = {"id": "r", "status": "failed", "error": {"code": "server_error", "message": "no such thing"}}
    for read, name, body in (
        (RESPONSES.reader(), "response.failed", {"type": "response.failed", "response": failed}),
        (RESPONSES.reader(), "error", {"type": "error", "code": "x", "message": "no such thing"}),
    ):
        with pytest.raises(ProviderFailed, match="no such thing"):
            list(read(name, body))
    with pytest.raises(ProviderFailed, match="no such thing"):
        RESPONSES.decode(failed)


def test_a_server_that_says_everything_at_the_end_is_understood() -> None:
    response = Response((Text("Grüße", {"id": "msg_1"}),), "stop", Usage(1, 2), "resp_1", "m")
    row = {"type": "response.completed", "response": RESPONSES.encode_response(response)}
    assert fold(RESPONSES.reader()("", row)) == response


def test_an_item_that_is_not_known_is_noted() -> None:
    body = RESPONSES.encode_response(Response((Text("a", {"id": "m"}),), id="r"))
    body["output"].insert(0, {"type": "web_search_call", "id": "w"})
    assert RESPONSES.decode(body).notes == ("web_search_call: this kind of item is not read",)


# -- completions -------------------------------------------------------------------------------------------------------


@st.composite
def continuations(draw: st.DrawFn, before: bool = True) -> Response:
    """Answers of Completions; echoed scores are the prompt's tokens, the first without one."""
    words = _WORDS if before else _WORDS.filter(bool)
    prompt = [TokenScore("Once", float("-inf")), TokenScore(" upon", -0.5, ((" upon", -0.5),))]
    front = tuple(prompt) if before and draw(st.booleans()) else ()
    scores = tuple(draw(_SCORES))
    others = tuple(Response((Text(draw(words)),), "length", None, "c", "m") for _ in range(draw(st.integers(0, 2))))
    usage = Usage(len(prompt), 5)
    return Response((Text(draw(words)),), draw(st.sampled_from(["stop", "length"])), usage, "c", "m", logprobs=scores,
                    alternatives=() if front else others, prompt_logprobs=front)  # fmt: skip


@settings(max_examples=60)
@given(continuations())
def test_a_completion_is_read_as_it_was_said(response: Response) -> None:
    body = json.loads(json.dumps(COMPLETIONS.encode_response(response)))
    assert COMPLETIONS.decode(body) == response
    assert len(body["choices"]) == 1 + len(response.alternatives)


@settings(max_examples=60)
@given(continuations(before=False), st.booleans())
def test_a_streamed_completion_is_the_answer(response: Response, counts: bool) -> None:
    quiet = {} if counts else {"stream_options": {"include_usage": False}}
    found, pairs = sent(COMPLETIONS, response, Request((), "m", extra=quiet))
    assert found == (response if counts else replace(response, usage=None))
    assert counts == any(not json.loads(data)["choices"] for _, data in pairs if data != "[DONE]")


# -- log-probabilities -------------------------------------------------------------------------------------------------


def test_log_probabilities_come_with_tools_and_streaming() -> None:
    scores = [TokenScore(word, -0.25, ((word, -0.25), ("x", -2.0))) for word in ("Hm", '{"a":', "1}")]
    events = [Event("Hm", logprobs=(scores[0],)), Event(call=(0, "c", "f", '{"a":'), logprobs=(scores[1],)),
              Event(call=(0, "", "", "1}"), logprobs=(scores[2],)), Event(finish="tool_calls")]  # fmt: skip
    for wire in (CHAT, RESPONSES):
        writer, read = wire.writer(Request((), "m")), wire.reader()
        frames = [frame for event in events for frame in writer.write(event)] + writer.close()
        found = fold([event for name, row in frames if row != "[DONE]" for event in read(name, row)])
        assert (found.text, found.calls[0].arguments, found.logprobs) == ("Hm", '{"a":1}', tuple(scores))


TOGETHER: dict[str, Any] = {
    "id": "t", "model": "m", "usage": {"prompt_tokens": 2, "completion_tokens": 2},
    "prompt": [{"text": "Hi there", "logprobs": {"tokens": ["Hi", " there"], "token_logprobs": [None, -0.5]}}],
    "choices": [{"finish_reason": "eos", "index": 0, "message": {"role": "assistant", "content": "a b"},
                 "logprobs": {"tokens": ["a", " b"], "token_logprobs": [-0.1, -0.2], "token_ids": [1, 2]}}],
}  # fmt: skip


def test_together_is_asked_for_a_number_and_tells_the_prompts_scores() -> None:
    with served([answer(200, TOGETHER)]) as server:
        model = connect("together:m", key="k", base_url=server.url)
        found = model.respond("Hi there", top_logprobs=0, prompt_logprobs=True)
        body = server.requests[0][2]
    assert (body["logprobs"], body["echo"]) == (1, True) and "top_logprobs" not in body
    assert [(s.text, s.logprob) for s in found.logprobs] == [("a", -0.1), (" b", -0.2)] and found.finish == "stop"
    assert [(s.text, s.logprob) for s in found.prompt_logprobs] == [("Hi", float("-inf")), (" there", -0.5)]
    request, _ = CHAT.decode_request({**body, "logprobs": 3})
    assert (request.top_logprobs, request.prompt_logprobs) == (3, True)
    again = CHAT.decode(json.loads(json.dumps(CHAT.encode_response(found))))
    assert (again.logprobs, again.prompt_logprobs) == (found.logprobs, found.prompt_logprobs)


def test_together_streams_a_number_for_each_token() -> None:
    rows = [{"choices": [{"index": 0, "delta": {"content": word}, "logprobs": value, "top_logprobs": {word: value}}]}
            for word, value in (("a", -0.1), ("b", -0.2))]  # fmt: skip
    read = CHAT.reader()
    found = fold([event for row in rows for event in read("", row)])
    assert found.logprobs == (TokenScore("a", -0.1, (("a", -0.1),)), TokenScore("b", -0.2, (("b", -0.2),)))


def test_vllm_tells_the_prompts_scores_in_its_own_way() -> None:
    rows = [
        None,
        {"5": {"logprob": -2.0, "rank": 3, "decoded_token": "b"}, "6": {"logprob": -1.0, "decoded_token": "c"}},
    ]
    said = {"choices": [{"finish_reason": "stop", "message": {"content": "x"}}], "prompt_logprobs": rows}
    with served([answer(200, said)]) as server:
        found = connect("vllm:m", base_url=server.url).respond("Hi", top_logprobs=1, prompt_logprobs=True)
        assert server.requests[0][2]["prompt_logprobs"] == 1 and "echo" not in server.requests[0][2]
    assert found.prompt_logprobs[1] == TokenScore("b", -2.0, (("c", -1.0), ("b", -2.0)))


def test_the_prompts_scores_are_refused_where_there_are_none() -> None:
    with pytest.raises(Unsupported, match=r"prompt logprobs.*Together"):
        connect("openai:m", key="k", base_url="http://127.0.0.1:9").respond("Hi", prompt_logprobs=True)


def test_llama_server_is_not_streamed_where_it_refuses_it() -> None:
    """It answers 400 to log-probabilities with tools in a stream (its issue 28478)."""
    tool = Tool("f", "F.", _SCHEMA)
    body = CHAT.encode_response(Response((ToolCall("c", "f", "{}"),), "tool_calls", logprobs=(TokenScore("a", -1.0),)))
    with served([answer(200, body)]) as server:
        events = list(connect("llamacpp:m", base_url=server.url).events("Hi", tools=[tool], top_logprobs=1))
        assert "stream" not in server.requests[0][2]
    found = fold(events)
    assert found.calls[0].name == "f" and found.logprobs[0].text == "a" and "came at once" in found.notes[0]


# -- the choice of an API ----------------------------------------------------------------------------------------------


def test_a_provider_offers_several_apis() -> None:
    body = RESPONSES.encode_response(Response((Text("Hello"),), "stop", Usage(1, 1), "resp_1", "m"))
    with served([answer(200, body)]) as server:
        model = connect("openai:gpt-5", key="k", base_url=server.url, api="responses")
        found = model.respond("Hi", max_tokens=9, stop=("x",), seed=3)
        path, _, asked = server.requests[0]
    assert found.text == "Hello" and path == "/v1/responses" and asked["max_output_tokens"] == 9
    assert [note.partition(":")[0] for note in found.notes] == ["seed", "stop"]
    assert asked["input"] == [{"type": "message", "role": "user", "content": "Hi"}]


def test_several_answers_are_asked_for_one_after_another() -> None:
    body = RESPONSES.encode_response(Response((Text("Hello"),), "stop", Usage(1, 1), "resp_1", "m"))
    with served([answer(200, body)]) as server:
        found = connect("openai:m", key="k", base_url=server.url, api="responses").respond("Hi", n=3)
        assert len(server.requests) == 3 and len(found.alternatives) == 2


def test_an_answer_of_a_type_is_asked_for_in_responses_own_form() -> None:
    body = RESPONSES.encode_response(Response((Text('{"a": 1}'),), "stop", Usage(1, 1), "resp_1", "m"))
    with served([answer(200, body)]) as server:
        model = connect("openai:m", key="k", base_url=server.url, api="responses", output=_SCHEMA)
        assert model("Hi").value == {"a": 1}
        form = server.requests[0][2]["text"]["format"]
    assert form["type"] == "json_schema" and form["strict"] is True and form["schema"]["required"] == ["a"]


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_api_of_every_row_has_an_address(name: str) -> None:
    provider = PROVIDERS[name]
    for api in provider.apis:
        model = connect(f"{name}:m", key="k", api=api)
        path = model.client.base + model.wire.path(Request((), "m"), False)
        assert path.count("/v1") <= 1 or name in ("gemini",), path
    with pytest.raises(UnknownName, match="respones"):
        connect(f"{name}:m", key="k", api="respones")
