"""Points measured past one machine: Ray actors that do what a worker process does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from palmette.core.cluster import cluster, gathered
from palmette.core.errors import BadParameter
from palmette.models.landscapes.subject import Job
from palmette.models.landscapes.workers import Worker, shares
from palmette.weights.landscape.store import Key, Sums

__all__ = ["Cluster"]


class Cluster:
    """Actors of a Ray cluster; see Evaluator.

    Args:
        job: what each of them opens: the model's folder must be there under the same name on every machine.
        count: how many actors.
        address: "local" to start them on this machine, "auto" for the cluster of this machine, or a cluster's address.

    Raises:
        BadParameter: for fewer than one actor.
        MissingExtra: without Ray.
        ClusterError: if the cluster cannot be reached.
    """

    def __init__(self, job: Job, count: int, address: str = "local") -> None:
        if count < 1:
            raise BadParameter(f"workers should be at least 1, not {count!r}")
        self._job, self._count, self._address = job, count, address
        self._actors: list[Any] = []
        self._open = ExitStack()

    def __enter__(self) -> Cluster:
        self._ray = ray = self._open.enter_context(cluster(self._address, "measuring on a Ray cluster"))
        gpus = 1 if self._job.device.startswith("cuda") else 0
        actor = ray.remote(num_cpus=self._job.threads, num_gpus=gpus)(Worker)
        self._actors = [actor.remote(self._job) for _ in range(self._count)]
        self._together = min(gathered(self._ray, [actor.together.remote() for actor in self._actors]))
        return self

    def __exit__(self, *error: Any) -> None:
        for actor in self._actors:
            self._ray.kill(actor)
        self._open.close()

    def aim(self, directions: Sequence[Any]) -> None:
        """See Evaluator; vectors go through the cluster's object store once."""
        held = [self._ray.put(direction.detach().cpu().numpy()) for direction in directions]
        gathered(self._ray, [actor.take.remote(*held) for actor in self._actors])

    def __call__(self, spots: Sequence[Key]) -> Iterator[Sums]:
        parts = shares(spots, self._together, self._count)
        waiting = [self._actors[i % len(self._actors)].sums.remote(part) for i, part in enumerate(parts)]
        for some in waiting:
            yield from map(np.array, gathered(self._ray, some))
