"""Merge speed and memory against mergekit, alternating in one run on checkpoints made on the spot.

    python bench/merge.py --mergekit /path/to/mergekit-yaml --runs 3
    python bench/merge.py --mergekit /path/to/mergekit-yaml --rows ties megabyte half --keep /tmp/models

Rows are merge methods, `megabyte` (start-up alone) and `half` (the peak memory when the model is half as large); --keep
holds the checkpoints between calls that measure a few rows each.

Prints one line for each method: seconds and peak megabytes of both programs (medians), their ratio beside its goal, and
the time to read the inputs' bytes and to write the output's as the limit. Both run as commands, start-up included; the
ratio of CPU seconds stands beside, since it depends less on what else the machine does. The mergekit program must live
in an environment of its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from palmette.weights.dtypes import encode
from palmette.weights.write import layout

PARAMETERS: dict[str, dict[str, Any]] = {
    "linear": {"each": {"weight": 0.5}, "base": False},
    "slerp": {"shared": {"t": 0.4}, "count": 1},
    "ties": {"each": {"weight": 0.5, "density": 0.5}},
    "sce": {"shared": {"select_topk": 0.5}},
    "breadcrumbs_ties": {"each": {"weight": 0.5, "density": 0.9, "gamma": 0.01}},
    "della": {"each": {"weight": 0.5, "density": 0.5, "epsilon": 0.1}},
    "dare_ties": {"each": {"weight": 0.5, "density": 0.5}},
    "task_arithmetic": {"each": {"weight": 0.5}},
    "model_stock": {},
    "karcher": {"base": False},
    "passthrough": {"base": False, "count": 1},
}
GOALS = {"linear": 4.5, "slerp": 5, "ties": 12, "sce": 8, "breadcrumbs_ties": 8, "della": 6, "dare_ties": 5,
         "task_arithmetic": 4, "model_stock": 4, "karcher": 4, "passthrough": 4}  # fmt: skip
LIMITS = {"ties": 7, "linear": 4, "passthrough": 1.5}


def shapes(width: int, layers: int, vocabulary: int) -> list[tuple[str, tuple[int, ...]]]:
    """The tensors of a Llama."""
    inner = width * 11 // 4
    made: list[tuple[str, tuple[int, ...]]] = [("model.embed_tokens.weight", (vocabulary, width))]
    for layer in range(layers):
        stem = f"model.layers.{layer}."
        for part in "qkvo":
            rows = width // 4 if part in "kv" else width
            made.append((f"{stem}self_attn.{part}_proj.weight", (rows, width)))
        for part in ("gate", "up"):
            made.append((f"{stem}mlp.{part}_proj.weight", (inner, width)))  # noqa: PERF401
        made += [(f"{stem}mlp.down_proj.weight", (width, inner)), (f"{stem}input_layernorm.weight", (width,))]
        made.append((f"{stem}post_attention_layernorm.weight", (width,)))
    return [*made, ("model.norm.weight", (width,)), ("lm_head.weight", (vocabulary, width))]


def make(folder: Path, width: int, layers: int, vocabulary: int, change: int, dtype: str = "BF16") -> None:
    """A checkpoint: the base's noise, plus (change > 0) a smaller noise of its own."""
    folder.mkdir()
    tensors = [(name, dtype, shape) for name, shape in shapes(width, layers, vocabulary)]
    half = sum(int(np.prod(shape)) for _, _, shape in tensors) + 1
    shards, spots, index = layout(tensors, half)
    files = {shard.file: (folder / shard.file).open("wb") for shard in shards}
    for shard in shards:
        files[shard.file].write(shard.header)
        files[shard.file].truncate(shard.size)
    for number, (name, _, shape) in enumerate(tensors):
        values = np.random.default_rng(number).standard_normal(int(np.prod(shape)), np.float32) * np.float32(0.02)
        if change:
            rng = np.random.default_rng([change, number])
            values += rng.standard_normal(values.size, np.float32) * np.float32(0.002)
        files[spots[name].file].seek(spots[name].start)
        files[spots[name].file].write(encode(values, dtype).tobytes())
    for file in files.values():
        file.close()
    if len(shards) > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": width, "vocab_size": vocabulary,
        "intermediate_size": width * 11 // 4, "num_hidden_layers": layers, "num_attention_heads": width // 64,
        "num_key_value_heads": width // 256, "tie_word_embeddings": False, "dtype": "bfloat16",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))


def recipe(method: str, home: Path) -> dict[str, Any]:
    """A recipe of the method for the checkpoints in `home`."""
    said = PARAMETERS[method]
    names = ["a", "b"][: said.get("count", 2)]
    made: dict[str, Any] = {
        "merge_method": method,
        "dtype": "bfloat16",
        "models": [{"model": str(home / name), "parameters": said.get("each", {})} for name in names],
        "parameters": said.get("shared", {}),
    }
    if said.get("base", True):
        made["base_model"] = str(home / "base")
    if method == "slerp":
        made["models"].insert(0, {"model": str(home / "base")})
    return made


def measure(command: list[str], out: Path) -> tuple[float, float, float]:
    """(seconds, peak megabytes, CPU seconds) of a command that writes `out`, which is removed."""
    shutil.rmtree(out, ignore_errors=True)
    began = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert child.stderr is not None
    errors = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    took = time.monotonic() - began
    if status:
        raise SystemExit(f"{command}: {errors.decode()[-2000:]}")
    shutil.rmtree(out)
    return took, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime


def copying(home: Path, names: list[str], out: Path) -> float:
    """Seconds to read these folders' bytes and to write one folder's."""
    began = time.monotonic()
    for name in names:
        target = out.open("wb") if name == names[-1] else None
        for path in sorted((home / name).glob("*.safetensors")):
            with path.open("rb", buffering=0) as file:
                while data := file.read(1 << 22):
                    if target:
                        target.write(data)
        if target:
            target.close()
    took = time.monotonic() - began
    out.unlink()
    return took


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--mergekit", help="the mergekit-yaml program; without it only Palmette is measured")
    rows = [*PARAMETERS, "megabyte", "half"]
    parser.add_argument("--rows", nargs="+", default=rows, choices=rows)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=36)
    parser.add_argument("--vocabulary", type=int, default=32000)
    parser.add_argument("--keep", type=Path, help="where the checkpoints are made, and kept")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="palmette-merge-") as scratch:
        home = given.keep or Path(scratch)
        out = Path(scratch) / "out"
        ready(home, given.width, given.layers, given.vocabulary)
        heads = ("palmette", "mergekit", "faster (goal)", "memory", "CPU", "limit", "× limit (goal)")
        print("{:<17} {:>16} {:>16} {:>14} {:>7} {:>6} {:>7} {:>15}".format("method", *heads))
        for row in given.rows:
            if row == "megabyte":
                ready(home / row, 256, 1, 512)
                line("linear", Path(scratch), out, given, home / row, "a 1 MB model")
            elif row == "half":
                ready(home / row, given.width, given.layers // 2, given.vocabulary // 2)
                alone = argparse.Namespace(**{**vars(given), "mergekit": None})
                line("ties", Path(scratch), out, alone, home / row, "ties, half size")
            else:
                line(row, Path(scratch), out, given, home, row)


def ready(home: Path, width: int, layers: int, vocabulary: int) -> None:
    """Make base, a and b, unless they are there."""
    home.mkdir(parents=True, exist_ok=True)
    for change, name in enumerate(("base", "a", "b")):
        if not (home / name).exists():
            job = (home / name, width, layers, vocabulary, change)
            maker = multiprocessing.Process(target=make, args=job)  # a child's peak memory starts from its parent's
            maker.start()
            maker.join()


def line(method: str, scratch: Path, out: Path, given: argparse.Namespace, home: Path, label: str) -> None:
    """Measure one method with both programs, alternating."""
    ours, theirs, limits = [], [], []
    path = scratch / f"{method}.yml"
    path.write_text(yaml.safe_dump(recipe(method, home)))
    names = ["base", "a", "b"] if PARAMETERS[method].get("base", True) else ["a", "b"]
    names = names[: PARAMETERS[method].get("count", 2) + (1 if PARAMETERS[method].get("base", True) else 0)]
    for _ in range(given.runs):
        ours.append(measure([sys.executable, "-m", "palmette", "merge", str(path), str(out), "-q"], out))
        limits.append(copying(home, names, out))
        if given.mergekit:
            theirs.append(measure([given.mergekit, str(path), str(out), "--quiet"], out))
    took, peak, work = (statistics.median(column) for column in zip(*ours, strict=True))
    limit = statistics.median(limits)
    text = f"{label:<17} {took:>8.2f} s {peak:>3.0f} MB"
    if theirs:
        their, high, hard = (statistics.median(column) for column in zip(*theirs, strict=True))
        goal = f"({GOALS.get(method, 4):g})"
        text += (
            f" {their:>7.1f} s {high:>4.0f} MB {their / took:>8.1f}× {goal:<5}{high / peak:>6.1f}× {hard / work:>5.1f}×"
        )
    else:
        text += " " * 46
    allowed = f"({LIMITS[method]:g})" if method in LIMITS else ""
    print(f"{text} {limit:>6.2f}s {took / limit:>8.1f}× {allowed}", flush=True)


if __name__ == "__main__":
    main()
