"""Two verbs that views share: put other scores on some tokens, or take some tokens out."""

from __future__ import annotations

import numpy as np

from palmette.core.scores import Floats, Ids, Scores

__all__ = ["remove", "replace"]


def replace(scores: Scores, ids: Ids, values: Floats) -> Scores:
    """Put `values` on the candidates among `ids` (unique); an excluded token stays excluded, -inf excludes."""
    if scores.ids is None:
        row = scores.values.astype(np.float32, copy=True)
        row[ids] = np.where(row[ids] > -np.inf, values, -np.inf)
        return Scores(row, finite=scores.finite and bool((values > -np.inf).all()))
    changed = scores.values.copy()
    order = np.argsort(ids)
    slot = np.minimum(np.searchsorted(ids[order], scores.ids), max(ids.size - 1, 0))
    hit = ids[order][slot] == scores.ids if ids.size else np.zeros(scores.ids.size, bool)
    changed[hit] = values[order][slot][hit]
    return Scores.listed(scores.ids, changed, scores.size)


def remove(scores: Scores, ids: Ids) -> Scores:
    """Take `ids` out of the candidates."""
    if not ids.size:
        return scores
    if scores.ids is not None:
        keep = ~np.isin(scores.ids, ids)
        return Scores(scores.values[keep], scores.ids[keep], scores.size)
    row = scores.values.astype(np.float32, copy=True)
    row[ids] = -np.inf
    return Scores(row)
