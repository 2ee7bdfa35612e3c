"""The official libraries, unmodified, against the server itself: the table of `sdks`, and cancellation.

They come with the extra `sdk`; without them these tests are skipped, unless PALMETTE_SDKS=1 says that they must run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from serving import Running, running
from tests.sdks import PNG, SCHEMA, SDKS, client_at, close_clients
from tests.test_sdks import able, said

from palmette.core.errors import Busy, NotServed, RateLimited
from palmette.core.message import Image, Request, Response, Text, TokenScore, ToolCall, ToolResult, Usage
from palmette.models.local import local_model
from palmette.models.wrap.scripted import Scripted, scripted
from palmette.serve.settings import ModelSettings, Settings, fingerprint

pytestmark = pytest.mark.filterwarnings("ignore")
SCORES = (TokenScore("Hi", -0.5, (("Hi", -0.5), ("Ho", -1.5))), TokenScore("!", -0.25, (("!", -0.25), ("?", -3.0))))


def say(request: Request) -> Response:
    """What the scripted model says: a call where there are tools, a form where one is asked for."""
    results = [part for message in request.messages for part in message.parts if isinstance(part, ToolResult)]
    pictures = [part for message in request.messages for part in message.parts if isinstance(part, Image)]
    if results:
        return Response((Text(f"I see {results[0].text}."),), usage=Usage(5, 3))
    if request.tools:
        return Response((ToolCall("call_1", "look", '{"a": 7}'),), "tool_calls", Usage(5, 3))
    if request.output is not None:
        return Response((Text('{"a": 7}'),), usage=Usage(5, 3))
    if pictures:
        return Response((Text(f"{len(pictures[0].data)} bytes"),), usage=Usage(5, 3))
    scores = SCORES if request.top_logprobs is not None else ()
    return Response((Text(f"{said(request)}, Grüße 🐱" if not scores else "Hi!"),), usage=Usage(5, 3), logprobs=scores)


class Model(Scripted):
    """The scripted model with vectors."""

    async def vectorise(self, texts: Any, way: Any) -> Any:
        """The real ones, of the toy."""
        return await local_model("zoo:seedling").vectorise(texts, way)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    base = scripted(say)
    model = Model(base._say, "m-1", 0.0, True, base.capabilities)
    kinds: dict[str, Any] = {"busy": Busy, "limited": RateLimited, "gone": NotServed}
    failing = {name: scripted(lambda request, kind=kind: kind("no such luck")) for name, kind in kinds.items()}
    settings = Settings((ModelSettings("toy", "zoo:seedling"),))
    with running(settings, {"m-1": model, **failing}) as running_server:
        yield running_server
    close_clients()


@pytest.fixture(autouse=True)
def _online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


def client_of(name: str, server: Running) -> Any:
    return client_at(name, server.url)


@pytest.mark.parametrize("name", able("ask"))
def test_a_text_is_asked_and_answered(name: str, server: Running) -> None:
    assert SDKS[name].ask(client_of(name, server), "m-1") == "Hello, Grüße 🐱"
    assert isinstance(SDKS[name].ask(client_of(name, server), "toy"), str)


@pytest.mark.parametrize("name", able("stream"))
def test_a_stream_is_put_together(name: str, server: Running) -> None:
    assert SDKS[name].stream(client_of(name, server)) == "Hello, Grüße 🐱"


@pytest.mark.parametrize("name", able("tools"))
def test_a_tool_is_called_and_its_result_read(name: str, server: Running) -> None:
    called, arguments, after = SDKS[name].tools(client_of(name, server))  # type: ignore[misc]
    assert (called, arguments) == ("look", {"a": 7}) and "a cat" in after


@pytest.mark.parametrize("name", able("shape"))
def test_a_form_is_held(name: str, server: Running) -> None:
    assert json.loads(SDKS[name].shape(client_of(name, server))) == {"a": 7}  # type: ignore[misc]
    assert SCHEMA["required"] == ["a"]


@pytest.mark.parametrize("name", able("see"))
def test_a_picture_is_seen(name: str, server: Running) -> None:
    assert SDKS[name].see(client_of(name, server)) == f"{len(PNG)} bytes"  # type: ignore[misc]


@pytest.mark.parametrize("name", able("scores"))
def test_log_probabilities_are_told(name: str, server: Running) -> None:
    assert SDKS[name].scores(client_of(name, server)) == [("Hi", -0.5), ("!", -0.25)]  # type: ignore[misc]


@pytest.mark.parametrize("name", able("embed"))
def test_vectors_are_given(name: str, server: Running) -> None:
    rows = SDKS[name].embed(client_of(name, server))  # type: ignore[misc]
    assert len(rows) == 2 and sum(x * x for x in rows[0]) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", able("names"))
def test_models_are_listed(name: str, server: Running) -> None:
    found = SDKS[name].names(client_of(name, server))  # type: ignore[misc]
    assert {one.removesuffix(":latest") for one in found} == {"toy", "m-1", "busy", "limited", "gone"}


@pytest.mark.parametrize("name", able("count"))
def test_tokens_are_counted(name: str, server: Running) -> None:
    assert SDKS[name].count(client_of(name, server)) > 0  # type: ignore[misc]


@pytest.mark.parametrize(("model", "status"), [("busy", 503), ("limited", 429), ("gone", 404), ("nobody", 404)])
@pytest.mark.parametrize("name", able("ask"))
def test_an_error_is_the_librarys_own(name: str, model: str, status: int, server: Running) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - each library has its own tree
        SDKS[name].ask(client_of(name, server), model)
    assert type(caught.value).__module__.split(".")[0] == SDKS[name].module.split(".")[0]
    assert SDKS[name].status(caught.value) == status
    assert ("no such luck" if model != "nobody" else "nobody") in str(caught.value)


@pytest.mark.parametrize("name", able("ask"))
def test_a_wrong_key_is_told_in_every_library(name: str) -> None:
    settings = Settings((ModelSettings("toy", "zoo:seedling"),), keys=(fingerprint("another"),))
    with running(settings) as server:
        with pytest.raises(Exception) as caught:  # noqa: PT011
            SDKS[name].ask(client_of(name, server), "toy")
        assert SDKS[name].status(caught.value) == 401


@pytest.mark.parametrize("name", [row for row in able("ask") if row.values[0] == "openai chat"])
def test_a_stream_that_is_closed_stops_the_model(name: str) -> None:
    slow = scripted("word " * 200, pause=0.02)
    with running(models={"slow": slow}) as server:
        stream = client_of(name, server).chat.completions.create(
            model="slow", messages=[{"role": "user", "content": "x"}], stream=True
        )
        next(iter(stream))
        stream.close()
        end = time.monotonic() + 5
        while not slow.left and time.monotonic() < end:
            time.sleep(0.01)
        assert slow.left == 1
