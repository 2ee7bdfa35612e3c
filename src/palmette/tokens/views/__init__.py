"""Views: an engine in, an engine out. `VIEWS` is the table of all that can be named on a command line."""

from collections.abc import Callable, Mapping

from palmette.core.engine import View
from palmette.tokens.views.base import EngineView, PointView, compose, show
from palmette.tokens.views.constrain import constrain
from palmette.tokens.views.history import dry, min_length, no_repeat_ngram, penalty, repetition_penalty
from palmette.tokens.views.layers import dola
from palmette.tokens.views.pair import guide, mix
from palmette.tokens.views.reshape import (
    allow,
    ban,
    dynamic_temperature,
    logit_bias,
    mirostat,
    smoothing,
    temperature,
)
from palmette.tokens.views.truncate import epsilon, eta, min_p, top_k, top_n_sigma, top_p, typical, xtc
from palmette.tokens.views.watermark import Detection, detect_watermark, watermark

__all__ = [
    "VIEWS",
    "Detection",
    "EngineView",
    "PointView",
    "allow",
    "ban",
    "compose",
    "constrain",
    "detect_watermark",
    "dola",
    "dry",
    "dynamic_temperature",
    "epsilon",
    "eta",
    "guide",
    "logit_bias",
    "min_length",
    "min_p",
    "mirostat",
    "mix",
    "no_repeat_ngram",
    "penalty",
    "repetition_penalty",
    "show",
    "smoothing",
    "temperature",
    "top_k",
    "top_n_sigma",
    "top_p",
    "typical",
    "watermark",
    "xtc",
]

VIEWS: Mapping[str, Callable[..., View]] = {
    "temperature": temperature,
    "top_k": top_k,
    "top_p": top_p,
    "min_p": min_p,
    "typical": typical,
    "epsilon": epsilon,
    "eta": eta,
    "top_n_sigma": top_n_sigma,
    "mirostat": mirostat,
    "dynamic_temperature": dynamic_temperature,
    "smoothing": smoothing,
    "xtc": xtc,
    "dry": dry,
    "repetition_penalty": repetition_penalty,
    "penalty": penalty,
    "no_repeat_ngram": no_repeat_ngram,
    "logit_bias": logit_bias,
    "ban": ban,
    "allow": allow,
    "min_length": min_length,
    "guide": guide,
    "mix": mix,
    "dola": dola,
    "watermark": watermark,
}
