"""Who measures points: this process, or whatever else can be handed coordinates; and a probe that asks for new ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from palmette.weights.landscape.lockstep import Lockstep, suits
from palmette.weights.landscape.metric import Estimate, Metric, difference, estimate
from palmette.weights.landscape.space import Space
from palmette.weights.landscape.store import Key, Store, Sums

__all__ = ["Evaluator", "Local", "Probe", "Progress", "groups", "quiet"]

Progress = Callable[[int, int], None]


def quiet(done: int, of: int) -> None:
    """No word of progress."""


class Evaluator(Protocol):
    """Measures points in the directions that it was aimed at last; sums come in the order of the points."""

    def __enter__(self) -> Evaluator: ...

    def __exit__(self, *error: Any) -> None: ...

    def aim(self, directions: Sequence[Any]) -> None:
        """Take these vectors from now on."""

    def __call__(self, spots: Sequence[Key]) -> Iterable[Sums]:
        """The metric's sums at points."""


class Local:
    """This process: the model is moved, and put back bit for bit at the end.

    `together` is how many points are best asked for at once.
    """

    def __init__(self, space: Space, metric: Metric) -> None:
        self._space, self._metric = space, metric
        self._directions: Sequence[Any] = ()
        self._training = False
        self._lockstep = Lockstep(space, metric) if suits(metric, space) else None
        self.together = self._lockstep.most if self._lockstep else 1

    def __enter__(self) -> Local:
        self._training = bool(self._space.model.training)
        self._space.__enter__()
        self._space.model.eval()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._space.__exit__(kind, error, trace)
        self._space.model.train(self._training)

    def aim(self, directions: Sequence[Any]) -> None:
        """See Evaluator."""
        self._directions = directions
        if self._lockstep:
            self._lockstep.aim(directions)

    def __call__(self, spots: Sequence[Key]) -> Iterator[Sums]:
        if self._lockstep:
            for group in groups(spots, self.together):
                yield from self._lockstep(group)
            return
        for at in spots:
            self._space.move(at, self._directions)
            yield self._metric.sums()


def groups(spots: Sequence[Key], most: int) -> list[Sequence[Key]]:
    """As few groups of at most so many points as possible, of about the same size.

    >>> [len(group) for group in groups([(0.0,)] * 9, 4)]
    [3, 3, 3]
    """
    count = -(-len(spots) // most)
    ends = [len(spots) * i // count for i in range(count + 1)] if count else []
    return [spots[start:end] for start, end in pairwise(ends)]


class Probe:
    """Points of one line or plane: those that the store knows, and new ones."""

    def __init__(
        self, run: Evaluator, metric: Metric, store: Store, axes: int, progress: Progress, of: str = ""
    ) -> None:
        self.axes, self.counts = axes, metric.counts
        self.store, self.of = store, of
        self.expected = 0
        self._run, self._progress = run, progress

    def measure(self, spots: Sequence[Key]) -> None:
        """Measure the points that are not known yet, in this order; each is kept as soon as it is known."""
        new = [at for at in dict.fromkeys(spots) if not self.store.has(at, self.of)]
        self.expected = max(self.expected, len(self.store) + len(new))
        for at, sums in zip(new, self._run(new) if new else (), strict=True):
            self.store.add(at, sums, self.of)
            self._progress(len(self.store), self.expected)

    def sums(self, at: Key) -> Sums:
        """The metric summed over each example."""
        self.measure([at])
        return self.store.get(at, self.of)

    def loss(self, at: Key) -> Estimate:
        """The mean, and its standard error."""
        return estimate(self.sums(at), self.counts)

    def change(self, at: Key) -> Estimate:
        """How much it is above that of the origin."""
        return difference(self.sums(at), self.sums((0.0,) * self.axes), self.counts)

    def table(self, spots: Sequence[Key]) -> NDArray[np.float64]:
        """The sums at known or new points, float64[points, examples]."""
        self.measure(spots)
        return np.stack([self.store.get(at, self.of) for at in spots])
