"""What was measured as numbers: npz, CSV, JSON, parquet."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import MissingExtra
from palmette.weights.landscape.landscape import Landscape
from palmette.weights.landscape.profile import Layers, Profile

__all__ = ["as_json", "csv", "finite", "npz", "parquet"]

Rows = NDArray[np.float64]


def table(made: Landscape | Profile | Layers) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows: every measured point."""
    if isinstance(made, Landscape):
        names = [*(f"x{i + 1}" for i in range(len(made.labels))), "loss", "loss_error", "change", "change_error"]
        return names, [[*at, a.value, a.error, b.value, b.error] for at, (a, b) in sorted(made.points.items())]
    if isinstance(made, Profile):
        rows = [
            [i, float(x), float(x * made.radius[i]), float(made.losses[i, k]), float(made.errors[i, k])]
            for i in range(len(made.losses)) for k, x in enumerate(made.ticks)
        ]  # fmt: skip
        return ["direction", "x1", "relative_radius", "loss", "change_error"], rows
    return ["part", "relative_size", "change", "change_error", "noise", "noise_error"], [
        [name, size, a.value, a.error, b.value, b.error] for name, a, b, size in made.rows
    ]


def csv(made: Landscape | Profile | Layers) -> bytes:
    """Comma-separated; numbers in full precision."""
    names, rows = table(made)
    cells = [[f'"{v}"' if isinstance(v, str) else repr(v) for v in row] for row in rows]
    return "\n".join([",".join(names), *(",".join(row) for row in cells), ""]).encode()


def npz(made: Landscape) -> bytes:
    """Arrays, with what is needed to make the surrogate again; without a date, which numpy would put in."""
    names, rows = table(made)
    out = io.BytesIO()
    held: dict[str, Any] = {name: np.array([row[i] for row in rows]) for i, name in enumerate(names)}
    surrogate = made.surrogate
    held |= {"nodes": surrogate.points, "values": surrogate.values, "low": surrogate.low, "high": surrogate.high,
             "kind": surrogate.kind, "degree": surrogate.degree, "caption": made.caption}  # fmt: skip
    with zipfile.ZipFile(out, "w") as file:
        for name, value in held.items():
            array = io.BytesIO()
            np.lib.format.write_array(array, np.asarray(value), allow_pickle=False)
            file.writestr(zipfile.ZipInfo(f"{name}.npy"), array.getvalue())
    return out.getvalue()


def as_json(made: Landscape | Profile | Layers) -> bytes:
    """Everything that is said about it, and every point."""
    names, rows = table(made)
    said: dict[str, Any] = {"caption": made.caption, "facts": made.facts}
    if isinstance(made, Landscape):
        marks = {
            name: {"at": mark.at, "off_plane": mark.off, "loss": None if mark.loss is None else mark.loss.value}
            for name, mark in made.marks.items()
        }
        said |= {
            "flags": made.flags,
            "labels": made.labels,
            "radii": made.radii,
            "held_out": made.held_out,
            "within": made.within,
            "marks": marks,
        }
    return (json.dumps(finite(said | {"columns": names, "points": rows}), indent=1, default=str) + "\n").encode()


def finite(value: Any) -> Any:
    """The same as JSON can say it: null for what is not finite.

    >>> finite({"a": [1.0, float("inf")]})
    {'a': [1.0, None]}
    """
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    return [finite(one) for one in value] if isinstance(value, (list, tuple)) else value


def parquet(made: Landscape | Profile | Layers) -> bytes:
    """Apache Parquet, the caption in its metadata."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtra("a landscape as .parquet", "parquet") from error
    names, rows = table(made)
    held = pa.table({name: [row[i] for row in rows] for i, name in enumerate(names)})
    out = io.BytesIO()
    pq.write_table(held.replace_schema_metadata({"caption": made.caption}), out)
    return out.getvalue()
