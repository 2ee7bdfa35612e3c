"""Writing the trace while strategies run. A node's distribution is summed up at once, so that its memory can go."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from palmette.core.engine import Edge, Hypothesis, Node, Step, Tokenizer
from palmette.core.rng import mix
from palmette.core.scores import Ids, Scores
from palmette.tokens.text import text_of
from palmette.tokens.trace.values import Answer, Candidate, Expansion, Look, Run, Stage, Trace, TraceNode, Visit

__all__ = ["Recorder"]


class Recorder:
    """Collects the steps of all runs of one prompt into one tree. Equal prefixes are one node.

    Args:
        top: how many of the likeliest candidates to keep for each expanded node.
    """

    def __init__(
        self, tokenizer: Tokenizer, model: str, prompt: str, tokens: Sequence[int], runs: Sequence[Run], top: int = 50
    ) -> None:
        self._tokenizer = tokenizer
        self._top = top
        self._model, self._prompt, self._tokens = model, prompt, tuple(tokens)
        self._runs = list(runs)
        self._steps = [0] * len(self._runs)
        self._nodes = [TraceNode(0, -1, -1, b"", "", 0, 0.0, 0)]
        self._places: dict[int, int] = {}
        self._waiting: dict[int, list[tuple[Step, Sequence[bytes], int]]] = {}

    def trace(self) -> Trace:
        """The tree so far."""
        for run in self._waiting:
            self._catch_up(run)
        return Trace(self._model, self._prompt, self._tokens, tuple(self._runs), tuple(self._nodes))

    def see(self, step: Step, stop: Sequence[bytes] = (), skip: int = 0) -> None:
        """Add one step of run `step.run`; it is written down when its scores are known, so that nothing runs for it."""
        self._waiting.setdefault(step.run, []).append((step, stop, skip))
        if all(_ready(edge.parent) for edge in step.edges):
            self._catch_up(step.run)

    def _catch_up(self, run: int) -> None:
        while self._waiting[run]:
            self._write(*self._waiting[run].pop(0))

    def _write(self, step: Step, stop: Sequence[bytes], skip: int) -> None:
        run = step.run
        for edge in step.edges:
            parent = self._place(edge.parent)
            stages = _stages(edge.parent)
            self._expand(parent, run, stages)
            self._visit(parent, edge, run, stages)
        self._steps[run] += 1
        if step.answers:
            answers = tuple(self._answer(h, stop, skip) for h in step.answers)
            self._runs[run] = replace(self._runs[run], answers=answers)

    def _place(self, node: Node) -> int:
        """The id of an engine's node."""
        if node.parent is None:
            self._places.setdefault(node.key, 0)
            return 0
        known = self._places.get(node.key)
        if known is None:
            parent = self._place(node.parent)
            known = self._add(parent, node.parent, node.token)
        return known

    def _add(self, parent: int, above: Node, token: int) -> int:
        key = mix(above.key, token)
        if key not in self._places:
            scores = _stages(above)[0][1]
            place = len(self._nodes)
            self._nodes.append(
                TraceNode(
                    place,
                    parent,
                    token,
                    self._tokenizer.token_bytes(token),
                    self._tokenizer.token_name(token),
                    self._nodes[parent].depth + 1,
                    scores.logprob(token),
                    scores.rank(token),
                )
            )
            self._places[key] = place
        return self._places[key]

    def _visit(self, parent: int, edge: Edge, run: int, stages: list[tuple[str, Scores]]) -> None:
        place = self._add(parent, edge.parent, edge.token)
        node = self._nodes[place]
        after = stages[-1][1].logprob(edge.token)
        visit = Visit(run, self._steps[run], None if after == -math.inf else after, edge.score, edge.kept)
        others = tuple(v for v in node.visits if v.run != run or (v.kept and not edge.kept))
        if any(v.run == run for v in others):  # already kept by this run
            return
        self._nodes[place] = replace(node, visits=(*others, visit))

    def _expand(self, place: int, run: int, stages: list[tuple[str, Scores]]) -> None:
        node = self._nodes[place]
        if node.expansion is not None and any(look.run == run for look in node.expansion.looks):
            return
        model = stages[0][1]
        if node.expansion is None:
            expansion = self._expansion(model)
        else:
            expansion = node.expansion
        ids = np.array([c.token for c in expansion.candidates], np.int64)
        look = _look(run, ids, stages)
        self._nodes[place] = replace(node, expansion=replace(expansion, looks=(*expansion.looks, look)))

    def _expansion(self, model: Scores) -> Expansion:
        ids, values = model.head(self._top)
        logprobs = values - model.log_normalizer
        candidates = tuple(
            Candidate(int(t), self._tokenizer.token_bytes(int(t)), self._tokenizer.token_name(int(t)), float(lp))
            for t, lp in zip(ids, logprobs, strict=True)
        )
        return Expansion(model.entropy, candidates, max(0.0, 1.0 - float(np.exp(logprobs).sum())), ())

    def _answer(self, found: Hypothesis, stop: Sequence[bytes], skip: int) -> Answer:
        place = self._add(self._place(found.parent), found.parent, found.token)
        text = text_of(self._tokenizer, found.tokens, stop, skip)
        return Answer(place, text, found.score, found.logprob, found.finish)


def _stages(node: Node) -> list[tuple[str, Scores]]:
    """(label, scores) from the model up to the last view."""
    found: list[tuple[str, Scores]] = []
    below: Node | None = node
    while below is not None:
        found.append((below.label, below.scores))
        below = below.inner
    return found[::-1]


def _ready(node: Node) -> bool:
    """Whether the model's own scores of a node have been computed."""
    while (below := node.inner if getattr(node, "ready", True) else None) is not None:
        node = below
    return bool(getattr(node, "ready", True))


def _look(run: int, ids: Ids, stages: list[tuple[str, Scores]]) -> Look:
    noted = []
    for (_, before), (label, after) in pairwise(stages):
        removed = np.flatnonzero((before.at(ids) > -np.inf) & (after.at(ids) == -np.inf))
        noted.append(Stage(label, after.count, _removed_mass(before, after), tuple(int(i) for i in removed)))
    last = stages[-1][1]
    logprobs = last.at(ids) - last.log_normalizer
    shown = tuple(None if lp == -math.inf else float(lp) for lp in logprobs)
    return Look(run, last.entropy, tuple(noted), shown)


def _removed_mass(before: Scores, after: Scores) -> float:
    if before is after or before.count == after.count:
        return 0.0
    kept = np.exp(before.at(after.support()) - before.log_normalizer).sum()
    return max(0.0, 1.0 - float(kept))
