"""Whether what was found supports an answer, without a model: are the question's names described, is the rest said?

Three shares of the question, each by the rarity of its words: how much of its names something is about (a passage
titled so, or a fact that also speaks of something else that was asked), how much of its names is said word for word,
and how much of all its words stands in one passage and one that is linked with it by name, one of the two being about
what was named: so a second hop counts, and a stray word elsewhere does not. A logistic regression weighs them, fitted
on questions whose passages are there and the same questions without them (bench/knowledge.py, part abstain). One
sentence that says everything needs no weighing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from palmette.knowledge.answer.stems import stem
from palmette.knowledge.documents.chunk import sentences
from palmette.knowledge.extract.plain import STOP
from palmette.knowledge.names import Lexicon, key_of, spans_of, tokens_of
from palmette.knowledge.retrieve.snapshot import variants
from palmette.knowledge.store.store import Store
from palmette.knowledge.values import Chunk, Fact

__all__ = ["Support", "beside", "meant", "support"]

# Logistic regression: of what is described, said and spoken; the last is the constant.
WEIGHTS = (2.57, 2.24, 2.19, -3.34)
ALIKE = 0.5  # credit of a title that is the name but for what tells it from its namesakes
NO_NAMES: Mapping[str, Sequence[str]] = {}
BY_FACT = 0.5  # credit of a name that only facts of passages about nothing by name describe
_QUOTED = re.compile(r'["“]([^"”]+)["”]')
_APART = re.compile(r'[,;:"“”()?!]')
_DEMONYM = re.compile(r"[^\W\d_]{2,}(?:ish|ese|ian|ean|can|tch|nch|lsh)")
_REQUESTS_WORDS = "tell say explain describe give list show name know please summarise summarize"
_REQUESTS = frozenset(_REQUESTS_WORDS.split())
_COMPARED_WORDS = """
    older oldest younger youngest larger largest bigger biggest smaller smallest longer longest shorter shortest taller
    tallest higher highest earlier earliest later latest newer newest
"""
_COMPARED = frozenset(_COMPARED_WORDS.split())
_JOINTS_WORDS = "of the in to for a on de"
_AUXILIARY_WORDS = "is are was were has have had did does do will would can could should may might must"
_AUXILIARY = frozenset(_AUXILIARY_WORDS.split())
_JOINTS = frozenset(_JOINTS_WORDS.split())


@dataclass(frozen=True)
class Support:
    """What was found, held against the question.

    Args:
        described: the share of its names that something found is about, 0 to 1; one half where it names nothing.
        said: the share of its names that stand there word for word.
        spoken: the share of its words that stand in one passage or in two that are linked, one of them about a name.
        whole: whether one sentence, with the title above it, or one fact says all of its words.
        missing: its words that nothing found has.
        asked: whether anything but its names is said at all; what destroyed Apple is not known by who founded it.
    """

    described: float
    said: float
    spoken: float
    whole: bool = False
    missing: tuple[str, ...] = ()
    asked: bool = True

    @property
    def sure(self) -> float:
        """How likely it is that an answer is there, 0 to 1."""
        return self.weighed(WEIGHTS)

    def weighed(self, weights: Sequence[float]) -> float:
        """The same by other weights."""
        if not self.asked:
            return 0.0
        if self.whole:
            return 1.0
        score = sum(w * x for w, x in zip(weights, (self.described, self.said, self.spoken, 1.0), strict=True))
        return 1 / (1 + math.exp(-score))


def beside(question: str, lexicon: Lexicon[tuple[int, ...]]) -> set[str]:
    """The stems of what a question asks of the things that it names; nothing, if it only names them."""
    asked = _words(question, lexicon)
    apart = _idle(asked).union(*_names(asked))
    return {w.stem for i, w in enumerate(asked) if w.word not in STOP and i not in apart}


def meant(question: str, lexicon: Lexicon[tuple[int, ...]]) -> set[str]:
    """The stems of a question's words that something has to say, its names included."""
    asked = _words(question, lexicon)
    apart = _idle(asked)
    return {w.stem for i, w in enumerate(asked) if w.word not in STOP and i not in apart}


def support(
    store: Store, lexicon: Lexicon[tuple[int, ...]], question: str, passages: Sequence[Chunk], facts: Sequence[Fact],
    also: Mapping[str, Sequence[str]] = NO_NAMES,
) -> Support:  # fmt: skip
    """Hold passages and facts against a question.

    Args:
        store: the graph, for how rare a word is.
        lexicon: the names that the graph knows.
        question: text.
        passages: what was found.
        facts: the same, with quotes where they have them.
        also: names of the question, as keys, with the keys by which the graph knows the same thing.
    """
    asked = _words(question, lexicon)
    weight = _weights(store, asked)
    units = [_respelled(unit, also) for unit in _units(passages, facts)]
    if not weight or not units:
        missing = tuple(dict.fromkeys(w.word for w in asked if w.stem in weight))
        return Support(0.0, 0.0, 0.0, missing=missing, asked=False)
    had = [frozenset(weight.keys() & unit.stems) for unit in units]
    places = [list(_places(unit, asked)) for unit in units]
    about = [unit.fact or 1.0 if found else 0.0 for unit, found in zip(units, places, strict=True)]
    spoken = max(share * sum(weight[w] for w in words) for words, share in _reached(units, had, about))
    everything = frozenset().union(*had)
    missing = tuple(dict.fromkeys(w.word for w in asked if w.stem in weight and w.stem not in everything))
    names = _names(asked)
    credit = _described(asked, names, units, places, weight.keys())
    marked = [i for i, w in enumerate(asked) if w.name and w.stem in weight]
    described = _mean([(weight[asked[i].stem], credit[i]) for i in marked])
    said = _mean([
        (max((weight.get(asked[i].stem, 0.0) for i in name), default=0.0),
         float(all(credit[i] == 1 for i in name) or any(_holds(u.line, asked, name) for u in units)))
        for name in names
    ])  # fmt: skip
    beside = weight.keys() - {asked[i].stem for name in names for i in name}
    return Support(
        described, said, spoken / sum(weight.values()), _whole(passages, had, weight.keys(), also), missing,
        not beside or bool(beside & everything),
    )  # fmt: skip


# -- the question ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Word:
    """A word of the question: as keys have it, its stem, whether it belongs to a name, whether it begins one."""

    word: str
    stem: str
    name: bool
    begins: bool = False


def _words(question: str, lexicon: Lexicon[tuple[int, ...]]) -> list[_Word]:
    """The question's words. Capitals, digits and quotation marks show names; where they show nothing, the lexicon."""
    spans = [(a, b, word) for a, b, key in spans_of(question) for word in key.split(" ")]
    high = _high(question, spans)
    content = [i for i, (_, _, word) in enumerate(spans) if word not in STOP]
    shown = sum(high[i] for i in content)
    if not shown or (shown > 4 and shown == len(content)):
        known = [(a, b) for a, b, _ in lexicon.find(question)]
        high = [_inside(a, known) for a, _, _ in spans]
    elif content[0] == 0 and high[0] and not any(high[1:2]):  # a sentence begins with a capital
        high[0] = next(iter(lexicon.find(question)), (1,))[0] == spans[0][0]
    out, end = [], 0
    for (a, b, word), is_ in zip(spans, high, strict=True):
        sentence = word in STOP and "." in question[end:a]  # "… has an OBE. Does …"
        out.append(_Word(word, stem(word), is_ and not sentence, sentence or bool(_APART.search(question, end, a))))
        end = b
    return out


def _high(question: str, spans: Sequence[tuple[int, int, str]]) -> list[bool]:
    """Which words are written as names: capitals, quotation marks, numbers beside them; "Welsh singer" names nobody."""
    quoted = [(m.start(1), m.end(1)) for m in _QUOTED.finditer(question)]
    high = [_inside(a, quoted) or any(c.isupper() for c in question[a:b]) for a, b, _ in spans]
    for i, (a, b, _) in enumerate(spans):
        near = high[max(i - 1, 0) : i] + high[i + 1 : i + 2]
        plain = i + 1 < len(spans) and not any(near) and spans[i + 1][2] not in STOP
        if plain and _DEMONYM.fullmatch(question, a, b) and not _inside(a, quoted):
            high[i] = False
        elif not high[i] and any(c.isdigit() for c in question[a:b]) and any(near):
            high[i] = True
    return high


def _inside(a: int, places: Iterable[tuple[int, int]]) -> bool:
    return any(start <= a < end for start, end in places)


def _weights(store: Store, asked: Sequence[_Word]) -> dict[str, float]:
    """How rare each stem with meaning is among the passages: a logarithm, at least of two."""
    count = int(store.db.rows("SELECT count(*) FROM chunk")[0][0])
    idle = _idle(asked)
    words = [w for i, w in enumerate(asked) if w.word not in STOP and i not in idle] or list(asked)
    out: dict[str, float] = {}
    for w in words:
        rare = math.log(1 + (count + 1) / (store.db.seen(w.word) + 0.5))
        out[w.stem] = max(rare, out.get(w.stem, 0.0))
    return out


def _idle(asked: Sequence[_Word]) -> set[int]:
    """The places of the words that no passage has to say; "older" is none that says how old each of two things is."""
    compared = {i for i, w in enumerate(asked) if w.word in _COMPARED and any(v.word == "or" for v in asked)}
    return {_kind(asked), _request(asked), *compared}


def _kind(asked: Sequence[_Word]) -> int:
    """The place of the word that says what kind of answer is wanted, which no passage has to say; -1, if none does.

    "Which company made it?", "In what year was it made?", and not "What made it?"
    """
    first = next((i for i, w in enumerate(asked) if w.word in ("which", "what")), len(asked))
    place = first + 1
    if place + 1 >= len(asked) or any(w.word not in STOP for w in asked[:first]):
        return -1
    noun, after = asked[place], asked[place + 1].word
    plain = noun.word not in STOP and not noun.name
    return place if plain and (asked[first].word == "which" or after in _AUXILIARY) else -1


def _request(asked: Sequence[_Word]) -> int:
    """The place of the word that begins "Tell me about …" or "Explain …"; -1 without one."""
    first = next((i for i, w in enumerate(asked) if w.word not in STOP), -1)
    return first if first >= 0 and asked[first].word in _REQUESTS and not asked[first].name else -1


def _names(asked: Sequence[_Word]) -> list[list[int]]:
    """The names, as places of their words: runs that hang together, small words allowed inside."""
    runs: list[list[int]] = [[]]
    for i, w in enumerate(asked):
        if w.begins and runs[-1]:
            runs.append([])
        begins = w.name and (runs[-1] or w.word not in STOP)
        joins = runs[-1] and w.word in _JOINTS and i + 1 < len(asked) and asked[i + 1].name
        if begins or joins:
            runs[-1].append(i)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


# -- what was found ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Unit:
    """A passage, or a fact: what it is about, as keys, its words in one line, its stems, and those in one line."""

    about: tuple[str, ...]
    key: str
    stems: frozenset[str]
    line: str
    fact: float = 0.0  # of a fact: the credit of the names in it


def _units(passages: Sequence[Chunk], facts: Sequence[Fact]) -> list[_Unit]:
    out = [_unit(chunk.title, chunk.text) for chunk in passages]
    named = {c.document for c, unit in zip(passages, out, strict=True) if _speaks_of(c, unit.about)}
    for fact in facts:
        free = [q for q in fact.quotes if q.document not in named]
        if free or not fact.quotes:
            ends = tuple(key for e in (fact.subject, fact.object) for key in variants(e.name))
            out.append(_made(ends, str(fact), BY_FACT if free else 1.0))
    return out


def _unit(title: str, text: str) -> _Unit:
    about = tuple(key for key in variants(title) if len(key) > 1)
    return _made(about, f"{title} . {text}")


def _made(about: tuple[str, ...], text: str, fact: float = 0.0) -> _Unit:
    words = tokens_of(text)
    stems = [stem(w) for w in words]
    return _Unit(about, f" {' '.join(words)} ", frozenset(stems), f" {' '.join(stems)} ", fact)


def _respelled(unit: _Unit, also: Mapping[str, Sequence[str]]) -> _Unit:
    """The unit, with the question's word for a thing beside its own."""
    more = [key for key, others in also.items() if any(f" {other} " in unit.key for other in others)]
    if not more:
        return unit
    words = [word for key in more for word in key.split(" ")]
    stems = [stem(word) for word in words]
    about = tuple(key for key in more if set(also[key]) & set(unit.about))
    return replace(
        unit, about=(*unit.about, *about), key=f"{unit.key}. {' '.join(words)} ",
        stems=unit.stems | set(stems), line=f"{unit.line}. {' '.join(stems)} ",
    )  # fmt: skip


def _speaks_of(chunk: Chunk, keys: Sequence[str]) -> bool:
    """Whether a passage says its title, as it does if that is a thing and not a heading such as "Notes"."""
    title = key_of(chunk.title)
    lines = (key_of(line) for line in chunk.text.splitlines())
    body = f" {' '.join(line for line in lines if line != title)} "
    return any(f" {key} " in body for key in keys)


def _holds(line: str, asked: Sequence[_Word], place: Sequence[int]) -> bool:
    """Whether the words at these places stand in a line of stems, in one piece."""
    return f" {' '.join(asked[i].stem for i in place)} " in line


def _reached(
    units: Sequence[_Unit], had: Sequence[frozenset[str]], about: Sequence[float]
) -> Iterable[tuple[frozenset[str], float]]:
    """The words of each unit alone, and of each two of which one names what the other is about; and how far one of
    them is about what the question names.
    """
    yield from zip(had, about, strict=True)
    for i, one in enumerate(units):
        for j in range(i):
            near = max(about[i], about[j])
            if near and had[i] | had[j] not in (had[i], had[j]) and (_leads(one, units[j]) or _leads(units[j], one)):
                yield had[i] | had[j], near


def _whole(
    passages: Sequence[Chunk], had: Sequence[frozenset[str]], said: Set[str], also: Mapping[str, Sequence[str]]
) -> bool:
    """Whether one sentence, with the title above it, or one fact has all these stems; passages are the first units."""
    for i, words in enumerate(had):
        if words >= said:
            chunk = passages[i] if i < len(passages) else None
            if chunk is None:
                return True
            parts = (_unit(chunk.title, chunk.text[a:b]) for a, b in sentences(chunk.text))
            if any(_respelled(part, also).stems >= said for part in parts):
                return True
    return False


def _leads(one: _Unit, other: _Unit) -> bool:
    return any(len(key) > 2 and f" {key} " in other.key for key in one.about)


def _places(unit: _Unit, asked: Sequence[_Word]) -> Iterable[tuple[int, int, float]]:
    """Where the question says what a unit is about: (start, end, credit); a single word must be written as a name."""
    line = [w.stem for w in asked]
    titles = [[stem(word) for word in key.split(" ")] for key in unit.about]
    for title in titles:
        more = {*titles[0]} - {*title} if {*title} < {*titles[0]} else set()  # what tells it from its namesakes
        worth = 1.0 if not more or more & {*line} else ALIKE
        for start in range(len(line) - len(title) + 1):
            if line[start : start + len(title)] == title and (len(title) > 1 or asked[start].name):
                yield start, start + len(title), worth


def _described(
    asked: Sequence[_Word], names: Sequence[Sequence[int]], units: Sequence[_Unit],
    places: Sequence[Sequence[tuple[int, int, float]]], said: Set[str],
) -> list[float]:  # fmt: skip
    """For each word of the question, how far something is about the name that it belongs to, 0 to 1; `said` are the
    stems with meaning, of which a fact must have another.
    """
    credit = [0.0] * len(asked)
    for unit, found in zip(units, places, strict=True):
        for start, end, worth in () if unit.fact else found:
            for i in range(start, end):
                credit[i] = max(credit[i], worth)
    for name in names:
        others = said - {asked[i].stem for i in name}
        speaks = (u for u in units if u.fact and (others & u.stems or not others) and _holds(u.line, asked, name))
        worth = max((u.fact for u in speaks), default=0.0)
        for i in name:
            credit[i] = max(credit[i], worth)
    return credit


def _mean(weighed: Sequence[tuple[float, float]]) -> float:
    """The weighed mean; one half of nothing."""
    total = sum(w for w, _ in weighed)
    return sum(w * x for w, x in weighed) / total if total else 0.5
