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
    from palmette.models.graph import graph
    from palmette.models.keep.logs import Logs, logs
    from palmette.models.keep.prices import Cost, Price, cost, price
    from palmette.models.landscape import basin, landscape, robustness, sharpness
    from palmette.models.local import Completion, LocalModel, decode, grow
    from palmette.models.merging import merge
    from palmette.models.opening import model
    from palmette.models.prompting import (
        chain_of_thought,
        chain_of_verification,
        evaluate,
        few_shot,
        generated_knowledge,
        inline_calls,
        least_to_most,
        program_aided,
        prompt_chain,
        prompt_search,
        react,
        reflexion,
        self_consistency,
        step_back,
        tree_of_thoughts,
        zero_shot,
        zero_shot_cot,
    )
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
    from palmette.prompts.evaluate.report import Report
    from palmette.prompts.files.importers import load_prompt
    from palmette.prompts.files.task_file import load_task
    from palmette.prompts.task import Example, Task
    from palmette.prompts.tools.calculator import calculator, clock
    from palmette.prompts.tools.folder import folder_search
    from palmette.prompts.tools.graph import graph_tools
    from palmette.prompts.tools.mcp import mcp_tools
    from palmette.prompts.tools.sql import sql_reader
    from palmette.prompts.tools.tool import tool
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
        consensus,
        dare_linear,
        dare_ties,
        della,
        della_linear,
        emr,
        iso_c,
        iso_cts,
        karcher,
        knots,
        linear,
        magmax,
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
        tsv,
        where,
    )
    from palmette.weights.merge import Merge

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
    "palmette.models.graph": "graph",
    "palmette.models.decide.calibrate": "Calibration",
    "palmette.models.decide.decide": "adecide calibrate decide",
    "palmette.models.decide.wording": "Wording",
    "palmette.models.keep.logs": "Logs logs",
    "palmette.models.keep.prices": "Cost Price cost price",
    "palmette.models.landscape": "basin landscape robustness sharpness",
    "palmette.models.local": "Completion LocalModel decode grow",
    "palmette.models.merging": "merge",
    "palmette.models.opening": "model",
    "palmette.models.prompting": (
        "chain_of_thought chain_of_verification evaluate few_shot generated_knowledge inline_calls least_to_most "
        "program_aided prompt_chain prompt_search react reflexion self_consistency step_back tree_of_thoughts "
        "zero_shot zero_shot_cot"
    ),
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
    "palmette.prompts.evaluate.report": "Report",
    "palmette.prompts.files.importers": "load_prompt",
    "palmette.prompts.files.task_file": "load_task",
    "palmette.prompts.task": "Example Task",
    "palmette.prompts.tools.calculator": "calculator clock",
    "palmette.prompts.tools.folder": "folder_search",
    "palmette.prompts.tools.graph": "graph_tools",
    "palmette.prompts.tools.mcp": "mcp_tools",
    "palmette.prompts.tools.sql": "sql_reader",
    "palmette.prompts.tools.tool": "tool",
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
        "arcee_fusion breadcrumbs breadcrumbs_ties consensus dare_linear dare_ties della della_linear emr iso_c "
        "iso_cts karcher knots linear magmax model_stock multislerp nearswap nuslerp passthrough ram ramplus_tl sce "
        "slerp task_arithmetic ties tsv where"
    ),
    "palmette.weights.merge": "Merge",
}
_WHERE = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "Answer", "Audio", "Budget", "Calibration", "Capabilities", "Completion", "Cost", "Decision", "Decisions",
    "Decoding", "Document", "Engine", "Example", "Hypothesis", "Image", "LocalModel", "Logs", "MatrixEngine", "Merge",
    "Message", "Model", "Node", "Output", "PalmetteError", "Plan", "Price", "Question", "Reasoning", "RemoteModel",
    "Report", "Request", "Response", "Rng", "Scores", "Scripted", "SpaceModel", "Step", "Task", "Text", "Tool",
    "ToolCall", "ToolResult", "Trace", "Usage", "Wording", "adecide", "allow", "answered", "arcee_fusion",
    "arithmetic", "ban", "basin", "beam", "beam_sample", "best_of", "breadcrumbs", "breadcrumbs_ties", "budget",
    "cache", "calculator", "calibrate", "chain_of_thought", "chain_of_verification", "chat", "choice", "clock",
    "connect", "consensus", "constrain", "constraint", "contrastive", "convert", "cost", "dare_linear", "dare_ties",
    "decide", "decode", "della", "della_linear", "detect_watermark", "dialect", "diverse_beam", "dola", "dry",
    "dynamic_temperature", "emr", "epsilon", "eta", "evaluate", "exact", "explain", "fallback", "few_shot", "fill",
    "folder_search", "generated_knowledge", "grammar", "graph", "graph_tools", "greedy", "grow", "guide",
    "inline_calls", "iso_c", "iso_cts", "karcher", "knots", "landscape", "least_to_most", "linear", "load_prompt",
    "load_task", "logged", "logit_bias", "logs", "magmax", "mbr", "mcp_tools", "merge", "min_length", "min_p",
    "mirostat", "mix", "model", "model_stock", "multislerp", "nearswap", "no_repeat_ngram", "nucleus", "nuslerp",
    "one_of", "open_engine", "passthrough", "penalty", "price", "program", "program_aided", "prompt_chain",
    "prompt_lookup", "prompt_search", "question", "ram", "ramplus_tl", "rate_limit", "react", "record", "reflexion",
    "regex", "remote", "repetition_penalty", "replay", "retry", "robustness", "route", "sample", "sce", "scripted",
    "self_consistency", "sharpness", "slerp", "smc", "smoothing", "space", "speculative", "sql_reader", "step_back",
    "stochastic_beam", "task_arithmetic", "temperature", "ties", "tool", "top_k", "top_n_sigma", "top_p", "topk",
    "traced", "translate", "tree_of_thoughts", "tsv", "typical", "watermark", "where", "xtc", "zero_shot",
    "zero_shot_cot", "__version__",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    home = _WHERE.get(name)
    if home is None:
        from palmette.core.errors import near_miss

        raise AttributeError(f"palmette has no {name!r}.{near_miss(name, _WHERE)}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
