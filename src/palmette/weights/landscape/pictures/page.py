"""Self-contained pages by plotly: a surface to turn beside its contours; lines; profiles; layers."""

from __future__ import annotations

import html
from typing import Any

import numpy as np

from palmette.core.errors import MissingExtra
from palmette.weights.landscape.landscape import Landscape, Mark
from palmette.weights.landscape.pictures.common import Drawn, drawn, heights, notes, reasonable, sides
from palmette.weights.landscape.pictures.labels import Label, placed, ranked
from palmette.weights.landscape.profile import Layers, Profile

__all__ = ["layers_page", "page", "profile_page"]

FEW = 5  # marks whose names are written into the surface, too
_DASHES = ("solid", "dash", "dot", "dashdot")
_UP, _RIGHT = {1: "top", 0: "middle", -1: "bottom"}, {1: "right", 0: "center", -1: "left"}
_MAP, _LETTER, _HIGH = (420.0, 560.0), 6.6, 14.0  # pixels of the map, of a letter and of a line of text, about
_RED, _INK = "#d62728", "#222222"


def page(made: Landscape) -> bytes:
    """A landscape as a page."""
    go = _plotly()
    figure = _line(go, made) if len(made.labels) == 1 else _surface(go, made)
    return _whole(figure, str(made.facts.get("title", "Loss landscape")), made.caption, made.flags)


def _plotly() -> Any:
    try:
        import plotly.graph_objects as go
    except ImportError as error:
        raise MissingExtra("the page of a landscape", "landscape") from error
    return go


def _whole(figure: Any, title: str, caption: str, flags: list[str]) -> bytes:
    lines = [html.escape(line) for line in notes(caption, flags, 150, "⚠")]
    below = 60 + 18 * len(lines)
    figure.update_layout(
        title={"text": html.escape(title), "x": 0.02},
        margin={"l": 60, "r": 40, "t": 70, "b": below},
        height=640 + below,
        template="plotly_white",
        annotations=[*figure.layout.annotations,
                     {"text": "<br>".join(lines), "x": 0, "y": 0, "xref": "paper", "yref": "paper", "yshift": -50,
                      "showarrow": False, "align": "left", "xanchor": "left", "yanchor": "top", "font": {"size": 12}}],
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0.02, "bgcolor": "rgba(110,120,140,0.25)"},
    )  # fmt: skip
    text: str = figure.to_html(include_plotlyjs=True, full_html=True, div_id="landscape",  # the same bytes every time
                               config={"displaylogo": False, "responsive": True})  # fmt: skip
    return text.replace(
        "<head>", f"<head><title>{html.escape(title)}</title><style>body{{margin:0}}</style>", 1
    ).encode()


def _surface(go: Any, made: Landscape) -> Any:
    surface = drawn(made)
    one, two = (html.escape(label) for label in made.labels)
    unit = html.escape(made.unit)
    hover = f"{one} %{{x:.3f}}<br>{two} %{{y:.3f}}<br>{unit} %{{customdata:.4f}}<extra></extra>"
    bar = {"title": {"text": unit, "side": "right"}, "tickvals": [c for c, _ in surface.ticks],
           "ticktext": [f"{v:.4g}" for _, v in surface.ticks], "len": 0.9, "thickness": 14}  # fmt: skip
    common = {
        "x": surface.x,
        "y": surface.y,
        "customdata": surface.z.T,
        "hovertemplate": hover,
        "colorscale": "Viridis",
    }
    parts = [
        go.Surface(**common, z=surface.shown.T, surfacecolor=surface.colour.T, showscale=False, scene="scene"),
        go.Heatmap(**common, z=surface.colour.T, zsmooth="best", colorbar=bar),
        *_contours(go, made, surface),
        *_points(go, made),
    ]
    figure = go.Figure(parts)
    figure.update_layout(
        scene={"domain": {"x": [0, 0.52], "y": [0, 1]}, "xaxis_title": one, "yaxis_title": two, "zaxis_title": unit,
               "aspectmode": "manual", "aspectratio": {"x": 1, "y": 1, "z": 0.8},
               "camera": {"eye": {"x": 1.75, "y": -1.75, "z": 1.1}, "center": {"x": 0, "y": 0, "z": -0.12}}},
        xaxis={"domain": [0.58, 1], "title": one, "range": [surface.x[0], surface.x[-1]], "zeroline": False},
        yaxis={"domain": [0.02, 0.96], "title": two, "range": [surface.y[0], surface.y[-1]], "zeroline": False},
    )  # fmt: skip
    return figure


def _contours(go: Any, made: Landscape, surface: Drawn) -> list[Any]:
    """Thin lines by the logarithm of the rise; the bounds that mean something; each text's own contours."""
    levels = heights(surface)[1:-1]
    parts = [
        _lines(go, _at(made.surrogate, levels), "contours", "rgba(255,255,255,0.55)", 0.8, "solid", False),
        _labels(go, made.surrogate, levels[1::2]),
    ]
    parts.append(_lines(go, made.as_good(), "as good as the model (within 2 standard errors)", _RED, 2.5, "solid"))
    if made.plateau is not None:
        parts.append(_lines(go, made.contour(made.plateau), "the loss of guessing, ln V", "white", 2, "dash"))
    for i, name in enumerate(made.tasks):
        own = made.task(name)
        low = own.argmin()[1]
        reach = float(np.nanmax(own.sheet(201)[2])) - low
        levels = [low + reach * share for share in (0.02, 0.1, 0.3)]
        parts.append(_lines(go, _at(own, levels), f"{name} alone", "black", 1.5, _DASHES[(i + 1) % len(_DASHES)]))
    return [part for part in parts if part is not None]


def _at(surrogate: Any, levels: list[float]) -> list[Any]:
    return [line for level in levels for line in surrogate.contour(level)]


def _lines(go: Any, pieces: list[Any], name: str, colour: str, width: float, dash: str, legend: bool = True) -> Any:
    """Contours as one line with gaps, or nothing."""
    if not pieces:
        return None
    gap = np.full((1, 2), np.nan)
    joined = np.concatenate([part for piece in pieces for part in (piece, gap)])
    return go.Scatter(x=joined[:, 0], y=joined[:, 1], mode="lines", name=html.escape(name), showlegend=legend,
                      line={"color": colour, "width": width, "dash": dash}, hoverinfo="skip")  # fmt: skip


def _labels(go: Any, surrogate: Any, levels: list[float]) -> Any:
    """The value of contours, written at the point of each that is farthest to the lower right."""
    spots = []
    edge = 0.04 * np.subtract(surrogate.high, surrogate.low)
    for level in levels:
        lines = [line[((line > surrogate.low + edge) & (line < surrogate.high - edge)).all(axis=1)]
                 for line in surrogate.contour(level)]  # fmt: skip
        longest = max(lines, key=len, default=np.empty((0, 2)))
        if len(longest):
            spots.append((*longest[int(np.argmax(longest @ [1.0, -1.0]))], f"{level:.4g}"))
    return go.Scatter(x=[x for x, _, _ in spots], y=[y for _, y, _ in spots], text=[text for _, _, text in spots],
                      mode="text", textfont={"color": "rgba(255,255,255,0.9)", "size": 10}, showlegend=False,
                      hoverinfo="skip", cliponaxis=True)  # fmt: skip


def _points(go: Any, made: Landscape) -> list[Any]:
    """Marks on both halves, the path of a trajectory, and where was measured."""
    marks = reasonable(made)
    top = drawn(made).top

    def height(at: tuple[float, ...]) -> float:
        return float(made(*at)) if top is None else min(float(made(*at)), top)

    inside = {
        name: mark for name, mark in marks.items()
        if all(a <= v <= b for v, a, b in zip(mark.at, made.surrogate.low, made.surrogate.high, strict=True))
    }  # fmt: skip
    texts = [html.escape(mark.said(name)) for name, mark in inside.items()]
    beside = _beside(made, inside)
    hover = [
        f"{text}<br>loss {mark.loss.value:.4f} ± {mark.loss.error:.2g}" if mark.loss else text
        for text, mark in zip(texts, inside.values(), strict=True)
    ]
    at = [mark.at for mark in inside.values()]
    signs = ["circle" if mark.off < 5e-4 else "diamond-open" for mark in inside.values()]
    look = {"mode": "markers+text", "hovertext": hover, "hoverinfo": "text", "name": "marks"}
    parts = [
        go.Scatter3d(x=[p[0] for p in at], y=[p[1] for p in at], z=[height(p) for p in at],
                     **look | {"text": texts} | ({} if len(at) <= FEW else {"mode": "markers"}), showlegend=False,
                     marker={"size": 5, "color": _RED}, textfont={"color": _INK}),
        go.Scatter(x=[p[0] for p in at], y=[p[1] for p in at], **look, showlegend=False,
                   text=[text if name in beside else "" for name, text in zip(inside, texts, strict=True)],
                   textposition=[beside.get(name, "top right") for name in inside],
                   marker={"size": 9, "color": _RED, "symbol": signs, "line": {"color": "white", "width": 1.5}},
                   textfont={"color": "white", "size": 12}),
        go.Scatter(x=[p[0] for p in made.points], y=[p[1] for p in made.points], mode="markers", name="measured",
                   marker={"size": 4, "color": "white", "opacity": 0.6}, visible="legendonly"),
    ]  # fmt: skip
    if made.facts.get("trajectory"):
        path = [mark.at for name, mark in inside.items() if name in made.others]
        parts.insert(0, go.Scatter(x=[p[0] for p in path], y=[p[1] for p in path], mode="lines+markers",
                                   name="trajectory", line={"color": "white", "width": 2}))  # fmt: skip
        parts.insert(0, go.Scatter3d(x=[p[0] for p in path], y=[p[1] for p in path], z=[height(p) for p in path],
                                     mode="lines", line={"color": _RED, "width": 4}, showlegend=False))  # fmt: skip
    return parts


def _beside(made: Landscape, inside: dict[str, Mark]) -> dict[str, str]:
    """On which side each name is written; steps of a trajectory between the first and the last only where they fit.

    A page has no size of its own: this is for one of about 1,100 pixels.
    """
    low, high = made.surrogate.low, made.surrogate.high
    steps = [name for name in inside if name in made.others] if made.facts.get("trajectory") else []
    between, (width, height) = steps[1:-1], _MAP
    way = sides(inside, low[0], high[0])
    labels = {
        name: Label(
            ((mark.at[0] - low[0]) / (high[0] - low[0]) * width, (mark.at[1] - low[1]) / (high[1] - low[1]) * height),
            (_LETTER * len(mark.said(name)), _HIGH), way[name], name not in between,
        )
        for name, mark in inside.items()
    }  # fmt: skip
    found = {}
    for name, (corner, far) in placed(ranked(labels, between), (0, 0, width, height), 6.0).items():
        wide, tall = labels[name].size
        right = way[name][0] if far else (corner[0] > 0) - (corner[0] <= -wide)
        up = way[name][1] if far else (corner[1] > 0) - (corner[1] <= -tall)
        found[name] = f"{_UP[up]} {_RIGHT[right]}"
    return found


def _line(go: Any, made: Landscape) -> Any:
    x = np.linspace(made.surrogate.low[0], made.surrogate.high[0], 401)
    at = sorted(p for p in made.points if made.surrogate.low[0] <= p[0] <= made.surrogate.high[0])
    error = [2 * made.points[p][1].error for p in at]
    figure = go.Figure([
        go.Scatter(x=x, y=made(x), mode="lines", name="surrogate", line={"color": "#31688e", "width": 2.5}),
        *(go.Scatter(x=x, y=made.task(name)(x), mode="lines", name=f"{html.escape(name)} alone",
                     line={"color": _INK, "dash": _DASHES[(i + 1) % 4]}) for i, name in enumerate(made.tasks)),
        go.Scatter(x=[p[0] for p in at], y=[made.points[p][0].value for p in at], mode="markers",
                   name="measured, 2 standard errors of the change", marker={"size": 5, "color": _INK},
                   error_y={"type": "data", "array": error, "visible": True, "thickness": 1}),
        *(go.Scatter(x=[m.at[0]], y=[float(made(*m.at))], mode="markers+text", text=[html.escape(m.said(name))],
                     textposition="bottom center" if name == "lowest" else "top center", showlegend=False,
                     marker={"size": 9, "color": _RED})
          for name, m in reasonable(made).items() if made.surrogate.low[0] <= m.at[0] <= made.surrogate.high[0]),
    ])  # fmt: skip
    if made.plateau is not None and np.nanmax(made(x)) > 0.8 * made.plateau:
        figure.add_hline(y=made.plateau, line_dash="dash", annotation_text="the loss of guessing, ln V")
    return figure.update_layout(xaxis_title=html.escape(made.labels[0]), yaxis_title=html.escape(made.unit))


def profile_page(made: Profile) -> bytes:
    """Several directions as a page: each thin, their mean with one standard deviation."""
    go = _plotly()
    x, curves = made.curves()
    x = x * float(made.radius.mean())
    mean, sd = curves.mean(axis=0), curves.std(axis=0, ddof=1) if len(curves) > 1 else np.zeros(len(x))
    figure = go.Figure([
        go.Scatter(x=[*x, *x[::-1]], y=[*(mean + sd), *(mean - sd)[::-1]], fill="toself", mode="lines",
                   line={"width": 0}, fillcolor="rgba(49,104,142,0.2)", name="± 1 standard deviation"),
        *(go.Scatter(x=x, y=curve, mode="lines", line={"width": 0.8, "color": "#888888"}, showlegend=not i,
                     name="a direction") for i, curve in enumerate(curves)),
        go.Scatter(x=x, y=mean, mode="lines", line={"width": 3, "color": "#31688e"}, name="mean"),
    ])  # fmt: skip
    figure.update_layout(xaxis_title="relative radius ‖Δθ‖ / ‖θ‖", yaxis_title=str(made.facts["unit"]))
    return _whole(figure, str(made.facts.get("title", "Basin")), made.caption, made.flags)


def layers_page(made: Layers) -> bytes:
    """What each part takes, as a page of bars."""
    go = _plotly()
    names = [html.escape(row[0].rstrip(".")) for row in made.rows]
    bars = [
        go.Bar(y=names, x=[one.value for one in values], name=name, orientation="h", marker_color=colour,
               error_x={"type": "data", "array": [2 * one.error for one in values]})
        for values, name, colour in (([a for _, a, _, _ in made.rows], "the change itself", "#31688e"),
                                     ([b for _, _, b, _ in made.rows], "random noise of the same size", "#c0c0c0"))
    ]  # fmt: skip
    figure = go.Figure(bars)
    figure.update_layout(
        yaxis={"autorange": "reversed"}, xaxis_title=f"rise of the {made.facts['unit']}", barmode="group"
    )
    return _whole(figure, str(made.facts.get("title", "Layers")), made.caption, made.flags)
