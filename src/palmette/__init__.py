"""Palmette: run any LLM, choose its tokens, its prompts and its weights, and see what each choice does.

Names are loaded when they are first used: `import palmette` alone loads neither numpy nor any model code.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from palmette.core.engine import Budget, Engine, Hypothesis, Node, Step
    from palmette.core.errors import PalmetteError
    from palmette.core.rng import Rng
    from palmette.core.scores import Scores
    from palmette.models.chat import chat
    from palmette.models.landscape import basin, landscape, robustness, sharpness
    from palmette.models.local import Completion, LocalModel, decode, grow, model
    from palmette.models.remote.model import RemoteModel, connect
    from palmette.models.resolve import open_engine
    from palmette.models.structured import choice, fill, program
    from palmette.tokens.decode import Decoding, Plan
    from palmette.tokens.dialect import dialect, explain, translate
    from palmette.tokens.matrix import MatrixEngine
    from palmette.tokens.strategies import (
        arithmetic,
        beam,
        beam_sample,
        best_of,
        contrastive,
        diverse_beam,
        greedy,
        mbr,
        nucleus,
        prompt_lookup,
        sample,
        speculative,
        stochastic_beam,
        topk,
    )
    from palmette.tokens.structure.as_views import constraint, grammar, one_of, regex
    from palmette.tokens.structure.exact import exact, smc
    from palmette.tokens.structure.remote import answered, remote
    from palmette.tokens.trace.values import Trace
    from palmette.tokens.views import (
        allow,
        ban,
        constrain,
        detect_watermark,
        dola,
        dry,
        dynamic_temperature,
        epsilon,
        eta,
        guide,
        logit_bias,
        min_length,
        min_p,
        mirostat,
        mix,
        no_repeat_ngram,
        penalty,
        repetition_penalty,
        smoothing,
        temperature,
        top_k,
        top_n_sigma,
        top_p,
        typical,
        watermark,
        xtc,
    )
    from palmette.weights.make import (
        arcee_fusion,
        breadcrumbs,
        breadcrumbs_ties,
        dare_linear,
        dare_ties,
        della,
        della_linear,
        karcher,
        linear,
        model_stock,
        multislerp,
        nearswap,
        nuslerp,
        passthrough,
        ram,
        ramplus_tl,
        sce,
        slerp,
        task_arithmetic,
        ties,
        where,
    )
    from palmette.weights.merge import Merge, merge

__version__ = "0.1.0"

_HOMES = {
    "palmette.core.engine": "Budget Engine Hypothesis Node Step",
    "palmette.core.errors": "PalmetteError",
    "palmette.core.rng": "Rng",
    "palmette.core.scores": "Scores",
    "palmette.models.chat": "chat",
    "palmette.models.landscape": "basin landscape robustness sharpness",
    "palmette.models.local": "Completion LocalModel decode grow model",
    "palmette.models.remote.model": "RemoteModel connect",
    "palmette.models.resolve": "open_engine",
    "palmette.models.structured": "choice fill program",
    "palmette.tokens.decode": "Decoding Plan",
    "palmette.tokens.dialect": "dialect explain translate",
    "palmette.tokens.matrix": "MatrixEngine",
    "palmette.tokens.strategies": (
        "arithmetic beam beam_sample best_of contrastive diverse_beam greedy mbr nucleus prompt_lookup sample "
        "speculative stochastic_beam topk"
    ),
    "palmette.tokens.structure.as_views": "constraint grammar one_of regex",
    "palmette.tokens.structure.exact": "exact smc",
    "palmette.tokens.structure.remote": "answered remote",
    "palmette.tokens.trace.values": "Trace",
    "palmette.tokens.views": (
        "allow ban constrain detect_watermark dola dry dynamic_temperature epsilon eta guide logit_bias min_length "
        "min_p mirostat mix no_repeat_ngram penalty repetition_penalty smoothing temperature top_k top_n_sigma top_p "
        "typical watermark xtc"
    ),
    "palmette.weights.make": (
        "arcee_fusion breadcrumbs breadcrumbs_ties dare_linear dare_ties della della_linear karcher linear model_stock "
        "multislerp nearswap nuslerp passthrough ram ramplus_tl sce slerp task_arithmetic ties where"
    ),
    "palmette.weights.merge": "Merge merge",
}
_WHERE = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "Budget",
    "Completion",
    "Decoding",
    "Engine",
    "Hypothesis",
    "LocalModel",
    "MatrixEngine",
    "Merge",
    "Node",
    "PalmetteError",
    "Plan",
    "RemoteModel",
    "Rng",
    "Scores",
    "Step",
    "Trace",
    "__version__",
    "allow",
    "answered",
    "arcee_fusion",
    "arithmetic",
    "ban",
    "basin",
    "beam",
    "beam_sample",
    "best_of",
    "breadcrumbs",
    "breadcrumbs_ties",
    "chat",
    "choice",
    "connect",
    "constrain",
    "constraint",
    "contrastive",
    "dare_linear",
    "dare_ties",
    "decode",
    "della",
    "della_linear",
    "detect_watermark",
    "dialect",
    "diverse_beam",
    "dola",
    "dry",
    "dynamic_temperature",
    "epsilon",
    "eta",
    "exact",
    "explain",
    "fill",
    "grammar",
    "greedy",
    "grow",
    "guide",
    "karcher",
    "landscape",
    "linear",
    "logit_bias",
    "mbr",
    "merge",
    "min_length",
    "min_p",
    "mirostat",
    "mix",
    "model",
    "model_stock",
    "multislerp",
    "nearswap",
    "no_repeat_ngram",
    "nucleus",
    "nuslerp",
    "one_of",
    "open_engine",
    "passthrough",
    "penalty",
    "program",
    "prompt_lookup",
    "ram",
    "ramplus_tl",
    "regex",
    "remote",
    "repetition_penalty",
    "robustness",
    "sample",
    "sce",
    "sharpness",
    "slerp",
    "smc",
    "smoothing",
    "speculative",
    "stochastic_beam",
    "task_arithmetic",
    "temperature",
    "ties",
    "top_k",
    "top_n_sigma",
    "top_p",
    "topk",
    "translate",
    "typical",
    "watermark",
    "where",
    "xtc",
]


def __getattr__(name: str) -> Any:
    home = _WHERE.get(name)
    if home is None:
        from palmette.core.errors import near_miss

        raise AttributeError(f"palmette has no {name!r}.{near_miss(name, _WHERE)}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
