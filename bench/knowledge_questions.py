"""The two parts of bench/knowledge.py that ask questions of passages: retrieval, and abstention out of sample.

Whatever abstention learns, its weights and its care, is learned on one half of the questions and measured on the other,
for many halves drawn at random. What cannot be measured so: the features themselves were designed on these questions.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import BadParameter
from palmette.knowledge.answer.calibrate import care_for, leave_gold_out
from palmette.knowledge.answer.evidence import CARE, Evidence
from palmette.knowledge.answer.support import WEIGHTS, Support
from palmette.knowledge.documents.read import Document
from palmette.knowledge.extract.plain import definitions, mentions
from palmette.knowledge.extract.reading import Plain
from palmette.knowledge.retrieve.passages import Retriever
from palmette.knowledge.store.sqlite import SqliteDatabase
from palmette.knowledge.store.store import Known, Part, Store
from palmette.knowledge.values import Entity, Mention, Piece

Pairs = list[tuple[Support, Support]]  # of each question: with its gold passages, and without them
NOTHING = Support(0.0, 0.0, 0.0, asked=False)
CARES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
RULES = (("pooled", "of all samples together"), ("each", "of each sample alone, the highest"))
REFUSE, HALVES, RIDGE = 0.96, 200, 1.0  # a margin over the 95 % that are wanted


def samples(folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The files of a folder."""
    for file in sorted(Path(folder).glob("*.json")):
        data = json.loads(file.read_text("utf-8"))
        if isinstance(data, dict) and {"passages", "questions"} <= set(data):
            yield file.stem, data


def filled(data: dict[str, Any]) -> Store:
    """The passages in a store, each a document with its title, read by rules; in one transaction."""
    store, reader = Store(SqliteDatabase(":memory:")), Plain()
    with store.db.writing():
        for passage in data["passages"]:
            add(store, reader, passage)
    return store


def add(store: Store, reader: Plain, passage: dict[str, str]) -> None:
    """One passage as one piece, which is what the samples count."""
    document = Document(passage["id"], passage["text"], passage["title"])
    piece = Piece(0, len(document.text), document.text)
    found = [Mention(Entity(document.title), 0, 0), *mentions(document.text)]
    aliases = [(Entity(name), short) for name, short in definitions(document.text)]
    part = Part(piece, document.hash, reader.read(piece, document.title).statements, found, aliases)
    store.add_document(Known(document.name, document.title, document.hash, reader.recipe, ""), [part], model=reader.id)


def retrieve_part(folder: str) -> None:
    """The share of questions with all gold passages among the first, without a language model."""
    for name, data in samples(folder):
        store = filled(data)
        search = Retriever(store)
        search.web  # noqa: B018 - made before the clock runs
        for way in ("words", "graph"):
            start = time.perf_counter()
            found = [[h.chunk.document for h in search.passages(q["question"], 10, way=way)] for q in data["questions"]]
            took = (time.perf_counter() - start) / len(found)
            gold = [set(q["gold"]) for q in data["questions"]]
            recall = np.mean([len(set(f[:5]) & g) / len(g) for f, g in zip(found, gold, strict=True)])
            every = {k: np.mean([g <= set(f[:k]) for f, g in zip(found, gold, strict=True)]) for k in (8, 10)}
            print(f"retrieve    {name} ({len(found)} questions), by {way}: recall of 5 {recall:.1%}, all gold in 8 "
                  f"{every[8]:.0%}, in 10 {every[10]:.0%}; {took * 1e3:.0f} ms a question")  # fmt: skip


def abstain_part(folder: str, most: int = 0) -> None:
    """Questions whose gold passages are taken out must be refused; those whose passages are there should not be."""
    print("abstain     refused without their gold passages / refused with them; no call in either")
    print("            (weights and care are measured out of sample; what they weigh was designed on these questions)")
    data = {}
    for name, sample in samples(folder):
        search = Retriever(filled(sample))
        asked = [(q["question"], q["gold"]) for q in sample["questions"][: most or None]]
        found = leave_gold_out(search, asked)
        data[name] = [(_citable(before), _citable(after)) for before, after in found]
        curve = ", ".join(f"{care}: {_refused(data[name], care)}" for care in CARES)
        print(f"            {name} ({len(asked)} questions), at the default care {CARE}: {_refused(data[name], CARE)}; "
              f"at {curve}")  # fmt: skip
    if not data:
        return
    weights = fitted([pair for pairs in data.values() for pair in pairs])
    cares = ", ".join(f"{_care(data, WEIGHTS, rule)} ({said})" for rule, said in RULES)
    print(f"            learned on all: weights {', '.join(f'{w:.2f}' for w in weights)}, the default "
          f"{', '.join(f'{w:.2f}' for w in WEIGHTS)}; with that, a care to refuse {REFUSE:.0%}: {cares}")  # fmt: skip
    print(f"            out of sample: weights and care learned on one half of each, measured on the other, {HALVES} "
          "times; mean (5 % quantile) refused without / mean refused with")  # fmt: skip
    for rule, said in RULES:
        rates = {name: [] for name in data}
        draw = np.random.default_rng(0)
        for _ in range(HALVES):
            for name, rate in _split(data, rule, draw).items():
                rates[name].append(rate)
        shown = [
            f"{name} {np.mean(r, 0)[0]:.1%} ({np.quantile(r, 0.05, 0)[0]:.0%}) / {np.mean(r, 0)[1]:.1%}"
            for name, r in rates.items()
        ]
        print(f"            care to refuse {REFUSE:.0%} {said}: {'; '.join(shown)}")


def _split(data: Mapping[str, Pairs], rule: str, draw: np.random.Generator) -> dict[str, tuple[float, float]]:
    """Learn on a random half of each sample; the shares refused of the other halves."""
    some, others = {}, {}
    for name, pairs in data.items():
        order = draw.permutation(len(pairs))
        some[name] = [pairs[i] for i in order[: len(order) // 2]]
        others[name] = [pairs[i] for i in order[len(order) // 2 :]]
    weights = fitted([pair for pairs in some.values() for pair in pairs])
    care = _care(some, weights, rule)
    return {name: _rates(pairs, care, weights) for name, pairs in others.items()}


def fitted(pairs: Pairs) -> tuple[float, ...]:
    """The weights of a logistic regression with a ridge of one on all but the constant, by Newton's method."""
    rows = [(row, float(first)) for pair in pairs for row, first in zip(pair, (True, False), strict=True) if row.asked]
    x = np.array([[row.described, row.said, row.spoken, 1.0] for row, _ in rows])  # (rows, 4)
    y = np.array([label for _, label in rows])
    ridge = np.diag([RIDGE, RIDGE, RIDGE, 0.0])
    w = np.zeros(4)
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ w))
        step = np.linalg.solve(x.T @ (x * (p * (1 - p))[:, None]) + ridge, x.T @ (p - y) + ridge @ w)
        w -= step
        if np.abs(step).max() < 1e-9:
            break
    return tuple(float(v) for v in w)


def _care(data: Mapping[str, Pairs], weights: Sequence[float], rule: str) -> float:
    """The care by conformal risk control, of all samples together or of the one that needs most; 1.01 if none does."""
    groups = list(data.values()) if rule == "each" else [[pair for pairs in data.values() for pair in pairs]]
    try:
        return max(care_for(_sure([after for _, after in pairs], weights).tolist(), REFUSE) for pairs in groups)
    except BadParameter:
        return 1.01


def _sure(some: Sequence[Support], weights: Sequence[float]) -> NDArray[np.float64]:
    return np.array([row.weighed(weights) for row in some])


def _rates(pairs: Pairs, care: float, weights: Sequence[float] = WEIGHTS) -> tuple[float, float]:
    before, after = (_sure(rows, weights) for rows in zip(*pairs, strict=True))
    return float(np.mean(after < care)), float(np.mean(before < care))


def _refused(pairs: Pairs, care: float) -> str:
    """The share refused without and with the gold passages."""
    return " / ".join(f"{share:.0%}" for share in _rates(pairs, care))


def _citable(found: Evidence | None) -> Support:
    """What was found; nothing, if there is no fact to cite."""
    return found.support if found and found.facts else NOTHING
