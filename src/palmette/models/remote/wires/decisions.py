"""Decision endpoints, in both directions: OpenAI's POST /decisions here, TypeSafe's POST /v1/systemone beside it.

A client encodes questions and decodes answers; a server decodes questions and encodes answers. Law: decoding what was
encoded gives the same again, as far as the endpoint has words for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

from palmette.core.decision import Decision, Decisions, Question, State, is_conversation
from palmette.core.errors import BadAnswer, RequestRefused, Unsupported
from palmette.core.message import Image, Message, Part, Role, Text, Usage, text_of
from palmette.models.remote.wires.deciding import (
    MOST,
    Asked,
    built,
    even,
    few,
    level,
    share,
    shares,
    usage_of,
    value_of,
    words_of,
)
from palmette.models.remote.wires.reading import (
    asked_list,
    asked_table,
    asked_text,
    data_url,
    given,
    inner,
    items,
    media_of,
    table,
    text,
)
from palmette.models.remote.wires.systemone import SystemOne

__all__ = ["DECIDERS", "OpenAIDecisions", "SystemOne"]


class OpenAIDecisions:
    """POST /decisions: a list of questions with names, and a list of answers in their order."""

    name: ClassVar[str] = "decisions"
    path: ClassVar[str] = "/decisions"

    def encode(self, model: str, state: State, questions: Sequence[Question]) -> dict[str, Any]:
        """The body of a request."""
        few(self.name, questions)
        return {"model": model, "input": _said_input(state), "questions": [_said_question(q) for q in questions]}

    def decode(self, body: Any, questions: Sequence[Question]) -> Decisions:
        """The answers to questions.

        Raises:
            BadAnswer: for what does not answer them.
        """
        answers = items(table(body, "the answer").get("answers"))
        if len(answers) != len(questions):
            raise BadAnswer(f"{len(questions)} questions were asked, and {len(answers)} answered")
        answered = tuple(self._answer(row, question) for row, question in zip(answers, questions, strict=True))
        return Decisions(answered, text(body.get("model")), usage_of(body.get("usage")))

    def _answer(self, row: Mapping[str, Any], question: Question) -> Decision:
        kind = row.get("type")
        if kind == "refusal":
            return Decision(question, even(question), "decisions", refused=True)
        if kind != question.kind:
            raise BadAnswer(f"question {question.name!r} is a {question.kind}, and its answer is a {kind!r}")
        if kind == "predicate":
            p = share(row.get("probability"), question)
            return Decision(question, (p, 1 - p), "decisions")
        key = "value" if kind == "choice" else "label"
        found = {json.dumps(one.get(key)): one.get("probability") for one in items(row.get("probabilities"))}
        names = [value_of(question, i) for i in range(len(question.options))] if kind == "choice" else question.labels
        return Decision(question, shares([found.get(json.dumps(name)) for name in names], question), "decisions")

    def complaint(self, body: Any) -> str:
        """What an error's body says."""
        return text(inner(inner(body).get("error")).get("message"))

    def decode_request(self, body: Any) -> Asked:
        """What a client asks.

        Raises:
            RequestRefused: for a body that is no such request, with the place in it.
        """
        body = asked_table(body, "the body")
        rows = asked_list(body.get("questions"), "questions")
        if not 1 <= len(rows) <= MOST[self.name]:
            raise RequestRefused(f"questions must be 1 to {MOST[self.name]}, not {len(rows)}")
        questions = tuple(
            _question(asked_table(row, f"questions[{i}]"), f"questions[{i}]") for i, row in enumerate(rows)
        )
        return Asked(asked_text(body.get("model"), "model"), _input(body.get("input")), questions)

    def encode_response(self, decisions: Decisions) -> dict[str, Any]:
        """The answers."""
        usage = decisions.usage or Usage()
        return {
            "model": decisions.model,
            "answers": [self._said(answer) for answer in decisions.answers],
            "usage": {
                "input_tokens": usage.input,
                "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write},
                "output_tokens": usage.output,
                "output_tokens_details": {"reasoning_tokens": usage.reasoning},
                "total_tokens": usage.input + usage.output,
            },
        }

    def _said(self, answer: Decision) -> dict[str, Any]:
        asked = answer.question
        name = {"name": asked.name or None}
        if answer.refused:
            return {"type": "refusal", **name}
        if asked.kind == "predicate":
            return {"type": "predicate", "probability": answer.probabilities[0], **name}
        at = answer.probabilities.index(max(answer.probabilities))
        if asked.kind == "choice":
            shares = [{"value": value_of(asked, i), "probability": p} for i, p in enumerate(answer.probabilities)]
            return {"type": "choice", "choice": value_of(asked, at), "confidence": answer.confidence,
                    "probabilities": shares, **name}  # fmt: skip
        levels = [
            {"label": label, "value": i, "probability": p}
            for i, (label, p) in enumerate(zip(asked.labels, answer.probabilities, strict=True))
        ]
        return {"type": "score", "score": level(answer), "confidence": answer.confidence, "probabilities": levels,
                **name}  # fmt: skip

    def encode_error(self, status: int, said: str) -> dict[str, Any]:
        """A failure."""
        kind = "invalid_request_error" if status < 500 else "server_error"
        return {"error": {"message": said, "type": kind, "param": None, "code": None}}


DECIDERS: dict[str, OpenAIDecisions | SystemOne] = {"decisions": OpenAIDecisions(), "systemone": SystemOne()}


# -- OpenAI's questions and inputs -------------------------------------------------------------------------------------


def _said_question(asked: Question) -> dict[str, Any]:
    row: dict[str, Any] = {"type": asked.kind, "instructions": asked.wording, **given({"name": asked.name or None})}
    means = asked.descriptions or ("",) * len(asked.options)
    if asked.kind == "choice":
        row["choices"] = [
            {"value": value_of(asked, i), **given({"description": meaning or None})} for i, meaning in enumerate(means)
        ]
    if asked.kind == "score":
        row["levels"] = [
            {"label": label, **given({"description": meaning or None})}
            for label, meaning in zip(asked.labels, means, strict=True)
        ]
    if asked.kind == "predicate" and any(means):  # a predicate has no place for them of its own
        row["instructions"] += f" (yes: {means[0] or 'it is so'}; no: {means[1] or 'it is not'})"
    return row


def _question(row: Mapping[str, Any], where: str) -> Question:
    kind, name = row.get("type"), text(row.get("name"))
    said = row.get("instructions")
    words = said if isinstance(said, str) else text_of(_parts(said, f"{where}.instructions"))
    if not words.strip():
        raise RequestRefused(f"{where}.instructions: a question needs words")
    if kind == "predicate":
        return Question(name, "predicate", (True, False), ("yes", "no"), words)
    if kind not in ("choice", "score"):
        raise RequestRefused(f"{where}.type must be predicate, choice or score, not {kind!r}")
    field, key = ("choices", "value") if kind == "choice" else ("levels", "label")
    rows = [
        asked_table(one, f"{where}.{field}[{i}]")
        for i, one in enumerate(asked_list(row.get(field), f"{where}.{field}"))
    ]
    values = [one.get(key) for one in rows]
    if len(values) < 2 or not all(isinstance(v, str) or (kind == "choice" and isinstance(v, bool)) for v in values):
        raise RequestRefused(f"{where}.{field}: at least 2, each with a {key}")
    means = tuple(text(one.get("description")) for one in rows)
    labels = tuple({True: "yes", False: "no"}[v] if isinstance(v, bool) else cast(str, v) for v in values)
    options = tuple(values) if kind == "choice" else tuple(range(len(values)))
    return built(where, name, kind, options, labels, words, means if any(means) else ())


def _said_input(state: State) -> Any:
    if isinstance(state, str):
        return state
    if is_conversation(state):
        return [_said_turn(message) for message in cast(Sequence[Message], state)]
    data = dict(state) if isinstance(state, Mapping) else list(state)
    plain = isinstance(data, dict) or (data and all(isinstance(one, Mapping) for one in data))
    part = {"type": "input_json", "data": data} if plain else {"type": "input_text", "text": words_of(data)}
    return [{"type": "message", "role": "user", "content": [part]}]


def _said_turn(message: Message) -> dict[str, Any]:
    kind = "output_text" if message.role == "assistant" else "input_text"
    content = []
    for part in message.parts:
        if isinstance(part, Image):
            content.append({"type": "input_image", "image_url": data_url(part)})
        elif isinstance(part, Text):
            content.append({"type": kind, "text": part.text})
        else:
            raise Unsupported(f"a decision is asked about text and pictures, no {type(part).__name__}")
    return {"type": "message", "role": message.role, "content": content}


def _input(found: Any) -> State:
    """The state from the field input."""
    if isinstance(found, str):
        return found
    rows = [asked_table(row, f"input[{i}]") for i, row in enumerate(asked_list(found, "input"))]
    if not rows:
        raise RequestRefused("input must be a text or messages")
    if len(rows) == 1 and rows[0].get("role") == "user":  # JSON alone is the state itself
        parts = rows[0].get("content")
        if isinstance(parts, list) and len(parts) == 1 and inner(parts[0]).get("type") == "input_json":
            return cast(State, parts[0].get("data"))
    return tuple(_turn(row, f"input[{i}]") for i, row in enumerate(rows))


def _turn(row: Mapping[str, Any], where: str) -> Message:
    if row.get("type", "message") != "message":
        raise RequestRefused(f"{where}.type: only messages are read here, not {row.get('type')!r}")
    role = {"developer": "system"}.get(str(row.get("role")), row.get("role"))
    if role not in ("system", "user", "assistant"):
        raise RequestRefused(f"{where}.role must be system, developer, user or assistant, not {role!r}")
    content = row.get("content")
    parts = [Text(content)] if isinstance(content, str) else _parts(content, f"{where}.content")
    return Message(cast(Role, role), tuple(parts))


def _parts(found: Any, where: str) -> list[Part]:
    read: list[Part] = []
    for i, one in enumerate(asked_list(found, where)):
        row, place = asked_table(one, f"{where}[{i}]"), f"{where}[{i}]"
        match row.get("type"):
            case "input_text" | "output_text":
                read.append(Text(asked_text(row.get("text"), f"{place}.text")))
            case "input_json":
                read.append(Text(json.dumps(row.get("data"), ensure_ascii=False)))
            case "input_image":
                read.append(media_of(Image, asked_text(row.get("image_url"), f"{place}.image_url"), place))
            case kind:
                raise RequestRefused(f"{place}.type: no part {kind!r} is read here")
    return read
