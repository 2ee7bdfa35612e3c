"""The dialects as data: what transformers, llama.cpp and vLLM make of the same settings.

Read from the programs' own sources: transformers 5.23 (`GenerationMixin._get_logits_processor`, `logits_process.py`,
`GenerationConfig._get_default_generation_params`), llama.cpp (`common_params_sampling`, `common_sampler_init`,
`llama_sampler_*`), vLLM 1.x (`SamplingParams.__post_init__`, `v1/sample/sampler.py`, `topk_topp_sampler.py`).
A checkpoint's `generation_config.json` may set defaults of its own in transformers and vLLM; it is not read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from palmette.tokens.dialect.settings import SETTINGS

__all__ = ["DIALECTS", "Dialect"]


@dataclass(frozen=True)
class Dialect:
    """One program's reading of sampling settings.

    Args:
        name: what a person calls it.
        program: what it stands for.
        order: its stages, the first nearest to the model.
        names: the settings it has, and what it calls them.
        defaults: values that act although nobody set them.
        ties: whether top-k (and typical) keep candidates that tie with the last one kept.
        tail: how top-p cuts; see `palmette.tokens.views.top_p`.
        counted: what presence and frequency penalties count (the repetition penalty counts prompt and output in all).
        zero: what temperature 0 means.
        least_temperature: a positive temperature below it is raised to it.
        below_zero: settings of which a negative value means 0.
        ranges: values beyond which it refuses or clamps.
        samplers: its names for groups of stages, where the order can be set.
        mirostat_order: the stages that are left when mirostat is on, where it drives the others out.
        lacks: why it does not have a setting, and what to do.
    """

    name: str
    program: str
    order: tuple[str, ...]
    names: Mapping[str, str]
    defaults: Mapping[str, Any]
    ties: Literal["drop", "keep"]
    tail: Literal["smallest", "hf"]
    counted: Literal["all", "output"]
    zero: Literal["greedy", "refused"] = "greedy"
    least_temperature: float = 0.0
    below_zero: frozenset[str] = frozenset()
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    samplers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    mirostat_order: tuple[str, ...] = ()
    lacks: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert set(self.names) <= set(SETTINGS) and set(self.defaults) <= set(self.names), self.name


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


PAPER = Dialect(
    name="paper",
    program="each method as its paper defines it",
    order=(
        "logit_bias", "ban", "allow", "repetition_penalty", "penalty", "no_repeat_ngram", "dry", "min_new_tokens",
        "temperature", "top_n_sigma", "top_k", "top_p", "min_p", "typical", "epsilon", "eta", "xtc", "mirostat",
    ),
    names=_same(*(name for name in SETTINGS if name not in ("do_sample", "samplers"))),
    defaults={},
    ties="drop",
    tail="smallest",
    counted="output",
    lacks={"do_sample": "say temperature=0", "samplers": "list views in the order you want"},
)  # fmt: skip

HF = Dialect(
    name="hf",
    program="transformers 5, generate(do_sample=True)",
    order=(
        "logit_bias", "repetition_penalty", "no_repeat_ngram", "min_new_tokens", "ban",
        "temperature", "top_k", "top_p", "min_p", "typical", "epsilon", "eta",
    ),
    names={
        **_same("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"),
        **_same("repetition_penalty", "no_repeat_ngram_size", "min_new_tokens", "do_sample"),
        "logit_bias": "sequence_bias",
        "ban": "suppress_tokens",
    },
    defaults={"top_k": 50},
    ties="keep",
    tail="hf",
    counted="output",
    zero="refused",
    lacks={
        "presence_penalty": "repetition_penalty is its only penalty",
        "frequency_penalty": "repetition_penalty is its only penalty",
        "penalty_last_n": "its penalty looks at the whole text",
        "allow": "it takes a function, prefix_allowed_tokens_fn",
        "samplers": "its order is fixed",
    },
)  # fmt: skip

LLAMA_CPP = Dialect(
    name="llama.cpp",
    program="llama.cpp, llama-cli and llama-server",
    order=(
        "logit_bias", "repetition_penalty", "penalty", "dry", "top_n_sigma", "top_k", "typical", "top_p", "min_p",
        "xtc", "temperature",
    ),
    names={
        **_same("temperature", "dynatemp_range", "dynatemp_exponent", "top_k", "top_p", "min_p", "typical_p"),
        **_same("top_n_sigma", "xtc_probability", "xtc_threshold", "presence_penalty", "frequency_penalty"),
        **_same("dry_multiplier", "dry_base", "dry_allowed_length", "dry_penalty_last_n", "dry_sequence_breakers"),
        **_same("mirostat", "mirostat_tau", "mirostat_eta", "logit_bias", "samplers"),
        "repetition_penalty": "repeat_penalty",
        "penalty_last_n": "repeat_last_n",
    },
    defaults={"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05, "penalty_last_n": 64},
    ties="drop",
    tail="smallest",
    counted="all",
    below_zero=frozenset({"temperature", "top_k", "top_n_sigma"}),
    samplers={
        "penalties": ("repetition_penalty", "penalty"),
        "dry": ("dry",),
        "top_n_sigma": ("top_n_sigma",),
        "top_k": ("top_k",),
        "typ_p": ("typical",),
        "top_p": ("top_p",),
        "min_p": ("min_p",),
        "xtc": ("xtc",),
        "temperature": ("temperature",),
    },
    mirostat_order=("logit_bias", "temperature", "mirostat"),
    lacks={
        "ban": "give the token a large negative logit_bias",
        "allow": "it takes a grammar",
        "min_new_tokens": "it can only ignore the end altogether (ignore_eos)",
        "no_repeat_ngram_size": "dry is its guard against repeats",
        "do_sample": "say temperature=0",
    },
)  # fmt: skip

VLLM = Dialect(
    name="vllm",
    program="vLLM 1, SamplingParams",
    order=(
        "allow", "min_new_tokens", "logit_bias", "repetition_penalty", "penalty",
        "temperature", "min_p", "top_k", "top_p",
    ),
    names={
        **_same("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty"),
        **_same("frequency_penalty", "logit_bias"),
        "min_new_tokens": "min_tokens",
        "allow": "allowed_token_ids",
    },
    defaults={},
    ties="keep",
    tail="hf",
    counted="output",
    least_temperature=0.01,
    below_zero=frozenset({"top_k"}),
    ranges={"presence_penalty": (-2.0, 2.0), "frequency_penalty": (-2.0, 2.0), "logit_bias": (-100.0, 100.0)},
    lacks={
        "penalty_last_n": "its penalties look at the whole text",
        "ban": "it takes texts, bad_words, or a large negative logit_bias",
        "no_repeat_ngram_size": "it takes a logits processor",
        "do_sample": "say temperature=0",
        "samplers": "its order is fixed",
    },
)  # fmt: skip

DIALECTS: Mapping[str, Dialect] = {d.name: d for d in (PAPER, HF, LLAMA_CPP, VLLM)}
