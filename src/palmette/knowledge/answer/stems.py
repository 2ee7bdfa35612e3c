"""Words without their endings, and verbs whose past is another word: what a question has in common with a text."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["bare", "stem"]

_ENDINGS_WORDS = "ations ation ements ement ings ing ers er ors or ied ies ed es s ly e y"
_ENDINGS = tuple(_ENDINGS_WORDS.split())
_PLURAL = re.compile(r"[a-z]{2}[^siu]s")  # of three letters; the others are endings
_VERBS_WORDS = """
    lead led, meet met, buy bought buying, sell sold, make made making, write wrote written writing, win won, build
    built, hold held, run ran, begin began begun, become became, come came coming, go went gone, give gave given
    giving, take took taken taking, know knew known, teach taught, speak spoke spoken, choose chose chosen, sing sang
    sung, draw drew drawn, fight fought, die died dying, own owned owning, use used using, pay paid, lose lost losing,
    bring brought, catch caught, tell told, drive drove driven, grow grew grown, fly flew flown, wear wore worn, shoot
    shot, steal stole stolen, break broke broken, live lived living, play plays played playing
"""
_PRESENT = {form: verb for verb, *forms in map(str.split, _VERBS_WORDS.split(",")) for form in forms}


@lru_cache(1 << 16)
def stem(word: str) -> str:
    """A word without its ending, so that announced meets announcement, and a verb in the present: led meets lead.

    >>> stem("announced") == stem("announcement") == stem("announces"), stem("runs"), stem("led") == stem("leads")
    (True, 'run', True)
    """
    return bare(_PRESENT.get(word, word))


@lru_cache(1 << 16)
def bare(word: str) -> str:
    """A word without its ending.

    >>> bare("leads"), bare("led")
    ('lead', 'led')
    """
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)]
    return word[:-1] if _PLURAL.fullmatch(word) else word
