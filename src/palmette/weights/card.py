"""What stands beside the weights: config.json, tokenizer and processor files, a model card, recipe and provenance."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from palmette.core.checkpoint import read_json
from palmette.core.errors import CorruptCheckpoint
from palmette.weights.folder import Model
from palmette.weights.plan import Plan

__all__ = ["config_of", "copy_beside", "digest", "fingerprints", "template_of", "write_card"]

_DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64"}
_COUNTS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model",  # noqa: E501
              "vocab.json", "merges.txt", "vocab.txt", "chat_template.jinja", "chat_template.json")  # fmt: skip
_BESIDE = ("generation_config.json", "preprocessor_config.json", "processor_config.json", "image_processor_config.json",
           "video_preprocessor_config.json", "feature_extractor_config.json", "LICENSE")  # fmt: skip
TEMPLATES = {
    "chatml": "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "  # noqa: E501
    "'\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "llama3": "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + "
    "'<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
    "alpaca": "{% for message in messages %}{% if message['role'] == 'user' %}{{ '### Instruction:\\n' + message['content'] + "  # noqa: E501
    "'\\n\\n' }}{% elif message['role'] == 'assistant' %}{{ '### Response:\\n' + message['content'] + '\\n\\n' }}{% else %}"  # noqa: E501
    "{{ message['content'] + '\\n\\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '### Response:\\n' }}{% endif %}",  # noqa: E501
    "mistral": "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' + "
    "message['content'] + ' [/INST]' }}{% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}",
    "exaone": "{% for message in messages %}{{ '[|' + message['role'] + '|]' + message['content'] + '[|endofturn|]\\n' }}"  # noqa: E501
    "{% endfor %}{% if add_generation_prompt %}{{ '[|assistant|]' }}{% endif %}",
}


def origins(plan: Plan) -> list[Model]:
    """The models on disk that a merge reads, those of its stages included."""
    return list({str(model): model for each in plan.models.values() for model in each.origins()}.values())


def fingerprints(plan: Plan, whole: bool = False) -> dict[str, dict[str, Any]]:
    """What identifies the inputs: of every file its size and the SHA-256 of its header, or (`whole`) of all of it."""
    made: dict[str, dict[str, Any]] = {}
    for model in origins(plan):
        for path in model.paths():
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little") if path.suffix == ".safetensors" else 1 << 16
                row: dict[str, Any] = {
                    "bytes": path.stat().st_size,
                    "header_sha256": hashlib.sha256(file.read(length)).hexdigest(),
                }
            if whole:
                with path.open("rb") as file:
                    row["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
            made[f"{model}/{path.name}"] = row
    return made


def digest(plan: Plan, version: str, shard_size: int) -> str:
    """One number for all that the output's bytes depend on; the inputs' contents count by size and time."""
    rows: list[Any] = [version, plan.options.seed, plan.options.compute, shard_size, plan.recipe.text]
    for task in plan.tasks:
        rows.append([task.name, task.shape, task.dtype, task.method, sorted(task.parameters.items()), task.labels,  # noqa: PERF401
                     task.rounded, task.arithmetic])  # fmt: skip
    for model in origins(plan):
        for path in model.paths():
            found = path.stat()
            rows.append([str(path.resolve()), found.st_size, found.st_mtime_ns])
    return hashlib.sha256(json.dumps(rows, default=str).encode()).hexdigest()


def write_card(plan: Plan, work: Path, about: Mapping[str, Any], index: Mapping[str, Any] | None) -> None:
    """Write everything but the weights into the folder in the making."""
    _json(work / "config.json", config_of(plan))
    if index is not None:
        _json(work / "model.safetensors.index.json", index)
    copy_beside(plan.base, work, plan.vocabulary.origin if plan.vocabulary else None)
    if plan.vocabulary and not plan.vocabulary.unchanged:
        _json(work / "tokenizer.json", plan.vocabulary.document, indent=None)
        (work / "added_tokens.json").unlink(missing_ok=True)
    _template(plan, work)
    (work / "mergekit_config.yml").write_text(plan.recipe.text, encoding="utf-8")
    (work / "README.md").write_text(_readme(plan), encoding="utf-8")
    _json(work / "merge.json", about)


def copy_beside(model: Model, work: Path, origin: Model | None = None) -> None:
    """A model's tokenizer (or another's), processors, generation settings and licence."""
    for name in _BESIDE:
        _copied(model, name, work)
    origin = origin or model
    for name in _TOKENIZER:
        _copied(origin, name, work, origin.words)
    if origin.document is not None:
        _json(work / "tokenizer.json", origin.document, indent=None)
    if origin.template is not None:
        _put_template(origin.template, work)


def _json(path: Path, value: Any, indent: int | None = 2) -> None:
    path.write_text(json.dumps(value, indent=indent, ensure_ascii=False, default=str) + "\n", encoding="utf-8")


def _copied(model: Model, name: str, work: Path, folder: Path | None = None) -> None:
    path = (folder or model.folder) / name
    if path.is_file():
        shutil.copyfile(path, work / name)


def _template(plan: Plan, work: Path) -> None:
    text = template_of(plan)
    if text:
        _put_template(text, work)


def template_of(plan: Plan) -> str | None:
    """The recipe's chat template: a name, Jinja text, or `auto` for the one that most models have."""
    said = plan.recipe.chat_template
    if said is None:
        return None
    return _common(plan) if said == "auto" else TEMPLATES.get(said, said)


def _put_template(text: str, work: Path) -> None:
    (work / "chat_template.jinja").write_text(text, encoding="utf-8")
    path = work / "tokenizer_config.json"
    if path.is_file():
        _json(path, {k: v for k, v in read_json(path).items() if k != "chat_template"})


def _common(plan: Plan) -> str | None:
    found: list[str] = []
    for model in plan.models.values():
        path = model.folder / "chat_template.jinja"
        if model.template is not None:
            found.append(model.template)
        elif path.is_file():
            found.append(path.read_text(encoding="utf-8"))
        elif (model.folder / "tokenizer_config.json").is_file():
            inner = read_json(model.folder / "tokenizer_config.json").get("chat_template")
            found += [inner] if isinstance(inner, str) else []
    return max(found, key=lambda text: (found.count(text), -found.index(text))) if found else None


def config_of(plan: Plan) -> dict[str, Any]:
    """The base model's configuration with what the merge changes: layers, types, vocabulary, ties."""
    made: dict[str, Any] = json.loads(json.dumps(plan.base.config))
    text = made["text_config"] if isinstance(made.get("text_config"), dict) else made
    floats = [task.dtype for task in plan.tasks if task.dtype in _DTYPES]
    if floats:
        most = max(dict.fromkeys(floats), key=floats.count)
        for part in {id(made): made, id(text): text}.values():
            part["torch_dtype" if "torch_dtype" in part else "dtype"] = _DTYPES[most]
    if plan.layers is not None:
        _relayer(text, plan)
    rows = next((task.shape[0] for task in plan.tasks if task.name == plan.base.embedding), None)
    if rows is not None and "vocab_size" in text:
        text["vocab_size"] = rows
    if plan.base.tied != plan.tied or "tie_word_embeddings" in made:
        made["tie_word_embeddings"] = plan.tied
        if text is not made and "tie_word_embeddings" in text:
            text["tie_word_embeddings"] = plan.tied
    return made


def _relayer(text: dict[str, Any], plan: Plan) -> None:
    """Per-layer settings of the layers that slices chose."""
    order = plan.layers or []
    before = next((text[key] for key in _COUNTS if isinstance(text.get(key), int)), None)
    for key in _COUNTS:
        if key in text:
            text[key] = len(order)
    for key, value in list(text.items()):
        if isinstance(value, list) and len(value) == before:
            try:
                text[key] = [model.text[key][layer] for model, layer in order]
            except (KeyError, IndexError, TypeError) as error:
                raise CorruptCheckpoint(f"config.json: {key!r} is not given for every layer of the slices") from error


def _readme(plan: Plan) -> str:
    """A model card."""
    names = [str(model) for model in plan.models.values()]
    listed = "\n".join(f"- {name}" for name in names)
    base = f"\nBase model: `{plan.recipe.base}`.\n" if plan.recipe.base else ""
    return (
        "---\nlibrary_name: transformers\ntags:\n- merge\n- palmette\n---\n"
        f"# {' + '.join(Path(name).name for name in names)}\n\n"
        f"Merged with [Palmette](https://pypi.org/project/palmette/) by the method `{plan.recipe.method}` "
        f"(seed {plan.options.seed}, arithmetic: {plan.options.compute}).\n{base}\n"
        f"Models:\n\n{listed}\n\n## Recipe\n\n```yaml\n{plan.recipe.text.strip()}\n```\n\n"
        f"`merge.json` says what every one of the {len(plan.tasks)} tensors was made from "
        f"({sum(int(np.prod(task.shape)) for task in plan.tasks):,} parameters).\n"
    )
