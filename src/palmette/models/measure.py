"""The loss of any engine on texts or on prompts with answers, example by example: what a search of merges goes by.

A root that was started with hidden states holds one for each of its tokens, and `project` makes scores of them. So one
prefill measures every token, on every engine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palmette.core.engine import Engine
from palmette.core.errors import BadParameter, UsageError

__all__ = ["Example", "Measure", "read_examples"]

Sums = NDArray[np.float64]
TOKENS = 1024  # of one prefill


@dataclass(frozen=True)
class Example:
    """A text whose tokens are predicted after a prompt (which may be empty)."""

    prompt: str
    answer: str


def read_examples(path: str | Path, characters: int = 400, most: int | None = None) -> list[Example]:
    """Examples of a file.

    Args:
        path: JSON lines of {"prompt": …, "answer": …} or {"text": …}; any other file is one text, cut at white space.
        characters: the length of a piece of plain text.
        most: only the first so many.

    Raises:
        UsageError: for a file that cannot be read or holds nothing.

    >>> import tempfile; name = Path(tempfile.mkdtemp()) / "x.jsonl"
    >>> _ = name.write_text('{"prompt": "2+2=", "answer": "4"}')
    >>> read_examples(name)
    [Example(prompt='2+2=', answer='4')]
    """
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the examples {str(path)!r} cannot be read: {error}") from error
    if Path(path).suffix in (".jsonl", ".json"):
        made = [_row(line, f"{path}:{n}") for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    else:
        made = [Example("", piece) for piece in _pieces(text, characters)]
    if not made:
        raise UsageError(f"{str(path)!r} holds no example")
    return made[:most]


def _row(line: str, where: str) -> Example:
    try:
        row = json.loads(line)
        if "text" in row:
            return Example("", str(row["text"]))
        return Example(str(row["prompt"]), str(row["answer"]))
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f'{where}: write {{"prompt": …, "answer": …}} or {{"text": …}} on a line') from error


def _pieces(text: str, characters: int) -> list[str]:
    """A text cut at white space into pieces of about this length."""
    made, piece = [], ""
    for word in text.split(" "):
        if piece and len(piece) + len(word) > characters:
            made.append(piece)
            piece = word
        else:
            piece = f"{piece} {word}" if piece else word
    return [one for one in [*made, piece] if one.strip()]


class Measure:
    """The loss on fixed examples.

    Args:
        examples: what is predicted.
    """

    def __init__(self, examples: Sequence[Example]) -> None:
        self.examples = list(examples)
        self.mark = hashlib.sha256(repr(self.examples).encode()).hexdigest()[:16]

    def counts(self, tokenizer: Any) -> Sums:
        """Predicted tokens of each example, under one tokenizer: the unit of all losses.

        Raises:
            BadParameter: if none is predicted.
        """
        made = np.array([len(ids) - first for ids, first in self._tokens(tokenizer)], np.float64)
        if not made.all():
            at = int(np.flatnonzero(made == 0)[0])
            raise BadParameter(f"example {at + 1} has no token to predict: {self.examples[at]!r}")
        return made

    def _tokens(self, tokenizer: Any) -> list[tuple[list[int], int]]:
        """(token ids, the first that is predicted) of each example."""
        made = []
        for example in self.examples:
            prompt = list(tokenizer.encode(example.prompt)) if example.prompt else []
            ids = (
                [*prompt, *tokenizer.encode_continuation(example.answer)]
                if prompt
                else list(tokenizer.encode(example.answer))
            )
            made.append((ids, max(1, len(prompt))))
        return made

    def sums(self, engine: Engine) -> Sums:
        """The loss of each example in nats, summed over its tokens; float64[examples]."""
        rows = [(ids[: engine.context_length], first) for ids, first in self._tokens(engine.tokenizer)]
        made: list[float] = []
        batch: list[tuple[list[int], int]] = []
        for row in rows:
            if batch and sum(len(ids) for ids, _ in batch) + len(row[0]) > TOKENS:
                made += _losses(engine, batch)
                batch = []
            batch.append(row)
        return np.array([*made, *_losses(engine, batch)], np.float64)


def _losses(engine: Engine, batch: Sequence[tuple[list[int], int]]) -> list[float]:
    made = []
    nodes = engine.prefill([ids for ids, _ in batch], hidden=True)
    for node, (ids, first) in zip(nodes, batch, strict=True):
        scores = engine.project(node.hidden[first - 1 : len(ids) - 1]).astype(np.float64)  # (targets, vocabulary)
        top = scores.max(axis=1, keepdims=True)
        whole = top[:, 0] + np.log(np.exp(scores - top).sum(axis=1))
        said = scores[np.arange(len(scores)), ids[first:]]
        made.append(float((whole - said).sum()))
    return made
