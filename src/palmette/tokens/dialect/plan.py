"""A dialect's chain: its own defaults under the caller's settings, in its own order, as a list of views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from palmette.core.engine import Strategy, View
from palmette.core.errors import BadParameter
from palmette.core.signature import pick
from palmette.tokens.dialect.settings import SETTINGS, Values, read_settings
from palmette.tokens.dialect.stages import RULES, Stage
from palmette.tokens.dialect.table import DIALECTS, Dialect
from palmette.tokens.strategies.named import Named, label_of
from palmette.tokens.views.base import PointView

__all__ = ["chain", "check_strategy", "dialect", "find", "stages"]


def dialect(name: str, /, *, seed: int = 0, **settings: object) -> list[View]:
    """The views that a program makes of sampling settings, its silent defaults included.

    They say all about the distribution, so the strategy that goes with them is `sample`.

    Args:
        name: "paper", "hf", "llama.cpp" or "vllm".
        seed: for XTC's coin.
        settings: as the program or Palmette calls them.

    >>> dialect("llama.cpp", temperature=0.7, top_p=0.9)
    [top_k(k=40, ties='drop'), top_p(p=0.9, tail='smallest'), min_p(p=0.05), temperature(t=0.7)]
    >>> dialect("hf", temperature=0.7, top_p=0.9, top_k=0)
    [temperature(t=0.7), top_p(p=0.9, tail='hf')]
    """
    return chain(name, settings, seed)


def chain(name: str, settings: Mapping[str, object] | None = None, seed: int = 0) -> list[View]:
    """`dialect` with the settings in a mapping."""
    return [stage.view for stage in stages(find(name), read_settings(settings or {}), seed)]


def find(name: str) -> Dialect:
    """A dialect by its name."""
    found: Dialect = pick(DIALECTS, name, "dialect")
    return found


def stages(d: Dialect, given: Values, seed: int = 0) -> list[Stage]:
    """The stages that act, in order.

    Raises BadParameter for what the program would refuse, and for what it would silently leave out.
    """
    values = _effective(d, given)
    order, why = _order(d, values)
    found = []
    for name in order:
        rule = RULES[name]
        view = rule.build(values, d, seed)
        if view is not None:
            silent = tuple(r for r in rule.reads if r in d.defaults and r not in given)
            read = {r: values[r] for r in rule.reads if r in given or values[r] != SETTINGS[r].default}
            found.append(Stage(name, view, read, silent))
    for name in d.order:
        if name not in order and any(r in given for r in RULES[name].reads[:2]) and RULES[name].build(values, d, seed):
            lost = next(r for r in RULES[name].reads if r in given)
            raise BadParameter(f"{d.name} leaves {d.names[lost]}={given[lost]!r} out: {why}")
    return found


def _effective(d: Dialect, given: Values) -> Values:
    """All settings with the values that count."""
    for name, value in given.items():
        if name not in d.names and value != SETTINGS[name].default:
            reason = f": {d.lacks[name]}" if name in d.lacks else ""
            raise BadParameter(f"{d.name} has no {name} (given: {value!r}){reason}")
        low, high = d.ranges.get(name, (None, None))
        numbers = value.values() if isinstance(value, dict) else [value]
        if low is not None and high is not None and not all(low <= number <= high for number in numbers):
            raise BadParameter(f"{d.name} takes {d.names[name]} between {low:g} and {high:g}, not {value!r}")
    values: Values = {name: setting.default for name, setting in SETTINGS.items()} | dict(d.defaults) | given
    for name in d.below_zero:
        values[name] = max(values[name], 0)
    if not values["do_sample"]:
        values["temperature"] = 0.0
    elif values["temperature"] == 0.0 and d.zero == "refused":
        raise BadParameter(f"{d.name} refuses temperature=0: it spells greedy search do_sample=false")
    elif 0.0 < values["temperature"] < d.least_temperature:
        values["temperature"] = d.least_temperature
    return values


def _order(d: Dialect, values: Values) -> tuple[tuple[str, ...], str]:
    """The stages that can act under these values, in order, and why the others cannot."""
    if not values["do_sample"]:
        return d.order[: d.order.index("temperature") + 1], "with do_sample=false nothing is sampled"
    if values["mirostat"] and d.mirostat_order:
        return d.mirostat_order, "mirostat drives the other samplers out"
    if values["samplers"]:
        names = [pick(d.samplers, name, f"sampler of {d.name}") for name in values["samplers"]]
        return ("logit_bias", *(stage for group in names for stage in group)), "it is not among the samplers"
    return d.order, ""


_ONE_CANDIDATE_WILL_DO = frozenset({"greedy", "sample", "nucleus", "topk", "speculative", "prompt_lookup"})


def check_strategy(views: Sequence[View], strategy: Strategy) -> None:
    """Refuse a strategy that needs a choice behind a temperature of 0, which leaves none."""
    frozen = any(isinstance(v, PointView) and v.name == "temperature" and v.settings["t"] == 0.0 for v in views)
    name: Any = strategy.name if isinstance(strategy, Named) else "sample"
    if frozen and name not in _ONE_CANDIDATE_WILL_DO:
        raise BadParameter(
            f"temperature 0 leaves one candidate, so {label_of(strategy)} has nothing to choose from; "
            "take the strategy greedy, or a temperature above 0"
        )
