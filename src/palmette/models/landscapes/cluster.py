"""Points measured past one machine: Ray actors that do what a worker process does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from palmette.core.errors import BadParameter, MissingExtra, PalmetteError
from palmette.models.landscapes.subject import Job
from palmette.models.landscapes.workers import Worker
from palmette.weights.landscape.store import Key, Sums

__all__ = ["Cluster"]


class Cluster:
    """Actors of a Ray cluster; see Evaluator.

    Args:
        job: what each of them opens: the model's folder must be there under the same name on every machine.
        count: how many actors.
        address: of a running cluster ("auto" for the one of this machine); None starts one here.

    Raises:
        BadParameter: for fewer than one actor.
        MissingExtra: without Ray.
    """

    def __init__(self, job: Job, count: int, address: str | None = None) -> None:
        try:
            import ray
        except ImportError as error:
            raise MissingExtra("--ray", "ray") from error
        if count < 1:
            raise BadParameter(f"workers should be at least 1, not {count!r}")
        self._ray, self._job, self._count, self._address = ray, job, count, address
        self._actors: list[Any] = []
        self._started = False

    def __enter__(self) -> Cluster:
        ray = self._ray
        if not ray.is_initialized():
            ray.init(address=self._address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
            self._started = True
        gpus = 1 if self._job.device.startswith("cuda") else 0
        actor = ray.remote(num_cpus=self._job.threads, num_gpus=gpus)(Worker)
        self._actors = [actor.remote(self._job) for _ in range(self._count)]
        return self

    def __exit__(self, *error: Any) -> None:
        for actor in self._actors:
            self._ray.kill(actor)
        if self._started:
            self._ray.shutdown()

    def aim(self, directions: Sequence[Any]) -> None:
        """See Evaluator; vectors go through the cluster's object store once."""
        held = [self._ray.put(direction.detach().cpu().numpy()) for direction in directions]
        self._get([actor.take.remote(*held) for actor in self._actors])

    def __call__(self, spots: Sequence[Key]) -> Iterator[Sums]:
        waiting = [self._actors[i % len(self._actors)].sums.remote(at) for i, at in enumerate(spots)]
        for one in waiting:
            yield np.array(self._get(one))

    def _get(self, what: Any) -> Any:
        try:
            return self._ray.get(what)
        except self._ray.exceptions.RayError as error:
            raise PalmetteError(f"an actor of the cluster failed: {str(error).splitlines()[-1]}") from error
