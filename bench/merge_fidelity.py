"""Every merge method against mergekit, run as a program on the same small random models.

    python bench/merge_fidelity.py --mergekit /path/to/mergekit-yaml

Prints a line for each method and type: positions that differ, the largest difference in units in the last place of the
output's type, and the largest relative to the tensor's largest number. Random masks (DARE, DELLA) cannot be equal:
they run at density 1, where nothing is dropped. mergekit must live in an environment of its own.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from merge import make
from numpy.typing import NDArray

from palmette.core.checkpoint import open_checkpoint
from palmette.weights.merge import merge

SHARED = ("t", "select_topk")
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
    for i, name in enumerate(["a", "b"][:count]):
        own = {k: v[i] if isinstance(v, tuple) else v for k, v in case.items() if k not in SHARED}
        models.append({"model": str(home / name), "parameters": own})
    made: dict[str, Any] = {"merge_method": method, "dtype": dtype, "models": models, "parameters": shared}
    return {**made, "base_model": str(home / base)} if base else made


def units(found: NDArray[np.float32], wanted: NDArray[np.float32], dtype: str) -> NDArray[np.int64]:
    """Differences in units in the last place."""
    shift = 16 if dtype == "bfloat16" else 0
    places = []
    for values in (found, wanted):
        bits = values.reshape(-1).view(np.int32).astype(np.int64) >> shift
        places.append(np.where(bits < 0, -(bits & (0x7FFFFFFF >> shift)), bits))
    return np.abs(places[0] - places[1])


def compare(ours: Path, theirs: Path, dtype: str) -> str:
    """A line of numbers."""
    one, two = open_checkpoint(ours), open_checkpoint(theirs)
    if set(one) != set(two):
        return f"other tensors: {sorted(set(one) ^ set(two))[:4]}"
    differing, count, worst, relative = 0, 0, 0, 0.0
    for name in one:
        found, wanted = np.array(one[name], np.float32), np.array(two[name], np.float32)
        apart = units(found, wanted, dtype)
        differing, count, worst = differing + int((apart > 0).sum()), count + apart.size, max(worst, int(apart.max()))
        relative = max(relative, float(np.abs(found - wanted).max() / np.abs(wanted).max()))
    return f"{differing:>8} of {count}  {worst:>10} ulp  {relative:.1e}" if differing else "bit-exact"


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--mergekit", required=True, help="the mergekit-yaml program")
    parser.add_argument("--methods", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float32"], choices=["bfloat16", "float32"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="palmette-fidelity-") as scratch:
        home = Path(scratch)
        for change, name in enumerate(("base", "a", "b")):
            make(home / name, 256, 1, 300, change)
        for method in given.methods:
            for dtype in given.dtypes:
                said = recipe(method, home, dtype)
                path, out = home / "recipe.yml", home / f"{method}-{dtype}"
                path.write_text(yaml.safe_dump(said))
                command = [given.mergekit, str(path), str(out / "theirs"), "--quiet"]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    print(f"{method:<17} {dtype:<9} mergekit: {done.stderr.strip()[-150:]}", flush=True)
                    continue
                merge(path, compute="mergekit").save(out / "ours")
                print(f"{method:<17} {dtype:<9} {compare(out / 'ours', out / 'theirs', dtype)}", flush=True)


if __name__ == "__main__":
    main()
