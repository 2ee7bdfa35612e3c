"""Text cut into pieces that know where they stand: `text[piece.start:piece.end] == piece.text`, always.

Paragraphs are kept whole and gathered up to a size; a heading begins a piece; what is too long is cut between
sentences, then between words, and only then inside one. Nothing but white space is left out, and no piece overlaps
another. A sentence stays within what Markdown sets apart: a heading, an item, a row of a table, a line of code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from palmette.core.errors import BadParameter
from palmette.knowledge.values import Piece

__all__ = ["pieces", "sentences"]

SIZE = 1200
_BLANK = re.compile(r"\n[ \t\r\f\v]*\n\s*")
_HEADING = re.compile(r"#{1,6}\s|\S[^\n]{0,300}\n(?:=+|-{3,})[ \t]*(?:\n|\Z)")
_END = re.compile(r"(?<=[.!?。！？…])([\"'”’)\]*_]*)\s+(?=[\"'“‘(\[*_]{0,4}[^\Wa-z_])")
# How a line begins that goes on with nothing; what is drawn before what is written.
_MARK = re.compile(
    r"[ \t]*(?:(?P<rule>(?:(?:[-*_][ \t]*){3,}|=+[ \t]*|\+[-=+]{2,}[ \t]*|`{3,}[^`\n]*|~{3,}[^\n]*)(?=\n|\Z))"
    r"|(?P<head>#{1,6}(?=\s|\Z)[ \t]*)|(?P<row>(?=\|))|(?P<quote>>[ \t]?)"
    r"|(?P<item>[-*+•](?=\s|\Z)[ \t]*(?:\[[ xX]\][ \t]+)?)|(?P<first>1[.)](?=\s|\Z)[ \t]*)"
    r"|(?P<next>\d{1,3}[.)](?=\s|\Z)[ \t]*))"
)
_RULED = r"[ \t]*:?-+:?[ \t]*"
_UNDER_HEADS = re.compile(rf"[ \t]*(?:\|{_RULED}\||\|?{_RULED}(?:\|{_RULED})+\|?)[ \t]*")
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})([^\n`]*)$", re.MULTILINE)
_HOLDING = ("item", "first", "next", "quote")  # what may begin with another mark
_ALONE = ("rule", "head", "row")
Span = tuple[int, int]
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


def sentences(text: str) -> tuple[Span, ...]:
    """Where the sentences of a text begin and end; a paragraph's end ends one, an abbreviation does not.

    Headings, items, rows of tables and lines of code are sentences of their own, without their marks.

    >>> [("He met Dr. Who. Then he left.")[a:b] for a, b in sentences("He met Dr. Who. Then he left.")]
    ['He met Dr. Who.', 'Then he left.']
    >>> text = "# The Company\\nIt is old.\\n- Ann met Bob\\n- Bob left"
    >>> [text[a:b] for a, b in sentences(text)]
    ['The Company', 'It is old.', 'Ann met Bob', 'Bob left']
    """
    return _sentences(text)


@lru_cache(8)  # a piece is asked for its names, then for its statements
def _sentences(text: str) -> tuple[Span, ...]:
    return tuple(span for block in _blocks(text) for span in block.sentences(text))


class _Block(NamedTuple):
    """A stretch that no sentence leaves: its beginning, that of its words after a mark, their end, and its own.

    One that is `whole` is one sentence, whatever points are in it.
    """

    start: int
    words: int
    last: int
    end: int
    whole: bool = False

    def sentences(self, text: str) -> Iterator[Span]:
        """Its sentences."""
        start = self.words
        for cut in () if self.whole else _END.finditer(text, start, self.last):
            if _ABBREVIATION.search(text, max(self.words, cut.start() - 8), cut.start()):
                continue
            yield from _stripped(text, start, cut.end(1))
            start = cut.end()
        yield from _stripped(text, start, self.last)


def _blocks(text: str) -> Iterator[_Block]:
    at = 0
    for a, b in _fenced(text):
        yield from _prose(text, at, a)
        lines = [span for line in _lines(text, a, b) for span in _stripped(text, *line)]
        for i, (start, end) in enumerate(lines):
            yield _Block(start, start, start if i in (0, len(lines) - 1) else end, end, whole=True)
        at = b
    yield from _prose(text, at, len(text))


def _fenced(text: str) -> Iterator[Span]:
    """Where code stands between two fences, these included."""
    opened: re.Match[str] | None = None
    for fence in _FENCE.finditer(text) if "```" in text or "~~~" in text else ():
        named = bool(fence[2].strip())
        if opened is None or (named and not opened[2].strip()):  # the one before ended what began before this text
            opened = fence
        elif not named and fence[1].startswith(opened[1]):
            yield opened.start(), fence.end()
            opened = None


def _prose(text: str, a: int, b: int) -> Iterator[_Block]:
    for start, end in _split(text, a, b, _BLANK):
        held: _Block | None = None  # what the next line may go on with
        kind = ""
        for line in _kinds(text, start, end):
            before, (at, words, stop, kind) = kind, line
            if held is not None and _goes_on(kind, before):
                held, kind = held._replace(last=stop, end=stop), before
                continue
            if held is not None:
                yield held
            held = _Block(at, words, stop, stop)
            if kind in _ALONE:
                yield _alone(text, held, kind)
                held = None
        if held is not None:
            yield held


def _goes_on(kind: str, before: str) -> bool:
    """Whether a line goes on with what a line of another kind began; "7. " does, where nothing has been numbered."""
    return not kind or kind == before == "quote" or (kind == "next" and before not in ("first", "next"))


def _kinds(text: str, a: int, b: int) -> list[tuple[int, int, int, str]]:
    """The lines of a stretch without a blank one: beginning, that of the words, end, and what kind of line it is."""
    out: list[tuple[int, int, int, str]] = []
    table = False
    for start, end in _lines(text, a, b):
        mark = _MARK.match(text, start, end)
        kind, words = ((mark.lastgroup or ""), mark.end()) if mark else ("", start)
        while kind in _HOLDING and (mark := _MARK.match(text, words, end)) and mark.lastgroup != "rule":
            words = mark.end()
            if kind != "quote" and mark.lastgroup not in _HOLDING:
                break
            kind = kind if mark.lastgroup == "quote" else mark.lastgroup or ""
        table = table and "|" in text[start:end]
        if _UNDER_HEADS.fullmatch(text, start, end):
            table, kind = True, "rule"
            if out and not out[-1][3]:
                out[-1] = (*out[-1][:3], "row")
        elif table:
            kind = "row"
        out.append((start, words, end, kind))
    return out


def _alone(text: str, line: _Block, kind: str) -> _Block:
    """A line that is a sentence of its own, without what is drawn at its ends."""
    words, last = line.words, line.last
    if kind == "rule":
        words = last
    elif kind == "head":
        said = text[words:last].rstrip()
        open_ = said.rstrip("#")
        last = words + len(open_ if not open_ or open_[-1].isspace() else said)
    else:
        said = text[words:last]
        words, last = last - len(said.lstrip("| \t")), words + len(said.rstrip("| \t"))
    return _Block(line.start, min(words, last), last, line.end, whole=True)


def _lines(text: str, a: int, b: int) -> Iterator[Span]:
    while (cut := text.find("\n", a, b)) >= 0:
        yield a, cut
        a = cut + 1
    yield a, b


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
    for c, d in _whole(text[a:b]):
        start, end = a + c, a + d
        while end - start > size:
            space = max(
                text.rfind(" ", start + size // 2, start + size), text.rfind("\n", start + size // 2, start + size)
            )
            cut = space if space > 0 else start + size
            yield from _stripped(text, start, cut)
            start = cut
        yield from _stripped(text, start, end)


def _whole(text: str) -> Iterator[Span]:
    """The sentences with the marks around them."""
    for block in _blocks(text):
        found = list(block.sentences(text)) or [(block.start, block.end)]
        found[0] = (block.start, found[0][1])
        found[-1] = (found[-1][0], block.end)
        yield from found


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
