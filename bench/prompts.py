"""What prompting does to the embedded toy, on held-out items, with paired tests; and what evaluation costs.

    python bench/prompts.py                        # 200 items each
    python bench/prompts.py --items 50 --only reasoning

Everything runs through `palmette.evaluate`, as for any model. The toy's tasks are those of `zoo/`; the items are drawn
with a seed that neither training nor the model cards used.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from zoo.arithmetic import chain
from zoo.calculator import calculator
from zoo.measure import last_number
from zoo.reading import counterfactual
from zoo.text import Item
from zoo.world import build_world

import palmette
from palmette.core.model import Capabilities
from palmette.prompts.evaluate.grid import evaluate
from palmette.prompts.files.prompt import parse_prompt
from palmette.prompts.task import Task
from palmette.prompts.techniques import technique

WORLD = build_world()
SAYS = "The answer is {output}."


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
    report = palmette.evaluate(task, rows, ["zoo:seedling"], ["zero_shot", "few_shot:1", "chain_of_thought:1"], seed=1)
    return told(report)


def style(n: int) -> dict[str, Any]:
    """Whether one worked example sets the style of a reply that nothing else constrains."""
    rng = drawn("style")
    model = palmette.model("zoo:seedling")
    shares: dict[str, float] = {}
    for name in ("direct", "scratchpad"):
        hits = 0
        for _ in range(n):
            shown = worked(chain(rng, WORLD, 3, "scratchpad"))
            asked = row(chain(rng, WORLD, 3, "direct"))
            task = Task(output=int, examples=[shown], answer=SAYS, hint=False, enforce=False)
            kind = "few_shot:1" if name == "direct" else "chain_of_thought:1"
            solver = technique(kind, model, task, {"max_tokens": 6})
            hits += solver.run(asked["question"]).steps[0].reply.startswith("Let us")
        shares[f"scratchpad after a {name} example"] = hits / n
    return shares


def tools(n: int) -> dict[str, Any]:
    """Two-digit expressions: in the head, and with calls of the calculator."""
    rng = drawn("tools")
    task = Task(output=int, answer=SAYS, hint=False)
    rows = [row(calculator(rng)) for _ in range(n)]
    return told(palmette.evaluate(task, rows, ["zoo:seedling"], ["zero_shot", "inline_calls"], seed=1))


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
    return told(palmette.evaluate(told_it.task, rows, ["zoo:seedling"], bound, metrics=["exact"], seed=1))


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
    for pause in (0.01, 0.1):
        model = palmette.scripted(lambda r: r.messages[-1].text.strip("?"), capabilities=Capabilities(), pause=pause)
        some = rows[: max(10, int(n * 0.01 / pause))]

        def bare(model: Any = model, some: Any = some) -> None:
            for each in some:
                model.respond(each["question"], temperature=0.0)

        def whole(model: Any = model, some: Any = some) -> None:
            log = Path("overhead.jsonl")
            evaluate(task, some, [model], concurrency=1, log=log)
            log.unlink()

        begun = time.process_time()
        bare()
        middle = time.process_time()
        whole()
        extra = (time.process_time() - middle) - (middle - begun)
        made[f"CPU-ms an item, calls of {pause * 1000:.0f} ms"] = round(extra / len(some) * 1000, 3)
        ratios = [timed(whole) / timed(bare) for _ in range(5)]
        made[f"calls of {pause * 1000:.0f} ms"] = f"{statistics.median(ratios) - 1:+.1%}"
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
              for _ in range(5)]  # fmt: skip
    made["the toy"] = f"{statistics.median(ratios) - 1:+.1%}"
    return made


def timed(work: Callable[[], None]) -> float:
    """Seconds."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


PARTS = {"reasoning": reasoning, "style": style, "tools": tools, "grounding": grounding, "overhead": overhead}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--only", choices=list(PARTS))
    chosen = parser.parse_args()
    begun = time.monotonic()
    for name, part in PARTS.items():
        if chosen.only in (None, name):
            print(json.dumps({name: part(chosen.items), "seconds": round(time.monotonic() - begun, 1)}), flush=True)


if __name__ == "__main__":
    main()
