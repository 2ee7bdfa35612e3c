"""From settings to stages: what each stage reads, the view it becomes, and which stages may change places."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from palmette.core.engine import View
from palmette.core.errors import BadParameter
from palmette.tokens.dialect.settings import Values
from palmette.tokens.dialect.table import Dialect
from palmette.tokens.views import (
    allow,
    ban,
    dry,
    dynamic_temperature,
    epsilon,
    eta,
    logit_bias,
    min_length,
    min_p,
    mirostat,
    no_repeat_ngram,
    penalty,
    repetition_penalty,
    temperature,
    top_k,
    top_n_sigma,
    top_p,
    typical,
    xtc,
)

__all__ = ["RULES", "Rule", "Stage", "commute"]

Build = Callable[[Values, Dialect, int], View | None]


@dataclass(frozen=True)
class Rule:
    """How a stage comes about: the settings it reads, the first being the one that switches it on, and its view.

    `build` gives None where the stage does nothing.
    """

    reads: tuple[str, ...]
    build: Build


@dataclass(frozen=True)
class Stage:
    """One stage of a chain. `silent` names the settings that nobody gave; `values` are those that it read."""

    name: str
    view: View
    values: Mapping[str, object]
    silent: tuple[str, ...] = ()

    @property
    def all_silent(self) -> bool:
        """True if the stage is there although no setting asked for it."""
        return bool(self.silent) and not set(self.values) - set(self.silent)


def _temperature(v: Values, d: Dialect, seed: int) -> View | None:
    t, spread = v["temperature"], v["dynatemp_range"]
    if spread > 0 and t > 0:
        if spread >= t:
            raise BadParameter(f"dynatemp_range must be smaller than the temperature {t!r}, not {spread!r}")
        return dynamic_temperature(t - spread, t + spread, v["dynatemp_exponent"])
    return None if t == 1.0 else temperature(t)


def _window(last: int, name: str) -> int | None:
    """A view's window (0: all) from a setting (-1: all, 0: none)."""
    if last < -1:
        raise BadParameter(f"{name} must be -1 (all), 0 (none) or positive, not {last!r}")
    return None if last == 0 else max(last, 0)


def _repetition(v: Values, d: Dialect, seed: int) -> View | None:
    window = _window(v["penalty_last_n"], "penalty_last_n")
    if window is None or v["repetition_penalty"] == 1.0:
        return None
    return repetition_penalty(v["repetition_penalty"], "all", window)


def _penalty(v: Values, d: Dialect, seed: int) -> View | None:
    window = _window(v["penalty_last_n"], "penalty_last_n")
    if window is None or v["presence_penalty"] == v["frequency_penalty"] == 0.0:
        return None
    return penalty(v["presence_penalty"], v["frequency_penalty"], d.counted, window)


def _dry(v: Values, d: Dialect, seed: int) -> View | None:
    window = _window(v["dry_penalty_last_n"], "dry_penalty_last_n")
    if window is None or v["dry_multiplier"] == 0.0:
        return None
    return dry(v["dry_multiplier"], v["dry_base"], v["dry_allowed_length"], v["dry_sequence_breakers"], window)


def _mirostat(v: Values, d: Dialect, seed: int) -> View | None:
    if v["mirostat"] not in (0, 2):
        raise BadParameter(
            f"mirostat must be 0 (off) or 2 (version 2; Palmette has no version 1), not {v['mirostat']!r}"
        )
    return mirostat(v["mirostat_tau"], v["mirostat_eta"]) if v["mirostat"] else None


def _xtc(v: Values, d: Dialect, seed: int) -> View | None:
    return xtc(v["xtc_threshold"], v["xtc_probability"], seed) if v["xtc_probability"] != 0.0 else None


def _one(setting: str, make: Callable[[float, Dialect], View]) -> Rule:
    """A stage of one number; the caller has dropped it if the number is the one that does nothing."""
    return Rule((setting,), lambda v, d, seed: make(v[setting], d))


def _unless(off: object, rule: Rule) -> Rule:
    return Rule(rule.reads, lambda v, d, seed: None if v[rule.reads[0]] == off else rule.build(v, d, seed))


_PENALTY_WINDOW = "penalty_last_n"

RULES: Mapping[str, Rule] = {
    "logit_bias": _unless({}, Rule(("logit_bias",), lambda v, d, seed: logit_bias(v["logit_bias"]))),
    "ban": _unless((), Rule(("ban",), lambda v, d, seed: ban(v["ban"]))),
    "allow": _unless((), Rule(("allow",), lambda v, d, seed: allow(v["allow"]))),
    "repetition_penalty": Rule(("repetition_penalty", _PENALTY_WINDOW), _repetition),
    "penalty": Rule(("presence_penalty", "frequency_penalty", _PENALTY_WINDOW), _penalty),
    "no_repeat_ngram": _unless(0, _one("no_repeat_ngram_size", lambda n, d: no_repeat_ngram(int(n)))),
    "dry": Rule(
        ("dry_multiplier", "dry_base", "dry_allowed_length", "dry_penalty_last_n", "dry_sequence_breakers"), _dry
    ),
    "min_new_tokens": _unless(0, _one("min_new_tokens", lambda n, d: min_length(int(n)))),
    "temperature": Rule(("temperature", "dynatemp_range", "dynatemp_exponent"), _temperature),
    "top_k": _unless(0, _one("top_k", lambda k, d: top_k(int(k), d.ties))),
    "top_p": _unless(1.0, _one("top_p", lambda p, d: top_p(p, d.tail))),
    "min_p": _unless(0.0, _one("min_p", lambda p, d: min_p(p))),
    "typical": _unless(1.0, _one("typical_p", lambda p, d: typical(p, d.ties))),
    "epsilon": _unless(0.0, _one("epsilon_cutoff", lambda c, d: epsilon(c))),
    "eta": _unless(0.0, _one("eta_cutoff", lambda c, d: eta(c))),
    "top_n_sigma": _unless(0.0, _one("top_n_sigma", lambda n, d: top_n_sigma(n))),
    "xtc": Rule(("xtc_probability", "xtc_threshold"), _xtc),
    "mirostat": Rule(("mirostat", "mirostat_tau", "mirostat_eta"), _mirostat),
}

_MASKS = frozenset({"ban", "allow", "min_new_tokens", "no_repeat_ngram"})
_SUMS = frozenset({"logit_bias", "penalty", "dry"})
_KEEP_BEST = frozenset({"top_k", "top_p", "min_p", "top_n_sigma", "epsilon", "eta"})


def commute(a: Stage, b: Stage) -> bool:
    """True if two neighbouring stages give the same distribution in either order.

    Masks and additions act on each token alone. top-k and min-p cut a best-first prefix whose end does not depend on
    normalisation. A temperature keeps the order of scores, so top-k and top-n-sigma (a ratio of differences) do not
    see it; one that moves with the entropy sees what they have cut. Temperature 0 keeps the
    best candidate, which all of `_KEEP_BEST` keep, too.
    """
    pair = {a.name, b.name}
    if pair <= _MASKS or pair <= _SUMS or (pair & _MASKS and pair & (_SUMS | {"repetition_penalty"})):
        return True
    if pair == {"top_k", "min_p"}:
        return True
    if "temperature" not in pair:
        return False
    scale, other = (a, b) if a.name == "temperature" else (b, a)
    if scale.values.get("temperature") == 0.0:
        return other.name in _KEEP_BEST
    return other.name in ("top_k", "top_n_sigma") and not scale.values.get("dynatemp_range")
