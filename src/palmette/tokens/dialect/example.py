"""Small worked examples: one row of scores after a short text, seen through each dialect's chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from palmette.core.engine import View
from palmette.core.errors import PalmetteError
from palmette.tokens.matrix import MatrixEngine
from palmette.tokens.views.base import compose

__all__ = ["CASES", "Case", "Example", "distribution", "pick_example"]


@dataclass(frozen=True)
class Case:
    """A next token's scores after `prompt` and `answer`; the last token ends a text where `ends` is true."""

    scores: tuple[float, ...]
    prompt: tuple[int, ...] = (0,)
    answer: tuple[int, ...] = ()
    ends: bool = False


CASES = (
    Case((2.0, 1.2, 0.0)),
    Case((2.0, 1.5, 1.0, 0.5, 0.0)),
    Case((3.0, 2.5, 2.4, 1.0, 0.2, -1.0, -2.0)),
    Case((2.0, 1.0, 1.0, 0.0), (0, 3)),
    Case((2.0, 1.8, 1.0, 0.5, -1.0), (0, 1), (2, 2, 4)),
    Case((2.0, 1.0, 0.5, 0.0), (0, *(3,) * 70), (3,)),
    Case((1.0, 0.8, 0.5, 0.0), (0, 1, 2, 3, 0, 1), (2,)),
    Case((0.5, 0.2, 0.0, 2.0), (0, 1), (), True),
    Case(tuple(3.0 - 0.05 * i for i in range(64))),
    Case((2.0, *(1.0,) * 60)),
)


@dataclass(frozen=True)
class Example:
    """A case with each dialect's distribution over it; `differ` if they are not all the same."""

    case: Case
    probabilities: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    differ: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        kept = {
            name: [{"token": i, "probability": p} for i, p in enumerate(row) if p > 0]
            for name, row in self.probabilities.items()
        }
        case = {"scores": list(self.case.scores), "prompt": list(self.case.prompt), "answer": list(self.case.answer)}
        return {**case, "kept": kept, "differ": self.differ}

    def lines(self, width: int = 6) -> list[str]:
        """A table for the terminal: tokens by their letters, the likeliest `width` of them."""
        n = min(width, len(self.case.scores))
        labels = _engine(self.case).tokenizer
        said = "".join(map(labels.token_name, self.case.prompt)), "".join(map(labels.token_name, self.case.answer))
        after = f"prompt {_short(said[0])!r}" + (f" and answer {_short(said[1])!r}" if said[1] else "")
        rest = f" and {len(self.case.scores) - n} more" if len(self.case.scores) > n else ""
        head = f"{'token':<10}" + "".join(f"{labels.token_name(i):>8}" for i in range(n)) + rest
        rows = [f"{'score':<10}" + "".join(f"{value:>8.2f}" for value in self.case.scores[:n])]
        for name, row in self.probabilities.items():
            cells = "".join(f"{p:>8.3f}" if p > 0 else f"{'–':>8}" for p in row[:n])
            kept = sum(p > 0 for p in row)
            rows.append(f"{name:<10}{cells}  keeps {kept} of {len(row)}")
        return [f"example: the next token after the {after}", *(f"  {line}" for line in [head, *rows])]


def pick_example(chains: Mapping[str, Sequence[View]], looks_back: bool = False) -> Example | None:
    """The first case over which the chains differ, or else the first that all of them can be shown on.

    Args:
        chains: views by the name of their dialect.
        looks_back: some views look at the text before; take the case with an answer that tells most chains apart.
    """
    found: list[tuple[int, Example]] = []
    for case in CASES:
        try:
            rows = {name: tuple(map(float, distribution(views, case))) for name, views in chains.items()}
        except PalmetteError:  # a token id outside the small vocabulary, or nothing is left of it
            continue
        kinds = len({tuple(np.round(row, 6)) for row in rows.values()})
        found.append((kinds, Example(case, rows, kinds > 1)))
    if looks_back:
        return max([f for f in found if f[1].case.answer] or found, key=lambda f: f[0], default=(0, None))[1]
    return next((e for _, e in found if e.differ), found[0][1] if found else None)


def distribution(views: Sequence[View], case: Case) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """What the views make of a case, float64[tokens]."""
    engine = compose(_engine(case), views)
    node = engine.prefill([list(case.prompt)])[0]
    if case.answer:
        node = engine.extend([node], [list(case.answer)])[0]
    probabilities: np.ndarray[tuple[int], np.dtype[np.float64]] = np.exp(node.scores.logprobs())
    return probabilities


def _engine(case: Case) -> MatrixEngine:
    """An engine that gives the same scores after every prefix, not normalised, as a model's are not."""
    n = len(case.scores)
    engine = MatrixEngine(np.ones((n, n)), eos=n - 1 if case.ends else ())
    engine.logits = np.tile(np.array(case.scores, np.float32), (n, 1))
    return engine


def _short(text: str, width: int = 12) -> str:
    return text if len(text) <= width else f"{text[:4]}…{text[-4:]} ({len(text)} tokens)"
