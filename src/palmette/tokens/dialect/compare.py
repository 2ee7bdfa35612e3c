"""What the same settings mean in each program: the chains, where they differ and why, and one worked example."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from palmette.core.errors import BadParameter, UsageError
from palmette.tokens.dialect.example import Example, pick_example
from palmette.tokens.dialect.plan import find, stages
from palmette.tokens.dialect.settings import Values, read_settings, spell
from palmette.tokens.dialect.stages import Stage, commute
from palmette.tokens.dialect.table import DIALECTS, Dialect
from palmette.tokens.views.base import show

__all__ = ["Explanation", "Reading", "explain"]


_LOOK_BACK = frozenset({"repetition_penalty", "penalty", "no_repeat_ngram", "dry"})


@dataclass(frozen=True)
class Reading:
    """One dialect's chain for the settings, or why it refuses them."""

    dialect: Dialect
    stages: tuple[Stage, ...] = ()
    refusal: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        chain = [{"view": show(s.view), "silent": s.all_silent, "silent_settings": list(s.silent)} for s in self.stages]
        return {"program": self.dialect.program, "chain": chain, "refused": self.refusal or None}

    def __str__(self) -> str:
        shown = [show(stage.view) + ("*" if stage.all_silent else "") for stage in self.stages]
        return "refused: " + self.refusal if self.refusal else " → ".join(shown) or "the model's own distribution"


@dataclass(frozen=True)
class Explanation:
    """What settings mean: a reading for each dialect, their differences, and an example if one can be shown."""

    settings: Mapping[str, Any]
    readings: tuple[Reading, ...]
    differences: tuple[str, ...]
    example: Example | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "settings": {k: spell(v) if isinstance(v, (dict, tuple)) else v for k, v in self.settings.items()},
            "dialects": {reading.dialect.name: reading.to_dict() for reading in self.readings},
            "differences": list(self.differences),
            "example": self.example.to_dict() if self.example else None,
        }

    def __str__(self) -> str:
        shown = ", ".join(f"{name}={spell(value)}" for name, value in self.settings.items())
        lines = [f"settings: {shown or 'none'}", ""]
        lines += [f"{reading.dialect.name:<10}{reading}" for reading in self.readings]
        if any(stage.all_silent for reading in self.readings for stage in reading.stages):
            lines.append(f"{'':<10}* nobody set it: the program's own default")
        if self.differences:
            lines += ["", "differences:", *(f"  {text}" for text in self.differences)]
        if self.example:
            lines += ["", *self.example.lines()]
        if len(self.readings) > 1 and self.example and not self.example.differ:
            lines += ["", "no difference shows on any example row"]
        return "\n".join(lines)


def explain(settings: Mapping[str, object] | None = None, dialect: str | None = None) -> Explanation:
    """Say what sampling settings mean in each program, where they differ, and why.

    >>> print(explain({"temperature": 0.5, "top_p": 0.7, "top_k": 0, "min_p": 0}))
    settings: temperature=0.5, top_p=0.7, top_k=0, min_p=0.0
    <BLANKLINE>
    paper     temperature(t=0.5) → top_p(p=0.7, tail='smallest')
    hf        temperature(t=0.5) → top_p(p=0.7, tail='hf')
    llama.cpp top_p(p=0.7, tail='smallest') → temperature(t=0.5)
    vllm      temperature(t=0.5) → top_p(p=0.7, tail='hf')
    <BLANKLINE>
    differences:
      order: llama.cpp applies top_p before temperature; paper, hf, vllm after it
    <BLANKLINE>
    example: the next token after the prompt 'a'
      token            a       b       c
      score         2.00    1.20    0.00
      paper        1.000       –       –  keeps 1 of 3
      hf           1.000       –       –  keeps 1 of 3
      llama.cpp    0.832   0.168       –  keeps 2 of 3
      vllm         1.000       –       –  keeps 1 of 3

    Args:
        settings: what the programs would be given.
        dialect: show this one alone; it must have all the settings.
    """
    given = read_settings(settings or {})
    if dialect is not None:
        readings = [Reading(find(dialect), tuple(stages(find(dialect), given)))]
    else:
        readings = [_reading(d, given) for d in DIALECTS.values()]
    taken = [reading for reading in readings if not reading.refusal]
    if not taken:
        why = dict.fromkeys(reading.refusal for reading in readings)
        raise BadParameter("no dialect takes these settings: " + "; ".join(why))
    looks_back = any(stage.name in _LOOK_BACK for r in taken for stage in r.stages)
    example = pick_example({r.dialect.name: [s.view for s in r.stages] for r in taken}, looks_back)
    return Explanation(given, tuple(readings), tuple(_differences(readings, given)), example)


def _reading(d: Dialect, given: Values) -> Reading:
    try:
        return Reading(d, tuple(stages(d, given)))
    except UsageError as error:
        return Reading(d, refusal=str(error))


def _differences(readings: Sequence[Reading], given: Values) -> list[str]:
    if len(readings) < 2:
        return []
    taken = [reading for reading in readings if not reading.refusal]
    return [*_orders(taken), *_silent(taken), *_ties(taken), *_scopes(taken), *_floors(taken, given)]


def _orders(readings: Sequence[Reading]) -> list[str]:
    """Pairs of stages that programs apply in another order, where it matters."""
    names = list(dict.fromkeys(stage.name for reading in readings for stage in reading.stages))
    found = []
    for a, b in itertools.combinations(names, 2):
        first: dict[bool, list[str]] = {True: [], False: []}
        matters = False
        for reading in readings:
            place = {stage.name: i for i, stage in enumerate(reading.stages)}
            if a in place and b in place:
                first[place[a] < place[b]].append(reading.dialect.name)
                matters = matters or not commute(reading.stages[place[a]], reading.stages[place[b]])
        if matters and all(first.values()):
            x, y, few, many = (a, b, first[True], first[False])
            if len(few) > len(many):
                x, y, few, many = b, a, many, few
            verb = "applies" if len(few) == 1 else "apply"
            found.append(f"order: {', '.join(few)} {verb} {x} before {y}; {', '.join(many)} after it")
    return found


def _silent(readings: Sequence[Reading]) -> list[str]:
    """Defaults that act although nobody set them."""
    found = []
    for reading in readings:
        names = dict.fromkeys(name for stage in reading.stages for name in stage.silent)
        d = reading.dialect
        acting = ", ".join(f"{d.names[name]}={d.defaults[name]!r}" for name in names)
        if acting:
            found.append(f"silent defaults: {d.name} adds {acting}")
    return found


def _ties(readings: Sequence[Reading]) -> list[str]:
    found = []
    for name in ("top_k", "typical"):
        having = [r.dialect for r in readings if any(stage.name == name for stage in r.stages)]
        keep = [d.name for d in having if d.ties == "keep"]
        drop = [d.name for d in having if d.ties == "drop"]
        if keep and drop:
            found.append(
                f"ties: candidates that tie with the last one {name} keeps stay in {', '.join(keep)} "
                f"and go in {', '.join(drop)}"
            )
    return found


def _scopes(readings: Sequence[Reading]) -> list[str]:
    """Which tokens a penalty counts."""
    found = []
    for name in ("repetition_penalty", "penalty"):
        counted: dict[str, list[str]] = {}
        for reading in readings:
            for stage in (s for s in reading.stages if s.name == name):
                window = stage.values.get("penalty_last_n", -1)
                scope = reading.dialect.counted if name == "penalty" else "all"
                said = "the answer" if scope == "output" else "prompt and answer"
                said = said if window == -1 else f"the last {window} tokens of {said}"
                counted.setdefault(said, []).append(reading.dialect.name)
        if len(counted) > 1:
            label = "repetition_penalty counts" if name == "repetition_penalty" else "the other penalties count"
            found.append(f"scope: {label} " + "; ".join(f"{k} in {', '.join(v)}" for k, v in counted.items()))
    return found


def _floors(readings: Sequence[Reading], given: Values) -> list[str]:
    warmth = given.get("temperature", 1.0)
    return [
        f"temperature: {r.dialect.name} raises {warmth!r} to {r.dialect.least_temperature!r}"
        for r in readings
        if 0.0 < warmth < r.dialect.least_temperature
    ]
