"""Palmette: run any LLM, choose its tokens, its prompts and its weights, and see what each choice does.

Names are loaded when they are first used: `import palmette` alone loads neither numpy nor any model code.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from palmette.core.decision import Decision, Decisions, Question, question
    from palmette.core.engine import Budget, Engine, Hypothesis, Node, Step
    from palmette.core.errors import PalmetteError
    from palmette.core.message import (
        Audio,
        Document,
        Image,
        Message,
        Output,
        Reasoning,
        Request,
        Response,
        Text,
        Tool,
        ToolCall,
        ToolResult,
        Usage,
    )
    from palmette.core.model import Answer, Capabilities, Model
    from palmette.core.rng import Rng
    from palmette.core.scores import Scores
    from palmette.models.chat import chat
    from palmette.models.decide.calibrate import Calibration
    from palmette.models.decide.decide import adecide, calibrate, decide
    from palmette.models.decide.wording import Wording
    from palmette.models.keep.logs import Logs, logs
    from palmette.models.keep.prices import Cost, Price, cost, price
    from palmette.models.landscape import basin, landscape, robustness, sharpness
    from palmette.models.local import Completion, LocalModel, decode, grow
    from palmette.models.opening import model
    from palmette.models.remote.model import RemoteModel, connect
    from palmette.models.remote.space import SpaceModel, space
    from palmette.models.resolve import open_engine
    from palmette.models.structured import choice, fill, program
    from palmette.models.wrap.budget import budget
    from palmette.models.wrap.cache import cache
    from palmette.models.wrap.fallback import fallback
    from palmette.models.wrap.logged import logged
    from palmette.models.wrap.rate_limit import rate_limit
    from palmette.models.wrap.record import record, replay
    from palmette.models.wrap.retry import retry
    from palmette.models.wrap.route import route
    from palmette.models.wrap.scripted import Scripted, scripted
    from palmette.models.wrap.traced import traced
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
    from palmette.weights.gguf.convert import convert
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
    "palmette.core.decision": "Decision Decisions Question question",
    "palmette.core.engine": "Budget Engine Hypothesis Node Step",
    "palmette.core.errors": "PalmetteError",
    "palmette.core.message": (
        "Audio Document Image Message Output Reasoning Request Response Text Tool ToolCall ToolResult Usage"
    ),
    "palmette.core.model": "Answer Capabilities Model",
    "palmette.core.rng": "Rng",
    "palmette.core.scores": "Scores",
    "palmette.models.chat": "chat",
    "palmette.models.decide.calibrate": "Calibration",
    "palmette.models.decide.decide": "adecide calibrate decide",
    "palmette.models.decide.wording": "Wording",
    "palmette.models.keep.logs": "Logs logs",
    "palmette.models.keep.prices": "Cost Price cost price",
    "palmette.models.landscape": "basin landscape robustness sharpness",
    "palmette.models.local": "Completion LocalModel decode grow",
    "palmette.models.opening": "model",
    "palmette.models.remote.model": "RemoteModel connect",
    "palmette.models.remote.space": "SpaceModel space",
    "palmette.models.resolve": "open_engine",
    "palmette.models.structured": "choice fill program",
    "palmette.models.wrap.budget": "budget",
    "palmette.models.wrap.cache": "cache",
    "palmette.models.wrap.fallback": "fallback",
    "palmette.models.wrap.logged": "logged",
    "palmette.models.wrap.rate_limit": "rate_limit",
    "palmette.models.wrap.record": "record replay",
    "palmette.models.wrap.retry": "retry",
    "palmette.models.wrap.route": "route",
    "palmette.models.wrap.scripted": "Scripted scripted",
    "palmette.models.wrap.traced": "traced",
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
    "palmette.weights.gguf.convert": "convert",
    "palmette.weights.make": (
        "arcee_fusion breadcrumbs breadcrumbs_ties dare_linear dare_ties della della_linear karcher linear model_stock "
        "multislerp nearswap nuslerp passthrough ram ramplus_tl sce slerp task_arithmetic ties where"
    ),
    "palmette.weights.merge": "Merge merge",
}
_WHERE = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "Answer",
    "Audio",
    "Budget",
    "Calibration",
    "Capabilities",
    "Completion",
    "Cost",
    "Decision",
    "Decisions",
    "Decoding",
    "Document",
    "Engine",
    "Hypothesis",
    "Image",
    "LocalModel",
    "Logs",
    "MatrixEngine",
    "Merge",
    "Message",
    "Model",
    "Node",
    "Output",
    "PalmetteError",
    "Plan",
    "Price",
    "Question",
    "Reasoning",
    "RemoteModel",
    "Request",
    "Response",
    "Rng",
    "Scores",
    "Scripted",
    "SpaceModel",
    "Step",
    "Text",
    "Tool",
    "ToolCall",
    "ToolResult",
    "Trace",
    "Usage",
    "Wording",
    "__version__",
    "adecide",
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
    "budget",
    "cache",
    "calibrate",
    "chat",
    "choice",
    "connect",
    "constrain",
    "constraint",
    "contrastive",
    "convert",
    "cost",
    "dare_linear",
    "dare_ties",
    "decide",
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
    "fallback",
    "fill",
    "grammar",
    "greedy",
    "grow",
    "guide",
    "karcher",
    "landscape",
    "linear",
    "logged",
    "logit_bias",
    "logs",
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
    "price",
    "program",
    "prompt_lookup",
    "question",
    "ram",
    "ramplus_tl",
    "rate_limit",
    "record",
    "regex",
    "remote",
    "repetition_penalty",
    "replay",
    "retry",
    "robustness",
    "route",
    "sample",
    "sce",
    "scripted",
    "sharpness",
    "slerp",
    "smc",
    "smoothing",
    "space",
    "speculative",
    "stochastic_beam",
    "task_arithmetic",
    "temperature",
    "ties",
    "top_k",
    "top_n_sigma",
    "top_p",
    "topk",
    "traced",
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
