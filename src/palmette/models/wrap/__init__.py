"""Wrappers: a model in, a model out. Each asks another model in its own `produce`, so all ways to ask work with all."""

from __future__ import annotations

from palmette.models.wrap.budget import budget
from palmette.models.wrap.cache import cache
from palmette.models.wrap.fallback import fallback
from palmette.models.wrap.logged import logged
from palmette.models.wrap.rate_limit import rate_limit
from palmette.models.wrap.record import record, replay
from palmette.models.wrap.retry import retry
from palmette.models.wrap.route import route
from palmette.models.wrap.scripted import Scripted, scripted
from palmette.models.wrap.traced import traced

__all__ = [
    "Scripted", "budget", "cache", "fallback", "logged", "rate_limit", "record", "replay", "retry", "route",
    "scripted", "traced",
]  # fmt: skip
