"""How many tokens a request can have, before it is sent: roughly, and at most.

A token stands for at least one byte of text (byte-level vocabularies, SentencePiece with byte fallback), so a text has
never more tokens than bytes; around each turn a chat format writes a few more.
"""

from __future__ import annotations

import json

from palmette.core.errors import Unsupported
from palmette.core.message import Media, Request, Text, ToolCall, ToolResult

__all__ = ["at_most", "roughly"]

AROUND = 16  # tokens that a chat format may write around a turn or a tool
PICTURE = 1000  # tokens of a picture, roughly


def roughly(request: Request) -> int:
    """Tokens of a question and its answer: a quarter of the characters, and max_tokens for each answer.

    >>> from palmette.core.message import Message
    >>> roughly(Request((Message.of("user", "a" * 40),), max_tokens=5))
    15
    """
    texts, files = _texts(request)
    return max(1, sum(map(len, texts)) // 4) + files * PICTURE + (request.max_tokens or 0) * (request.n or 1)


def at_most(request: Request) -> int:
    """Tokens that a question cannot have more of.

    Raises:
        Unsupported: for a picture, sound or document, whose tokens its bytes do not bound.
    """
    texts, files = _texts(request)
    if files:
        raise Unsupported("the tokens of a picture, sound or document cannot be bounded before the call")
    turns = len(request.messages) + len(request.tools) + 2
    return sum(len(text.encode()) for text in texts) + AROUND * turns


def _texts(request: Request) -> tuple[list[str], int]:
    """All text of a question, and how many files it has."""
    texts: list[str] = []
    files = 0
    for part in (part for message in request.messages for part in message.parts):
        if isinstance(part, Media):
            files += 1
        elif isinstance(part, ToolCall):
            texts += [part.name, part.arguments]
        elif isinstance(part, (Text, ToolResult)):
            texts.append(part.text)
            files += len(part.media) if isinstance(part, ToolResult) else 0
        else:
            texts += [part.text, part.signature]
    for tool in request.tools:
        texts += [tool.name, tool.description, json.dumps(dict(tool.parameters), default=str)]
    if request.output is not None:
        texts.append(json.dumps(request.output.value, default=str))
    if request.extra:
        texts.append(json.dumps(dict(request.extra), default=str))
    return texts, files
