"""PNG pictures: our own SVG, painted by matplotlib, which brings its fonts along. Extra `plot`.

Only the few SVG elements that this package writes are understood; anything else is an error, never left out.
"""

from __future__ import annotations

import importlib.util
import io
import math
import re
import warnings
import xml.etree.ElementTree as ET
from typing import Any

from palmette.core.errors import MissingExtra, PalmetteError
from palmette.tokens.trace.layout import Limits
from palmette.tokens.trace.palette import shade
from palmette.tokens.trace.strands import Color
from palmette.tokens.trace.svg import to_svg
from palmette.tokens.trace.values import Trace

__all__ = ["check_png", "svg_to_png", "to_png"]

DPI = 100.0
LARGEST = 30_000.0  # pixels a side; the renderer ends at 65,536
NUMBERS = re.compile(r"-?\d*\.?\d+")
STEPS = re.compile(r"([MmHhVvLlQqZz])([^MmHhVvLlQqZz]*)")


def check_png() -> None:
    """Raise MissingExtra where matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtra("writing PNG", "plot")


def to_png(trace: Trace, color: Color = "probability", limits: Limits | None = None, scale: float = 2.0) -> bytes:
    """Draw a trace as PNG: the picture of `to_svg`, `scale` pixels for each of its units.

    Characters of which matplotlib knows no font are drawn as empty boxes.
    """
    return svg_to_png(to_svg(trace, color, limits), scale)


def svg_to_png(svg: str, scale: float = 2.0) -> bytes:
    """Paint one of this package's SVG pictures; very large ones are scaled down to 30,000 pixels a side."""
    check_png()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    root = ET.fromstring(svg)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    scale = min(scale, LARGEST / max(width, height))
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI * scale)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.axis("off")
    Painter(axes).paint(root, 0.0, 0.0)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="png", dpi=DPI * scale, metadata={"Software": None})
    return buffer.getvalue()


class Painter:
    """Puts SVG elements on matplotlib axes whose unit is one SVG unit; later elements lie on top."""

    def __init__(self, axes: Any) -> None:
        self.axes = axes
        self.order = 0

    def paint(self, element: ET.Element, x: float, y: float) -> None:
        """Paint an element and its children, moved by (x, y)."""
        kind = element.tag.rpartition("}")[2]
        if kind in ("svg", "g"):
            moved = NUMBERS.findall(element.attrib.get("transform", ""))
            dx, dy = (float(moved[0]), float(moved[1])) if moved else (0.0, 0.0)
            for child in element:
                self.paint(child, x + dx, y + dy)
        elif kind == "rect":
            self.rect(element.attrib, x, y)
        elif kind == "path":
            self.path(element.attrib, x, y)
        elif kind == "text":
            self.text(element, x, y)
        elif kind not in ("title", "defs", "linearGradient"):
            raise PalmetteError(f"the PNG painter does not know the SVG element {kind!r}")

    def rect(self, a: dict[str, str], x: float, y: float) -> None:
        """A rectangle: plain, rounded, hatched, or the colour scale."""
        from matplotlib.patches import FancyBboxPatch

        left, top = x + float(a.get("x", 0)), y + float(a.get("y", 0))
        width, height, fill = float(a["width"]), float(a["height"]), a["fill"]
        if fill == "url(#palmette-scale)":
            piece = width / 128
            for i in range(128):
                self.box(left + i * piece, top, piece + 0.5, height, shade(i / 127))
            return
        if fill == "url(#palmette-hatch)":
            self.hatch(left, top, width, height)
            return
        patch = FancyBboxPatch(
            (left, top),
            width,
            height,
            boxstyle=f"round,pad=0,rounding_size={a.get('rx', '0')}" if float(a.get("rx", 0)) else "square,pad=0",
            facecolor=fill,
            **_stroke(a),
        )
        self.add(patch)

    def box(self, x: float, y: float, width: float, height: float, fill: str) -> None:
        """A plain filled rectangle."""
        from matplotlib.patches import Rectangle

        self.add(Rectangle((x, y), width, height, facecolor=fill, linewidth=0))

    def hatch(self, x: float, y: float, width: float, height: float) -> None:
        """Slanting lines inside a rectangle, 6 units apart as in the SVG's pattern."""
        from matplotlib.collections import LineCollection

        lines, step = [], 6 * math.sqrt(2)
        offset = -height
        while offset < width:
            start, end = max(offset, 0.0), min(offset + height, width)
            lines.append([(x + start, y + start - offset), (x + end, y + end - offset)])
            offset += step
        drawn = LineCollection(lines, colors="#000000", alpha=0.22, linewidths=1.6 * 72 / DPI, zorder=self.next())
        self.axes.add_collection(drawn, autolim=False)

    def path(self, a: dict[str, str], x: float, y: float) -> None:
        """A path of straight lines and quadratic curves."""
        from matplotlib.patches import PathPatch

        self.add(PathPatch(_outline(a["d"], x, y), facecolor=a.get("fill", "none"), capstyle="butt", **_stroke(a)))

    def text(self, element: ET.Element, x: float, y: float) -> None:
        """One line of text on its base line; where a width is given it is kept to by shrinking."""
        a = element.attrib
        size = float(a["font-size"])
        drawn = self.axes.text(
            x + float(a["x"]),
            y + float(a["y"]),
            element.text or "",
            fontsize=size * 72 / DPI,
            family="DejaVu Sans Mono",
            color=a.get("fill", "#000"),
            fontweight=a.get("font-weight", "normal"),
            ha={"middle": "center", "end": "right"}.get(a.get("text-anchor", ""), "left"),
            va="baseline",
            parse_math=False,
            zorder=self.next(),
        )
        if "textLength" in a:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Glyph .* missing from font")
                extent = drawn.get_window_extent().width * DPI / self.axes.figure.dpi
            if extent > float(a["textLength"]):
                drawn.set_fontsize(size * 72 / DPI * float(a["textLength"]) / extent)

    def add(self, patch: Any) -> None:
        """Put a patch on top of what is there."""
        patch.set_zorder(self.next())
        self.axes.add_patch(patch)

    def next(self) -> int:
        """The next layer."""
        self.order += 1
        return self.order


def _stroke(a: dict[str, str]) -> dict[str, Any]:
    if a.get("stroke", "none") == "none":
        return {"linewidth": 0}
    dash = [float(n) for n in NUMBERS.findall(a.get("stroke-dasharray", ""))]
    width = float(a.get("stroke-width", 1)) * 72 / DPI
    style: Any = (0, [n * 72 / DPI / width for n in dash]) if dash else "-"
    return {"edgecolor": a["stroke"], "linewidth": width, "linestyle": style}


def _outline(d: str, x: float, y: float) -> Any:
    """The matplotlib path of an SVG path of M, H, V, L, Q and Z in either case."""
    from matplotlib.path import Path

    points: list[tuple[float, float]] = []
    codes: list[int] = []
    at = (0.0, 0.0)
    for command, rest in STEPS.findall(d):
        n = [float(v) for v in NUMBERS.findall(rest)]
        base = at if command.islower() else (0.0, 0.0)
        match command.upper():
            case "M" | "L":
                at = (base[0] + n[0], base[1] + n[1])
                points.append(at)
                codes.append(int(Path.MOVETO if command in "Mm" else Path.LINETO))
            case "H" | "V":
                at = (base[0] + n[0], at[1]) if command in "Hh" else (at[0], base[1] + n[0])
                points.append(at)
                codes.append(int(Path.LINETO))
            case "Q":
                points += [(base[0] + n[0], base[1] + n[1]), (base[0] + n[2], base[1] + n[3])]
                codes += [int(Path.CURVE3)] * 2
                at = points[-1]
            case _:
                points.append(points[0])
                codes.append(int(Path.CLOSEPOLY))
    return Path([(px + x, py + y) for px, py in points], codes)
