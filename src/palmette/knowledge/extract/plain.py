"""Reading without a model: names by how they are written and by a gazetteer, statements by what stands between names.

A name is a run of capitalised words, small words such as "of" allowed inside. A statement is two names (or a name and a
date) in one sentence with a verb phrase between them (Fader, Soderland and Etzioni 2011, "Identifying relations for
open information extraction": V | V P | V W* P), read off closed word classes and endings, since there is no tagger. It
says little, and all of it verbatim.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

from palmette.knowledge.documents.chunk import sentences
from palmette.knowledge.names import Lexicon, is_acronym, key_of
from palmette.knowledge.values import Entity, Mention, Statement

__all__ = ["Gazetteer", "STOP", "definitions", "mentions", "names_in", "read_plainly"]

STOP_WORDS = """
    a about above after again against all also although am an and any are as at be because been before being below
    between both but by can could did do does doing down during each either every few for from further had has have
    having he her here hers him his how however i if in into is it its itself just many may me might more most much
    must my neither no nor not now of off on once one only or other our out over own same several she should since
    so some such than that the their them then there these they this those though through to too two under until up
    upon us very was we were what when where whether which while who whom whose why will with within without would
    you your
"""
STOP = frozenset(STOP_WORDS.split())
_INSIDE_WORDS = "of the de van von la le du di da del der den y e al el &"
_INSIDE = frozenset(_INSIDE_WORDS.split())
_WORD = re.compile(r"(?:[^\W\d_]\.){2,}|&|[^\W_]+(?:['’.\-/][^\W_]+)*[+#]*|[^\s\w]")
# Where a word with a capital can be: no character that this leaves out is one.
_CAPITAL = re.compile(r"[A-Z\xc0-\xde]|[^\x00-\xff\u2000-\u20ff\u3000-\ua63f\uac00-\ud7a3]")
_VERBS_WORDS = """
    is are was were be been has have had became become becomes won wins wrote written writes made makes led leads
    met knows knew known gave given took taken sold bought built held holds ran runs began begun left went came
    stood sang sung played founded born died stars owns own beat taught grew rose fell drew sits lies lives bears
    contains features includes uses shows plays works remains belongs joined married
"""
_VERBS = frozenset(_VERBS_WORDS.split())
_PAST_WORDS = "became won wrote made led met gave took sold bought built held ran began left went came sang taught"
_PAST = frozenset(_PAST_WORDS.split())
_PREPOSITIONS_WORDS = "of in on at by for from to with as into near within under over through against after"
_PREPOSITIONS = frozenset(_PREPOSITIONS_WORDS.split())
_BEFORE = _PREPOSITIONS - {"as", "after"}  # which begin a clause as well: "After Apple released …"
_AUXILIARY_WORDS = "is are was were be been being has have had did does do will would can could may might must"
_AUXILIARY = frozenset(_AUXILIARY_WORDS.split())
_MONTH = "January|February|March|April|May|June|July|August|September|October|November|December"
_DATE = re.compile(
    rf"\b(?:\d{{1,2}}(?:st|nd|rd|th)? (?:{_MONTH}),? \d{{4}}"
    rf"|(?:{_MONTH}) \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}}|(?:{_MONTH}) \d{{4}}"
    r"|\d{4}-\d{2}-\d{2}|(?:1[0-9]|20)\d{2})\b"
)
_DEFINED = re.compile(r"\(([^()\s]{2,9})\)")
_APART = frozenset(',;:()[]“”"|\n')  # what no relation goes over
_LONGEST = 12  # words of a relation


@dataclass(frozen=True)
class Gazetteer:
    """Names that are known beforehand, with their types; they are found in whatever case they are written.

    >>> [m.entity.name for m in Gazetteer({"vision pro": "product"}).find("The Vision Pro is new.")]
    ['vision pro']
    """

    names: Mapping[str, str]

    def find(self, text: str) -> list[Mention]:
        """Where they stand in a text, the longest first where several could."""
        if not self.names:
            return []
        return [Mention(entity, start, end) for start, end, entity in self._lexicon.find(text)]

    @cached_property
    def _lexicon(self) -> Lexicon[Entity]:
        return Lexicon.of({key_of(n): Entity(n, t) for n, t in self.names.items()})


def names_in(text: str, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
    """Where runs of capitalised words begin and end.

    >>> [("In 1976 Steve Jobs founded Apple.")[a:b] for a, b in names_in("In 1976 Steve Jobs founded Apple.")]
    ['Steve Jobs', 'Apple']
    """
    end, out = len(text) if end is None else end, list[tuple[int, int]]()
    while capital := _CAPITAL.search(text, start, end):
        first = capital.start()
        while first > start and not text[first - 1].isspace():  # no word goes over white space
            first -= 1
        run: list[tuple[int, int, str]] = []
        for found in _WORD.finditer(text, first, end):
            word, (a, start) = found[0], found.span()
            if run and "\n" in text[run[-1][1] : a]:
                out += _trimmed(run)
                run = []
            high = not word.islower() and any(map(str.isupper, word))
            if high or (run and (word.lower() in _INSIDE or word[0].isdigit())):
                run.append((a, start, word))
            else:
                break
        else:
            start = end
        out += _trimmed(run)
    return out


def _trimmed(run: list[tuple[int, int, str]]) -> list[tuple[int, int]]:
    """A run without the small words at its ends and without a sentence's first word where that is no name."""
    while run and run[-1][2].lower() in _INSIDE:
        run = run[:-1]
    while run and (run[0][2].lower() in STOP or run[0][2].lower() in _INSIDE or run[0][2][0].isdigit()):
        run = run[1:]
    if not run or (len(run) == 1 and len(run[0][2]) == 1):
        return []
    return [(run[0][0], run[-1][1])]


def mentions(text: str, gazetteer: Gazetteer | None = None) -> list[Mention]:
    """Every name in a piece with its place; the gazetteer's come first where both see one."""
    named = _mentions(text)
    known = gazetteer.find(text) if gazetteer else []
    if not known:
        return list(named)
    taken = [(m.start, m.end) for m in known]
    known += [m for m in named if not any(m.start < e and s < m.end for s, e in taken)]
    return sorted(known, key=lambda m: (m.start, m.end))


@lru_cache(1)  # whoever reads a piece asks for its names, and whoever keeps it asks again
def _mentions(text: str) -> tuple[Mention, ...]:
    out = []
    for a, b in sentences(text):
        for start, end in names_in(text, a, b):
            out.append(Mention(_entity(text[start:end]), start, end))
    return tuple(out)


@lru_cache(1 << 14)  # a long text names the same things again and again: one value for each is enough
def _entity(name: str) -> Entity:
    return Entity(name)


def definitions(text: str) -> list[tuple[str, str]]:
    """Acronyms that a text explains, "Long Name (LN)": pairs of long name and acronym.

    >>> definitions("The International Business Machines (IBM) company.")
    [('International Business Machines', 'IBM')]
    """
    out = []
    for found in _DEFINED.finditer(text):
        short = found[1].rstrip(".,;")
        if not is_acronym(short):
            continue
        letters = short.replace(".", "").removesuffix("s").lower()
        words = list(re.finditer(r"[^\W_]+", text[max(0, found.start() - 120) : found.start()]))
        start = max(0, found.start() - 120)
        for count in range(len(letters), min(len(words), 2 * len(letters)) + 1):
            some = words[-count:]
            initials = "".join(w[0][0] for w in some if w[0].lower() not in _INSIDE).lower()
            if initials == letters and some[0][0].lower() not in _INSIDE:
                out.append((text[start + some[0].start() : start + some[-1].end()], short))
                break
    return out


def read_plainly(text: str, found: Iterable[Mention]) -> list[Statement]:
    """Statements of a piece: a subject, the words between as the relation, an object or a date.

    >>> text = "Steve Jobs co-founded Apple. Apple was founded in 1976."
    >>> [str(s.subject) + "|" + s.relation + "|" + str(s.object) for s in read_plainly(text, mentions(text))]
    ['Steve Jobs|co-founded|Apple', 'Apple|was founded in|1976']
    """
    ends = [(m.start, m.end, m.entity) for m in found]
    taken = [(a, b) for a, b, _ in ends]
    for date in _DATE.finditer(text):
        inside = [i for i, (a, b) in enumerate(taken) if date.start() < b and a < date.end()]
        if all(date.start() <= taken[i][0] and taken[i][1] <= date.end() for i in inside):
            ends = [e for e in ends if not (date.start() <= e[0] and e[1] <= date.end())]
            ends.append((date.start(), date.end(), Entity(date[0], "date", True)))
    ends.sort(key=lambda e: (e[0], e[1]))
    starts = [a for a, _, _ in ends]
    out: list[Statement] = []
    for a, b in sentences(text):
        here = [e for e in ends[bisect_left(starts, a) : bisect_left(starts, b)] if e[1] <= b]
        last: tuple[str, Entity] | None = None  # the statement before: its relation and its object
        for place, (left, right) in enumerate(pairwise(here)):
            between = text[left[1] : right[0]]
            dated = right[2].literal and last is not None and between.strip() in ("in", "on") and _past(last[0])
            relation = f"{last[0]} {between.strip()}" if dated and last is not None else _relation(between)
            if left[2].literal or left[2] == right[2] or not relation:
                last = None
                continue
            subjects = [left[2]] if dated else _subjects(text, a, here[: place + 1])
            out += [Statement(subject, relation, right[2], a, b, 0.5) for subject in subjects if subject != right[2]]
            last = (relation, right[2])
    return list(dict.fromkeys(out))


def _subjects(text: str, start: int, before: list[tuple[int, int, Entity]]) -> list[Entity]:
    """The last name and those that commas and an "and" join to it, as in "A, B and C verb"; nothing, if they only say
    whose or where something else is: in "The mayor of Turku is Piia Elo" it is not Turku that is.
    """
    out, first = [before[-1][2]], before[-1][0]
    for left, right in zip(before[-2::-1], before[:0:-1], strict=False):
        joint = text[left[1] : right[0]].strip()
        if left[2].literal or not (joint in ("and", ", and", "&") or (len(out) > 1 and joint == ",")):
            break
        out.append(left[2])
        first = left[0]
    words = text[start:first].lower().split()
    while words and words[-1] in ("the", "a", "an"):
        words.pop()
    return [] if words and words[-1] in _BEFORE else out


def _past(relation: str) -> bool:
    """Whether a relation is one verb in the past, which a date can follow."""
    word = relation.split()[-1].lower()
    return " " not in relation and (word.endswith("ed") or word in _PAST)


def _relation(between: str) -> str:
    """The words between two names, if they are a verb phrase."""
    between = between.removeprefix(")")
    words = between.split()
    if not 1 <= len(words) <= _LONGEST or not _APART.isdisjoint(between):
        return ""
    if words[-1].lower() in ("the", "a", "an"):
        words = words[:-1]
    bare = [w.lower().strip(".") for w in words]
    if not bare or bare[0] in ("and", "or", "that", "who", "which", "but"):
        return ""
    if not (_verb(bare[0]) or (len(bare) > 1 and bare[0].endswith("ly") and _verb(bare[1]))):
        return ""
    if len(bare) > 2 and bare[-1] not in _PREPOSITIONS and not _verb(bare[-1]):
        return ""
    if bare[-1] in _AUXILIARY and len(bare) == 1 and bare[0] not in ("is", "was", "are", "were"):
        return ""
    return " ".join(words)


def _verb(word: str) -> bool:
    return word in _VERBS or (
        len(word) > 4 and word.endswith(("ed", "ates", "izes", "ises", "ects", "ides", "oys", "ills"))
    )
