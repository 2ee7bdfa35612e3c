"""Models asked on the machines of a Ray cluster (extra `ray`): a reference in, a model out.

Techniques, tools, the log and the order of things stay in this process; only requests travel, and the events of their
answers come back. So what runs over such a model gives what it gives with the model at hand, byte for byte.
"""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from typing import Any

from palmette.core.cluster import cluster, gathered
from palmette.core.errors import BadParameter, ClusterError
from palmette.core.events import Event
from palmette.core.message import Request
from palmette.core.model import Capabilities, Embeddings, Model
from palmette.core.waiting import BLOCKING, Way, finished, steps
from palmette.models.batched import Batched
from palmette.models.local import LocalModel
from palmette.models.opening import model as open_model

__all__ = ["Clustered", "ClusterModel", "shared"]

RESTARTS = 2  # how often a lost worker is started again, and what it was asked is asked again


def shared(model: Model, most: int) -> Model:
    """The model for as many as `most` requests at a time: those on this machine then share forward passes.

    Little is kept of what was read: every pass on a CPU costs by all that is kept.
    """
    return Batched(model, waiting=most, memory=4096) if isinstance(model, LocalModel) and most > 1 else model


class _Worker:
    """On a machine of the cluster: models, each opened once, asked by several at a time."""

    def __init__(self, most: int) -> None:
        self._models: dict[str, Model] = {}
        self._lock = threading.Lock()
        self._most = most

    def process(self) -> int:
        """Its process."""
        return os.getpid()

    def about(self, reference: str) -> tuple[str, Capabilities, bool]:
        """Its id, what can be asked of it, and whether it runs on the machine itself."""
        model = self._model(reference)
        return model.id, model.capabilities, isinstance(model, (Batched, LocalModel))

    def produce(self, reference: str, request: Request) -> list[Event]:
        """See Model."""
        return list(steps(self._model(reference).produce(request, BLOCKING, whole=True)))

    def vectorise(self, reference: str, texts: Sequence[str]) -> Embeddings:
        """See Model."""
        return finished(self._model(reference).vectorise(texts, BLOCKING))

    def measure(self, reference: str, request: Request) -> int:
        """See Model."""
        return finished(self._model(reference).measure(request, BLOCKING))

    def _model(self, reference: str) -> Model:
        with self._lock:
            if reference not in self._models:
                self._models[reference] = shared(open_model(reference), self._most)
            return self._models[reference]


class Clustered:
    """Workers on a cluster; inside `with`, `model` gives what they open.

    Args:
        address: "local" to start workers on this machine, "auto" for the cluster of this machine, or its address.
            Palmette is installed on every machine, keys of APIs are in its environment, folders have the same names.
        workers: how many hold the models, each with its share of a machine's cores and graphics cards; one for each
            machine unless given.
        most: requests in flight, over all workers.

    Raises:
        BadParameter: for fewer than one worker.
        MissingExtra: without Ray.
        ClusterError: if the cluster cannot be reached.
    """

    def __init__(self, address: str, workers: int | None = None, most: int = 8) -> None:
        if workers is not None and workers < 1:
            raise BadParameter(f"workers should be at least 1, not {workers!r}")
        self._address, self._count, self._most = address, workers, most
        self._open = ExitStack()
        self._lock = threading.Lock()
        self._workers: list[Any] = []
        self._busy: list[int] = []

    def __enter__(self) -> Clustered:
        self._ray = ray = self._open.enter_context(cluster(self._address, "asking on a Ray cluster"))
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        count = self._count or len(machines)
        at_most = -(-count // max(1, len(machines)))  # on one machine
        cores = max(1, int(min((each["CPU"] for each in machines), default=1)) // at_most)
        cards = min((each.get("GPU", 0) for each in machines), default=0) / at_most
        kind = ray.remote(
            num_cpus=cores, num_gpus=int(cards) if cards >= 1 else cards, max_concurrency=self._most,
            max_restarts=RESTARTS, max_task_retries=RESTARTS, scheduling_strategy="SPREAD",
        )(_Worker)  # fmt: skip
        self._workers = [kind.remote(self._most) for _ in range(count)]
        self._busy = [0] * count
        return self

    def __exit__(self, *error: Any) -> None:
        for worker in self._workers:
            self._ray.kill(worker)
        self._open.close()

    def model(self, reference: str) -> ClusterModel:
        """The model that a reference names, opened by the workers.

        Raises:
            PalmetteError: what opening it raises there.
        """
        return ClusterModel(self, reference, *self.ask("about", reference))

    def ask(self, method: str, *values: Any) -> Any:
        """Have the least busy worker do something, and wait for it."""
        with self._lock:
            place = self._busy.index(min(self._busy))
            self._busy[place] += 1
        try:
            return gathered(self._ray, getattr(self._workers[place], method).remote(*values))
        except ClusterError as error:
            if "No module named 'palmette" in str(error):
                raise ClusterError("Palmette is not installed on every machine of the Ray cluster") from error
            raise
        finally:
            with self._lock:
                self._busy[place] -= 1


class ClusterModel(Model):
    """A model that the workers of a cluster hold. `local` says whether it runs on their machines or behind an API."""

    def __init__(self, workers: Clustered, reference: str, id: str, capabilities: Capabilities, local: bool) -> None:
        self.id, self.local = id, local
        self._workers, self._reference, self._capabilities = workers, reference, capabilities

    @property
    def capabilities(self) -> Capabilities:
        """What can be asked of it."""
        return self._capabilities

    async def produce(self, request: Request, way: Way, *, whole: bool = False) -> AsyncIterator[Event]:
        """See Model; events come all at once."""
        for event in await way.call(self._workers.ask, "produce", self._reference, request):
            yield event

    async def vectorise(self, texts: Sequence[str], way: Way) -> Embeddings:
        """See Model."""
        made: Embeddings = await way.call(self._workers.ask, "vectorise", self._reference, texts)
        return made

    async def measure(self, request: Request, way: Way) -> int:
        """See Model."""
        return int(await way.call(self._workers.ask, "measure", self._reference, request))
