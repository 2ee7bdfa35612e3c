"""A question put to a model with facts beside it, as many as it can hold; its text, with what it cost."""

from __future__ import annotations

from collections.abc import Sequence

from palmette.core.engine import View
from palmette.core.errors import BadParameter
from palmette.core.message import Message, Output, Request
from palmette.core.model import Model
from palmette.knowledge.extract.by_model import Local
from palmette.knowledge.values import Fact
from palmette.tokens.decode import decode
from palmette.tokens.strategies.sampling import greedy
from palmette.tokens.structure.as_views import constraint

__all__ = ["asked", "fitting", "told"]

ROOM = 64  # tokens of an answer, at least


def fitting(by: Model | Local, task: str, question: str, facts: tuple[Fact, ...]) -> tuple[Fact, ...]:
    """As many of the facts, the best first, as a context holds with room for an answer.

    Raises:
        BadParameter: if it does not hold one.
    """
    while isinstance(by, Local):
        ids = [f"F{i}" for i in range(1, len(facts) + 1)]
        prompt = by.spoken(by.engine, told(task, question, facts, ids))
        if by.engine.context_length - len(prompt) > ROOM:
            break
        if len(facts) < 2:
            raise BadParameter(
                f"{by.id} holds {by.engine.context_length} tokens, too few for the question with a single fact"
            )
        facts = facts[: len(facts) // 2]
    return facts


def told(task: str, question: str, facts: Sequence[Fact], ids: Sequence[str] | None = None) -> tuple[Message, ...]:
    """A task, and facts with their first quotes and with their numbers, where they have some."""
    lines = []
    for number, fact in enumerate(facts):
        quote = f" (“{fact.quotes[0].text}”)" if fact.quotes else ""
        lines.append(f"{f'{ids[number]}: ' if ids else '- '}{fact}{quote}")
    listed = "\n".join(lines)
    return Message.of("system", task), Message.of("user", f"Facts:\n{listed}\n\nQuestion: {question}")


def asked(by: Model | Local, said: Sequence[Message], schema: object | None, max_tokens: int) -> tuple[str, int]:
    """The model's text, and the tokens of both sides."""
    if isinstance(by, Model):
        output = None if schema is None else Output("json", schema, "cited")
        response = by.respond(Request(tuple(said), max_tokens=max_tokens, temperature=0.0, output=output))
        return response.text, (response.usage.input + response.usage.output) if response.usage else 0
    prompt = by.spoken(by.engine, said)
    room = by.engine.context_length - len(prompt) - 1
    views: list[View] = [*([] if schema is None else [constraint(schema)]), *by.views]
    strategy = by.strategy or greedy()
    most = min(max_tokens, room)
    done = decode(by.engine, prompt, strategy, views=views, max_tokens=most, seed=by.seed, trace=False).run()
    return done.text, len(prompt) + len(done.answers[0].tokens)
