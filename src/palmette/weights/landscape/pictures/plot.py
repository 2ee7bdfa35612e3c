"""PNG and SVG by matplotlib, the same bytes for the same landscape."""

from __future__ import annotations

import io
import textwrap
from typing import Any

import numpy as np

from palmette.core.errors import MissingExtra
from palmette.weights.landscape.landscape import Landscape
from palmette.weights.landscape.pictures.common import Drawn, drawn, heights, notes, plain, reasonable
from palmette.weights.landscape.pictures.marks import draw_marks
from palmette.weights.landscape.profile import Layers, Profile

__all__ = ["LOOK", "figure_of", "plot", "saved"]

LOOK = (28.0, -55.0)  # from where the surface is looked at: elevation, azimuth in degrees
_STYLES = {"--": "dashed", ":": "dotted", "-.": "dashed and dotted"}


def plot(made: Landscape | Profile | Layers, kind: str) -> bytes:
    """PNG or SVG."""
    return saved(figure_of(made), kind)


def figure_of(made: Landscape | Profile | Layers, marks: bool = True) -> Any:
    """The figure.

    Args:
        made: what was measured.
        marks: whether those of a plane are drawn, and the path of a trajectory; its map is the second of the axes.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("a landscape as a picture", "landscape") from error
    if isinstance(made, Landscape):
        wide = len(made.labels) == 2
        figure = Figure(figsize=(12, 6.4) if wide else (8.5, 6.2), dpi=110)
        if wide:
            _planes(figure, made)
        else:
            _lines(figure, made)
    else:
        tall = 6.2 if isinstance(made, Profile) else 2.6 + 0.42 * len(made.rows)
        figure = Figure(figsize=(8.5, max(tall, 5)), dpi=110)
        if isinstance(made, Profile):
            _profile(figure, made)
        else:
            _layers(figure, made)
    figure.suptitle(plain(str(made.facts.get("title", "Loss landscape"))), fontsize=12)
    lines = notes(made.caption, made.flags, int(figure.get_figwidth() * 14.5), "!")
    figure.text(0.015, 0.012, plain("\n".join(lines)), fontsize=7.5, va="bottom")
    height = figure.get_figheight()
    left = 0.06 if figure.get_figwidth() > 10 else 0.11
    if isinstance(made, Layers):
        left = 0.04 + 0.0095 * max(len(row[0]) for row in made.rows)
    figure.subplots_adjust(bottom=(0.62 + 0.135 * len(lines)) / height, top=1 - 0.75 / height, left=min(left, 0.5),
                           right=0.95, wspace=0.3)  # fmt: skip
    if marks and isinstance(made, Landscape) and len(made.labels) == 2:
        draw_marks(figure.axes[1], made)
    return figure


def saved(figure: Any, kind: str, dpi: int | None = None) -> bytes:
    """The bytes of a picture, without a date."""
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "palmette", "svg.fonttype": "none"}):
        out = io.BytesIO()
        figure.savefig(
            out, format=kind, dpi=dpi or "figure", metadata={"Date": None} if kind == "svg" else {"Software": None}
        )
    return out.getvalue()


def _planes(figure: Any, made: Landscape) -> None:
    surface = drawn(made)
    solid, flat = figure.add_subplot(1, 2, 1, projection="3d"), figure.add_subplot(1, 2, 2)
    low, high = surface.ticks[0][0], surface.ticks[-1][0]
    import matplotlib as mpl

    tint = mpl.colormaps["viridis"]((surface.colour - low) / max(high - low, 1e-12))
    x, y = np.meshgrid(surface.x, surface.y, indexing="ij")
    solid.plot_surface(
        x, y, surface.shown, facecolors=tint, linewidth=0, antialiased=False, rcount=81, ccount=81, shade=False
    )
    solid.set(xlabel=plain(made.labels[0]), ylabel=plain(made.labels[1]), zlabel=plain(made.unit))
    solid.locator_params(nbins=5)
    solid.view_init(*LOOK)
    _map(figure, flat, made, surface)


def _map(figure: Any, flat: Any, made: Landscape, surface: Drawn) -> None:
    shown = flat.pcolormesh(surface.x, surface.y, surface.colour.T, cmap="viridis", shading="gouraud", rasterized=True)
    bar = figure.colorbar(shown, ax=flat, ticks=[c for c, _ in surface.ticks])
    bar.ax.set_yticklabels([f"{v:.4g}" for _, v in surface.ticks], fontsize=8)
    bar.set_label(plain(made.unit), fontsize=8)
    levels = heights(surface)[1:-1]
    lines = flat.contour(surface.x, surface.y, surface.z.T, levels=levels, colors="white", linewidths=0.5, alpha=0.6)
    flat.clabel(lines, levels=levels[1::2], fmt="%.4g", fontsize=6.5, colors="white")
    said = []
    border = made.as_good()
    if border:
        for line in border:
            flat.plot(*line.T, color="red", linewidth=1.4)
        said.append("red: as good as the model (within 2 standard errors)")
    if made.plateau is not None and _crossed(surface, made.plateau):
        flat.contour(surface.x, surface.y, surface.z.T, levels=[made.plateau], colors="white", linestyles="--")
        said.append("white dashes: ln V, guessing")
    for i, name in enumerate(made.tasks):
        own = made.task(name).sheet(len(surface.x))[2]
        least = float(np.nanmin(own))
        levels = [least + share * (float(np.nanmax(own)) - least) for share in (0.02, 0.1, 0.3)]
        style = list(_STYLES)[i % len(_STYLES)]
        flat.contour(surface.x, surface.y, own.T, levels=levels, colors="black", linewidths=1, linestyles=style)
        said.append(f"black, {_STYLES[style]}: {name} alone")
    if surface.top is not None:
        said.append(f"drawn up to {surface.top:.3g}")
    if any(mark.off >= 5e-4 for mark in made.marks.values()):
        said.append("hollow: off the plane by so much of ‖θ‖")
    flat.set(
        xlabel=plain(made.labels[0]), ylabel=plain(made.labels[1]), xlim=surface.x[[0, -1]], ylim=surface.y[[0, -1]]
    )
    flat.locator_params(axis="x", nbins=6)
    flat.set_title(plain("\n".join(textwrap.wrap("; ".join(said), 95))), fontsize=7)


def _crossed(surface: Drawn, level: float) -> bool:
    return bool(np.nanmin(surface.z) < level < np.nanmax(surface.z))


def _lines(figure: Any, made: Landscape) -> None:
    axis = figure.add_subplot(1, 1, 1)
    low, high = made.surrogate.low[0], made.surrogate.high[0]
    x = np.linspace(low, high, 401)
    axis.plot(x, made(x), label="surrogate", color="#31688e", linewidth=2)
    for i, name in enumerate(made.tasks):
        axis.plot(
            x, made.task(name)(x), list(_STYLES)[i % len(_STYLES)], color="black", label=f"{name} alone", linewidth=1
        )
    at = sorted(p for p in made.points if low <= p[0] <= high)
    error = [2 * made.points[p][1].error for p in at]
    axis.errorbar([p[0] for p in at], [made.points[p][0].value for p in at], yerr=error, fmt="o", markersize=3,
                  color="#222222", linewidth=1, label="measured, 2 standard errors of the change")  # fmt: skip
    for name, mark in reasonable(made).items():
        if low <= mark.at[0] <= high:
            axis.plot(mark.at[0], float(made(*mark.at)), "o", color="red", markersize=6)
            axis.annotate(mark.said(name), (mark.at[0], float(made(*mark.at))), textcoords="offset points",
                          xytext=(0, -14 if name == "lowest" else 10), fontsize=8, ha="center")  # fmt: skip
    if made.plateau is not None and np.nanmax(made(x)) > 0.8 * made.plateau:
        axis.axhline(made.plateau, linestyle="--", color="#888888", linewidth=1, label="the loss of guessing, ln V")
    axis.set(xlabel=made.labels[0], ylabel=made.unit)
    axis.legend(fontsize=8)


def _profile(figure: Any, made: Profile) -> None:
    axis = figure.add_subplot(1, 1, 1)
    x, curves = made.curves()
    x = x * float(made.radius.mean())
    mean, sd = curves.mean(axis=0), curves.std(axis=0, ddof=1) if len(curves) > 1 else np.zeros(len(x))
    axis.fill_between(x, mean - sd, mean + sd, color="#31688e", alpha=0.2, linewidth=0, label="± 1 standard deviation")
    for i, curve in enumerate(curves):
        axis.plot(x, curve, color="#888888", linewidth=0.7, label="" if i else "a direction")
    axis.plot(x, mean, color="#31688e", linewidth=2.4, label="mean")
    axis.set(xlabel="relative radius ‖Δθ‖ / ‖θ‖", ylabel=str(made.facts["unit"]))
    axis.legend(fontsize=8)


def _layers(figure: Any, made: Layers) -> None:
    axis = figure.add_subplot(1, 1, 1)
    place = np.arange(len(made.rows))
    for values, name, colour, shift in (
        ([a for _, a, _, _ in made.rows], "the change itself", "#31688e", -0.2),
        ([b for _, _, b, _ in made.rows], "random noise of the same size", "#c0c0c0", 0.2),
    ):
        axis.barh(place + shift, [one.value for one in values], 0.38, color=colour, label=name,
                  xerr=[2 * one.error for one in values], error_kw={"linewidth": 1})  # fmt: skip
    axis.set_yticks(place, [row[0].rstrip(".") for row in made.rows], fontsize=7)
    axis.invert_yaxis()
    axis.axvline(0, color="#222222", linewidth=0.8)
    axis.set_xlabel(f"rise of the {made.facts['unit']}")
    axis.legend(fontsize=8)
