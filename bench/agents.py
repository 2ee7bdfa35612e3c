"""Agents that cannot break: episodes of `react` on random weights at temperature 2, and what went wrong in them.

    python bench/agents.py --episodes 10000        # continued where it stopped with --log FILE

Tools are called with their own argument schemas (numbers in a range, choices, a nested object, a list), one of them
fails at times; every episode must end with an answer of its type within its steps. A random model is the worst case:
nothing but the grammar makes it say anything that can be read.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
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


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="the first seed, to share the work among processes")
    parser.add_argument("--log", type=Path, help="continue what this file counts")
    chosen = parser.parse_args()
    total: Counter[str] = Counter()
    if chosen.log and chosen.log.exists():
        total.update(json.loads(chosen.log.read_text()))
    with tempfile.TemporaryDirectory() as home:
        begun, models = time.monotonic(), {}
        for seed in range(chosen.first + total["episodes"], chosen.first + chosen.episodes):
            weights = seed // 1000  # other random weights every thousand episodes
            if weights not in models:
                folder = random_model.write(Path(home) / str(weights), weights)
                models = {weights: palmette.model(str(folder), engine="numpy")}
            total += judged(*episode(models[weights], seed))
            if chosen.log and total["episodes"] % 50 == 0:
                chosen.log.write_text(json.dumps(total))
                print(f"{total['episodes']} episodes, {(time.monotonic() - begun):.0f} s", file=sys.stderr)
    for name in ("parse errors", "observation unknown", "observation schema", "untyped", "beyond the limit"):
        total.setdefault(name, 0)
    print(json.dumps(dict(sorted(total.items())), indent=1))


if __name__ == "__main__":
    main()
