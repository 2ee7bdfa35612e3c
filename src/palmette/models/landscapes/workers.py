"""Processes that measure points side by side: each opens the same job, is sent coordinates and answers with sums.

They talk in lines of JSON over pipes. Every number is the one that this process would have measured at the same thread
count, bit for bit, and points are kept in the order that one process has.
"""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from palmette.core.errors import BadParameter, PalmetteError
from palmette.models.landscapes.subject import Job
from palmette.weights.landscape.evaluate import Local, groups
from palmette.weights.landscape.store import Key, Sums

__all__ = ["Pool", "Worker", "shares"]


class Worker:
    """One process's share: the model, moved to a point when asked."""

    def __init__(self, job: Job) -> None:
        self._space, metric = job.open()
        self._local = Local(self._space, metric).__enter__()

    def aim(self, vectors: Sequence[Any]) -> None:
        """Take these directions: arrays, float32[size], or files that hold one each, which processes then share."""
        import torch

        size, place = self._space.size, self._space.device
        read = [torch.from_file(v, shared=True, size=size) if isinstance(v, str) else torch.from_numpy(np.array(v))
                for v in vectors]  # fmt: skip
        self._local.aim([vector.to(place) for vector in read])

    def take(self, *vectors: Any) -> None:
        """The same, each vector an argument of its own."""
        self.aim(vectors)

    def together(self) -> int:
        """How many points are best asked for at once."""
        return self._local.together

    def sums(self, spots: Sequence[Key]) -> list[Sums]:
        """The metric's sums at points."""
        return list(self._local(spots))


class Pool:
    """As many processes as asked for; see Evaluator.

    Args:
        job: what each of them opens.
        count: how many.

    Raises:
        BadParameter: for fewer than one.
    """

    def __init__(self, job: Job, count: int) -> None:
        if count < 1:
            raise BadParameter(f"workers should be at least 1, not {count!r}")
        self._job, self._count = job, count
        self._processes: list[subprocess.Popen[str]] = []
        self._idle: queue.SimpleQueue[subprocess.Popen[str]] = queue.SimpleQueue()
        self._home = tempfile.TemporaryDirectory(prefix="palmette-landscape-")
        self._threads = ThreadPoolExecutor(count)
        self._aims, self._together = 0, 1

    def __enter__(self) -> Pool:
        for index in range(self._count):
            job = replace(self._job, device=_device(self._job.device, index))
            call = [sys.executable, "-m", "palmette.models.landscapes.workers"]
            one = subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self._processes.append(one)
            _send(one, job.as_json())
        for one in self._processes:
            self._together = int(_receive(one)["together"])
            self._idle.put(one)
        return self

    def __exit__(self, *error: Any) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for one in self._processes:
            one.kill()
        for one in self._processes:
            one.wait()
            for pipe in (one.stdin, one.stdout):
                if pipe is not None:
                    with suppress(OSError):  # what was still to be sent no longer matters
                        pipe.close()
        self._home.cleanup()

    def aim(self, directions: Sequence[Any]) -> None:
        """See Evaluator; vectors go through files that all processes share."""
        self._aims += 1
        paths = [Path(self._home.name) / f"{self._aims}-{i}" for i in range(len(directions))]
        for path, direction in zip(paths, directions, strict=True):
            direction.detach().cpu().numpy().tofile(path)
        for one in self._processes:
            _send(one, json.dumps({"aim": [str(path) for path in paths]}))
            _receive(one)

    def __call__(self, spots: Sequence[Key]) -> Iterator[Sums]:
        for found in self._threads.map(self._some, shares(spots, self._together, self._count)):
            yield from found

    def _some(self, spots: Sequence[Key]) -> list[Sums]:
        one = self._idle.get()
        try:
            _send(one, json.dumps({"at": spots}))
            return [np.array(sums, np.float64) for sums in _receive(one)["sums"]]
        finally:
            self._idle.put(one)


def shares(spots: Sequence[Key], together: int, workers: int) -> list[Sequence[Key]]:
    """Points in groups of at most `together` that are asked for at once, about as many for every worker.

    >>> [len(group) for group in shares([(0.0,)] * 17, 8, 2)]
    [4, 4, 4, 5]
    """
    rounds = -(-len(spots) // (together * workers))
    return groups(spots, -(-len(spots) // (rounds * workers))) if rounds else []


def _send(one: subprocess.Popen[str], line: str) -> None:
    assert one.stdin is not None
    try:
        one.stdin.write(line + "\n")
        one.stdin.flush()
    except OSError as error:
        raise PalmetteError(f"a worker process has ended: {error}; what was measured is kept") from error


def _receive(one: subprocess.Popen[str]) -> dict[str, Any]:
    assert one.stdout is not None
    line = one.stdout.readline()
    if not line:
        raise PalmetteError(
            "a worker process has ended; what was measured is kept (is there memory for one more model?)"
        )
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise PalmetteError(f"a worker process failed: {answer['error']}")
    return answer


def _device(device: str, index: int) -> str:
    """`cuda` is one device after the other; anything else is meant as it is."""
    if device != "cuda":
        return device
    import torch

    return f"cuda:{index % max(1, torch.cuda.device_count())}"


def main() -> None:
    """A worker process: a job, then requests, a line each."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
    worker: Worker | None = None
    for line in sys.stdin:
        try:
            answer: dict[str, Any] = {}
            if worker is None:
                worker = Worker(Job.from_json(line))
                answer = {"together": worker.together()}
            elif "aim" in (asked := json.loads(line)):
                worker.aim(asked["aim"])
            else:
                spots = [tuple(at) for at in asked["at"]]
                answer = {"sums": [sums.tolist() for sums in worker.sums(spots)]}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
