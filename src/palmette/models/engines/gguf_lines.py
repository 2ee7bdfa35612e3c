"""The token tree on llama.cpp's sequences: a line is one sequence, and holds the path to one leaf.

Lines share the cells of what they have in common (a copy of a sequence only marks cells), so a fork costs no memory.
There are at most so many lines, and so many cells; what does not fit is forgotten, the longest unused first, and is
computed again from its tokens when it is needed. What a node needs to know is its line and its depth.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import PromptTooLong

__all__ = ["Growth", "Line", "Lines", "Sequences"]

Floats = NDArray[np.float32]


class Sequences(Protocol):
    """What holds the sequences: llama.cpp's context, or a plain table in tests."""

    cells: int
    batch_size: int
    hidden: bool  # every token has an output
    token: NDArray[np.int32]
    position: NDArray[np.int32]
    sequence: NDArray[np.int32]
    output: NDArray[np.int8]

    def copy(self, source: int, target: int, length: int) -> None: ...
    def cut(self, sequence: int, length: int) -> None: ...
    def decode(self, count: int) -> bool: ...
    def results(self, count: int) -> tuple[Floats, Floats | None]: ...


class Line:
    """A sequence: its number (None once it is forgotten), its tokens, and how many nodes live at which depth."""

    __slots__ = ("forks", "into", "live", "number", "tokens", "used")

    def __init__(self, number: int, tokens: list[int]) -> None:
        self.number: int | None = number
        self.tokens = tokens
        self.live: dict[int, int] = {}  # depth -> nodes; depths ascend
        self.forks: list[Line] = []
        self.into: Line | None = None  # the line that has taken over its nodes
        self.used = 0

    def home(self) -> Line:
        """The line that holds this one's nodes now."""
        line = self
        while line.into is not None:
            line = line.into
        return line

    def hold(self, depth: int) -> None:
        """A node at this depth is alive."""
        self.live[depth] = self.live.get(depth, 0) + 1


@dataclass
class Growth:
    """Tokens that are to follow a prefix, and then: the line they are on and their scores.

    Args:
        line: where the prefix is, if it is anywhere.
        depth: its length.
        path: gives its tokens.
        new: what follows; it may be empty for nothing.
        last: whether only the last one's scores are wanted.
    """

    line: Line | None
    depth: int
    path: Callable[[], list[int]]
    new: Sequence[int]
    last: bool = False
    parts: list[tuple[Floats, Floats | None]] = field(default_factory=list)

    @property
    def rows(self) -> Floats:
        """The scores, float32[n, vocabulary]."""
        return self.parts[0][0] if len(self.parts) == 1 else np.concatenate([scores for scores, _ in self.parts])

    @property
    def layers(self) -> Floats | None:
        """The states of all layers, float32[n, layers + 1, width], where they are kept."""
        found = [states for _, states in self.parts if states is not None]
        return np.concatenate(found) if found else None


class Lines:
    """All lines of a context.

    Args:
        held: the sequences.
        count: the most lines.
        outputs: the most scores of one decoding.
        enlarge: called with the sequences and a number of cells when they are too few; gives larger ones, or None.
    """

    def __init__(self, held: Sequences, count: int, outputs: int, enlarge: Callable[[Any, int], Any]) -> None:
        self.held, self.outputs, self._enlarge = held, outputs, enlarge
        self.free = list(range(count))[::-1]
        self.lines: list[Line] = []
        self.dead: deque[tuple[Line, int]] = deque()  # notes of nodes that are gone
        self.passes = self.recomputed = 0
        self._clock = 0
        self._torn = False

    # -- what has died -------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Forget what no node needs any more."""
        while self.dead:
            line, depth = self.dead.popleft()
            home = line.home()
            left = home.live.get(depth, 1) - 1
            if left:
                home.live[depth] = left
            else:
                home.live.pop(depth, None)
        for line in list(self.lines):
            top = next(reversed(line.live), 0)
            if not top:
                self._drop(line)
            elif top < len(line.tokens) or self._torn:
                self._cut(line, top)
        self._torn = False
        for line in list(self.lines):
            self._merge(line)

    def _cut(self, line: Line, length: int) -> None:
        assert line.number is not None
        self.held.cut(line.number, length)
        del line.tokens[length:]

    def _drop(self, line: Line) -> None:
        """Give the number back; what other lines share stays theirs."""
        assert line.number is not None
        self.held.cut(line.number, -1)
        self.free.append(line.number)
        self.lines.remove(line)
        line.number = None

    def _merge(self, line: Line) -> None:
        """A line that is a beginning of one of its forks hands its nodes over: one leaf, one line."""
        if not line.forks or line.number is None:
            return
        size = len(line.tokens)
        line.forks = [f for f in {id(f): f for f in (f.home() for f in line.forks)}.values() if f.number is not None]
        heir = next((f for f in line.forks if f is not line and f.tokens[:size] == line.tokens), None)
        if heir is None:
            return
        both = dict(line.live)
        for depth, count in heir.live.items():
            both[depth] = both.get(depth, 0) + count
        heir.live = dict(sorted(both.items()))
        heir.forks += [f for f in line.forks if f is not heir]
        self._drop(line)
        line.into = heir

    # -- growing -------------------------------------------------------------------------------------------------------

    def grow(self, growths: Sequence[Growth]) -> None:
        """Append tokens to prefixes: one decoding, unless there are too many lines or outputs for one."""
        batch: list[tuple[Growth, Line, list[int], int]] = []
        for growth in growths:
            placed = self._place(growth, [line for _, line, _, _ in batch])
            if placed is None:
                self._run(batch)
                batch = []
                placed = self._place(growth, [])
                assert placed is not None
            batch.append((growth, *placed))
        self._run(batch)

    def _place(self, growth: Growth, busy: list[Line]) -> tuple[Line, list[int], int] | None:
        """A line for a growth, the tokens to run on it, and how many of them are computed again; None: run first."""
        source = growth.line.home() if growth.line is not None else None
        if source is not None and source.number is None:
            source = None
        if source is not None and len(source.tokens) == growth.depth and not any(line is source for line in busy):
            self._touch(source)
            return source, list(growth.new), 0
        path: list[int] = []
        shared = growth.depth
        if source is None and growth.depth:
            path = growth.path()
            source, shared = self._nearest(path, busy)
        if source is not None and any(line is source for line in busy) and len(source.tokens) < shared:
            return None  # what it forks from is still to be run
        if not self.free and not self._evict([*busy, *([source] if source is not None else [])]):
            return None
        number = self.free.pop()
        made = Line(number, source.tokens[:shared] if source is not None else [])
        if source is not None and shared:
            assert source.number is not None
            self.held.copy(source.number, number, shared)
            source.forks.append(made)
            self._touch(source)
        self.lines.append(made)
        self._touch(made)
        again = path[shared:] if path else []
        self.recomputed += len(again)
        return made, [*again, *growth.new], len(again)

    def _touch(self, line: Line) -> None:
        self._clock += 1
        line.used = self._clock

    def _nearest(self, path: list[int], busy: list[Line]) -> tuple[Line | None, int]:
        """The line that shares most with a path, and how much."""
        best, most = None, 0
        for line in self.lines:
            tokens, size = line.tokens, most
            if len(tokens) <= most or tokens[:most] != path[:most]:
                continue
            while size < min(len(tokens), len(path)) and tokens[size] == path[size]:
                size += 1
            if size > most:
                best, most = line, size
        return best, most

    def _evict(self, needed: list[Line]) -> bool:
        """Forget the line that was not used for longest; its nodes are computed again if they grow."""
        keep = {id(line) for line in needed}
        found = min((line for line in self.lines if id(line) not in keep), key=lambda line: line.used, default=None)
        if found is None:
            return False
        self._drop(found)
        return True

    def _run(self, batch: list[tuple[Growth, Line, list[int], int]]) -> None:
        """Decode everything in the batch, as few times as limits allow."""
        every = self.held.hidden
        tokens: list[tuple[int, int, Line, int, bool]] = []  # growth, token, line, position, wanted
        for i, (growth, line, new, again) in enumerate(batch):
            start = len(line.tokens)
            for k, token in enumerate(new):
                wanted = k == len(new) - 1 if growth.last else k >= again
                tokens.append((i, int(token), line, start + k, wanted))
        at = 0
        while at < len(tokens):
            end, outputs = at, 0
            while end < len(tokens) and end - at < self.held.batch_size:
                output = tokens[end][4] or every
                if output and outputs == self.outputs:
                    break
                outputs += output
                end += 1
            self._decode(tokens[at:end], [line for _, line, _, _ in batch])
            self._collect(batch, tokens[at:end], outputs)
            at = end

    def _decode(self, tokens: list[tuple[int, int, Line, int, bool]], busy: list[Line]) -> None:
        while True:
            held = self.held
            for k, (_, token, line, position, wanted) in enumerate(tokens):
                assert line.number is not None
                held.token[k], held.position[k], held.sequence[k] = token, position, line.number
                held.output[k] = wanted or held.hidden
            self._torn = True
            if held.decode(len(tokens)):
                break
            larger = self._enlarge(held, held.cells + len(tokens))
            if larger is not None:
                self.held = larger
            elif not self._evict(busy):
                count = len({id(line) for line in busy})
                raise PromptTooLong(
                    f"the cache of {held.cells} tokens is full: {count} branches that grow at once need more; "
                    "use fewer branches or shorter texts, or open the model with more cells="
                )
        self.passes += 1
        for _, token, line, _, _ in tokens:
            line.tokens.append(token)
        self._torn = False

    def _collect(
        self,
        batch: list[tuple[Growth, Line, list[int], int]],
        tokens: list[tuple[int, int, Line, int, bool]],
        outputs: int,
    ) -> None:
        """Give every growth the rows that are its own."""
        for growth, line, _, _ in batch:
            growth.line = line
        if not outputs:
            return
        scores, states = self.held.results(outputs)
        row = 0
        places: dict[int, list[int]] = {}
        for i, _, _, _, wanted in tokens:
            if wanted:
                places.setdefault(i, []).append(row)
            row += wanted or self.held.hidden
        for i, rows in places.items():
            part = slice(rows[0], rows[-1] + 1)
            batch[i][0].parts.append((scores[part], None if states is None else states[part]))
