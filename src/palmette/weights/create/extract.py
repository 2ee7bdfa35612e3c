"""A LoRA adapter from two models: the difference of each matrix, cut to its largest singular directions.

Hu et al. 2021 (arXiv 2106.09685) for the adapter; Halko, Martinsson & Tropp 2011 (arXiv 0909.4061), algorithms 4.4 and
5.1, for the singular vectors of large matrices. Finished matrices are kept, so that an interrupted extraction goes on.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from palmette.core.errors import BadParameter, MismatchedModels, OutputError
from palmette.core.rng import Rng
from palmette.weights.dtypes import FLOATS, decode
from palmette.weights.folder import EMBEDDING, HEAD, Fetch, Model, local, natural
from palmette.weights.inputs.open import open_model
from palmette.weights.recipe.schema import reference_of

__all__ = ["Extracted", "extract"]

Matrix = NDArray[np.float32]
EXTRA, TURNS = 16, 3  # oversampling and power iterations of the range finder
SMALL = 512  # a matrix with a side up to this is decomposed in full
STORED = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}


@dataclass(frozen=True)
class Extracted:
    """What became an adapter.

    Args:
        kept: for each matrix the share of its change's energy ‖δ‖² that the adapter has.
        left_out: changed tensors that no LoRA can hold, or that were excluded, with the norm of their change.
    """

    folder: Path
    kept: dict[str, float]
    left_out: dict[str, float]


def extract(
    base: str,
    tuned: str,
    target: str | Path,
    *,
    rank: int = 32,
    include: str = "",
    exclude: str = "",
    embeddings: bool = False,
    dtype: str = "float32",
    fetch: Fetch = local,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Extracted:
    """Write the change from one model to another as a LoRA adapter in PEFT's format.

    Args:
        base, tuned: folders or names, as in a recipe.
        target: the adapter's folder; must not exist yet, or be empty.
        rank: of every matrix's change.
        include, exclude: regular expressions of tensor names.
        embeddings: extract the token embedding and the output head as well.
        dtype: "float32", "bfloat16" or "float16".
        fetch: how to find a model that is no folder.
        progress: called with matrices done and how many there are.

    Raises:
        BadParameter: for a rank below one, an unknown dtype, or a pattern that fits nothing.
        MismatchedModels: if the models' tensors differ in name or shape.
        OutputError: if the folder is in the way or cannot be written.
    """
    if rank < 1 or dtype not in STORED:
        raise BadParameter(f"extract: rank should be positive, dtype one of {', '.join(STORED)}; not {rank}, {dtype!r}")
    path = Path(target).expanduser()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise OutputError(f"{path} exists already; name another folder, or remove it")
    one, other = (open_model(reference_of(name, "model"), fetch) for name in (base, tuned))
    matrices, rest = _chosen(one, other, include, exclude, embeddings)
    work = path.parent / f".{path.name}.parts-{_mark(one, other, rank)}"
    try:
        work.mkdir(parents=True, exist_ok=True)
        factors, kept = {}, {}
        for done, name in enumerate(matrices):
            progress(done, len(matrices))
            up, down, kept[name] = _factors(one, other, name, rank, work / f"{done}.npz")
            factors[name] = (up, down)
        progress(len(matrices), len(matrices))
        left_out = {name: norm for name in rest if (norm := float(np.linalg.norm(_change(one, other, name)))) > 0}
        _write(path, work, one, factors, rank, STORED[dtype], base)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error}") from error
    return Extracted(path, kept, left_out)


def _mark(one: Model, other: Model, rank: int) -> str:
    rows = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for m in (one, other) for p in m.paths()]
    return hashlib.sha256(repr((rows, rank)).encode()).hexdigest()[:12]


def _chosen(one: Model, other: Model, include: str, exclude: str, embeddings: bool) -> tuple[list[str], list[str]]:
    """Names of matrices that become factors, and of other tensors."""
    apart = sorted(set(one.tensors) ^ set(other.tensors), key=natural)
    if apart:
        raise MismatchedModels(
            f"the tensor {apart[0]!r} is in one of {one} and {other} only; no LoRA turns one into it"
        )
    matrices: list[str] = []
    rest: list[str] = []
    for name in sorted(one.tensors, key=natural):
        if one.shape(name) != other.shape(name):
            raise MismatchedModels(f"the tensor {name!r} is {one.shape(name)} in {one}, {other.shape(name)} in {other}")
        if one.tensors[name].dtype not in FLOATS:
            continue
        special = bool(EMBEDDING.search(name) or HEAD.search(name) or re.search(r"wpe|position_emb", name))
        fits = bool(re.search(include, name)) and not (exclude and re.search(exclude, name))
        plain = len(one.shape(name)) == 2 and name.endswith(".weight") and (embeddings or not special)
        (matrices if fits and plain else rest).append(name)
    if not matrices:
        raise BadParameter(f"extract: no matrix is left with include={include!r} and exclude={exclude!r}")
    return matrices, rest


def _change(one: Model, other: Model, name: str) -> Matrix:
    count = int(np.prod(one.shape(name), dtype=np.int64))
    sources = [model.source(name) for model in (other, one)]
    after, before = (decode(source.read(0, count), source.dtype) for source in sources)
    made: Matrix = (after - before).reshape(one.shape(name))
    return made


def _factors(one: Model, other: Model, name: str, rank: int, kept: Path) -> tuple[Matrix, Matrix, float]:
    """(rows, rank) and (rank, columns) of a change, and the share of its energy that they have."""
    if kept.is_file():
        try:
            with np.load(kept) as held:
                return held["up"], held["down"], float(held["share"])
        except (OSError, ValueError, KeyError):
            kept.unlink()
    change = _change(one, other, name)
    energy = float(np.square(change, dtype=np.float64).sum())
    left, values, right = decompose(change, rank, Rng(0).fork(name).seed)
    root = np.sqrt(values)
    up, down = np.zeros((change.shape[0], rank), np.float32), np.zeros((rank, change.shape[1]), np.float32)
    up[:, : len(values)], down[: len(values)] = left * root, (right * root).T
    share = float(np.square(values, dtype=np.float64).sum()) / energy if energy else 1.0
    part = kept.with_suffix(".partial.npz")
    np.savez(part, up=up, down=down, share=share)
    part.replace(kept)
    return up, down, min(1.0, share)


def decompose(matrix: Matrix, rank: int, seed: int) -> tuple[Matrix, Matrix, Matrix]:
    """U (rows, k), σ (k), V (columns, k) of the largest singular values, k ≤ rank.

    >>> u, s, v = decompose(np.diag([3.0, 2.0, 1.0]).astype(np.float32), 2, 0)
    >>> s.round(4).tolist()
    [3.0, 2.0]
    """
    k = min(rank, *matrix.shape)
    if min(matrix.shape) <= max(SMALL, rank + EXTRA):
        left, values, right = np.linalg.svd(matrix, full_matrices=False)
        return left[:, :k], values[:k], right[:k].T
    drawn = np.random.default_rng(seed).standard_normal((matrix.shape[1], k + EXTRA), np.float32)
    basis = np.linalg.qr(matrix @ drawn)[0]
    for _ in range(TURNS):
        basis = np.linalg.qr(matrix @ np.linalg.qr(matrix.T @ basis)[0])[0]
    left, values, right = np.linalg.svd(basis.T @ matrix, full_matrices=False)
    return (basis @ left)[:, :k], values[:k], right[:k].T


def _write(
    path: Path, work: Path, one: Model, factors: dict[str, tuple[Matrix, Matrix]], rank: int, dtype: str, base: str
) -> None:
    """The adapter's two files, in a folder that appears whole."""
    crossed = one.config.get("model_type") == "gpt2"  # Conv1D stores [in, out]
    tensors: dict[str, NDArray[Any]] = {}
    for name, (up, down) in factors.items():
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        a, b = (up.T, down.T) if crossed else (down, up)
        tensors[f"{stem}.lora_A.weight"], tensors[f"{stem}.lora_B.weight"] = a, b
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "r": rank, "lora_alpha": rank,
        "target_modules": [name.removesuffix(".weight") for name in factors], "lora_dropout": 0.0, "bias": "none",
        "fan_in_fan_out": crossed, "inference_mode": True,
    }  # fmt: skip
    made = work / "adapter"
    made.mkdir(exist_ok=True)
    _save(tensors, dtype, made / "adapter_model.safetensors")
    (made / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    if path.is_dir():
        path.rmdir()
    made.replace(path)
    shutil.rmtree(work)


def _save(tensors: dict[str, NDArray[Any]], dtype: str, path: Path) -> None:
    if dtype != "BF16":
        kind = np.float16 if dtype == "F16" else np.float32
        held = {name: np.ascontiguousarray(array, kind) for name, array in tensors.items()}
        save_file(held, path, metadata={"format": "pt"})
        return
    from palmette.weights.dtypes import encode
    from palmette.weights.write import layout

    (shard,), spots, _ = layout([(name, dtype, array.shape) for name, array in tensors.items()], 1 << 62)
    with path.open("wb") as file:
        file.write(shard.header)
        for name, array in tensors.items():
            file.seek(spots[name].start)
            file.write(encode(np.ascontiguousarray(array).reshape(-1), dtype).tobytes())
