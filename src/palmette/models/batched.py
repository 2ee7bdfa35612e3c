"""Many requests on one model at once: a model in, a model out.

One thread owns the engine. Running answers take turns on one `Gather`, so each turn is one forward pass for all of
them (continuous batching); new prompts are read in pieces between the turns, so that no stream waits for a long one;
what was read is kept, the least lately used first out, and a prompt that begins alike does not read it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np

from palmette.core.engine import Node, generated
from palmette.core.errors import BadParameter, Busy, PromptTooLong
from palmette.core.events import Event
from palmette.core.message import Request
from palmette.core.model import Capabilities, Embeddings, Model
from palmette.core.waiting import Way
from palmette.models.answering import Reply, prompt_of
from palmette.models.engines.pool import Cell
from palmette.models.engines.tree import Reading, TreeEngine, TreeNode
from palmette.models.local import LocalModel, vectors_of
from palmette.tokens.gather import Gather

__all__ = ["Batched", "Load"]

T = TypeVar("T")
SLICE = 0.05  # seconds of reading prompts between two turns: what a short request waits for a long one
PIECES = (32, 4096)  # tokens of prompts that are read in that time, at least and at most
SHARED = 8  # tokens that must agree before a prompt waits for another that reads them
_END = object()


@dataclass(frozen=True)
class Load:
    """How busy a model is: answers that run, requests that wait, tokens kept of prompts and answers."""

    running: int
    waiting: int
    kept: int
    passes: int


@dataclass
class _Job:
    """A request: its reply, where its events go, and how far it is."""

    reply: Reply
    tell: Callable[[Any], None]
    reading: Reading | None = None
    root: Node | None = None
    turns: Iterator[list[Event]] | None = None
    stopped: bool = False


class _Memory:
    """What was read lately: tokens and the cells in which they lie, at most so many tokens in all."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows: OrderedDict[bytes, list[Cell]] = OrderedDict()  # by the tokens, four bytes each
        self.size = 0

    def keep(self, tokens: Sequence[int], cells: list[Cell]) -> None:
        """Remember; what it continues is forgotten, since it is a part of it."""
        key = _packed(tokens)
        for known in [known for known in self._rows if key.startswith(known)]:
            self.size -= len(self._rows.pop(known))
        self._rows[key] = cells
        self.size += len(cells)
        while self.size > self._most and self._rows:
            self.size -= len(self._rows.popitem(last=False)[1])

    def find(self, prompt: Sequence[int]) -> list[Cell]:
        """The cells of the longest beginning of a prompt."""
        key, best, length = _packed(prompt), None, 0
        for known in self._rows:
            if known[: 4 * length + 4] == key[: 4 * length + 4] and (common := _common(known, key)) > length:
                best, length = known, common
        if best is None:
            return []
        self._rows.move_to_end(best)
        return self._rows[best][:length]

    def clear(self) -> None:
        """Forget all."""
        self._rows.clear()
        self.size = 0


class Batched(Model):
    """A model on this machine that many requests share.

    Args:
        model: the model; nothing else may use its engine.
        most: answers that run at once; further requests wait.
        waiting: requests that may wait; one more is refused.
        memory: tokens of prompts and answers that are kept.

    >>> from palmette.models.local import local_model
    >>> shared = Batched(local_model("zoo:seedling"))
    >>> shared.respond("Who is the friend of Nora?", temperature=0, max_tokens=8, stop="\\n").text
    'Ida.'
    >>> shared.close()
    """

    def __init__(self, model: LocalModel, *, most: int = 32, waiting: int = 64, memory: int = 65_536) -> None:
        if most < 1 or waiting < 0:
            raise BadParameter(f"most must be at least 1 and waiting at least 0, not {most!r} and {waiting!r}")
        self.model = model
        self.id = model.id
        self._most, self._room = most, most + waiting
        self._engine = model.engine
        self._gather = Gather(model.engine)
        self._memory = _Memory(memory)
        self._calls: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._held = 0
        self._piece = 4 * PIECES[0]
        self._lock = threading.Lock()
        self._running: list[_Job] = []
        self._waiting: deque[_Job] = deque()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"palmette {model.id}", daemon=True)
        self._thread.start()

    @property
    def capabilities(self) -> Capabilities:
        """Those of the model."""
        return self.model.capabilities

    @property
    def load(self) -> Load:
        """How busy it is."""
        return Load(len(self._running), self._held - len(self._running), self._memory.size, self._gather.passes)

    def close(self) -> None:
        """Stop; running answers end with an error."""
        self._closed = True
        self._calls.put(None)
        self._thread.join()

    async def produce(self, request: Request, way: Way, *, whole: bool = False) -> AsyncIterator[Event]:
        """See Model. Leaving it early frees its place before the next forward pass."""
        with self._place():
            reply = await way.call(self._reply, request)
            inbox = _inbox(way)
            job = _Job(reply, inbox.put)
            self._calls.put(job)
            try:
                while (said := await inbox.get()) is not _END:
                    if isinstance(said, BaseException):
                        raise said
                    for event in said:
                        yield event
            finally:
                job.stopped = True

    async def vectorise(self, texts: Sequence[str], way: Way) -> Embeddings:
        """See Model."""
        return await self.owned(way, vectors_of, self._engine, list(texts), self.id)

    async def measure(self, request: Request, way: Way) -> int:
        """See Model."""
        return len((await way.call(prompt_of, self._engine, request)).tokens)

    async def owned(self, way: Way, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function in the thread that owns the engine."""
        future: Future[T] = Future()
        self._calls.put((future, function, arguments))
        return await way.call(future.result)

    def _place(self) -> _Place:
        return _Place(self)

    def _reply(self, request: Request) -> Reply:
        """Everything that needs no forward pass: the prompt, the views, the compiled form of the answer."""
        reply = self.model.reply(request, self._gather)
        if len(reply.prompt) >= self._engine.context_length:
            raise PromptTooLong(
                f"the prompt has {len(reply.prompt)} tokens, the model holds {self._engine.context_length}"
            )
        return reply

    # -- the thread that owns the engine -------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closed:
            self._take(block=not self._running and not self._waiting)
            self._drop_stopped()
            self._turn()
            self._read()
        for job in (*self._running, *self._waiting):
            job.tell(Busy(f"{self.id} is being unloaded"))
            job.tell(_END)

    def _take(self, block: bool) -> None:
        """New requests and calls; waits for one only when there is nothing to do."""
        while True:
            try:
                found = self._calls.get(block=block)
            except queue.Empty:
                return
            block = False
            if found is None:
                return
            if isinstance(found, _Job):
                self._waiting.append(found)
            else:
                _answer(*found)

    def _drop_stopped(self) -> None:
        for job in [job for job in self._running if job.stopped]:
            self._running.remove(job)
            job.turns = None
        self._waiting = deque(job for job in self._waiting if not job.stopped)

    def _turn(self) -> None:
        """One step of every running answer: the first that reads a score runs the pass for all."""
        for job in list(self._running):
            try:
                made = next(cast("Iterator[list[Event]]", job.turns), None)
            except BaseException as error:
                job.tell(error)
                self._finish(job)
                continue
            if made is None:
                self._finish(job)
            elif made:
                job.tell(made)

    def _finish(self, job: _Job) -> None:
        self._running.remove(job)
        job.turns = None
        for end in job.reply.ends:
            self._keep(end)
        job.tell(_END)

    def _keep(self, end: Node) -> None:
        """Remember the tokens of an answer's path with their cells."""
        node: Node | None = end
        while node is not None and node.inner is not None:
            node = node.inner
        real = node.real() if node is not None and hasattr(node, "real") else node
        if not isinstance(real, TreeNode):
            return
        cells: list[Cell] = []
        tokens = generated(real)
        above: Node | None = real
        while isinstance(above, TreeNode):
            cells[:0] = above.cells
            root = above
            above = above.parent
        self._memory.keep((*root.prompt, *tokens), cells)

    def _read(self) -> None:
        """A piece of the prompts that wait, the one that needs least first."""
        if not self._waiting:
            return
        free = self._most - len(self._running)
        candidates = [job for job in list(self._waiting)[:free] if self._begun(job)]
        engine = self._engine
        if isinstance(engine, TreeEngine) and candidates:
            candidates.sort(key=lambda job: cast(Reading, job.reading).left)
            readings = [cast(Reading, job.reading) for job in candidates]
            left, began = sum(reading.left for reading in readings), time.monotonic()
            try:
                engine.read(readings, self._piece)
            except BaseException as error:  # out of memory, say: these requests fail, the others go on
                for job in candidates:
                    self._waiting.remove(job)
                    job.tell(error)
                    job.tell(_END)
                return
            self._learn(left - sum(reading.left for reading in readings), time.monotonic() - began)
        for job in candidates:
            if job.reading is None or job.reading.root is not None:
                if job.reading is not None:
                    job.root = self._gather.install(job.reading.prompt, cast(Node, job.reading.root))
                    self._memory.keep(job.reading.prompt, list(job.reading.cells))
                self._waiting.remove(job)
                job.turns = job.reply.turns()
                job.tell(next(job.turns))  # that it begins, for which nothing runs
                self._running.append(job)

    def _learn(self, tokens: int, seconds: float) -> None:
        """Read as much at a time as fits the slice, by how long the last piece took."""
        if tokens >= PIECES[0]:
            fits = int(tokens * SLICE / max(seconds, 1e-6))
            self._piece = max(PIECES[0], min(PIECES[1], (self._piece + fits) // 2))

    def _begun(self, job: _Job) -> bool:
        """Whether a prompt can be read now; one that begins like another waits until that part is read."""
        if job.reading is not None or not isinstance(self._engine, TreeEngine):
            return True
        known = self._memory.find(job.reply.prompt)
        for other in self._waiting:
            if other.reading is not None and other is not job:
                common = _common(_packed(other.reading.prompt), _packed(job.reply.prompt))
                if common >= max(SHARED, len(known) + 1):
                    if len(other.reading.cells) < common:
                        return False
                    known = other.reading.cells[:common]
        job.reading = self._engine.begin(job.reply.prompt, known)
        return True


class _Place:
    """A place among those that run or wait."""

    def __init__(self, model: Batched) -> None:
        self._model = model

    def __enter__(self) -> None:
        model = self._model
        with model._lock:
            if model._held >= model._room:
                raise Busy(f"{model.id}: {model._held} requests run or wait; try again later")
            model._held += 1

    def __exit__(self, *_: object) -> None:
        with self._model._lock:
            self._model._held -= 1


class _BlockingInbox:
    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.put = self._queue.put

    async def get(self) -> Any:
        return self._queue.get()


class _LoopInbox:
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Any] = asyncio.Queue()

    def put(self, said: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone, and with it whoever asked
            self._loop.call_soon_threadsafe(self._queue.put_nowait, said)

    async def get(self) -> Any:
        return await self._queue.get()


def _inbox(way: Way) -> _BlockingInbox | _LoopInbox:
    return _BlockingInbox() if way.blocking else _LoopInbox()


def _answer(future: Future[Any], function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        future.set_result(function(*arguments))
    except BaseException as error:
        future.set_exception(error)


def _packed(tokens: Sequence[int]) -> bytes:
    return np.asarray(tokens, np.uint32).tobytes()


def _common(one: bytes, other: bytes) -> int:
    """How many tokens two packed sequences begin with alike."""
    low, high = 0, min(len(one), len(other)) // 4
    while low < high:
        middle = (low + high + 1) // 2
        if one[: 4 * middle] == other[: 4 * middle]:
            low = middle
        else:
            high = middle - 1
    return low
