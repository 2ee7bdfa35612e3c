"""A mixture of experts from dense models: their feed-forward layers side by side, a gate in front of them.

The recipe is mergekit-moe's: base_model, gate_mode, experts with prompts. A Llama or Mistral becomes a Mixtral, a Qwen2
a Qwen2-MoE (which has one shared expert), a Qwen3 a Qwen3-MoE. A gate's row is the direction of what an expert's
positive prompts look like to the base model, minus that of its negative ones: in each layer (`hidden`), in the
embedding alone (`cheap_embed`), or drawn at random for training (`random`, `uniform_random`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import MismatchedModels, RecipeError, UnsupportedArchitecture, near_miss
from palmette.core.rng import Rng
from palmette.weights.blocks import Memory, Source
from palmette.weights.card import copy_beside
from palmette.weights.dtypes import ALIASES, FLOATS, decode, encode, promote
from palmette.weights.folder import Fetch, Model, local, natural
from palmette.weights.inputs.open import open_model
from palmette.weights.plan import Task
from palmette.weights.recipe.schema import Reference, reference_of
from palmette.weights.save import SHARD, Progress, save_tasks

__all__ = ["Expert", "Mixture", "States", "build", "read_mixture"]

Gate = Literal["hidden", "cheap_embed", "random", "uniform_random"]
Floats = NDArray[np.float32]
States = Callable[[Sequence[str]], Floats]  # prompts -> float32[prompts, layers, width], states that enter each layer
_NAMES = {"torch_dtype", "dtype", "architectures", "model_type", "auto_map"}
_PARTS = re.compile(r"^(model\.layers\.(\d+)\.)mlp\.(gate|up|down)_proj\.weight$")


@dataclass(frozen=True)
class Expert:
    """A dense model that becomes an expert, and what it is for."""

    model: Reference
    positive: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mixture:
    """A recipe."""

    base: Reference
    experts: tuple[Expert, ...]
    shared: tuple[Expert, ...] = ()
    gate: Gate = "hidden"
    dtype: str | None = None
    per_token: int = 2
    text: str = ""


@dataclass(frozen=True)
class _Family:
    """What a mixture is called and where its parts lie; {layer} is the layer's prefix."""

    kind: str
    architecture: str
    gate: str
    expert: str
    parts: Mapping[str, str]
    shared: str = ""


_QWEN = {"gate": "gate_proj", "up": "up_proj", "down": "down_proj"}
_MIXTRAL = _Family("mixtral", "MixtralForCausalLM", "block_sparse_moe.gate.weight",
                   "block_sparse_moe.experts.{}.{}.weight", {"gate": "w1", "down": "w2", "up": "w3"})  # fmt: skip
_FAMILIES = {
    "llama": _MIXTRAL,
    "mistral": _MIXTRAL,
    "qwen2": _Family("qwen2_moe", "Qwen2MoeForCausalLM", "mlp.gate.weight", "mlp.experts.{}.{}.weight", _QWEN,
                     "mlp.shared_expert.{}.weight"),
    "qwen3": _Family("qwen3_moe", "Qwen3MoeForCausalLM", "mlp.gate.weight", "mlp.experts.{}.{}.weight", _QWEN),
}  # fmt: skip


def read_mixture(document: Any, text: str) -> Mixture:
    """The recipe of a document that was read already.

    Raises:
        RecipeError: for anything that cannot be understood.
    """
    top = _table(document, "", ("base_model", "experts", "shared_experts", "gate_mode", "dtype", "experts_per_token"),
                 ("base_model", "experts"))  # fmt: skip
    gate = top.get("gate_mode", "hidden")
    if gate not in get_args(Gate):
        known = get_args(Gate)
        raise RecipeError("gate_mode", f"no {gate!r}.{near_miss(str(gate), known)} Known: {', '.join(known)}")
    dtype = top.get("dtype")
    if dtype is not None and dtype not in ALIASES:
        raise RecipeError("dtype", f"no dtype {dtype!r}.{near_miss(str(dtype), ALIASES)}")
    experts = tuple(_expert(row, f"experts[{i}]", gate) for i, row in enumerate(top["experts"]))
    shared = tuple(
        _expert(row, f"shared_experts[{i}]", "random") for i, row in enumerate(top.get("shared_experts") or [])
    )
    per_token = top.get("experts_per_token", 2)
    if type(per_token) is not int or not 1 <= per_token <= len(experts):
        raise RecipeError(
            "experts_per_token", f"should be 1 to {len(experts)}, the number of experts, not {per_token!r}"
        )
    base = reference_of(top["base_model"], "base_model")
    return Mixture(base, experts, shared, gate, None if dtype is None else ALIASES[dtype], per_token, text)


def _expert(value: Any, path: str, gate: str) -> Expert:
    row = _table(value, path, ("source_model", "positive_prompts", "negative_prompts"), ("source_model",))
    sides = []
    for key in ("positive_prompts", "negative_prompts"):
        found = row.get(key) or []
        if not isinstance(found, list) or not all(isinstance(prompt, str) for prompt in found):
            raise RecipeError(f"{path}.{key}", f"a list of texts is expected, not {found!r}")
        sides.append(tuple(found))
    if gate in ("hidden", "cheap_embed") and not sides[0]:
        raise RecipeError(
            f"{path}.positive_prompts", f"gate_mode {gate!r} needs prompts that say what the expert is for"
        )
    return Expert(reference_of(row["source_model"], f"{path}.source_model"), *sides)


def _table(value: Any, path: str, known: Sequence[str], needs: Sequence[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RecipeError(path, f"a table of keys and values is expected, not {str(value)[:60]!r}")
    for key in value:
        if key not in known:
            raise RecipeError(path, f"unknown key {key!r}.{near_miss(str(key), known)} Known: {', '.join(known)}")
    for key in needs:
        if not value.get(key):
            raise RecipeError(path, f"{key} is missing")
    return dict(value)


def build(
    mixture: Mixture,
    target: str | Path,
    *,
    states: States | None = None,
    seed: int = 0,
    fetch: Fetch = local,
    threads: int | None = None,
    shard_size: int = SHARD,
    progress: Progress = lambda _: None,
) -> Path:
    """Write the mixture as a folder that appears when it is complete.

    Args:
        mixture: the recipe.
        target: the folder.
        states: what the base model makes of prompts, for the gate mode `hidden`.
        seed: of random gates.
        fetch: how to find a model that is no folder.
        threads, shard_size, progress: as of a merge.

    Raises:
        UnsupportedArchitecture: for a base that has no mixture of its kind.
        MismatchedModels: for experts that do not fit the base.
        OutputError: if the folder is in the way or cannot be written.
    """
    base = open_model(mixture.base, fetch)
    kind = str(base.config.get("model_type"))
    if kind not in _FAMILIES:
        raise UnsupportedArchitecture(f"{base}: mixtures are built of {', '.join(_FAMILIES)}, not of {kind!r}")
    family = _FAMILIES[kind]
    if len(mixture.shared) != (1 if family.shared else 0):
        wanted = "exactly one shared expert" if family.shared else "no shared experts"
        raise RecipeError("shared_experts", f"{family.architecture} has {wanted}, not {len(mixture.shared)}")
    models = [open_model(expert.model, fetch) for expert in (*mixture.experts, *mixture.shared)]
    gates = _gates(mixture, base, states, seed)
    tasks = _tasks(mixture, family, base, models, gates)
    mark = _mark(mixture, tasks, gates, [base, *models])

    def finish(work: Path, index: Mapping[str, Any] | None) -> None:
        copy_beside(base, work)
        about = {"plan": mark, "method": "moe", "gate_mode": mixture.gate, "seed": seed,
                 "experts": [str(model) for model in models]}  # fmt: skip
        files = {"config.json": _config(mixture, family, base, tasks), "merge.json": about}
        if index is not None:
            files["model.safetensors.index.json"] = dict(index)
        for name, value in files.items():
            (work / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
        (work / "mergekit_moe_config.yml").write_text(mixture.text, encoding="utf-8")

    made = save_tasks(
        Path(target).expanduser(), tasks, mark, finish, threads=threads, shard_size=shard_size, progress=progress
    )
    for model in (base, *models):
        model.close()
    return made


def _mark(mixture: Mixture, tasks: Sequence[Task], gates: Floats, models: Sequence[Model]) -> str:
    """A digest of all that the output's bytes depend on."""
    paths = [path for model in models for path in model.paths()]
    files = [(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in paths]
    facts = [mixture.text, [(t.name, t.shape, t.dtype) for t in tasks], files]
    return hashlib.sha256(json.dumps(facts).encode() + gates.tobytes()).hexdigest()


def _tasks(mixture: Mixture, family: _Family, base: Model, models: Sequence[Model], gates: Floats) -> list[Task]:
    """Every tensor of the mixture, each passed through."""
    tasks: list[Task] = []

    def place(name: str, source: Source, shape: tuple[int, ...], label: str) -> None:
        dtype = mixture.dtype if mixture.dtype in FLOATS and source.dtype in FLOATS else source.dtype
        tasks.append(Task(name, shape, dtype, "passthrough", {}, (source,), None, (label,)))

    wide = promote([info.dtype for info in base.tensors.values() if info.dtype in FLOATS])
    for name in sorted(base.tensors, key=natural):
        match = _PARTS.match(name)
        if not match:
            place(name, base.source(name), base.shape(name), str(base))
            continue
        prefix, layer, part = match[1], int(match[2]), match[3]
        for number, model in enumerate(models):
            if name not in model.tensors or model.shape(name) != base.shape(name):
                found = model.shape(name) if name in model.tensors else "missing"
                raise MismatchedModels(f"the expert {model}: {name!r} is {found}, in {base} it is {base.shape(name)}")
            shared = number >= len(mixture.experts)
            inner = family.parts[part]
            spot = family.shared.format(inner) if shared else family.expert.format(number, inner)
            place(prefix + spot, model.source(name), model.shape(name), str(model))
        if part == "gate":
            rows = gates[:, layer]
            raw = encode(np.ascontiguousarray(rows).reshape(-1), wide)
            place(prefix + family.gate, Memory(raw, wide), rows.shape, "gate")
            if family.shared:
                width = rows.shape[1]
                open_ = encode(np.zeros(width, np.float32), wide)
                place(f"{prefix}mlp.shared_expert_gate.weight", Memory(open_, wide), (1, width), "gate")
    return tasks


def _gates(mixture: Mixture, base: Model, states: States | None, seed: int) -> Floats:
    """float32[experts, layers, width]."""
    layers, width = int(base.text["num_hidden_layers"]), int(base.text["hidden_size"])
    count = len(mixture.experts)
    if mixture.gate in ("random", "uniform_random"):
        rng = np.random.default_rng(Rng(seed).fork("gates").seed)
        scale = width**-0.5
        shape = (count, layers, width)
        drawn = rng.standard_normal(shape) if mixture.gate == "random" else rng.uniform(-1, 1, shape)
        return np.asarray(drawn * scale, np.float32)
    if mixture.gate == "cheap_embed":
        states = _embedded(base, layers)
    if states is None:
        raise RecipeError("gate_mode", "hidden needs a model that runs; cheap_embed and random do not")
    made = np.zeros((count, layers, width), np.float32)
    for row, expert in zip(made, mixture.experts, strict=True):
        row += _direction(states(expert.positive))
        if expert.negative:
            row -= _direction(states(expert.negative))
    return made


def _direction(found: Floats) -> Floats:
    """The unit direction of the mean of prompts' states, in each layer; (prompts, layers, width) -> (layers, width)."""
    unit = found / np.maximum(np.linalg.norm(found, axis=-1, keepdims=True), 1e-12)
    mean = unit.mean(axis=0)
    length = np.linalg.norm(mean, axis=-1, keepdims=True)
    made: Floats = np.asarray(mean / np.maximum(length, 1e-12), np.float32)
    return made


def _embedded(base: Model, layers: int) -> States:
    """Prompts as the mean of their tokens' embeddings, the same in every layer."""
    from tokenizers import Tokenizer

    name = base.embedding
    if name is None or not (base.folder / "tokenizer.json").is_file():
        raise RecipeError("gate_mode", f"cheap_embed needs a token embedding and a tokenizer.json, which {base} lacks")
    tokenizer = Tokenizer.from_file(str(base.folder / "tokenizer.json"))
    source, width = base.source(name), base.shape(name)[1]

    def states(prompts: Sequence[str]) -> Floats:
        rows = []
        for prompt in prompts:
            ids = tokenizer.encode(prompt).ids
            if not ids:
                raise RecipeError("positive_prompts", f"the prompt {prompt!r} has no token")
            held = [decode(source.read(i * width, (i + 1) * width), source.dtype) for i in ids]
            rows.append(np.mean(held, axis=0))
        return np.repeat(np.array(rows, np.float32)[:, None], layers, axis=1)

    return states


def _config(mixture: Mixture, family: _Family, base: Model, tasks: Sequence[Task]) -> dict[str, Any]:
    """The base's configuration as a mixture's."""
    made = {key: value for key, value in base.config.items() if key not in _NAMES}
    floats = [task.dtype for task in tasks if task.dtype in FLOATS]
    most = max(dict.fromkeys(floats), key=floats.count)
    dtype = {short: name for name, short in ALIASES.items()}.get(most, "float32")
    made |= {"architectures": [family.architecture], "model_type": family.kind, "dtype": dtype,
             "num_experts_per_tok": mixture.per_token, "tie_word_embeddings": base.tied}  # fmt: skip
    inner = base.config["intermediate_size"]
    if family.kind == "mixtral":
        return {**made, "num_local_experts": len(mixture.experts), "sliding_window": base.config.get("sliding_window")}
    made |= {"num_experts": len(mixture.experts), "moe_intermediate_size": inner, "decoder_sparse_step": 1,
             "mlp_only_layers": [], "norm_topk_prob": True}  # fmt: skip
    return {**made, "shared_expert_intermediate_size": inner} if family.shared else made
