"""The official libraries against a server of our wires: what they send is understood, what is answered they understand.

They come with the extra `sdk`; without them these tests are skipped, unless PALMETTE_SDKS=1 says that they must run.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from typing import Any

import pytest
from tests.sdk_server import MODELS, Server, said, serving
from tests.sdks import PNG, SCHEMA, SDKS, Sdk, client_at, close_clients

from palmette.core.message import (
    Image,
    Output,
    Reasoning,
    Request,
    Response,
    Text,
    TokenScore,
    ToolCall,
    ToolResult,
    Usage,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # their own: of deprecated fields, of pydantic


def _there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def able(question: str) -> list[Any]:
    """The libraries that can be asked a question; those that are not installed are skipped aloud."""
    made = []
    for name, sdk in SDKS.items():
        if getattr(sdk, question) is None:
            continue
        missing = not _there(sdk.module) and os.environ.get("PALMETTE_SDKS") != "1"
        why = f"the library {sdk.module} is not installed: pip install 'palmette[sdk]'"
        made.append(pytest.param(name, marks=[pytest.mark.skip(reason=why)] if missing else []))
    return made


@pytest.fixture(scope="module")
def _running() -> Iterator[Server]:
    with serving() as server:
        yield server
    close_clients()


@pytest.fixture
def server(_running: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    if _there("huggingface_hub"):  # tests run it offline, which to this library means not even on this machine
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    for found in (_running.asked, _running.texts, _running.bodies, _running.refused):
        found.clear()
    yield _running
    assert not _running.refused


def client_of(sdk: Sdk, server: Server) -> Any:
    return client_at(next(name for name, one in SDKS.items() if one is sdk), server.at(sdk.api))


def answered(*parts: Any, **more: Any) -> Response:
    return Response(parts, more.pop("finish", "stop"), Usage(5, 3), "id-1", "m-1", **more)


@pytest.mark.parametrize("name", able("ask"))
def test_a_text_is_asked_and_answered(name: str, server: Server) -> None:
    sdk = SDKS[name]
    server.say = lambda request: answered(Text(f"{said(request)}, Grüße 🐱"))
    assert sdk.ask(client_of(sdk, server), "m-1") == "Hello, Grüße 🐱"
    (request,) = server.asked
    assert (request.model, request.max_tokens) == ("m-1", 9)
    if name != "openai completions":
        assert request.messages[0].role == "system" and request.messages[0].text == "Be brief."


@pytest.mark.parametrize("name", able("stream"))
def test_a_stream_is_put_together(name: str, server: Server) -> None:
    sdk = SDKS[name]
    server.say = lambda request: answered(Text(f"{said(request)}, Grüße 🐱"))
    assert sdk.stream(client_of(sdk, server)) == "Hello, Grüße 🐱"
    assert server.asked[0].max_tokens == 9


@pytest.mark.parametrize("name", able("tools"))
def test_a_tool_is_called_and_its_result_read(name: str, server: Server) -> None:
    sdk = SDKS[name]

    def say(request: Request) -> Response:
        results = [part for message in request.messages for part in message.parts if isinstance(part, ToolResult)]
        if results:
            return answered(Text(f"I see {results[0].text}."))
        return answered(ToolCall("call_1", "look", '{"a": 7}'), finish="tool_calls")

    server.say = say
    called, arguments, after = SDKS[name].tools(client_of(sdk, server))  # type: ignore[misc]
    assert (called, arguments) == ("look", {"a": 7}) and "a cat" in after
    first, second = server.asked
    (tool,) = first.tools
    told = {k: v for k, v in SCHEMA.items() if k in tool.parameters}
    assert (tool.name, tool.description, tool.parameters) == ("look", "Looks.", told)
    assert told == SCHEMA or name == "ollama"  # which leaves additionalProperties out
    calls = [part for message in second.messages for part in message.parts if isinstance(part, ToolCall)]
    results = [part for message in second.messages for part in message.parts if isinstance(part, ToolResult)]
    assert calls[0].name == "look" and results[0].id == calls[0].id


@pytest.mark.parametrize("name", able("stream_tools"))
def test_a_streamed_call_is_put_together_with_its_log_probabilities(name: str, server: Server) -> None:
    sdk = SDKS[name]
    scores = (TokenScore('{"a":', -0.5), TokenScore(" 7}", -0.25))
    parts = (Text("Hm."), ToolCall("call_1", "look", '{"a": 7}'), ToolCall("call_2", "look", '{"a": 8}'))
    server.say = lambda request: answered(*parts, finish="tool_calls", logprobs=scores)
    calls, told = sdk.stream_tools(client_of(sdk, server))  # type: ignore[misc]
    assert calls == [("call_1", "look", {"a": 7}), ("call_2", "look", {"a": 8})]
    assert told == ([-0.5, -0.25] if name in ("openai chat", "huggingface_hub") else [])


@pytest.mark.parametrize("name", able("thinks"))
def test_thoughts_come_back_with_their_marks(name: str, server: Server) -> None:
    sdk = SDKS[name]
    server.say = lambda request: answered(Reasoning("Let me see.", "c2VhbA=="), Text("Hello."))
    sdk.thinks(client_of(sdk, server))  # type: ignore[misc]
    thoughts = [part for message in server.asked[1].messages for part in message.parts if isinstance(part, Reasoning)]
    assert [(part.text, part.signature) for part in thoughts] == [("Let me see.", "c2VhbA==")]


@pytest.mark.parametrize("name", able("shape"))
def test_a_form_is_asked_for(name: str, server: Server) -> None:
    sdk = SDKS[name]
    server.say = lambda request: answered(Text('{"a": 7}'))
    assert sdk.shape(client_of(sdk, server)) == '{"a": 7}'  # type: ignore[misc]
    output = server.asked[0].output
    assert isinstance(output, Output) and output.kind == "json" and output.value == SCHEMA


@pytest.mark.parametrize("name", able("see"))
def test_a_picture_is_seen(name: str, server: Server) -> None:
    sdk = SDKS[name]
    server.say = lambda request: answered(Text("A dot."))
    assert sdk.see(client_of(sdk, server)) == "A dot."  # type: ignore[misc]
    pictures = [part for part in server.asked[0].messages[-1].parts if isinstance(part, Image)]
    assert [picture.data for picture in pictures] == [PNG]


@pytest.mark.parametrize("name", able("scores"))
def test_log_probabilities_are_told(name: str, server: Server) -> None:
    sdk = SDKS[name]
    scores = (TokenScore("Hi", -0.5, (("Hi", -0.5), ("Ho", -1.5))), TokenScore("!", -0.25, (("!", -0.25), ("?", -3.0))))
    server.say = lambda request: answered(Text("Hi!"), logprobs=scores)
    assert sdk.scores(client_of(sdk, server)) == [("Hi", -0.5), ("!", -0.25)]  # type: ignore[misc]
    assert server.asked[0].top_logprobs == (0 if name == "cohere" else 2)


@pytest.mark.parametrize("name", able("embed"))
def test_vectors_are_given(name: str, server: Server) -> None:
    sdk = SDKS[name]
    rows = sdk.embed(client_of(sdk, server))  # type: ignore[misc]
    assert [row[0] for row in rows] == [3.0, 5.0] and all(row[1] == pytest.approx(0.1) for row in rows)
    assert server.texts[0].texts == ("one", "three") and server.texts[0].model == "m-1"
    assert server.texts[0].packed == (sdk.module == "openai")


@pytest.mark.parametrize("name", able("names"))
def test_models_are_listed(name: str, server: Server) -> None:
    sdk = SDKS[name]
    assert sdk.names(client_of(sdk, server)) == [model.name for model in MODELS]  # type: ignore[misc]


@pytest.mark.parametrize("name", able("count"))
def test_tokens_are_counted(name: str, server: Server) -> None:
    sdk = SDKS[name]
    assert sdk.count(client_of(sdk, server)) == 7  # type: ignore[misc]
    assert said(server.asked[0]) == "Hello"


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
@pytest.mark.parametrize("name", able("ask"))
def test_an_error_is_the_librarys_own(name: str, status: int, server: Server) -> None:
    sdk = SDKS[name]
    client = client_of(sdk, server)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - each library has its own tree
        sdk.ask(client, f"fail-{status}")
    assert type(caught.value).__module__.split(".")[0] == sdk.module.split(".")[0]
    assert sdk.status(caught.value) == status and "no such luck" in str(caught.value)
