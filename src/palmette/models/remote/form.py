"""The form that an answer of an API must have: how it is asked for, and how the answer is held to it.

An API's structured mode takes less than a JSON schema can say, so every answer is checked here, against all of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from palmette.core.errors import ConstraintError, Unsupported
from palmette.core.message import Output, Reasoning, Response, Text
from palmette.tokens.structure.remote import Remote, remote
from palmette.tokens.structure.schema.values import spelled

__all__ = ["Form", "form_of"]


@dataclass(frozen=True)
class Form:
    """What to put into a request's body, and how to read the answer.

    Args:
        body: fields of the request.
        plain: whether the answer's text is a JSON string's content (a choice, a regular expression).
        rewrites: whether the text that is sent differs from the document, so that it cannot be streamed as it comes.
    """

    asked: Remote = field(repr=False)
    body: Mapping[str, Any]
    plain: bool
    rewrites: bool

    @property
    def question(self) -> str:
        """What the model must be told where the API has no place for the schema; empty where it has."""
        if not self.asked.question:
            return ""
        return f"Answer with one JSON document alone, no other words, that fits this JSON Schema: {self.asked.question}"

    def fit(self, response: Response) -> tuple[Response | None, str]:
        """The answer with its text in the form that was asked for, or what is wrong with it."""
        if response.calls or response.finish == "content_filter":
            return response, ""
        try:
            value = self.asked.document(response.text)
        except ConstraintError as error:
            return None, str(error)
        thoughts = tuple(part for part in response.parts if isinstance(part, Reasoning))
        text = value if self.plain else spelled(value) if self.rewrites else response.text
        return replace(response, parts=(*thoughts, Text(text))), ""

    def failure(self, who: str, tries: int, said: str, complaint: str) -> ConstraintError:
        """What to raise when no answer fits."""
        count = f"no answer of {tries} fits" if tries > 1 else "the answer does not fit"
        return ConstraintError(f"{who}: {count}; of the last one, {said[:80]!r}: {complaint}")


def form_of(dialect: str, output: Output, who: str) -> Form:
    """How a provider is asked for a form.

    Raises:
        Unsupported: for a grammar, which no structured mode of a remote API takes.

    >>> form_of("ollama", Output("choices", ("yes", "no")), "ollama:m").body
    {'format': {'enum': ['yes', 'no']}}
    """
    if output.kind == "grammar":
        raise Unsupported(
            f"{who} takes no grammar; a model on this machine does, and any takes a JSON schema or choices"
        )
    schema, plain = output.value, False
    if output.kind == "choices":
        schema, plain = {"enum": list(output.value)}, True
    elif output.kind == "regex":
        schema, plain = {"type": "string", "pattern": f"^(?:{output.value})$"}, True
    made = remote(dialect, schema, name=re.sub(r"[^A-Za-z0-9_-]", "_", output.name) or "answer")
    return Form(made, made.body, plain, plain or made.wrapped or bool(made.optional) or bool(made.question))
