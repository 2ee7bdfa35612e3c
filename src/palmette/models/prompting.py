"""Where prompts meet models: techniques and evaluation take a model's reference as well as a model, and tools are named
in words.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

from palmette.core.errors import UnknownName, UsageError, near_miss
from palmette.core.model import Model
from palmette.models.batched import Batched
from palmette.models.clustered import Clustered, ClusterModel, shared
from palmette.models.keep.prices import price
from palmette.models.local import LocalModel
from palmette.models.opening import model as open_model
from palmette.prompts import search
from palmette.prompts.evaluate import grid
from palmette.prompts.evaluate.metrics import Metric, metric
from palmette.prompts.evaluate.report import Report
from palmette.prompts.run import Solver
from palmette.prompts.task import Task
from palmette.prompts.techniques import TECHNIQUES
from palmette.prompts.tools.calculator import calculator, clock
from palmette.prompts.tools.folder import folder_search
from palmette.prompts.tools.sql import sql_reader
from palmette.prompts.tools.tool import FunctionTool, tool

__all__ = [
    "chain_of_thought", "chain_of_verification", "evaluate", "few_shot", "generated_knowledge", "inline_calls",
    "least_to_most", "opened_model", "program_aided", "prompt_chain", "prompt_search", "react", "reflexion",
    "self_consistency", "step_back", "tools_from", "tree_of_thoughts", "zero_shot", "zero_shot_cot",
]  # fmt: skip

Named = str | Model
TOOLS = ("calculator", "clock", "folder:PATH", "sql:FILE", "mcp:COMMAND or mcp:URL", "FILE.py:FUNCTION")


def opened_model(source: Named) -> Model:
    """The model itself, or the one that a reference names, opened once."""
    return cast(Model, _opened(source)) if isinstance(source, str) else source


@functools.lru_cache(maxsize=8)
def _opened(reference: str) -> Any:
    return open_model(reference)


def _meets(technique: Callable[..., Solver]) -> Callable[..., Solver]:
    """The technique for references too."""

    @functools.wraps(technique)
    def bound(model: Named, task: Task, *values: Any, **settings: Any) -> Solver:
        return technique(opened_model(model), task, *values, **settings)

    return bound


zero_shot = _meets(TECHNIQUES["zero_shot"])
few_shot = _meets(TECHNIQUES["few_shot"])
chain_of_thought = _meets(TECHNIQUES["chain_of_thought"])
zero_shot_cot = _meets(TECHNIQUES["zero_shot_cot"])
self_consistency = _meets(TECHNIQUES["self_consistency"])
react = _meets(TECHNIQUES["react"])
inline_calls = _meets(TECHNIQUES["inline_calls"])
tree_of_thoughts = _meets(TECHNIQUES["tree_of_thoughts"])
least_to_most = _meets(TECHNIQUES["least_to_most"])
program_aided = _meets(TECHNIQUES["program_aided"])
reflexion = _meets(TECHNIQUES["reflexion"])
step_back = _meets(TECHNIQUES["step_back"])
chain_of_verification = _meets(TECHNIQUES["chain_of_verification"])
generated_knowledge = _meets(TECHNIQUES["generated_knowledge"])
prompt_chain = _meets(TECHNIQUES["prompt_chain"])


@functools.wraps(search.prompt_search)
def prompt_search(model: Named, task: Task, **settings: Any) -> search.Found:
    """See palmette.prompts.search."""
    return search.prompt_search(opened_model(model), task, **settings)


def evaluate(
    task: Task,
    data: Any,
    models: Sequence[Named] = ("zoo:seedling",),
    techniques: Sequence[Any] = ("zero_shot",),
    *,
    tools: Sequence[Any] = (),
    metrics: Sequence[str | Metric] = (),
    ray: str | None = None,
    workers: int | None = None,
    **settings: Any,
) -> Report:
    """Ask everything of everyone, and say how good the answers are and how sure that is.

    Args:
        task: what is asked.
        data: a file (.jsonl, .json, .csv, .tsv, .parquet) or rows, with the task's inputs and `output` as columns.
        models: models, or references such as "zoo:seedling" or "openai:gpt-5".
        techniques: specs such as "few_shot:4", or functions of a model and a task.
        tools: what techniques may use: functions, tools, or names such as "calculator" and "folder:texts".
        metrics: names such as "exact", "numeric:0.01", "judge:openai:gpt-5".
        ray: ask on a Ray cluster, "local", "auto" or its address: models are then named, and opened there; the report
            and the log are the same. A replay asks nobody, and so needs no cluster.
        workers: how many hold the models on the cluster; one for each machine unless given.
        settings: prompts, decodings, concurrency, log, replay, limit, prices, seed, on_item; see
            `palmette.prompts.evaluate.grid.evaluate`.

    >>> import palmette
    >>> task = palmette.Task(output=int, conclusion="The answer is {output}.", answer="The answer is {output}.")
    >>> report = palmette.evaluate(task, [{"question": "What is 2 + 3?", "output": 5}])
    >>> report.records[0].calls
    1
    """
    given = {"tools": tools_from(tools), **dict(settings.pop("given", None) or {})}
    most = settings.get("concurrency", 8)
    if workers is not None and ray is None:
        raise UsageError(f"workers={workers} are those of a cluster; say which: ray='local', 'auto' or its address")
    with ExitStack() as held:
        away = ray is not None and not settings.get("replay")
        opened = _there(held.enter_context(Clustered(str(ray), workers, most))) if away else _here(held, most)
        found = [opened(each) for each in models]
        settings["prices"] = {**_known(found), **dict(settings.get("prices") or {})}
        return grid.evaluate(
            task, data, found, techniques, metrics=[metric(each, opened) for each in metrics], given=given,
            alone=lambda m: m.capabilities.full_logits and not isinstance(m, (Batched, ClusterModel)), **settings,
        )  # fmt: skip


def _here(held: ExitStack, most: int) -> Callable[[Named], Model]:
    """What opens models for several items at a time; a model and a judge that are the same share one engine."""
    known: dict[int, Model] = {}

    def opened(source: Named) -> Model:
        model = opened_model(source)
        if id(model) not in known:
            known[id(model)] = made = shared(model, most)
            if isinstance(made, Batched):
                held.callback(made.close)
        return known[id(model)]

    return opened


def _there(workers: Clustered) -> Callable[[Named], Model]:
    """What has models opened by the workers of a cluster."""

    def opened(source: Named) -> Model:
        if not isinstance(source, str):
            raise UsageError(f"a cluster opens models by name, such as 'zoo:seedling'; {source!r} is an object")
        return workers.model(source)

    return opened


def _known(models: Sequence[Model]) -> dict[str, tuple[float, float]]:
    """The prices that are known, of a million tokens of input and of output; on this machine nothing is paid."""
    found = {each.id: (0.0, 0.0) if _free(each) else price(each.id) for each in models}
    return {
        name: each if isinstance(each, tuple) else (each.input, each.output)
        for name, each in found.items() if each is not None
    }  # fmt: skip


def _free(model: Model) -> bool:
    return model.local if isinstance(model, ClusterModel) else isinstance(model, (LocalModel, Batched))


def tools_from(names: Sequence[Any]) -> list[FunctionTool]:
    """Tools from names, functions and tools.

    Raises:
        UnknownName: with the near miss.

    >>> [each.name for each in tools_from(["calculator", "clock"])]
    ['calculator', 'clock']
    """
    made: list[FunctionTool] = []
    for each in names:
        if isinstance(each, str):
            made += _named(each)
        else:
            made.append(each if isinstance(each, FunctionTool) else cast(FunctionTool, tool(each)))
    return made


def _named(spec: str) -> list[FunctionTool]:
    name, _, rest = spec.partition(":")
    if spec == "calculator":
        return [calculator]
    if spec == "clock":
        return [clock()]
    if name == "folder" and rest:
        return folder_search(rest)
    if name == "sql" and rest:
        return [sql_reader(rest)]
    if name == "mcp" and rest:
        from palmette.prompts.tools.mcp import mcp_tools

        return mcp_tools(rest)
    file, colon, function = spec.rpartition(":")
    if colon and file.endswith(".py"):
        return [_from_file(file, function)]
    hint = near_miss(name, ["calculator", "clock", "folder", "sql", "mcp"])
    raise UnknownName("tool", spec, [], f"{hint} Known: {', '.join(TOOLS)}.")


def _from_file(file: str, function: str) -> FunctionTool:
    path = Path(file).expanduser()
    if not path.is_file():
        raise UsageError(f"no file {file!r} with a tool {function!r}")
    spec = importlib.util.spec_from_file_location(f"palmette_tools_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = getattr(module, function, None)
    if found is None:
        names = [name for name, each in vars(module).items() if callable(each) and not name.startswith("_")]
        raise UnknownName(f"function in {file}", function, names)
    return found if isinstance(found, FunctionTool) else cast(FunctionTool, tool(found))
