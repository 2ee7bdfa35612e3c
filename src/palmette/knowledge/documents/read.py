"""Files as text: Markdown and plain text as they are, HTML without its tags, PDF through pypdf (extra `pdf`).

Offsets count the characters of the text that comes out; for Markdown and plain text that is the file itself.
"""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from itertools import islice
from pathlib import Path

from palmette.core.errors import DocumentError, MissingExtra, near_miss

__all__ = ["Document", "document_of", "hash_of", "read"]

logging.getLogger("pypdf").addHandler(logging.NullHandler())  # else its warnings go to stderr where nobody wants them

MOST_BYTES = 32 * 1024 * 1024
_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_TITLE = re.compile(r"\A\s*+(?:---\n.*?\n---\n\s*+)?#[ \t]++([^\n]+)", re.DOTALL)  # never goes back over white space
_LOOSE = re.compile(r"<(?![^<>]*>)")
_MOST_LOOSE = 200
_KINDS = {
    ".md": "markdown", ".markdown": "markdown", ".txt": "text", ".text": "text", ".rst": "text", "": "text",
    ".html": "html", ".htm": "html", ".xhtml": "html", ".pdf": "pdf",
}  # fmt: skip


@dataclass(frozen=True)
class Document:
    """A text with a name, by which it can be taken out again, and a title, which is what it is about."""

    name: str
    text: str
    title: str = ""

    @property
    def hash(self) -> str:
        """What changes when the document does."""
        return hash_of(f"{self.title}\x1f{self.text}")


def hash_of(text: str) -> str:
    """Thirty-two hexadecimal digits of a text."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def document_of(name: str, text: str, title: str | None = None) -> Document:
    """A document from text at hand; its title is its first heading, unless one is given.

    Raises:
        DocumentError: for what is no text, has no visible character, or characters that no file can hold; without a
            name.
    """
    if not isinstance(text, str):
        raise DocumentError(f"{name}: a document is a text, not {text!r}; decode bytes first")
    if not name.strip():
        raise DocumentError("a document needs a name, by which it can be taken out again")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DocumentError(
            f"{name}: half a character (a lone surrogate) at {error.start}; decode the text again"
        ) from None
    if not text.strip():
        raise DocumentError(f"{name} holds no text")
    if "\x00" in text:
        raise DocumentError(f"{name}: a zero byte at {text.index(chr(0))}; it is no text")
    if title is None:
        found = _TITLE.match(text)
        title = found[1].strip().rstrip("#").rstrip() if found else ""
    return Document(name, text, title)


def read(path: str | Path, *, encoding: str = "", most_bytes: int = MOST_BYTES, name: str = "") -> Document:
    """Read a file; its ending says what it is.

    Args:
        path: .md, .txt, .html, .pdf, or anything else that is text.
        encoding: of text files; UTF-8 by default, UTF-16 where a mark at the beginning says so.
        most_bytes: larger files are refused.
        name: what the document is called in the store; the path by default.

    Raises:
        DocumentError: if it cannot be read as text, with the place.
        MissingExtra: for PDF without pypdf.
    """
    path = Path(path)
    name = name or str(path)
    if path.is_dir():
        raise DocumentError(f"{name} is a folder; name its files, such as {path / '*.md'}")
    try:
        size = path.stat().st_size
        if size > most_bytes:
            raise DocumentError(
                f"{name} has {size / 1e6:,.0f} MB, and {most_bytes / 1e6:,.0f} are allowed; "
                "split it, or allow more (--max-mb)"
            )
        kind = _KINDS.get(path.suffix.lower(), "text")
        if kind == "pdf":
            return document_of(name, _pdf(path), path.stem)
        text = _decoded(path.read_bytes(), name, encoding)
    except FileNotFoundError:
        beside = sorted(other.name for other in path.parent.iterdir()) if path.parent.is_dir() else []
        raise DocumentError(f"cannot read {name}: there is no such file.{near_miss(path.name, beside)}") from None
    except OSError as error:
        raise DocumentError(f"cannot read {name}: {error.strerror or error}") from error
    if kind == "html":
        page = _Page()
        page.feed(_tame(text))
        page.close()
        return document_of(name, page.text, page.title or path.stem)
    found = document_of(name, text)
    return found if found.title else Document(name, text, path.stem.replace("_", " ").replace("-", " ").strip())


def _decoded(data: bytes, name: str, encoding: str) -> str:
    for mark, known in _BOMS:
        if data.startswith(mark) and not encoding:
            data, encoding = data[len(mark) :], known
            break
    try:
        return data.decode(encoding or "utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except LookupError:
        raise DocumentError(f"no encoding {encoding!r}; write for example utf-8, cp1252 or utf-16") from None
    except UnicodeDecodeError as error:
        raise DocumentError(
            f"{name} is no text in {encoding or 'UTF-8'}: byte {data[error.start]:#04x} at {error.start}; "
            "say what it is with encoding= (--encoding), for example cp1252"
        ) from None


def _tame(page: str) -> str:
    """A page on which Python's parser takes linear time: without comments, and where very many `<` begin no
    tag that ends, those are text. (It looks to the end of the page from each of them; mended in later Pythons.)

    >>> _tame("one <!-- <b> --> two <b>three</b>")
    'one  two <b>three</b>'
    """
    kept, at = [], 0
    while (start := page.find("<!--", at)) >= 0 and (end := page.find("-->", start + 4)) >= 0:
        kept.append(page[at:start])
        at = end + 3
    page = "".join([*kept, page[at:]])
    loose = sum(1 for _ in islice(_LOOSE.finditer(page), _MOST_LOOSE + 1))
    return _LOOSE.sub("&lt;", page) if loose > _MOST_LOOSE else page


class _Page(HTMLParser):
    """The visible text of a page, blocks apart, and its title."""

    _BLOCKS = (
        "address article aside blockquote br dd div dl dt figcaption footer form h1 h2 h3 h4 h5 h6 header hr "
        "li main nav ol p pre section table td th tr ul "
    )
    BLOCKS = frozenset(_BLOCKS.split())
    _HIDDEN = "script style template noscript svg math head "
    HIDDEN = frozenset(_HIDDEN.split())

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._parts: list[str] = []
        self._hidden = 0
        self._in_title = False
        self.title = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        """Hide what is not shown; a block begins a paragraph."""
        if tag == "title":
            self._in_title = True
        elif tag == "body":
            self._hidden = 0
        elif tag in self.HIDDEN:
            self._hidden += 1
        elif tag in self.BLOCKS:
            self._parts.append("\n" if tag in ("br", "td", "th", "tr", "li", "dt", "dd") else "\n\n")

    def handle_endtag(self, tag: str) -> None:
        """The same at the end."""
        if tag == "title":
            self._in_title = False
        elif tag in self.HIDDEN:
            self._hidden = max(0, self._hidden - 1)
        elif tag in self.BLOCKS:
            self._parts.append("\n" if tag in ("td", "th", "tr", "li", "dt", "dd") else "\n\n")

    def handle_data(self, data: str) -> None:
        """Text, its white space as a browser shows it."""
        if self._in_title:
            self.title = " ".join((self.title + data).split())
        elif not self._hidden:
            self._parts.append(re.sub(r"\s+", " ", data))

    @property
    def text(self) -> str:
        """What can be read."""
        joined = re.sub(r" *\n *", "\n", re.sub(r" {2,}", " ", "".join(self._parts)))
        return re.sub(r"\n{3,}", "\n\n", joined).strip()


def _pdf(path: Path) -> str:
    try:
        from pypdf import PdfReader
        from pypdf.errors import PyPdfError
    except ImportError:
        raise MissingExtra("reading PDF", "pdf") from None
    try:
        pages = [page.extract_text() for page in PdfReader(path).pages]
    except (PyPdfError, ValueError, KeyError, RecursionError) as error:
        raise DocumentError(f"{path} cannot be read as PDF: {error}") from error
    text = "\n\n".join(pages).replace("\x00", "")
    if not text.strip():
        raise DocumentError(f"{path} holds pictures of text, and no text: read it with an OCR program first")
    return text
