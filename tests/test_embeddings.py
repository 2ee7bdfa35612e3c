"""Vectors, lists of models and counted tokens: every API's codec in both directions, and the model that uses them."""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.loopback import Loopback, answer, served

from palmette.core.errors import BadAnswer, KeyRefused, RequestRefused, UnknownModel, Unsupported
from palmette.core.message import Message, Request, Text, Tool, Usage
from palmette.core.model import Embeddings
from palmette.models.remote.listing import amodels_of, models_of
from palmette.models.remote.model import BATCH, RemoteModel, connect
from palmette.models.remote.providers import PROVIDERS
from palmette.models.remote.wires import WIRES
from palmette.models.remote.wires.counting import COUNTS
from palmette.models.remote.wires.embeddings import EMBEDDINGS, Texts
from palmette.models.remote.wires.listing import LISTS, Listed

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
NAMES = st.text("abcdefgh-.", min_size=1, max_size=8).filter(lambda name: name.strip("."))
OF: dict[str, str] = {p.wire: name for name, p in reversed(PROVIDERS.items())}  # wire to a provider that speaks it


def of(wire: str, server: Loopback, **options: Any) -> RemoteModel:
    """A model behind a wire."""
    apis = {"openai-responses": "responses", "openai-completions": "completions", "ollama-generate": "generate"}
    api = apis.get(wire, "")
    return connect(
        f"{OF.get(wire, 'ollama' if api == 'generate' else 'openai')}:m",
        key="k",
        base_url=server.url,
        api=api,
        **options,
    )


# -- vectors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", EMBEDDINGS)
@settings(max_examples=25)
@given(texts=st.lists(WORDS, min_size=1, max_size=3), name=NAMES, wide=st.none() | st.integers(1, 99),
       packed=st.booleans())  # fmt: skip
def test_texts_are_read_as_they_were_sent(
    wire: str, texts: list[str], name: str, wide: int | None, packed: bool
) -> None:
    codec = EMBEDDINGS[wire]
    asked = Texts(name, tuple(texts), wide, packed and (wire.startswith("openai") or wire == "cohere"))
    body = json.loads(json.dumps(codec.encode(asked)))
    found = codec.decode_request(body, codec.path(asked))
    assert replace(found, extra={}) == asked
    assert set(found.extra) <= {"input_type", "truncate"}  # what a client must say, or had better


@pytest.mark.parametrize("wire", EMBEDDINGS)
@settings(max_examples=25)
@given(rows=st.integers(1, 3), width=st.integers(1, 5), seed=st.integers(0, 9), packed=st.booleans())
def test_vectors_are_read_bit_for_bit(wire: str, rows: int, width: int, seed: int, packed: bool) -> None:
    codec = EMBEDDINGS[wire]
    vectors = np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)
    asked = Texts(
        "m", ("x",) * rows, packed=packed, alone=rows == 1 and wire in ("gemini", "ollama", "ollama-generate")
    )
    used = None if asked.alone and "ollama" in wire else Usage(3)
    body = json.loads(json.dumps(codec.encode_response(Embeddings(vectors, used, "m"), asked)))
    if asked.alone and "ollama" in wire:  # the older address, which only a server still knows
        assert np.array_equal(np.float32(body["embedding"]), vectors[0])
        return
    found = codec.decode(body)
    assert np.array_equal(found.vectors, vectors) and found.vectors.dtype == np.float32
    assert found.usage == used


def test_token_ids_are_taken_from_clients_of_openai() -> None:
    codec = EMBEDDINGS["openai"]
    for found, texts in ((["a", [1, 2]], ("a", (1, 2))), ([1, 2], ((1, 2),)), ("a", ("a",)), ([[1]], ((1,),))):
        asked = codec.decode_request({"model": "m", "input": found})
        assert asked.texts == texts
        assert codec.decode_request(codec.encode(asked)) == asked
    with pytest.raises(RequestRefused, match="no token ids"):
        EMBEDDINGS["cohere"].encode(Texts("m", ((1, 2),)))


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("openai", {"model": "m", "input": []}, "input is empty"),
    ("openai", {"model": "m", "input": [True]}, r"input\[0\] must be a text"),
    ("openai", {"model": "m", "input": "a", "encoding_format": "int8"}, "encoding_format.*'int8'"),
    ("openai", {"input": "a"}, "model must be a text"),
    ("openai", {"model": "m", "input": "a", "dimensions": "9"}, "dimensions.*'9'"),
    ("gemini", {"requests": [{"model": "models/m"}]}, r"requests\[0\].content must be an object"),
    (
        "gemini",
        {"requests": [{"model": "a", "content": {}, "outputDimensionality": i} for i in (1, 2)]},
        "equally wide",
    ),
    ("cohere", {"model": "m", "texts": ["a"], "embedding_types": ["int8"]}, "embedding_types.*int8"),
    ("cohere", {"model": "m", "texts": "a"}, "texts must be a list"),
    ("ollama", {"model": "m"}, "input is empty"),
]


@pytest.mark.parametrize(("wire", "body", "said"), BAD)
def test_a_clients_mistake_is_refused_with_its_place(wire: str, body: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestRefused, match=said):
        EMBEDDINGS[wire].decode_request(body, "/models/m:batchEmbedContents")


@pytest.mark.parametrize("wire", EMBEDDINGS)
@pytest.mark.parametrize("body", [None, [], {}, {"data": [{}]}, {"data": [{"embedding": "%"}]}, {"embeddings": 3},
                                  {"data": [{"embedding": [1, 2]}, {"embedding": [1]}]},
                                  {"data": [{"embedding": [[1]]}]}, {"embeddings": {"float": [[None]]}},
                                  {"embeddings": [{"values": ["a"]}]}, {"embeddings": [[1e999]]}])  # fmt: skip
def test_answers_that_are_no_vectors_are_said_so(wire: str, body: Any) -> None:
    with pytest.raises(BadAnswer):
        EMBEDDINGS[wire].decode(body)


def embedder(state: Loopback, peer: socket.socket, number: int) -> None:
    """A server of every API that turns a text into (its length, its first character)."""
    path, _, body = state.requests[number]
    wire = "gemini" if "batchEmbed" in path else {"/v2/embed": "cohere", "/api/embed": "ollama"}.get(path, "openai")
    codec = EMBEDDINGS[wire]
    asked = codec.decode_request(body, path)
    vectors = np.array([[len(t), ord(t[0])] for t in asked.texts if isinstance(t, str)], np.float32)
    peer.sendall(answer(200, codec.encode_response(Embeddings(vectors, Usage(len(vectors)), "m"), asked)))


@pytest.mark.parametrize("wire", EMBEDDINGS)
def test_many_texts_are_sent_in_batches(wire: str) -> None:
    most = EMBEDDINGS[wire].most
    texts = [chr(97 + i % 26) * (1 + i % 7) for i in range(2 * most + 1)]
    with served(embedder) as server:
        model = of(wire, server)
        found = model.embed(texts)
        assert len(server.requests) == 3
        assert found.vectors.tolist() == [[len(t), ord(t[0])] for t in texts] and found.usage == Usage(len(texts))
        again = asyncio.run(model.aembed(texts[:3]))
        assert np.array_equal(again.vectors, found.vectors[:3])
        assert model.embed("one").vectors.shape == (1, 2)
        assert model.embed([]).vectors.shape == (0, 0)
        long = model.embed(["a" * BATCH, "b"])
        assert long.vectors.tolist() == [[BATCH, 97], [1, 98]] and len(server.requests) == 7


def test_openai_is_asked_for_packed_vectors_and_hosts_after_it_are_not() -> None:
    with served(embedder) as server:
        of("openai", server)
        connect("openai:m", key="k", base_url=server.url).embed("a")
        connect("mistral:m", key="k", base_url=server.url, extra={"dimensions": 2}).embed("a")
        first, second = (body for _, _, body in server.requests)
    assert first["encoding_format"] == "base64" and "encoding_format" not in second and second["dimensions"] == 2


def test_a_model_without_vectors_says_who_has_them() -> None:
    with pytest.raises(Unsupported, match="anthropic has no embeddings; openai"):
        connect("anthropic:m", key="k", base_url="http://127.0.0.1:9").embed("a")


def test_fewer_vectors_than_texts_are_an_error() -> None:
    body = {"data": [{"index": 0, "embedding": [1.0]}]}
    with served([answer(200, body)]) as server, pytest.raises(BadAnswer, match="2 texts were sent, 1 vectors came"):
        of("openai", server).embed(["a", "b"])


# -- lists of models ---------------------------------------------------------------------------------------------------

FULL = Listed("a/b", "8B Q4", "llama", 4096, 1_700_000_000, 123, ("chat", "embed"))
TOLD: dict[str, set[str]] = {
    "openai": {"title", "owner", "context", "created", "size", "abilities"},
    "anthropic": {"title", "context", "created"},
    "gemini": {"title", "context", "abilities"},
    "cohere": {"context", "abilities"},
    "ollama": {"title", "owner", "created", "size", "abilities"},
}


@pytest.mark.parametrize("wire", LISTS)
def test_a_list_is_read_as_it_was_said(wire: str) -> None:
    told = TOLD[wire.partition("-")[0]]
    empty = Listed("")
    models = [replace(FULL, **{k: getattr(empty, k) for k in TOLD["openai"] - told}), Listed("c")]
    codec = LISTS[wire]
    rows, page = codec.decode(json.loads(json.dumps(codec.encode(models))))
    assert (rows, page) == (models, "")
    assert codec.decode(codec.encode([])) == ([], "")


HOSTS: list[tuple[Any, Listed]] = [
    # Together, vLLM, llama.cpp's server, OpenRouter, Groq with a stray row
    ([{"id": "m", "context_length": 9, "display_name": "M", "organization": "O"}], Listed("m", "M", "O", 9)),
    ({"data": [{"id": "m", "max_model_len": 9}]}, Listed("m", context=9)),
    ({"models": [], "data": [{"id": "m", "meta": {"n_ctx_train": 9, "size": 7}}]}, Listed("m", context=9, size=7)),
    ({"data": [{"id": "m", "name": "M", "supported_parameters": ["seed"], "context_length": 9}]},
     Listed("m", "M", context=9, abilities=("seed",))),
    ({"data": [{"id": "m", "context_window": 9}, {"no": 1}, None]}, Listed("m", context=9)),
]  # fmt: skip


@pytest.mark.parametrize(("body", "row"), HOSTS)
def test_what_hosts_add_to_a_row_is_read(body: Any, row: Listed) -> None:
    assert LISTS["openai"].decode(body) == ([row], "")


PAGED: dict[str, list[Any]] = {
    "anthropic": [
        {"data": [{"id": "a"}], "has_more": True, "last_id": "a"},
        {"data": [{"id": "b"}], "has_more": False},
    ],
    "gemini": [{"models": [{"name": "models/a"}], "nextPageToken": "t/2"}, {"models": [{"name": "models/b"}]}],
    "cohere": [{"models": [{"name": "a"}], "next_page_token": "t/2"}, {"models": [{"name": "b"}]}],
}


@pytest.mark.parametrize("name", PAGED)
def test_a_list_in_pages_is_read_to_its_end(name: str) -> None:
    with served([answer(200, page) for page in PAGED[name]]) as server:
        assert [row.name for row in models_of(name, key="k", base_url=server.url)] == ["a", "b"]
        assert "after_id=a" in server.requests[1][0] or "t%2F2" in server.requests[1][0]
    with served([answer(200, PAGED[name][0])]) as server, pytest.raises(BadAnswer, match="does not end"):
        models_of(name, key="k", base_url=server.url)


def test_a_list_is_asked_for_in_an_event_loop_too() -> None:
    with served([answer(200, LISTS["ollama"].encode([FULL]))]) as server:
        (row,) = asyncio.run(amodels_of("ollama", base_url=server.url))
        assert (row.name, server.requests[0][0], row.raw["digest"]) == ("a/b", "/api/tags", "")


def test_a_list_that_cannot_be_had_says_why() -> None:
    refused = answer(401, {"error": {"message": "no such key"}})
    with served([refused]) as server, pytest.raises(KeyRefused, match="no such key"):
        models_of("openai", key="sk-0123456789", base_url=server.url)
    with served([answer(200, {"object": "list"})]) as server, pytest.raises(BadAnswer, match="no 'data'"):
        models_of("openai", key="k", base_url=server.url)
    with pytest.raises(UnknownModel, match="Did you mean 'openai'"):
        models_of("opnai")


# -- counted tokens ----------------------------------------------------------------------------------------------------

TOOL = Tool("look", "Looks.", {"type": "object", "properties": {}})
ASKED = Request((Message.of("system", "Be brief."), Message.of("user", "Hello")), "m", tools=(TOOL,))


@pytest.mark.parametrize("name", ["anthropic", "gemini", "openai-responses", "vllm"])
def test_what_is_counted_is_the_whole_request(name: str) -> None:
    codec = COUNTS[name]
    body = json.loads(json.dumps(codec.encode(replace(ASKED, max_tokens=9, temperature=0.5))))
    found = codec.decode_request(body, codec.path(ASKED))
    assert (found.messages, found.model, found.tools) == (ASKED.messages, "m", ASKED.tools)
    assert codec.decode(codec.encode_response(7)) == 7
    for odd in (None, {}, {"input_tokens": "7"}, {"count": -1}, {"totalTokens": None}):
        with pytest.raises(BadAnswer):
            codec.decode(odd)


COUNTED: list[tuple[str, str, str, Any]] = [
    ("anthropic", "", "/v1/messages/count_tokens", {"input_tokens": 7}),
    ("gemini", "", "/models/m:countTokens", {"totalTokens": 7}),
    ("openai", "", "/responses/input_tokens", {"input_tokens": 7}),
    ("openai", "responses", "/v1/responses/input_tokens", {"input_tokens": 7}),
    ("llamacpp", "chat", "/v1/responses/input_tokens", {"input_tokens": 7}),
    ("llamacpp", "messages", "/v1/messages/count_tokens", {"input_tokens": 7}),
    ("llamacpp", "completions", "/tokenize", {"tokens": [1] * 7}),
    ("vllm", "chat", "/tokenize", {"count": 7, "max_model_len": 99, "tokens": [1] * 7}),
    ("vllm", "completions", "/tokenize", {"count": 7, "tokens": [1] * 7}),
]


@pytest.mark.parametrize(("name", "api", "path", "body"), COUNTED)
def test_tokens_are_counted_where_an_api_counts(name: str, api: str, path: str, body: Any) -> None:
    with served([answer(200, body)]) as server:
        model = connect(f"{name}:m", key="k", base_url=server.url, api=api)
        assert model.capabilities.count_tokens or api == "completions"
        assert model.count_tokens("Hello") == 7 == asyncio.run(model.acount_tokens("Hello"))
        assert server.requests[0][0] == path and "Hello" in json.dumps(server.requests[0][2])


def test_a_model_that_cannot_count_says_so() -> None:
    for name, api in (("cohere", ""), ("ollama", ""), ("openai", "completions")):
        with pytest.raises(Unsupported, match="does not count tokens"):
            connect(f"{name}:m", key="k", api=api).count_tokens("Hello")


def test_every_wire_is_in_every_table_or_has_a_reason_not_to_be() -> None:
    assert set(WIRES) - set(EMBEDDINGS) == {"anthropic"}  # it sells none
    assert set(WIRES) == set(LISTS)
    can = {name for name, p in PROVIDERS.items() if p.capabilities.embeddings}
    assert can == {name for name, p in PROVIDERS.items() if p.wire in EMBEDDINGS}
    counts = {name for name, p in PROVIDERS.items() if p.capabilities.count_tokens}
    assert counts == {name for name, p in PROVIDERS.items() if p.wire in COUNTS or p.counts in COUNTS}
    assert Text("x").text == "x"
