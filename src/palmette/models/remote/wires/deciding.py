"""What the two decision endpoints share: what was asked, and how probabilities and values are read and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from palmette.core.decision import Decision, Question, State, is_conversation
from palmette.core.errors import BadAnswer, BadParameter, RequestRefused, Unsupported
from palmette.core.message import Message, Usage
from palmette.models.remote.wires.reading import inner, number

__all__ = [
    "MOST", "Asked", "both", "built", "even", "few", "level", "plain", "share", "shares", "usage_of", "value_of",
    "words_of",
]  # fmt: skip

MOST = {"decisions": 400, "systemone": 64}  # questions of a request


@dataclass(frozen=True)
class Asked:
    """What a client asks."""

    model: str
    state: State
    questions: tuple[Question, ...]


def built(where: str, *fields: Any) -> Question:
    """A question of these fields.

    Raises:
        RequestRefused: for what is none, with its place.
    """
    try:
        return Question(*fields)
    except BadParameter as error:
        raise RequestRefused(f"{where}: {error}") from None


def few(name: str, questions: Sequence[Question]) -> None:
    """Refuse more questions than an endpoint takes at once."""
    if len(questions) > MOST[name]:
        raise Unsupported(f"{len(questions)} questions at once; the endpoint {name} takes {MOST[name]}")


def value_of(asked: Question, place: int) -> str | bool:
    """A choice as the endpoint writes it: true and false are themselves, all else is its label."""
    option = asked.options[place]
    return option if isinstance(option, bool) else asked.labels[place]


def plain(state: State) -> Any:
    """A state as JSON; a conversation as a list of roles and texts."""
    if not is_conversation(state):
        return state
    return [{"role": message.role, "content": message.text} for message in cast(Sequence[Message], state)]


def level(answer: Decision) -> float:
    """The mean place among the levels."""
    return float(sum(i * p for i, p in enumerate(answer.probabilities)))


def both(label: str, meaning: str) -> str:
    """A level with its meaning."""
    return f"{label}: {meaning}" if meaning else label


def words_of(value: Any) -> str:
    """JSON as text; text as it is."""
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def share(found: Any, asked: Question) -> float:
    """A probability.

    Raises:
        BadAnswer: for what is none.
    """
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not -1e-6 <= found <= 1 + 1e-6:
        raise BadAnswer(f"the answer to {asked.name!r} has the probability {found!r}")
    return min(1.0, max(0.0, float(found)))


def shares(found: Sequence[Any], asked: Question) -> tuple[float, ...]:
    """Probabilities that sum to 1; an endpoint's rounding is evened out."""
    parts = [share(one, asked) for one in found]
    total = sum(parts)
    if not 0.9 < total < 1.1:
        raise BadAnswer(f"the probabilities of {asked.name!r} sum to {total:g}")
    return tuple(parts) if abs(total - 1) < 1e-9 else tuple(one / total for one in parts)


def even(asked: Question) -> tuple[float, ...]:
    """All options alike."""
    return (1 / len(asked.options),) * len(asked.options)


def usage_of(found: Any) -> Usage | None:
    """Tokens."""
    if not isinstance(found, Mapping):
        return None
    into, out = inner(found.get("input_tokens_details")), inner(found.get("output_tokens_details"))
    return Usage(
        number(found.get("input_tokens")), number(found.get("output_tokens")), number(into.get("cached_tokens")),
        number(into.get("cache_write_tokens")), number(out.get("reasoning_tokens")),
    )  # fmt: skip
