"""The official libraries of the providers, each used as its own documentation uses it, behind one set of questions."""

from __future__ import annotations

import base64
import gc
import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["PNG", "SCHEMA", "SDKS", "Sdk", "client_at", "close_clients"]

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZFQAAAAABJRU5ErkJggg=="
)
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
URL = "data:image/png;base64," + base64.b64encode(PNG).decode()
Pair = tuple[Any, Any]


@dataclass
class Sdk:
    """A library; what it cannot do stays None.

    Args:
        module: what is imported; the test is skipped where it is not installed.
        client: from a server's address.
        ask: (client, model) -> the text of an answer, asked with a system message where there is one.
        stream: the same, put together from its pieces.
        tools: (client) -> (the call's name, its arguments, the text after the result was given).
        shape: an answer in the form of SCHEMA.
        see: asks about a picture.
        embed: vectors of two texts.
        names: the models' names.
        scores: the log-probabilities of an answer.
        count: how many tokens a question has.
        stream_tools: (id, name, arguments) of calls put together from a stream, and log-probabilities.
        thinks: asks, and asks again with the answer as it was.
        status: the HTTP status that an exception of the library stands for, and its class's name.
    """

    module: str
    api: str
    client: Callable[[str], Any]
    ask: Callable[[Any, str], str]
    stream: Callable[[Any], str]
    status: Callable[[Exception], Any]
    tools: Callable[[Any], tuple[str, Any, str]] | None = None
    shape: Callable[[Any], str] | None = None
    see: Callable[[Any], str] | None = None
    embed: Callable[[Any], list[list[float]]] | None = None
    names: Callable[[Any], list[str]] | None = None
    scores: Callable[[Any], list[tuple[str, float]]] | None = None
    count: Callable[[Any], int] | None = None
    stream_tools: Callable[[Any], tuple[list[Any], list[float]]] | None = None
    thinks: Callable[[Any], None] | None = None


TALK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
FUNCTION = {"name": "look", "description": "Looks.", "parameters": SCHEMA}
SEEN = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": URL}}]
FORM = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}


# -- OpenAI, and what has its shape ------------------------------------------------------------------------------------


def _openai(url: str) -> Any:
    import openai

    return openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0)


def _together(url: str) -> Any:
    import together

    return together.Together(base_url=url, api_key="k", max_retries=0)


def _hub(url: str) -> Any:
    import huggingface_hub

    return huggingface_hub.InferenceClient(base_url=f"{url}/v1", api_key="k")


def _chat(client: Any, messages: Any = TALK, model: str = "m-1", **more: Any) -> Any:
    create = client.chat.completions.create
    return create(model=model, messages=messages, max_tokens=9, **more).choices[0].message


def _chat_stream(client: Any) -> str:
    pieces = client.chat.completions.create(model="m-1", messages=TALK, max_tokens=9, stream=True)
    return "".join(piece.choices[0].delta.content or "" for piece in pieces)  # as everybody writes it


def _chat_tools(client: Any) -> tuple[str, Any, str]:
    tools = [{"type": "function", "function": FUNCTION}]
    said = _chat(client, tools=tools)
    call = said.tool_calls[0]
    turn = {"role": "assistant", "content": said.content, "tool_calls": [
        {"id": call.id, "type": "function",
         "function": {"name": call.function.name, "arguments": call.function.arguments}}]}  # fmt: skip
    after = _chat(client, [*TALK, turn, {"role": "tool", "tool_call_id": call.id, "content": "a cat"}], tools=tools)
    return call.function.name, json.loads(call.function.arguments), after.content


def _chat_stream_tools(client: Any) -> tuple[list[Any], list[float]]:
    tools = [{"type": "function", "function": FUNCTION}]
    calls: dict[int, list[str]] = {}
    scores: list[float] = []
    pieces = client.chat.completions.create(model="m-1", messages=TALK, tools=tools, logprobs=True, stream=True)
    for piece in pieces:
        choice = piece.choices[0]
        for call in choice.delta.tool_calls or ():
            row = calls.setdefault(call.index, ["", "", ""])
            row[0] += call.id or ""
            row[1] += call.function.name or ""
            row[2] += call.function.arguments or ""
        scores += [row.logprob for row in (choice.logprobs.content if choice.logprobs else ())]
    return [(key, name, json.loads(said)) for key, name, said in calls.values()], scores


def _chat_scores(client: Any) -> list[tuple[str, float]]:
    answer = client.chat.completions.create(model="m-1", messages=TALK, logprobs=True, top_logprobs=2)
    return [(row.token, row.logprob) for row in answer.choices[0].logprobs.content]


def _openai_vectors(client: Any) -> list[list[float]]:
    return [row.embedding for row in client.embeddings.create(model="m-1", input=["one", "three"]).data]


def _openai_names(client: Any) -> list[str]:
    assert client.models.retrieve("m-1").id == "m-1"
    return [model.id for model in client.models.list()]


def _status(error: Exception) -> Any:
    response = getattr(error, "response", None)
    return getattr(error, "status_code", None) or getattr(response, "status_code", None)


# -- OpenAI Responses and Completions ----------------------------------------------------------------------------------


def _responses(client: Any, said: Any = "Hello", model: str = "m-1", **more: Any) -> Any:
    return client.responses.create(model=model, instructions="Be brief.", input=said, max_output_tokens=9, **more)


def _responses_stream(client: Any) -> str:
    with client.responses.stream(model="m-1", instructions="Be brief.", input="Hello", max_output_tokens=9) as stream:
        pieces = [event.delta for event in stream if event.type == "response.output_text.delta"]
        assert stream.get_final_response().output_text == "".join(pieces)
    return "".join(pieces)


def _responses_tools(client: Any) -> tuple[str, Any, str]:
    tools = [{"type": "function", **FUNCTION, "strict": True}]
    first = _responses(client, tools=tools)
    call = next(item for item in first.output if item.type == "function_call")
    said = [{"role": "user", "content": "Hello"}, *first.output,
            {"type": "function_call_output", "call_id": call.call_id, "output": "a cat"}]  # fmt: skip
    return call.name, json.loads(call.arguments), _responses(client, said, tools=tools).output_text


def _responses_stream_tools(client: Any) -> tuple[list[Any], list[float]]:
    tools = [{"type": "function", **FUNCTION, "strict": True}]
    with client.responses.stream(model="m-1", input="Hello", tools=tools) as stream:
        for _ in stream:
            pass
        calls = [item for item in stream.get_final_response().output if item.type == "function_call"]
    return [(call.call_id, call.name, json.loads(call.arguments)) for call in calls], []


def _responses_thinks(client: Any) -> None:
    first = _responses(client, include=["reasoning.encrypted_content"], store=False)
    assert first.output[0].summary[0].text == "Let me see." and first.output_text == "Hello."
    _responses(client, [{"role": "user", "content": "Hello"}, *first.output, {"role": "user", "content": "And?"}])


def _responses_shape(client: Any) -> str:
    form = {"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA, "strict": True}}
    return str(_responses(client, text=form).output_text)


def _responses_see(client: Any) -> str:
    parts = [{"type": "input_text", "text": "What?"}, {"type": "input_image", "image_url": URL, "detail": "auto"}]
    return str(_responses(client, [{"role": "user", "content": parts}]).output_text)


def _responses_scores(client: Any) -> list[tuple[str, float]]:
    found = _responses(client, include=["message.output_text.logprobs"], top_logprobs=2)
    return [(row.token, row.logprob) for row in found.output[0].content[0].logprobs]


def _completions(client: Any, model: str = "m-1") -> str:
    return str(client.completions.create(model=model, prompt="Hello", max_tokens=9).choices[0].text)


def _completions_stream(client: Any) -> str:
    pieces = client.completions.create(model="m-1", prompt="Hello", max_tokens=9, stream=True)
    return "".join(piece.choices[0].text for piece in pieces)


def _completions_scores(client: Any) -> list[tuple[str, float]]:
    found = client.completions.create(model="m-1", prompt="Hello", logprobs=2).choices[0].logprobs
    return list(zip(found.tokens, found.token_logprobs, strict=True))


# -- Anthropic ---------------------------------------------------------------------------------------------------------


def _anthropic(url: str) -> Any:
    import anthropic

    return anthropic.Anthropic(base_url=url, api_key="k", max_retries=0)


def _messages(client: Any, said: Any = "Hello", model: str = "m-1", **more: Any) -> Any:
    turns = [{"role": "user", "content": said}] if not isinstance(said, list) or "role" not in said[0] else said
    return client.messages.create(model=model, system="Be brief.", messages=turns, max_tokens=9, **more)


def _anthropic_stream(client: Any) -> str:
    turns = [{"role": "user", "content": "Hello"}]
    with client.messages.stream(model="m-1", system="Be brief.", messages=turns, max_tokens=9) as stream:
        return "".join(stream.text_stream)


def _anthropic_tools(client: Any) -> tuple[str, Any, str]:
    tools = [{"name": "look", "description": "Looks.", "input_schema": SCHEMA}]
    first = _messages(client, tools=tools)
    call = next(block for block in first.content if block.type == "tool_use")
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "a cat"}
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": first.content}]
    turns.append({"role": "user", "content": [result]})
    return call.name, call.input, _messages(client, turns, tools=tools).content[0].text


def _anthropic_stream_tools(client: Any) -> tuple[list[Any], list[float]]:
    tools = [{"name": "look", "description": "Looks.", "input_schema": SCHEMA}]
    turns = [{"role": "user", "content": "Hello"}]
    with client.messages.stream(model="m-1", messages=turns, max_tokens=9, tools=tools) as stream:
        calls = [block for block in stream.get_final_message().content if block.type == "tool_use"]
    return [(call.id, call.name, call.input) for call in calls], []


def _anthropic_thinks(client: Any) -> None:
    first = _messages(client, thinking={"type": "enabled", "budget_tokens": 1024})
    assert first.content[0].thinking == "Let me see."
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": first.content}]
    _messages(client, [*turns, {"role": "user", "content": "And?"}])


def _anthropic_shape(client: Any) -> str:
    form = {"format": {"type": "json_schema", "schema": SCHEMA}}
    return str(_messages(client, output_config=form).content[0].text)


def _anthropic_see(client: Any) -> str:
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()}
    return str(
        _messages(client, [{"type": "text", "text": "What?"}, {"type": "image", "source": source}]).content[0].text
    )


def _anthropic_count(client: Any) -> int:
    turns = [{"role": "user", "content": "Hello"}]
    return int(client.messages.count_tokens(model="m-1", system="Be brief.", messages=turns).input_tokens)


# -- Gemini ------------------------------------------------------------------------------------------------------------


def _gemini(url: str) -> Any:
    from google import genai

    return genai.Client(api_key="k", http_options={"base_url": url}, vertexai=False)


def _gemini_ask(client: Any, said: Any = "Hello", model: str = "m-1", **more: Any) -> Any:
    config = {"system_instruction": "Be brief.", "max_output_tokens": 9, **more}
    return client.models.generate_content(model=model, contents=said, config=config)


def _gemini_stream(client: Any) -> str:
    config = {"system_instruction": "Be brief.", "max_output_tokens": 9}
    pieces = client.models.generate_content_stream(model="m-1", contents="Hello", config=config)
    return "".join(piece.text or "" for piece in pieces)


def _gemini_tools(client: Any) -> tuple[str, Any, str]:
    from google.genai import types

    function = {"name": "look", "description": "Looks.", "parameters_json_schema": SCHEMA}
    tools = [types.Tool(function_declarations=[function])]
    first = _gemini_ask(client, tools=tools)
    call = first.function_calls[0]
    turns = [types.Content(role="user", parts=[types.Part(text="Hello")]), first.candidates[0].content,
             types.Content(role="user", parts=[types.Part(function_response=types.FunctionResponse(
                 id=call.id, name=call.name, response={"result": "a cat"}))])]  # fmt: skip
    return call.name, call.args, _gemini_ask(client, turns, tools=tools).text


def _gemini_thinks(client: Any) -> None:
    from google.genai import types

    first = _gemini_ask(client).candidates[0].content
    assert first.parts[0].thought and first.parts[0].text == "Let me see."
    user = [types.Content(role="user", parts=[types.Part(text=said)]) for said in ("Hello", "And?")]
    _gemini_ask(client, [user[0], first, user[1]])


def _gemini_see(client: Any) -> str:
    from google.genai import types

    return str(_gemini_ask(client, ["What?", types.Part.from_bytes(data=PNG, mime_type="image/png")]).text)


def _gemini_scores(client: Any) -> list[tuple[str, float]]:
    rows = _gemini_ask(client, response_logprobs=True, logprobs=2).candidates[0].logprobs_result.chosen_candidates
    return [(row.token, row.log_probability) for row in rows]


def _gemini_vectors(client: Any) -> list[list[float]]:
    found = client.models.embed_content(model="m-1", contents=["one", "three"])
    return [row.values for row in found.embeddings]


# -- Cohere ------------------------------------------------------------------------------------------------------------


def _cohere(url: str) -> Any:
    import cohere

    return cohere.ClientV2(api_key="k", base_url=url)


def _cohere_ask(client: Any, messages: Any = TALK, model: str = "m-1", **more: Any) -> Any:
    return client.chat(model=model, messages=messages, max_tokens=9, request_options={"max_retries": 0}, **more)


def _cohere_stream(client: Any) -> str:
    pieces = client.chat_stream(model="m-1", messages=TALK, max_tokens=9)
    return "".join(one.delta.message.content.text for one in pieces if one.type == "content-delta")


def _cohere_tools(client: Any) -> tuple[str, Any, str]:
    tools = [{"type": "function", "function": FUNCTION}]
    first = _cohere_ask(client, tools=tools).message
    call = first.tool_calls[0]
    turn = {"role": "assistant", "tool_calls": first.tool_calls, "tool_plan": first.tool_plan}
    after = [*TALK, turn, {"role": "tool", "tool_call_id": call.id, "content": "a cat"}]
    return (
        call.function.name,
        json.loads(call.function.arguments),
        _cohere_ask(client, after, tools=tools).message.content[0].text,
    )


def _cohere_vectors(client: Any) -> list[list[float]]:
    found = client.embed(model="m-1", texts=["one", "three"], input_type="search_query", embedding_types=["float"])
    return list(found.embeddings.float_)


# -- Ollama ------------------------------------------------------------------------------------------------------------


def _ollama(url: str) -> Any:
    import ollama

    return ollama.Client(host=url)


def _ollama_ask(client: Any, messages: Any = TALK, model: str = "m-1", **more: Any) -> Any:
    return client.chat(model=model, messages=messages, options={"num_predict": 9}, **more)


def _ollama_stream(client: Any) -> str:
    return "".join(one.message.content for one in _ollama_ask(client, stream=True))


def _ollama_tools(client: Any) -> tuple[str, Any, str]:
    tools = [{"type": "function", "function": FUNCTION}]
    said = _ollama_ask(client, tools=tools).message
    call = said.tool_calls[0]
    after = [*TALK, said, {"role": "tool", "tool_name": call.function.name, "content": "a cat"}]
    return call.function.name, call.function.arguments, _ollama_ask(client, after, tools=tools).message.content


def _ollama_see(client: Any) -> str:
    return str(_ollama_ask(client, [{"role": "user", "content": "What?", "images": [PNG]}]).message.content)


def _ollama_scores(client: Any) -> list[tuple[str, float]]:
    return [(row.token, row.logprob) for row in _ollama_ask(client, logprobs=True, top_logprobs=2).logprobs]


SDKS: dict[str, Sdk] = {
    "openai chat": Sdk(
        "openai", "openai", _openai, lambda c, m: _chat(c, model=m).content, _chat_stream, _status, _chat_tools,
        lambda c: _chat(c, response_format=FORM).content,
        lambda c: _chat(c, [{"role": "user", "content": SEEN}]).content, _openai_vectors, _openai_names, _chat_scores,
        stream_tools=_chat_stream_tools,
    ),
    "openai responses": Sdk(
        "openai", "openai", _openai, lambda c, m: _responses(c, model=m).output_text, _responses_stream, _status,
        _responses_tools, _responses_shape, _responses_see, scores=_responses_scores,
        count=lambda c: c.responses.input_tokens.count(model="m-1", input="Hello").input_tokens,
        stream_tools=_responses_stream_tools, thinks=_responses_thinks,
    ),
    "openai completions": Sdk(
        "openai", "openai", _openai, _completions, _completions_stream, _status, scores=_completions_scores,
    ),
    "anthropic": Sdk(
        "anthropic", "anthropic", _anthropic, lambda c, m: _messages(c, model=m).content[0].text, _anthropic_stream,
        _status, _anthropic_tools, _anthropic_shape, _anthropic_see,
        names=lambda c: [c.models.retrieve("m-1").id, *[model.id for model in c.models.list()]][1:],
        count=_anthropic_count, stream_tools=_anthropic_stream_tools, thinks=_anthropic_thinks,
    ),
    "google-genai": Sdk(
        "google.genai", "gemini", _gemini, lambda c, m: _gemini_ask(c, model=m).text, _gemini_stream,
        lambda error: getattr(error, "code", None), _gemini_tools,
        lambda c: _gemini_ask(c, response_mime_type="application/json", response_json_schema=SCHEMA).text,
        _gemini_see, _gemini_vectors, lambda c: [model.name.removeprefix("models/") for model in c.models.list()],
        _gemini_scores, lambda c: c.models.count_tokens(model="m-1", contents="Hello").total_tokens,
        thinks=_gemini_thinks,
    ),
    "cohere": Sdk(
        "cohere", "cohere", _cohere, lambda c, m: _cohere_ask(c, model=m).message.content[0].text, _cohere_stream,
        _status, _cohere_tools,
        lambda c: _cohere_ask(c, response_format={"type": "json_object", "schema": SCHEMA}).message.content[0].text,
        lambda c: _cohere_ask(c, [{"role": "user", "content": SEEN}]).message.content[0].text, _cohere_vectors,
        lambda c: [model.name for model in c.models.list().models],
        lambda c: [(row.text, row.logprobs[0]) for row in _cohere_ask(c, logprobs=True).logprobs],
    ),
    "together": Sdk(
        "together", "together", _together, lambda c, m: _chat(c, model=m).content, _chat_stream, _status, _chat_tools,
        lambda c: _chat(c, response_format=FORM).content,
        lambda c: _chat(c, [{"role": "user", "content": SEEN}]).content, _openai_vectors,
    ),
    "ollama": Sdk(
        "ollama", "ollama", _ollama, lambda c, m: _ollama_ask(c, model=m).message.content, _ollama_stream, _status,
        _ollama_tools, lambda c: _ollama_ask(c, format=SCHEMA).message.content, _ollama_see,
        lambda c: c.embed(model="m-1", input=["one", "three"]).embeddings,
        lambda c: [model.model for model in c.list().models], _ollama_scores,
    ),
    "ollama generate": Sdk(
        "ollama", "ollama", _ollama,
        lambda c, m: c.generate(model=m, prompt="Hello", system="Be brief.", options={"num_predict": 9}).response,
        lambda c: "".join(one.response for one in c.generate(
            model="m-1", prompt="Hello", system="Be brief.", options={"num_predict": 9}, stream=True)),
        _status, shape=lambda c: c.generate(model="m-1", prompt="Hello", format=SCHEMA).response,
        see=lambda c: c.generate(model="m-1", prompt="What?", images=[PNG]).response,
    ),
    "huggingface_hub": Sdk(
        "huggingface_hub", "hf", _hub, lambda c, m: _chat(c, model=m).content, _chat_stream, _status, _chat_tools,
        lambda c: _chat(c, response_format=FORM).content,
        lambda c: _chat(c, [{"role": "user", "content": SEEN}]).content, scores=_chat_scores,
        stream_tools=_chat_stream_tools,
    ),
}  # fmt: skip


_POOLS = ("httpx.Client", "httpx2.Client")
_clients: dict[tuple[str, str], Any] = {}


def client_at(name: str, address: str) -> Any:
    """A library's client; making one costs tens of milliseconds, and they close nothing of their own."""
    mark = (SDKS[name].client.__name__, address)
    if mark not in _clients:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _clients[mark] = SDKS[name].client(address)
    return _clients[mark]


def close_clients() -> None:
    """Close the connections of all of them."""
    for one in gc.get_objects():
        kind = type(one)
        if any(f"{str(base.__module__).split('.')[0]}.{base.__name__}" in _POOLS for base in kind.__mro__):
            one.close()
    if "huggingface_hub" in sys.modules:
        sys.modules["huggingface_hub"].close_session()  # its one client is of the whole process: the next is new
    _clients.clear()
