"""Pictures of a landscape: a self-contained page, PNG and SVG, and files for other programs. Written atomically."""

from __future__ import annotations

import io
import json
import os
import struct
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import BadParameter, MissingExtra, OutputError
from palmette.weights.landscape.landscape import Landscape

__all__ = ["FORMATS", "write"]

SIZE = 81  # points an axis of a drawn surface
Grid = NDArray[np.float64]


def write(made: Landscape, path: Path, marks: Mapping[str, tuple[float, ...]] | None = None) -> None:
    """Write a picture or a file in the format that its name ends with.

    Args:
        made: the landscape.
        path: ends in .html, .png, .svg, .npz, .csv, .json, .vtk or .stl.
        marks: names of points to show, besides the origin and the minimum.

    Raises:
        BadParameter: for another ending, or a surface of a line.
        MissingExtra: without plotly (.html) or matplotlib (.png, .svg).
        OutputError: if it cannot be written.
    """
    if path.suffix not in FORMATS:
        raise BadParameter(f"{path.name!r} should end in one of {', '.join(FORMATS)}")
    if path.suffix in (".vtk", ".stl") and len(made.labels) != 2:
        raise BadParameter(f"a line is no surface: {path.suffix} needs two directions")
    shown = {"the model": (0.0,) * len(made.labels), "lowest": made.argmin()[0], **(marks or {})}
    data = FORMATS[path.suffix](made, shown)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error}") from error


def surface(made: Landscape, size: int = SIZE) -> tuple[Grid, Grid, Grid]:
    """The two axes' ticks and the loss at [first, second], float64[size, size]."""
    x, y = (np.linspace(a, b, size) for a, b in zip(made.surrogate.low, made.surrogate.high, strict=True))
    return x, y, made(*np.meshgrid(x, y, indexing="ij"))


def _html(made: Landscape, marks: Mapping[str, tuple[float, ...]]) -> bytes:
    try:
        import plotly.graph_objects as go
    except ImportError as error:
        raise MissingExtra("the page of a landscape", "landscape") from error
    figure = _line_figure(go, made, marks) if len(made.labels) == 1 else _surface_figure(go, made, marks)
    notes = "<br>".join(_wrapped(text) for text in [made.caption, *(f"⚠ {flag}" for flag in made.flags)])
    figure.update_layout(
        title={"text": made.facts.get("title", "Loss landscape"), "x": 0.02},
        margin={"l": 60, "r": 30, "t": 60, "b": 130},
        annotations=[{"text": notes, "x": 0, "y": -0.12, "xref": "paper", "yref": "paper", "showarrow": False,
                      "align": "left", "xanchor": "left", "yanchor": "top", "font": {"size": 12}}],
        legend={"orientation": "h", "y": 1.04},
    )  # fmt: skip
    html: str = figure.to_html(include_plotlyjs=True, full_html=True, config={"displaylogo": False, "responsive": True})
    return html.encode()


def _surface_figure(go: Any, made: Landscape, marks: Mapping[str, tuple[float, ...]]) -> Any:
    x, y, z = surface(made)
    plateau = float(np.log(made.facts["vocabulary"]))
    band = 2 * float(np.nanmedian([change.error for _, change in made.points.values()]))
    contours = {"z": {"show": True, "usecolormap": True, "project_z": True}}
    hover = f"{made.labels[0]} %{{x:.3f}}<br>{made.labels[1]} %{{y:.3f}}<br>loss %{{z:.4f}}<extra></extra>"
    parts = [
        go.Surface(x=x, y=y, z=np.minimum(z.T, plateau * 1.2), colorscale="Viridis", contours=contours,
                   colorbar={"title": "loss"}, hovertemplate=hover),
        go.Scatter3d(
            x=[at[0] for at in made.points], y=[at[1] for at in made.points],
            z=[loss.value for loss, _ in made.points.values()], mode="markers", name="measured",
            marker={"size": 2, "color": "black"}, visible="legendonly"),
        *(go.Scatter3d(x=[at[0]], y=[at[1]], z=[float(made(*at))], mode="markers+text", text=[name], name=name,
                       marker={"size": 5}) for name, at in marks.items()),
    ]  # fmt: skip
    figure = go.Figure(parts)
    scene = {"xaxis_title": made.labels[0], "yaxis_title": made.labels[1], "zaxis_title": "loss (nats a token)"}
    figure.update_layout(scene=scene, height=760)
    made.facts.setdefault("band", band)
    return figure


def _line_figure(go: Any, made: Landscape, marks: Mapping[str, tuple[float, ...]]) -> Any:
    x = np.linspace(made.surrogate.low[0], made.surrogate.high[0], 401)
    at = sorted(made.points)
    error = [1.96 * made.points[p][1].error for p in at]
    return go.Figure([
        go.Scatter(x=x, y=made(x), mode="lines", name="surrogate"),
        go.Scatter(x=[p[0] for p in at], y=[made.points[p][0].value for p in at], mode="markers", name="measured",
                   error_y={"type": "data", "array": error, "visible": True}),
        *(go.Scatter(x=[p[0]], y=[float(made(*p))], mode="markers+text", text=[name], textposition="top center",
                     name=name) for name, p in marks.items()),
    ]).update_layout(xaxis_title=made.labels[0], yaxis_title="loss (nats a token)", height=640)  # fmt: skip


def _wrapped(text: str, width: int = 130) -> str:
    """Plain text in lines, with nothing that a page would read as markup."""
    import html
    import textwrap

    return "<br>".join(html.escape(line) for line in textwrap.wrap(text, width))


def _drawn(kind: str) -> Callable[[Landscape, Mapping[str, tuple[float, ...]]], bytes]:
    """PNG or SVG by matplotlib."""

    def draw(made: Landscape, marks: Mapping[str, tuple[float, ...]]) -> bytes:
        try:
            import matplotlib as mpl
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingExtra(f"a landscape as .{kind}", "landscape") from error
        import textwrap

        with mpl.rc_context({"svg.hashsalt": "palmette", "svg.fonttype": "none"}):
            figure = Figure(figsize=(11, 6.2) if len(made.labels) == 2 else (8, 6), dpi=120)
            (_planes if len(made.labels) == 2 else _lines)(figure, made, marks)
            figure.suptitle(made.facts.get("title", "Loss landscape"))
            said = "\n".join(
                line
                for text in [made.caption, *(f"! {flag}" for flag in made.flags)]
                for line in textwrap.wrap(text, 130)
            )
            figure.text(0.02, 0.01, said, fontsize=7.5, va="bottom")
            figure.subplots_adjust(bottom=0.24, top=0.9, left=0.07, right=0.97, wspace=0.2)
            out = io.BytesIO()
            metadata = {"Date": None} if kind == "svg" else {"Software": None}
            figure.savefig(out, format=kind, metadata=metadata)
        return out.getvalue()

    return draw


def _planes(figure: Any, made: Landscape, marks: Mapping[str, tuple[float, ...]]) -> None:
    x, y, z = surface(made)
    solid = figure.add_subplot(1, 2, 1, projection="3d")
    solid.plot_surface(x[:, None], y[None, :], z, cmap="viridis", linewidth=0, antialiased=True, rcount=81, ccount=81)
    solid.set_xlabel(made.labels[0])
    solid.set_ylabel(made.labels[1])
    solid.set_zlabel("loss (nats a token)")
    flat = figure.add_subplot(1, 2, 2)
    rise = np.maximum(z - np.nanmin(z), 1e-6)
    levels = np.nanmin(z) + np.geomspace(
        max(float(np.nanmax(rise)) * 1e-3, 1e-4), max(float(np.nanmax(rise)), 1e-3), 14
    )
    shown = flat.contourf(x, y, z.T, levels=[np.nanmin(z), *levels], cmap="viridis", extend="max")
    figure.colorbar(shown, ax=flat, label="loss (nats a token)", format="%.3g")
    plateau = float(np.log(made.facts["vocabulary"]))
    if np.nanmin(z) < plateau < np.nanmax(z):
        flat.contour(x, y, z.T, levels=[plateau], colors="white", linestyles="--")
    band = 1.96 * float(np.nanmedian([c.error for _, c in made.points.values()]))
    if np.isfinite(band) and band > 0 and np.nanmax(z) > made.origin.value + band:
        flat.contour(x, y, z.T, levels=[made.origin.value + band], colors="red", linewidths=1)
    for name, at in marks.items():
        flat.plot(*at, "o", markersize=5, markeredgecolor="white")
        flat.annotate(name, at, textcoords="offset points", xytext=(6, 5), color="white", fontsize=8)
    flat.set_xlabel(made.labels[0])
    flat.set_ylabel(made.labels[1])
    flat.set_title("red: as good as the model, within error; dashed: ln V", fontsize=8)


def _lines(figure: Any, made: Landscape, marks: Mapping[str, tuple[float, ...]]) -> None:
    axis = figure.add_subplot(1, 1, 1)
    x = np.linspace(made.surrogate.low[0], made.surrogate.high[0], 401)
    axis.plot(x, made(x), label="surrogate")
    at = sorted(made.points)
    error = [1.96 * made.points[p][1].error for p in at]
    axis.errorbar([p[0] for p in at], [made.points[p][0].value for p in at], yerr=error, fmt="o", markersize=3,
                  label="measured, 95 % of the change")  # fmt: skip
    for name, p in marks.items():
        axis.annotate(name, (p[0], float(made(*p))), textcoords="offset points", xytext=(4, 8), fontsize=8)
    axis.set_xlabel(made.labels[0])
    axis.set_ylabel("loss (nats a token)")
    axis.legend()


def _table(made: Landscape) -> tuple[list[str], Grid]:
    names = [*(f"x{i + 1}" for i in range(len(made.labels))), "loss", "loss_error", "change", "change_error"]
    rows = [[*at, a.value, a.error, b.value, b.error] for at, (a, b) in sorted(made.points.items())]
    return names, np.array(rows, float)


def _npz(made: Landscape, marks: Mapping[str, tuple[float, ...]]) -> bytes:
    names, rows = _table(made)
    out = io.BytesIO()
    held: dict[str, Any] = {name: rows[:, i] for i, name in enumerate(names)}
    np.savez(out, **held, nodes=made.surrogate.values, low=made.surrogate.low, high=made.surrogate.high,
             caption=np.array(made.caption))  # fmt: skip
    return out.getvalue()


def _csv(made: Landscape, marks: Mapping[str, tuple[float, ...]]) -> bytes:
    names, rows = _table(made)
    return "\n".join([",".join(names), *(",".join(repr(float(v)) for v in row) for row in rows), ""]).encode()


def _json(made: Landscape, marks: Mapping[str, tuple[float, ...]]) -> bytes:
    names, rows = _table(made)
    said = {
        "caption": made.caption, "flags": made.flags, "facts": made.facts, "labels": made.labels, "radii": made.radii,
        "held_out": made.held_out, "marks": {k: list(v) for k, v in marks.items()}, "columns": names,
        "points": [[None if not np.isfinite(v) else v for v in row] for row in rows.tolist()],
    }  # fmt: skip
    return (json.dumps(said, indent=1, default=str) + "\n").encode()


def _vtk(made: Landscape, marks: Mapping[str, tuple[float, ...]]) -> bytes:
    """A structured grid in the legacy text format (VTK file formats, version 3.0)."""
    x, y, z = surface(made)
    lines = ["# vtk DataFile Version 3.0", "loss landscape", "ASCII", "DATASET STRUCTURED_GRID",
             f"DIMENSIONS {len(x)} {len(y)} 1", f"POINTS {z.size} double"]  # fmt: skip
    lines += [f"{a:.9g} {b:.9g} {z[i, j]:.9g}" for j, b in enumerate(y) for i, a in enumerate(x)]
    lines += [f"POINT_DATA {z.size}", "SCALARS loss double 1", "LOOKUP_TABLE default"]
    lines += [f"{v:.9g}" for v in z.T.reshape(-1)]
    return ("\n".join(lines) + "\n").encode()


def _stl(made: Landscape, marks: Mapping[str, tuple[float, ...]]) -> bytes:
    """A closed solid in the binary format, the box scaled to 100 × 100 × 50, for printing."""
    x, y, z = surface(made)
    height = np.nan_to_num(z, nan=float(np.nanmax(z)))
    reach = max(float(np.ptp(height)), 1e-12)
    top = np.stack(np.meshgrid(np.linspace(0, 100, len(x)), np.linspace(0, 100, len(y)), indexing="ij"), -1)
    points = np.concatenate([top, (5 + 45 * (height - height.min()) / reach)[..., None]], -1)
    floor = points * [1, 1, 0]
    faces: list[tuple[Any, Any, Any]] = []
    for upper, up in ((points, True), (floor, False)):
        corners = upper[:-1, :-1], upper[1:, :-1], upper[1:, 1:], upper[:-1, 1:]
        for a, b, c, d in zip(*(corner.reshape(-1, 3) for corner in corners), strict=True):
            faces += [(a, b, c), (a, c, d)] if up else [(a, c, b), (a, d, c)]
    edge = [(i, 0) for i in range(len(x))] + [(len(x) - 1, j) for j in range(1, len(y))]
    edge += [(i, len(y) - 1) for i in range(len(x) - 2, -1, -1)] + [(0, j) for j in range(len(y) - 2, 0, -1)]
    for one, two in zip(edge, [*edge[1:], edge[0]], strict=True):
        faces += [(floor[one], floor[two], points[two]), (floor[one], points[two], points[one])]
    out = [b"palmette loss landscape".ljust(80), struct.pack("<I", len(faces))]
    for face in faces:
        normal = np.cross(face[1] - face[0], face[2] - face[0])
        normal = normal / max(float(np.linalg.norm(normal)), 1e-12)
        out.append(struct.pack("<12fH", *normal, *face[0], *face[1], *face[2], 0))
    return b"".join(out)


FORMATS: dict[str, Callable[[Landscape, Mapping[str, tuple[float, ...]]], bytes]] = {
    ".html": _html,
    ".png": _drawn("png"),
    ".svg": _drawn("svg"),
    ".npz": _npz,
    ".csv": _csv,
    ".json": _json,
    ".vtk": _vtk,
    ".stl": _stl,
}
