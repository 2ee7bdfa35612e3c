"""Decisions of a model on this machine: the exact log-likelihood of every option, all in one forward pass.

Every question is a prompt of its own, so that its answer depends neither on the other questions nor on their order. All
beginnings of all options after all prompts are read together: the engine computes and stores what they share (the
state, a question, the first tokens of an option) once.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from palmette.core.decision import Question, State
from palmette.core.engine import Engine, Node, Tokenizer, View
from palmette.core.errors import BadParameter, PromptTooLong
from palmette.core.message import Request, Usage
from palmette.core.scores import Scores
from palmette.models.answering import prompt_of
from palmette.models.decide.wording import PLAIN, TALK, Wording
from palmette.models.template import template_of
from palmette.tokens.structure.finite import spelled
from palmette.tokens.views.base import compose

__all__ = ["Way", "exact", "ways_of"]

_closings: weakref.WeakKeyDictionary[Tokenizer, list[int]] = weakref.WeakKeyDictionary()
ROWS = 1 << 26  # scores of so many tokens are held at once: 256 MB
Way = tuple[tuple[int, ...], tuple[int, ...], bool]  # prompt, the option's tokens, whether it must also end


def exact(
    engine: Engine, state: State, questions: Sequence[Question], views: Sequence[View] = (),
    wording: Wording | None = None,
) -> tuple[list[tuple[float, ...]], Usage]:  # fmt: skip
    """For each question log p(option | state, question) of every option, and how many tokens were read.

    Args:
        engine: the model.
        state: what the questions are about.
        questions: what to ask.
        views: what to see the model through.
        wording: how to ask; through the chat template where the model has one.

    Raises:
        PromptTooLong: for a state that does not fit the context.
    """
    ways = [ways_of(engine, state, question, wording) for question in questions]
    flat = [way for one in ways for way in one]
    found = _after(compose(engine, views), flat) if views else _together(engine, flat)
    scores = iter(found)
    read = {(*prompt, *(option if ends else option[:-1])) for prompt, option, ends in flat}
    return [tuple(next(scores) for _ in one) for one in ways], Usage(_distinct(sorted(read)), 0)


def ways_of(engine: Engine, state: State, question: Question, wording: Wording | None = None) -> list[Way]:
    """The options of a question as tokens after its prompt.

    Where one option begins another, as 1 begins 10, each must be followed by its end: an end-of-sequence token, or one
    that begins a new line.
    """
    words = wording or (PLAIN if template_of(engine) is None else TALK)
    prompt = prompt_of(engine, Request(words.turns(state, question)))
    space = " " if prompt.template is None or prompt.trim else ""
    options = [spelled(engine, space + label) for label in question.labels]
    longest = max(map(len, options))
    if len(prompt.tokens) + longest > engine.context_length:
        raise PromptTooLong(
            f"question {question.name!r} with its state has {len(prompt.tokens)} tokens and answers of up to "
            f"{longest}, the context holds {engine.context_length}"
        )
    overlap = any(longer[: len(short)] == short for short, longer in pairwise(sorted(options)))
    return [(tuple(prompt.tokens), option, overlap) for option in options]


def _together(engine: Engine, ways: Sequence[Way]) -> list[float]:
    """log p of every way, from prompts that are all beginnings of the ways: one pass, and nothing is read twice."""
    asked: dict[tuple[int, ...], set[int]] = {}  # after each beginning, the tokens whose log p is wanted
    over: set[tuple[int, ...]] = set()
    for prompt, option, ends in ways:
        for i, token in enumerate(option):
            asked.setdefault((*prompt, *option[:i]), set()).add(token)
        if ends:
            asked.setdefault((*prompt, *option), set())
            over.add((*prompt, *option))
    closing = _closing(engine) if over else []
    found: dict[tuple[int, ...], dict[int, float]] = {}
    ended: dict[tuple[int, ...], float] = {}
    prompts = sorted(asked)
    group = max(16, ROWS // engine.vocabulary)
    for start in range(0, len(prompts), group):
        some = prompts[start : start + group]
        for prompt, node in zip(some, engine.prefill(some), strict=True):
            found[prompt] = {token: node.scores.logprob(token) for token in asked[prompt]}
            if prompt in over:
                ended[prompt] = _log_mass(node.scores, closing)
    return [
        sum(found[(*prompt, *option[:i])][token] for i, token in enumerate(option))
        + (ended[(*prompt, *option)] if ends else 0.0)
        for prompt, option, ends in ways
    ]


def _after(engine: Engine, ways: Sequence[Way]) -> list[float]:
    """The same through views, which tell a prompt from what follows it: prompts first, then all options."""
    prompts = sorted({prompt for prompt, _, _ in ways})
    roots = dict(zip(prompts, engine.prefill(prompts), strict=True))
    said = [option if ends else option[:-1] for _, option, ends in ways]
    grown = [i for i, tokens in enumerate(said) if tokens]
    starts = [roots[ways[i][0]] for i in grown]
    leaves = dict(zip(grown, engine.extend(starts, [said[i] for i in grown]), strict=True)) if grown else {}
    closing = _closing(engine) if any(ends for _, _, ends in ways) else []
    found = []
    for i, (prompt, option, ends) in enumerate(ways):
        node: Node = leaves.get(i, roots[prompt])
        total = _log_mass(node.scores, closing) if ends else node.scores.logprob(option[-1])
        for token in reversed(option if ends else option[:-1]):
            assert node.parent is not None
            node = node.parent
            total += node.scores.logprob(token)
        found.append(total)
    return found


def _closing(engine: Engine) -> list[int]:
    """The tokens after which an answer is over."""
    known = _closings.get(engine.tokenizer)
    if known is None:
        known = _closings[engine.tokenizer] = _found_closing(engine)
    return known


def _found_closing(engine: Engine) -> list[int]:
    lines = {t for t in range(engine.vocabulary) if t < engine.tokenizer.size
             and t not in engine.tokenizer.special and engine.tokenizer.token_bytes(t)[:1] == b"\n"}  # fmt: skip
    closing = sorted(engine.eos | lines)
    if not closing:
        raise BadParameter("options that begin one another need a model with an end-of-sequence or a new-line token")
    return closing


def _log_mass(scores: Scores, tokens: Sequence[int]) -> float:
    """log Σ p of tokens."""
    found = np.array([scores.logprob(token) for token in tokens])
    most = found.max()
    return float(most + np.log(np.exp(found - most).sum())) if np.isfinite(most) else float("-inf")


def _distinct(sequences: Sequence[tuple[int, ...]]) -> int:
    """Tokens of sorted sequences, what neighbours share counted once."""
    total, before = 0, tuple[int, ...]()
    for one in sequences:
        shared = 0
        while shared < min(len(one), len(before)) and one[shared] == before[shared]:
            shared += 1
        total += len(one) - shared
        before = one
    return total
