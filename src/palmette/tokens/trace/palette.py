"""Colours. Probability and score use one scale from pale yellow over green to dark blue whose lightness falls evenly in
OKLab, so that equal steps look equal and people who see no red or green still read it. Runs use Okabe and Ito's hues.
"""

from __future__ import annotations

__all__ = ["HUES", "PATTERNS", "SCALE", "hue", "ink", "pattern", "shade"]

SCALE = ("#faf5d1", "#cee7a5", "#8eda97", "#34c99d", "#05aea5", "#0593a2", "#07789b", "#255d89", "#374561")
HUES = ("#0072b2", "#d55e00", "#009e73", "#b5489a", "#56b4e9", "#e69f00", "#6b6b6b")
PATTERNS = ("", "10 4", "2 4", "14 4 2 4")


def shade(value: float) -> str:
    """The colour of a value between 0 and 1.

    >>> shade(0.0), shade(1.0)
    ('#faf5d1', '#374561')
    """
    place = min(max(value, 0.0), 1.0) * (len(SCALE) - 1)
    low = min(int(place), len(SCALE) - 2)
    return blend(SCALE[low], SCALE[low + 1], place - low)


def ink(fill: str) -> str:
    """Black or white, whichever reads better on a fill: at least 4.5 to 1 (WCAG)."""
    light = luminance(fill)
    return "#000000" if (light + 0.05) / 0.05 >= 1.05 / (light + 0.05) else "#ffffff"


def hue(run: int) -> str:
    """The colour of a run."""
    return HUES[run % len(HUES)]


def pattern(run: int) -> str:
    """The dash pattern of a run's line: colour is never the only sign."""
    return PATTERNS[run % len(PATTERNS)]


def blend(first: str, second: str, part: float) -> str:
    """A mixture of two colours."""
    pairs = zip(_channels(first), _channels(second), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * part):02x}" for a, b in pairs)


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2)."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in _channels(colour))]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
