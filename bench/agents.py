"""Agents that cannot break: episodes of `react` on random weights at temperature 2, and what went wrong in them.

    python bench/agents.py --episodes 10000 --log FILE     # a line an episode; it goes on after a kill

Tools are called with their own argument schemas (numbers in a range, choices, a nested object, a list), one of them
fails at times; every episode must end with an answer of its type within its steps. A random model is the worst case:
nothing but the grammar makes it say anything that can be read.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import random_model

import palmette
from palmette.prompts.act.react import react
from palmette.prompts.run import Result
from palmette.prompts.task import Task
from palmette.prompts.tools.tool import tool

STEPS = 4
Small = Annotated[int, {"minimum": -99, "maximum": 99}]


@dataclass(frozen=True)
class Seat:
    """A seat."""

    row: Annotated[int, {"minimum": 1, "maximum": 40}]
    side: Literal["aisle", "window"]


@tool(effect="pure")
def calculator(left: Small, operator: Literal["+", "-", "*", "/"], right: Small) -> float:
    """Calculate."""
    return {"+": left + right, "-": left - right, "*": left * right}.get(operator) or left / right


@tool(effect="pure")
def book(seat: Seat, meals: Annotated[list[Literal["soup", "pie"]], {"maxItems": 2}]) -> str:
    """Book a seat."""
    assert isinstance(seat, Seat)
    return f"{seat.row} {seat.side} {len(meals)}"


@tool(effect="write")
def delete(word: Annotated[str, {"maxLength": 6}]) -> str:
    """Delete a word; nobody approves it."""
    raise AssertionError("an unapproved effect")


TASKS: dict[str, Any] = {
    "number": Annotated[int, {"minimum": 0, "maximum": 999}],
    "choice": Literal["yes", "no", "maybe"],
    "object": Seat,
}


def episode(model: Any, seed: int) -> tuple[str, Result]:
    """One run; the kind of its answer and what it came to."""
    name = list(TASKS)[seed % len(TASKS)]
    task = Task("", output=TASKS[name], hint=False)
    ask = react(model, task, [calculator, book, delete], steps=STEPS, thought=12, temperature=2.0, seed=seed)
    return name, ask.run(f"Question {seed}?")


def judged(name: str, result: Result) -> Counter[str]:
    """What happened in an episode."""
    found: Counter[str] = Counter({"episodes": 1, "steps": result.calls, "tokens": result.usage.output})
    for step in result.steps:
        if step.label.startswith("observation"):
            kind = step.text.split(")")[0].removeprefix("Error (") if step.text.startswith("Error (") else "fine"
            found[f"observation {kind}"] += 1
    found["parse errors"] += len(result.notes) + result.unread
    found["untyped"] += not result.answered or not _typed(name, result.value)
    found["beyond the limit"] += result.calls > STEPS
    return found


def _typed(name: str, value: Any) -> bool:
    return {"number": lambda: isinstance(value, int) and 0 <= value <= 999, "choice": lambda: value in
            ("yes", "no", "maybe"), "object": lambda: isinstance(value, Seat)}[name]()  # fmt: skip


def finished(log: Path) -> dict[int, Counter[str]]:
    """Episodes by seed that a log holds; a line that a kill cut short is taken off it."""
    if not log.exists():
        return {}
    whole = log.read_bytes()
    whole = whole[: whole.rfind(b"\n") + 1]
    log.write_bytes(whole)
    rows = [json.loads(line) for line in whole.splitlines()]
    return {row.pop("seed"): Counter(row) for row in rows}


def played(seeds: Iterable[int], home: Path) -> Iterator[tuple[int, Counter[str]]]:
    """Each episode and what happened in it; other random weights every thousand seeds."""
    models: dict[int, Any] = {}
    for seed in seeds:
        weights = seed // 1000
        if weights not in models:
            models = {weights: palmette.model(str(random_model.write(home / str(weights), weights)), engine="numpy")}
        yield seed, judged(*episode(models[weights], seed))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="the first seed, to share the work among processes")
    parser.add_argument("--log", type=Path, help="keep every episode here, and leave out those that are in it")
    chosen = parser.parse_args()
    known = finished(chosen.log) if chosen.log else {}
    wanted = range(chosen.first, chosen.first + chosen.episodes)
    total = sum((known[seed] for seed in wanted if seed in known), Counter())
    begun, cpu = time.monotonic(), time.process_time()
    with tempfile.TemporaryDirectory() as home, open(chosen.log or os.devnull, "a") as log:
        for seed, found in played((seed for seed in wanted if seed not in known), Path(home)):
            total += found
            print(json.dumps({"seed": seed, **found}), file=log, flush=True)
            if total["episodes"] % 500 == 0:
                spent = f"{time.monotonic() - begun:.0f} s, {time.process_time() - cpu:.0f} CPU-s"
                print(f"{total['episodes']} episodes, {spent}", file=sys.stderr)
    for name in ("parse errors", "observation unknown", "observation schema", "untyped", "beyond the limit"):
        total.setdefault(name, 0)
    print(json.dumps(dict(sorted(total.items())), indent=1))


if __name__ == "__main__":
    main()
