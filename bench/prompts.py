"""What prompting and merging do to the embedded toys, on held-out items, with paired tests; and what evaluation costs.

    python bench/prompts.py                        # 200 items each; less than three minutes on two cores
    python bench/prompts.py --items 50 --only reasoning

Everything runs through `palmette.evaluate`, as for any model. The toys' tasks are those of `zoo/`; the items are drawn
with a seed that neither training nor the model cards used. Numpy computes on one thread: the toys' matrices are small.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent.parent))

from zoo.arithmetic import THINK, chain
from zoo.calculator import calculator
from zoo.measure import last_number
from zoo.reading import counterfactual, triples
from zoo.text import Item
from zoo.world import build_world

import palmette
from palmette.core.message import Message
from palmette.core.model import Capabilities, Model
from palmette.models.clustered import shared
from palmette.prompts.evaluate.grid import evaluate
from palmette.prompts.evaluate.statistics import wilson
from palmette.prompts.files.prompt import parse_prompt
from palmette.prompts.run import Result, Run, Solver
from palmette.prompts.task import Task
from palmette.prompts.techniques import technique

WORLD = build_world()
SAYS = "The answer is {output}."
TOGETHER = 32  # items in flight: they share forward passes


def drawn(name: str) -> random.Random:
    """The generator of one part."""
    return random.Random(f"bench:{name}")


def row(item: Item) -> dict[str, Any]:
    """An arithmetic item as a row."""
    question = item.prompt.removeprefix("Q: ").removesuffix("\nA:")
    return {"question": question, "output": int(last_number(item.answer) or 0)}


def worked(item: Item) -> dict[str, Any]:
    """A worked example: the same answer with its rationale."""
    return {**row(item), "rationale": item.answer.partition(" The answer is")[0]}


def reasoning(n: int) -> dict[str, Any]:
    """Four-step word problems: direct, one example, one worked example."""
    rng = drawn("reasoning")
    shown = chain(rng, WORLD, 3, "scratchpad")
    task = Task(output=int, examples=[worked(shown)], answer=SAYS, hint=False)
    rows = [row(chain(rng, WORLD, 4, "direct")) for _ in range(n)]
    report = palmette.evaluate(task, rows, ["zoo:seedling"], ["zero_shot", "few_shot:1", "chain_of_thought:1"], seed=1,
                               concurrency=TOGETHER)  # fmt: skip
    return told(report)


def style(n: int) -> dict[str, Any]:
    """Whether one worked example sets the style of a reply that nothing else constrains."""
    rng = drawn("style")
    model = shared(palmette.model("zoo:seedling"), TOGETHER)
    shares: dict[str, Any] = {}

    def hit(kind: str, shown: Any, question: str) -> bool:
        task = Task(output=int, examples=[shown], answer=SAYS, hint=False, enforce=False)
        solver = technique(kind, model, task, {"max_tokens": 6})
        return solver.run(question).steps[0].reply.startswith("Let us")

    for name, kind in (("direct", "few_shot:1"), ("scratchpad", "chain_of_thought:1")):
        asked = [
            (kind, worked(chain(rng, WORLD, 3, "scratchpad")), row(chain(rng, WORLD, 3, "direct"))["question"])
            for _ in range(n)
        ]
        with ThreadPoolExecutor(TOGETHER) as pool:
            hits = sum(pool.map(lambda each: hit(*each), asked))
        low, high = wilson(hits, n)
        shares[f"scratchpad after a {name} example"] = f"{hits / n:.3f} [{low:.3f}, {high:.3f}]"
    model.close()
    return shares


def tools(n: int) -> dict[str, Any]:
    """Two-digit expressions: in the head, and with calls of the calculator."""
    rng = drawn("tools")
    task = Task(output=int, answer=SAYS, hint=False)
    rows = [row(calculator(rng)) for _ in range(n)]
    return told(palmette.evaluate(task, rows, ["zoo:seedling"], ["zero_shot", "inline_calls"], seed=1,
                                  concurrency=TOGETHER))  # fmt: skip


def grounding(n: int) -> dict[str, Any]:
    """Questions on a text that contradicts memory: with the text, and without."""
    rng = drawn("grounding")
    rows = []
    for _ in range(n):
        by_text, _ = counterfactual(rng, WORLD)
        text, _, question = by_text.prompt.removeprefix("Text: ").removesuffix("\nA:").partition("\nQ: ")
        rows.append({"text": text, "question": question, "output": by_text.answer})
    inputs = "inputs: {text: text, question: text}"
    told_it = parse_prompt(f"---\nname: text\n{inputs}\n---\nsystem:\n{{{{text}}}}\nuser:\n{{{{question}}}}")
    alone = parse_prompt(f"---\nname: memory\n{inputs}\n---\nuser:\n{{{{question}}}}")
    bound = [lambda m, t, p=p: p.solver(m, t, max_tokens=16, stop=["\n"]) for p in (alone, told_it)]
    return told(palmette.evaluate(told_it.task, rows, ["zoo:seedling"], bound, metrics=["exact"], seed=1,
                                  concurrency=TOGETHER))  # fmt: skip


def raw(home: Path, name: str) -> Model:
    """A member of the family that continues texts as they are, without its chat template, as it was measured."""
    source, target = Path(palmette.__file__).parent / "models" / "zoo" / name, home / name
    shutil.copytree(source, target)
    config = json.loads((target / "tokenizer_config.json").read_text())
    del config["chat_template"]
    (target / "tokenizer_config.json").write_text(json.dumps(config))
    return palmette.model(str(target), engine="numpy")


def continued(model: Model, task: Task) -> Solver:
    """A technique: the text goes on, and the conclusion is read."""

    async def solve(run: Run, inputs: dict[str, Any]) -> Result:
        reply = await run.ask((Message.of("user", run.task.said(inputs)),), "continuation")
        text = reply.text.partition("\n")[0].strip()
        return run.read(text, run.task.output is int)

    return Solver("continued", model, task, solve, {}, {"max_tokens": 24 + 20 * 8, "stop": ("\n",)})


def merging(n: int) -> dict[str, Any]:
    """The merge of two specialists against each of them on its own task: one step and one fact beyond the base."""
    made: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as home:
        models = {name: raw(Path(home), name) for name in ("long_arithmetic", "dense_extraction", "merged")}
        for task, specialist, rows in own_tasks(n):
            pair = [models[specialist], models["merged"]]
            report = palmette.evaluate(task, rows, pair, [continued], seed=1, concurrency=TOGETHER)
            one, two = (next(iter(each.scores.values())) for each in report.summaries)
            ((_, found, p),) = report.comparisons
            made[f"{specialist}, its own task"] = {
                "specialist": str(one), "merged": str(two), "n": n, "ratio": round(two.mean / one.mean, 3),
                "difference": f"{found.difference:+.3f} [{found.low:+.3f}, {found.high:+.3f}]",
                "p (McNemar)": f"{p:.2g}",
            }  # fmt: skip
    return made


def own_tasks(n: int) -> list[tuple[Task, str, list[dict[str, Any]]]]:
    """(task, specialist, rows): word problems of seven steps on the scratchpad, and texts of five facts as triples."""
    rng = drawn("merging")
    text = {"inputs": {"text": str}, "template": "{text}", "hint": False, "enforce": False}
    long = [chain(rng, WORLD, 7, "direct") for _ in range(n)]
    dense = [triples(rng, WORLD, 5) for _ in range(n)]
    return [
        (Task(output=int, **text), "long_arithmetic",
         [{"text": f"{each.prompt} {THINK}", "output": int(last_number(each.answer) or 0)} for each in long]),
        (Task(output=str, **text), "dense_extraction",
         [{"text": each.prompt, "output": each.answer} for each in dense]),
    ]  # fmt: skip


def told(report: Any) -> dict[str, Any]:
    """The figures of a report."""
    made: dict[str, Any] = {}
    for summary in report.summaries:
        (score,) = summary.scores.values()
        made[summary.cell.technique] = {"score": str(score), "n": score.n, "unread": summary.unread,
                                        "calls": round(summary.calls, 2)}  # fmt: skip
    for cell, found, p in report.comparisons:
        made[cell.technique]["difference"] = f"{found.difference:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
        made[cell.technique]["p (McNemar, Holm)"] = f"{p:.2g}"
    return made


def overhead(n: int) -> dict[str, Any]:
    """Time of an evaluation over that of the bare calls, in turns; and its work beside them, in CPU-ms an item."""
    made: dict[str, Any] = {}
    task = Task(output=int, hint=False)
    rows = [{"question": f"{i}?", "output": i} for i in range(n)]
    home = tempfile.TemporaryDirectory()
    for pause, lanes in ((0.01, 1), (0.01, 8), (0.1, 1)):
        model = palmette.scripted(lambda r: r.messages[-1].text.strip("?"), capabilities=Capabilities(), pause=pause)
        some = rows[: max(10, int(n * 0.01 / pause))]

        def one(each: Any, model: Any = model) -> None:
            model.respond(each["question"], temperature=0.0)

        def bare(lanes: int = lanes, some: Any = some, one: Any = one) -> None:
            with ThreadPoolExecutor(lanes) as pool:
                list(pool.map(one, some))

        def whole(lanes: int = lanes, some: Any = some, model: Any = model) -> None:
            log = Path(home.name) / "overhead.jsonl"
            evaluate(task, some, [model], concurrency=lanes, log=log)
            log.unlink()

        begun = time.process_time()
        bare()
        middle = time.process_time()
        whole()
        extra = (time.process_time() - middle) - (middle - begun)
        name = f"calls of {pause * 1000:.0f} ms, {lanes} at a time"
        ratios = [timed(whole) / timed(bare) for _ in range(3)]
        made[name] = f"{statistics.median(ratios) - 1:+.1%}, {extra / len(some) * 1000:.3f} CPU-ms an item"
    home.cleanup()
    return {**made, "the toy": toys_overhead()}


def toys_overhead() -> str:
    """The same for calls of the embedded model, one at a time."""
    toy = palmette.model("zoo:seedling")
    rng = drawn("overhead")
    some = [row(chain(rng, WORLD, 2, "direct")) for _ in range(10)]
    shown = Task(output=int, examples=[worked(chain(rng, WORLD, 2, "scratchpad"))], answer=SAYS, hint=False)
    solver = technique("chain_of_thought:1", toy, shown)
    requests = [step.request for each in some for step in solver.run(each["question"]).steps]

    def asked() -> None:
        for request in requests:
            toy.respond(request)

    ratios = [timed(lambda: evaluate(shown, some, [toy], ["chain_of_thought:1"], concurrency=1)) / timed(asked)
              for _ in range(3)]  # fmt: skip
    return f"{statistics.median(ratios) - 1:+.1%}"


def timed(work: Callable[[], None]) -> float:
    """Seconds."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


PARTS = {"merging": merging, "reasoning": reasoning, "style": style, "tools": tools, "grounding": grounding,
         "overhead": overhead}  # fmt: skip


def main() -> None:
    """The command line: the toys on two processes, and then, alone, what is timed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--only", choices=list(PARTS))
    chosen = parser.parse_args()
    begun = time.monotonic()

    def tell(name: str, found: dict[str, Any]) -> None:
        print(json.dumps({name: found, "seconds": round(time.monotonic() - begun, 1)}, ensure_ascii=False), flush=True)

    wanted = [chosen.only] if chosen.only else list(PARTS)
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        running = {pool.submit(PARTS[name], chosen.items): name for name in wanted if name != "overhead"}
        for done in as_completed(running):
            tell(running[done], done.result())
    if "overhead" in wanted:
        tell("overhead", overhead(chosen.items))


if __name__ == "__main__":
    main()
