"""Laws of the lines: whatever is forked, forgotten, moved or interrupted, a growth gets the rows of its own path."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from palmette.core.errors import PromptTooLong
from palmette.models.engines.gguf_lines import Growth, Line, Lines


def meaning(path: list[int]) -> np.ndarray:
    """A row that only this path has."""
    return np.float32([hash(tuple(path)) % 2**20, len(path), path[-1]])


class Table:
    """Sequences as a plain table, with llama.cpp's rules: a sequence goes on where it ends, a cell may be shared."""

    def __init__(self, cells: int, batch: int, hidden: bool = False) -> None:
        self.cells, self.batch_size, self.hidden = cells, batch, hidden
        self.token, self.position, self.sequence = (np.zeros(batch, np.int32) for _ in range(3))
        self.output = np.zeros(batch, np.int8)
        self.paths: dict[int, list[tuple[int, int]]] = {}  # sequence -> its cells with their tokens
        self.made = 0
        self.rows: list[np.ndarray] = []
        self.fail: type[BaseException] | None = None

    @property
    def used(self) -> int:
        return len({cell for path in self.paths.values() for cell, _ in path})

    def copy(self, source: int, target: int, length: int) -> None:
        assert not self.paths.get(target)
        assert len(self.paths[source]) >= length
        self.paths[target] = self.paths[source][:length]

    def cut(self, sequence: int, length: int) -> None:
        self.paths[sequence] = self.paths.get(sequence, [])[: max(length, 0)]

    def decode(self, count: int) -> bool:
        assert 0 < count <= self.batch_size
        if self.used + count > self.cells:
            return False
        self.rows = []
        for i in range(count):
            if self.fail is not None and i == count - 1:
                raise self.fail
            path = self.paths.setdefault(int(self.sequence[i]), [])
            assert self.position[i] == len(path), "a sequence goes on where it ends"
            path.append((self.made, int(self.token[i])))
            self.made += 1
            if self.output[i]:
                self.rows.append(meaning([token for _, token in path]))
        assert not self.hidden or len(self.rows) == count
        return True

    def results(self, count: int) -> tuple[np.ndarray, np.ndarray | None]:
        assert count == len(self.rows)
        rows = np.stack(self.rows)
        return rows, rows[:, None] if self.hidden else None


class Leaf:
    """A prefix as the engine has it: it keeps its parent, and tells when it dies."""

    def __init__(self, lines: Lines, line: Line, parent: Leaf | None, path: list[int]) -> None:
        self.lines, self.line, self.parent, self.path = lines, line, parent, path
        line.home().hold(len(path))

    def __del__(self) -> None:
        self.lines.dead.append((self.line, len(self.path)))


def grow(lines: Lines, leaves: list[Leaf], new: list[list[int]]) -> list[Leaf]:
    lines.settle()
    growths = [Growth(leaf.line, len(leaf.path), leaf.path.copy, more) for leaf, more in zip(leaves, new, strict=True)]
    lines.grow(growths)
    made = []
    for leaf, growth, more in zip(leaves, growths, new, strict=True):
        assert growth.line is not None
        above: Leaf | None = leaf
        lost = []
        while above is not None and above.line.home().number is None:
            lost.append(above)
            above = above.parent
        for each in lost[::-1]:
            each.line = growth.line
            growth.line.home().hold(len(each.path))
        assert len(growth.rows) == len(more)
        for i, token in enumerate(more):
            leaf = Leaf(lines, growth.line, leaf, [*leaf.path, token])
            np.testing.assert_array_equal(growth.rows[i], meaning(leaf.path))
            if growth.layers is not None:
                np.testing.assert_array_equal(growth.layers[i, 0], meaning(leaf.path))
        made.append(leaf)
    return made


def start(lines: Lines, prompt: list[int]) -> Leaf:
    growth = Growth(None, 0, list, prompt, last=True)
    lines.grow([growth])
    assert growth.line is not None
    np.testing.assert_array_equal(growth.rows[-1], meaning(prompt))
    return Leaf(lines, growth.line, None, prompt)


def sound(lines: Lines, held: Table) -> None:
    """The table holds what the lines say, and every number is either free or a line's."""
    for line in lines.lines:
        assert line.number is not None
        assert [token for _, token in held.paths[line.number]] == line.tokens
        assert list(line.live) == sorted(line.live)
        assert max(line.live) == len(line.tokens)
    numbers = [line.number for line in lines.lines]
    assert sorted([*numbers, *lines.free]) == sorted({*numbers, *lines.free})
    assert all(not path for number, path in held.paths.items() if number not in numbers)


def enlarged(old: Table, needed: int) -> Table | None:
    if old.cells >= 64:
        return None
    larger = Table(min(64, max(needed, 2 * old.cells)), old.batch_size, old.hidden)
    larger.paths, larger.made = old.paths, old.made
    return larger


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("count", [2, 3, 6])
def test_any_life_of_a_tree_gives_every_path_its_own_rows(count: int, hidden: bool) -> None:
    """Room for few branches, and for too few cells: forks, deaths, forgetting, recomputing and larger caches."""
    forgotten = 0
    for seed in range(60):
        rng = np.random.default_rng([seed, count, hidden])
        batch = int(rng.integers(4, 12))
        lines = Lines(Table(16, batch, hidden), count, batch if hidden else int(rng.integers(1, 5)), enlarged)

        def draw(low: int, high: int, rng: np.random.Generator = rng) -> list[int]:
            return [int(t) for t in rng.integers(0, 3, rng.integers(low, high))]

        live = [start(lines, draw(1, 6))]
        for _ in range(int(rng.integers(1, 12))):
            live = [live[int(i)] for i in rng.integers(0, len(live), rng.integers(1, 5))]
            chosen = [live[int(i)] for i in rng.integers(0, len(live), rng.integers(1, 6))]
            if any(len(leaf.path) > 12 for leaf in chosen):
                chosen.clear()
                break
            live += grow(lines, chosen, [draw(1, 4) for _ in chosen])
            if rng.random() < 0.5 and live[-1].parent is not None:
                live.append(live[-1].parent)
            chosen.clear()
            lines.settle()
            sound(lines, lines.held)  # type: ignore[arg-type]
        live.clear()
        lines.settle()
        assert lines.lines == []
        assert lines.held.used == 0  # type: ignore[attr-defined]
        forgotten += lines.recomputed
    assert forgotten > 0 or count == 6


def test_a_leaf_has_one_line_and_a_dead_branch_none() -> None:
    """Two children of one node; the one that went on in the parent's line dies, and the other line serves for both."""
    lines = Lines(Table(99, 9), 8, 9, enlarged)
    root = start(lines, [1, 2, 3])
    first, second = grow(lines, [root, root], [[4], [5]])
    assert len(lines.lines) == 2
    del first
    lines.settle()
    assert len(lines.lines) == 1
    assert root.line.home() is second.line.home()
    third = grow(lines, [root], [[6]])[0]
    assert len(lines.lines) == 2 and lines.recomputed == 0 and third.path == [1, 2, 3, 6]
    assert lines.held.used == 5  # type: ignore[attr-defined]


def test_a_growth_is_one_decoding_and_more_branches_than_there_are_lines_are_several() -> None:
    lines = Lines(Table(99, 99), 4, 99, enlarged)
    root = start(lines, [1, 2])
    before = lines.passes
    kept = grow(lines, [root] * 4, [[3], [4, 5], [6], [7]])
    assert lines.passes == before + 1
    many = grow(lines, [root] * 9, [[t] for t in range(9)])
    assert lines.passes > before + 2
    assert lines.recomputed == 0  # the root was never forgotten meanwhile
    again = grow(lines, kept, [[8]] * 4)
    assert [leaf.path[-1] for leaf in again] == [8] * 4
    assert lines.recomputed > 0
    del many


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_decoding_leaves_a_sound_tree(error: type[BaseException]) -> None:
    held = Table(99, 99)
    lines = Lines(held, 4, 99, enlarged)
    root = start(lines, [1, 2])
    held.fail = error
    with pytest.raises(error):
        grow(lines, [root, root], [[3, 4], [5]])
    held.fail = None
    assert len(held.paths[root.line.number]) > 2  # type: ignore[index]
    grow(lines, [root, root], [[3, 4], [5]])
    lines.settle()
    sound(lines, held)
    assert len(lines.lines) == 1


def test_a_cache_that_cannot_hold_the_call_says_so() -> None:
    lines = Lines(Table(8, 99), 4, 99, lambda old, needed: None)
    root = start(lines, [1, 2, 3, 4])
    with pytest.raises(PromptTooLong, match="the cache of 8 tokens is full: 2 branches"):
        grow(lines, [root, root], [[1, 2, 3], [4, 5, 6]])
    grown: list[Any] = grow(lines, [root], [[1, 2, 3]])
    assert len(grown[0].path) == 7
