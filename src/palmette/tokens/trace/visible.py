"""Tokens as a person can read them: spaces and newlines are marked, half characters shown as bytes, and no character
that could steer a terminal, a page or the reading direction is left.

`pieces` decodes along each path, because a token is not a character: what a node adds to the text may be nothing yet.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from palmette.tokens.trace.values import Trace

__all__ = ["cells", "clean", "pieces", "printable", "shown", "wrap"]

SPACE, NEWLINE, TAB = "␣", "⏎", "⇥"
JOINERS = "\u200c\u200d"  # Persian, Indic scripts and emoji need them; they steer nothing
STEERING = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
WIDE = (
    (0x1100, 0x115F), (0x2E80, 0xA4CF), (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0xFE30, 0xFE6F), (0xFF00, 0xFF60),
    (0xFFE0, 0xFFE6), (0x1F300, 0x1FAFF), (0x20000, 0x3FFFD),
)  # fmt: skip


def printable(text: str) -> str:
    """Text that is safe to print: newlines and tabs stay, every other control or bidi character is spelled out.

    >>> printable("\\x1b]52;c;aGk=\\x07 ok")
    '\\\\x1b]52;c;aGk=\\\\x07 ok'
    """
    return "".join(c if c in "\n\t" else _spelled(c) for c in text)


def clean(text: str) -> str:
    """Text on one line: newlines, tabs and outer or repeated spaces become signs."""
    marked = "".join({"\n": NEWLINE, "\t": TAB}.get(c) or _spelled(c) for c in text)
    marked = re.sub(r"^ +| +$| {2,}", lambda m: SPACE * len(m.group()), marked)
    return re.sub(rf"{NEWLINE}( +)", lambda m: NEWLINE + SPACE * len(m.group(1)), marked)


def shown(raw: bytes, name: str) -> str:
    """One token: its text, the name of a special one in «», or bytes where it is no whole character.

    >>> shown(b" the", ""), shown(b"", "<|end|>"), shown(b"\\xe2\\x82", "")
    ('␣the', '«<|end|>»', '\\\\xe2\\\\x82')
    """
    if not raw:
        return f"«{clean(name)}»"
    return clean(raw.decode("utf-8", "backslashreplace")).replace(" ", SPACE)


def pieces(trace: Trace) -> list[tuple[str, str]]:
    """For each node the text it completes on its path, and the bytes still open after it, spelled out."""
    found: list[tuple[str, bytes]] = [("", b"")]
    for node in trace.nodes[1:]:
        if not node.bytes:
            found.append((f"«{clean(node.name)}»" if node.name else "", b""))
            continue
        raw = found[node.parent][1] + node.bytes
        keep = _open(raw)
        whole = raw[: len(raw) - keep].decode("utf-8", "backslashreplace")
        found.append((printable(whole), raw[len(raw) - keep :]))
    return [(text, _hex(rest)) for text, rest in found]


def cells(text: str) -> int:
    """The width of a text in cells of a fixed-width font: wide characters two, combining ones none."""
    return len(text) if text.isascii() else sum(_cell(c) for c in text)


def wrap(text: str, width: int, most: int = 0) -> list[str]:
    """Lines of at most `width` cells, broken after spaces where possible; beyond `most` lines an ellipsis ends it."""
    lines: list[str] = []
    line, size, gap = "", 0, 0
    for char in text:
        if size + (wide := _cell(char)) > width and line:
            cut = gap if gap > len(line) // 2 else len(line)
            lines.append(line[:cut].rstrip(" "))
            line = line[cut:].lstrip(" ")
            size, gap = cells(line), 0
        line, size = line + char, size + wide
        if char == " ":
            gap = len(line)
    if line or not lines:
        lines.append(line)
    if most and len(lines) > most:
        last = lines[most - 1]
        lines = [*lines[: most - 1], (last[:-1] if cells(last) >= width else last) + "…"]
    return lines


def _spelled(char: str) -> str:
    point = ord(char)
    if 32 <= point < 127 or char in JOINERS:
        return char
    if unicodedata.category(char) not in STEERING and (unicodedata.category(char) != "Zs" or char == " "):
        return char
    return f"\\x{point:02x}" if point < 256 else f"\\u{point:04x}" if point < 65536 else f"\\U{point:08x}"


def _cell(char: str) -> int:
    point = ord(char)
    if point < 0x300:
        return 1
    if char in JOINERS or unicodedata.category(char).startswith("M"):
        return 0
    return 2 if any(low <= point <= high for low, high in WIDE) else 1


def _open(raw: bytes) -> int:
    """How many bytes at the end begin a character that is not complete."""
    for size in range(1, min(3, len(raw)) + 1):
        lead = raw[-size]
        if lead >= 0xC0:
            return size if size < (2 if lead < 0xE0 else 3 if lead < 0xF0 else 4) else 0
        if lead < 0x80:
            return 0
    return 0


def _hex(raw: Iterable[int]) -> str:
    return "".join(f"\\x{b:02x}" for b in raw)
