"""A constraint as a view: its immutable state hangs on the node; its mask belongs nearest to the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from palmette.core.engine import BitMask, Constraint, Node, Tokenizer
from palmette.core.errors import EmptySupport
from palmette.core.masks import packed
from palmette.core.scores import Scores
from palmette.tokens.views.base import PointView

__all__ = ["HealConstraint", "constrain"]


def constrain(constraint: Constraint[Any], name: str = "constrain") -> PointView:
    """Remove what `constraint` forbids; an end-of-sequence token is allowed exactly where it accepts."""

    def apply(scores: Scores, state: Any, node: Node) -> Scores:
        kept = scores.masked(constraint.mask(state))
        if kept.empty:
            raise EmptySupport(f"no token may follow the prefix of {node.depth} tokens under {constraint!r}")
        return kept

    return PointView(
        name,
        {"constraint": constraint},
        apply,
        start=lambda prompt, engine: constraint.start(),
        advance=lambda state, token, parent: constraint.step(state, token),
        certain=lambda state: next(iter(constraint.forced(state)), None),
    )


@dataclass(frozen=True)
class HealConstraint:
    """Token healing: the first tokens must spell `tail`, the text that was cut from the prompt's end.

    The state is what is still to be spelled. A token fits if it begins with the rest (and may go on past it) or if the
    rest begins with it.
    """

    tokenizer: Tokenizer
    size: int
    tail: bytes

    def start(self) -> bytes:
        """All of the tail is still to come."""
        return self.tail

    def mask(self, rest: bytes) -> BitMask:
        """Tokens that fit the rest."""
        if not rest:
            return packed(np.arange(self.size), self.size)
        pieces = ((t, self.tokenizer.token_bytes(t)) for t in range(self.tokenizer.size))
        fit = [t for t, piece in pieces if piece and (piece.startswith(rest) or rest.startswith(piece))]
        return packed(fit, self.size)

    def step(self, rest: bytes, token: int) -> bytes:
        """What remains to be spelled."""
        return rest[len(self.tokenizer.token_bytes(token)) :]

    def forced(self, rest: bytes) -> list[int]:
        """Nothing is forced ahead of the mask."""
        return []

    def accepts(self, rest: bytes) -> bool:
        """True once the tail is spelled."""
        return not rest
