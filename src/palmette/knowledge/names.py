"""When two names may be one: keys that fold spelling, acronyms, and hard stops that no likeness overrules.

The keys decide what is looked up together; the stops decide what may never be joined. Merging SR-2023-052 with
SR-2023-053 because they look alike is the error that this file is there to prevent.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

__all__ = ["Lexicon", "acronym_of", "alike", "blocked", "is_acronym", "key_of", "marks_of", "spans_of", "tokens_of"]

T = TypeVar("T")
_SMALL_WORDS = "a an and at by de der des di du for in la le of on or the to und van von with y"
_SMALL = frozenset(_SMALL_WORDS.split())
_ARTICLES = ("the ", "a ", "an ")
_WORD = re.compile(r"[^\W_]+(?:[.,][0-9]+)*[+#]*")
_SPACE = re.compile(" ")
_SIMPLE = re.compile(r"[a-z0-9]+(?: [a-z0-9]+)*")
_DOTTED = re.compile(r"\b(?:[^\W\d_]\.){2,}")
_DOTS = str.maketrans("", "", ".")
_ROMAN = re.compile(r"(?=[ivxlcdm])m{0,3}(cm|cd|d?c{0,3})(xc|xl|l?x{0,3})(ix|iv|v?i{0,3})$")
_MARK = re.compile(r"[0-9]+(?:[.,][0-9]+)*")
_APOSTROPHE = re.compile(r"(?<=\w)['’ʼ](?=\w)")
_POSSESSIVE = re.compile(r"['’ʼ]s\b")


@lru_cache(65536)
def key_of(name: str) -> str:
    """A name without case, accents, punctuation and a leading article; what differs by more keeps another key.

    >>> key_of("The Café de Flore"), key_of("U.S.A."), key_of("C++"), key_of("iPhone 4.5")
    ('cafe de flore', 'usa', 'c++', 'iphone 4.5')
    """
    text = name.lower() if name.isascii() else _plain(name)
    if _SIMPLE.fullmatch(text) and not text.startswith(_ARTICLES):
        return text
    if "." in text:
        text = _DOTTED.sub(lambda m: m[0].translate(_DOTS), text)
    if "'" in text or "’" in text or "ʼ" in text:
        text = _APOSTROPHE.sub("", _POSSESSIVE.sub("", text))
    key = " ".join(_WORD.findall(text))
    for article in _ARTICLES:
        if key.startswith(article) and len(key) > len(article):
            return key[len(article) :]
    return key or name.casefold().strip()


def _plain(name: str) -> str:
    decomposed = unicodedata.normalize("NFKD", name).casefold()
    return "".join(c for c in decomposed if not unicodedata.combining(c))


def tokens_of(text: str) -> list[str]:
    """The words of a text as they stand in keys."""
    return key_of(text).split()


def spans_of(text: str) -> Iterator[tuple[int, int, str]]:
    """The words of a text with their character offsets: (start, end, key of the word)."""
    for found in re.finditer(r"(?:[^\W\d_]\.){2,}|[^\W_]+(?:[.,][0-9]+)*(?:['’ʼ][^\W_]+)?[+#]*", text):
        yield found.start(), found.end(), key_of(found[0])


@dataclass(frozen=True, eq=False)
class Lexicon(Generic[T]):
    """Keys and what they mean, found in text word by word, in whatever case it is written.

    Args:
        things: keys with their meanings.
        beginnings: what is no key yet may become one: every key without its last words.
    """

    things: Mapping[str, T]
    beginnings: frozenset[str]

    @classmethod
    def of(cls, things: Mapping[str, T]) -> Lexicon[T]:
        """A lexicon of keys."""
        return cls(things, frozenset(key[: space.start()] for key in things for space in _SPACE.finditer(key)))

    def find(self, text: str) -> Iterator[tuple[int, int, T]]:
        """Where a text names something, the longest where several could: (start, end, meaning).

        >>> [*Lexicon.of({"new york": 1, "new york times": 2}).find("The New York Times of New York")]
        [(4, 18, 2), (22, 30, 1)]
        """
        words = [(start, end, word) for start, end, key in spans_of(text) for word in key.split(" ")]
        things, beginnings = self.things, self.beginnings
        after = 0  # the end of the last one found
        for i, (start, end, key) in enumerate(words):
            if i < after:
                continue
            j = i + 1
            while True:
                if key in things:
                    after, end, meaning = j, words[j - 1][1], things[key]
                if key not in beginnings or j == len(words):
                    break
                key = f"{key} {words[j][2]}"
                j += 1
            if after > i:
                yield start, end, meaning


def acronym_of(name: str) -> str:
    """The initials that a name of several words may be known by, or an empty string.

    >>> acronym_of("International Business Machines"), acronym_of("University of Oxford"), acronym_of("Apple")
    ('ibm', 'uo', '')
    """
    words = [w for w in key_of(name).split() if w not in _SMALL]
    if not 2 <= len(words) <= 8 or not all(w[0].isalpha() for w in words):
        return ""
    return "".join(w[0] for w in words)


def is_acronym(name: str) -> bool:
    """Whether a name is written like an acronym: two to eight capitals, dots and a plural s aside.

    >>> is_acronym("IBM"), is_acronym("U.S."), is_acronym("Apple"), is_acronym("X")
    (True, True, False, False)
    """
    bare = name.replace(".", "").removesuffix("s")
    return 2 <= len(bare) <= 8 and bare.isalpha() and bare.isupper()


def marks_of(name: str) -> tuple[str, ...]:
    """What makes two names of one stem two things: digits, versions, Roman numerals.

    >>> marks_of("Henry VIII"), marks_of("SR-2023-052"), marks_of("GPT-4.5 turbo"), marks_of("Mix")
    (('viii',), ('2023', '052'), ('4.5',), ())
    """
    words = key_of(name).split()
    roman = [w for i, w in enumerate(words) if i and _ROMAN.match(w)]
    return (*roman, *_MARK.findall(name))


def blocked(a: str, b: str, type_a: str = "", type_b: str = "") -> str:
    """Why two names may never be joined by themselves, or an empty string.

    >>> blocked("SR-2023-052", "SR-2023-053")
    "their numbers differ: '2023-052' and '2023-053'"
    >>> blocked("Paris", "Paris", "city", "person")
    "their types differ: 'city' and 'person'"
    """
    left, right = marks_of(a), marks_of(b)
    if left != right:
        return f"their numbers differ: {'-'.join(left)!r} and {'-'.join(right)!r}"
    if type_a and type_b and type_a != type_b:
        return f"their types differ: {type_a!r} and {type_b!r}"
    return ""


def alike(a: str, b: str) -> float:
    """Likeness of two names, 0 to 1: the Dice coefficient of their character trigrams.

    >>> alike("Steve Jobs", "Steven Jobs") > 0.7 > alike("Steve Jobs", "Bill Gates")
    True
    """
    left, right = _grams(key_of(a)), _grams(key_of(b))
    return 2 * len(left & right) / (len(left) + len(right))


def _grams(key: str) -> set[str]:
    padded = f"  {key} "
    return {padded[i : i + 3] for i in range(len(padded) - 2)}
