"""Tree attention, the part that does not depend on the array library.

New tokens of all branches of all requests are packed into one row. A mask lets each token see its ancestors only, and
its position is its depth. So there is no padding, no reordering of a cache, and every shared prefix is stored once. An
engine adds `forward`: what one transformer does with such a row.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from palmette.core.engine import Node, Tokenizer, Trunk
from palmette.core.errors import EmptyPrompt, PromptTooLong, Unsupported, UsageError
from palmette.core.scores import Scores
from palmette.models.engines.batch import Batch, Output, reach
from palmette.models.engines.pool import Cell, SlotPool

__all__ = ["Reading", "TreeEngine", "TreeNode"]

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
CHUNK = 512  # new tokens in one forward pass of a prefill: bounds the mask


class TreeNode(Trunk):
    """A prefix in the pool. It owns its last token's cell (a root: all of its prompt's) and keeps its parent alive."""

    def __init__(
        self,
        engine: TreeEngine,
        parent: TreeNode | None,
        cells: list[Cell],
        token: int,
        hidden: bool,
        prompt: tuple[int, ...] = (),
    ) -> None:
        super().__init__(parent, token, prompt)
        self.engine = engine
        self.cells = cells
        self.wants_hidden = hidden
        self._path: Ints | None = None
        self._scores: Scores | None = None
        self._layers: Floats | None = None

    @property
    def scores(self) -> Scores:
        """The next token's scores."""
        assert self._scores is not None
        return self._scores

    @property
    def hidden(self) -> Floats:
        """Last-layer states of the new positions, float32[positions, width]."""
        states = [cell.hidden for cell in self.cells]
        if any(state is None for state in states):
            raise Unsupported("this tree was started without hidden states; prefill with hidden=True")
        return np.stack([state for state in states if state is not None])

    @property
    def layers(self) -> Floats:
        """States of all layers at the last position, float32[layers + 1, width]."""
        if self._layers is None:
            raise Unsupported("this tree was started without hidden states of its layers; prefill with hidden=True")
        return self._layers

    def path(self) -> Ints:
        """The slots of the whole prefix in order, int64[depth]."""
        if self._path is None:
            chain: list[Cell] = []
            node: TreeNode | None = self
            while node is not None and node._path is None:
                chain += reversed(node.cells)
                node = node.parent if isinstance(node.parent, TreeNode) else None
            above = node._path if node is not None and node._path is not None else np.zeros(0, np.int64)
            self._path = np.concatenate([above, np.array([cell.slot for cell in reversed(chain)], np.int64)])
        return self._path

    def forget_path(self) -> None:
        """Drop the cached slots: only leaves and roots keep theirs, or memory would grow with the square of depth."""
        if self.parent is not None:
            self._path = None


@dataclass
class Reading:
    """A prompt that is read piece by piece, possibly after tokens that another prompt has left in the pool.

    Args:
        prompt: all of its tokens.
        cells: where the tokens that were read lie; what was read is as long as this list.
        root: the node, when all is read.
    """

    prompt: tuple[int, ...]
    cells: list[Cell]
    root: TreeNode | None = None

    @property
    def left(self) -> int:
        """Tokens that are still to be read."""
        return len(self.prompt) - len(self.cells)


class TreeEngine(ABC):
    """The engine protocol over a slot pool. Subclasses give `forward`, `project` and `grow`."""

    def __init__(self, tokenizer: Tokenizer, eos: frozenset[int], context_length: int, vocabulary: int) -> None:
        self.tokenizer = tokenizer
        self.eos = eos
        self.context_length = context_length
        self.vocabulary = vocabulary
        self.passes = 0
        self.pool = SlotPool(self.grow)

    @abstractmethod
    def grow(self, capacity: int) -> None:
        """Make room for `capacity` slots; what is stored stays."""

    @abstractmethod
    def forward(self, batch: Batch) -> Output:
        """One pass of the model over a packed row; writes the new tokens' keys and values into their slots."""

    @abstractmethod
    def project(self, hidden: Floats) -> Floats:
        """Hidden states through the output head: float32[n, width] -> float32[n, V]."""

    @property
    @abstractmethod
    def slot_bytes(self) -> int:
        """Bytes of keys and values that one slot takes."""

    @property
    def key_value_bytes(self) -> int:
        """Bytes of the keys and values of all slots up to the highest in use."""
        return self.pool.extent * self.slot_bytes

    @property
    def allocated_bytes(self) -> int:
        """Bytes of keys and values that the pool has room for."""
        return self.pool.capacity * self.slot_bytes

    def prefill(self, prompts: Sequence[Sequence[int]], *, hidden: bool = False) -> list[Node]:
        """One root for each prompt; a prefix that several prompts of the call share is computed and stored once."""
        for prompt in prompts:
            self._check_prompt(prompt)
        plan = _Plan(self.pool, hidden)
        paths = [plan.add(prompt) for prompt in prompts]
        wanted = sorted({path[-1] for path in paths})
        outputs = self._run(plan.entries, wanted)
        roots: list[Node] = []
        for prompt, path in zip(prompts, paths, strict=True):
            tokens = tuple(int(t) for t in prompt)
            root = TreeNode(self, None, [plan.entries[i].cell for i in path], tokens[-1], hidden, tokens)
            self._fill(root, outputs[path[-1]])
            roots.append(root)
        return roots

    def begin(self, prompt: Sequence[int], known: Sequence[Cell] = ()) -> Reading:
        """A prompt to be read in pieces, whose first tokens may lie in the pool; the last is always read anew."""
        self._check_prompt(prompt)
        return Reading(tuple(int(t) for t in prompt), list(known[: len(prompt) - 1]))

    def read(self, readings: Sequence[Reading], most: int = CHUNK) -> None:
        """Read on in all of them, in order, at most so many tokens in all, in one forward pass."""
        entries: list[_Entry] = []
        ends: list[tuple[Reading, int, list[Cell]]] = []
        for reading in readings:
            done, size = len(reading.cells), min(reading.left, most - len(entries))
            if size <= 0:
                continue
            fresh = [self.pool.take(done + i) for i in range(size)]
            path = np.array([cell.slot for cell in (*reading.cells, *fresh)], np.int64)
            for i, cell in enumerate(fresh):
                entries.append(_Entry(reading.prompt[done + i], done + i, cell, path, done + i + 1, False))
            ends.append((reading, len(entries) - 1, fresh))
        wanted = [place for reading, place, fresh in ends if reading.left == len(fresh)]
        outputs = self._run(entries, wanted) if entries else {}
        for reading, place, fresh in ends:
            reading.cells += fresh
            if not reading.left:
                reading.root = TreeNode(self, None, list(reading.cells), reading.prompt[-1], False, reading.prompt)
                self._fill(reading.root, outputs[place])

    def extend(self, nodes: Sequence[Node], tokens: Sequence[Sequence[int]]) -> list[Node]:
        """Append tokens to nodes, all in one pass; each new token is a node with scores."""
        entries: list[_Entry] = []
        made: list[tuple[TreeNode, int]] = []
        leaves: list[Node] = []
        for node, new in zip(nodes, tokens, strict=True):
            if not isinstance(node, TreeNode) or node.engine is not self:
                raise UsageError("a node of another engine was given to this one")
            if node.depth + len(new) > self.context_length:
                raise PromptTooLong(
                    f"{node.depth} tokens and {len(new)} more do not fit the context of {self.context_length}"
                )
            self._check_tokens(new)
            parent, path = node, node.path()
            cells = [self.pool.take(node.depth + i) for i in range(len(new))]
            whole = np.concatenate([path, np.array([cell.slot for cell in cells], np.int64)])
            for i, (token, cell) in enumerate(zip(new, cells, strict=True)):
                entries.append(_Entry(int(token), node.depth + i, cell, whole, node.depth + i + 1, node.wants_hidden))
                parent = TreeNode(self, parent, [cell], int(token), node.wants_hidden)
                made.append((parent, len(entries) - 1))
            parent._path = whole
            node.forget_path()
            leaves.append(parent)
        outputs = self._run(entries, list(range(len(entries))))
        for child, place in made:
            self._fill(child, outputs[place])
        return leaves

    def _run(self, entries: list[_Entry], wanted: list[int]) -> dict[int, tuple[Scores, Floats | None]]:
        """Forward passes over all entries, at most CHUNK new tokens each; scores (and layer states) of `wanted`."""
        found: dict[int, tuple[Scores, Floats | None]] = {}
        for start in range(0, len(entries), CHUNK):
            chunk = entries[start : start + CHUNK]
            rows = [i for i in wanted if start <= i < start + len(chunk)]
            output = self.forward(self._batch(chunk, [i - start for i in rows]))
            self.passes += 1
            if output.last is not None:
                for entry, state in zip(chunk, output.last, strict=True):
                    entry.cell.hidden = state if entry.hidden else None
            for k, i in enumerate(rows):
                states = output.layers[k] if output.layers is not None and entries[i].hidden else None
                found[i] = Scores(output.logits[k]), states
        return found

    def _batch(self, chunk: list[_Entry], rows: list[int]) -> Batch:
        seen = [(entry.path, entry.count) for entry in chunk]
        first, end = reach(seen)
        return Batch(
            np.array([entry.token for entry in chunk], np.int64),
            np.array([entry.depth for entry in chunk], np.int64),
            np.array([entry.cell.slot for entry in chunk], np.int64),
            seen,
            first,
            self.pool.depth[first:end],
            np.array(rows, np.int64),
            any(entry.hidden for entry in chunk),
        )

    def _fill(self, node: TreeNode, output: tuple[Scores, Floats | None]) -> None:
        node._scores, node._layers = output

    def _check_prompt(self, prompt: Sequence[int]) -> None:
        if not len(prompt):
            raise EmptyPrompt("a prompt needs at least one token")
        if len(prompt) > self.context_length:
            raise PromptTooLong(f"the prompt has {len(prompt)} tokens, the context holds {self.context_length}")
        self._check_tokens(prompt)

    def _check_tokens(self, tokens: Sequence[int]) -> None:
        wrong = [token for token in tokens if not 0 <= token < self.vocabulary]
        if wrong:
            raise UsageError(f"token {wrong[0]} is outside the vocabulary of {self.vocabulary} tokens")


@dataclass(frozen=True)
class _Entry:
    """One new token: where it stands, and the slots it sees (the first `count` of `path`)."""

    token: int
    depth: int
    cell: Cell
    path: Ints
    count: int
    hidden: bool


class _Plan:
    """The prompts of one prefill as a prefix tree: what is shared gets one entry."""

    def __init__(self, pool: SlotPool, hidden: bool) -> None:
        self._pool = pool
        self._hidden = hidden
        self._children: dict[tuple[int, int], int] = {}
        self.entries: list[_Entry] = []

    def add(self, prompt: Sequence[int]) -> list[int]:
        """Places of the prompt's tokens in `entries`."""
        places: list[int] = []
        for token in prompt:
            known = self._children.get((places[-1] if places else -1, int(token)))
            if known is None:
                break
            places.append(known)
        fresh = [self._pool.take(depth) for depth in range(len(places), len(prompt))]
        cells = [self.entries[i].cell for i in places] + fresh
        path = np.array([cell.slot for cell in cells], np.int64)
        for depth in range(len(places), len(prompt)):
            token = int(prompt[depth])
            self._children[places[-1] if places else -1, token] = len(self.entries)
            places.append(len(self.entries))
            self.entries.append(_Entry(token, depth, cells[depth], path, depth + 1, self._hidden))
        return places
