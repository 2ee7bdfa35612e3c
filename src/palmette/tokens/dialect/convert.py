"""Settings of one program as settings of another, exactly where that can be done, with a note where it cannot."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from palmette.tokens.dialect.plan import find, stages
from palmette.tokens.dialect.settings import SETTINGS, Values, read_settings, spell
from palmette.tokens.dialect.stages import RULES, Stage, commute
from palmette.tokens.dialect.table import Dialect

__all__ = ["Note", "Translation", "translate"]


@dataclass(frozen=True)
class Note:
    """What a translation changed or could not carry.

    `kind` is "converted" (another value, the same distribution), "ties" (the same unless scores tie exactly) or "lost"
    (the distribution may differ).
    """

    kind: Literal["converted", "ties", "lost"]
    text: str


@dataclass(frozen=True)
class Translation:
    """Settings for `target`, as it calls them, that stand for settings of `source`."""

    source: str
    target: str
    settings: Mapping[str, Any]
    notes: tuple[Note, ...] = ()

    @property
    def exact(self) -> bool:
        """True if both give the same distribution for every row without exactly tied scores."""
        return not any(note.kind == "lost" for note in self.notes)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        settings = {k: _plain(v) for k, v in self.settings.items()}
        notes = [{"kind": note.kind, "text": note.text} for note in self.notes]
        ends = {"source": self.source, "target": self.target}
        return {**ends, "settings": settings, "exact": self.exact, "notes": notes}

    def __str__(self) -> str:
        shown = ",".join(f"{name}={spell(value)}" for name, value in self.settings.items())
        verdict = "the same distribution" if self.exact else "NOT the same distribution"
        lines = [f"{self.target}: {shown or 'no settings'}", f"{verdict} as under {self.source}"]
        return "\n".join([*lines, *(f"  {note.kind}: {note.text}" for note in self.notes)])


def translate(settings: Mapping[str, object], source: str, target: str) -> Translation:
    """Settings that make `target` do what `source` does with `settings`, silent defaults included.

    >>> done = translate({"temperature": 0.5, "min_p": 0.1}, "vllm", "llama.cpp")
    >>> done.exact, round(done.settings["min_p"], 3), done.settings["top_k"]
    (True, 0.316, 0)

    Args:
        settings: what the source program is given.
        source: the dialect they are meant in.
        target: the dialect to say them in.
    """
    s, t = find(source), find(target)
    wanted = stages(s, read_settings(settings))
    if source == target:
        return Translation(source, target, {t.names[k]: v for k, v in read_settings(settings).items()})
    carried, notes = _carried(wanted, s, t)
    if t.samplers and "samplers" not in carried and _disordered(wanted, _found(t, carried)):
        reordered = _with_samplers(wanted, carried, t)
        notes = [*notes, Note("converted", "samplers puts the stages in the order of " + s.name)]
        carried = reordered
    else:
        notes = [*notes, *_convert_min_p(wanted, carried, t)]
    notes += [_order_note(a, b, s, t) for a, b in _disordered(wanted, _found(t, carried))]
    notes += _ties(wanted, s, t)
    return Translation(source, target, {t.names[k]: v for k, v in carried.items()}, tuple(notes))


def _found(t: Dialect, carried: Values) -> list[Stage]:
    return stages(t, carried)


def _carried(wanted: Sequence[Stage], s: Dialect, t: Dialect) -> tuple[Values, list[Note]]:
    """The settings of all stages that the target has, its own defaults switched off, and notes on the others."""
    carried: Values = {}
    notes: list[Note] = []
    for stage in wanted:
        main = [r for r in RULES[stage.name].reads if r in stage.values and r != "penalty_last_n"]
        missing = [r for r in main if r not in t.names]
        if stage.name == "temperature" and stage.values.get("temperature") == 0.0 and t.zero == "refused":
            carried["do_sample"] = False
        elif missing:
            reason = f": {t.lacks[missing[0]]}" if missing[0] in t.lacks else ""
            notes.append(Note("lost", f"{t.name} has no {missing[0]} (here {stage.values[missing[0]]!r}){reason}"))
            carried.update({r: stage.values[r] for r in main if r in t.names})
        else:
            carried.update({r: stage.values[r] for r in main})
            notes += _scope(stage, carried, s, t)
    if carried.get("do_sample") is False:
        return _greedy(wanted, carried, t, notes)
    if t.mirostat_order and carried.get("mirostat"):
        staying = {r for name in t.mirostat_order for r in RULES[name].reads}
        for lost in [r for r in carried if r not in staying]:
            notes.append(Note("lost", f"{t.name} leaves {lost}={carried.pop(lost)!r} out while mirostat is on"))
    for name in t.defaults:
        if name not in carried and name != "penalty_last_n":
            carried[name] = SETTINGS[name].default
    return _refit(carried, t, notes)


def _greedy(wanted: Sequence[Stage], carried: Values, t: Dialect, notes: list[Note]) -> tuple[Values, list[Note]]:
    """What is left when nothing is sampled: the stages before temperature. Of the others, only one that stood before
    it and may drop the best candidate is missed."""
    after = t.order[t.order.index("temperature") + 1 :]
    at = next(i for i, stage in enumerate(wanted) if stage.name == "temperature")
    missed = [s.name for s in wanted[:at] if s.name in after and not commute(s, wanted[at])]
    why = "in greedy search, where it may drop the best token"
    notes += [Note("lost", f"{t.name} has no {name} {why}") for name in missed]
    gone = {r for name in after for r in RULES[name].reads}
    return {r: v for r, v in carried.items() if r not in gone}, notes


def _scope(stage: Stage, carried: Values, s: Dialect, t: Dialect) -> list[Note]:
    """Carry a penalty's window, and say which tokens the target counts otherwise."""
    if stage.name not in ("repetition_penalty", "penalty"):
        return []
    window = stage.values.get("penalty_last_n", -1)
    notes = []
    if "penalty_last_n" in t.names:
        carried["penalty_last_n"] = window
    elif window != -1:
        seen = f"{s.name}'s {stage.name} looks at the last {window} tokens, {t.name}'s at all"
        notes.append(Note("lost", f"{seen}; the same while prompt and answer have at most {window}"))
    if stage.name == "penalty" and s.counted != t.counted:
        counts = {"all": "prompt and answer", "output": "the answer alone"}
        said = f"{s.name} counts the tokens of {counts[s.counted]}, {t.name} of {counts[t.counted]}"
        notes.append(Note("lost", f"presence and frequency penalties: {said}"))
    return notes


def _refit(carried: Values, t: Dialect, notes: list[Note]) -> tuple[Values, list[Note]]:
    """Move values that the target would refuse or change to the nearest that it takes."""
    warmth = carried.get("temperature", 1.0)
    if 0 < warmth < t.least_temperature:
        notes.append(Note("lost", f"{t.name} raises temperature {warmth!r} to {t.least_temperature!r}"))
        carried["temperature"] = t.least_temperature
    for name, (low, high) in t.ranges.items():
        value = carried.get(name, 0.0)
        fitted: Any = (
            {k: min(max(b, low), high) for k, b in value.items()}
            if isinstance(value, dict)
            else min(max(value, low), high)
        )
        if fitted != value:
            notes.append(Note("lost", f"{t.name} takes {t.names[name]} between {low:g} and {high:g}, not {value!r}"))
            carried[name] = fitted
    return carried, notes


def _convert_min_p(wanted: Sequence[Stage], carried: Values, t: Dialect) -> list[Note]:
    """Keep min-p's set across a temperature: q ~ e^(l/T), so q >= p q(1) before T is q >= p^(1/T) q(1) after it."""
    names = [stage.name for stage in wanted]
    after = [stage.name for stage in _found(t, carried)]
    if not {"min_p", "temperature"} <= set(names) or not {"min_p", "temperature"} <= set(after):
        return []
    warm = wanted[names.index("temperature")].values
    heat, p = warm.get("temperature", 1.0), carried["min_p"]
    was, will = (order.index("temperature") < order.index("min_p") for order in (names, after))
    if was == will or heat == 0.0 or warm.get("dynatemp_range"):
        return []
    assert isinstance(heat, float)
    carried["min_p"] = p**heat if was else p ** (1 / heat)
    how = "T" if was else "1/T"
    if carried["min_p"] < 1e-300:
        return [Note("lost", f"min_p: {p!r}^({how}) is too small a number at T = {heat!r}")]
    side = "before" if was else "after"
    return [Note("converted", f"min_p: {t.name} applies it {side} temperature, where {p:g} is {p:g}^({how})")]


def _disordered(wanted: Sequence[Stage], found: Sequence[Stage]) -> list[tuple[Stage, Stage]]:
    """Pairs of stages that both have, in another order, where the order matters."""
    place = {stage.name: i for i, stage in enumerate(found)}
    pairs = itertools.combinations([stage for stage in wanted if stage.name in place], 2)
    swapped = [(a, b) for a, b in pairs if place[a.name] > place[b.name]]
    return [(a, b) for a, b in swapped if not commute(a, b) and not _convertible(a, b)]


def _convertible(a: Stage, b: Stage) -> bool:
    """True for min-p and a plain temperature, whose exchange `_convert_min_p` makes good."""
    scale = a if a.name == "temperature" else b
    return {a.name, b.name} == {"temperature", "min_p"} and not scale.values.get("dynatemp_range")


def _with_samplers(wanted: Sequence[Stage], carried: Values, t: Dialect) -> Values:
    """The settings with the source's order spelled out; a sampler that is not listed needs no switching off."""
    groups = {stage: name for name, members in t.samplers.items() for stage in members}
    names = [stage.name for stage in wanted if stage.name in groups]
    listed = tuple(dict.fromkeys(groups[name] for name in names))
    keep = {r for name in ("logit_bias", *names) for r in RULES[name].reads}
    return {r: v for r, v in carried.items() if r in keep} | {"samplers": listed}


def _order_note(a: Stage, b: Stage, s: Dialect, t: Dialect) -> Note:
    order = f"{s.name} applies {a.name} before {b.name}, {t.name} after it"
    if "temperature" not in (a.name, b.name):
        return Note("lost", f"{order}; the later one measures only what the earlier one left")
    other = b if a.name == "temperature" else a
    which = "already scaled" if a.name == "temperature" else "unscaled"
    return Note("lost", f"{order}; {s.name}'s {other.name} measures {which} probabilities, and no value says the same")


def _ties(wanted: Sequence[Stage], s: Dialect, t: Dialect) -> list[Note]:
    if s.ties == t.ties:
        return []
    does = {"keep": "keeps", "drop": "drops"}
    said = f"{s.name} {does[s.ties]} candidates that tie with the last one kept, {t.name} {does[t.ties]} them"
    return [Note("ties", f"{stage.name}: {said}") for stage in wanted if stage.name in ("top_k", "typical")]


def _plain(value: object) -> Any:
    if isinstance(value, Mapping):
        return {str(k): v for k, v in value.items()}
    return list(value) if isinstance(value, tuple) else value
