"""Merge methods, each a pure function of a tensor's blocks: mergekit 0.1.5's twenty, named as its recipes name them,
then those past it.
"""

from __future__ import annotations

from palmette.weights.methods.average import linear, passthrough
from palmette.weights.methods.base import Each, Method, Setting, settings
from palmette.weights.methods.beyond.mask import consensus, emr, magmax
from palmette.weights.methods.beyond.spectral import iso_c, iso_cts, knots, tsv
from palmette.weights.methods.drop import dare_linear, dare_ties, della, della_linear
from palmette.weights.methods.pair import arcee_fusion, nearswap
from palmette.weights.methods.ram import ram, ramplus_tl
from palmette.weights.methods.sce import sce
from palmette.weights.methods.sphere import karcher, multislerp, nuslerp, slerp
from palmette.weights.methods.stock import model_stock
from palmette.weights.methods.task import breadcrumbs, breadcrumbs_ties, task_arithmetic, ties

__all__ = ["METHODS", "Each", "Method", "Setting", "settings"]

_TABLE = [
    Method(linear, "2203.05482", "unused", steady=lambda p: bool(p.get("normalize", True))),
    Method(slerp, "Shoemake 1985", "first", most=1),
    Method(nuslerp, "mergekit", "optional", 2, 2, rows=lambda p: not p.get("nuslerp_flatten", True)),
    Method(multislerp, "goddard.blog", "optional", steady=lambda p: bool(p.get("normalize_weights", True))),
    Method(karcher, "2603.04972", "unused"),
    Method(task_arithmetic, "2212.04089"),
    Method(ties, "2306.01708"),
    Method(dare_linear, "2311.03099"),
    Method(dare_ties, "2311.03099"),
    Method(della, "2406.11617", rows=lambda _: True),
    Method(della_linear, "2406.11617", rows=lambda _: True),
    Method(breadcrumbs, "2312.06795"),
    Method(breadcrumbs_ties, "2312.06795"),
    Method(sce, "2408.07990"),
    Method(ram, "2601.13572"),
    Method(ramplus_tl, "2601.13572"),
    Method(model_stock, "2403.19522", fewest=2, rows=lambda p: bool(p.get("filter_wise", False))),
    Method(nearswap, "alchemonaut/QuartetAnemoi-70B", "first", most=1),
    Method(arcee_fusion, "arcee.ai", "first", most=1, rows=lambda _: True),
    Method(passthrough, "mergekit", "unused", most=1, steady=lambda p: p.get("scale") in (None, 1, [1], [1.0])),
    Method(tsv, "2412.00081"),
    Method(iso_c, "2502.04959"),
    Method(iso_cts, "2502.04959"),
    Method(knots, "2410.19735"),
    Method(consensus, "2405.07813"),
    Method(emr, "2405.17461"),
    Method(magmax, "2407.06322"),
]
METHODS = {method.name: method for method in _TABLE}
