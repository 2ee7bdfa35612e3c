"""What each wire has words for, as data, and random requests and answers that stay within it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from hypothesis import strategies as st

from palmette.core.message import (
    Audio,
    Document,
    Finish,
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
from palmette.models.remote.wires import WIRES

__all__ = ["SETTINGS", "SPEAKS", "Speech", "answers", "requests", "stray"]

Draw = Callable[[st.SearchStrategy[Any]], Any]
ANY_OBJECT = Output("json", {"type": "object"}, strict=False)
SETTINGS = tuple(f.name for f in fields(Request) if f.name not in ("messages", "model"))

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
names = st.from_regex(r"[a-z][a-z_]{0,5}", fullmatch=True)
marks = st.from_regex(r"[A-Za-z0-9]{1,6}", fullmatch=True)
data = st.binary(max_size=5)
leaves = st.none() | st.booleans() | st.integers(-9, 9) | words
plain_json = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2), max_leaves=4
)
arguments = st.dictionaries(names, plain_json, max_size=2).map(lambda row: json.dumps(row, ensure_ascii=False))
_ODD = [float("nan"), float("inf"), -1, 1e308, 10**30, True, "\ud800", "data:x", "", [], {}, None, 3.0, "auto", "x"]


def stray(rng: random.Random, depth: int = 0) -> Any:
    """Any JSON that a stranger may send, what Python's parser takes beyond it included."""
    kind = rng.randrange(4) if depth < 3 else 0
    if kind < 2:
        return rng.choice(_ODD)
    if kind == 2:
        return [stray(rng, depth + 1) for _ in range(rng.randrange(3))]
    return {
        rng.choice(["type", "text", "content", "a", "error"]): stray(rng, depth + 1) for _ in range(rng.randrange(3))
    }


@dataclass(frozen=True)
class Speech:
    """The normal form of one wire: within it nothing is lost on the way there and back.

    Args:
        files: what a user may show.
        ordered: whether texts, files and calls keep their order, and texts their borders.
        finishes: why an answer may end.
        efforts, choices: of thinking, of tools.
        result_files: what a result may show.
        fails: whether a result can say that its call failed.
        candidates: whether there may be several answers.
        counts: which fields of Usage are told; `always` if there is no answer without.
    """

    files: tuple[type, ...] = (Image,)
    ordered: bool = False
    finishes: tuple[Finish, ...] = ("stop", "length", "tool_calls")
    efforts: tuple[str, ...] = ("none", "low", "medium", "high")
    choices: tuple[str, ...] = ("auto", "none", "required", "look")
    result_files: tuple[type, ...] = ()
    fails: bool = False
    candidates: bool = False
    counts: tuple[str, ...] = ("cached",)
    always: bool = False
    chat: bool = True


_ALL = (Image, Audio, Document)
SPEAKS: dict[str, Speech] = {
    "openai": Speech(_ALL, finishes=("stop", "length", "tool_calls", "content_filter"), candidates=True,
                     efforts=("none", "minimal", "low", "medium", "high"),
                     counts=("cached", "cache_write", "reasoning")),
    "anthropic": Speech((Image, Document), True, ("stop", "length", "tool_calls", "content_filter"),
                        result_files=(Image, Document), fails=True, counts=("cached", "cache_write", "reasoning"),
                        always=True),
    "gemini": Speech(_ALL, True, ("stop", "length", "tool_calls", "content_filter", "other"),
                     ("none", "minimal", "low", "medium", "high"), result_files=_ALL, fails=True, candidates=True,
                     counts=("cached", "reasoning")),
    "cohere": Speech(efforts=("none", "medium"), choices=("none", "required")),
    "ollama": Speech(choices=(), result_files=(Image,), counts=(), always=True),
    "ollama-generate": Speech(choices=(), counts=(), always=True, chat=False),
}  # fmt: skip


def _file(draw: Draw, wire: str, kind: type) -> Any:
    mime = {Image: ["image/png", "image/jpeg"], Audio: ["audio/wav", "audio/mp3"],
            Document: ["application/pdf"]}[kind]  # fmt: skip
    found = kind(draw(data), draw(st.sampled_from(mime)))
    if wire.startswith("ollama"):
        return replace(found, mime="image/png")
    if kind is Document:
        found = replace(found, name=draw(st.just("") | names))
    if wire == "anthropic" and kind is Document and draw(st.booleans()):
        return replace(found, data=draw(words).encode(), mime="text/plain")
    addressed = draw(st.booleans()) and kind is not Audio and not (wire == "openai" and kind is Document)
    return kind(url="https://example.com/x", name=found.name) if addressed else found


def _user(draw: Draw, wire: str, calls: list[ToolCall]) -> Message:
    speech = SPEAKS[wire]
    results = []
    for call in calls:
        kinds = draw(st.lists(st.sampled_from(speech.result_files), max_size=2)) if speech.result_files else []
        shown = tuple(replace(_file(draw, wire, k), url="", data=b"x") for k in kinds)
        failed = speech.fails and draw(st.booleans())
        results.append(ToolResult(call.id, draw(words), call.name, failed, shown))
    files = [_file(draw, wire, draw(st.sampled_from(speech.files))) for _ in range(draw(st.integers(0, 2)))]
    said = [Text(draw(words)) for _ in range(draw(st.integers(0, 2)) if speech.ordered or files else 1)]
    if wire.startswith("ollama"):
        return Message("user", (*results, Text(draw(words)), *files))
    mixed = draw(st.permutations([*said, *files]))
    if not results and not mixed:
        mixed = [Text("?")]
    return Message("user", (*results, *mixed))


def _said(draw: Draw, wire: str, count: int) -> tuple[list[Part], int]:
    """What a model says, in the wire's normal form; the number of calls so far makes their ids."""

    def call(meta: dict[str, Any]) -> ToolCall:
        nonlocal count
        count += 1
        return ToolCall(f"c{count}", draw(names), draw(arguments), meta)

    some = st.integers(0, 2)
    match wire:
        case "anthropic":
            made: list[Part] = []
            for _ in range(draw(st.integers(0, 4))):
                kinds: list[Callable[[], Part]] = [
                    lambda: Reasoning(draw(words), draw(marks)), lambda: Reasoning("", draw(marks)),
                    lambda: Reasoning("", draw(marks), {"redacted": True}), lambda: Text(draw(words)),
                    lambda: Text(draw(words), {"citations": [{"cited_text": draw(words)}]}), lambda: call({}),
                    lambda: Text("", {"block": {"type": "server_tool_use", "id": "s", "name": "w", "input": {"q": 1}}}),
                ]  # fmt: skip
                made.append(draw(st.sampled_from(kinds))())
            return made, count
        case "gemini":
            made = []
            for _ in range(draw(st.integers(0, 4))):
                mark = {"thoughtSignature": "s1"}
                kinds = [
                    lambda: Reasoning(draw(words)), lambda: Reasoning(draw(words), draw(marks)),
                    lambda: Text(draw(words)), lambda m=mark: call(m), lambda: call({}),
                    lambda m=mark: Text(draw(words), m), lambda m=mark: Text("", m),
                    lambda: Image(draw(data), "image/png"),
                    lambda: Text("", {"part": {"executableCode": {"language": "PYTHON", "code": "1"}}}),
                ]  # fmt: skip
                made.append(draw(st.sampled_from(kinds))())
            return [
                p for i, p in enumerate(made) if not (i and _open(made[i - 1]) and _open(made[i - 1]) == _open(p))
            ], count
        case "cohere":
            plan: list[Part] = [Reasoning(draw(words), meta={"tool_plan": True})] if draw(st.booleans()) else []
            thoughts = [Reasoning(draw(words)) for _ in range(draw(some))]
            texts = [Text(draw(words)) for _ in range(draw(some) if thoughts else draw(st.integers(0, 1)))]
            return [*plan, *thoughts, *texts, *(call({}) for _ in range(draw(some)))], count
    thought: list[Part] = [Reasoning(draw(words))] if draw(st.booleans()) else []
    said: list[Part] = [Text(draw(words))] if draw(st.booleans()) else []
    if wire == "openai" and draw(st.booleans()):
        thought = [Reasoning(draw(st.just("") | words), meta={"reasoning_details": [{"type": "reasoning.encrypted"}]})]
    if wire == "openai" and draw(st.booleans()):
        said.append(Text(draw(words), {"refusal": True}))
    kept = {"extra_content": {"google": {"thought_signature": "s"}}} if wire == "openai" and draw(st.booleans()) else {}
    calls = [call(kept) for _ in range(draw(some) if wire != "ollama-generate" else 0)]
    return [*thought, *said, *calls], count


def _open(part: Part) -> str:
    """The kind of a part that a neighbour of the same kind would join, at Gemini."""
    if isinstance(part, Text):
        return "" if part.meta else "text"
    return "thought" if isinstance(part, Reasoning) and not part.signature else ""


@st.composite
def requests(draw: Draw, wire: str) -> Request:
    """A request that the wire has words for."""
    speech, lacks = SPEAKS[wire], WIRES[wire].lacks
    messages = [Message.of("system", draw(words))] if draw(st.booleans()) else []
    calls: list[ToolCall] = []
    count = 0
    for _ in range(draw(st.integers(1, 2)) if speech.chat else 1):
        messages.append(_user(draw, wire, calls))
        calls = []
        if speech.chat and draw(st.booleans()):
            said, count = _said(draw, wire, count)
            messages.append(Message("assistant", tuple(said or [Text("!")])))
            calls = [part for part in said if isinstance(part, ToolCall)]
    chosen = {k: v for k, v in _settings(draw, wire, speech).items() if k not in lacks}
    model = draw(st.sampled_from(["gemini-3-pro", "gemini-2.5-pro"])) if wire == "gemini" else draw(names)
    return Request(tuple(messages), model, **chosen)


def _settings(draw: Draw, wire: str, speech: Speech) -> dict[str, Any]:
    maybe = lambda strategy: draw(st.none() | strategy)  # noqa: E731
    real = st.floats(0, 2, allow_nan=False).map(lambda v: round(v, 3))
    strict = {"gemini": [None], "cohere": [draw(st.sampled_from([None, True]))]}.get(wire, [None, True, False])
    tools = [
        Tool(draw(names), draw(st.just("") | words), {"type": "object", "properties": {"a": {"type": "string"}}},
             draw(st.sampled_from(strict)))
        for _ in range(draw(st.integers(0, 2)))
    ]  # fmt: skip
    forms = [Output("json", {"type": "object", "properties": {}}), ANY_OBJECT, Output("json", True)]
    if wire == "openai":
        forms += [Output("json", {"type": "array"}, "list", draw(st.booleans()))]
    elif wire == "anthropic":
        forms.remove(ANY_OBJECT)
    elif wire == "gemini":
        forms.append(Output("choices", ("a", "b")))
    choice = maybe(st.sampled_from(speech.choices)) if speech.choices else None
    own = {"gemini": "generationConfig", "ollama": "options", "ollama-generate": "options"}.get(wire, "own")
    return {
        "max_tokens": draw(st.integers(1, 99)) if wire == "anthropic" else maybe(st.integers(1, 99)),
        "temperature": maybe(real), "top_p": maybe(real), "top_k": maybe(st.integers(1, 9)), "min_p": maybe(real),
        "presence_penalty": maybe(real), "frequency_penalty": maybe(real), "seed": maybe(st.integers(0, 9)),
        "logit_bias": draw(st.dictionaries(st.integers(0, 99), real, max_size=2)),
        "stop": tuple(draw(st.lists(words, max_size=2))), "n": maybe(st.integers(1, 3)),
        "top_logprobs": maybe(st.integers(0, 0 if wire == "cohere" else 5)), "tools": tuple(tools),
        "tool_choice": choice,
        "parallel_tools": maybe(st.booleans()) if wire == "openai" or choice not in (None, "none") else None,
        "output": maybe(st.sampled_from(forms)), "effort": maybe(st.sampled_from(speech.efforts)),
        "extra": draw(st.sampled_from([{}, {own: {"mine": 1}, "x": [1]}])),
    }  # fmt: skip


@st.composite
def answers(draw: Draw, wire: str) -> Response:
    """An answer that the wire has words for."""
    speech = SPEAKS[wire]
    first = _answer(draw, wire)
    others = [_answer(draw, wire) for _ in range(draw(st.integers(0, 2)))] if speech.candidates else []
    common = {"id": "" if wire.startswith("ollama") else draw(marks), "model": "" if wire == "cohere" else draw(marks)}
    usage = draw(_usages(speech) if speech.always else st.none() | _usages(speech))
    return replace(first, usage=usage, alternatives=tuple(replace(o, **common) for o in others), **common)


@st.composite
def _usages(draw: Draw, speech: Speech) -> Usage:
    told = {name: draw(st.integers(0, 9)) for name in speech.counts}
    inner = told.get("cached", 0) + told.get("cache_write", 0)
    return Usage(inner + draw(st.integers(0, 9)), told.get("reasoning", 0) + draw(st.integers(0, 9)), **told)


def _answer(draw: Draw, wire: str) -> Response:
    parts, _ = _said(draw, wire, 0)
    if wire == "anthropic" or wire == "openai":
        parts = [p for p in parts if not isinstance(p, Image)]
    called = any(isinstance(part, ToolCall) for part in parts)
    finish: Finish = draw(st.sampled_from(SPEAKS[wire].finishes))
    if wire in ("gemini", "ollama", "ollama-generate") and finish in ("stop", "tool_calls"):
        finish = "tool_calls" if called else "stop"
    lower = st.floats(-50, 0).map(lambda v: round(v, 3)) | st.just(float("-inf"))
    scores = []
    if "top_logprobs" not in WIRES[wire].lacks:
        for _ in range(draw(st.integers(0, 2))):
            top = draw(st.lists(st.tuples(words, lower), max_size=2)) if wire != "cohere" else []
            scores.append(TokenScore(draw(words), draw(lower), tuple(top)))
    return Response(tuple(parts), finish, logprobs=tuple(scores))
