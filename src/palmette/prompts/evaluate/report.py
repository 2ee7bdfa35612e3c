"""What an evaluation found: records, summaries with intervals, paired comparisons, and items on which two differ."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from palmette.core.errors import UnknownName
from palmette.prompts.evaluate.data import Item
from palmette.prompts.evaluate.statistics import Comparison, Estimate, compare, estimate, holm
from palmette.prompts.reading import plain

__all__ = ["Cell", "Record", "Report", "Summary"]


@dataclass(frozen=True)
class Cell:
    """One way of asking."""

    model: str
    technique: str
    prompt: str = ""
    decoding: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @cached_property
    def name(self) -> str:
        """Its name in reports and logs."""
        settings = ",".join(f"{key}={value}" for key, value in self.decoding.items())
        return " | ".join(part for part in (self.model, self.technique, self.prompt, settings) if part)


@dataclass(frozen=True)
class Record:
    """One item of one cell. `seconds` are those of its calls, `overhead` what was spent besides."""

    cell: str
    item: str
    value: Any
    text: str
    failure: str
    scores: Mapping[str, float | None]
    calls: int
    input: int
    output: int
    seconds: float
    confidence: float | None
    unread: int
    reasoning: str
    notes: tuple[str, ...]
    overhead: float = field(default=0.0, compare=False)

    @property
    def row(self) -> dict[str, Any]:
        """As a flat row; `overhead` is of this run alone, and not in it."""
        made = asdict(self)
        del made["overhead"], made["scores"]
        return {
            **made, "value": json.dumps(self.value, ensure_ascii=False), "notes": "\n".join(self.notes),
            **{f"score_{name}": score for name, score in self.scores.items()},
        }  # fmt: skip


@dataclass(frozen=True)
class Summary:
    """A cell in figures. Without a price the cost is None: unknown, not nothing."""

    cell: Cell
    scores: Mapping[str, Estimate]
    items: int
    unread: int
    failed: int
    calls: float
    input: float
    output: float
    seconds: float
    cost: float | None


@dataclass(frozen=True)
class Report:
    """All of an evaluation.

    Args:
        metrics: (name, whether less is better); the first is compared.
        prices: model id -> (million tokens of input, of output).
        made: calls that were made, and not found in the log.
    """

    cells: tuple[Cell, ...]
    items: tuple[Item, ...]
    records: tuple[Record, ...]
    metrics: tuple[tuple[str, bool], ...]
    prices: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    seed: int = 0
    made: int = field(default=0, compare=False)

    @cached_property
    def summaries(self) -> tuple[Summary, ...]:
        """A summary of each cell."""
        return tuple(self._summary(cell) for cell in self.cells)

    def of(self, cell: str | Cell) -> list[Record]:
        """The records of a cell, by its name or technique.

        Raises:
            UnknownName: with the near miss.
        """
        name = cell.name if isinstance(cell, Cell) else cell
        fitting = [c.name for c in self.cells if name == c.name] or [c.name for c in self.cells if name == c.technique]
        if len(fitting) != 1:
            raise UnknownName("cell of the evaluation", name, [c.name for c in self.cells])
        return [record for record in self.records if record.cell == fitting[0]]

    def scores(self, cell: str | Cell, metric: str = "") -> list[float | None]:
        """The scores of a cell, item by item."""
        name = metric or self.metrics[0][0]
        return [record.scores[name] for record in self.of(cell)]

    def compare(self, first: str | Cell, second: str | Cell, metric: str = "") -> Comparison:
        """The second cell against the first on the same items, where both have a score."""
        pairs = zip(self.scores(first, metric), self.scores(second, metric), strict=True)
        both = [(a, b) for a, b in pairs if a is not None and b is not None]
        return compare([a for a, _ in both], [b for _, b in both], self.seed)

    @cached_property
    def comparisons(self) -> tuple[tuple[Cell, Comparison, float], ...]:
        """Every other cell against the first, each with its p corrected for their number (Holm)."""
        others = [(cell, self.compare(self.cells[0], cell)) for cell in self.cells[1:]]
        return tuple((cell, found, p) for (cell, found), p in zip(others, holm([f.p for _, f in others]), strict=True))

    def disagreements(self, first: str | Cell, second: str | Cell) -> list[tuple[Item, Record, Record]]:
        """Items on which one is better than the other, the first's wins first."""
        name, lower = self.metrics[0]
        found: list[tuple[float, Item, Record, Record]] = []
        for item, a, b in zip(self.items, self.of(first), self.of(second), strict=True):
            one, two = a.scores[name], b.scores[name]
            if one is not None and two is not None and one != two:
                found.append(((two - one) * (-1 if lower else 1), item, a, b))
        return [(item, a, b) for _, item, a, b in sorted(found, key=lambda each: each[0])]

    @property
    def overhead(self) -> float:
        """Seconds beside the calls as a share of the seconds of the calls, in this run."""
        calls = sum(record.seconds for record in self.records)
        return sum(record.overhead for record in self.records) / calls if calls else math.nan

    def document(self) -> dict[str, Any]:
        """The report as JSON; the same records give the same bytes."""
        return {
            "metrics": [name for name, _ in self.metrics],
            "cells": [
                {"name": s.cell.name, **asdict(s.cell), **{k: v for k, v in asdict(s).items() if k != "cell"}}
                for s in self.summaries
            ],
            "comparisons": [
                {"first": self.cells[0].name, "second": cell.name, **asdict(found), "p_holm": p}
                for cell, found, p in self.comparisons
            ],
            "items": [{"id": i.id, "inputs": plain(dict(i.inputs)), "expected": plain(i.expected)} for i in self.items],
            "records": [record.row for record in self.records],
        }

    def json(self) -> str:
        """`document` as text."""
        return json.dumps(self.document(), ensure_ascii=False, indent=1, sort_keys=True) + "\n"

    def _summary(self, cell: Cell) -> Summary:
        records = self.of(cell)
        n = max(len(records), 1)
        price = self.prices.get(cell.model)
        total_in, total_out = sum(r.input for r in records), sum(r.output for r in records)
        cost = None if price is None else (total_in * price[0] + total_out * price[1]) / 1e6
        scores = {
            name: estimate([s for s in (r.scores[name] for r in records) if s is not None], self.seed)
            for name, _ in self.metrics
        }
        return Summary(
            cell, scores, len(records), sum(r.unread for r in records), sum(bool(r.failure) for r in records),
            sum(r.calls for r in records) / n, total_in / n, total_out / n, sum(r.seconds for r in records) / n, cost,
        )  # fmt: skip
