"""A drawing as SVG: things as labels, facts as curves with their relation. The same SVG becomes the PNG."""

from __future__ import annotations

import math
from xml.sax.saxutils import escape, quoteattr

from palmette.knowledge.picture.drawing import Bond, Drawing, Spot, relations
from palmette.tokens.trace.palette import HUES, blend, ink
from palmette.tokens.trace.png import svg_to_png
from palmette.tokens.trace.visible import cells

__all__ = ["colours", "to_png", "to_svg"]

_HEIGHT, _FONT = 26.0, 12.0


def to_svg(drawing: Drawing, *, page: bool = False) -> str:
    """Draw.

    Args:
        drawing: what.
        page: whether it stands in the page, whose style sheet colours it.
    """
    width, height = drawing.width, drawing.height + (0 if page else 26)
    fills = colours(drawing)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" '
        f'font-family="\'DejaVu Sans Mono\', monospace" role="img" aria-label="Knowledge graph">'
    ]
    if not page:
        parts.append(f'<rect x="0" y="0" width="{width:g}" height="{height:g}" fill="#ffffff"/>')
    parts += [_bond(drawing, number, bond) for number, bond in enumerate(drawing.bonds)]
    parts += [
        _spot(number, spot, fills[spot.entity.type, spot.entity.literal]) for number, spot in enumerate(drawing.spots)
    ]
    if not page:
        shown = sum(len(bond.facts) for bond in drawing.bonds)
        said = f"{len(drawing.spots)} of {drawing.things} things, {shown} of {drawing.facts} facts"
        parts.append(f'<text x="16" y="{height - 14:g}" font-size="11" fill="#5a5e61">{said}</text>')
    return "\n".join([*parts, "</svg>\n"])


def to_png(drawing: Drawing, scale: float = 2.0) -> bytes:
    """Paint it; needs the extra `plot`."""
    return svg_to_png(to_svg(drawing), scale)


def colours(drawing: Drawing) -> dict[tuple[str, bool], str]:
    """A fill for each type; literals are pale, what has no type is grey."""
    types = sorted({s.entity.type for s in drawing.spots if s.entity.type and not s.entity.literal})
    fills = {(t, False): blend(HUES[i % len(HUES)], "#ffffff", 0.72) for i, t in enumerate(types)}
    fills["", False] = "#e8ebe7"
    return fills | {(s.entity.type, True): "#ffffff" for s in drawing.spots if s.entity.literal}


def _spot(number: int, spot: Spot, fill: str) -> str:
    x, y = spot.x - spot.width / 2, spot.y - _HEIGHT / 2
    round_ = 4 if spot.entity.literal else 13
    kind = f" ({spot.entity.type})" if spot.entity.type else ""
    # Control characters cannot stand in XML; the label has none.
    title = escape("".join(c for c in spot.entity.name if c >= " ") + kind)
    return (
        f'<g data-spot="{number}"><title>{title}</title>'
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{spot.width:.1f}" height="{_HEIGHT:g}" rx="{round_}" fill="{fill}" '
        f'stroke="#5a5e61" stroke-width="1"/>'
        f'<text x="{spot.x:.1f}" y="{spot.y + 4:.1f}" font-size="{_FONT:g}" text-anchor="middle" fill="{ink(fill)}">'
        f"{escape(spot.label)}</text></g>"
    )


def _bond(drawing: Drawing, number: int, bond: Bond) -> str:
    a, b = drawing.spots[bond.a], drawing.spots[bond.b]
    label = " · ".join(relations(bond))
    if bond.a == bond.b:
        x, y = a.x, a.y - _HEIGHT / 2
        line = f"M{x - 14:.1f} {y:.1f}Q{x - 30:.1f} {y - 34:.1f} {x:.1f} {y - 34:.1f}"
        line += f"Q{x + 30:.1f} {y - 34:.1f} {x + 14:.1f} {y:.1f}"
        heads, middle = [(x + 14, y, 0.9, 1.0)], (x, y - 38)
    else:
        dx, dy = b.x - a.x, b.y - a.y
        length = math.hypot(dx, dy) or 1.0
        bend = min(18.0, length / 8)
        cx, cy = (a.x + b.x) / 2 - dy / length * bend, (a.y + b.y) / 2 + dx / length * bend
        start, end = _edge(a, cx, cy), _edge(b, cx, cy)
        line = f"M{start[0]:.1f} {start[1]:.1f}Q{cx:.1f} {cy:.1f} {end[0]:.1f} {end[1]:.1f}"
        heads = []
        if any(forward for _, forward in bond.facts):
            heads.append((*end, end[0] - cx, end[1] - cy))
        if any(not forward for _, forward in bond.facts):
            heads.append((*start, start[0] - cx, start[1] - cy))
        middle = ((start[0] + 2 * cx + end[0]) / 4, (start[1] + 2 * cy + end[1]) / 4)
    arrows = "".join(_arrow(*head) for head in heads)
    wide = cells(label) * 6.0 + 6
    return (
        f'<g data-bond="{number}" data-label={quoteattr(label)}><path d="{line}" fill="none" '
        f'stroke="#8a9094" stroke-width="1.2"/>{arrows}'
        f'<rect x="{middle[0] - wide / 2:.1f}" y="{middle[1] - 7:.1f}" width="{wide:.1f}" height="13" fill="#ffffff"/>'
        f'<text x="{middle[0]:.1f}" y="{middle[1] + 3:.1f}" font-size="10" text-anchor="middle" '
        f'fill="#5a5e61">{escape(label)}</text></g>'
    )


def _edge(spot: Spot, x: float, y: float) -> tuple[float, float]:
    """Where the line from a label's middle to a point leaves the label."""
    dx, dy = x - spot.x, y - spot.y
    if not dx and not dy:
        return spot.x, spot.y
    share = min(spot.width / 2 / abs(dx) if dx else math.inf, _HEIGHT / 2 / abs(dy) if dy else math.inf)
    return spot.x + dx * share, spot.y + dy * share


def _arrow(x: float, y: float, dx: float, dy: float) -> str:
    length = math.hypot(dx, dy) or 1.0
    ux, uy = dx / length * 8, dy / length * 8
    left, right = (x - ux - uy * 0.45, y - uy + ux * 0.45), (x - ux + uy * 0.45, y - uy - ux * 0.45)
    points = f"M{x:.1f} {y:.1f}L{left[0]:.1f} {left[1]:.1f}L{right[0]:.1f} {right[1]:.1f}Z"
    return f'<path d="{points}" fill="#8a9094"/>'
