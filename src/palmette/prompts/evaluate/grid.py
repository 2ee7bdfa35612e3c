"""The grid: every model × technique × prompt × setting on every item, several at once, through one log.

Items of one cell and of different cells are independent: each asks through its own part of the log. A model on this
machine is asked by one item at a time; others by as many as `concurrency` says, and never by more.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from palmette.core.errors import BadParameter, ClusterError, KeyRefused, MissingKey, PalmetteError, UsageError
from palmette.core.model import Model
from palmette.core.waiting import BLOCKING, finished
from palmette.prompts.evaluate.data import Item, Row, items_of
from palmette.prompts.evaluate.log import CallLog, LoggedError, NotLogged, ScopedLog
from palmette.prompts.evaluate.metrics import Metric, Scoring, exact, metric
from palmette.prompts.evaluate.report import Cell, Record, Report
from palmette.prompts.reading import plain
from palmette.prompts.run import Result, Run, Solver
from palmette.prompts.task import Task
from palmette.prompts.techniques import technique

__all__ = ["evaluate"]

Bind = Callable[[Model, Task], Solver]


@dataclass(frozen=True)
class _Work:
    """One cell, ready to run."""

    cell: Cell
    solver: Solver
    task: Task
    lock: Any = field(default_factory=nullcontext)


def evaluate(
    task: Task, data: str | Path | Iterable[Row], models: Sequence[Model],
    techniques: Sequence[str | Bind] = ("zero_shot",), *, prompts: Mapping[str, Task] | None = None,
    decodings: Sequence[Mapping[str, Any]] = ({},), metrics: Sequence[str | Metric] = (), concurrency: int = 8,
    log: str | Path | None = None, replay: bool = False, limit: int | None = None,
    given: Mapping[str, Any] | None = None, prices: Mapping[str, tuple[float, float]] | None = None, seed: int = 0,
    on_item: Callable[[Record, int, int], None] | None = None,
    alone: Callable[[Model], bool] = lambda model: model.capabilities.full_logits,
) -> Report:  # fmt: skip
    """Ask everything of everyone, and say how good the answers are and how sure that is.

    Args:
        task: what is asked; its examples are what few-shot techniques show.
        data: a file (.jsonl, .json, .csv, .tsv, .parquet) or rows, with the task's inputs and `output` as columns.
        models: who is asked.
        techniques: specs such as "few_shot:4", or functions of a model and a task.
        prompts: name -> task with another wording, for a grid over prompts; inputs and output stay the same.
        decodings: settings of the requests, such as {"temperature": 0.7}.
        metrics: names or specs; numeric for numbers and exact otherwise, unless given. The first one is compared.
        concurrency: the most items in flight.
        log: the file of all calls; the same evaluation goes on from it after an interruption, and makes no call again.
        replay: whether calls that are not in the log are refused.
        limit: only the first so many items.
        given: what techniques take beside their specs: tools, approve, retrieve, links.
        prices: model id -> (price of a million tokens of input, of output).
        seed: of bootstrap and sampling.
        on_item: told of each finished item with how many are done, and of how many.
        alone: whether a model must be asked by one item at a time.

    Raises:
        UsageError: for data, specs or settings that cannot be; before the first call.

    >>> import palmette
    >>> model = palmette.scripted(lambda request: str(eval(request.messages[-1].text.strip("?"))))
    >>> rows = [{"question": "2 + 3?", "output": 5}, {"question": "2 * 3?", "output": 7}]
    >>> str(evaluate(Task(output=int), rows, [model]).summaries[0].scores["numeric"])
    '0.500 [0.095, 0.905]'
    """
    if concurrency < 1:
        raise BadParameter(f"concurrency must be at least 1, not {concurrency!r}")
    if limit is not None and limit < 1:
        raise BadParameter(f"limit must be at least 1, not {limit!r}")
    if replay and log is None:
        raise UsageError("a replay needs the log of the run that is replayed")
    wanted, items = _metrics(task, metrics), items_of(task, data, limit)
    works = _works(task, models, techniques, prompts or {"": task}, decodings, given or {}, seed, alone)
    calls = CallLog(Path(log) if log is not None else None, replay)
    try:
        records = _collected(works, items, wanted, calls, concurrency, on_item)
    finally:
        calls.close()
    kinds = tuple((each.name, each.lower) for each in wanted)
    cells = tuple(work.cell for work in works)
    return Report(cells, tuple(items), records, kinds, dict(prices or {}), seed, calls.made)


def _metrics(task: Task, metrics: Sequence[str | Metric]) -> list[Metric]:
    wanted = [metric(each) for each in metrics] or [metric("numeric") if task.output in (int, float) else exact()]
    names = [each.name for each in wanted]
    odd = next((name for name in names if not name.isidentifier() or names.count(name) > 1), None)
    if odd is not None:
        raise UsageError(
            f"each metric has a name of its own, of letters, digits and _; {odd!r} is none, or stands twice"
        )
    return wanted


def _collected(
    works: Sequence[_Work], items: Sequence[Item], metrics: Sequence[Metric], log: CallLog, concurrency: int,
    on_item: Callable[[Record, int, int], None] | None,
) -> tuple[Record, ...]:  # fmt: skip
    """All records, in the order of the grid, whichever was finished first."""
    places = {(w.cell.name, i.id): n for n, (w, i) in enumerate((w, i) for w in works for i in items)}
    records: list[Record] = []
    for record in _finished([(w, i) for w in works for i in items], metrics, log, concurrency):
        records.append(record)
        if on_item is not None:
            on_item(record, len(records), len(places))
    return tuple(sorted(records, key=lambda r: places[r.cell, r.item]))


def _works(
    task: Task, models: Sequence[Model], techniques: Sequence[str | Bind], prompts: Mapping[str, Task],
    decodings: Sequence[Mapping[str, Any]], given: Mapping[str, Any], seed: int, alone: Callable[[Model], bool],
) -> list[_Work]:  # fmt: skip
    locks = {id(model): threading.Lock() if alone(model) else nullcontext() for model in models}
    made: list[_Work] = []
    for model in models:
        for spec in techniques:
            for wording, worded in prompts.items():
                if dict(worded.inputs) != dict(task.inputs) or worded.output != task.output:
                    raise UsageError(f"the prompt {wording!r} has other inputs or another output than the task")
                for decoding in decodings:
                    options = {**({"seed": seed} if seed else {}), **decoding}
                    solver = (
                        technique(spec, model, worded, options, **given) if isinstance(spec, str)
                        else spec(model, worded)
                    )  # fmt: skip
                    label = spec if isinstance(spec, str) else solver.technique
                    cell = Cell(model.id, label, wording, dict(decoding))
                    made.append(_Work(cell, solver, worded, locks[id(model)]))
    names = [work.cell.name for work in made]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{twice!r} stands twice in the grid")
    if not made:
        raise UsageError("the grid is empty: name at least one model and one technique")
    return made


def _finished(
    jobs: Sequence[tuple[_Work, Item]], metrics: Sequence[Metric], log: CallLog, concurrency: int
) -> Iterator[Record]:  # fmt: skip
    """Records as they are finished; at most `concurrency` items are begun and not finished.

    Whoever has finished an item takes the next one himself: were they handed out here, each would wait for this thread
    to wake up.
    """
    if concurrency == 1:
        for work, item in jobs:
            yield _record(work, item, metrics, log)
        return
    rest, lock, stopped = iter(jobs), threading.Lock(), threading.Event()
    told: queue.SimpleQueue[Record | BaseException | None] = queue.SimpleQueue()

    def take() -> None:
        try:
            while not stopped.is_set():
                with lock:
                    job = next(rest, None)
                if job is None:
                    break
                told.put(_record(*job, metrics, log))
        except BaseException as error:
            told.put(error)
        told.put(None)

    threads = [threading.Thread(target=take, name=f"palmette-evaluate-{i}") for i in range(min(concurrency, len(jobs)))]
    for thread in threads:
        thread.start()
    try:
        left = len(threads)
        while left:
            found = told.get()
            if isinstance(found, BaseException):
                raise found
            left -= found is None
            if found is not None:
                yield found
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def _record(work: _Work, item: Item, metrics: Sequence[Metric], log: CallLog) -> Record:
    """One item of one cell. What is wrong with everything stops the evaluation, a call that fails does not."""
    scope = f"{work.cell.name}|{item.id}"
    with work.lock:
        begun = time.perf_counter()
        try:
            result = finished(work.solver.work(item.inputs, BLOCKING, ScopedLog(log, scope)))
        except (UsageError, MissingKey, KeyRefused, NotLogged, ClusterError):
            raise
        except PalmetteError as error:
            name = error.name if isinstance(error, LoggedError) else type(error).__name__
            result = Result(failure=f"{name}: {error}", unread=1)
        overhead = time.perf_counter() - begun - sum(step.seconds for step in result.steps)
        scores = {each.name: _scored(each, work, item, result, log, scope) for each in metrics}
    usage = result.usage
    return Record(
        cell=work.cell.name, item=item.id, value=plain(result.value), text=result.text, failure=result.failure,
        scores=scores, calls=result.calls, input=usage.input, output=usage.output,
        seconds=sum(step.seconds for step in result.steps), confidence=result.confidence, unread=result.unread,
        reasoning=result.reasoning, notes=result.notes, overhead=overhead,
    )  # fmt: skip


def _scored(each: Metric, work: _Work, item: Item, result: Result, log: CallLog, scope: str) -> float | None:
    def run(model: Model | None) -> Run:
        return Run(model or work.solver.model, work.task, BLOCKING, {}, ScopedLog(log, f"{scope}|{each.name}"))

    return finished(_awaited(each.score(Scoring(work.task, item, result, run))))


async def _awaited(work: Any) -> float | None:
    found = await work
    return None if found is None else float(found)
