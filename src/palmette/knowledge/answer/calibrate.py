"""How sure is sure enough: the care under which questions that a graph cannot answer are refused as often as you want.

A question whose documents are known becomes one without an answer when they are taken out, so every question is asked
with them and without them; the store is as before afterwards. The care is then chosen by conformal risk control
(Angelopoulos, Bates, Fisch, Lei and Schuster 2022, arXiv 2208.02814, equation 4, with the loss 1 for an answer where
there is none): the least at which (answered + 1) / (questions + 1) is no more than what you allow. Another question of
the same kind without an answer here is then refused with at least that probability, whatever the scores are like.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from palmette.core.errors import BadParameter
from palmette.knowledge.answer.evidence import Evidence, gather
from palmette.knowledge.retrieve.passages import Retriever

__all__ = ["Asked", "Calibration", "calibrate", "care_for", "leave_gold_out", "sureness"]

Asked = tuple[str, Sequence[str]]  # a question, and the names of the documents that answer it; none: nothing here does
_DIGITS = 1000


@dataclass(frozen=True)
class Calibration:
    """A care, and what it did to the questions that it was chosen on.

    Args:
        care: how sure it must be that the graph supports an answer.
        refuse: the share of questions without an answer that it is to refuse.
        without: how many questions had no answer, their documents taken out.
        refused: the share of these that it refuses.
        answered: how many had one.
        falsely: the share of these that it refuses; 0 of none.
    """

    care: float
    refuse: float
    without: int
    refused: float
    answered: int
    falsely: float


def sureness(found: Evidence) -> float:
    """How likely it is that an answer is there, 0 to 1; 0 without a fact that could be cited."""
    return found.support.sure if found.facts else 0.0


def leave_gold_out(search: Retriever, questions: Sequence[Asked]) -> list[tuple[Evidence | None, Evidence]]:
    """What is found for each question with its documents, None if it has none, and without them.

    Documents are taken out in a transaction that is taken back, so the store must be writable and stays as it is.

    Raises:
        UnknownName: for a document that is not there.
        StoreReadOnly, StoreLocked: if the store cannot be written.
    """
    before = [gather(search, question) if documents else None for question, documents in questions]
    return [(found, _without(search, *asked)) for found, asked in zip(before, questions, strict=True)]


def _without(search: Retriever, question: str, documents: Sequence[str]) -> Evidence:
    if not documents:
        return gather(search, question)
    try:
        with search.store.db.writing():
            search.store.remove_all(list(dict.fromkeys(documents)))
            found = gather(search, question)
            raise _TakenBack
    except _TakenBack:
        return found


class _TakenBack(Exception):
    """Ends a transaction that must leave nothing behind."""


def care_for(unsupported: Sequence[float], refuse: float) -> float:
    """The least care, to three digits, that refuses such a share of questions without an answer.

    Args:
        unsupported: how sure the graph was of each of them, 0 to 1.
        refuse: the share of further ones to refuse, 0 up to but not including 1.

    Raises:
        BadParameter: if there are too few questions to tell, or too many of which the graph was wholly sure.

    >>> care_for([0.9, *[0.1] * 38], 0.95), care_for([0.9, *[0.1] * 18], 0.95)
    (0.101, 0.901)
    """
    if not 0 <= refuse < 1:
        raise BadParameter(f"refuse must be a share from 0 up to but not including 1, not {refuse}")
    count = len(unsupported)
    allowed = math.floor((1 - refuse) * (count + 1) + 1e-9) - 1
    if allowed < 0:
        least = math.ceil(1 / (1 - refuse) - 1e-9) - 1
        raise BadParameter(f"to refuse {refuse:.0%} needs at least {least} questions to learn from, not {count}")
    if allowed >= count:
        return 0.0
    highest = sorted(unsupported, reverse=True)[allowed]
    if highest >= 1:
        raise BadParameter(
            f"no care refuses {refuse:.0%}: without their documents, one sentence still says all of {allowed + 1} of "
            f"the {count} questions; name every document that answers a question"
        )
    return min(1.0, (math.floor(highest * _DIGITS) + 1) / _DIGITS)


def calibrate(search: Retriever, questions: Sequence[Asked], *, refuse: float = 0.95) -> Calibration:
    """Learn a care from questions.

    Args:
        search: the graph.
        questions: each with the names of all documents that answer it; with none, it has no answer here.
        refuse: the share of questions without an answer to refuse.

    Raises:
        BadParameter, UnknownName, StoreReadOnly, StoreLocked: see `care_for` and `leave_gold_out`.
    """
    pairs = leave_gold_out(search, questions)
    without = [sureness(after) for _, after in pairs]
    answered = [sureness(before) for before, _ in pairs if before is not None]
    care = care_for(without, refuse)
    share = [sum(s < care for s in some) / max(1, len(some)) for some in (without, answered)]
    return Calibration(care, refuse, len(without), share[0], len(answered), share[1])
