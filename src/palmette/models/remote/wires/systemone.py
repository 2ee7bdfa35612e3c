"""TypeSafe's POST /v1/systemone, in both directions: questions of type noul, choice and score under their names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from palmette.core.decision import Decision, Decisions, Question, State
from palmette.core.errors import RequestRefused
from palmette.core.message import Usage
from palmette.models.remote.wires.deciding import (
    MOST,
    Asked,
    both,
    built,
    few,
    level,
    plain,
    share,
    shares,
    usage_of,
    words_of,
)
from palmette.models.remote.wires.reading import asked_list, asked_table, asked_text, inner, items, table, text

__all__ = ["SystemOne"]


class SystemOne:
    """POST /v1/systemone: an object of questions (noul, choice, score), and an object of answers."""

    name: ClassVar[str] = "systemone"
    path: ClassVar[str] = "/v1/systemone"

    def encode(self, model: str, state: State, questions: Sequence[Question]) -> dict[str, Any]:
        """The body of a request."""
        few(self.name, questions)
        return {"model": model, "state": plain(state), "questions": {q.name: self._asked(q) for q in questions}}

    def _asked(self, asked: Question) -> dict[str, Any]:
        means = asked.descriptions or ("",) * len(asked.options)
        row: dict[str, Any] = {"type": "noul" if asked.kind == "predicate" else asked.kind}
        row["instructions"] = asked.wording
        if asked.kind == "predicate":
            return row | ({"criteria": {"true": means[0], "false": means[1]}} if any(means) else {})
        if asked.kind == "choice":
            return row | {
                "criteria": {label: meaning or None for label, meaning in zip(asked.labels, means, strict=True)}
            }
        return row | {"criteria": [both(label, meaning) for label, meaning in zip(asked.labels, means, strict=True)]}

    def decode(self, body: Any, questions: Sequence[Question]) -> Decisions:
        """The answers to questions.

        Raises:
            BadAnswer: for what does not answer them.
        """
        answers = table(table(body, "the answer").get("answers"), "answers")
        answered = tuple(self._answer(table(answers.get(q.name), f"answers.{q.name}"), q) for q in questions)
        return Decisions(answered, text(body.get("model")), usage_of(body.get("usage")))

    def _answer(self, row: Mapping[str, Any], asked: Question) -> Decision:
        if asked.kind == "predicate":
            p = share(row.get("noul"), asked)
            return Decision(asked, (p, 1 - p), "systemone")
        found = inner(row.get("probabilities"))
        names = asked.labels if asked.kind == "choice" else [str(i) for i in range(len(asked.options))]
        return Decision(asked, shares([found.get(name) for name in names], asked), "systemone")

    def complaint(self, body: Any) -> str:
        """What an error's body says."""
        said = inner(body).get("detail") or inner(body).get("error")
        if isinstance(said, list):
            return "; ".join(f"{'.'.join(map(str, row.get('loc', ())))}: {row.get('msg', '')}" for row in items(said))
        return text(said) or text(inner(said).get("message"))

    def decode_request(self, body: Any) -> Asked:
        """What a client asks.

        Raises:
            RequestRefused: for a body that is no such request, with the place in it.
        """
        body = asked_table(body, "the body")
        if body.get("assets"):
            raise RequestRefused("assets: pictures are not read here")
        rows = asked_table(body.get("questions"), "questions")
        if not 1 <= len(rows) <= MOST[self.name]:
            raise RequestRefused(f"questions must be 1 to {MOST[self.name]}, not {len(rows)}")
        state = body.get("state")
        if not isinstance(state, (str, Mapping, list)):
            raise RequestRefused(f"state must be a text, an object or a list, not {str(state)[:80]!r}")
        questions = tuple(self._question(name, asked_table(row, f"questions.{name}")) for name, row in rows.items())
        return Asked(asked_text(body.get("model"), "model"), state, questions)

    def _question(self, name: str, row: Mapping[str, Any]) -> Question:
        where = f"questions.{name}"
        said = row.get("instructions")
        words = said if isinstance(said, str) else "" if said is None else json.dumps(said, ensure_ascii=False)
        kind, criteria = row.get("type"), row.get("criteria")
        if kind == "noul":
            known = asked_table(criteria or {}, f"{where}.criteria")
            means = tuple(words_of(known.get(key)) for key in ("true", "false"))
            return Question(name, "predicate", (True, False), ("yes", "no"), words, means if any(means) else ())
        if kind == "choice":
            options = asked_table(criteria, f"{where}.criteria")
            means = tuple(words_of(one) for one in options.values())
            return built(where, name, "choice", (*options,), (*options,), words, means if any(means) else ())
        if kind == "score":
            levels = tuple(words_of(one) for one in asked_list(criteria, f"{where}.criteria"))
            return built(where, name, "score", (*range(len(levels)),), levels, words)
        raise RequestRefused(f"{where}.type must be choice, score or noul, not {kind!r}")

    def encode_response(self, decisions: Decisions) -> dict[str, Any]:
        """The answers."""
        usage = decisions.usage or Usage()
        return {
            "model": decisions.model,
            "answers": {answer.question.name: self._said(answer) for answer in decisions.answers},
            "usage": {"input_tokens": usage.input, "output_tokens": usage.output},
        }

    def _said(self, answer: Decision) -> dict[str, Any]:
        asked = answer.question
        if asked.kind == "predicate":
            return {"type": "noul", "noul": answer.probabilities[0]}
        if asked.kind == "choice":
            best = asked.labels[answer.probabilities.index(max(answer.probabilities))]
            shares = dict(zip(asked.labels, answer.probabilities, strict=True))
            return {"type": "choice", "choice": best, "confidence": answer.confidence, "probabilities": shares}
        return {
            "type": "score", "score": level(answer), "legend": {str(i): label for i, label in enumerate(asked.labels)},
            "confidence": answer.confidence, "probabilities": {str(i): p for i, p in enumerate(answer.probabilities)},
        }  # fmt: skip

    def encode_error(self, status: int, said: str) -> dict[str, Any]:
        """A failure."""
        return {"detail": [{"loc": ["body"], "msg": said, "type": "value_error"}] if status == 422 else said}
