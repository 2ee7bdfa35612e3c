"""Okapi BM25 (Robertson and Zaragoza 2009): which texts speak of the same words as a question."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

__all__ = ["Ranking", "words_of"]

_WORD = re.compile(r"\w+")


def words_of(text: str) -> list[str]:
    """The words of a text, lower case.

    >>> words_of("Who's there?")
    ['who', 's', 'there']
    """
    return _WORD.findall(text.lower())


class Ranking:
    """Texts that are ranked against questions.

    Args:
        texts: what is ranked.
        k1: how soon more of the same word stops counting.
        b: how much long texts are held back.

    >>> Ranking(["a cat", "a dog and a cat", "rain"]).best("the dog", 2)[0][0]
    1
    """

    def __init__(self, texts: Sequence[str], k1: float = 1.5, b: float = 0.75) -> None:
        self._counts = [Counter(words_of(text)) for text in texts]
        self._lengths = [sum(count.values()) for count in self._counts]
        self._mean = sum(self._lengths) / len(self._lengths) if self._lengths else 1.0
        self._holding: Counter[str] = Counter()
        for count in self._counts:
            self._holding.update(count.keys())
        self._k1, self._b = k1, b

    def scores(self, question: str) -> list[float]:
        """The score of each text, 0 where no word is shared."""
        asked = words_of(question)
        return [self._score(asked, i) for i in range(len(self._counts))]

    def best(self, question: str, k: int) -> list[tuple[int, float]]:
        """(place, score) of the best k texts that share a word, best first; ties in the order of the texts."""
        ranked = sorted(((-score, i) for i, score in enumerate(self.scores(question)) if score > 0))
        return [(i, -negative) for negative, i in ranked[:k]]

    def _score(self, asked: Sequence[str], i: int) -> float:
        total, n = 0.0, len(self._counts)
        held = self._k1 * (1 - self._b + self._b * self._lengths[i] / (self._mean or 1.0))
        for word in asked:
            tf = self._counts[i][word]
            if tf:
                df = self._holding[word]
                total += math.log(1 + (n - df + 0.5) / (df + 0.5)) * tf * (self._k1 + 1) / (tf + held)
        return total
