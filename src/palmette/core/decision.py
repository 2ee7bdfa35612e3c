"""Decisions: typed questions about a state, each answered by a probability for every option.

A predicate is true or false, a choice is one of several values, a score is one of ordered levels. Whatever a model
says, confidence is 1 when one option is certain and 0 when the model has no idea.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args, get_origin

from palmette.core.errors import BadParameter, UnknownName, UsageError
from palmette.core.message import Message, Usage

__all__ = ["Decision", "Decisions", "How", "Question", "State", "is_conversation", "question", "questions_of"]

How = Literal["exact", "logprobs", "decisions", "systemone", "samples"]
State = str | Mapping[str, Any] | Sequence[Any]  # text, JSON, or a conversation
YES_NO = ("yes", "no")


@dataclass(frozen=True)
class Question:
    """A typed question. Made by `question`, or from a type.

    Args:
        name: what the answer is called.
        kind: "predicate", "choice" or "score".
        options: the values that may be the answer; levels of a score in ascending order.
        labels: how each is said to the model.
        text: the question in words; its name unless given.
        descriptions: what each option means, or nothing.
    """

    name: str
    kind: Literal["predicate", "choice", "score"]
    options: tuple[Any, ...]
    labels: tuple[str, ...]
    text: str = ""
    descriptions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        who = f"question {self.name!r}"
        if not self.options:
            raise BadParameter(f"{who} has no options")
        if not all(label.strip() for label in self.labels):
            raise BadParameter(f"{who} has an empty option")
        if len(set(self.labels)) < len(self.labels):
            twice = next(a for i, a in enumerate(self.labels) if a in self.labels[:i])
            raise BadParameter(f"{who} has the option {twice!r} twice")
        if self.descriptions and len(self.descriptions) != len(self.options):
            raise BadParameter(f"{who} has {len(self.options)} options and {len(self.descriptions)} descriptions")

    @property
    def wording(self) -> str:
        """The question as it is asked."""
        return self.text or self.name.replace("_", " ")


def question(
    kind: Any, text: str = "", descriptions: Mapping[Any, str] | Sequence[str] = (), *, name: str = ""
) -> Question:
    """A question of a type, with words of its own.

    Args:
        kind: bool; Literal[…], an Enum or a list of texts, for a choice; a range, for a score.
        text: the question; the name it is asked under unless given.
        descriptions: what options mean, by option or in their order.
        name: what the answer is called, where it is not the key of a mapping.

    Raises:
        BadParameter: for a type that is no question.

    >>> question(range(1, 6), "How urgent is it?").labels
    ('1', '2', '3', '4', '5')
    """
    if isinstance(kind, Question):
        return replace(kind, text=text or kind.text, name=name or kind.name)
    sort: Literal["predicate", "choice", "score"] = "choice"
    options: tuple[Any, ...]
    if kind is bool:
        sort, options = "predicate", (True, False)
    elif isinstance(kind, range):
        sort, options = "score", tuple(kind if kind.step > 0 else reversed(kind))
    elif get_origin(kind) is Literal:
        options = get_args(kind)
    elif (isinstance(kind, type) and issubclass(kind, enum.Enum)) or (
        isinstance(kind, (list, tuple)) and all(isinstance(one, str) for one in kind)
    ):
        options = tuple(kind)
    else:
        raise BadParameter(f"{kind!r} is no question: ask bool, Literal[…], an Enum, a list of texts or a range")
    if isinstance(descriptions, Mapping):
        unknown = next((key for key in descriptions if key not in options), None)
        if unknown is not None:
            raise UnknownName("option", str(unknown), [str(option) for option in options])
        means = tuple(descriptions.get(option, "") for option in options)
    else:
        means = tuple(descriptions)
    return Question(name, sort, options, tuple(map(_label, options)), text, means if any(means) else ())


def questions_of(asked: Mapping[str, Any]) -> tuple[Question, ...]:
    """Questions by name, from types.

    >>> questions_of({"spam": bool})[0].labels
    ('yes', 'no')
    """
    if not isinstance(asked, Mapping) or not asked:
        raise UsageError(f"ask at least one question, as {{'spam': bool}}, not {asked!r}")
    return tuple(question(kind, name=name) for name, kind in asked.items())


@dataclass(frozen=True)
class Decision:
    """The answer to a question: a probability for each of its options.

    Args:
        probabilities: in the order of the question's options; they sum to 1.
        how: "exact" from the scores of every token; "logprobs" from the likeliest tokens that an API reports;
            "decisions" or "systemone" as a native endpoint says; "samples" as counted.
        intervals: for each option where its probability lies with 95 % confidence, where that is not a point.
        refused: whether the model declined; the probabilities are then equal.
    """

    question: Question
    probabilities: tuple[float, ...]
    how: How
    intervals: tuple[tuple[float, float], ...] = ()
    refused: bool = False
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> Any:
        """The likeliest option, the first of equals."""
        return self.question.options[self.probabilities.index(max(self.probabilities))]

    @property
    def probability(self) -> float:
        """Of yes.

        Raises:
            UsageError: for a question that is not answered by yes or no.
        """
        if self.question.kind != "predicate":
            raise UsageError(f"{self.question.name!r} is a {self.question.kind}; ask for the probability of an option")
        return self.probabilities[0]

    @property
    def expected(self) -> float:
        """The mean level of a score.

        Raises:
            UsageError: for another question.
        """
        if self.question.kind != "score":
            raise UsageError(f"{self.question.name!r} is a {self.question.kind} and has no mean")
        return float(sum(p * option for p, option in zip(self.probabilities, self.question.options, strict=True)))

    @property
    def entropy(self) -> float:
        """In nats: 0 when one option is certain, log n when all n are alike."""
        return -sum(p * math.log(p) for p in self.probabilities if p > 0)

    @property
    def confidence(self) -> float:
        """1 when one option is certain, 0 when all are alike; for a score, levels beside the best one count partly."""
        count = len(self.probabilities)
        if count == 1:
            return 1.0
        at = self.probabilities.index(max(self.probabilities))
        if self.question.kind != "score":
            return max(0.0, (self.probabilities[at] * count - 1) / (count - 1))
        far = sum(p * abs(i - at) for i, p in enumerate(self.probabilities))
        even = sum(abs(i - (count - 1) / 2) for i in range(count)) / count
        return max(0.0, 1 - far / even)

    def __getitem__(self, option: Any) -> float:
        """The probability of an option."""
        for known, p in zip(self.question.options, self.probabilities, strict=True):
            if known == option and isinstance(known, bool) == isinstance(option, bool):
                return p
        raise UnknownName("option", str(option), [str(known) for known in self.question.options])

    def as_json(self) -> dict[str, Any]:
        """The answer as JSON; options by their labels."""
        labels = self.question.labels
        at = self.probabilities.index(max(self.probabilities))
        best = self.best if isinstance(self.best, (bool, int, float, str)) else labels[at]
        made: dict[str, Any] = {
            "kind": self.question.kind, "best": best, "confidence": self.confidence, "entropy": self.entropy,
            "probabilities": dict(zip(labels, self.probabilities, strict=True)), "how": self.how,
        }  # fmt: skip
        if self.question.kind == "score" and all(isinstance(option, (int, float)) for option in self.question.options):
            made["expected"] = self.expected
        if self.intervals:
            made["intervals"] = dict(zip(labels, map(list, self.intervals), strict=True))
        return made | ({"refused": True} if self.refused else {}) | ({"notes": list(self.notes)} if self.notes else {})


@dataclass(frozen=True)
class Decisions(Mapping[str, Decision]):
    """Answers by the names of their questions."""

    answers: tuple[Decision, ...]
    model: str = ""
    usage: Usage | None = None
    notes: tuple[str, ...] = field(default=())

    def __getitem__(self, name: str) -> Decision:
        for answer in self.answers:
            if answer.question.name == name:
                return answer
        raise UnknownName("question", str(name), list(self))

    def __iter__(self) -> Iterator[str]:
        return (answer.question.name for answer in self.answers)

    def __len__(self) -> int:
        return len(self.answers)

    @property
    def best(self) -> dict[str, Any]:
        """The likeliest option of every question."""
        return {answer.question.name: answer.best for answer in self.answers}


def is_conversation(state: State) -> bool:
    """Whether a state is messages."""
    return not isinstance(state, (str, Mapping)) and len(state) > 0 and all(isinstance(m, Message) for m in state)


def _label(option: Any) -> str:
    if isinstance(option, bool):
        return YES_NO[not option]
    return _label(option.value) if isinstance(option, enum.Enum) else str(option)
