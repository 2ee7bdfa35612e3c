"""An engine that is a transition matrix: the next token depends on the last one alone.

Every string's probability is then known exactly, so every search can be checked by brute force and every sampler by a
chi-square test; it is also the smallest engine to read.
"""

from __future__ import annotations

import string
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from palmette.core.engine import Node, Tokenizer, Trunk
from palmette.core.errors import BadParameter, EmptyPrompt
from palmette.core.scores import Scores

__all__ = ["LetterTokenizer", "MatrixEngine"]


class LetterTokenizer:
    """One label, one token. The default labels are the letters a, b, c, …"""

    def __init__(self, labels: Sequence[str], special: Collection[int] = ()) -> None:
        self.labels = list(labels)
        self.size = len(self.labels)
        self.special = frozenset(special)
        self._ids = {label: i for i, label in enumerate(self.labels) if i not in self.special}

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, longest label first."""
        ids, rest = [], text
        longest = max(map(len, self._ids), default=1)
        while rest:
            size = next((n for n in range(min(longest, len(rest)), 0, -1) if rest[:n] in self._ids), None)
            if size is None:
                raise BadParameter(f"{rest[0]!r} is no label of this engine; its labels are {self.labels}")
            ids.append(self._ids[rest[:size]])
            rest = rest[size:]
        return ids

    def encode_continuation(self, text: str) -> list[int]:
        """The same as `encode`: there is no beginning-of-sequence token."""
        return self.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """The labels joined, special ones left out."""
        return "".join(self.labels[i] for i in ids if i not in self.special)

    def token_bytes(self, token: int) -> bytes:
        """The label in UTF-8; empty for a special token."""
        return b"" if token in self.special else self.labels[token].encode()

    def token_name(self, token: int) -> str:
        """The label."""
        return self.labels[token]


class MatrixNode(Trunk):
    """A prefix whose scores are one row of the matrix."""

    def __init__(self, engine: MatrixEngine, parent: Node | None, token: int, prompt: tuple[int, ...] = ()) -> None:
        super().__init__(parent, token, prompt)
        self._engine = engine

    @property
    def scores(self) -> Scores:
        """log of the matrix's row of the last token."""
        return Scores(self._engine.logits[self.token])

    @property
    def hidden(self) -> NDArray[np.float32]:
        """One-hot vectors of the tokens: two positions are alike exactly when their tokens are equal."""
        tokens = self.prompt if self.parent is None else (self.token,)
        return np.eye(self._engine.vocabulary, dtype=np.float32)[list(tokens)]


class MatrixEngine:
    """`matrix[i, j]` is the probability of token j after token i.

    Args:
        matrix: float[V, V], rows non-negative; each row is normalised.
        eos: token ids that end a sequence.
        labels: the text of each token; letters by default.

    >>> engine = MatrixEngine([[0.1, 0.9], [0.5, 0.5]])
    >>> node = engine.prefill([[0]])[0]
    >>> round(node.scores.probability(1), 3)
    0.9
    """

    def __init__(
        self,
        matrix: ArrayLike,
        eos: int | Collection[int] = (),
        labels: Sequence[str] | None = None,
        context_length: int = 1 << 20,
    ) -> None:
        table = np.asarray(matrix, np.float64)
        if table.ndim != 2 or table.shape[0] != table.shape[1]:
            raise BadParameter(f"a transition matrix is square, not of shape {table.shape}")
        if not (table >= 0).all() or not (table.sum(axis=1) > 0).all():
            raise BadParameter("every row of a transition matrix needs non-negative entries with a positive sum")
        self.matrix = table / table.sum(axis=1, keepdims=True)
        with np.errstate(divide="ignore"):
            self.logits = np.log(self.matrix).astype(np.float32)
        self.vocabulary = len(table)
        self.eos = frozenset([eos] if isinstance(eos, int) else eos)
        self.context_length = context_length
        names = list(labels) if labels is not None else _letters(self.vocabulary)
        self.tokenizer: Tokenizer = LetterTokenizer(names, special=self.eos)

    def prefill(self, prompts: Sequence[Sequence[int]], *, hidden: bool = False) -> list[Node]:
        """One root for each prompt."""
        if not all(len(prompt) for prompt in prompts):
            raise EmptyPrompt("a prompt needs at least one token")
        return [MatrixNode(self, None, prompt[-1], tuple(prompt)) for prompt in prompts]

    def extend(self, nodes: Sequence[Node], tokens: Sequence[Sequence[int]]) -> list[Node]:
        """Append the tokens to each node."""
        leaves = []
        for node, new in zip(nodes, tokens, strict=True):
            for token in new:
                node = MatrixNode(self, node, token)
            leaves.append(node)
        return leaves

    def project(self, hidden: NDArray[np.float32]) -> NDArray[np.float32]:
        """One-hot states to scores: float32[n, V] -> float32[n, V]."""
        rows: NDArray[np.float32] = self.logits[hidden.argmax(axis=-1)]
        return rows


def _letters(count: int) -> list[str]:
    letters = string.ascii_letters + string.digits
    return [letters[i] if i < len(letters) else f"<{i}>" for i in range(count)]
