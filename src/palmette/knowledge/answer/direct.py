"""Questions about one thing, "Who leads Apple?" or "Where is it?": the facts and sentences that answer them, and not
those that only stand near their words.

Such a question needs no second hop: what answers it says all of its words, and besides what is asked for: somebody, a
time, a place, what the thing is. The most direct is taken: "leads" before "has led" and "leads a department of".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from palmette.knowledge.answer.stems import bare, stem
from palmette.knowledge.answer.support import beside, meant
from palmette.knowledge.documents.chunk import sentences
from palmette.knowledge.extract.plain import STOP
from palmette.knowledge.names import Lexicon, key_of, tokens_of
from palmette.knowledge.values import Chunk, Fact, Quote

__all__ = ["Direct", "direct", "says"]

Kind = Literal["who", "when", "where", "place", "what", "which"]
Form = Callable[[str], str]
MOST_WORDS = 2  # that are asked of the thing
_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_TIME = re.compile(
    rf"[0-9]|\b(?:{_MONTHS}|(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day|century|centuries|years?|months?|weeks?|ago"
    r"|spring|summer|autumn|winter|yesterday|today|tonight|tomorrow|noon|midnight|during|before|after|since|until)\b"
)
_PLACE = re.compile(
    r"\b(?:in|at|near|on|off|from|to|into|between|outside|inside|through|across)\s+(?:the\s+)?"
    rf"(?![0-9]|(?:{_MONTHS})\b)\w"
)
_ASIDE = re.compile(  # when, or where
    rf"\b(?:in|at|on|near|since|until)\s+(?:the\s+)?"
    rf"(?:(?:(?:{_MONTHS})\s+)?[0-9][\w.'’-]*|(?:[^\W\da-z_][\w.'’-]*[\s,]*)+)"
)
_AFTER = r"\s*(?:\([^()]*\)\s*)?,?\s*"  # what may stand after a name
_IS = re.compile(rf"{_AFTER}(?:is|are|was|were)\s+(?:a|an|the|one)\b")
_LIES = re.compile(rf"{_AFTER}(?:is|are|was|were|lies|lie|stands|stand|sits)\b")


@dataclass(frozen=True)
class Direct:
    """A question about one thing.

    Args:
        kind: what is asked for.
        words: those of its words that an answer says.
        name: the thing's name, as the question has it.
        also: its other names, as keys.
    """

    kind: Kind
    words: str
    name: str
    also: tuple[str, ...] = ()

    def answers(self, facts: Sequence[Fact], passages: Sequence[Chunk]) -> tuple[list[Fact], list[Quote]]:
        """The facts that answer it; without one, the sentences that do. A verb's own tense counts before another."""
        for form in (bare, stem):
            found = self._facts(facts, form)
            stated = [] if found else self._sentences(passages, form)
            if found or stated:
                return found, stated
        return [], []

    def _facts(self, found: Iterable[Fact], form: Form) -> list[Fact]:
        """Where some say nothing beside what is asked, these alone."""
        asked = says(self.words, form)
        whole = [fact for fact in found if asked <= self._says(str(fact), form) and self.answered_by(str(fact))]
        alone = [fact for fact in whole if says(fact.relation, form) <= asked]
        return alone or whole

    def _sentences(self, passages: Iterable[Chunk], form: Form) -> list[Quote]:
        """Where some need no title above them, these alone."""
        asked, plain, titled = says(self.words, form), list[Quote](), list[Quote]()
        for chunk in passages:
            for a, b in sentences(chunk.text):
                text = chunk.text[a:b]
                if asked <= self._says(f"{chunk.title} {text}", form) and self.answered_by(text):
                    held = plain if asked <= self._says(text, form) else titled
                    held.append(Quote(chunk.document, chunk.start + a, chunk.start + b, text))
        return plain or titled

    def _says(self, text: str, form: Form) -> frozenset[str]:
        """What a text says; one of the thing's names is as good as that of the question."""
        key = f" {key_of(text)} " if self.also else ""
        return says(f"{text} {self.name}" if any(f" {other} " in key for other in self.also) else text, form)

    def answered_by(self, text: str) -> bool:
        """Whether a text that says all of the question's words has what is asked for."""
        return _ANSWERED[self.kind](self, text)

    def _names_somebody(self, text: str) -> bool:
        return self._says_more(_TIME.sub(" ", _ASIDE.sub(" ", text)))

    def _says_more(self, text: str) -> bool:
        return bool(says(text) - says(" ".join((self.words, *self.also))))

    def _names_a_place(self, text: str) -> bool:
        return _PLACE.search(text) is not None

    def _tells_the_time(self, text: str) -> bool:
        return _TIME.search(re.sub(re.escape(self.name), " ", text, flags=re.IGNORECASE)) is not None

    def _says_what(self, text: str) -> bool:
        return self._goes_on(text, _IS)

    def _says_where(self, text: str) -> bool:
        return self._goes_on(text, _LIES) and self._names_a_place(text)

    def _goes_on(self, text: str, how: re.Pattern[str]) -> bool:
        names = (re.search(rf"\b{re.escape(name)}", text, re.IGNORECASE) for name in (self.name, *self.also))
        return any(found is not None and how.match(text, found.end()) is not None for found in names)


_ANSWERED: dict[str, Callable[[Direct, str], bool]] = {
    "who": Direct._names_somebody, "when": Direct._tells_the_time, "where": Direct._says_where,
    "place": Direct._names_a_place, "what": Direct._says_what, "which": Direct._says_more,
}  # fmt: skip


def says(text: str, form: Form = stem) -> frozenset[str]:
    """The stems of a text's words with meaning.

    >>> sorted(says("Tim Cook led the company"))
    ['compan', 'cook', 'lead', 'tim']
    """
    return frozenset(form(word) for word in tokens_of(text) if word not in STOP)


def direct(question: str, lexicon: Lexicon[tuple[int, ...]]) -> Direct | None:
    """The question, if it is about one thing that the graph knows, with a kind of answer and a few words beside."""
    spans = [*lexicon.find(question)]
    rest, asked = beside(question, lexicon), meant(question, lexicon)
    if len(spans) != 1 or len(rest) > MOST_WORDS:
        return None
    name = question[spans[0][0] : spans[0][1]]
    words = tokens_of(question)
    kind = _kind(words, bool(rest))
    if kind is None or asked - rest != says(name):
        return None
    return Direct(kind, " ".join(word for word in words if stem(word) in asked), name)


def _kind(words: list[str], more: bool) -> Kind | None:
    """What is asked for; where or what a thing is, where nothing else is asked of it."""
    first, second = words[0], words[1] if len(words) > 1 else ""
    if first in ("who", "whom", "whose"):
        return "who" if more else None  # "Who is Ann?" asks for all that is known of her
    if first == "when" or ("year" in words[:3] and {first, second} & {"what", "which"}):
        return "when"
    if first == "where":
        return "place" if more else "where"
    if first in ("what", "which") and more:
        return "which"
    return "what" if first == "what" and second in ("is", "are", "was", "were") else None
