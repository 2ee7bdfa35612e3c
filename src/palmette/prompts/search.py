"""Automatic prompt engineer (Zhou et al. 2022, arXiv 2211.01910): a model proposes instructions, examples choose among
them, and the one that is reported was never chosen on what it is reported on.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from palmette.core.errors import BadParameter, BudgetSpent
from palmette.core.message import Message
from palmette.core.model import Model
from palmette.core.waiting import BLOCKING, Way, finished
from palmette.prompts.ask.zero_shot import zero_shot
from palmette.prompts.run import Run, Solver, Step
from palmette.prompts.task import Example, Task

__all__ = ["Candidate", "Found", "prompt_search"]

PROPOSE = (
    "I gave a friend an instruction. Based on the instruction they produced the following input-output pairs:\n\n"
    "{pairs}\n\nThe instruction was to"
)
VARY = (
    "Generate a variation of the following instruction while keeping the semantic meaning.\n\nInput: {instruction}\n\n"
    "Output:"
)


@dataclass(frozen=True)
class Candidate:
    """An instruction and the share of training examples that were answered right with it."""

    instruction: str
    score: float


@dataclass(frozen=True)
class Found:
    """What a search found.

    Args:
        task: the task with the best instruction.
        train: its score on the examples that chose it: too good to be reported.
        held_out: its score on the others; None if the budget was spent before.
        baseline: the score of the task's own instruction on the others.
        candidates: all that were scored, best first.
        calls: how many were made.
        complete: whether the budget was enough.
        steps: of proposing.
    """

    task: Task
    train: float
    held_out: float | None
    baseline: float | None
    candidates: tuple[Candidate, ...]
    calls: int
    complete: bool
    steps: tuple[Step, ...] = ()


def prompt_search(
    model: Model, task: Task, *, candidates: int = 8, rounds: int = 2, keep: int = 2, shown: int = 4,
    held_out: float = 0.5, budget: int = 500, seed: int = 0, proposer: Model | None = None,
    technique: Callable[..., Solver] = zero_shot, **options: Any,
) -> Found:  # fmt: skip
    """Search for an instruction by the task's examples.

    Some of the examples choose (train), the others report (held out); the latter are asked about once, at the end.

    Args:
        model: who answers.
        task: what is asked, with examples.
        candidates: instructions proposed at first, each from `shown` random training examples.
        rounds: of resampling: the best `keep` are each varied, as often as gives `candidates` in all.
        keep: how many survive a round.
        shown: examples in a proposal's prompt.
        held_out: share of the examples that report.
        budget: the most calls of all kinds; what was found until then is returned.
        seed: of the split and of the draws.
        proposer: who proposes; the model itself unless given.
        technique: how instructions are tried.
        options: fields of the requests that answer.

    Raises:
        BadParameter: for too few examples.
    """
    search = _Search(model, task, budget, seed, proposer or model, technique, options)
    examples = list(task.examples)
    random.Random(seed).shuffle(examples)
    cut = round(len(examples) * held_out)
    report, train = examples[:cut], examples[cut:]
    if not train or not report:
        raise BadParameter(f"prompt_search needs examples to choose by and others to report on; given: {len(examples)}")
    if candidates < 1 or keep < 1 or rounds < 0:
        raise BadParameter("candidates and keep must be at least 1, rounds at least 0")
    return finished(search.found(train, report, candidates, rounds, keep, shown, BLOCKING))


class _Search:
    def __init__(
        self, model: Model, task: Task, budget: int, seed: int, proposer: Model, technique: Callable[..., Solver],
        options: Mapping[str, Any],
    ) -> None:  # fmt: skip
        self.model, self.task, self.budget, self.seed = model, task, budget, seed
        self.proposer, self.technique, self.options = proposer, technique, options
        self.calls = 0
        self.scored: dict[str, float] = {}
        self.steps: list[Step] = []

    async def found(
        self, train: Sequence[Example], report: Sequence[Example], candidates: int, rounds: int, keep: int, shown: int,
        way: Way,
    ) -> Found:  # fmt: skip
        best_held = base_held = None
        complete = True
        try:
            base_held = await self._score(self.task.instruction, report, way)
            rng = random.Random(self.seed + 1)
            prompts = [self._proposal(rng.sample(list(train), min(shown, len(train)))) for _ in range(candidates)]
            await self._try(prompts, "propose", train, way)
            for number in range(rounds):
                kept = self._ranked()[:keep]
                again = [kept[i % len(kept)].instruction for i in range(candidates)]
                await self._try([VARY.format(instruction=each) for each in again], f"vary {number + 1}", train, way)
            best_held = await self._score(self._ranked()[0].instruction, report, way)
        except BudgetSpent:
            complete = False
        ranked = self._ranked()
        best = ranked[0] if ranked else Candidate(self.task.instruction, 0.0)
        return Found(
            self.task.with_instruction(best.instruction), best.score, best_held, base_held, tuple(ranked), self.calls,
            complete, tuple(self.steps),
        )  # fmt: skip

    def _ranked(self) -> list[Candidate]:
        return sorted((Candidate(i, s) for i, s in self.scored.items()), key=lambda each: -each.score)

    def _proposal(self, examples: Sequence[Example]) -> str:
        pairs = [f"Input: {self.task.said(e.inputs)}\nOutput: {self.task.direct(e)}" for e in examples]
        return PROPOSE.format(pairs="\n\n".join(pairs))

    async def _try(self, prompts: Sequence[str], label: str, train: Sequence[Example], way: Way) -> None:
        """Ask for instructions, and score those that are new."""
        run = Run(self.proposer, self.task, way, {}, budget=self.budget - self.calls)
        drawn = {"prefer": {"temperature": 0.9}}
        asks = [([Message.of("user", text)], {**drawn, "seed": self.seed + i}) for i, text in enumerate(prompts)]
        replies = await run.ask_all(asks, label)
        self.calls += len(replies)
        self.steps += [step for step in run.steps if step is not None]
        for reply in replies:
            lines = [line for line in reply.text.strip().splitlines() if line.strip()]
            instruction = lines[0].strip().strip('"') if lines else ""
            if instruction and instruction not in self.scored:
                self.scored[instruction] = await self._score(instruction, train, way)

    async def _score(self, instruction: str, examples: Sequence[Example], way: Way) -> float:
        task = self.task.with_instruction(instruction).with_examples([])
        solver = self.technique(self.model, task, **self.options)
        right = 0
        for example in examples:
            if self.calls >= self.budget:
                raise BudgetSpent(f"the {self.budget} calls of the search are made")
            result = await solver.work(example.inputs, way)
            self.calls += result.calls
            right += result.answered and result.value == example.output
        return right / len(examples)
