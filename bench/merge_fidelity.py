"""Every merge method against mergekit, run as a program on the same small random models.

    python bench/merge_fidelity.py --mergekit /path/to/mergekit-yaml

Prints a line for each method and type: positions that differ, the largest difference in units in the last place of the
largest number at that position, the largest relative to the tensor's largest number, and, for methods that choose
positions (TIES, breadcrumbs, SCE), the largest where the choice is clear: where no magnitude is
at the threshold, since which of equals are kept is arbitrary. Random masks (DARE, DELLA) cannot be equal: they run at
density 1, where nothing is dropped. The models' changes have a cosine of about 0.8. mergekit runs on one thread,
since its sums depend on their number. It must live in an environment of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from merge import make
from numpy.typing import NDArray

from palmette.core.checkpoint import open_checkpoint
from palmette.weights.dtypes import decode, encode
from palmette.weights.make import task_arithmetic
from palmette.weights.merge import merge

SHARED = ("t", "select_topk")
CHOOSING = ("ties", "breadcrumbs", "breadcrumbs_ties", "sce")
Array = NDArray[np.float32]
WEIGHTS = (0.6, 0.3)
CASES: dict[str, dict[str, Any]] = {
    "linear": {"weight": WEIGHTS, "base": None},
    "slerp": {"t": 0.4, "count": 1},
    "nuslerp": {"weight": WEIGHTS},
    "multislerp": {"weight": WEIGHTS},
    "karcher": {"base": None},
    "task_arithmetic": {"weight": WEIGHTS},
    "ties": {"weight": WEIGHTS, "density": 0.5},
    "dare_linear": {"weight": WEIGHTS, "density": 1.0},
    "dare_ties": {"weight": WEIGHTS, "density": 1.0},
    "della": {"weight": WEIGHTS, "density": 1.0, "epsilon": 0.0},
    "della_linear": {"weight": WEIGHTS, "density": 1.0, "epsilon": 0.0},
    "breadcrumbs": {"weight": WEIGHTS, "density": 0.9, "gamma": 0.02},
    "breadcrumbs_ties": {"weight": WEIGHTS, "density": 0.9, "gamma": 0.02},
    "sce": {"select_topk": 0.5},
    "ram": {},
    "ramplus_tl": {},
    "model_stock": {},
    "nearswap": {"t": 0.001, "count": 1},
    "arcee_fusion": {"count": 1},
    "passthrough": {"base": None, "count": 1},
}


def recipe(method: str, home: Path, dtype: str) -> dict[str, Any]:
    """A recipe of the method for the checkpoints in `home`."""
    case = dict(CASES[method])
    count, base = case.pop("count", 2), case.pop("base", "base")
    shared = {key: value for key, value in case.items() if key in SHARED}
    models = []
    for i, name in enumerate(["a", "c"][:count]):
        own = {k: v[i] if isinstance(v, tuple) else v for k, v in case.items() if k not in SHARED}
        models.append({"model": str(home / name), "parameters": own})
    made: dict[str, Any] = {"merge_method": method, "dtype": dtype, "models": models, "parameters": shared}
    return {**made, "base_model": str(home / base)} if base else made


def rounding(values: Array, dtype: str) -> Array:
    """As stored in the type."""
    return np.asarray(decode(encode(values, dtype), dtype), np.float32)


def units(found: Array, wanted: Array, parents: list[Array], dtype: str) -> NDArray[np.float64]:
    """Differences in units in the last place of the largest of the numbers that meet at a position."""
    scale = np.max(np.abs([found, wanted, *parents]), axis=0)
    place = np.floor(np.log2(np.maximum(scale, 1e-30))) - (7 if dtype == "bfloat16" else 23)
    return np.asarray(np.abs(found.astype(np.float64) - wanted) / 2.0**place)


def tied(parents: list[Array], method: str, dtype: str) -> NDArray[np.bool_]:
    """Positions where a magnitude is the one at which a model is trimmed: which of them are kept is arbitrary."""
    base, count = parents[0], parents[0].size
    changes = [rounding(p - base, "BF16") if dtype == "bfloat16" else p - base for p in parents[1:]]
    if method == "sce":
        spread = np.var(np.array(changes, np.float64), axis=0).astype(np.float32)
        spread = rounding(spread, "BF16") if dtype == "bfloat16" else spread
        ranked, ranks = [spread], [int(0.5 * np.count_nonzero(spread))]
    else:
        top = int(0.02 * count) if "crumbs" in method else 0
        ranked, ranks = changes, [top, int(0.9 * count) + top] if top else [max(1, int(0.5 * count))]
    made = np.zeros(count, bool)
    for values in map(np.abs, ranked):
        order = np.sort(values)[::-1]
        for rank in ranks:
            made |= np.isin(values, order[max(0, rank - 1) : rank + 1])
    return made


def compare(home: Path, ours: Path, theirs: Path, method: str, dtype: str) -> str:
    """A line of numbers."""
    one, two, *parents = (open_checkpoint(f) for f in (ours, theirs, *(home / name for name in ("base", "a", "c"))))
    if set(one) != set(two):
        return f"other tensors: {sorted(set(one) ^ set(two))[:4]}"
    differing, count, worst, clear, relative, wide = 0, 0, 0.0, 0.0, 0.0, False
    for name in one:
        found, wanted, *given = (np.array(x[name], np.float32).reshape(-1) for x in (one, two, *parents))
        if dtype == "bfloat16" and two.tensors[name].dtype == "F32":
            wanted, wide = rounding(wanted, "BF16"), True
        apart = units(found, wanted, given, dtype)
        differing, count, worst = differing + int((apart > 0).sum()), count + apart.size, max(worst, float(apart.max()))
        relative = max(relative, float(np.abs(found - wanted).max() / np.abs(wanted).max()))
        if method in CHOOSING:
            arbitrary = tied(given, method, dtype)
            clear = max(clear, float(apart[~arbitrary].max(initial=0)))
    note = " (mergekit writes float32; compared after rounding)" if wide else ""
    if not differing:
        return "bit-exact" + note
    said = f"{differing:>8} of {count}  {worst:>8.1f} ulp  {relative:.1e}"
    return said + (f"  {clear:.1f} ulp where the choice is clear" if method in CHOOSING else "") + note


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--mergekit", required=True, help="the mergekit-yaml program")
    parser.add_argument("--methods", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float32"], choices=["bfloat16", "float32"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="palmette-fidelity-") as scratch:
        home = Path(scratch)
        for dtype in given.dtypes:
            (home / dtype).mkdir()
            for change, name in enumerate(("base", "a", "b")):
                make(home / dtype / name, 256, 1, 300, change, "BF16" if dtype == "bfloat16" else "F32")
            towards = [(str(home / dtype / name), {"weight": share}) for name, share in (("a", 0.8), ("b", 0.6))]
            merge(task_arithmetic(*towards, base=str(home / dtype / "base"))).save(home / dtype / "c")
        for method in given.methods:
            for dtype in given.dtypes:
                said = recipe(method, home / dtype, dtype)
                path, out = home / "recipe.yml", home / f"{method}-{dtype}"
                path.write_text(yaml.safe_dump(said))
                command = [given.mergekit, str(path), str(out / "theirs"), "--quiet"]
                done = subprocess.run(
                    command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
                )
                if done.returncode:
                    print(f"{method:<17} {dtype:<9} mergekit: {done.stderr.strip()[-150:]}", flush=True)
                    continue
                merge(path, compute="mergekit").save(out / "ours")
                print(
                    f"{method:<17} {dtype:<9} {compare(home / dtype, out / 'ours', out / 'theirs', method, dtype)}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
