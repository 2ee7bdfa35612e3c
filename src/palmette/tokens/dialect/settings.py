"""Sampling settings as data: one name each, the other names it goes by, what it does, and how its text is read.

A setting says what a person wants (`top_p=0.9`); a dialect says what a program makes of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from palmette.core.errors import BadParameter, UnknownName
from palmette.core.signature import parse_spec

__all__ = ["SETTINGS", "Setting", "Values", "parse_settings", "read_settings", "spell"]

Kind = Literal["number", "whole", "switch", "tokens", "bias", "texts"]
Values = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """One setting. `default` is the value at which it does nothing (or, for a parameter of another, its usual one)."""

    name: str
    kind: Kind
    default: Any
    help: str
    aliases: tuple[str, ...] = ()


_ROWS = [
    Setting("temperature", "number", 1.0, "T: scores are divided by it; 0 is greedy", ("temp",)),
    Setting("dynatemp_range", "number", 0.0, "T moves by as much up and down with the entropy; 0 is off"),
    Setting("dynatemp_exponent", "number", 1.0, "how the entropy maps to T", ("dynatemp_exp",)),
    Setting("top_k", "whole", 0, "keep the k best; 0 is off"),
    Setting("top_p", "number", 1.0, "keep the smallest best-first set of this mass; 1 is off", ("nucleus",)),
    Setting("min_p", "number", 0.0, "keep q >= min_p times the best q; 0 is off"),
    Setting("typical_p", "number", 1.0, "keep the mass whose surprise is nearest to the entropy", ("typ_p", "typical")),
    Setting("epsilon_cutoff", "number", 0.0, "keep q >= epsilon; 0 is off", ("epsilon",)),
    Setting("eta_cutoff", "number", 0.0, "keep q >= min(eta, sqrt(eta) e^-H); 0 is off", ("eta",)),
    Setting("top_n_sigma", "number", 0.0, "keep scores within n deviations of the best", ("top_nsigma", "nsigma")),
    Setting("xtc_probability", "number", 0.0, "how often XTC drops the top choices; 0 is off"),
    Setting("xtc_threshold", "number", 0.1, "XTC drops all candidates above it but the last"),
    Setting("repetition_penalty", "number", 1.0, "seen tokens: scores divided (or multiplied) by it; 1 is off",
            ("repeat_penalty", "penalty_repeat")),
    Setting("presence_penalty", "number", 0.0, "subtracted once from a seen token", ("penalty_present",)),
    Setting("frequency_penalty", "number", 0.0, "subtracted for every occurrence of a token", ("penalty_freq",)),
    Setting("penalty_last_n", "whole", -1, "penalties look at so many tokens; -1 all, 0 none", ("repeat_last_n",)),
    Setting("no_repeat_ngram_size", "whole", 0, "no n-gram occurs twice; 0 is off", ("no_repeat_ngram",)),
    Setting("dry_multiplier", "number", 0.0, "strength of DRY, which taxes repeated suffixes; 0 is off"),
    Setting("dry_base", "number", 1.75, "DRY's tax grows by this factor per repeated token"),
    Setting("dry_allowed_length", "whole", 2, "repeats shorter than this cost nothing"),
    Setting("dry_penalty_last_n", "whole", -1, "DRY looks at the last so many tokens; -1 all, 0 none"),
    Setting("dry_sequence_breakers", "texts", ("\n", ":", '"', "*"), "texts over which DRY counts no repeat"),
    Setting("mirostat", "whole", 0, "2: mirostat version 2; 0 is off"),
    Setting("mirostat_tau", "number", 5.0, "the surprise that mirostat steers to, in bits", ("mirostat_ent",)),
    Setting("mirostat_eta", "number", 0.1, "how fast mirostat learns", ("mirostat_lr",)),
    Setting("min_new_tokens", "whole", 0, "no end before so many tokens", ("min_tokens",)),
    Setting("logit_bias", "bias", {}, "added to the scores of tokens: ID=BIAS+ID=BIAS", ("sequence_bias",)),
    Setting("ban", "tokens", (), "tokens that never follow: ID+ID", ("suppress_tokens", "banned_tokens")),
    Setting("allow", "tokens", (), "the only tokens that may follow: ID+ID", ("allowed_token_ids",)),
    Setting("do_sample", "switch", True, "false: greedy search, as transformers spells temperature 0"),
    Setting("samplers", "texts", (), "llama.cpp's order of stages, joined by ';'; stages left out are off"),
]  # fmt: skip

SETTINGS: Mapping[str, Setting] = {row.name: row for row in _ROWS}
_NAMES = {name: row.name for row in _ROWS for name in (row.name, *row.aliases)}

_ELSEWHERE = {
    "tfs": "tail-free sampling was removed from llama.cpp and Ollama; min_p took its place",
    "tfs_z": "tail-free sampling was removed from llama.cpp and Ollama; min_p took its place",
    "tail_free_sampling": "tail-free sampling was removed from llama.cpp and Ollama; min_p took its place",
    "top_a": "top-a went out of use, and Palmette does not have it; min_p took its place",
    "top_h": "transformers alone has top-h, and Palmette does not",
    "adaptive_target": "llama.cpp alone has adaptive-p, and Palmette does not",
    "penalize_nl": "llama.cpp removed penalize_nl; newlines are penalised like every token",
    "min_length": "transformers counts the prompt in min_length; say min_new_tokens, which counts the answer",
    "guidance_scale": "guidance needs a negative prompt: use the view guide:\"a negative prompt\",1.5",
    "seed": "the seed is an option of its own, not a setting of the distribution",
    "num_beams": "beams are a strategy: beam:4",
    "n": "several samples are a strategy: sample:4",
    "best_of": "best-of-n is a strategy: best_of:8",
    "max_tokens": "the length is an option of its own: max_tokens",
    "max_new_tokens": "the length is an option of its own: max_tokens",
    "n_predict": "the length is an option of its own: max_tokens",
    "stop": "stop strings are an option of their own: stop",
}  # fmt: skip


def read_settings(given: Mapping[str, object]) -> Values:
    """Settings under their one name, with values of the right type.

    >>> read_settings({"repeat_penalty": "1.1", "top_k": 40})
    {'repetition_penalty': 1.1, 'top_k': 40}
    """
    values: Values = {}
    spelled: dict[str, str] = {}
    for name, value in given.items():
        key = _canonical(name)
        if key in values:
            raise BadParameter(f"{name!r} and {spelled[key]!r} are the same setting; give one of them")
        values[key] = _read(SETTINGS[key], name, value)
        spelled[key] = name
    return values


def parse_settings(texts: Sequence[str]) -> Values:
    """Settings from `NAME=VALUE,NAME=VALUE` texts.

    >>> parse_settings(["temperature=0.5,top_p=0.7", "logit_bias=5=-2+7=1"])
    {'temperature': 0.5, 'top_p': 0.7, 'logit_bias': {5: -2.0, 7: 1.0}}
    """
    given: dict[str, str] = {}
    for text in texts:
        _, positional, named = parse_spec("set:" + text)
        if positional or not named:
            wrong = positional[0] if positional else text
            raise BadParameter(f"{wrong!r} is no setting: write NAME=VALUE, such as temperature=0.7,top_p=0.9")
        for name, value in named.items():
            if name in given:
                raise BadParameter(f"{name!r} is given twice")
            given[name] = value
    return read_settings(given)


def spell(value: object) -> str:
    """A value as `parse_settings` reads it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "+".join(f"{k}={v:g}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        text = ("+" if all(isinstance(v, int) for v in value) else ";").join(map(str, value))
        escaped = text.encode("unicode_escape").decode()
        quote = '"' if "'" in text else "'"
        return f"{quote}{escaped}{quote}" if escaped != text or set(text) & set(",'\"") else text
    return repr(value)


def _canonical(name: str) -> str:
    if name in _NAMES:
        return _NAMES[name]
    if name in _ELSEWHERE:
        raise BadParameter(f"{name!r} is no setting here: {_ELSEWHERE[name]}")
    dashed = name.lower().replace("-", "_")
    if dashed in _NAMES:
        return _NAMES[dashed]
    raise UnknownName("setting", name, _NAMES, f" Known: {', '.join(SETTINGS)}.")


def _read(setting: Setting, name: str, value: object) -> Any:
    try:
        return _READERS[setting.kind](value)
    except (ValueError, TypeError, AttributeError):
        raise BadParameter(f"{name} should be {_DESCRIBED[setting.kind]}, not {value!r}") from None


def _number(value: Any) -> float:
    if isinstance(value, bool) or not math.isfinite(float(value)):
        raise ValueError(value)
    return float(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or (not isinstance(value, str) and int(value) != value):
        raise ValueError(value)
    return int(value)


def _switch(value: Any) -> bool:
    text = str(value).lower()
    if text not in ("true", "false"):
        raise ValueError(value)
    return text == "true"


def _tokens(value: Any) -> tuple[int, ...]:
    return tuple(_whole(v) for v in (value.split("+") if isinstance(value, str) else value))


def _bias(value: Any) -> dict[int, float]:
    if isinstance(value, str):
        value = {a: b for a, _, b in (piece.partition("=") for piece in value.split("+"))}
    return {_whole(token): _number(bias) for token, bias in value.items()}


def _texts(value: Any) -> tuple[str, ...]:
    pieces = value.replace(";", "+").split("+") if isinstance(value, str) else value
    if not all(isinstance(piece, str) and piece for piece in pieces):
        raise ValueError(value)
    return tuple(pieces)


_READERS = {
    "number": _number, "whole": _whole, "switch": _switch, "tokens": _tokens, "bias": _bias, "texts": _texts,
}  # fmt: skip
_DESCRIBED = {
    "number": "a finite number",
    "whole": "a whole number",
    "switch": "true or false",
    "tokens": "token ids joined by '+'",
    "bias": "ID=BIAS pairs joined by '+'",
    "texts": "texts joined by ';'",
}
