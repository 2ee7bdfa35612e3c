"""Text cut into pieces that know where they stand: `text[piece.start:piece.end] == piece.text`, always.

Paragraphs are kept whole and gathered up to a size; a heading begins a piece; what is too long is cut between
sentences, then between words, and only then inside one. Nothing but white space is left out, and no piece overlaps
another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from palmette.core.errors import BadParameter
from palmette.knowledge.values import Piece

__all__ = ["pieces", "sentences"]

SIZE = 1200
_BLANK = re.compile(r"\n[ \t\r\f\v]*\n\s*")
_HEADING = re.compile(r"#{1,6}\s|\S[^\n]{0,300}\n(?:=+|-{3,})[ \t]*(?:\n|\Z)")
_END = re.compile(r"(?<=[.!?。！？…])[\"'”’)\]]*\s+(?=[\"'“‘(\[]?[^\Wa-z_])|\n[ \t]*(?=[-*+•]\s|\d+[.)]\s)")
_ABBREVIATION = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|Sr|Jr|vs|etc|e\.g|i\.e|No|Inc|Ltd|Co|Corp|Gen|Col|Sen|Rep)|\b[A-Z])\.\s*$"
)


def pieces(text: str, size: int = SIZE) -> list[Piece]:
    """Cut a text into pieces of at most `size` characters.

    >>> [p.text for p in pieces("One. Two.\\n\\n# Head\\nThree.", 20)]
    ['One. Two.', '# Head\\nThree.']
    """
    if size < 20:
        raise BadParameter(f"a piece needs room for a sentence: at least 20 characters, not {size!r}")
    found: list[Piece] = []
    start = end = -1
    for a, b in _paragraphs(text, size):
        heading = bool(_HEADING.match(text, a))
        if start >= 0 and (heading or b - start > size):
            found.append(Piece(start, end, text[start:end]))
            start = -1
        if start < 0:
            start = a
        end = b
    if start >= 0:
        found.append(Piece(start, end, text[start:end]))
    return found


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Where the sentences of a text begin and end; a paragraph's end ends one, an abbreviation does not.

    >>> [("He met Dr. Who. Then he left.")[a:b] for a, b in sentences("He met Dr. Who. Then he left.")]
    ['He met Dr. Who.', 'Then he left.']
    """
    for a, b in _split(text, 0, len(text), _BLANK):
        start = a
        for cut in _END.finditer(text, a, b):
            if _ABBREVIATION.search(text, max(a, cut.start() - 8), cut.start()):
                continue
            yield from _stripped(text, start, cut.start())
            start = cut.end()
        yield from _stripped(text, start, b)


def _paragraphs(text: str, size: int) -> Iterator[tuple[int, int]]:
    for a, b in _split(text, 0, len(text), _BLANK):
        if b - a <= size:
            yield a, b
            continue
        start = end = -1
        for c, d in _fitting(text, a, b, size):
            if start >= 0 and d - start > size:
                yield start, end
                start = -1
            start, end = (c, d) if start < 0 else (start, d)
        if start >= 0:
            yield start, end


def _fitting(text: str, a: int, b: int, size: int) -> Iterator[tuple[int, int]]:
    """The sentences of a stretch; those that are too long are cut between words, or anywhere."""
    for c, d in sentences(text[a:b]):
        start, end = a + c, a + d
        while end - start > size:
            space = max(
                text.rfind(" ", start + size // 2, start + size), text.rfind("\n", start + size // 2, start + size)
            )
            cut = space if space > 0 else start + size
            yield from _stripped(text, start, cut)
            start = cut
        yield from _stripped(text, start, end)


def _split(text: str, a: int, b: int, at: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    start = a
    for cut in at.finditer(text, a, b):
        yield from _stripped(text, start, cut.start())
        start = cut.end()
    yield from _stripped(text, start, b)


def _stripped(text: str, a: int, b: int) -> Iterator[tuple[int, int]]:
    while a < b and text[a].isspace():
        a += 1
    while a < b and text[b - 1].isspace():
        b -= 1
    if a < b:
        yield a, b
