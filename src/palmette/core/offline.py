"""The switch that keeps everything on this machine: PALMETTE_OFFLINE=1."""

from __future__ import annotations

import os

__all__ = ["offline"]


def offline() -> bool:
    """Whether nothing may be sent to anybody.

    >>> offline()
    False
    """
    return os.environ.get("PALMETTE_OFFLINE", "").strip().lower() not in ("", "0", "no", "off", "false")
