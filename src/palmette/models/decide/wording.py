"""How a question about a state is put to a model that takes words: a small template, yours or this one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

from palmette.core.decision import Question, State, is_conversation
from palmette.core.errors import BadParameter
from palmette.core.message import Message, Text

__all__ = ["PLAIN", "TALK", "Wording", "state_text"]


@dataclass(frozen=True)
class Wording:
    """A template for questions.

    Args:
        text: with {state}, {question}, {options} (their labels) and {meanings} (a line for each option that has a
            description) in it; what is asked of a model without a chat template ends where the answer begins.

    >>> from palmette.core.decision import question
    >>> print(PLAIN.put("It rains.", question(bool, "Is it wet?")))
    It rains.
    <BLANKLINE>
    Question: Is it wet?
    Answer with one of: yes, no
    Answer:
    """

    text: str

    def __post_init__(self) -> None:
        try:
            self.text.format(state="", question="", options="", meanings="")
        except (KeyError, IndexError, ValueError) as error:
            raise BadParameter(
                f"the wording {self.text!r} may name {{state}}, {{question}}, {{options}} and {{meanings}}: {error}"
            ) from None

    def put(self, state: str, asked: Question, labels: Sequence[str] = ()) -> str:
        """A question in words.

        Args:
            state: what it is about.
            asked: the question.
            labels: what stands for the options, if not their own labels.
        """
        said = list(labels) or list(asked.labels)
        meant = [
            f"{label}: {meaning}" for label, meaning in zip(said, self._meanings(asked, bool(labels)), strict=True)
            if meaning
        ]  # fmt: skip
        meanings = "\n".join(meant) + "\n" if meant else ""
        return self.text.format(state=state, question=asked.wording, options=", ".join(said), meanings=meanings)

    def turns(self, state: State, asked: Question, labels: Sequence[str] = ()) -> tuple[Message, ...]:
        """A question as a conversation; to one that is the state, it is the last turn."""
        if not is_conversation(state):
            return (Message.of("user", self.put(state_text(state), asked, labels)),)
        earlier = cast(Sequence[Message], state)
        said = self.put("", asked, labels).lstrip()
        if earlier[-1].role == "user":  # two turns of a user in a row are refused by many templates
            last = replace(earlier[-1], parts=(*earlier[-1].parts, Text(f"\n\n{said}")))
            return (*earlier[:-1], last)
        return (*earlier, Message.of("user", said))

    def _meanings(self, asked: Question, renamed: bool) -> Sequence[str]:
        means = asked.descriptions or ("",) * len(asked.labels)
        if not renamed:
            return means
        return [
            f"{label} ({meaning})" if meaning else label for label, meaning in zip(asked.labels, means, strict=True)
        ]


PLAIN = Wording("{state}\n\nQuestion: {question}\n{meanings}Answer with one of: {options}\nAnswer:")
TALK = Wording("{state}\n\n{question}\n{meanings}Answer with exactly one of: {options}")


def state_text(state: State) -> str:
    """A state as text: itself, or JSON.

    >>> state_text({"age": 4})
    '{"age": 4}'
    """
    return state if isinstance(state, str) else json.dumps(state, ensure_ascii=False)
